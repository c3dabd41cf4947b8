//! The machine alone: which news is passed on.

use super::*;
use crate::context::testing::{at, context, generation, log_of};
use crate::state::attribute::{Declared, STATUS};
use crate::state::log::Log;

fn whole(log: &Log, origin: NodeId) -> Delta<'_> {
    Delta {
        origin,
        generation: log.generation(),
        after: 0,
        upto: log.frontier(),
        frontier: log.frontier(),
        floor: log.floor(),
        entries: log.after(0).rest(),
    }
}

#[test]
fn a_push_is_passed_on_once_in_each_tree() {
    let mut context = context(|_| {});
    let origin = context.learn(9);
    let mut log = log_of(generation(), 9, Declared::Up);
    let earlier = log.clone();
    let news = whole(&earlier, origin);
    assert!(note_served(&mut context, 0, &news, false));
    assert!(!note_served(&mut context, 0, &news, false), "repeated");
    assert!(note_served(&mut context, 1, &news, false), "another tree");
    assert!(!note_served(&mut context, 200, &news, false), "no tree");

    log.write(1, b"k", Some(b"v"));
    let later = whole(&log, origin);
    assert!(!note_served(&mut context, 0, &later, false), "not held");
    context
        .table
        .apply(origin, context.now, &log.claim_after(0));
    context.table.get_mut(origin).unwrap().served = 0;
    assert!(note_served(&mut context, 0, &later, false));
    assert!(
        !note_served(&mut context, 1, &news, false),
        "no longer news"
    );
}

#[test]
fn what_changes_a_log_is_passed_on_even_if_more_of_it_is_known_already() {
    let mut context = context(|_| {});
    let origin = context.learn(9);
    let mut log = log_of(generation(), 9, Declared::Joining);
    let earlier = log.clone();
    log.write(1, b"k", Some(b"v"));
    context
        .table
        .apply(origin, context.now, &log.claim_after(0));
    let news = whole(&earlier, origin);
    assert!(!note_served(&mut context, 0, &news, false));
    assert!(note_served(&mut context, 0, &news, true));
}

/// What a node hands on next: the origins of the news, with the versions after which it begins.
fn pushed(context: &mut Context) -> Vec<(NodeId, u64)> {
    let pushed = context
        .drain_messages()
        .filter_map(|message| match message {
            Outgoing::Push { news, .. } => Some(news),
            _ => None,
        });
    pushed.flatten().collect()
}

const HEAD: PushHead = PushHead {
    tree: 0,
    segment: Segment::ALL,
};

#[test]
fn a_write_is_pushed_whatever_passes_through() {
    let mut context = context(|_| {});
    let (own, origin) = (context.own, context.learn(9));
    let (mut push, votes) = (Push::default(), Votes::default());
    context.write(b"first", Some(b"value"));
    context.write(b"second", Some(b"value"));
    let log = log_of(generation(), 9, Declared::Up);
    let mut arrived = Arrived::default();
    arrived.serve(&whole(&log, origin));
    push.on_push(&mut context, &votes, HEAD, arrived);
    assert!(pushed(&mut context).contains(&(origin, 0)));
    assert_eq!(context.timers.next(), Some(at(2)));
    context.now = at(2);
    push.flush(&mut context, &votes);
    assert!(pushed(&mut context).contains(&(own, 0)), "both writes");
}

#[test]
fn what_came_too_early_is_passed_on_once_the_rest_is_known() {
    let mut context = context(|_| {});
    let origin = context.learn(9);
    let (mut push, votes) = (Push::default(), Votes::default());
    let mut log = log_of(generation(), 9, Declared::Up);
    log.write(1, b"first", Some(b"value"));
    log.write(1, b"second", Some(b"value"));
    let early = Delta {
        after: 3,
        entries: log.after(3).rest(),
        ..whole(&log, origin)
    };
    let mut arrived = Arrived::default();
    arrived.serve_later(HEAD, &early);
    push.on_push(&mut context, &votes, HEAD, arrived);
    push.serve_early(&mut context, &votes);
    assert_eq!(pushed(&mut context), []);
    context
        .table
        .apply(origin, context.now, &log.claim_after(0));
    push.serve_early(&mut context, &votes);
    assert!(pushed(&mut context).contains(&(origin, 3)));
    push.serve_early(&mut context, &votes);
    assert_eq!(pushed(&mut context), [], "once");
    for _ in 0..200 {
        let mut arrived = Arrived::default();
        arrived.serve_later(HEAD, &early);
        push.on_push(&mut context, &votes, HEAD, arrived);
    }
    assert_eq!(push.early.len(), MOST_EARLY);
}

/// The trees down which a node hands something on.
fn trees(context: &mut Context) -> usize {
    let trees = context.drain_messages().map(|message| match message {
        Outgoing::Push { tree, .. } => tree,
        other => panic!("{other:?}"),
    });
    let mut trees: Vec<u8> = trees.collect();
    trees.sort_unstable();
    trees.dedup();
    trees.len()
}

#[test]
fn a_node_that_joins_a_large_cluster_pushes_its_log_once_down_one_tree() {
    for (members, joining, up) in [(10, 2, 2), (300, 0, 1)] {
        let mut context = context(|_| {});
        for member in 2..members {
            context.learn(member);
        }
        let (mut push, votes) = (Push::default(), Votes::default());
        let mut pushes = |context: &mut Context, key, value| {
            context.write(key, Some(value));
            push.flush(context, &votes);
            trees(context)
        };
        let declared = [Declared::Joining, Declared::Up];
        let first = declared.map(|at| pushes(&mut context, STATUS, at.encode()));
        assert_eq!(first, [joining, up], "{members} members");
        assert_eq!(pushes(&mut context, b"key", b"value"), 2, "down each tree");
    }
}
