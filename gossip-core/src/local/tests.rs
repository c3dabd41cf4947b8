//! The machine alone: joining, leaving, refuting, name conflicts, attributes, agreement.

use core::net::SocketAddr;
use std::vec::Vec;

use super::*;
use crate::config::Config;
use crate::context::testing::{OWN, WALL, address, at, context, generation};
use crate::context::{Outgoing, Timer};
use crate::event::{Event, JoinCause};
use crate::hlc::Stamp;
use crate::identity::{Generation, NodeId};
use crate::state::attribute::{ADDRESS, PublishedVote, encode_address};
use crate::state::log::Log;
use crate::time::UnixTime;
use crate::wire::message::Delta;
use name_conflict::Claim;

/// A node that is up, and its context without notes.
fn up() -> (Local, Context) {
    let mut context = context(|_| {});
    let mut local = Local::new();
    local.begin_joining(&mut context);
    noted(&mut context);
    (local, context)
}

/// Takes the notes: where claims go, and the events.
fn noted(context: &mut Context) -> (Vec<SocketAddr>, Vec<Event>) {
    let claims = context.drain_messages().map(|message| match message {
        Outgoing::Claim { to } => to,
        other => panic!("{other:?}"),
    });
    (claims.collect(), context.drain_events().collect())
}

/// The generation of a process that started so many milliseconds after this one.
fn started_after(millis: u64) -> Generation {
    let time = UnixTime::from_millis(WALL.as_millis() + millis);
    Generation::new(Stamp::at(time))
}

/// Serves a log of this node's own name that it has not written.
fn serve_own_log(local: &mut Local, context: &mut Context, generation: Generation, port: u16) {
    let mut log = Log::new(generation);
    log.write(0, ADDRESS, Some(&encode_address(address(port))));
    let delta = Delta {
        origin: OWN,
        generation,
        after: 0,
        upto: 1,
        frontier: 1,
        floor: 0,
        entries: log.after(0).rest(),
    };
    local.on_own_delta(context, &delta);
}

fn frontier(context: &Context) -> u64 {
    context.known(OWN).1
}

#[test]
fn a_node_without_seeds_is_up_at_once_and_announces_itself_once() {
    let mut context = context(|_| {});
    let mut local = Local::new();
    local.begin_joining(&mut context);
    assert_eq!(local.standing(), Standing::Up);
    let (_, events) = noted(&mut context);
    assert_eq!(events, []);
    local.tell_joined(&mut context);
    let joined = Event::Joined {
        members: 0,
        cause: JoinCause::NoSeeds,
    };
    assert_eq!(noted(&mut context).1, [joined]);
    local.announce(&mut context);
    local.on_announce_due(&mut context);
    local.tell_joined(&mut context);
    assert_eq!(noted(&mut context).1, []);
    assert!(!context.timers.take_due(Timer::Announce, at(1_000_000)));
}

#[test]
fn a_node_with_seeds_waits_three_intervals_or_until_the_table_is_learned() {
    let seeds = [address(2), address(3)];
    let mut context = context(|config: &mut Config| config.seeds = seeds.into());
    let mut local = Local::new();
    local.begin_joining(&mut context);
    assert_eq!(local.standing(), Standing::Joining);
    assert_eq!(context.timers.next(), Some(at(3_000)));
    local.ask_again_at(&mut context, at(50));
    local.on_news(&mut context);
    assert_eq!(context.timers.next(), Some(at(50)));
    context.now = at(50);
    local.on_announce_due(&mut context);
    assert_eq!(local.standing(), Standing::Joining, "it asks a seed again");
    let asked: Vec<Outgoing> = context.drain_messages().collect();
    assert!(
        matches!(&asked[..], [Outgoing::Syn { to }] if seeds.contains(to)),
        "{asked:?}"
    );
    assert_eq!(context.timers.next(), Some(at(3_050)));
    local.on_announce_due(&mut context);
    assert_eq!(local.standing(), Standing::Up);
}

/// What a node tells of how it has joined, after so much.
fn joined_after(happens: impl FnOnce(&mut Local, &mut Context)) -> JoinCause {
    let mut context = context(|config: &mut Config| config.seeds = [address(2)].into());
    let mut local = Local::new();
    local.begin_joining(&mut context);
    happens(&mut local, &mut context);
    local.announce(&mut context);
    local.tell_joined(&mut context);
    match noted(&mut context).1[..] {
        [Event::Joined { cause, .. }] => cause,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_tells_whether_anybody_answered_when_it_has_joined() {
    let silent = joined_after(|_, _| {});
    assert_eq!(silent, JoinCause::NoAnswer);
    let answered = joined_after(|local, _| local.on_answer());
    assert_eq!(answered, JoinCause::Incomplete);
    let learned = joined_after(Local::on_learned);
    assert_eq!(learned, JoinCause::Learned);
}

#[test]
fn a_node_goes_on_joining_while_answers_bring_something_new_for_thirty_rounds_at_most() {
    let mut context = context(|config: &mut Config| config.seeds = [address(2)].into());
    let mut local = Local::new();
    local.begin_joining(&mut context);
    for second in [2, 4, 6, 26, 28, 29] {
        context.now = at(second * 1000);
        local.on_news(&mut context);
        let due = (second + 3).min(30) * 1000;
        assert_eq!(context.timers.next(), Some(at(due)));
    }
}

#[test]
fn a_node_repeats_its_departure_and_then_clears_all_timers() {
    let (mut local, mut context) = up();
    let before = frontier(&context);
    local.leave(&mut context);
    let pushes = core::iter::from_fn(|| {
        context.now = context.timers.next()?;
        let farewell = local.on_leave_due(&mut context);
        (farewell == Farewell::Push).then_some(local.standing())
    });
    assert_eq!(pushes.collect::<Vec<_>>(), [Standing::Leaving; 3]);
    assert!(local.has_left());
    assert_eq!(context.timers.next(), None);
    assert_eq!(noted(&mut context).1, [Event::LeaveCompleted]);
    assert_eq!(frontier(&context), before + 2, "leaving, and left");
}

#[test]
fn a_vote_is_refuted_only_while_it_stands() {
    let (local, mut context) = up();
    let vote = |context: &Context| PublishedVote {
        subject: OWN,
        generation: context.generation,
        frontier: frontier(context),
        age: 0,
        removed: false,
    };
    let first = vote(&context);
    local.refute(&mut context, &first);
    assert_eq!(frontier(&context), first.frontier + 1);
    local.refute(&mut context, &first);
    assert_eq!(frontier(&context), first.frontier + 1, "it is void");
    let of_another_generation = PublishedVote {
        generation: Generation::ZERO,
        ..vote(&context)
    };
    local.refute(&mut context, &of_another_generation);
    assert_eq!(frontier(&context), first.frontier + 1);
    assert_eq!(context.metrics.refutations, 1);
    assert!(!context.stale.generation);

    let from_beyond = PublishedVote {
        frontier: u64::MAX,
        ..vote(&context)
    };
    local.refute(&mut context, &from_beyond);
    assert!(context.stale.generation, "no write would void this vote");
}

#[test]
fn a_greater_generation_is_above_everything_and_keeps_the_log() {
    let (_, mut context) = up();
    attributes::set(&mut context, b"k", Some(b"v")).unwrap();
    let remembered = started_after(30_000);
    request_new_generation(&mut context, remembered);
    assert!(context.stale.generation);
    raise_generation(&mut context);
    assert!(context.generation > remembered);
    assert!(context.incarnation_start < remembered);
    assert_eq!(context.own_log().unwrap().get(b"k"), Some(&b"v"[..]));

    context.stale.generation = false;
    request_new_generation(&mut context, started_after(1_000_000_000));
    assert!(!context.stale.generation, "it lies too far ahead");
    assert_eq!(context.metrics.refused_skew, 1);
    assert!(matches!(
        noted(&mut context).1[..],
        [Event::ClockSkew { .. }]
    ));
}

#[test]
fn a_log_from_the_own_address_is_outlived_at_once() {
    let (mut local, mut context) = up();
    serve_own_log(&mut local, &mut context, started_after(1_000), 1);
    assert!(context.stale.generation);
    assert_eq!(noted(&mut context).0, []);
}

#[test]
fn a_log_from_elsewhere_is_outlived_if_nobody_answers_there() {
    let (mut local, mut context) = up();
    let remembered = started_after(1_000);
    serve_own_log(&mut local, &mut context, remembered, 2);
    serve_own_log(&mut local, &mut context, remembered, 2);
    serve_own_log(&mut local, &mut context, remembered, 3);
    assert_eq!(noted(&mut context).0, [address(2)], "one is asked, once");
    assert!(!context.stale.generation);
    context.now = at(2_000);
    assert!(context.timers.take_due(Timer::NameConflict, at(2_000)));
    local.on_name_conflict_due(&mut context);
    assert!(context.stale.generation);
    serve_own_log(&mut local, &mut context, remembered, 3);
    assert_eq!(noted(&mut context).0, [address(3)], "now the other");
}

#[test]
fn the_elder_answers_each_claim_and_tells_of_it_once() {
    let (mut local, mut context) = up();
    let younger = started_after(1_000);
    let contested = Event::NameContested {
        address: address(2),
    };
    local.on_claim(&mut context, address(2), younger);
    let first = noted(&mut context);
    assert_eq!(first, ([address(2)].into(), [contested].into()));
    local.on_claim(&mut context, address(2), younger);
    assert_eq!(noted(&mut context), ([address(2)].into(), [].into()));
    assert_eq!(local.standing(), Standing::Up);
}

#[test]
fn the_younger_claims_once_more_and_falls_silent() {
    let (mut local, mut context) = up();
    context.incarnation_start = started_after(1_000);
    let claim = local.on_claim(&mut context, address(2), generation());
    assert_eq!(claim, Claim::Unproven);
    assert_eq!(noted(&mut context), ([address(2)].into(), [].into()));
    local.on_rival_proved(&mut context, address(3));
    assert!(!local.has_left(), "somebody else has echoed a token");
    local.on_rival_proved(&mut context, address(2));
    let conflict = Event::IdentityConflict {
        address: address(2),
    };
    assert_eq!(
        noted(&mut context),
        ([address(2)].into(), [conflict].into())
    );
    assert!(local.has_left());
    assert_eq!(context.timers.next(), None);
}

#[test]
fn of_two_that_started_together_the_smaller_address_keeps_the_name() {
    for (ours, keeps) in [(1, true), (3, false)] {
        let (mut local, mut context) = up();
        context.address = address(ours);
        let together = context.incarnation_start;
        let claim = local.on_claim(&mut context, address(2), together);
        assert_eq!(claim == Claim::Answered, keeps);
        local.on_rival_proved(&mut context, address(2));
        assert_eq!(!local.has_left(), keeps);
    }
}

#[test]
fn a_state_over_its_limit_may_shrink_but_not_grow() {
    let (_, mut context) = up();
    attributes::set(&mut context, b"k", Some(&[0; 900])).unwrap();
    context.config.max_state = 500;
    let grown = attributes::set(&mut context, b"l", Some(b"v"));
    assert!(matches!(grown, Err(CommandError::StateFull { .. })));
    attributes::set(&mut context, b"k", Some(&[0; 800])).unwrap();
    attributes::unset(&mut context, b"nothing").unwrap();
    attributes::unset(&mut context, b"k").unwrap();
    assert_eq!(context.own_log().unwrap().get(b"k"), None);
}

#[test]
fn tombstones_make_room_for_attributes_and_the_latest_of_them_stay() {
    let (_, mut context) = up();
    context.config.max_state = 1024;
    for n in 0..2000_u32 {
        let key = std::format!("job/{n}");
        attributes::set(&mut context, key.as_bytes(), Some(&[0; 300])).unwrap();
        attributes::unset(&mut context, key.as_bytes()).unwrap();
        let own = context.own_log().unwrap();
        assert!(own.size() <= 1024 && own.floor() <= own.frontier());
    }
    let own = context.own_log().unwrap();
    assert!(own.dead_size() > 256, "no more go than need be");
    attributes::set(&mut context, b"first", Some(&[0; 900])).unwrap();
    let full = attributes::set(&mut context, b"second", Some(&[0; 100]));
    assert!(matches!(full, Err(CommandError::StateFull { .. })));
    for n in 0..100_u32 {
        let key = std::format!("{n}");
        attributes::set(&mut context, key.as_bytes(), Some(b"v")).unwrap();
        attributes::unset(&mut context, key.as_bytes()).unwrap();
        let own = context.own_log().unwrap();
        assert!(own.dead_size() > 0 && own.size() <= 1024 + 1024 / 16);
    }
    attributes::unset(&mut context, b"first").unwrap();
    attributes::set(&mut context, b"second", Some(&[0; 100])).unwrap();
}

/// Has a member show a value of the attribute `k`.
fn show(context: &mut Context, id: NodeId, value: &[u8]) {
    let log = &context.table.get(id).unwrap().log;
    let mut next = log.clone();
    next.write(1, b"k", Some(value));
    let known = log.frontier();
    context
        .table
        .apply(id, context.now, &next.claim_after(known));
}

#[test]
fn nothing_is_agreed_by_a_node_that_has_not_joined_or_leaves() {
    let mut context = context(|config: &mut Config| config.seeds = [address(2)].into());
    let mut local = Local::new();
    local.begin_joining(&mut context);
    let key = Key::new("k").unwrap();
    local.watch(&mut context, key.clone()).unwrap();
    let reviewed = |local: &mut Local, context: &mut Context| {
        local.review_agreements(context);
        let view = agreement::agreement(context, local.standing(), &key);
        assert_eq!(local.is_agreed(&key), Some(view.is_reached()));
        (noted(context).1, view.is_reached())
    };
    assert_eq!(reviewed(&mut local, &mut context), ([].into(), false));
    local.announce(&mut context);
    let (told, is_reached) = reviewed(&mut local, &mut context);
    assert!(matches!(told[..], [Event::AgreementReached { .. }]) && is_reached);
    let other = context.learn(2);
    show(&mut context, other, b"1");
    let (told, _) = reviewed(&mut local, &mut context);
    assert!(matches!(told[..], [Event::AgreementLost { .. }]));
    local.leave(&mut context);
    attributes::set(&mut context, b"k", Some(b"1")).unwrap();
    assert_eq!(reviewed(&mut local, &mut context), ([].into(), false));
}

#[test]
fn agreement_is_told_when_it_is_reached_and_when_it_is_lost() {
    let (mut local, mut context) = up();
    let key = Key::new("k").unwrap();
    let members = [context.learn(2), context.learn(3)];
    attributes::set(&mut context, b"k", Some(b"1")).unwrap();
    local.watch(&mut context, key.clone()).unwrap();
    let mut review = |context: &mut Context| {
        local.review_agreements(context);
        local.watches.check();
        let told = noted(context).1;
        let agreed = local.is_agreed(&key);
        assert_eq!(
            agreed,
            Some(agreement::agreement(context, local.standing(), &key).is_reached())
        );
        told
    };
    assert_eq!(review(&mut context), []);
    show(&mut context, members[0], b"1");
    assert_eq!(review(&mut context), []);
    show(&mut context, members[1], b"1");
    let told = review(&mut context);
    assert!(matches!(told[..], [Event::AgreementReached { .. }]));
    show(&mut context, members[1], b"2");
    let told = review(&mut context);
    assert!(matches!(told[..], [Event::AgreementLost { .. }]));
    // A member that goes down does not count any more.
    let now = context.now;
    context
        .table
        .set_condition(members[1], now, crate::membership::Condition::Down);
    let told = review(&mut context);
    assert!(matches!(told[..], [Event::AgreementReached { .. }]));
    local.unwatch(&mut context, &key);
    assert_eq!(local.is_agreed(&key), None);
}
