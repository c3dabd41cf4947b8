//! What applications are told, and those that do not listen.

use core::time::Duration;
use std::thread;

use gossip_core::{Command, Event};

use crate::suite::adapter::{Adapter, Events, Handle};
use crate::suite::order;
use crate::suite::stage::{Check, Peer, Stage, ensure, fail, set};

const ROUNDS: u32 = 20;

/// A member's life is told in its order: up, what it says of itself, down or left, up again.
pub(super) fn in_order<A: Adapter>(stage: &Stage<A>) -> Check {
    let [mut a, b] = stage.cluster()?;
    let mut c = stage.start("c", &[&a])?;
    // As applications do: before it has joined.
    c.sets("life", "first")?;
    a.meets(&[c.id])?;
    for writer in [&b, &c] {
        for round in 1..=ROUNDS {
            let text = round.to_string();
            writer.sets("round", &text)?;
            // One at a time, so that each is an event of its own.
            stage.until(&format!("a to hold value {round}"), || {
                a.holds(writer.id, "round", &text)
            })?;
        }
    }
    c.handle.shutdown();
    a.hears("that c is down", |event| match event {
        Event::MemberDown { id, .. } if *id == c.id => Some(()),
        _ => None,
    })?;
    c.hears_the_end()?;
    let c = stage.start("c", &[&a])?;
    c.sets("life", "second")?;
    a.hears_value(c.id, "life", Some("second"))?;
    b.commands(Command::Leave)?;
    a.hears("that b has left", |event| match event {
        Event::MemberLeft { id, .. } if *id == b.id => Some(()),
        _ => None,
    })?;
    if let Some(wrong) = order::broken(&a.told) {
        return fail(format!("a was told out of order: {wrong}"));
    }
    for of in [b.id, c.id] {
        rising(&a, of)?;
    }
    Ok(())
}

/// The values told of a counter only ever rise. Some may be left out, where they came together.
fn rising<A: Adapter>(peer: &Peer<A>, of: gossip_core::NodeId) -> Check {
    let told = peer.told.iter().filter_map(|event| match event {
        Event::AttributeChanged { id, key, value } if *id == of && key.as_str() == "round" => {
            let text = core::str::from_utf8(value.as_ref()?.as_bytes()).ok()?;
            text.parse::<u32>().ok()
        }
        _ => None,
    });
    let told: Vec<u32> = told.collect();
    ensure(told.is_sorted() && told.last() == Some(&ROUNDS), || {
        format!("the values of a counter were told as {told:?}")
    })
}

/// A consumer that waits long is woken by the event, and by the end.
pub(super) fn wakes<A: Adapter>(stage: &Stage<A>) -> Check {
    let [mut a, b] = stage.cluster()?;
    let soon = stage.patience / 2;
    let adapter = &stage.adapter;
    b.sets("x", "first")?;
    a.hears_value(b.id, "x", Some("first"))?;
    // What wakes it: another thread, while this one waits.
    let woken = thread::scope(|scope| {
        let writer = b.handle.clone();
        scope.spawn(move || {
            adapter.pass(Duration::from_millis(300));
            set(&writer, "x", "second")
        });
        let start = adapter.now();
        a.hears_value(b.id, "x", Some("second"))?;
        Ok(adapter.now().saturating_sub(start))
    })?;
    ensure(woken < soon, || format!("the event came {woken:?} late"))?;
    let Peer {
        handle, mut events, ..
    } = a;
    let (ended, took) = thread::scope(|scope| {
        scope.spawn(move || {
            adapter.pass(Duration::from_millis(300));
            handle.shutdown();
        });
        let start = adapter.now();
        let mut next = Ok(Event::Lagged);
        while next.is_ok() {
            next = events.next(stage.patience);
        }
        (next, adapter.now().saturating_sub(start))
    });
    ensure(took < soon, || {
        format!("a consumer was told of the end {took:?} late: {ended:?}")
    })
}

/// A queue that soon is full.
const QUEUE: u16 = 16;
/// More than any reasonable buffer of an adapter's own.
const CHANGES: u32 = 200;

/// Nobody takes events: the node goes on, and its views show everything.
pub(super) fn stalled<A: Adapter>(stage: &Stage<A>) -> Check {
    let (a, mut b) = overwhelmed(stage)?;
    a.sets("still", "here")?;
    b.hears_value(a.id, "still", Some("here"))?;
    b.was_told_of_no_failure()
}

/// A consumer that comes back is told that it has missed something, and then of what is new.
pub(super) fn lagged<A: Adapter>(stage: &Stage<A>) -> Check {
    let (mut a, b) = overwhelmed(stage)?;
    let waiting = a.handle.read(|node| node.metrics().events_lost);
    ensure(waiting > 0, || {
        format!(
            "{CHANGES} events were not taken, and none was lost of a queue of {QUEUE}: where are they?"
        )
    })?;
    a.hears("that it has lagged", |event| {
        (*event == Event::Lagged).then_some(())
    })?;
    b.sets("news", "after the gap")?;
    a.hears_value(b.id, "news", Some("after the gap"))?;
    let lags = a.told.iter().filter(|event| **event == Event::Lagged);
    ensure(lags.count() == 1, || "one gap was told twice".to_owned())
}

/// Two nodes, of which the first's events were not taken while there were far too many.
fn overwhelmed<A: Adapter>(stage: &Stage<A>) -> Check<(Peer<A>, Peer<A>)> {
    let mut spec = stage.spec("a", &[]);
    spec.config.event_queue = QUEUE;
    let a = stage.start_as(spec)?;
    let mut b = stage.start("b", &[&a])?;
    b.meets(&[a.id])?;
    for change in 0..CHANGES {
        let text = change.to_string();
        b.sets("change", &text)?;
        // One at a time, so that each is an event of its own.
        stage.until(&format!("a to go on with change {change}"), || {
            a.holds(b.id, "change", &text)
        })?;
    }
    Ok((a, b))
}
