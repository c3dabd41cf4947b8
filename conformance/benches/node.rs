//! What one input costs a node that knows a thousand members.
//!
//! `cargo bench -p conformance --bench node`. Whole clusters, and what they allocate, are measured by
//! `simulate steady` and the test `allocation`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark may panic, and is no interface"
)]

use core::hint::black_box;
use core::net::SocketAddr;
use core::time::Duration;
use std::time::Instant as Wall;

use conformance::forge::{self, Body, Known, framed};
use criterion::{Criterion, criterion_group, criterion_main};
use gossip_core::{Config, Identity, Instant, Node, NodeId, UnixTime};

const WALL: UnixTime = UnixTime::from_millis(1_767_225_600_000);
/// A little after [`WALL`], as a stamp.
const STAMP: u64 = (1_767_225_600_000 + 5) << 16;
const MEMBERS: u64 = 1000;
const SECOND: Duration = Duration::from_secs(1);
const ROOM: usize = 1400 - forge::HEADER - forge::TRAILER;
/// The first byte of a body after the sender says what it is.
const KIND: usize = forge::HEADER + 16;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Two real nodes that know one another, and 998 members that exist in their tables alone.
struct Pair {
    nodes: [Node; 2],
    now: Instant,
    /// A datagram of the cluster, for its header.
    real: Vec<u8>,
    /// How far the members are known.
    frontier: u64,
}

impl Pair {
    fn new() -> Self {
        let node = |number: u16| {
            let mut config = Config::lan();
            config.seeds = vec![address(0x8000), address(0x8001)];
            let at = address(0x8000 + number);
            let identity = Identity::new(&format!("n{number}"), at).unwrap();
            let seed = [u8::try_from(number).unwrap(); 32];
            Node::new(config, identity, seed, Instant::ORIGIN, WALL).unwrap()
        };
        let mut pair = Self {
            nodes: [node(0), node(1)],
            now: Instant::ORIGIN,
            real: Vec::new(),
            frontier: 0,
        };
        for _ in 0..10 {
            pair.pass();
        }
        // A datagram may bring so many unknown members and no more.
        for _ in 0..3 {
            pair.teach(0..MEMBERS - 2, &[0, 1]);
        }
        pair.pass();
        let [a, b] = &pair.nodes;
        assert_eq!(a.metrics().live, MEMBERS);
        assert_eq!(a.table_hash(), b.table_hash());
        pair
    }

    /// One more second.
    fn pass(&mut self) {
        self.now = self.now.saturating_add(SECOND);
        for node in &mut self.nodes {
            node.handle_timeout(self.now);
        }
        self.carry();
    }

    /// Hands each node what the other has for it, until both are silent.
    fn carry(&mut self) {
        let mut buffer = [0; 1400];
        let mut quiet = 0;
        while quiet < 2 {
            quiet = 0;
            for from in 0..2 {
                let mut silent = true;
                while let Some(transmit) = self.nodes[from].poll_transmit(self.now, &mut buffer) {
                    silent = false;
                    if self.real.is_empty() {
                        self.real = transmit.payload.to_vec();
                    }
                    let port = transmit.to.port();
                    if port == 0x8001 - u16::try_from(from).unwrap() {
                        let at = address(0x8000 + u16::try_from(from).unwrap());
                        self.nodes[1 - from].handle_datagram(self.now, at, transmit.payload);
                    }
                }
                while self.nodes[from].poll_event().is_some() {}
                quiet += usize::from(silent);
            }
        }
    }

    /// The head of a datagram that one node sends the other.
    fn from(&self, node: usize) -> Body {
        let node = &self.nodes[node];
        Body::from(node.id().as_u64(), node.generation().stamp().to_bits())
    }

    /// Datagrams that tell of members, up to one entry more than was known.
    fn news(&self, members: impl Iterator<Item = u64>, node: usize) -> Vec<Vec<u8>> {
        let frontier = self.frontier + 3;
        let empty = self.from(node).exchange(2, 0);
        let mut datagrams = vec![empty.clone()];
        for member in members {
            let port = u16::try_from(member).unwrap().to_be_bytes();
            let log = Body::default()
                .entry(1, 0, &[0], Some(&[127, 0, 0, 1, port[0], port[1]]))
                .entry(2, 0, &[1], Some(b"some-name"))
                .entry(frontier, 0, &[2], Some(&[1]));
            let known = Known {
                origin: origin(member),
                generation: STAMP,
                frontier,
            };
            let longer = |body: &Body| body.clone().delta(known, 0, frontier, 0, &log.0);
            let last = datagrams.last_mut().unwrap();
            let fuller = longer(last);
            if fuller.0.len() <= ROOM {
                *last = fuller;
            } else {
                datagrams.push(longer(&empty));
            }
        }
        let framed = |body: &Body| framed(&self.real, &body.0);
        datagrams.iter().map(framed).collect()
    }

    /// Some of the nodes learn one more entry of each of these members.
    fn teach(&mut self, members: core::ops::Range<u64>, nodes: &[usize]) {
        let mut buffer = [0; 1400];
        for node in nodes {
            let at = address(0x8001 - u16::try_from(*node).unwrap());
            for datagram in self.news(members.clone(), 1 - node) {
                self.nodes[*node].handle_datagram(self.now, at, &datagram);
            }
            while self.nodes[*node]
                .poll_transmit(self.now, &mut buffer)
                .is_some()
            {}
            while self.nodes[*node].poll_event().is_some() {}
        }
        self.frontier += 1;
    }

    /// The SYN of the second node while both agree and nothing is news: between two votes against
    /// members that exist in tables alone, and are found silent one after the other.
    fn syn_at_rest(&mut self) -> Vec<u8> {
        for _ in 0..1000 {
            self.pass();
            let syn = self.syn();
            let [a, b] = &self.nodes;
            if syn.len() == LEAST_SYN && a.table_hash() == b.table_hash() {
                return syn;
            }
        }
        panic!("the two never come to rest");
    }

    /// What the second node begins its exchanges with.
    fn syn(&mut self) -> Vec<u8> {
        let mut buffer = [0; 1400];
        loop {
            self.now = self.now.saturating_add(SECOND / 10);
            let now = self.now;
            self.nodes[1].handle_timeout(now);
            let mut syn = None;
            while let Some(transmit) = self.nodes[1].poll_transmit(now, &mut buffer) {
                if transmit.payload[KIND] == 3 && transmit.payload[KIND + 1] == 1 {
                    syn = Some(transmit.payload.to_vec());
                }
            }
            if let Some(syn) = syn {
                return syn;
            }
        }
    }
}

/// The length of a SYN that tells nothing but the hash.
const LEAST_SYN: usize = 47;

/// Ids spread evenly, as those of real names are.
fn origin(member: u64) -> u64 {
    (member + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn heartbeat(c: &mut Criterion) {
    let mut pair = Pair::new();
    let observed: Vec<u64> = (0..MEMBERS - 2)
        .map(origin)
        .filter(|id| pair.nodes[0].phi(NodeId::from_u64(*id)).is_some())
        .collect();
    assert!(observed.len() >= 7);
    let mut counter = 0;
    let mut buffer = [0; 1400];
    c.bench_function("a heartbeat of a neighbour", |b| {
        b.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            let mut left = iterations;
            while left > 0 {
                // One interval: all neighbours but one are heard, and what else is due is not timed.
                counter += 1;
                let heartbeats: Vec<_> = (observed.iter().take(usize::try_from(left).unwrap_or(8)))
                    .map(|id| framed(&pair.real, &Body::from(*id, STAMP).heartbeat(counter).0))
                    .collect();
                pair.now = pair.now.saturating_add(SECOND);
                let node = &mut pair.nodes[0];
                node.handle_timeout(pair.now);
                while node.poll_transmit(pair.now, &mut buffer).is_some() {}
                while node.poll_event().is_some() {}
                let began = Wall::now();
                for heartbeat in &heartbeats {
                    node.handle_datagram(pair.now, address(9), black_box(heartbeat));
                }
                took += began.elapsed();
                left -= u64::try_from(heartbeats.len()).unwrap();
            }
            took
        });
    });
    let neighbour = NodeId::from_u64(observed[0]);
    c.bench_function("phi of a neighbour", |b| {
        b.iter(|| pair.nodes[0].phi(black_box(neighbour)));
    });
}

fn exchange(c: &mut Criterion) {
    let mut pair = Pair::new();
    let syn = pair.syn_at_rest();
    let at = address(0x8001);
    let agreements = pair.nodes[0].metrics().exchanges_in_agreement;
    c.bench_function("a SYN that agrees", |b| {
        b.iter(|| pair.nodes[0].handle_datagram(pair.now, at, black_box(&syn)));
    });
    assert!(pair.nodes[0].metrics().exchanges_in_agreement > agreements);
    c.bench_function("a full datagram that brings nothing new", |b| {
        pair.frontier -= 1;
        let old = pair.news(0..40, 1);
        pair.frontier += 1;
        b.iter(|| pair.nodes[0].handle_datagram(pair.now, at, black_box(&old[0])));
    });
    c.bench_function("an exchange that finds ten differences", |b| {
        b.iter_custom(|iterations| {
            let mut took = Duration::ZERO;
            for _ in 0..iterations {
                pair.teach(0..10, &[1]);
                let syn = pair.syn();
                let began = Wall::now();
                pair.nodes[0].handle_datagram(pair.now, at, &syn);
                pair.carry();
                took += began.elapsed();
                assert_eq!(pair.nodes[0].table_hash(), pair.nodes[1].table_hash());
            }
            took
        });
    });
}

criterion_group!(benches, heartbeat, exchange);
criterion_main!(benches);
