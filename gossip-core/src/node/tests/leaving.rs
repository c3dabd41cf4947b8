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
