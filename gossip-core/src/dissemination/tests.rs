//! The machine alone: which news is passed on.

use super::*;
use crate::context::testing::{context, generation, log_of};
use crate::state::attribute::Declared;
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
    assert!(note_served(&mut context, 0, &news));
    assert!(!note_served(&mut context, 0, &news), "repeated");
    assert!(note_served(&mut context, 1, &news), "another tree");
    assert!(!note_served(&mut context, 200, &news), "no tree");

    log.write(1, b"k", Some(b"v"));
    let later = whole(&log, origin);
    assert!(!note_served(&mut context, 0, &later), "not held");
    context
        .table
        .apply(origin, context.now, &log.claim_after(0));
    context.table.get_mut(origin).unwrap().served = 0;
    assert!(note_served(&mut context, 0, &later));
    assert!(!note_served(&mut context, 1, &news), "no longer news");
}
