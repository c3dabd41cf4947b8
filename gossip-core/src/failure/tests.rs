//! The machine alone, without a node.

mod hearing;
mod removals;

use std::vec::Vec;

use super::loss::FEWEST_PINGS;
use super::own_votes::{LogChange, MAX_ENCODED_VOTE};
use super::probes::Hint;
use super::*;
use crate::context::testing::{OWN, WALL, address, at, context, generation};
use crate::context::{Outgoing, Timer};
use crate::event::{DownReason, Event, UpCause};
use crate::hlc::Stamp;
use crate::identity::Generation;
use crate::membership::Condition;
use crate::state::attribute::{DATACENTER, VOTES, decode_votes, encode_votes};
use crate::wire::message::Sender;

fn machine(change: impl FnOnce(&mut Config)) -> (Failure, Context) {
    let context = context(change);
    (Failure::new(&context.config), context)
}

fn id(number: u16) -> NodeId {
    NodeId::from_u64(u64::from(number))
}

fn sender(number: u16) -> Sender {
    Sender {
        id: id(number),
        generation: generation(),
    }
}

/// A vote against a member as this node knows it now.
fn vote_against(context: &Context, number: u16) -> PublishedVote {
    let (generation, frontier) = context.known(id(number));
    PublishedVote {
        subject: id(number),
        generation,
        frontier,
        age: 0,
        removed: false,
    }
}

/// A member publishes these votes, and this node hears of it. Returns the votes against this node.
fn hear_votes(
    failure: &mut Failure,
    context: &mut Context,
    author: u16,
    votes: &[PublishedVote],
    log_change: LogChange,
) -> Vec<PublishedVote> {
    if context.table.get(id(author)).is_none() {
        context.learn(author);
    }
    let old = context.table.get(id(author)).unwrap().log.get(VOTES);
    let old = old.unwrap_or_default().to_vec();
    let new = encode_votes(votes.iter(), usize::MAX);
    context
        .table
        .change_log(id(author), |log| log.write(0, VOTES, Some(&new)));
    let against_own = failure.on_votes(context, id(author), log_change, &old, &new);
    failure.votes.check(context.now);
    against_own.to_vec()
}

/// These members become known and observed, and fall silent.
fn fall_silent(
    failure: &mut Failure,
    context: &mut Context,
    numbers: impl IntoIterator<Item = u16>,
) {
    for number in numbers {
        let id = context.learn(number);
        let window = context.config.window;
        let mut observation = Observation::new(id, generation(), window, &failure.detector, at(0));
        for second in 1..1000 {
            observation.take_step(at(second * 1000), 0);
        }
        assert!(observation.is_silent());
        let place = position(&failure.observations, id).unwrap_err();
        failure.observations.insert(place, observation);
    }
}

/// The subjects of the votes that this node publishes.
fn published(context: &Context) -> Vec<NodeId> {
    let log = &context.table.get(OWN).unwrap().log;
    let votes = decode_votes(log.get(VOTES).unwrap_or_default());
    votes.map(|vote| vote.subject).collect()
}

fn events(context: &mut Context) -> Vec<Event> {
    context.drain_events().collect()
}

/// The members that this node pings.
fn pinged(context: &mut Context) -> Vec<NodeId> {
    let messages = context.drain_messages();
    let pings = messages.filter_map(|message| match message {
        Outgoing::Ping { to, .. } => Some(to),
        _ => None,
    });
    pings.collect()
}

/// Takes all steps of observations that are due up to this time.
fn observe_until(failure: &mut Failure, context: &mut Context, end: Instant) {
    loop {
        failure.schedule_observations(context);
        match context.timers.next() {
            Some(due) if due <= end => context.now = due,
            _ => break,
        }
        assert!(context.timers.take_due(Timer::Observation, context.now));
        failure.on_observations_due(context);
    }
    context.now = end;
}

#[test]
fn a_member_that_falls_silent_while_the_list_of_votes_is_full_waits() {
    for (datagram, most) in [(1400, MAX_VOTES), (512, 11)] {
        let (mut failure, mut context) = machine(|config| config.max_datagram = datagram);
        context.now = at(1_000_000);
        let mut vote_against_silent = |numbers| {
            fall_silent(&mut failure, &mut context, numbers);
            failure.publish_votes(&mut context);
            published(&context)
        };
        let first = vote_against_silent(100..107);
        assert_eq!(first.len(), 7);
        let full = vote_against_silent(1..60);
        assert_eq!(full.len(), most);
        assert!(
            first.iter().all(|subject| full.contains(subject)),
            "a vote that stands does not make room for another"
        );
        assert_eq!(vote_against_silent(60..70), full);
    }
}

#[test]
fn a_vote_takes_the_room_that_is_kept_for_it() {
    let vote = PublishedVote {
        subject: NodeId::from_u64(u64::MAX),
        generation: Generation::new(Stamp::at(WALL)),
        frontier: (1 << 21) - 1,
        age: (1 << 35) - 1,
        removed: true,
    };
    let encoded = encode_votes([vote].iter(), usize::MAX);
    assert_eq!(encoded.len(), MAX_ENCODED_VOTE);
}

/// A voter that was removed, or has restarted, has not changed its mind.
#[test]
fn a_withdrawn_vote_may_revive_its_subject_but_the_removal_of_the_voter_does_not() {
    for log_change in [LogChange::Continued, LogChange::Replaced] {
        let (mut failure, mut context) = machine(|_| {});
        context.learn(5);
        let vote = vote_against(&context, 5);
        hear_votes(&mut failure, &mut context, 7, &[vote], LogChange::Continued);
        context.table.set_condition(id(5), at(1), Condition::Down);
        hear_votes(&mut failure, &mut context, 7, &[], log_change);
        let is_revivable = failure.revivable.contains(&id(5));
        assert_eq!(is_revivable, log_change == LogChange::Continued);
    }
}

/// The voters have removed the subject long ago, and their marked votes have come and gone unseen.
#[test]
fn a_withdrawn_vote_does_not_revive_a_subject_that_is_due_for_removal() {
    let (mut failure, mut context) = machine(|_| {});
    context.learn(5);
    let vote = vote_against(&context, 5);
    hear_votes(&mut failure, &mut context, 7, &[vote], LogChange::Continued);
    context.table.set_condition(id(5), at(1), Condition::Down);
    context.now = at(1).saturating_add(context.config.remove_after);
    hear_votes(&mut failure, &mut context, 7, &[], LogChange::Continued);
    assert!(failure.revivable.is_empty());
}

/// If somebody votes against the member, that node has probed it already.
#[test]
fn a_member_that_is_down_without_votes_is_probed() {
    let (mut failure, mut context) = machine(|_| {});
    let down = context.learn(7);
    context.table.set_condition(down, at(1), Condition::Down);
    let probes = |failure: &mut Failure, context: &mut Context| {
        failure.probes.heard(down);
        failure.sweep(context);
        failure.on_probe_due(context);
        pinged(context).contains(&down)
    };
    // Without any heartbeat, the loss is not known, but some number of pings is enough.
    context.now = at(2);
    assert!(probes(&mut failure, &mut context));
    let vote = vote_against(&context, 7);
    hear_votes(&mut failure, &mut context, 8, &[vote], LogChange::Continued);
    context.now = at(3);
    assert!(!probes(&mut failure, &mut context));
}

/// Otherwise its answers would not count, and a node would find a member silent that it hears all
/// the time.
#[test]
fn an_observed_member_that_answers_is_probed_no_further() {
    let (mut failure, mut context) = machine(|_| {});
    let id = context.learn(7);
    failure.refresh_neighbours(&mut context);
    assert!(failure.observation(id).is_some());
    failure.probes.ask(id, at(2));
    assert!(failure.probes.is_asking());
    failure.on_life(&mut context, sender(7), Sign::Hearing);
    assert!(!failure.probes.is_asking());
}

#[test]
fn the_hint_about_a_member_follows_from_its_votes_and_those_against_it() {
    let (mut failure, mut context) = machine(|_| {});
    let [voter, accused] = [7, 8].map(id);
    context.learn(8);
    context.now = at(1);
    let vote = vote_against(&context, 8);
    hear_votes(&mut failure, &mut context, 7, &[vote], LogChange::Continued);
    let mut hint = |millis, id| {
        context.now = at(millis);
        failure.hint(&context, id)
    };
    assert_eq!(hint(1_000, voter), Hint::Independent, "it has just voted");
    assert_eq!(hint(1_000, accused), Hint::None, "it may refute yet");
    assert_eq!(hint(13_000, voter), Hint::None);
    assert_eq!(hint(13_000, accused), Hint::Unrefuted);
    assert_eq!(hint(13_000, id(9)), Hint::None, "an unknown member");
    context
        .table
        .set_condition(accused, at(13_000), Condition::Down);
    let hint = failure.hint(&context, accused);
    assert_eq!(
        hint,
        Hint::Independent,
        "the question is whether it is back"
    );
}

/// Half of a large cluster votes against the other half. Otherwise each vote would draw all
/// verdicts anew.
#[test]
fn a_vote_against_a_member_that_is_down_waits_for_the_next_round() {
    let (mut failure, mut context) = machine(|_| {});
    let subject = context.learn(8);
    let mut draws_verdicts = |author, condition| {
        context.table.set_condition(subject, at(1), condition);
        context.stale.verdicts = false;
        let vote = vote_against(&context, 8);
        hear_votes(
            &mut failure,
            &mut context,
            author,
            &[vote],
            LogChange::Continued,
        );
        context.stale.verdicts
    };
    assert!(!draws_verdicts(20, Condition::Down));
    assert!(draws_verdicts(21, Condition::Live));
}

#[test]
fn votes_against_this_node_are_returned() {
    let (mut failure, mut context) = machine(|_| {});
    context.learn(5);
    let votes = [OWN, id(5)].map(|subject| PublishedVote {
        subject,
        ..vote_against(&context, 5)
    });
    let against_own = hear_votes(&mut failure, &mut context, 7, &votes, LogChange::Continued);
    assert_eq!(against_own, votes[..1]);
}

#[test]
fn a_vote_that_arrives_late_counts_an_interval_later() {
    for (arrives, counts) in [(2_000, true), (2_001, false)] {
        let (mut failure, mut context) = machine(|_| {});
        context.learn(5);
        let vote = vote_against(&context, 5);
        context.now = at(arrives);
        hear_votes(&mut failure, &mut context, 7, &[vote], LogChange::Continued);
        assert_eq!(failure.count_votes(&context, id(5)) == 1, counts);
        context.now = at(arrives + 1_000);
        assert_eq!(failure.count_votes(&context, id(5)), 1);
    }
}

#[test]
fn a_node_seconds_a_vote_against_a_member_that_it_has_removed() {
    let (mut failure, mut context) = machine(|_| {});
    context.learn(5);
    let vote = vote_against(&context, 5);
    let marked = PublishedVote {
        removed: true,
        ..vote
    };
    context
        .table
        .set_condition(id(5), at(1), Condition::Removed);
    hear_votes(
        &mut failure,
        &mut context,
        7,
        &[marked],
        LogChange::Continued,
    );
    failure.publish_votes(&mut context);
    assert!(failure.own_votes.is_empty(), "nobody seconds a marked vote");
    hear_votes(&mut failure, &mut context, 8, &[vote], LogChange::Continued);
    assert!(context.stale.own_votes);
    failure.publish_votes(&mut context);
    assert_eq!(failure.own_votes[..], [marked]);
}

#[test]
fn votes_against_removed_members_take_at_most_half_of_the_list() {
    let (mut failure, mut context) = machine(|_| {});
    let removed = 100..130;
    let votes: Vec<PublishedVote> = removed
        .map(|number| {
            let subject = context.learn(number);
            let vote = vote_against(&context, number);
            context
                .table
                .set_condition(subject, at(1), Condition::Removed);
            vote
        })
        .collect();
    hear_votes(&mut failure, &mut context, 40, &votes, LogChange::Continued);
    failure.publish_votes(&mut context);
    assert_eq!(failure.own_votes.len(), MAX_VOTES / 2);
    fall_silent(&mut failure, &mut context, 1..31);
    context.now = at(1_000_000);
    failure.publish_votes(&mut context);
    assert_eq!(failure.own_votes.len(), MAX_VOTES);
    let marked = failure.own_votes.iter().filter(|vote| vote.removed);
    assert_eq!(marked.count(), 2, "silent members come first");
}

#[test]
fn a_silent_neighbour_is_pinged_suspected_and_voted_against() {
    let (mut failure, mut context) = machine(|_| {});
    let neighbour = context.learn(7);
    failure.refresh_neighbours(&mut context);
    failure.publish_votes(&mut context);
    assert_eq!(published(&context), []);
    observe_until(&mut failure, &mut context, at(10_000));
    assert!(pinged(&mut context).len() > usize::try_from(FEWEST_PINGS).unwrap());
    assert!(matches!(
        events(&mut context)[..],
        [Event::MemberSuspected { id, votes: 0, .. }] if id == neighbour
    ));
    assert!(context.stale.own_votes && context.stale.verdicts);
    failure.publish_votes(&mut context);
    assert_eq!(published(&context), [neighbour]);
    failure.on_life(&mut context, sender(7), Sign::Hearing);
    failure.publish_votes(&mut context);
    assert_eq!(published(&context), [], "the vote is withdrawn");
}

#[test]
fn of_two_nodes_each_decides_alone_about_the_other() {
    let (mut failure, mut context) = machine(|_| {});
    let other = context.learn(7);
    failure.refresh_neighbours(&mut context);
    observe_until(&mut failure, &mut context, at(10_000));
    events(&mut context);
    assert_eq!(failure.draw_verdicts(&mut context), None);
    assert_eq!(context.table.condition(other), Some(Condition::Down));
    let [Event::MemberDown { votes, reason, .. }, Event::Isolated] = events(&mut context)[..]
    else {
        panic!("a verdict, and nobody is left")
    };
    assert_eq!((votes, reason), (1, DownReason::Silence));

    context.now = at(11_000);
    failure.on_life(&mut context, sender(7), Sign::Hearing);
    failure.draw_verdicts(&mut context);
    assert_eq!(context.table.condition(other), Some(Condition::Live));
    assert_eq!(events(&mut context), [Event::Rejoined]);
    assert_eq!(failure.introducible(&mut context, None), [other]);
    failure.introduce(&mut context, other);
    let [Event::MemberUp { cause, .. }] = events(&mut context)[..] else {
        panic!("the member is back")
    };
    assert_eq!(cause, UpCause::Recovered);
}

#[test]
fn verdicts_that_were_just_drawn_are_put_off() {
    let (mut failure, mut context) = machine(|_| {});
    assert_eq!(failure.draw_verdicts(&mut context), None);
    let next = at(20);
    assert_eq!(failure.draw_verdicts(&mut context), Some(next));
    context.now = next;
    assert_eq!(failure.draw_verdicts(&mut context), None);
}

#[test]
fn a_former_neighbour_gets_heartbeats_for_five_intervals() {
    let (mut failure, mut context) = machine(|config| config.neighbours = 2);
    let heartbeats = |failure: &mut Failure, context: &mut Context, millis| {
        context.now = at(millis);
        failure.on_heartbeat_due(context);
        let messages = context.drain_messages();
        let to = messages.map(|message| match message {
            Outgoing::Heartbeat { to } => to,
            other => panic!("{other:?}"),
        });
        to.collect::<Vec<_>>()
    };
    for number in [1, 2, 3] {
        context.learn(number);
    }
    failure.refresh_neighbours(&mut context);
    assert_eq!(
        heartbeats(&mut failure, &mut context, 0),
        [1, 3].map(address)
    );
    context.learn(4);
    failure.refresh_neighbours(&mut context);
    assert_eq!(
        heartbeats(&mut failure, &mut context, 4_999),
        [1, 4, 3].map(address)
    );
    assert_eq!(
        heartbeats(&mut failure, &mut context, 5_000),
        [1, 4].map(address)
    );
    assert_eq!(failure.beats(), 3);
}

#[test]
fn after_a_long_sleep_a_member_is_unheard_until_it_is_heard_again() {
    let (mut failure, mut context) = machine(|_| {});
    let member = context.learn(7);
    let is_unheard = |failure: &Failure, context: &Context| {
        failure.is_unheard(context.table.get(member).unwrap())
    };
    failure.on_life(&mut context, sender(7), Sign::Hearing);
    assert!(!is_unheard(&failure, &context));
    let slept = context.config.remove_after;
    context.now = context.now.saturating_add(slept);
    failure.on_pause(&mut context, slept);
    assert!(is_unheard(&failure, &context));
    failure.on_life(&mut context, sender(7), Sign::Hearing);
    assert!(
        is_unheard(&failure, &context),
        "the socket may have kept this message"
    );
    context.now = context.in_intervals(1);
    failure.on_life(&mut context, sender(7), Sign::Hearing);
    assert!(!is_unheard(&failure, &context));
    context.now = context.in_intervals(STEADY_INTERVALS + 2);
    failure.end_absence(&context);
    assert_eq!(failure.trust_heard_after, None);
}

#[test]
fn a_suspicion_that_nobody_clears_ends_with_a_word_too() {
    let cleared = |context: &mut Context| -> Vec<NodeId> {
        let told = events(context).into_iter();
        let cleared = told.filter_map(|event| match event {
            Event::SuspicionCleared { id } => Some(id),
            _ => None,
        });
        cleared.collect()
    };
    let suspecting = || {
        let (mut failure, mut context) = machine(|config| config.neighbours = 2);
        for number in [1, 2] {
            context.learn(number);
        }
        failure.refresh_neighbours(&mut context);
        while context.now < at(60_000) && failure.observations.iter().any(|o| !o.is_suspect()) {
            let next = context.now.saturating_add(Duration::from_millis(10));
            observe_until(&mut failure, &mut context, next);
        }
        let told = events(&mut context);
        assert!(matches!(
            told[..],
            [Event::MemberSuspected { .. }, Event::MemberSuspected { .. }]
        ));
        (failure, context)
    };
    let (mut failure, mut context) = suspecting();
    failure.on_pause(&mut context, Duration::from_secs(10));
    assert_eq!(cleared(&mut context), [id(1), id(2)]);
    let (mut failure, mut context) = suspecting();
    for number in 3..60 {
        context.learn(number);
    }
    failure.refresh_neighbours(&mut context);
    let left = [id(1), id(2)].into_iter();
    let left: Vec<NodeId> = left
        .filter(|id| failure.observation(*id).is_none())
        .collect();
    assert!(!left.is_empty());
    assert_eq!(cleared(&mut context), left);
}

#[test]
fn a_majority_of_votes_takes_a_member_down_and_a_restart_of_a_voter_does_not_bring_it_back() {
    let (mut failure, mut context) = machine(|_| {});
    for number in 1..=4 {
        context.learn(number);
    }
    let vote = vote_against(&context, 1);
    for voter in [2, 3] {
        hear_votes(
            &mut failure,
            &mut context,
            voter,
            &[vote],
            LogChange::Continued,
        );
    }
    failure.draw_verdicts(&mut context);
    let [Event::MemberDown { votes, reason, .. }] = events(&mut context)[..] else {
        panic!("one verdict")
    };
    assert_eq!((votes, reason), (2, DownReason::Votes));
    for (log_change, condition) in [
        (LogChange::Replaced, Condition::Down),
        (LogChange::Continued, Condition::Live),
    ] {
        context.now = context.in_intervals(1);
        hear_votes(&mut failure, &mut context, 2, &[vote], LogChange::Continued);
        hear_votes(&mut failure, &mut context, 2, &[], log_change);
        failure.draw_verdicts(&mut context);
        assert_eq!(context.table.condition(id(1)), Some(condition));
    }
}
