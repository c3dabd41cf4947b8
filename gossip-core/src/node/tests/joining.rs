//! How a node finds its cluster.

use super::*;
use crate::event::JoinCause;
use crate::node::Standing;

#[test]
fn the_first_node_announces_itself_and_the_next_asks_all_its_seeds() {
    let mut first = node();
    assert_eq!(first.standing(), Standing::Up);
    let joined = Event::Joined {
        members: 0,
        cause: JoinCause::NoSeeds,
    };
    assert_eq!(first.poll_event(), Some(joined));
    assert!(sent(&mut first, at(0)).is_empty());

    let mut second = node_with("b", 2, |config| {
        config.seeds = [1, 2, 3].map(address).into();
    });
    assert_eq!(second.standing(), Standing::Joining);
    let asked = receivers(&mut second, at(0));
    assert_eq!(asked, [address(1), address(3)], "all but itself");
}

/// The names of its seeds are still looked up, so an empty list does not mean that it is the first.
#[test]
fn a_node_waits_for_seeds_that_are_to_come() {
    let waiting = || node_with("b", 2, |config| config.seeds_to_come = true);
    let mut node = waiting();
    assert_eq!(node.standing(), Standing::Joining);
    assert!(sent(&mut node, at(0)).is_empty());
    set_seeds(&mut node, at(5), &[1]);
    assert_eq!(receivers(&mut node, at(5)), [address(1)]);
    assert_eq!(node.standing(), Standing::Joining);

    let mut in_vain = waiting();
    in_vain.handle_timeout(at(4_000));
    assert_eq!(in_vain.standing(), Standing::Up);
}

#[test]
fn the_same_seeds_again_change_nothing() {
    let mut node = node_with_seed("b", 2, 1);
    let mut asked_after = |ports: &[u16]| {
        sent(&mut node, at(0));
        set_seeds(&mut node, at(1), ports);
        sent(&mut node, at(1)).len()
    };
    assert_eq!(asked_after(&[1]), 0);
    assert_eq!(asked_after(&[3, 1]), 2, "a lonely node asks new seeds");
    assert_eq!(asked_after(&[1, 3, 1]), 0, "the order says nothing");
    assert_eq!(asked_after(&[3]), 1);
}

#[test]
fn a_node_whose_seeds_are_silent_announces_itself_after_three_rounds() {
    let mut node = node_with_seed("b", 2, 1);
    while let Some(due) = node.poll_timeout().filter(|due| *due <= at(3_000)) {
        assert_eq!(node.standing(), Standing::Joining);
        node.handle_timeout(due);
    }
    assert_eq!(node.standing(), Standing::Up);
    let joined = Event::Joined {
        members: 0,
        cause: JoinCause::NoAnswer,
    };
    assert_eq!(node.poll_event(), Some(joined));
}
