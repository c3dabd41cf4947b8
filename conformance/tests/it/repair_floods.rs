//! Floods and lies that concern the repair of the shared map: early runs, requests, and frontiers that are told.

use std::net::SocketAddr;

use conformance::forge::{self, Body, Known, message};
use conformance::testkit::{
    LIAR, LIAR_ADDRESS, Loopback, MILLI, SECOND, address, key, liar, stamp,
};
use gossip_core::{Event, Node};

/// Nodes that are honest.
const HONEST: usize = 4;
/// And the liar.
const MEMBERS: u64 = 5;
/// An origin that nobody has heard of.
const NOBODY: u64 = 77 << 40;
/// Bytes of writes with which a node answers one request at most.
const ANSWERED: usize = 16 * 1400;

/// Honest nodes that have written the map, with the liar among their members. What is pushed takes one step, so
/// it does not matter that the liar passes nothing on. Rounds are short, so that early runs are dropped soon.
fn formed() -> Loopback {
    let mut cluster = Loopback::formed(HONEST, |config| config.interval = 250 * MILLI);
    let here = Body::default().entry(1, 0, &[0], Some(&[127, 0, 0, 1, 0, 91]));
    let member = Known {
        origin: LIAR,
        ..nobody(0, 1)
    };
    cluster.forge(&liar().exchange(2, 7).delta(member, 0, 1, 0, &here.0));
    for number in 0..HONEST {
        cluster.put(number, &format!("first of {number}"), "value");
    }
    cluster.pass(5 * SECOND);
    for node in cluster.nodes() {
        assert_eq!(node.map().logs(), HONEST);
        assert_eq!(node.metrics().members, MEMBERS, "the liar is one of them");
    }
    cluster.events.clear();
    cluster
}

fn nobody(number: u64, frontier: u64) -> Known {
    Known {
        origin: NOBODY + number,
        generation: stamp(1),
        frontier,
    }
}

/// A run of one write.
fn run(body: Body, whose: Known, after: u64, bytes: usize, context: &[Known]) -> Body {
    let write = Body::default().write_after(whose, b"forged", Some(&vec![7; bytes]), context);
    body.runs(whose, after, &Body::default().bytes(&write.0).0)
}

/// The requests for missing writes that all nodes have made.
fn asked(cluster: &Loopback) -> u64 {
    let asked = |node: &Node| node.metrics().map_repairs_asked;
    cluster.nodes().map(asked).sum()
}

/// Lies ten times a second, while honest nodes write. Each write is read by all nodes at once, as without lies.
fn lie_for(cluster: &mut Loopback, seconds: usize, mut lie: impl FnMut(&mut Loopback)) {
    for (turn, beat) in (0..10 * seconds).zip(1..) {
        let heartbeat = cluster.framed(&liar().heartbeat(beat));
        for number in (0..HONEST).filter(|_| turn % 2 == 0) {
            cluster.deliver(number, LIAR_ADDRESS.into(), &heartbeat);
        }
        lie(cluster);
        let name = format!("honest {turn}");
        cluster.put(turn % HONEST, &name, "value");
        cluster.pass(5 * MILLI);
        for node in cluster.nodes() {
            assert!(node.get(&key(&name)).is_some(), "{name} is read at once");
        }
        cluster.pass(95 * MILLI);
    }
    for node in cluster.nodes() {
        let metrics = node.metrics();
        assert_eq!((metrics.live, metrics.dropped.malformed), (MEMBERS, 0));
    }
}

/// Nothing that was forged is held, nobody honest was suspected, and all agree.
fn assert_well(cluster: &Loopback) {
    let honest: Vec<_> = cluster.nodes().map(Node::id).collect();
    let doubts = cluster.count_told(|event| match event {
        Event::MemberSuspected { id, .. } | Event::MemberDown { id, .. } => honest.contains(id),
        _ => false,
    });
    assert_eq!(doubts, 0, "nobody honest is suspected");
    assert!(cluster.is_well());
    let hashes: Vec<_> = cluster.nodes().map(|node| node.map().summary()).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "maps agree");
    for node in cluster.nodes() {
        assert_eq!(node.map().logs(), HONEST);
        assert!(node.get(&key("forged")).is_none());
    }
}

/// The liar has fallen silent, so whatever else it sends it is asked once whether it hears, at its own address.
fn without_a_ping(mut sent: Vec<(SocketAddr, Vec<u8>)>) -> Vec<(SocketAddr, Vec<u8>)> {
    let is_ping = |bytes: &[u8]| forge::kind(bytes) == Some(message::PING);
    let ping = sent.iter().position(|(_, bytes)| is_ping(bytes));
    if let Some(at) = ping {
        assert_eq!(sent.remove(at).0, LIAR_ADDRESS.into());
    }
    assert!(sent.iter().all(|(_, bytes)| !is_ping(bytes)), "one ping");
    sent
}

/// Early runs wait for 16 rounds. 64 requests for what was told take 256 intervals, and a quarter more by chance.
/// After that nobody asks.
fn assert_requests_die_away(cluster: &mut Loopback) {
    cluster.pass(80 * SECOND);
    let before = asked(cluster);
    cluster.pass(20 * SECOND);
    assert_eq!(asked(cluster), before, "everybody is silent");
}

#[test]
fn a_flood_of_early_runs_delays_no_honest_write() {
    let mut cluster = formed();
    let mut number = 0;
    lie_for(&mut cluster, 2, |cluster| {
        // A megabyte in all, of which a node keeps a half.
        for _ in 0..50 {
            number += 1;
            cluster.forge(&run(liar().push(), nobody(number, 8), 7, 1000, &[]));
        }
    });
    let requests = asked(&cluster);
    println!("{requests} requests for {number} runs");
    // The pauses double after every eighth request, so that 37 take two seconds at the quickest.
    assert!(requests > 0 && requests <= 4 * 37 * number);
    assert_requests_die_away(&mut cluster);
    assert_well(&cluster);
}

#[test]
fn a_repair_request_brings_a_bounded_answer_however_often_it_is_repeated() {
    let mut cluster = formed();
    let writer = Known::of(cluster.node(0), u64::MAX);
    // Short writes, of which an answer holds many; and so many that one answer cannot hold all.
    for n in 0..2000 {
        cluster.put(0, &format!("key {n}"), "");
        cluster.pass(MILLI / 2);
    }
    let ranges = |ranges: u64| {
        let head = liar().byte(message::MAP_WANT);
        (0..ranges).fold(head, |body, after| body.range(writer, after))
    };
    let mut most = 0;
    for count in [1, 40] {
        for _ in 0..200 {
            let answer = without_a_ping(cluster.forge(&ranges(count)));
            let kinds = answer.iter().map(|(_, bytes)| forge::kind(bytes));
            assert!(kinds.eq(answer.iter().map(|_| Some(message::MAP_RUNS))));
            let bytes: usize = answer.iter().map(|(_, bytes)| bytes.len()).sum();
            assert!(bytes > 0, "a member is answered");
            most = bytes.max(most);
        }
    }
    println!("at most {most} bytes");
    // And what datagrams take beside the runs in them.
    assert!(most <= ANSWERED + 1400, "{most} bytes");
    cluster.pass(10 * SECOND);
    assert_well(&cluster);
}

#[test]
fn a_repair_request_of_a_stranger_or_from_elsewhere_is_not_answered() {
    let mut cluster = formed();
    cluster.put(0, "key", [7; 1000]);
    cluster.pass(10 * MILLI);
    let writer = Known::of(cluster.node(0), u64::MAX);
    let member = Known::of(cluster.node(1), 0);
    let want = |id, generation| Body::from(id, generation).map_want(writer);
    let elsewhere: SocketAddr = ([127, 0, 0, 1], 92).into();
    let asks = [
        // A stranger that has shown where it is, one that has not, and a member at somebody else's address.
        (want(LIAR + 1, stamp(1)), LIAR_ADDRESS.into()),
        (want(LIAR + 1, stamp(1)), elsewhere),
        (want(member.origin, member.generation), elsewhere),
        (want(member.origin, member.generation), LIAR_ADDRESS.into()),
        (want(LIAR, stamp(1)), address(2)),
    ];
    let answered = cluster.node(0).metrics().map_repairs_answered;
    for (ask, from) in &asks {
        let datagram = cluster.framed(ask);
        for _ in 0..100 {
            cluster.deliver(0, *from, &datagram);
            assert_eq!(without_a_ping(cluster.settle()), []);
        }
    }
    assert_eq!(cluster.node(0).metrics().map_repairs_answered, answered);
    // The same request of a member at its address.
    assert!(!without_a_ping(cluster.forge(&want(LIAR, stamp(1)))).is_empty());
}

#[test]
fn requests_for_what_a_forged_frontier_tells_of_die_away() {
    let lies: [fn(Known) -> Body; 2] = [
        |told| liar().push().map_told(told),
        |told| {
            let mut syn = liar().exchange(1, 7).byte(forge::item::MAP_SUMMARY);
            syn.0.extend_from_slice(&[200; 16]);
            syn.fixed(0).map_told(told)
        },
    ];
    for lie in lies {
        let mut cluster = formed();
        let before = asked(&cluster);
        let writer = Known::of(cluster.node(1), u64::MAX);
        cluster.forge(&lie(writer));
        cluster.forge(&lie(nobody(1, u64::MAX)));
        cluster.forge(&lie(Known::of(cluster.node(0), u64::MAX)));
        lie_for(&mut cluster, 5, |_| {});
        assert_requests_die_away(&mut cluster);
        // 64 requests for each of two origins. The third is the node's own.
        let requests = asked(&cluster) - before;
        assert!((64..=2 * 64).contains(&requests), "{requests} requests");
        assert_well(&cluster);
    }
}

#[test]
fn forged_frontiers_without_end_bring_few_requests() {
    let mut cluster = formed();
    let before = asked(&cluster);
    let mut number = 0;
    let writer = Known::of(cluster.node(1), u64::MAX);
    lie_for(&mut cluster, 20, |cluster| {
        for _ in 0..2 {
            let told = liar().push().map_told(writer);
            let told = (0..40).fold(told, |body, _| {
                number += 1;
                body.map_told(nobody(number, u64::MAX))
            });
            cluster.forge(&told);
        }
    });
    let requests = asked(&cluster) - before;
    println!("{requests} requests");
    // At most 256 origins are told of, and each is asked for 64 times, which takes eight seconds at least.
    assert!(requests <= 3 * 256 * 64, "{requests} requests");
    assert_requests_die_away(&mut cluster);
    assert_well(&cluster);
}

#[test]
fn runs_that_build_on_what_never_comes_are_dropped_and_delay_no_honest_write() {
    let mut cluster = formed();
    let mut number = 0;
    lie_for(&mut cluster, 5, |cluster| {
        for _ in 0..2 {
            number += 1;
            let never = [nobody(0, u64::MAX), Known::of(cluster.node(2), u64::MAX)];
            cluster.forge(&run(liar().push(), nobody(number, 1), 0, 100, &never));
            let last = nobody(number, u64::MAX);
            cluster.forge(&run(liar().map_runs(), last, u64::MAX - 1, 100, &never));
        }
    });
    assert_requests_die_away(&mut cluster);
    assert_well(&cluster);
}

#[test]
fn a_writer_outlives_an_early_run_in_its_name() {
    let mut cluster = formed();
    let after = u64::MAX - 1;
    for to in [0, 1, 2] {
        let writer = Known {
            frontier: u64::MAX,
            ..Known::of(cluster.node(1), 0)
        };
        // The first node passes it on to its writer, too.
        cluster.forge(&run(liar().push(), writer, after, 100, &[]));
        cluster.put(1, &format!("later {to}"), "value");
        cluster.pass(1 * SECOND);
        for node in cluster.nodes() {
            assert!(node.get(&key("first of 1")).is_some());
            assert!(node.get(&key(&format!("later {to}"))).is_some());
        }
    }
    assert!(cluster.node(1).metrics().outlived > 0);
    assert_requests_die_away(&mut cluster);
}

#[test]
fn an_answer_that_comes_long_after_a_request_slows_no_request_down() {
    let mut cluster = formed();
    lie_for(&mut cluster, 1, |_| {});
    // The liar is asked for what it tells of, and pushes it.
    cluster.forge(&liar().push().map_told(nobody(1, 1)));
    cluster.pass(16 * MILLI);
    assert_eq!(asked(&cluster), 1);
    cluster.forge(&run(liar().push(), nobody(1, 1), 0, 1, &[]));
    cluster.pass(60 * SECOND);
    cluster.forge(&liar().map_runs());
    // At the pace of a round trip, 500 ms are enough for more than eight requests.
    cluster.forge(&liar().push().map_told(nobody(2, 1)));
    cluster.pass(500 * MILLI);
    let requests = asked(&cluster) - 1;
    assert!((9..=64).contains(&requests), "{requests} requests");
}
