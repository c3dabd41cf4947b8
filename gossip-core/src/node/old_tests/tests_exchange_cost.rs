//! What it costs two replicas to find what differs, in bytes. Printed; run with `--nocapture`.

use super::*;
use crate::config::Config;
use crate::hlc::Stamp;
use crate::identity::Identity;
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
    // As if each log had come in a datagram of its own.
    node.room = crate::state::room(0);
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

/// A node among a hundred others, more than are listed, that has announced itself.
fn among_others(name: &str, port: u16, first: u64) -> Node {
    let mut node = node(name, port);
    for id in first..first.saturating_add(100) {
        teach(&mut node, Instant::ORIGIN, NodeId::from_u64(id << 32), 1);
    }
    node
}

#[test]
fn a_stranger_introduces_itself_in_the_datagram_that_proves_its_address() {
    let (mut a, mut b) = (among_others("a", 1, 1), among_others("b", 2, 1000));
    a.begin_exchange(b.address);
    let now = Instant::from_nanos(1);
    let (_, syn) = next(&mut a, now).unwrap();
    b.handle_datagram(now, a.address, &syn);
    let (_, challenge) = next(&mut b, now).unwrap();
    assert!(challenge.len() < syn.len() && next(&mut b, now).is_none());
    a.handle_datagram(now, b.address, &challenge);
    let (_, introduction) = next(&mut a, now).unwrap();
    assert!(next(&mut a, now).is_none(), "one datagram does");
    b.handle_datagram(now, a.address, &introduction);
    assert!(b.member(a.own).is_some());
}

/// It proved its address before, but what it said of itself was lost, and it is no news any more.
#[test]
fn whoever_begins_is_asked_for_itself_if_it_is_unknown() {
    let (mut a, mut b) = (among_others("a", 1, 1), among_others("b", 2, 1000));
    b.begin_exchange(a.address);
    while next(&mut b, LONG).is_some() {}
    a.begin_exchange(b.address);
    for _ in 0..2 {
        assert!(b.member(a.own).is_none());
        while let Some((_, leg)) = next(&mut a, LONG) {
            b.handle_datagram(LONG, a.address, &leg);
        }
        while let Some((_, leg)) = next(&mut b, LONG) {
            a.handle_datagram(LONG, b.address, &leg);
        }
    }
    assert!(b.member(a.own).is_some());
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

/// What all have known for long is still remembered as news wherever tables have differed lately.
#[test]
fn what_changed_last_is_given_at_once_however_much_changed_before() {
    let (mut a, mut b) = (node("a", 1), node("b", 2));
    reconcile(&mut a, &mut b, Instant::ORIGIN);
    let storm = LONG.saturating_sub(Duration::from_secs(20));
    for id in 1..=recents::CAPACITY {
        let origin = NodeId::from_u64(u64::try_from(id).unwrap() << 32);
        teach(&mut a, storm, origin, 1);
        teach(&mut b, storm, origin, 1);
    }
    teach(&mut b, LONG, NodeId::from_u64(1 << 48), 1);
    let cost = reconcile(&mut a, &mut b, LONG);
    assert_eq!((cost.exchanges, cost.datagrams), (1, 2), "{cost:?}");
}

/// They have changed lately, but the peer knows them, as most do where a member is new.
#[test]
fn what_is_given_unasked_fits_one_datagram() {
    let (mut a, mut b) = (node("a", 1), node("b", 2));
    reconcile(&mut a, &mut b, Instant::ORIGIN);
    for id in 1..=24 {
        let origin = NodeId::from_u64(id << 32);
        for node in [&mut a, &mut b] {
            let mut log = Log::new(Generation::new(Stamp::at(WALL)));
            log.write(0, b"state", Some(&[b'x'; 1000]));
            node.room = crate::state::room(0);
            node.table.apply(origin, LONG, &log.claim_after(0));
            node.recents.note(origin, LONG);
        }
    }
    teach(&mut b, LONG, NodeId::from_u64(1 << 48), 1);
    // Of a, no more is known than that its table is another.
    a.recents.retain(|_| false);
    a.begin_exchange(b.address);
    while let Some((_, syn)) = next(&mut a, LONG) {
        b.handle_datagram(LONG, a.address, &syn);
    }
    let answer: Vec<_> = core::iter::from_fn(|| next(&mut b, LONG)).collect();
    let bytes: usize = answer.iter().map(|(_, datagram)| datagram.len()).sum();
    assert!((1_000..2_000).contains(&bytes), "{bytes} bytes");
    assert!(answer.len() <= 2);
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
