//! Datagrams that a node must drop, each for a reason that it counts.

use std::net::SocketAddr;

use gossip_core::{Config, Dropped, Identity, Instant, Node, UnixTime};

use super::stage::{Check, Failure, fail};

/// A kind of datagram that is dropped, and where that is counted.
#[derive(Clone, Debug)]
pub(super) struct Garbage {
    pub(super) reason: &'static str,
    pub(super) datagram: Vec<u8>,
    pub(super) counter: fn(&Dropped) -> u64,
}

/// One of each kind, for a node of this name, cluster and address.
///
/// They are made of a datagram that would be accepted, so that each is wrong in one way only.
pub(super) fn for_node(name: &str, cluster: &str, to: SocketAddr) -> Check<Vec<Garbage>> {
    let good = greeting("stranger", cluster, to)?;
    let garbage = |reason, datagram, counter| Garbage {
        reason,
        datagram,
        counter,
    };
    let changed = |at: usize, xor: u8| {
        let mut datagram = good.clone();
        if let Some(byte) = datagram.get_mut(at) {
            *byte ^= xor;
        }
        datagram
    };
    let last = good.len().saturating_sub(1);
    Ok(vec![
        garbage("empty", Vec::new(), |dropped| dropped.length),
        garbage("oversize", oversize(&good), |dropped| dropped.length),
        garbage("of another version", changed(0, 0x40), |dropped| {
            dropped.version
        }),
        garbage("of another cluster", greeting("stranger", "x", to)?, |d| {
            d.cluster
        }),
        garbage("damaged", changed(last, 1), |dropped| dropped.checksum),
        garbage("the node's own", greeting(name, cluster, to)?, |d| d.own),
    ])
}

/// Datagrams of a thousand bytes that are dropped for one reason or another: long enough for memory
/// to show where they are kept.
pub(super) fn large(cluster: &str, to: SocketAddr) -> Check<[Vec<u8>; 3]> {
    let damaged = greeting("stranger", cluster, to)?;
    let foreign = greeting("stranger", "x", to)?;
    let mut future = damaged.clone();
    if let Some(version) = future.first_mut() {
        *version ^= 0x40;
    }
    Ok([damaged, foreign, future].map(|mut datagram| {
        datagram.resize(1000, 0);
        datagram
    }))
}

/// A datagram far longer than a node accepts that begins as a good one: cut to a node's limit, it
/// would be taken for a damaged one.
fn oversize(good: &[u8]) -> Vec<u8> {
    let mut datagram = good.to_vec();
    datagram.resize(9000, 0);
    datagram
}

/// What a node of this name and cluster would send to a seed at `to`.
fn greeting(name: &str, cluster: &str, to: SocketAddr) -> Check<Vec<u8>> {
    let mut config = Config::local();
    cluster.clone_into(&mut config.cluster);
    config.seeds = vec![to];
    // Nobody receives there, and nobody will answer, because nobody accepts what it says.
    let identity = Identity::new(name, SocketAddr::from(([127, 0, 0, 1], 9)))
        .map_err(|error| Failure(error.to_string()))?;
    let (now, wall) = (Instant::ORIGIN, UnixTime::from_millis(1_750_000_000_000));
    let mut node = Node::new(config, identity, [1; 32], now, wall)
        .map_err(|error| Failure(error.to_string()))?;
    let mut buffer = vec![0; node.max_datagram()];
    match node.poll_transmit(now, &mut buffer) {
        Some(transmit) => Ok(transmit.payload.to_vec()),
        None => fail("a newcomer has nothing to say to its seed"),
    }
}
