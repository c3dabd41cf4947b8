//! Several datacenters: what crosses between them, and what they know of one another (R6).
//!
//! Node n is in datacenter n modulo their number, the first of which has no name.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail where something is missing"
)]

use core::time::Duration;

use conformance::scenario::{Clock, Datacenters, Figure, Gauges, Scenario, Setup};
use conformance::sim::network::{Effect, Fault, FaultId, Scope};
use conformance::sim::{Action, HostId, HostSet, World};
use gossip_core::{Command, Config, Dissemination, Event, Key, Name, Node, Status, Value};

const WAN: FaultId = FaultId::new(7);

/// A cluster, and in which datacenter each node is.
struct Trial {
    world: World,
    places: Vec<u32>,
}

fn position(number: u32) -> usize {
    usize::try_from(number).unwrap()
}

fn configure(place: u32, config: &mut Config) {
    config.datacenter = (place > 0).then(|| Name::new(&format!("dc{place}")).unwrap());
}

impl Trial {
    /// So many nodes in each datacenter, which have known one another for a while.
    fn new(sizes: &[u32], change: impl Fn(&mut Config)) -> Self {
        let rest = sizes.iter().copied().max().unwrap();
        let places = (0..rest).flat_map(|n| {
            let here = sizes.iter().zip(0..).filter(move |(size, _)| **size > n);
            here.map(|(_, place)| place)
        });
        let places: Vec<u32> = places.collect();
        let setup = Setup {
            nodes: u32::try_from(places.len()).unwrap(),
            ..Setup::default()
        };
        let mut world = World::new(1, setup.delay);
        for (number, place) in (0..).zip(&places) {
            let mut config = setup.config();
            change(&mut config);
            configure(*place, &mut config);
            let name = HostId::new(number).name();
            let host = world.add(name.as_str(), config).unwrap();
            world.set_site(host, *place);
            world.perform(Action::Start(host));
        }
        let mut trial = Self { world, places };
        trial.pass(25.0);
        trial.all_show(|_, _| Status::Up);
        trial
    }

    fn pass(&mut self, seconds: f64) -> Vec<(HostId, Event)> {
        let until = self.world.now() + Duration::from_secs_f64(seconds);
        let mut told = Vec::new();
        while let Some(step) = self.world.step(until) {
            told.extend(
                self.world
                    .events()
                    .iter()
                    .map(|event| (step.host, event.clone())),
            );
        }
        assert_eq!(self.world.findings(), []);
        told
    }

    fn node(&self, number: u32) -> &Node {
        self.world.host(HostId::new(number)).node().unwrap()
    }

    fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        0..u32::try_from(self.places.len()).unwrap()
    }

    /// Whether every running node shows every node so.
    fn show(&self, expected: impl Fn(u32, u32) -> Status) -> Result<(), String> {
        for one in self.numbers() {
            let Some(node) = self.world.host(HostId::new(one)).node() else {
                continue;
            };
            for other in self.numbers() {
                let id = self.world.host(HostId::new(other)).node_id();
                let shown = node.member(id).map(|member| member.status());
                if shown != Some(expected(one, other)) {
                    return Err(format!("n{one} shows n{other} as {shown:?}"));
                }
            }
        }
        Ok(())
    }

    fn all_show(&self, expected: impl Fn(u32, u32) -> Status) {
        self.show(expected).unwrap();
    }

    /// The bridges of a datacenter, as a node sees them.
    fn bridges(&self, by: u32, place: u32) -> Vec<u32> {
        let is_bridge = |number: &u32| {
            let id = self.world.host(HostId::new(*number)).node_id();
            self.node(by)
                .member(id)
                .is_some_and(|member| member.is_bridge())
        };
        let here = self
            .numbers()
            .filter(|n| self.places[position(*n)] == place);
        here.filter(is_bridge).collect()
    }

    fn side(&self, place: u32) -> HostSet {
        let here = self
            .numbers()
            .filter(|n| self.places[position(*n)] == place);
        here.map(HostId::new).collect()
    }

    /// Cuts a datacenter off.
    fn cut(&mut self, place: u32) {
        let scope = Scope::Across(self.side(place));
        let effect = Effect::Cut;
        self.world
            .perform(Action::Set(WAN, Fault { scope, effect }));
    }

    fn mend(&mut self) {
        self.world.perform(Action::Mend(WAN));
    }

    fn apart(&self) -> impl Fn(u32, u32) -> Status {
        let places = self.places.clone();
        move |one, other| match places[position(one)] == places[position(other)] {
            true => Status::Up,
            false => Status::Down,
        }
    }
}

fn lan(_: &mut Config) {}

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
    let outcome = scenario.play(&setup, &Clock::default(), Gauges::default());
    let outcome = outcome.expect("the cluster forms");
    assert_eq!(outcome.findings, []);
    let figure = |key| match outcome.report.figure(key) {
        Some(Figure::Real(real)) => *real,
        Some(Figure::Count(count)) => f64::from(u32::try_from(*count).unwrap()),
        other => panic!("{key} is {other:?}"),
    };
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
    let trial = Trial::new(&[12, 7, 2], lan);
    for place in 0..3 {
        let bridges = trial.bridges(0, place);
        assert_eq!(bridges.len(), [3, 3, 2][position(place)]);
        assert!(
            trial
                .numbers()
                .all(|by| trial.bridges(by, place) == bridges)
        );
    }
}

#[test]
fn datacenters_of_one_two_and_three_members_settle_when_cut_off_and_heal() {
    for sizes in [[1, 1], [6, 1], [6, 2], [6, 3], [2, 2]] {
        let mut trial = Trial::new(&sizes, lan);
        trial.cut(1);
        trial.pass(30.0);
        trial
            .show(trial.apart())
            .unwrap_or_else(|e| panic!("{sizes:?}: {e}"));
        trial.mend();
        trial.pass(30.0);
        trial
            .show(|_, _| Status::Up)
            .unwrap_or_else(|e| panic!("{sizes:?}: {e}"));
    }
}

#[test]
fn a_datacenter_cut_off_for_longer_than_members_are_remembered_comes_back_by_itself() {
    let mut trial = Trial::new(&[8, 8], |config| config.remove_after = config.interval * 12);
    trial.cut(1);
    trial.pass(90.0);
    trial.all_show(trial.apart());
    trial.mend();
    trial.pass(30.0);
    trial.all_show(|_, _| Status::Up);
}

#[test]
fn a_node_cut_off_for_longer_than_members_are_remembered_comes_back_by_itself() {
    let mut trial = Trial::new(&[6, 6], |config| config.remove_after = config.interval * 12);
    let scope = Scope::Around(HostSet::one(HostId::new(5)));
    let effect = Effect::Cut;
    trial
        .world
        .perform(Action::Set(WAN, Fault { scope, effect }));
    trial.pass(90.0);
    trial.mend();
    trial.pass(60.0);
    trial.all_show(|_, _| Status::Up);
}

#[test]
fn a_crash_abroad_is_seen_by_all_and_removed_by_all() {
    let mut trial = Trial::new(&[6, 6], |config| config.remove_after = config.interval * 12);
    let dead = HostId::new(9);
    trial.world.perform(Action::Crash(dead));
    trial.pass(6.0);
    trial.all_show(|_, other| if other == 9 { Status::Down } else { Status::Up });
    trial.pass(30.0);
    let id = trial.world.host(dead).node_id();
    let mut others = trial.numbers().filter(|n| *n != 9);
    assert!(others.all(|n| trial.node(n).member(id).is_none()));
}

#[test]
fn when_all_bridges_crash_at_once_others_take_over() {
    let mut trial = Trial::new(&[8, 8], lan);
    let fallen = trial.bridges(0, 1);
    for bridge in &fallen {
        trial.world.perform(Action::Crash(HostId::new(*bridge)));
    }
    trial.pass(10.0);
    trial.all_show(|_, other| match fallen.contains(&other) {
        true => Status::Down,
        false => Status::Up,
    });
    assert_eq!(trial.bridges(0, 1).len(), 3);
    trial.pass(30.0);
    trial.all_show(|_, other| match fallen.contains(&other) {
        true => Status::Down,
        false => Status::Up,
    });
}

#[test]
fn one_broken_link_between_bridges_takes_nobody_down() {
    for sizes in [[8, 8], [8, 1]] {
        let mut trial = Trial::new(&sizes, lan);
        let (here, there) = (trial.bridges(0, 0)[0], trial.bridges(0, 1)[0]);
        let one = |number| HostSet::one(HostId::new(number));
        let scope = Scope::Between(one(here), one(there));
        let effect = Effect::Cut;
        trial
            .world
            .perform(Action::Set(WAN, Fault { scope, effect }));
        let told = trial.pass(60.0);
        let downs = told
            .iter()
            .filter(|(_, e)| matches!(e, Event::MemberDown { .. }));
        assert_eq!(downs.count(), 0, "{sizes:?}");
    }
}

#[test]
fn a_link_between_two_datacenters_breaks_and_a_third_stands_in() {
    let mut trial = Trial::new(&[5, 5, 5], lan);
    let scope = Scope::Between(trial.side(0), trial.side(1));
    let effect = Effect::Cut;
    trial
        .world
        .perform(Action::Set(WAN, Fault { scope, effect }));
    let key = Key::new("k").unwrap();
    let value = Value::new("v").unwrap();
    trial.pass(20.0);
    let set = Command::Set {
        key: key.clone(),
        value,
    };
    trial.world.perform(Action::Command(HostId::new(0), set));
    trial.pass(10.0);
    let writer = trial.node(0).id();
    for number in trial.numbers() {
        let member = trial.node(number).member(writer).unwrap();
        assert_eq!(member.attribute(&key), Some(b"v".as_slice()), "n{number}");
    }
}

#[test]
fn rounds_alone_carry_a_write_across_within_a_few_more() {
    let mut trial = Trial::new(&[25, 25], |config| {
        config.dissemination = Dissemination::Periodic;
    });
    let key = Key::new("k").unwrap();
    for number in 0..5 {
        let value = Value::new("v").unwrap();
        let set = Command::Set {
            key: key.clone(),
            value,
        };
        trial
            .world
            .perform(Action::Command(HostId::new(number), set));
        // Alone, a datacenter of 25 takes 3 to 4 rounds, and so does the other one.
        trial.pass(9.0);
        let writer = trial.node(number).id();
        let knows = |by: &u32| {
            let member = trial.node(*by).member(writer).unwrap();
            member.attribute(&key).is_some()
        };
        assert!(trial.numbers().all(|by| knows(&by)), "n{number}");
    }
}

#[test]
fn a_member_may_move_to_another_datacenter() {
    let mut trial = Trial::new(&[6, 6], lan);
    let moving = HostId::new(0);
    trial.world.perform(Action::Crash(moving));
    let mut config = trial.world.host(moving).config().clone();
    configure(1, &mut config);
    trial.world.set_config(moving, config).unwrap();
    trial.world.perform(Action::Start(moving));
    trial.places[0] = 1;
    trial.pass(20.0);
    trial.all_show(|_, _| Status::Up);
    trial.cut(1);
    trial.pass(20.0);
    trial.all_show(trial.apart());
    trial.mend();
    trial.pass(20.0);
    trial.all_show(|_, _| Status::Up);
}

#[test]
fn a_newcomer_learns_that_a_datacenter_is_cut_off() {
    let mut trial = Trial::new(&[6, 6], lan);
    let late = HostId::new(10);
    trial.world.perform(Action::Crash(late));
    trial.pass(20.0);
    trial.cut(1);
    trial.pass(20.0);
    trial.world.perform(Action::Start(late));
    trial.pass(20.0);
    let apart = trial.apart();
    trial.all_show(apart);
    trial.mend();
    trial.pass(20.0);
    trial.all_show(|_, _| Status::Up);
}
