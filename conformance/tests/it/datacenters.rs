//! Several datacenters: what crosses between them, and what they know of one another.
//!
//! Node `n` is in datacenter `n` modulo their number, as long as that is not full. The first datacenter
//! has no name.

use core::time::Duration;
use std::collections::BTreeSet;

use conformance::scenario::{Datacenters, Scenario, Setup};
use conformance::sim::network::{Effect, Scope};
use conformance::testkit::{Cluster, SECOND, host, hosts};
use gossip_core::{Config, Dissemination, Status};

use super::{figure, play};

/// A cluster of several datacenters.
struct Trial {
    cluster: Cluster,
}

impl Trial {
    /// So many nodes in each datacenter, which have known one another for a while.
    fn new(sizes: &[usize], change: impl Fn(&mut Config)) -> Self {
        let nodes = sizes.iter().sum();
        let options = Cluster::of(nodes).config(change).datacenters(sizes);
        let trial = Self {
            cluster: options.warm_up(25 * SECOND).form(),
        };
        trial.all_show(|_, _| Status::Up);
        trial
    }

    fn pass(&mut self, time: Duration) {
        self.cluster.pass(time);
    }

    #[track_caller]
    fn all_show(&self, expected: impl Fn(usize, usize) -> Status) {
        assert_eq!(self.cluster.show(expected), Ok(()));
    }

    fn place(&self, number: usize) -> usize {
        let site = self.cluster.world.host(host(number)).site();
        usize::try_from(site).unwrap()
    }

    /// The nodes of a datacenter.
    fn side(&self, place: usize) -> Vec<usize> {
        let numbers = self.cluster.numbers();
        numbers.filter(|n| self.place(*n) == place).collect()
    }

    /// The bridges of a datacenter, as a node sees them.
    fn bridges(&self, by: usize, place: usize) -> Vec<usize> {
        let mut side = self.side(place);
        side.retain(|number| {
            let member = self.cluster.node(by).member(self.cluster.id(*number));
            member.is_some_and(|member| member.is_bridge())
        });
        side
    }

    /// Cuts a datacenter off.
    fn cut(&mut self, place: usize) {
        self.cluster.cut_off(self.side(place));
    }

    /// Each side shows the other down.
    fn apart(&self) -> impl Fn(usize, usize) -> Status + use<> {
        let places: Vec<usize> = self.cluster.numbers().map(|n| self.place(n)).collect();
        move |one, other| match places[one] == places[other] {
            true => Status::Up,
            false => Status::Down,
        }
    }
}

#[test]
fn a_tenth_crosses_of_what_would_cross_in_one_datacenter() {
    let scenario = Scenario::Datacenters(Datacenters {
        datacenters: 2,
        warm_up: Duration::from_secs(20),
        rests: Duration::from_secs(20),
        writes: 5,
        limit: Duration::from_secs(120),
    });
    let setup = Setup {
        nodes: 100,
        ..Setup::default()
    };
    let outcome = play(scenario, &setup);
    let figure = |key| figure(&outcome, key);
    assert!(figure("rest_ratio") >= 10.0, "{}", figure("rest_ratio"));
    assert!(figure("write_ratio") >= 10.0, "{}", figure("write_ratio"));
    // One hop more than at home, of at most 10 ms.
    assert!(figure("abroad_max_s") <= figure("here_max_s") + 0.012);
    assert_eq!(figure("unfinished"), 0.0);
    assert!(figure("crash_seen_abroad_s") <= figure("crash_seen_here_s") + 0.1);
    assert!(figure("bridges_seen_abroad_s") <= 6.0);
    assert_eq!(figure("wrong_down_before_cut"), 0.0);
    assert_eq!(figure("wrong_down_while_cut"), 0.0);
    assert!(figure("cut_settled_s") <= 15.0);
    assert!(figure("heal_s") <= 6.0);
}

#[test]
fn all_know_the_same_bridges_and_three_of_each() {
    let trial = Trial::new(&[12, 7, 2], |_| {});
    for place in 0..3 {
        let bridges = trial.bridges(0, place);
        assert_eq!(bridges.len(), [3, 3, 2][place]);
        assert!(
            trial
                .cluster
                .numbers()
                .all(|by| trial.bridges(by, place) == bridges)
        );
    }
}

#[test]
fn datacenters_of_one_two_and_three_members_settle_when_cut_off_and_heal() {
    for sizes in [[1, 1], [6, 1], [6, 2], [6, 3], [2, 2]] {
        let mut trial = Trial::new(&sizes, |_| {});
        trial.cut(1);
        trial.pass(30 * SECOND);
        let settled = trial.cluster.show(trial.apart());
        assert_eq!(settled, Ok(()), "{sizes:?}");
        trial.cluster.mend();
        trial.pass(30 * SECOND);
        let healed = trial.cluster.show(|_, _| Status::Up);
        assert_eq!(healed, Ok(()), "{sizes:?}");
    }
}

#[test]
fn a_datacenter_cut_off_for_longer_than_members_are_remembered_comes_back_by_itself() {
    let mut trial = Trial::new(&[8, 8], |config| config.remove_after = config.interval * 12);
    trial.cut(1);
    trial.pass(90 * SECOND);
    trial.all_show(trial.apart());
    trial.cluster.mend();
    trial.pass(30 * SECOND);
    trial.all_show(|_, _| Status::Up);
}

#[test]
fn a_node_cut_off_for_longer_than_members_are_remembered_comes_back_by_itself() {
    let mut trial = Trial::new(&[6, 6], |config| config.remove_after = config.interval * 12);
    trial.cluster.isolate([5]);
    trial.pass(90 * SECOND);
    trial.cluster.mend();
    trial.pass(60 * SECOND);
    trial.all_show(|_, _| Status::Up);
}

#[test]
fn a_crash_abroad_is_seen_by_all_and_removed_by_all() {
    let mut trial = Trial::new(&[6, 6], |config| config.remove_after = config.interval * 12);
    trial.cluster.crash(9);
    trial.pass(6 * SECOND);
    trial.all_show(|_, other| if other == 9 { Status::Down } else { Status::Up });
    trial.pass(30 * SECOND);
    let mut others = trial.cluster.numbers().filter(|n| *n != 9);
    assert!(others.all(|n| trial.cluster.status(n, 9).is_none()));
}

#[test]
fn when_all_bridges_crash_at_once_others_take_over() {
    let mut trial = Trial::new(&[8, 8], |_| {});
    let fallen = trial.bridges(0, 1);
    for bridge in &fallen {
        trial.cluster.crash(*bridge);
    }
    trial.pass(10 * SECOND);
    trial.all_show(|_, other| match fallen.contains(&other) {
        true => Status::Down,
        false => Status::Up,
    });
    assert_eq!(trial.bridges(0, 1).len(), 3);
    trial.pass(30 * SECOND);
    trial.all_show(|_, other| match fallen.contains(&other) {
        true => Status::Down,
        false => Status::Up,
    });
}

#[test]
fn one_broken_link_between_bridges_takes_nobody_down() {
    for sizes in [[8, 8], [8, 1]] {
        let mut trial = Trial::new(&sizes, |_| {});
        let (here, there) = (trial.bridges(0, 0)[0], trial.bridges(0, 1)[0]);
        let link = Scope::Between(hosts([here]), hosts([there]));
        trial.cluster.disturb(link, Effect::Cut);
        trial.pass(60 * SECOND);
        assert_eq!(trial.cluster.downs(), BTreeSet::new(), "{sizes:?}");
    }
}

#[test]
fn a_link_between_two_datacenters_breaks_and_a_third_stands_in() {
    let mut trial = Trial::new(&[5, 5, 5], |_| {});
    let link = Scope::Between(hosts(trial.side(0)), hosts(trial.side(1)));
    trial.cluster.disturb(link, Effect::Cut);
    trial.pass(20 * SECOND);
    trial.cluster.set(0, "k", "v");
    trial.pass(10 * SECOND);
    for number in trial.cluster.numbers() {
        let shown = trial.cluster.attribute(number, 0, "k");
        assert_eq!(shown.as_deref(), Some("v"), "n{number}");
    }
}

#[test]
fn rounds_alone_carry_a_write_across_within_a_few_more() {
    let mut trial = Trial::new(&[25, 25], |config| {
        config.dissemination = Dissemination::Periodic;
    });
    for number in 0..5 {
        trial.cluster.set(number, "k", "v");
        // Alone, a datacenter of 25 takes 3 to 4 rounds, and so does the other one.
        trial.pass(9 * SECOND);
        let mut all = trial.cluster.numbers();
        let knows = |by| trial.cluster.attribute(by, number, "k").is_some();
        assert!(all.all(knows), "n{number}");
    }
}

#[test]
fn a_member_may_move_to_another_datacenter() {
    let mut trial = Trial::new(&[6, 6], |_| {});
    trial.cluster.crash(0);
    trial.cluster.set_datacenter(0, 1);
    trial.cluster.start(0);
    trial.pass(20 * SECOND);
    trial.all_show(|_, _| Status::Up);
    trial.cut(1);
    trial.pass(20 * SECOND);
    trial.all_show(trial.apart());
    trial.cluster.mend();
    trial.pass(20 * SECOND);
    trial.all_show(|_, _| Status::Up);
}

#[test]
fn a_newcomer_learns_that_a_datacenter_is_cut_off() {
    let mut trial = Trial::new(&[6, 6], |_| {});
    trial.cluster.crash(10);
    trial.pass(20 * SECOND);
    trial.cut(1);
    trial.pass(20 * SECOND);
    trial.cluster.start(10);
    trial.pass(20 * SECOND);
    let apart = trial.apart();
    trial.all_show(apart);
    trial.cluster.mend();
    trial.pass(20 * SECOND);
    trial.all_show(|_, _| Status::Up);
}
