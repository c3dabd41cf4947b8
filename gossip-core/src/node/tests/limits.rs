//! What a node refuses to hold.

use super::*;
use crate::command::MAX_WATCHED;
#[cfg(feature = "map")]
use crate::command::Policy;
use crate::state::attribute::MAX_VOTES;

#[test]
fn writes_over_the_limit_are_refused_with_the_numbers() {
    let mut node = node_with("a", 1, |config| config.max_state = 1500);
    set(&mut node, "first", &[0; 1000]).unwrap();
    let before = node.table_hash();
    let Err(CommandError::StateFull { size, limit: 1500 }) = set(&mut node, "second", &[0; 600])
    else {
        panic!("the state is full")
    };
    assert!(size > 1600);
    assert_eq!(node.table_hash(), before);
    set(&mut node, "first", &[0; 10]).unwrap();
    set(&mut node, "second", &[0; 600]).unwrap();

    let mut small = node_with("a", 1, |config| config.max_datagram = 512);
    let refused = set(&mut small, "k", &[0; 1000]);
    assert!(matches!(
        refused,
        Err(CommandError::EntryTooLarge { size: 1001, .. })
    ));
}

#[test]
fn watched_attributes_are_bounded_and_each_is_reported_once() {
    let mut node = node();
    events(&mut node);
    let key = |number: usize| Key::new(&std::format!("k{number}")).unwrap();
    let mut watch = |number| {
        let command = Command::Watch { key: key(number) };
        let result = node.handle_command(at(1), command);
        (result, events(&mut node).len())
    };
    for number in 0..MAX_WATCHED {
        assert_eq!(watch(number), (Ok(()), 1));
    }
    assert_eq!(watch(3), (Ok(()), 0), "it is watched already");
    assert_eq!(watch(99), (Err(CommandError::TooManyWatched), 0));
    let unwatch = Command::Unwatch { key: key(3) };
    node.handle_command(at(1), unwatch).unwrap();
    let command = Command::Watch { key: key(99) };
    node.handle_command(at(1), command).unwrap();
    set(&mut node, "k99", b"x").unwrap();
    assert!(node.has_agreement(&key(99)), "a node agrees with itself");
}

/// One datagram may make a node hold only so much. A missing member may be small, and all that a
/// datagram has to tell.
#[test]
fn a_push_may_bring_one_new_member_with_all_its_votes() {
    let mut node = node();
    // As short as votes are, so that the datagram gives little room for them.
    let votes: Vec<PublishedVote> = (1..)
        .map(|subject| PublishedVote {
            frontier: 0,
            ..vote_against(NodeId::from_u64(subject), Generation::ZERO)
        })
        .take(MAX_VOTES)
        .collect();
    let entries = entries_with_votes(7, &votes);
    push(&mut node, at(1), delta(7, generation_after(0), &entries));
    assert!(node.member(NodeId::from_u64(7)).is_some());
    assert_eq!(node.metrics().refused_members, 0);
}

/// A burst is pushed in several steps, each within milliseconds of the one before.
#[cfg(feature = "map")]
#[test]
fn a_burst_of_writes_to_the_map_is_pushed_to_its_end() {
    let mut node = node();
    let entries = entries_at(5);
    push(&mut node, at(1), delta(5, generation_after(0), &entries));
    for n in 0..400 {
        let put = Command::Put {
            key: Key::new(&std::format!("k{n}")).unwrap(),
            value: Value::new([b'.'; 100]).unwrap(),
            policy: Policy::default(),
            lifetime: None,
        };
        node.handle_command(at(2), put).unwrap();
    }
    while let Some(due) = node.poll_timeout().filter(|due| *due < at(200)) {
        node.handle_timeout(due);
        sent(&mut node, due);
    }
    assert!(!node.map().has_unpushed());
}
