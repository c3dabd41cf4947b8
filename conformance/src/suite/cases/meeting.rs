//! Nodes start and find each other.

use core::time::Duration;

use gossip_core::{Command, Event, Standing, Status, UpCause};

use crate::suite::adapter::{Adapter, Handle};
use crate::suite::order;
use crate::suite::stage::{Check, Peer, Stage, ensure, fail};

/// Three nodes learn each other's name, address and status, and are told so once.
pub(super) fn find_each_other<A: Adapter>(stage: &Stage<A>) -> Check {
    let mut peers = stage.cluster::<3>()?;
    for peer in &mut peers {
        if !peer.told.iter().any(is_joined) {
            peer.hears("that it has joined", |event| is_joined(event).then_some(()))?;
        }
    }
    for peer in &peers {
        for other in peers.iter().filter(|other| other.id != peer.id) {
            up_once(peer, other)?;
            let (id, about) = (other.id, format!("{} about {}", peer.name, other.name));
            stage.until(&format!("{about}: up"), || {
                peer.status(id) == Some(Status::Up)
            })?;
            let seen = peer.handle.read(move |node| {
                let member = node.member(id)?;
                Some((member.name(), member.address(), member.generation()))
            });
            let Some((name, address, generation)) = seen else {
                return fail(format!("{about}: has no such member"));
            };
            ensure(name.as_str() == other.name, || {
                format!("{about}: is called {name}")
            })?;
            ensure(address == other.address(), || {
                format!("{about}: is at {address}")
            })?;
            ensure(generation == other.generation(), || {
                format!("{about}: has generation {generation}")
            })?;
        }
    }
    Ok(())
}

fn is_joined(event: &Event) -> bool {
    matches!(event, Event::Joined { .. })
}

fn up_once<A: Adapter>(peer: &Peer<A>, other: &Peer<A>) -> Check {
    let ups: Vec<_> = peer
        .told
        .iter()
        .filter(|event| matches!(event, Event::MemberUp { id, .. } if *id == other.id))
        .collect();
    match *ups.as_slice() {
        [
            Event::MemberUp {
                name,
                address,
                cause: UpCause::Joined,
                ..
            },
        ] if name.as_str() == other.name && *address == other.address() => Ok(()),
        _ => fail(format!(
            "{} was told of {} at {}: {ups:?}",
            peer.name,
            other.name,
            other.address()
        )),
    }
}

/// A node that knows nobody finds its cluster when it is given seeds.
pub(super) fn replace_seeds<A: Adapter>(stage: &Stage<A>) -> Check {
    let mut a = stage.start("a", &[])?;
    let mut b = stage.start("b", &[])?;
    let seeds = vec![a.address()];
    b.commands(Command::SetSeeds { seeds })?;
    a.meets(&[b.id])?;
    b.meets(&[a.id])
}

/// Settings, names and addresses that cannot work start nothing, and the reason is told.
pub(super) fn refuse_what_cannot_work<A: Adapter>(stage: &Stage<A>) -> Check {
    let mut spec = stage.spec("a", &[]);
    spec.config.fanout = 0;
    let error = stage.refused(spec, "fanout was 0")?.to_string();
    ensure(error.contains("fanout"), || {
        format!("the refusal of a fanout of 0 does not name it: {error}")
    })?;
    let spec = stage.spec("", &[]);
    stage.refused(spec, "it had no name")?;
    Ok(())
}

/// Two sockets cannot have one address: the second is refused, and told which.
pub(super) fn refuse_an_address_in_use<A: Adapter>(stage: &Stage<A>) -> Check {
    let a = stage.start("a", &[])?;
    let mut spec = stage.spec("b", &[]);
    spec.bind = a.address();
    let error = stage.refused(spec, "its address was in use")?.to_string();
    ensure(error.contains(&a.address().to_string()), || {
        format!("the refusal does not name the address: {error}")
    })
}

const FIFTY: usize = 50;

/// Fifty nodes in one process all know each other, through three seeds.
pub(super) fn fifty<A: Adapter>(stage: &Stage<A>) -> Check {
    let mut peers: Vec<Peer<A>> = Vec::new();
    for number in 0..FIFTY {
        let seeds: Vec<_> = peers.iter().take(3).collect();
        let mut spec = stage.spec(&format!("n{number}"), &seeds);
        // They share one machine, in a debug build.
        spec.config.interval = Duration::from_millis(500);
        let peer = stage.start_as(spec)?;
        peers.push(peer);
    }
    let everybody: Vec<_> = peers.iter().map(|peer| peer.id).collect();
    for peer in &mut peers {
        peer.meets(&everybody)?;
        if let Some(wrong) = order::broken(&peer.told) {
            return fail(format!("{} was told out of order: {wrong}", peer.name));
        }
        peer.was_told_of_no_failure()?;
    }
    for peer in &peers {
        stage.until(&format!("{} to see {FIFTY} members up", peer.name), || {
            peer.handle.read(|node| {
                let up = node.members().filter(|m| m.status() == Status::Up).count();
                up == FIFTY && node.standing() == Standing::Up
            })
        })?;
    }
    Ok(())
}
