//! How nodes end, and what comes after.

use std::thread;

use gossip_core::{Command, Event, Generation, Status, UpCause};

use crate::suite::adapter::{Adapter, Events, Handle, NoEvent};
use crate::suite::stage::{Check, Peer, Stage, ensure, fail, is_over, key, value};

/// A node that stops without a word is down for the others, and nobody else is.
pub(super) fn crash<A: Adapter>(stage: &Stage<A>) -> Check {
    let [mut a, mut b, mut c] = stage.cluster()?;
    let generation = c.generation();
    c.handle.shutdown();
    for peer in [&mut a, &mut b] {
        let down = peer.hears("that c is down", |event| match event {
            Event::MemberDown { id, generation, .. } => Some((*id, *generation)),
            _ => None,
        })?;
        ensure(down == (c.id, generation), || {
            format!("{} was told that another is down: {down:?}", peer.name)
        })?;
        ensure(peer.status(c.id) == Some(Status::Down), || {
            format!("{} was told, but does not hold c down", peer.name)
        })?;
    }
    c.hears_the_end()?;
    for (peer, other) in [(&a, &b), (&b, &a)] {
        stage.until("the survivors to hold each other up", || {
            peer.status(other.id) == Some(Status::Up)
        })?;
    }
    Ok(())
}

/// A node that comes back under its name is the same node in a new life.
pub(super) fn restart<A: Adapter>(stage: &Stage<A>) -> Check {
    let [mut a, mut b, mut c] = stage.cluster()?;
    c.sets("life", "first")?;
    for peer in [&mut a, &mut b] {
        peer.hears_value(c.id, "life", Some("first"))?;
    }
    // Once before anybody has noticed, and once after.
    for noticed in [false, true] {
        let before = c.generation();
        c.handle.shutdown();
        c.hears_the_end()?;
        if noticed {
            a.hears("that c is down", |event| match event {
                Event::MemberDown { id, .. } if *id == c.id => Some(()),
                _ => None,
            })?;
        }
        c = stage.start("c", &[&a])?;
        for peer in [&mut a, &mut b] {
            let (cause, generation, address) = peer.meets_again(&c)?;
            ensure(cause == UpCause::Restarted, || {
                format!("{} was told that c has {cause:?}", peer.name)
            })?;
            ensure(generation > before, || {
                format!("c was {before:?} and is now {generation:?}")
            })?;
            ensure(address == c.address(), || {
                format!("c is at {}, not at {address}", c.address())
            })?;
            ensure(peer.value(c.id, "life")?.is_none(), || {
                format!("{} remembers what c said in its first life", peer.name)
            })?;
        }
    }
    Ok(())
}

impl<A: Adapter> Peer<A> {
    /// Takes events until this node has been told that the other is up in its present life.
    pub(super) fn meets_again(
        &mut self,
        other: &Self,
    ) -> Check<(UpCause, Generation, core::net::SocketAddr)> {
        let life = other.generation();
        let what = format!("that {} is up in a new life", other.name);
        self.hears(&what, |event| match event {
            Event::MemberUp {
                id,
                cause,
                generation,
                address,
                ..
            } if *id == other.id && *generation >= life => Some((*cause, *generation, *address)),
            _ => None,
        })
    }
}

/// A node that leaves is not missed, and stops by itself.
pub(super) fn leave<A: Adapter>(stage: &Stage<A>) -> Check {
    let [mut a, mut b, mut c] = stage.cluster()?;
    c.commands(Command::Leave)?;
    for peer in [&mut a, &mut b] {
        peer.hears("that c has left", |event| match event {
            Event::MemberLeft { id, .. } if *id == c.id => Some(()),
            _ => None,
        })?;
        peer.was_told_of_no_failure()?;
        ensure(peer.status(c.id) == Some(Status::Left), || {
            format!("{} was told, but does not hold c as left", peer.name)
        })?;
    }
    let rest = c.hears_the_end()?;
    ensure(rest.last() == Some(&Event::LeaveCompleted), || {
        format!("the last that a leaving node was told is {rest:?}")
    })?;
    is_over(c.handle.command(Command::Unset { key: key("x")? }))?;
    stage.until("the socket of a node that has left to be closed", || {
        !stage.adapter.is_taken(c.address())
    })
}

const THREADS: usize = 4;

/// A node that is shut down in the middle of everything stops, and lets everybody go.
pub(super) fn busy<A: Adapter>(stage: &Stage<A>) -> Check {
    let [a, mut b] = stage.cluster()?;
    let (address, id) = (a.address(), a.id);
    let Peer { handle, events, .. } = a;
    let consumer = thread::spawn({
        let patience = stage.patience;
        move || consume_all(events, patience)
    });
    let writers: Vec<_> = (0..THREADS)
        .map(|_| {
            let handle = handle.clone();
            thread::spawn(move || write_until_refused(&handle))
        })
        .collect();
    b.hears("that a is busy", |event| match event {
        Event::AttributeChanged { id: of, .. } if *of == id => Some(()),
        _ => None,
    })?;
    handle.shutdown();
    for writer in writers {
        let joined = writer.join();
        joined.unwrap_or_else(|_| fail("a thread that gave commands panicked"))?;
    }
    let joined = consumer.join();
    joined.unwrap_or_else(|_| fail("the thread that took events panicked"))?;
    stage.until(
        "the socket of a node that was shut down to be closed",
        || !stage.adapter.is_taken(address),
    )?;
    // To be shut down again is no harm.
    handle.shutdown();
    b.hears("that a is down", |event| match event {
        Event::MemberDown { id: down, .. } if *down == id => Some(()),
        _ => None,
    })
}

fn consume_all<E: Events>(mut events: E, patience: core::time::Duration) -> Check {
    loop {
        match events.next(patience) {
            Ok(_) => {}
            Err(NoEvent::Ended) => return Ok(()),
            Err(NoEvent::Yet) => return fail("the events of a node that was shut down do not end"),
        }
    }
}

fn write_until_refused<H: Handle>(handle: &H) -> Check {
    for round in 0_u64.. {
        let (key, value) = (key("round")?, value(&round.to_string())?);
        if let Err(refused) = handle.command(Command::Set { key, value }) {
            return is_over(Err(refused));
        }
    }
    Ok(())
}

/// A node runs while there is a handle or somebody who takes events, and not longer.
pub(super) fn held<A: Adapter>(stage: &Stage<A>) -> Check {
    let [a, mut b] = stage.cluster()?;
    let (address, id) = (a.address(), a.id);
    let Peer { handle, events, .. } = a;
    let clone = handle.clone();
    drop(events);
    drop(handle);
    let set = Command::Set {
        key: key("still")?,
        value: value("here")?,
    };
    let accepted = clone.command(set);
    ensure(accepted.is_ok(), || {
        format!("a node stopped although it was held: {accepted:?}")
    })?;
    b.hears_value(id, "still", Some("here"))?;
    drop(clone);
    stage.until("a node that nobody holds to stop", || {
        !stage.adapter.is_taken(address)
    })
}
