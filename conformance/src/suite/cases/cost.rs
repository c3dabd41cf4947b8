//! What a node costs that has nothing to do.

use core::time::Duration;

use crate::suite::adapter::{Adapter, Handle};
use crate::suite::machine::Cost;
use crate::suite::stage::{Check, Peer, Stage, ensure};

const MEASURED: Duration = Duration::from_secs(3);

/// Two nodes that have nothing to say to each other but heartbeats wait for the next datagram or
/// deadline; they do not look again and again whether there is one.
pub(super) fn idle<A: Adapter>(stage: &Stage<A>) -> Check {
    let peers = stage.cluster::<2>()?;
    let datagrams = || -> u64 {
        let of = |peer: &Peer<A>| {
            let metrics = peer.handle.read(|node| node.metrics());
            metrics.datagrams_in + metrics.datagrams_out
        };
        peers.iter().map(of).sum()
    };
    let beats = peers.each_ref().map(Peer::heartbeats);
    let (before, cost) = (datagrams(), Cost::now());
    // Nothing is waited for: this is what is measured.
    stage.adapter.pass(MEASURED);
    let spent = Cost::now().zip(cost).map(|(now, then)| now.since(then));
    let handled = datagrams() - before;
    let mut rhythms = peers.iter().zip(beats);
    let mut rhythm = || rhythms.try_for_each(|(peer, then)| peer.kept_its_rhythm(then, MEASURED));
    let Some(spent) = spent else {
        println!("idle: not measured, because this machine does not tell what a process costs");
        return rhythm();
    };
    println!(
        "idle: 2 nodes, {MEASURED:?}: {:?} of processor time, {} wake-ups, {handled} datagrams sent and received",
        spent.cpu, spent.wake_ups
    );
    // Several times what is needed, and far from what a loop costs that looks every millisecond.
    let limit = 8 * handled + 500;
    ensure(spent.wake_ups < limit, || {
        format!(
            "{} wake-ups in {MEASURED:?} for {handled} datagrams: it does not sleep",
            spent.wake_ups
        )
    })?;
    ensure(spent.cpu < MEASURED / 8, || {
        format!(
            "{:?} of processor time in {MEASURED:?}: it does not sleep",
            spent.cpu
        )
    })?;
    // Last: on a busy machine, who never sleeps has no time for heartbeats either.
    rhythm()
}
