//! Networks that are cut in two, or cut some nodes off, and heal again.

use std::collections::BTreeSet;

use conformance::scenario::{Partition, Scenario, Setup};
use conformance::sim::network::{Delay, Effect, Scope};
use conformance::testkit::{Cluster, MILLI, MINUTE, SECOND, hosts};
use gossip_core::{Command, Config, Event};

use super::{figure, play};

#[test]
fn one_broken_link_takes_nobody_down_while_another_observer_vouches() {
    for nodes in [3, 5, 100] {
        let mut cluster = Cluster::of(nodes).form();
        // Two nodes that stand side by side on the ring observe each other.
        let ring = cluster.ring();
        cluster.break_link(ring[0], ring[1]);
        cluster.pass(60 * SECOND);
        assert_eq!(cluster.downs(), BTreeSet::new(), "{nodes} nodes");
    }
}

/// Each side holds all of the other side down and none of its own within 15 s; all is well within
/// 3 s after healing, and nobody is taken down on the way. Healing costs a node little.
fn a_split_settles_and_heals(nodes: u32, smaller: u32) {
    let partition = Partition {
        warm_up: 25 * SECOND,
        smaller,
        lasts: 30 * SECOND,
        limit: 20 * SECOND,
    };
    let setup = Setup {
        nodes,
        ..Setup::default()
    };
    let outcome = play(Scenario::Partition(partition), &setup);
    let figure = |key| figure(&outcome, key);
    assert!(figure("settled_s") <= 15.0);
    assert!(figure("heal_s") <= 3.0);
    let most = if nodes > 100 { 150_000.0 } else { 40_000.0 };
    assert!(figure("bytes_per_node_in_10s") <= most);
    assert_eq!(figure("wrong_down_during"), 0.0);
    assert_eq!(figure("wrong_down_after_heal"), 0.0);
}

#[test]
fn a_split_of_one_against_four_settles_and_heals() {
    a_split_settles_and_heals(5, 1);
}

#[test]
fn a_split_of_two_against_three_settles_and_heals() {
    a_split_settles_and_heals(5, 2);
}

#[test]
fn a_split_of_one_against_ninety_nine_settles_and_heals() {
    a_split_settles_and_heals(100, 1);
}

#[test]
fn a_split_of_two_against_ninety_eight_settles_and_heals() {
    a_split_settles_and_heals(100, 2);
}

#[test]
fn a_split_of_twenty_against_eighty_settles_and_heals() {
    a_split_settles_and_heals(100, 20);
}

#[test]
fn a_split_of_fifty_against_fifty_settles_and_heals() {
    a_split_settles_and_heals(100, 50);
}

/// What takes most of a minute in a debug build: `.ci/run` runs it, in the profile `checked`.
mod long {
    /// Each of the thirty observes more members that have fallen than a list of votes takes.
    #[test]
    #[ignore = "long: cargo test --profile checked -p conformance long:: -- --ignored"]
    fn a_split_of_thirty_against_two_hundred_and_seventy_settles_and_heals() {
        super::a_split_settles_and_heals(300, 30);
    }
}

#[test]
#[ignore = "minutes: cargo test --release -p conformance --test it partition -- --ignored"]
fn a_split_of_five_hundred_against_five_hundred_settles_and_heals() {
    a_split_settles_and_heals(1000, 500);
}

#[test]
fn a_node_that_is_cut_off_says_so_and_says_when_it_is_back() {
    let mut cluster = Cluster::of(10).form();
    cluster.isolate([4]);
    cluster.pass(15 * SECOND);
    let isolated = |by: &usize| cluster.tells(*by, |event| *event == Event::Isolated);
    assert_eq!(cluster.numbers().filter(isolated).collect::<Vec<_>>(), [4]);
    cluster.mend();
    cluster.pass(3 * SECOND);
    assert!(cluster.tells(4, |event| *event == Event::Rejoined));
}

/// What a write says of its key is all that matters of it, so what went before it need not be asked for.
#[test]
fn a_lost_push_does_not_matter_once_its_key_is_written_again() {
    let mut cluster = Cluster::of(3).delay(Delay::uniform(MILLI, MILLI)).form();
    cluster.cut_off([0]);
    cluster.set(0, "key", "lost");
    cluster.pass(20 * MILLI);
    cluster.mend();
    cluster.set(0, "key", "again");
    // A request would take 15 ms, and two ways more.
    cluster.pass(10 * MILLI);
    for viewer in [1, 2] {
        let shown = cluster.attribute(viewer, 0, "key");
        assert_eq!(shown.as_deref(), Some("again"));
    }
}

#[test]
fn a_one_way_partition_heals() {
    let mut cluster = Cluster::of(20).form();
    let (first, second) = (hosts(0..10), hosts(10..20));
    cluster.disturb(Scope::Between(first, second), Effect::Cut);
    cluster.pass(60 * SECOND);
    cluster.mend();
    let all: Vec<usize> = cluster.numbers().collect();
    cluster.until(5 * SECOND, |cluster| cluster.is_whole(&all));
    cluster.take_told();
    cluster.pass(20 * SECOND);
    assert_eq!(cluster.downs(), BTreeSet::new());
}

#[test]
fn islands_merge_when_one_node_is_given_a_seed_on_the_other() {
    let seeds = Cluster::of(12).start().config().seeds.clone();
    // Two islands: the even nodes know the first seed, the odd ones the second.
    let apart = |number: usize, config: &mut Config| {
        config.seeds = vec![seeds[number % 2]];
    };
    let mut cluster = Cluster::of(12).each(apart).start();
    cluster.pass(25 * SECOND);
    cluster.take_told();
    for side in [0, 1] {
        let own: Vec<usize> = cluster.numbers().filter(|n| n % 2 == side).collect();
        assert!(cluster.is_whole(&own));
    }
    let command = Command::SetSeeds {
        seeds: vec![seeds[0]],
    };
    cluster.command(7, command);
    let all: Vec<usize> = cluster.numbers().collect();
    cluster.until(15 * SECOND, |cluster| cluster.is_whole(&all));
    assert_eq!(cluster.downs(), BTreeSet::new());
}

/// A split that outlasts `remove_after`, with no seed on the other side: neither has the other in its
/// table any more.
#[test]
fn sides_that_have_removed_each_other_find_together_without_a_seed() {
    let remembers = |config: &mut Config| config.remove_after = MINUTE;
    let mut cluster = Cluster::of(12).config(remembers).form();
    let all: Vec<usize> = cluster.numbers().collect();
    let (left, right) = all.split_at(6);
    for side in [left, right] {
        let first = cluster.node(side[0]);
        let seeds = vec![first.member(first.id()).unwrap().address()];
        for node in side {
            let seeds = seeds.clone();
            cluster.command(*node, Command::SetSeeds { seeds });
        }
    }
    cluster.cut_off(left.iter().copied());
    cluster.pass(180 * SECOND);
    let gone = |viewer: &usize, about: &usize| cluster.status(*viewer, *about).is_none();
    assert!(left.iter().all(|one| {
        right
            .iter()
            .all(|other| gone(one, other) && gone(other, one))
    }));
    cluster.mend();
    cluster.until(30 * SECOND, |cluster| cluster.is_whole(&all));
}

#[test]
fn a_node_that_reaches_only_one_other_learns_all_through_it_and_harms_nobody() {
    let mut cluster = Cluster::of(12).form();
    let others = (0..12).filter(|n| ![4, 5].contains(n));
    let (others, one) = (hosts(others), hosts([4]));
    let to = Scope::Between(others.clone(), one.clone());
    let from = Scope::Between(one, others);
    cluster.disturb(to, Effect::Cut);
    cluster.disturb(from, Effect::Cut);
    cluster.pass(60 * SECOND);
    let harmed = |(by, about): &(usize, usize)| *by != 4 && *about != 4;
    assert!(!cluster.downs().iter().any(harmed));
    cluster.mend();
    let all: Vec<usize> = cluster.numbers().collect();
    cluster.until(5 * SECOND, |cluster| cluster.is_whole(&all));
}
