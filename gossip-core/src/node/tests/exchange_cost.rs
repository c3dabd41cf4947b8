//! How many bytes and datagrams two nodes need to find what differs.

use super::*;
use crate::context::recent_changes::CAPACITY;
use crate::sync::leg::FIRST_LEG;
use crate::wire::datagram::Datagram;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

const ORIGINS: usize = 10_000;
const DIFFERENT: usize = 10;

/// Longer after the beginning than anything is news.
const LONG: Instant = Instant::from_nanos(600_000_000_000);

/// A node that has been up for a moment.
fn idle(name: &str, port: u16) -> Node {
    let mut node = node_with(name, port, |config| config.max_members = 20_000);
    sent(&mut node, Instant::ORIGIN);
    node
}

/// Reads a datagram of an exchange: its leg, and its bytes without the deltas. `None` for other kinds.
fn leg(datagram: &[u8]) -> Option<(u8, usize)> {
    let body = frame::open(ClusterTag::of("test"), 1400, datagram).unwrap();
    let read = Datagram::decode(body).unwrap();
    let Message::Exchange(head) = read.message else {
        return None;
    };
    let mut room = [0; 1400];
    let deltas = read.items.filter(|item| matches!(item, Item::Delta(_)));
    let bytes: usize = deltas
        .map(|delta| postcard::to_slice(&delta, &mut room).unwrap().len())
        .sum();
    Some((head.leg, datagram.len() - bytes))
}

/// Teaches a node that a member has left, in so many entries.
///
/// Members that have left take part in exchanges like others, and have no part in the rest.
fn teach(node: &mut Node, now: Instant, origin: NodeId, entries: u64) {
    teach_log(node, now, origin, |log| {
        for _ in 0..entries {
            log.write(0, STATUS, Some(Declared::Left.encode()));
        }
    });
}

fn teach_log(node: &mut Node, now: Instant, origin: NodeId, write: impl Fn(&mut Log)) {
    let mut log = Log::new(generation_after(0));
    write(&mut log);
    let delta = Delta {
        origin,
        generation: log.generation(),
        after: 0,
        upto: log.frontier(),
        frontier: log.frontier(),
        floor: 0,
        entries: log.after(0).rest(),
    };
    push(node, now, delta);
    // The peer is not to hear of it that way.
    sent(node, now);
}

/// What exchanges took, deltas not counted.
#[derive(Debug, Default)]
struct Cost {
    bytes: usize,
    datagrams: usize,
    exchanges: usize,
}

/// Carries the legs of exchanges between two nodes until both are quiet. Other messages are lost.
fn carry(nodes: [&mut Node; 2], now: Instant, cost: &mut Cost) {
    let [a, b] = nodes;
    loop {
        let legs = carry_one_way(a, b, now, cost) + carry_one_way(b, a, now, cost);
        if legs == 0 {
            break;
        }
    }
}

fn carry_one_way(from: &mut Node, to: &mut Node, now: Instant, cost: &mut Cost) -> usize {
    let mut legs = 0;
    let [source, target] = [&*from, &*to].map(|node| own(node).address());
    while let Some((address, datagram)) = next(from, now) {
        let Some((leg, bytes)) = leg(&datagram).filter(|_| address == target) else {
            continue;
        };
        legs += 1;
        cost.bytes += bytes;
        cost.datagrams += 1;
        cost.exchanges += usize::from(leg == FIRST_LEG);
        to.handle_datagram(now, source, &datagram);
    }
    legs
}

/// Has two nodes meet until they know each other, or they would be strangers, and hold the same table.
fn introduce(a: &mut Node, b: &mut Node) {
    for node in [&mut *a, &mut *b] {
        node.handle_timeout(Instant::ORIGIN);
    }
    set_seeds(a, Instant::ORIGIN, &[2]);
    let [source, target] = [&*a, &*b].map(|node| own(node).address());
    for _ in 0..20 {
        for (_, datagram) in sent(a, Instant::ORIGIN) {
            b.handle_datagram(Instant::ORIGIN, source, &datagram);
        }
        for (_, datagram) in sent(b, Instant::ORIGIN) {
            a.handle_datagram(Instant::ORIGIN, target, &datagram);
        }
    }
    set_seeds(a, Instant::ORIGIN, &[]);
    assert_eq!(a.table_hash(), b.table_hash());
}

/// Has `a` begin exchanges with `b`, in its rounds, until their tables are the same.
fn reconcile(a: &mut Node, b: &mut Node, mut now: Instant) -> Cost {
    let mut cost = Cost::default();
    a.handle_timeout(now);
    carry([&mut *a, &mut *b], now, &mut cost);
    while a.table_hash() != b.table_hash() {
        assert!(cost.exchanges < 4, "{cost:?}");
        now = now.max(a.poll_timeout().unwrap());
        a.handle_timeout(now);
        carry([&mut *a, &mut *b], now, &mut cost);
    }
    cost
}

/// Two nodes that know the same origins, but `b` knows more about some since `changed`.
fn replicas(changed: Instant) -> (Node, Node) {
    let (mut a, mut b) = (idle("a", 1), idle("b", 2));
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
    introduce(&mut a, &mut b);
    for origin in different {
        teach(&mut b, changed, origin, 2);
    }
    (a, b)
}

/// A node that knows a hundred others, more than a SYN lists.
fn among_others(name: &str, port: u16, first: u64) -> Node {
    let mut node = idle(name, port);
    for id in first..first + 100 {
        teach(&mut node, Instant::ORIGIN, NodeId::from_u64(id << 32), 1);
    }
    node
}

#[test]
fn a_stranger_introduces_itself_in_the_datagram_that_proves_its_address() {
    let (mut a, mut b) = (among_others("a", 1, 1), among_others("b", 2, 1000));
    let now = Instant::from_nanos(1);
    set_seeds(&mut a, now, &[2]);
    let (_, syn) = next(&mut a, now).unwrap();
    b.handle_datagram(now, address(1), &syn);
    let (_, challenge) = next(&mut b, now).unwrap();
    assert!(challenge.len() < syn.len() && next(&mut b, now).is_none());
    a.handle_datagram(now, address(2), &challenge);
    let (_, introduction) = next(&mut a, now).unwrap();
    assert!(next(&mut a, now).is_none(), "one datagram is enough");
    b.handle_datagram(now, address(1), &introduction);
    assert!(b.member(a.id()).is_some());
}

/// Its address needs no proof, because the other node has asked it something. But what it said of
/// itself was lost, and it is no news any more.
#[test]
fn an_unknown_node_that_begins_an_exchange_is_asked_for_its_own_log() {
    let (mut a, mut b) = (among_others("a", 1, 1), among_others("b", 2, 1000));
    set_seeds(&mut b, LONG, &[1]);
    sent(&mut b, LONG);
    set_seeds(&mut a, LONG, &[2]);
    for _ in 0..2 {
        assert!(b.member(a.id()).is_none());
        for (_, leg) in sent(&mut a, LONG) {
            b.handle_datagram(LONG, address(1), &leg);
        }
        for (_, leg) in sent(&mut b, LONG) {
            a.handle_datagram(LONG, address(2), &leg);
        }
    }
    assert!(b.member(a.id()).is_some());
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
        assert!(cost.bytes <= 4_096, "{cost:?}");
    }
}

/// Wherever tables have differed lately, old news is still remembered as news.
#[test]
fn the_latest_change_is_given_at_once_however_many_came_before() {
    let (mut a, mut b) = (idle("a", 1), idle("b", 2));
    introduce(&mut a, &mut b);
    let storm = LONG.saturating_sub(Duration::from_secs(20));
    for id in (1..).take(CAPACITY) {
        teach(&mut a, storm, NodeId::from_u64(id << 32), 1);
        teach(&mut b, storm, NodeId::from_u64(id << 32), 1);
    }
    teach(&mut b, LONG, NodeId::from_u64(1 << 48), 1);
    let cost = reconcile(&mut a, &mut b, LONG);
    assert_eq!((cost.exchanges, cost.datagrams), (1, 2), "{cost:?}");
}

/// Large logs have changed lately, but the peer knows them, as most do where a member is new.
#[test]
fn what_is_given_unasked_fits_one_datagram() {
    let (mut a, mut b) = (idle("a", 1), idle("b", 2));
    introduce(&mut a, &mut b);
    let large = |log: &mut Log| {
        log.write(0, STATUS, Some(Declared::Left.encode()));
        log.write(0, b"state", Some(&[b'x'; 1000]));
    };
    for id in 1..=24 {
        let origin = NodeId::from_u64(id << 32);
        // For `a` it is no news any more: its SYN tells only that the tables differ.
        teach_log(&mut a, Instant::ORIGIN, origin, large);
        teach_log(&mut b, LONG, origin, large);
    }
    teach(&mut b, LONG, NodeId::from_u64(1 << 48), 1);
    a.handle_timeout(LONG);
    let syns = carry_one_way(&mut a, &mut b, LONG, &mut Cost::default());
    assert_eq!(syns, 1);
    let answer = sent(&mut b, LONG);
    let bytes: usize = answer.iter().map(|(_, datagram)| datagram.len()).sum();
    assert!((1_000..2_000).contains(&bytes), "{bytes} bytes");
    assert!(answer.len() <= 2);
}

/// The lengths of all SYNs sent between two moments, in which nodes send nothing but SYNs and
/// heartbeats.
fn syns(nodes: &mut [Node], from: u64, to: u64) -> Vec<usize> {
    let mut lengths = Vec::new();
    play_and_watch(nodes, from, to, |datagram| {
        let body = frame::open(ClusterTag::of("test"), 1400, datagram).unwrap();
        match Datagram::decode(body).unwrap().message {
            Message::Heartbeat { .. } => {}
            Message::Exchange(head) if head.leg == FIRST_LEG => lengths.push(datagram.len()),
            other => panic!("{other:?}"),
        }
    });
    lengths
}

#[test]
fn at_rest_a_syn_takes_47_bytes_and_51_once_a_tombstone_was_pruned() {
    for size in [2, 5, 12] {
        let started = |port| {
            node_with(&std::format!("n{port}"), port, |config| {
                config.seeds = [address(1)].into();
                config.remove_after = Duration::from_secs(15);
                config.gc_grace = Duration::from_secs(60);
                config.forget_after = Duration::from_secs(60);
            })
        };
        let mut nodes: Vec<Node> = (1..=size).map(started).collect();
        play(&mut nodes, 0, 20_000);
        let lengths = syns(&mut nodes, 20_000, 40_000);
        assert!(lengths.len() >= usize::from(size) * 18, "{}", lengths.len());
        assert_lengths(&lengths, 47);
        if size == 2 {
            continue; // Nobody is left to talk to.
        }
        // One node crashes. Its member is removed, and later the tombstone is pruned.
        nodes.pop();
        play(&mut nodes, 40_000, 220_000);
        for node in &nodes {
            assert_eq!(node.metrics().members, u64::from(size) - 1);
        }
        let lengths = syns(&mut nodes, 220_000, 240_000);
        assert!(!lengths.is_empty());
        assert_lengths(&lengths, 51);
    }
}

/// All SYNs are of this length, but for those of one round in sixteen, which tell what the clock shows in eight bytes.
fn assert_lengths(lengths: &[usize], expected: usize) {
    let with_clock = lengths.iter().filter(|len| **len == expected + 8).count();
    let bare = lengths.iter().filter(|len| **len == expected).count();
    assert_eq!(with_clock + bare, lengths.len(), "{lengths:?}");
    assert!(with_clock <= lengths.len().div_ceil(8), "{lengths:?}");
}
