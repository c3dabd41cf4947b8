//! Inputs of every kind, in any order and shape: datagrams, times, clocks.

use core::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::node::Status;

#[test]
fn garbage_changes_nothing_and_is_counted_by_reason() {
    let mut node = node();
    let (_, good) = sent(&mut node_with_seed("b", 2, 1), at(0)).remove(0);
    let hash = node.table_hash();
    let mut give = |datagram: &[u8]| {
        let before = node.metrics().dropped;
        node.handle_datagram(at(1), address(9), datagram);
        assert_eq!(node.table_hash(), hash);
        let after = node.metrics().dropped;
        assert_eq!(after.total(), before.total() + 1);
        [
            ("length", after.length - before.length),
            ("version", after.version - before.version),
            ("cluster", after.cluster - before.cluster),
            ("checksum", after.checksum - before.checksum),
            ("malformed", after.malformed - before.malformed),
            ("unknown", after.unknown - before.unknown),
            ("own", after.own - before.own),
        ]
        .into_iter()
        .find(|(_, counted)| *counted == 1)
        .unwrap()
        .0
    };
    assert_eq!(give(b""), "length");
    assert_eq!(give(&[1; 9000]), "length");
    assert_eq!(give(&[2; 100]), "version");
    assert_eq!(give(&good[..good.len() - 1]), "checksum");
    let mut flipped = good.clone();
    flipped[20] ^= 4;
    assert_eq!(give(&flipped), "checksum");
    let mut foreign = node_with("c", 3, |config| {
        config.cluster = "other".into();
        config.seeds = [address(1)].into();
    });
    assert_eq!(give(&sent(&mut foreign, at(0)).remove(0).1), "cluster");
    assert_eq!(give(&framed(&[0; 3])), "malformed");
    assert_eq!(give(&framed(&[200; 30])), "unknown");
    let mut namesake = node_with_seed("a", 1, 2);
    assert_eq!(give(&sent(&mut namesake, at(0)).remove(0).1), "own");

    node.handle_datagram(at(1), address(2), &good);
    assert_eq!(sent(&mut node, at(1)).len(), 1, "the good one is answered");
}

#[test]
fn setting_the_wall_clock_every_second_changes_nothing() {
    let mut node = node();
    sent(&mut node, at(0));
    events(&mut node);
    let (hash, generation) = (node.table_hash(), node.generation());
    for second in 1..=100 {
        // The clock runs fast, and is set back every now and then.
        let drift = Duration::from_millis(second * 1_001 - second % 10 * 20);
        let wall = WALL.saturating_add(drift);
        let deadline = node.poll_timeout();
        let now = at(second);
        node.handle_command(now, Command::SetWallClock { wall })
            .unwrap();
        assert_eq!(node.poll_timeout(), deadline);
        assert!(!node.has_event());
        assert!(sent(&mut node, now).is_empty());
    }
    assert_eq!((node.table_hash(), node.generation()), (hash, generation));
}

#[test]
fn setting_the_same_value_again_changes_nothing() {
    let mut node = node();
    let unset = |node: &mut Node, key| {
        let key = Key::new(key).unwrap();
        node.handle_command(at(2), Command::Unset { key }).unwrap();
    };
    set(&mut node, "k", b"v").unwrap();
    let hash = node.table_hash();
    set(&mut node, "k", b"v").unwrap();
    assert_eq!(node.table_hash(), hash);
    unset(&mut node, "other");
    assert_eq!(node.table_hash(), hash);
    unset(&mut node, "k");
    assert_ne!(node.table_hash(), hash);
    assert_eq!(own(&node).attribute(&Key::new("k").unwrap()), None);
}

/// A socket of both address families reports an IPv4 peer that way.
#[test]
fn an_ipv4_address_mapped_into_ipv6_counts_as_the_ipv4_address() {
    let mut nodes = [node_with_seed("a", 1, 1), node_with_seed("b", 2, 1)];
    play(&mut nodes, 0, 5_000);
    let [a, b] = &mut nodes;
    let challenges = b.metrics().challenges;
    set(a, "key", b"value").unwrap();
    let IpAddr::V4(ip) = address(1).ip() else {
        panic!("loopback")
    };
    let mapped = SocketAddr::new(ip.to_ipv6_mapped().into(), 1);
    let (exchanges, mut now) = (a.metrics().exchanges, at(5_000));
    while a.metrics().exchanges == exchanges {
        now = a.poll_timeout().unwrap();
        a.handle_timeout(now);
        // The push of the key is lost, so that the SYN finds different tables.
        let datagrams = sent(a, now);
        if a.metrics().exchanges > exchanges {
            for (_, datagram) in datagrams {
                b.handle_datagram(now, mapped, &datagram);
            }
        }
    }
    assert_eq!(b.metrics().challenges, challenges);
    let answers = receivers(b, now);
    assert!(!answers.is_empty() && answers.iter().all(|to| *to == address(1)));
}

#[test]
fn an_earlier_now_counts_as_the_latest_one() {
    let mut node = node();
    node.handle_timeout(at(500));
    let due = node.poll_timeout();
    node.handle_timeout(at(100));
    assert_eq!(node.poll_timeout(), due);
    // The write is pushed a moment later, not a moment after some earlier time.
    set(&mut node, "k", b"v").unwrap();
    assert!(node.poll_timeout().unwrap() > at(500));
}

/// As long as no one else votes against it, a member that this node finds silent stays suspect.
#[test]
fn a_silent_member_is_suspect_while_nobody_else_votes_against_it() {
    let mut node = node();
    let generation = generation_after(0);
    for member in 5..=8 {
        let entries = entries_at(member);
        push(&mut node, at(1), delta(member.into(), generation, &entries));
    }
    let status = |node: &Node| node.member(NodeId::from_u64(5)).unwrap().status();
    for second in 1..60 {
        let silent = u64::from(second > 10);
        for member in 5 + silent..=8 {
            let sender = Sender {
                id: NodeId::from_u64(member),
                generation,
            };
            let mut body = [0; 100];
            let message = Message::Heartbeat { counter: second };
            let len = Encoder::new(Space::all(&mut body), sender, message)
                .unwrap()
                .len();
            node.handle_datagram(at(second * 1000), address(9), &framed(&body[..len]));
        }
        while let Some(due) = node
            .poll_timeout()
            .filter(|due| *due < at(second * 1000 + 1000))
        {
            node.handle_timeout(due);
            sent(&mut node, due);
        }
        match second {
            0..=10 => assert_eq!(status(&node), Status::Up),
            20.. => assert_eq!(status(&node), Status::Suspect, "{second} s"),
            _ => {}
        }
    }
}

#[test]
fn a_member_that_nobody_else_observes_is_up_then_suspect_then_down() {
    let mut node = node();
    let entries = entries_at(5);
    push(&mut node, at(1), delta(5, generation_after(0), &entries));
    let mut seen = Vec::new();
    while let Some(due) = node.poll_timeout().filter(|due| *due < at(30_000)) {
        node.handle_timeout(due);
        sent(&mut node, due);
        seen.push(node.member(NodeId::from_u64(5)).unwrap().status());
    }
    seen.dedup();
    assert_eq!(seen, [Status::Up, Status::Suspect, Status::Down]);
}

/// The votes that go with a voter were not withdrawn.
#[test]
fn a_member_stays_down_when_a_voter_is_removed_but_not_when_it_withdraws_its_vote() {
    for (is_removed, status) in [(true, Status::Down), (false, Status::Up)] {
        let mut node = node();
        let generation = generation_after(0);
        for member in 1..=4 {
            let entries = entries_at(member + 10);
            push(&mut node, at(1), delta(member.into(), generation, &entries));
        }
        let subject = NodeId::from_u64(1);
        let vote = vote_against(subject, generation);
        let votes = encode_votes([vote].iter(), usize::MAX);
        let mut log = Log::new(generation);
        log.write(0, ADDRESS, Some(&encode_address(address(12))));
        log.write(0, STATUS, Some(Declared::Up.encode()));
        log.write(0, VOTES, Some(&votes));
        let mut publish = |now, voter, log: &Log| {
            let whole = Delta {
                origin: NodeId::from_u64(voter),
                upto: log.frontier(),
                frontier: log.frontier(),
                floor: log.floor(),
                ..delta(voter, generation, log.after(0).rest())
            };
            push(&mut node, at(now), whole);
            node.member(subject).unwrap().status()
        };
        publish(100, 2, &log);
        assert_eq!(publish(200, 3, &log), Status::Down);
        log.write(1, VOTES, Some(b""));
        if is_removed {
            log.bury(2);
        }
        assert_eq!(publish(300, 2, &log), status);
    }
}

proptest! {
    /// However time is fed, nothing overflows.
    #[test]
    fn the_next_deadline_always_lies_ahead(steps in proptest::collection::vec(any::<u64>(), 1..60)) {
        let mut node = node_with_seed("a", 1, 2);
        let mut latest = 0;
        for step in steps {
            let now = Instant::from_nanos(step);
            latest = latest.max(step);
            node.handle_timeout(now);
            if latest < u64::MAX && step == latest {
                prop_assert!(node.poll_timeout().unwrap() > now);
            }
            sent(&mut node, now);
            events(&mut node);
        }
    }

    /// Nor does any datagram, in a valid frame or not, make a node send more than it should.
    #[test]
    fn no_datagram_makes_a_node_panic(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20),
    ) {
        let mut node = node();
        for body in bodies {
            node.handle_datagram(at(1), address(9), &framed(&body));
            node.handle_datagram(at(1), address(9), &body);
            prop_assert!(sent(&mut node, at(1)).len() <= 16);
        }
    }
}
