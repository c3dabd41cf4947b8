//! Not compiled: tests of failure detection that are yet to be rewritten as tests of the machine.

use super::*;
use crate::command::{Key, MAX_WATCHED, Value};
use crate::failure::probes::Sign;
use crate::hlc::Stamp;
use crate::membership::Condition;
use crate::membership::segment::Segment;
use crate::state::attribute::{MAX_BALLOTS, STATUS, VOTES, decode_ballots, encode_ballots};
use crate::sync::staging::Sent;
use crate::wire::frame;
use crate::wire::message::{Datagram, Delta, Encoder, Item, Message, Push, Sender};
use core::net::IpAddr;
use proptest::prelude::*;

const WALL: UnixTime = UnixTime::from_millis(1_767_225_600_000);

fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn node_with(name: &str, port: u16, change: impl FnOnce(&mut Config)) -> Node {
    let mut config = Config::lan();
    config.cluster = "test".into();
    change(&mut config);
    let identity = Identity::new(name, address(port)).unwrap();
    Node::new(config, identity, [1; 32], Instant::ORIGIN, WALL).unwrap()
}

fn node() -> Node {
    node_with("a", 1, |_| {})
}

/// A log with one entry that says where its origin is.
fn run_of(port: u16) -> Vec<u8> {
    let mut log = Log::new(Generation::ZERO);
    log.write(0, ADDRESS, Some(&encode_address(address(port))));
    log.write(0, STATUS, Some(Declared::Up.encode()));
    log.after(0).rest().to_vec()
}

fn generation_after(seconds: u64) -> Generation {
    Generation::new(Stamp::at(UnixTime::from_millis(
        WALL.as_millis() + seconds * 1000,
    )))
}

fn delta(origin: u64, generation: Generation, entries: &[u8]) -> Delta<'_> {
    Delta {
        origin: NodeId::from_u64(origin),
        generation,
        after: 0,
        upto: 2,
        frontier: 2,
        floor: 0,
        entries,
    }
}

/// As short as votes are: of what a datagram holds, most is votes.
fn ballot_against(subject: u64) -> Ballot {
    Ballot {
        subject: NodeId::from_u64(subject),
        generation: Generation::ZERO,
        frontier: 0,
        age: 0,
        removed: false,
    }
}

/// Members that a node observes, and finds silent.
fn silent(node: &mut Node, ids: core::ops::Range<u64>) {
    for id in ids.map(NodeId::from_u64) {
        let mut log = Log::new(generation_after(0));
        log.write(0, STATUS, Some(Declared::Up.encode()));
        node.table.apply(id, at(0), &log.claim_after(0));
        let window = node.config.window;
        let mut observed = Observation::new(id, log.generation(), window, &node.detector, at(0));
        for second in 1..1000 {
            observed.due(at(second * 1000), 0);
        }
        assert!(observed.is_silent());
        let place = node.observations.partition_point(|o| o.id < id);
        node.observations.insert(place, observed);
    }
}

/// A vote that stands does not make room for another, whatever the order of the list: its end would be taken
/// for a change of mind.
#[test]
fn who_falls_silent_when_a_list_is_full_waits() {
    for (datagram, most) in [(1400, MAX_BALLOTS), (512, 11)] {
        let mut node = node_with("a", 1, |config| config.max_datagram = datagram);
        let mut fall_silent = |ids| {
            silent(&mut node, ids);
            node.publish_ballots(at(1_000_000));
            let published = node.table.get(node.own).unwrap().log.get(VOTES).unwrap();
            let subjects = decode_ballots(published).map(|ballot| ballot.subject);
            subjects.collect::<Vec<_>>()
        };
        let first = fall_silent(100..107);
        assert_eq!(first.len(), 7);
        let full = fall_silent(1..60);
        assert_eq!(full.len(), most);
        assert!(first.iter().all(|subject| full.contains(subject)));
        assert_eq!(fall_silent(60..70), full);
    }
}

#[test]
fn a_vote_has_the_room_that_is_kept_for_it() {
    let ballot = Ballot {
        subject: NodeId::from_u64(u64::MAX),
        generation: Generation::new(Stamp::at(WALL)),
        frontier: (1 << 21) - 1,
        age: (1 << 35) - 1,
        removed: true,
    };
    assert_eq!(
        encode_ballots([ballot].iter(), usize::MAX).len(),
        ballots::BALLOT
    );
}

/// That somebody else has removed a voter is no change of the voter's mind.
#[test]
fn the_removal_of_a_voter_revives_nobody() {
    for removed in [true, false] {
        let mut node = node();
        node.room = room(10_000);
        let (subject, author) = (NodeId::from_u64(5), NodeId::from_u64(7));
        silent(&mut node, 5..6);
        node.observations.clear();
        let mut log = Log::new(generation_after(0));
        let ballot = Ballot {
            subject,
            generation: generation_after(0),
            frontier: 1,
            ..ballot_against(5)
        };
        log.write(0, VOTES, Some(&encode_ballots([ballot].iter(), usize::MAX)));
        node.apply(at(1), author, &log.claim_after(0));
        node.table.set_condition(subject, at(1), Condition::Down);
        log.write(1, VOTES, Some(b""));
        if removed {
            log.bury(2);
        }
        node.apply(at(2), author, &log.claim_after(0));
        assert_eq!(node.reconsider.contains(&subject), !removed);
    }
}

/// Who votes against it has told, or asks it itself.
#[test]
fn who_is_down_though_nobody_votes_against_it_is_asked() {
    let mut node = node();
    node.room = room(0);
    let generation = generation_after(0);
    node.take_in(at(1), &delta(7, generation, &run_of(7)), Sent::Alone);
    let down = NodeId::from_u64(7);
    node.table.set_condition(down, at(1), Condition::Down);
    let asks = |node: &mut Node, millis| {
        node.probes.heard(down);
        node.sweep(at(millis));
        node.probes
            .turn(at(millis), NodeId::from_u64(0), Some(5), |_| Sign::None)
            .ping
            .contains(&down)
    };
    assert!(asks(&mut node, 2));
    let ballot = Ballot {
        subject: down,
        generation,
        frontier: 2,
        age: 0,
        removed: false,
    };
    let votes = encode_ballots([ballot].iter(), usize::MAX);
    let mut log = Log::new(Generation::ZERO);
    log.write(0, ADDRESS, Some(&encode_address(address(8))));
    log.write(0, VOTES, Some(&votes));
    let run = log.after(0).rest().to_vec();
    node.take_in(at(3), &delta(8, generation, &run), Sent::Alone);
    assert!(!asks(&mut node, 4));
}

/// Or its answers would be no answers, and it would be found silent by who hears it all the time.
#[test]
fn who_is_observed_and_answers_is_asked_no_further() {
    let mut node = node();
    node.room = room(0);
    let (id, generation) = (NodeId::from_u64(7), generation_after(0));
    node.take_in(at(1), &delta(7, generation, &run_of(7)), Sent::Alone);
    node.settle(at(1));
    assert!(node.observation(id).is_some());
    node.probes.ask(id, at(2));
    assert!(node.probes.is_asking());
    node.on_life(at(3), Sender { id, generation });
    assert!(!node.probes.is_asking());
}

#[test]
fn what_speaks_for_and_against_who_is_asked() {
    let mut node = node();
    node.room = room(0);
    let [voter, accused] = [7, 8].map(NodeId::from_u64);
    let against = |subject: NodeId| Ballot {
        generation: generation_after(0),
        frontier: 2,
        ..ballot_against(subject.as_u64())
    };
    let mut log = Log::new(Generation::ZERO);
    log.write(0, ADDRESS, Some(&encode_address(address(7))));
    log.write(
        0,
        VOTES,
        Some(&encode_ballots([against(accused)].iter(), usize::MAX)),
    );
    let voting = log.after(0).rest().to_vec();
    let generation = generation_after(0);
    node.take_in(at(1), &delta(7, generation, &voting), Sent::Alone);
    node.take_in(at(1), &delta(8, generation, &run_of(8)), Sent::Alone);
    let soon = at(1_000);
    assert_eq!(node.sign(soon, voter), Sign::Apart, "its vote is new");
    assert_eq!(node.sign(soon, accused), Sign::None, "it may refute yet");
    let later = at(13_000);
    assert_eq!(node.sign(later, voter), Sign::None);
    assert_eq!(node.sign(later, accused), Sign::Accused);
    node.table.set_condition(accused, later, Condition::Down);
    assert_eq!(node.sign(later, accused), Sign::Apart, "is it back?");
    assert_eq!(node.sign(later, NodeId::from_u64(9)), Sign::None);
}

/// Half of a large cluster votes against the other: each vote would otherwise draw all verdicts anew.
#[test]
fn a_vote_against_who_is_down_waits_for_the_next_round() {
    let mut node = node();
    node.room = room(0);
    let subject = NodeId::from_u64(8);
    let generation = generation_after(0);
    node.take_in(at(1), &delta(8, generation, &run_of(8)), Sent::Alone);
    let mut hears_vote_of = |author: u16, condition| {
        node.table.set_condition(subject, at(1), condition);
        let mut log = Log::new(Generation::ZERO);
        log.write(0, ADDRESS, Some(&encode_address(address(author))));
        let ballot = ballot_against(subject.as_u64());
        log.write(0, VOTES, Some(&encode_ballots([ballot].iter(), usize::MAX)));
        node.stale.verdicts = false;
        let run = log.after(0).rest().to_vec();
        node.take_in(at(2), &delta(author.into(), generation, &run), Sent::Alone);
        node.stale.verdicts
    };
    assert!(!hears_vote_of(20, Condition::Down));
    assert!(hears_vote_of(21, Condition::Live));
}
