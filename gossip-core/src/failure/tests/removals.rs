//! What the removal of a member means for votes, and votes for its removal.

use super::*;

#[test]
fn the_votes_of_a_removed_member_are_dropped_and_revive_nobody() {
    let (mut failure, mut context) = machine(|_| {});
    context.learn(5);
    let vote = vote_against(&context, 5);
    hear_votes(&mut failure, &mut context, 7, &[vote], LogChange::Continued);
    context.table.set_condition(id(7), at(1), Condition::Down);
    failure.on_removal(&mut context, id(7));
    assert_eq!(failure.votes.subjects().count(), 0);
    assert!(failure.revivable.is_empty());
    assert!(
        failure.own_votes.is_empty(),
        "nobody needs a warning at home"
    );
}

#[test]
fn a_member_of_another_datacenter_is_warned_before_its_removal() {
    let (mut failure, mut context) = machine(|_| {});
    for number in 1..=5 {
        let id = context.learn(number);
        context
            .table
            .change_log(id, |log| log.write(0, DATACENTER, Some(b"elsewhere")));
    }
    context.table.set_condition(id(1), at(0), Condition::Down);
    context.now = at(0).saturating_add(context.config.remove_after);
    let is_removable = |failure: &Failure, context: &Context| {
        failure.is_removable(context, context.table.get(id(1)).unwrap())
    };
    assert!(!is_removable(&failure, &context), "others may hear it");
    failure.probes.infer_silence(id(1), context.now);
    assert!(is_removable(&failure, &context));
    failure.on_removal(&mut context, id(1));
    let warning = failure.own_votes[0];
    assert!(warning.subject == id(1) && warning.removed);
    assert_eq!(published(&context), [id(1)]);
}

#[test]
fn a_crowded_list_of_votes_or_a_removal_elsewhere_shortens_how_long_a_member_is_kept() {
    for (silent, is_removed_elsewhere, is_shorter) in
        [(23, false, false), (24, false, true), (23, true, true)]
    {
        let (mut failure, mut context) = machine(|_| {});
        fall_silent(&mut failure, &mut context, 1..=silent);
        context.now = at(1_000_000);
        failure.publish_votes(&mut context);
        if is_removed_elsewhere {
            let marked = PublishedVote {
                removed: true,
                ..vote_against(&context, 1)
            };
            context.learn(100);
            hear_votes(
                &mut failure,
                &mut context,
                100,
                &[marked],
                LogChange::Replaced,
            );
            context.now = context.in_intervals(1);
        }
        let record = context.table.get(id(1)).unwrap();
        let patience = failure.patience_with(&context, record);
        let expected = if is_shorter {
            context.intervals(STEADY_INTERVALS)
        } else {
            context.config.remove_after
        };
        assert_eq!(patience, expected, "{silent} {is_removed_elsewhere}");
    }
}
