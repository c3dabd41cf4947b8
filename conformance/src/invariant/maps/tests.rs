//! Each check of the map, seen to fail on forged views.

use gossip_core::map::ReplicaSummary;
use gossip_core::{Generation, Stamp};

use super::*;

const A: u64 = 1;
const B: u64 = 2;

fn origin(id: u64) -> Origin {
    Origin {
        id: NodeId::from_u64(id),
        generation: Generation::new(Stamp::from_bits(id)),
    }
}

fn key() -> Key {
    Key::new("k").unwrap()
}

fn write(by: u64, version: u64, value: Option<&str>) -> Held {
    Held {
        key: "k".to_owned(),
        origin: origin(by),
        version,
        stamp: Stamp::at(UnixTime::from_millis(version)),
        policy: Policy::KeepSiblings,
        lifetime: None,
        value: value.map(|text| text.as_bytes().to_vec()),
    }
}

/// A map that knows so much of A and B, and holds and reads this.
fn view<const N: usize>(viewer: u64, [a, b]: [u64; 2], held: [Held; N]) -> MapView {
    let values: Vec<_> = held.iter().filter_map(|held| held.value.clone()).collect();
    let read = (!values.is_empty()).then(|| ("k".to_owned(), values));
    MapView {
        viewer: NodeId::from_u64(viewer),
        own: origin(viewer),
        summary: ReplicaSummary::default(),
        frontiers: vec![(origin(A), a), (origin(B), b)],
        held: held.into(),
        read: read.into_iter().collect(),
    }
}

/// Takes in the view of a node whose events were lost.
fn observe(maps: &mut Maps, view: &MapView) -> Vec<Violation> {
    maps.told(view.viewer, &Event::Lagged);
    maps.observe(view)
}

/// What is wrong in the end with the map of a node, all of whose peers live.
fn check(maps: &Maps, view: &MapView, wall: u64) -> Vec<Violation> {
    maps.check(view, UnixTime::from_millis(wall), |_| true)
}

/// A has written "1", and B has learned it.
fn one() -> Maps {
    let mut maps = Maps::default();
    let (before, after) = (
        view(A, [0, 0], []),
        view(A, [1, 0], [write(A, 1, Some("1"))]),
    );
    maps.wrote(&key(), &before.held, &after.held);
    assert_eq!(observe(&mut maps, &after), []);
    let learned = view(B, [1, 0], [write(A, 1, Some("1"))]);
    assert_eq!(observe(&mut maps, &learned), []);
    maps
}

/// And B has deleted it.
fn deleted() -> Maps {
    let mut maps = one();
    let before = view(B, [1, 0], [write(A, 1, Some("1"))]);
    let after = view(B, [1, 1], [write(B, 1, None)]);
    maps.wrote(&key(), &before.held, &after.held);
    assert_eq!(observe(&mut maps, &after), []);
    maps
}

fn wrong(found: &[Violation]) -> &MapViolation {
    match found {
        [Violation::Map(wrong)] => wrong,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_value_that_nobody_wrote_is_caught() {
    let found = observe(&mut one(), &view(B, [1, 0], [write(A, 1, Some("2"))]));
    assert!(
        found.contains(
            &MapViolation::NeverWritten {
                key: "k".into(),
                value: b"2".into()
            }
            .into()
        )
    );
}

#[test]
fn a_claim_beyond_what_was_written_is_caught() {
    let found = observe(&mut one(), &view(B, [2, 0], [write(A, 1, Some("1"))]));
    assert!(matches!(
        wrong(&found),
        MapViolation::ClaimedTooMuch { written: 1, .. }
    ));
}

#[test]
fn a_value_that_comes_back_is_caught_at_once_and_in_the_end() {
    let old = view(B, [1, 1], [write(A, 1, Some("1"))]);
    let found = observe(&mut deleted(), &old);
    assert!(matches!(wrong(&found), MapViolation::Resurrected { .. }));
    // A has not heard of it yet; but in the end it must have.
    let mut maps = deleted();
    let old = view(A, [1, 0], [write(A, 1, Some("1"))]);
    assert_eq!(observe(&mut maps, &old), []);
    let found = check(&maps, &old, 0);
    assert!(matches!(wrong(&found), MapViolation::Resurrected { .. }));
    // Nobody who knew of the delete has lived to tell it, or has stayed.
    let left = maps.check(&old, UnixTime::default(), |id| id != NodeId::from_u64(B));
    assert_eq!(left, []);
    maps.end(NodeId::from_u64(B));
    assert_eq!(check(&maps, &old, 0), []);
}

#[test]
fn a_value_that_is_dropped_for_no_reason_is_caught() {
    let found = observe(&mut one(), &view(B, [1, 0], []));
    assert!(matches!(wrong(&found), MapViolation::Lost { .. }));
    assert_eq!(observe(&mut deleted(), &view(A, [1, 1], [])), []);
    // Whoever had deleted it died before anybody heard of that.
    let mut maps = deleted();
    maps.end(NodeId::from_u64(B));
    let found = observe(&mut maps, &view(A, [1, 0], []));
    assert!(matches!(wrong(&found), MapViolation::Lost { .. }));
}

#[test]
fn a_value_that_has_lost_by_its_stamp_may_go() {
    let mut maps = Maps::default();
    let by_stamp = |by, version, value| Held {
        policy: Policy::LastWriteWins,
        ..write(by, version, value)
    };
    let held = by_stamp(A, 1, Some("1"));
    let after = view(A, [1, 0], [held]);
    maps.wrote(&key(), &view(A, [0, 0], []).held, &after.held);
    observe(&mut maps, &after);
    let later = view(B, [0, 2], [by_stamp(B, 2, None)]);
    maps.wrote(&key(), &view(B, [0, 1], []).held, &later.held);
    assert_eq!(observe(&mut maps, &view(A, [1, 0], [])), []);
}

#[test]
fn a_value_that_outlives_its_time_is_caught() {
    let mut maps = Maps::default();
    let session = Held {
        lifetime: Some(100),
        ..write(A, 1, Some("1"))
    };
    let after = view(A, [1, 0], [session]);
    maps.wrote(&key(), &view(A, [0, 0], []).held, &after.held);
    assert_eq!(check(&maps, &after, 100), []);
    let found = check(&maps, &after, 101);
    assert!(matches!(wrong(&found), MapViolation::Outlived { .. }));
}

#[test]
fn events_that_do_not_say_what_is_read_are_caught() {
    let mut maps = one();
    let node = NodeId::from_u64(B);
    let value = |text: &str| Some(Value::new(text).unwrap());
    let changed = |old, new| Event::MapChanged {
        key: key(),
        old,
        new,
        writer: NodeId::from_u64(A),
        stamp: Stamp::ZERO,
    };
    let found = maps.told(node, &changed(None, value("2")));
    assert!(matches!(
        found,
        Some(Violation::Map(MapViolation::ToldOutOfTurn { .. }))
    ));
    let shown = view(B, [1, 0], [write(A, 1, Some("1"))]);
    let found = maps.observe(&shown);
    assert!(matches!(wrong(&found), MapViolation::ToldWrong { .. }));
    assert_eq!(maps.observe(&shown), [], "told once");
    // Who has lost some of them is not held to the rest.
    maps.told(node, &Event::Lagged);
    assert_eq!(maps.told(node, &changed(value("7"), None)), None);
    assert_eq!(maps.observe(&shown), []);
}

#[test]
fn more_writes_than_can_live_are_caught() {
    let held = [1, 1, 1].map(|version| write(A, version, Some("1")));
    let found = observe(&mut one(), &view(B, [1, 0], held));
    assert!(matches!(
        wrong(&found),
        MapViolation::TooMany { held: 3, limit: 2 }
    ));
}

#[test]
fn maps_that_differ_in_the_end_are_caught() {
    let one = view(A, [1, 0], [write(A, 1, Some("1"))]);
    let mut other = view(B, [1, 0], [write(A, 1, Some("1"))]);
    assert_eq!(one.compare(&other), None);
    other.read.clear();
    let differ = |found| match found {
        Some(Violation::Map(wrong)) => wrong,
        other => panic!("{other:?}"),
    };
    let found = [one.compare(&other), other.compare(&one)].map(differ);
    assert!(
        found
            .iter()
            .all(|f| matches!(f, MapViolation::ReadsDiffer { key, .. } if key == "k"))
    );
    other.summary.hash = 1;
    let found = differ(one.compare(&other));
    assert!(matches!(found, MapViolation::Differs { .. }));
}
