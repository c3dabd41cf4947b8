//! What brings a silent member back: a sign that it hears this node, and nothing else.

use super::*;

/// Otherwise a node that hears nobody, but is heard, would go up and down for ever.
#[test]
fn a_silent_member_that_shows_no_hearing_is_asked_and_stays_silent() {
    let (mut failure, mut context) = machine(|_| {});
    let neighbour = context.learn(7);
    failure.refresh_neighbours(&mut context);
    observe_until(&mut failure, &mut context, at(10_000));
    failure.draw_verdicts(&mut context);
    assert_eq!(context.table.condition(neighbour), Some(Condition::Down));
    pinged(&mut context);
    context.now = at(11_000);
    failure.on_life(&mut context, sender(7), Sign::Sending);
    assert_eq!(pinged(&mut context), [neighbour]);
    failure.on_life(&mut context, sender(7), Sign::PingInTurn);
    assert_eq!(
        pinged(&mut context),
        [],
        "they would ping in turn without end"
    );
    assert!(failure.observes_silence(neighbour) && failure.revivable.is_empty());
    failure.on_life(&mut context, sender(7), Sign::Hearing);
    assert!(!failure.observes_silence(neighbour));
    assert!(failure.revivable.contains(&neighbour));
}

/// Otherwise its vote would come and go for ever, where the link to this node alone is broken.
#[test]
fn news_through_others_leaves_a_silence_and_its_vote_as_they_are() {
    let (mut failure, mut context) = machine(|_| {});
    let neighbour = context.learn(7);
    failure.refresh_neighbours(&mut context);
    observe_until(&mut failure, &mut context, at(10_000));
    failure.publish_votes(&mut context);
    let vote = failure.own_votes.clone();
    pinged(&mut context);
    failure.on_progress(&mut context, neighbour);
    assert_eq!(pinged(&mut context), [neighbour]);
    assert!(failure.observes_silence(neighbour));
    failure.publish_votes(&mut context);
    assert_eq!(failure.own_votes, vote);
}
