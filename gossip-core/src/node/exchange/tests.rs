//! What it costs two replicas to find what differs, in bytes. Printed; run with `--nocapture`.

use super::*;
use crate::config::Config;
use crate::id::Identity;
use crate::stamp::Stamp;
use crate::state::attribute::{Declared, STATUS};
use crate::state::log::Log;
use crate::time::UnixTime;
use crate::wire::frame::{self, ClusterTag};
use crate::wire::message::Datagram;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::println;

const WALL: UnixTime = UnixTime::from_millis(1_767_225_600_000);
const ORIGINS: usize = 10_000;
const DIFFERENT: usize = 10;

/// Longer ago than anything is news.
const LONG: Instant = Instant::from_nanos(600_000_000_000);

fn node(name: &str, port: u16) -> Node {
    let mut config = Config::lan();
    config.cluster = "test".into();
    config.max_members = 20_000;
    let identity = Identity::new(name, address(port)).unwrap();
    let mut node = Node::new(config, identity, [1; 32], Instant::ORIGIN, WALL).unwrap();
    while next(&mut node, Instant::ORIGIN).is_some() {}
    // As if each log had come in a datagram of its own.
    node.room_for_newcomers = ORIGINS;
    node
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn next(node: &mut Node, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
    let mut buffer = [0; 1400];
    let transmit = node.poll_transmit(now, &mut buffer)?;
    Some((transmit.to, transmit.payload.to_vec()))
}

/// Teaches a node the log of an origin, up to one or two entries.
fn teach(node: &mut Node, now: Instant, origin: NodeId, entries: u64) {
    let generation = Generation::new(Stamp::at(WALL));
    let mut log = Log::new(generation);
    for _ in 0..entries {
        log.write(0, STATUS, Some(Declared::Left.encode()));
    }
    node.take_in(
        now,
        &Delta {
            origin,
            generation,
            after: 0,
            upto: entries,
            frontier: entries,
            floor: 0,
            entries: log.after(0).rest(),
        },
        Sent::Alone,
    );
}

/// What an exchange took, deltas not counted.
#[derive(Debug, Default)]
struct Cost {
    bytes: usize,
    datagrams: usize,
    exchanges: usize,
}

fn without_deltas(datagram: &[u8]) -> usize {
    let body = frame::open(ClusterTag::of("test"), 1400, datagram).unwrap();
    let read = Datagram::decode(body).unwrap();
    let mut room = [0; 1400];
    let deltas = read.items.filter(|item| matches!(item, Item::Delta(_)));
    let bytes: usize = deltas
        .map(|delta| postcard::to_slice(&delta, &mut room).unwrap().len())
        .sum();
    datagram.len() - bytes
}

/// Lets two nodes meet until their tables are the same.
fn reconcile(a: &mut Node, b: &mut Node, now: Instant) -> Cost {
    let mut cost = Cost::default();
    while a.table.hash() != b.table.hash() {
        cost.exchanges += 1;
        assert!(cost.exchanges <= 4, "{cost:?}");
        a.begin_exchange(b.address);
        loop {
            let mut quiet = true;
            for from_a in [true, false] {
                let (from, to) = if from_a {
                    (&mut *a, &mut *b)
                } else {
                    (&mut *b, &mut *a)
                };
                while let Some((address, datagram)) = next(from, now) {
                    if address == to.address {
                        cost.bytes += without_deltas(&datagram);
                        cost.datagrams += 1;
                        to.handle_datagram(now, from.address, &datagram);
                        quiet = false;
                    }
                }
            }
            if quiet {
                break;
            }
        }
    }
    cost
}

/// Two replicas of the same origins, of which `b` knows more about some since `changed`.
fn replicas(changed: Instant) -> (Node, Node) {
    let (mut a, mut b) = (node("a", 1), node("b", 2));
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut different = Vec::new();
    for n in 0..ORIGINS {
        let origin = NodeId::from_u64(rng.next_u64());
        teach(&mut a, Instant::ORIGIN, origin, 1);
        teach(&mut b, Instant::ORIGIN, origin, 1);
        if n.is_multiple_of(ORIGINS / DIFFERENT) {
            different.push(origin);
        }
    }
    // They know each other, or they would be strangers.
    reconcile(&mut a, &mut b, Instant::ORIGIN);
    for origin in different {
        teach(&mut b, changed, origin, 2);
    }
    (a, b)
}

#[test]
fn ten_recent_differences_among_ten_thousand_origins_cost_little() {
    for b_begins in [false, true] {
        let (mut a, mut b) = replicas(LONG);
        let cost = if b_begins {
            reconcile(&mut b, &mut a, LONG)
        } else {
            reconcile(&mut a, &mut b, LONG)
        };
        println!("ten recent, of {ORIGINS}, who has them begins: {b_begins}: {cost:?}");
        assert!(cost.bytes <= 400, "{cost:?}");
        assert_eq!(cost.exchanges, 1);
    }
}

#[test]
fn ten_old_differences_among_ten_thousand_origins_are_narrowed_down() {
    for b_begins in [false, true] {
        let (mut a, mut b) = replicas(Instant::ORIGIN);
        let cost = if b_begins {
            reconcile(&mut b, &mut a, LONG)
        } else {
            reconcile(&mut a, &mut b, LONG)
        };
        println!("ten old, of {ORIGINS}, who has them begins: {b_begins}: {cost:?}");
        assert!(cost.bytes <= 4_096, "{cost:?}");
    }
}

#[test]
fn in_push_mode_a_change_is_told_for_as_long_as_it_takes() {
    // ln(100 * 1000) / 3 and / 1.5.
    assert!((rounds_of_pushing(100, 3, 0.0) - 4.0).abs() < 1e-9);
    assert!((rounds_of_pushing(100, 3, 0.5) - 7.675).abs() < 0.01);
    assert!((rounds_of_pushing(1000, 3, 0.5) - 9.21).abs() < 0.01);
    assert!((rounds_of_pushing(1000, 1, 1.0) - 60.0).abs() < 1e-9);
    assert!((rounds_of_pushing(0, 16, f64::NAN) - 60.0).abs() < 1e-9);
}
