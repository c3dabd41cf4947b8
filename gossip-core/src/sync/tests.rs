//! The machine alone: what becomes of a delta, and how long a change is news.

use std::vec::Vec;

use super::apply::MemberChange;
use super::staging::Sent;
use super::*;
use crate::config::{Config, Mode};
use crate::context::testing::{WALL, context, generation, log_of};
use crate::hlc::Stamp;
use crate::identity::Generation;
use crate::state::attribute::{Declared, MAX_VOTES, PublishedVote, encode_votes};
use crate::state::attribute::{VOTES, decode_votes};
use crate::time::UnixTime;
use crate::wire::message::Delta;

const ORIGIN: NodeId = NodeId::from_u64(7);

fn whole(log: &Log) -> Delta<'_> {
    Delta {
        origin: ORIGIN,
        generation: log.generation(),
        after: 0,
        upto: log.frontier(),
        frontier: log.frontier(),
        floor: log.floor(),
        entries: log.after(0).rest(),
    }
}

fn accept(context: &mut Context, delta: &Delta<'_>) -> (Taken, Option<MemberChange>) {
    let mut sync = Sync::new();
    let mut room = Room::of(delta.entries.len());
    sync.accept(context, delta, Sent::Alone, false, &mut room)
}

/// A datagram that holds nothing but votes gives little room.
#[test]
fn a_small_datagram_has_room_for_a_new_member_with_all_its_votes() {
    let mut context = context(|_| {});
    let votes: Vec<PublishedVote> = (1..)
        .map(|subject| PublishedVote {
            subject: NodeId::from_u64(subject),
            generation: Generation::ZERO,
            frontier: 0,
            age: 0,
            removed: false,
        })
        .take(MAX_VOTES)
        .collect();
    let mut log = Log::new(generation());
    log.write(0, VOTES, Some(&encode_votes(votes.iter(), usize::MAX)));
    let (taken, change) = accept(&mut context, &whole(&log));
    assert_eq!(taken, Taken::Done);
    let change = change.unwrap();
    assert!(change.is_new);
    assert_eq!(decode_votes(&change.votes).count(), MAX_VOTES);
}

#[test]
fn a_generation_too_far_ahead_is_refused() {
    let mut context = context(|_| {});
    let ahead = context.config.max_clock_skew.as_millis();
    let millis = WALL.as_millis() + u64::try_from(ahead).unwrap() + 1;
    let absurd = Generation::new(Stamp::at(UnixTime::from_millis(millis)));
    let log = log_of(absurd, 2, Declared::Up);
    let (taken, change) = accept(&mut context, &whole(&log));
    assert_eq!((taken, change.is_none()), (Taken::Done, true));
    assert_eq!(context.metrics.refused_skew, 1);
    assert!(context.table.get(ORIGIN).is_none());
}

/// Or a node would not pass it on in a tree in which it has served the older one.
#[test]
fn a_newer_log_has_been_served_in_no_tree() {
    let mut context = context(|_| {});
    let mut log = log_of(generation(), 2, Declared::Up);
    accept(&mut context, &whole(&log));
    context.table.get_mut(ORIGIN).unwrap().served = 3;
    log.write(1, b"k", Some(b"v"));
    accept(&mut context, &whole(&log)).1.unwrap();
    assert_eq!(context.table.get(ORIGIN).unwrap().served, 0);
}

#[test]
fn in_push_mode_a_change_is_news_for_as_many_rounds_as_it_takes() {
    let rounds = |members: u16, fanout, loss| {
        let mut context = context(|config: &mut Config| {
            config.mode = Mode::Push;
            config.fanout = fanout;
        });
        for number in 2..=members {
            context.learn(number);
        }
        let lasts = Sync::new().news_lasts(&context, context.now, loss);
        lasts.as_secs_f64() / context.config.interval.as_secs_f64()
    };
    // ln(100 * 1000) / 3 and / 1.5.
    assert!((rounds(100, 3, 0.0) - 4.0).abs() < 1e-9);
    assert!((rounds(100, 3, 0.5) - 7.675).abs() < 0.01);
    assert!((rounds(1000, 3, 0.5) - 9.21).abs() < 0.01);
    assert!((rounds(1000, 1, 1.0) - 60.0).abs() < 1e-9);
    assert!((rounds(1, 16, f64::NAN) - 60.0).abs() < 1e-9);
}
