//! How a node leaves, and how it forgets those that have.

use super::*;
use crate::node::Standing;

#[test]
fn leaving_ends_in_silence() {
    let mut node = node();
    events(&mut node);
    node.handle_command(at(1), Command::Leave).unwrap();
    assert_eq!(node.standing(), Standing::Leaving);
    assert_eq!(set(&mut node, "k", b"v"), Err(CommandError::Left));
    while let Some(due) = node.poll_timeout() {
        assert!(due < at(1_100), "leaving takes one interval");
        node.handle_timeout(due);
    }
    assert_eq!(node.standing(), Standing::Left);
    assert_eq!(events(&mut node), [Event::LeaveCompleted]);
    node.handle_command(at(2_000), Command::Leave).unwrap();
    node.handle_timeout(at(3_000));
    assert_eq!(node.poll_timeout(), None);
}

#[test]
fn only_a_member_that_is_gone_can_be_forgotten() {
    let mut node = node();
    let mut forget = |id| node.handle_command(at(1), Command::Forget { id });
    let nobody = NodeId::from_u64(1);
    assert_eq!(forget(nobody), Err(CommandError::UnknownMember(nobody)));
    let own = Identity::new("a", address(1)).unwrap().id();
    assert_eq!(forget(own), Err(CommandError::MemberAlive(own)));
}

/// Whatever else is due at the moment at which it falls silent.
#[test]
fn a_node_that_has_left_has_no_deadline_and_sends_nothing() {
    for phase in 0..40 {
        let mut node = node();
        for member in 2..6 {
            let entries = entries_at(member);
            let log = delta(member.into(), generation_after(0), &entries);
            push(&mut node, at(1), log);
        }
        let mut now = 3_000 + 50 * phase;
        for millis in (0..now).step_by(250) {
            node.handle_timeout(at(millis));
            sent(&mut node, at(millis));
        }
        node.handle_command(at(now), Command::Leave).unwrap();
        while node.standing() != Standing::Left {
            now += 250;
            node.handle_timeout(at(now));
        }
        assert_eq!(node.poll_timeout(), None, "phase {phase}");
        sent(&mut node, at(now));
        events(&mut node);
        node.handle_timeout(at(now + 10_000));
        assert!(sent(&mut node, at(now + 10_000)).is_empty());
        assert_eq!(events(&mut node), []);
    }
}
