//! What networks, clocks and strangers do to a node.

use core::time::Duration;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use gossip_core::{Command, Event, Node, Status, UnixTime};

use crate::suite::adapter::{Adapter, Handle, Room};
use crate::suite::garbage::{self, Garbage};
use crate::suite::machine;
use crate::suite::stage::{Check, SLOW, Stage, ensure};

/// Seeds at which nobody receives, seeds to which the system sends nothing, and a peer that is gone:
/// neither an error nor the news of a closed port (ICMP) is any harm.
pub(super) fn unreachable_seeds<A: Adapter>(stage: &Stage<A>) -> Check {
    let mut a = stage.start("a", &[])?;
    let mut spec = stage.spec("b", &[&a]);
    for _ in 0..3 {
        let closed = stage.closed_address()?;
        spec.config.seeds.push(closed);
    }
    // Of another family than the socket, and for programs that may broadcast only.
    spec.config.seeds.push((Ipv6Addr::LOCALHOST, 9).into());
    spec.config.seeds.push((Ipv4Addr::BROADCAST, 9).into());
    // Everybody who is of use comes last.
    spec.config.seeds.rotate_left(1);
    let mut b = stage.start_as(spec)?;
    b.meets(&[a.id])?;
    let mut c = stage.start("c", &[&a])?;
    for peer in [&mut a, &mut b] {
        peer.meets(&[c.id])?;
    }
    c.handle.shutdown();
    c.hears_the_end()?;
    for peer in [&mut a, &mut b] {
        peer.hears("that c is down", |event| match event {
            Event::MemberDown { id, .. } if *id == c.id => Some(()),
            _ => None,
        })?;
    }
    a.sets("still", "here")?;
    b.hears_value(a.id, "still", Some("here"))
}

/// Each datagram that cannot be used is dropped and counted for what it is: none is cut short, an
/// empty one is not the end.
pub(super) fn useless<A: Adapter>(stage: &Stage<A>) -> Check {
    let [a, mut b] = stage.cluster()?;
    for Garbage {
        reason,
        datagram,
        counter,
    } in garbage::for_node("a", &stage.cluster_name, a.address())?
    {
        let count = || a.handle.read(move |node| counter(&node.metrics().dropped));
        let total = || a.handle.read(|node| node.metrics().dropped.total());
        let before = (count(), total());
        let three = [datagram.clone(), datagram.clone(), datagram];
        stage.throw(&a, &three)?;
        stage.until(
            &format!("three more datagrams {reason} to be counted"),
            || (count(), total()) == (before.0 + 3, before.1 + 3),
        )?;
    }
    a.sets("still", "here")?;
    b.hears_value(a.id, "still", Some("here"))
}

/// Datagrams of the flood.
const FLOOD: u64 = 100_000;
/// Datagrams on their way at a time: fewer than a socket's buffer holds, so that every one counts.
const WAVE: usize = 32;
/// How long a command may take meanwhile.
const RESPONSIVE: Duration = Duration::from_secs(2);
/// What the memory may differ by. The flood carries ten times as much.
const FLAT: u64 = 8 << 20;

/// A hundred thousand useless datagrams are counted, and that is all.
pub(super) fn flood<A: Adapter>(stage: &Stage<A>) -> Check {
    let [a, mut b] = stage.cluster()?;
    let kinds = garbage::large(&stage.cluster_name, a.address())?;
    let wave: Vec<_> = kinds.into_iter().cycle().take(WAVE).collect();
    let in_wave = u64::try_from(wave.len()).unwrap_or(u64::MAX);
    let dropped = || a.handle.read(|node| node.metrics().dropped.total());
    let before = dropped();
    let (start, beats) = (stage.adapter.now(), a.heartbeats());
    let (mut sent, mut waves, mut slowest) = (0, 0_u32, Duration::ZERO);
    let mut memory = None;
    while sent < FLOOD {
        stage.throw(&a, &wave)?;
        sent += in_wave;
        waves += 1;
        stage.until_soon(&format!("{sent} useless datagrams to be counted"), || {
            dropped() - before >= sent
        })?;
        if waves.is_multiple_of(100) {
            let asked = stage.adapter.now();
            a.sets("wave", &waves.to_string())?;
            slowest = slowest.max(stage.adapter.now().saturating_sub(asked));
        }
        if waves == 300 {
            memory = machine::resident();
        }
    }
    let grown = memory
        .zip(machine::resident())
        .map(|(then, now)| now.saturating_sub(then));
    ensure(dropped() - before == sent, || {
        format!(
            "{sent} useless datagrams were counted as {}",
            dropped() - before
        )
    })?;
    ensure(slowest < RESPONSIVE, || {
        format!("a command took {slowest:?} during the flood")
    })?;
    a.kept_its_rhythm(beats, stage.adapter.now().saturating_sub(start))?;
    if let Some(grown) = grown {
        ensure(grown < FLAT, || {
            format!("the flood made the process {grown} bytes larger")
        })?;
    }
    a.sets("still", "here")?;
    b.hears_value(a.id, "still", Some("here"))?;
    b.was_told_of_no_failure()
}

/// A socket that takes nothing for a while: the node still receives and answers, and what it has to
/// say leaves as soon as there is room.
pub(super) fn full_socket<A: Adapter>(stage: &Stage<A>) -> Check {
    // Repair would bring what is lost only after the case is over.
    let mut a = stage.start_as(stage.slow_spec("a", &[]))?;
    let mut b = stage.start_as(stage.slow_spec("b", &[&a]))?;
    a.meets(&[b.id])?;
    b.meets(&[a.id])?;
    let soon = stage.patience.min(SLOW / 4);
    let sent = || a.handle.read(|node| node.metrics().datagrams_out);
    let before = sent();
    stage.adapter.set_room(&a.handle, Room::Full);
    a.sets("said", "while full")?;
    stage.until("a to try to send", || sent() > before)?;
    b.sets("heard", "while full")?;
    a.hears_value_within(soon, b.id, "heard", Some("while full"))?;
    stage.adapter.set_room(&a.handle, Room::Free);
    b.hears_value_within(soon, a.id, "said", Some("while full"))
}

/// Somebody sets the wall clock forth and back: nothing that is written is lost, nobody dies.
pub(super) fn wall_clock<A: Adapter>(stage: &Stage<A>) -> Check {
    const HOUR: Duration = Duration::from_secs(3600);
    let [mut a, mut b, mut c] = stage.cluster()?;
    let wall = SystemTime::now();
    for wall in [wall + HOUR, wall - HOUR] {
        let wall = UnixTime::from(wall);
        b.commands(Command::SetWallClock { wall })?;
        let text = wall.as_millis().to_string();
        b.sets("clock", &text)?;
        for reader in [&mut a, &mut c] {
            reader.hears_value(b.id, "clock", Some(&text))?;
        }
        a.sets("clock", &text)?;
        b.hears_value(a.id, "clock", Some(&text))?;
    }
    for peer in [&a, &b, &c] {
        peer.was_told_of_no_failure()?;
    }
    Ok(())
}

/// A node that gets no time for a while knows, afterwards, that the silence was its own.
pub(super) fn held_up<A: Adapter>(stage: &Stage<A>) -> Check {
    let [mut a, b, c] = stage.cluster()?;
    stage.adapter.hold_up(&a.handle, Duration::from_secs(3));
    for peer in [&b, &c] {
        peer.sets("after", "the pause")?;
        a.hears_value(peer.id, "after", Some("the pause"))?;
    }
    for (peer, other) in [(&a, &b), (&a, &c), (&b, &a), (&c, &a)] {
        let what = format!("{} to hold {} up again", peer.name, other.name);
        stage.until(&what, || peer.status(other.id) == Some(Status::Up))?;
    }
    let paused = a.handle.read(|node: &Node| node.metrics().verdicts);
    ensure(paused == 0, || {
        "a node that was held up held others down".to_owned()
    })?;
    a.was_told_of_no_failure()
}
