//! What a cluster makes of members that fall silent: each consequence of the verdict as a test.
//!
//! Nodes are numbered from 0; the first three are seeds. One seed decides everything; the same test
//! always plays the same run.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail where something is missing"
)]

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use conformance::scenario::{Clock, Figure, Gauges, Loss, Partition, Scenario, Setup, Soak, Whose};
use conformance::sim::network::{Effect, Fault, FaultId, Scope};
use conformance::sim::{Action, HostId, HostSet, Time, WallClock, World};
use gossip_core::{
    Command, Config, DownReason, Event, Generation, NodeId, Status, SuspicionReason, UpCause,
};

const SECOND: Duration = Duration::from_secs(1);
const FAULT: FaultId = FaultId::new(7);

/// A cluster, and all that its nodes tell.
struct Trial {
    world: World,
    told: Vec<(Time, u32, Event)>,
    names: BTreeMap<NodeId, u32>,
}

/// Who took whom down.
type Downs = BTreeSet<(u32, u32)>;

impl Trial {
    /// Nodes that have known one another for 25 seconds.
    fn new(nodes: u32) -> Self {
        Self::with(nodes, |_, _| {})
    }

    fn with(nodes: u32, change: impl Fn(u32, &mut Config)) -> Self {
        let setup = Setup {
            nodes,
            ..Setup::default()
        };
        let mut world = World::new(1, setup.delay);
        let mut names = BTreeMap::new();
        for number in 0..nodes {
            let mut config = setup.config();
            change(number, &mut config);
            let name = HostId::new(number).name();
            let host = world.add(name.as_str(), config).unwrap();
            names.insert(host.node_id(), number);
            world.perform(Action::Start(host));
        }
        let mut trial = Self {
            world,
            told: Vec::new(),
            names,
        };
        trial.pass(25.0);
        trial.told.clear();
        trial
    }

    fn pass(&mut self, seconds: f64) {
        let until = self.world.now() + Duration::from_secs_f64(seconds);
        while let Some(step) = self.world.step(until) {
            for event in self.world.events() {
                self.told.push((step.at, step.host.number(), event.clone()));
            }
        }
        assert_eq!(self.world.findings(), []);
    }

    fn act(&mut self, action: Action) {
        let host = self.world.perform(action).map(|step| step.host.number());
        for event in self.world.events() {
            self.told
                .push((self.world.now(), host.unwrap(), event.clone()));
        }
    }

    fn set(&mut self, scope: Scope, effect: Effect) {
        self.act(Action::Set(FAULT, Fault { scope, effect }));
    }

    fn mend(&mut self) {
        self.act(Action::Mend(FAULT));
    }

    fn downs(&self) -> Downs {
        let down = self.told.iter().filter_map(|(_, by, event)| match event {
            Event::MemberDown { id, .. } => Some((*by, self.names[id])),
            _ => None,
        });
        down.collect()
    }

    /// What these nodes were told to be up again, and why.
    fn ups(&self, about: u32) -> Vec<UpCause> {
        let up = self.told.iter().filter_map(|(_, _, event)| match event {
            Event::MemberUp { id, cause, .. } if self.names[id] == about => Some(*cause),
            _ => None,
        });
        up.collect()
    }

    fn tells(&self, by: u32, wanted: impl Fn(&Event) -> bool) -> bool {
        let told = self.told.iter();
        told.filter(|(_, who, _)| *who == by)
            .any(|(_, _, event)| wanted(event))
    }

    fn status(&self, viewer: u32, about: u32) -> Option<Status> {
        let node = self.world.host(HostId::new(viewer)).node()?;
        Some(node.member(HostId::new(about).node_id())?.status())
    }

    fn nodes(&self) -> impl Iterator<Item = u32> + use<> {
        let nodes = self.world.hosts().iter().map(|host| host.id().number());
        nodes.collect::<Vec<_>>().into_iter()
    }

    /// Whether every node in the list holds exactly the list up.
    fn whole(&self, nodes: &[u32]) -> bool {
        nodes.iter().all(|node| {
            let node = self.world.host(HostId::new(*node)).node().unwrap();
            node.metrics().live == u64::try_from(nodes.len()).unwrap()
                && nodes.iter().all(|other| {
                    let member = node.member(HostId::new(*other).node_id());
                    member.is_some_and(|m| matches!(m.status(), Status::Up | Status::Suspect))
                })
        })
    }

    /// Seconds until something holds; panics after too many.
    fn until(&mut self, within: f64, holds: impl Fn(&Self) -> bool) -> f64 {
        let began = self.world.now();
        loop {
            let passed = self.world.now().since(began).as_secs_f64();
            if holds(self) {
                return passed;
            }
            assert!(passed < within, "not within {within} s");
            self.pass(0.1);
        }
    }

    /// The nodes in the order in which they stand on the ring.
    fn ring(&self) -> Vec<u32> {
        self.names.values().copied().collect()
    }
}

fn hosts(numbers: impl IntoIterator<Item = u32>) -> HostSet {
    numbers.into_iter().map(HostId::new).collect()
}

#[test]
fn a_sick_node_takes_nobody_else_down() {
    let mut trial = Trial::new(20);
    trial.set(Scope::Around(hosts([5])), Effect::Loss(0.8));
    trial.pass(180.0);
    let wrong: Downs = trial.downs().into_iter().filter(|(_, s)| *s != 5).collect();
    assert_eq!(wrong, Downs::new());
}

/// At the first seed it took seven healthy members down in its own eyes, at the others five and six:
/// it asked everybody, and took what was lost by chance for their silence.
#[test]
fn a_sick_node_does_not_take_its_own_loss_for_the_silence_of_others() {
    for seed in [7, 36, 51] {
        let loss = Loss {
            warm_up: 70 * SECOND,
            share: 0.8,
            whose: Whose::Sick(1),
            lasts: 40 * SECOND,
            limit: 20 * SECOND,
        };
        let setup = Setup {
            seed,
            ..Setup::default()
        };
        let outcome = Scenario::Loss(loss)
            .play(&setup, &Clock::default(), Gauges::default())
            .unwrap();
        let wrong = outcome.report.figure("wrong_down_about_others");
        assert_eq!(wrong, Some(&Figure::Count(0)), "seed {seed}");
    }
}

#[test]
fn a_deaf_node_takes_nobody_down_but_in_its_own_eyes() {
    let mut trial = Trial::new(20);
    trial.set(Scope::To(hosts([5])), Effect::Cut);
    trial.pass(60.0);
    let wrong: Downs = trial
        .downs()
        .into_iter()
        .filter(|(by, about)| *by != 5 && *about != 5)
        .collect();
    assert_eq!(wrong, Downs::new());
    assert!(trial.tells(5, |event| *event == Event::Isolated));
    trial.mend();
    let all: Vec<u32> = trial.nodes().collect();
    trial.until(3.0, |trial| trial.whole(&all));
}

#[test]
fn a_mute_node_is_down_for_all_and_takes_nobody_down_but_in_its_own_eyes() {
    let mut trial = Trial::new(20);
    trial.set(Scope::From(hosts([5])), Effect::Cut);
    trial.pass(60.0);
    let expected: Downs = trial.nodes().filter(|n| *n != 5).map(|n| (n, 5)).collect();
    let others = trial.downs().into_iter().filter(|(by, _)| *by != 5);
    assert_eq!(others.collect::<Downs>(), expected);
}

#[test]
fn one_broken_link_takes_nobody_down_while_another_observer_vouches() {
    for nodes in [3, 5, 100] {
        let mut trial = Trial::new(nodes);
        // Two that stand side by side on the ring observe each other.
        let ring = trial.ring();
        let link = Scope::Between(hosts([ring[0]]), hosts([ring[1]]));
        let back = Scope::Between(hosts([ring[1]]), hosts([ring[0]]));
        let cut = |scope| Fault {
            scope,
            effect: Effect::Cut,
        };
        trial.act(Action::Set(FaultId::new(8), cut(link)));
        trial.act(Action::Set(FaultId::new(9), cut(back)));
        trial.pass(60.0);
        assert_eq!(trial.downs(), Downs::new(), "{nodes} nodes");
    }
}

/// Each side holds all of the other side down and none of its own within 15 s; all is well within
/// 3 s after healing, and nobody is taken down on the way.
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
    let outcome = Scenario::Partition(partition)
        .play(&setup, &Clock::default(), Gauges::default())
        .unwrap();
    assert_eq!(outcome.findings, []);
    let figure = |key| match outcome.report.figure(key) {
        Some(Figure::Real(real)) => *real,
        Some(Figure::Count(count)) => f64::from(u32::try_from(*count).unwrap()),
        other => panic!("{smaller} of {nodes}: {key} is {other:?}"),
    };
    assert!(figure("settled_s") <= 15.0);
    assert!(figure("heal_s") <= 3.0);
    assert_eq!(figure("wrong_down_during"), 0.0);
    assert_eq!(figure("wrong_down_after_heal"), 0.0);
}

#[test]
fn one_against_four() {
    a_split_settles_and_heals(5, 1);
}

#[test]
fn two_against_three() {
    a_split_settles_and_heals(5, 2);
}

#[test]
fn one_against_ninety_nine() {
    a_split_settles_and_heals(100, 1);
}

#[test]
fn two_against_ninety_eight() {
    a_split_settles_and_heals(100, 2);
}

#[test]
fn twenty_against_eighty() {
    a_split_settles_and_heals(100, 20);
}

#[test]
fn fifty_against_fifty() {
    a_split_settles_and_heals(100, 50);
}

/// What takes most of a minute in a debug build: `.ci/run` runs it, in the profile `checked`.
mod long {
    /// Each of the thirty observes more who have fallen than a list of votes takes.
    #[test]
    #[ignore = "long: cargo test --profile checked -p conformance long:: -- --ignored"]
    fn thirty_against_two_hundred_and_seventy() {
        super::a_split_settles_and_heals(300, 30);
    }
}

#[test]
#[ignore = "minutes: cargo test --release -p conformance --test liveness -- --ignored"]
fn five_hundred_against_five_hundred() {
    a_split_settles_and_heals(1000, 500);
}

#[test]
fn a_node_that_is_cut_off_says_so_and_says_when_it_is_back() {
    let mut trial = Trial::new(10);
    trial.set(Scope::Around(hosts([4])), Effect::Cut);
    trial.pass(15.0);
    let isolated = |by: &u32| trial.tells(*by, |event| *event == Event::Isolated);
    assert_eq!(trial.nodes().filter(isolated).collect::<Vec<_>>(), [4]);
    trial.mend();
    trial.pass(3.0);
    assert!(trial.tells(4, |event| *event == Event::Rejoined));
}

#[test]
fn half_of_the_cluster_may_crash_at_once() {
    let mut trial = Trial::new(40);
    for dead in 0..20 {
        trial.act(Action::Crash(HostId::new(2 * dead)));
    }
    let survivors: Vec<u32> = (0..20).map(|n| 2 * n + 1).collect();
    trial.until(10.0, |trial| trial.whole(&survivors));
    let wrong = |(_, about): &(u32, u32)| about % 2 == 1;
    assert!(!trial.downs().iter().any(wrong));
}

#[test]
fn a_member_may_die_with_all_its_observers() {
    let mut trial = Trial::new(40);
    let dead: BTreeSet<u32> = trial.ring()[10..19].iter().copied().collect();
    for dead in &dead {
        trial.act(Action::Crash(HostId::new(*dead)));
    }
    let survivors: Vec<u32> = trial.nodes().filter(|n| !dead.contains(n)).collect();
    trial.until(10.0, |trial| trial.whole(&survivors));
    assert!(trial.downs().iter().all(|(_, about)| dead.contains(about)));
}

#[test]
fn who_stood_still_takes_nobody_down_when_it_goes_on() {
    let mut trial = Trial::new(12);
    trial.act(Action::Pause(HostId::new(3)));
    trial.pass(30.0);
    trial.act(Action::Resume(HostId::new(3)));
    trial.pass(30.0);
    let by_it = |(by, _): &(u32, u32)| *by == 3;
    assert!(!trial.downs().iter().any(by_it));
    let all: Vec<u32> = trial.nodes().collect();
    assert!(trial.whole(&all));
}

#[test]
fn wall_clocks_may_jump() {
    let mut trial = Trial::new(8);
    for (host, ahead_ms) in [(1, 86_400_000), (2, -86_400_000), (3, 3_600_000)] {
        let wall = WallClock { ahead_ms };
        trial.act(Action::SetClock(HostId::new(host), wall));
        trial.pass(20.0);
    }
    assert_eq!(trial.downs(), Downs::new());
    // Nor does that keep anybody from seeing a crash.
    trial.act(Action::Crash(HostId::new(5)));
    let rest = [0, 1, 2, 3, 4, 6, 7];
    trial.until(6.0, |trial| trial.whole(&rest));
}

#[test]
fn a_node_that_does_everything_three_seconds_late_takes_nobody_else_down() {
    let mut trial = Trial::new(20);
    trial.act(Action::Slow(HostId::new(6), 3 * SECOND));
    trial.pass(120.0);
    assert!(trial.downs().iter().all(|(_, about)| *about == 6));
}

#[test]
fn a_node_under_a_flood_takes_nobody_down() {
    let mut trial = Trial::new(12);
    // What its full socket buffer drops, and what it wades through.
    trial.set(Scope::To(hosts([2])), Effect::Loss(0.6));
    for _ in 0..300 {
        for n in 0..100_u8 {
            let garbage = vec![n; usize::from(n) * 10];
            trial.act(Action::Forge(HostId::new(2), garbage));
        }
        trial.pass(0.1);
    }
    assert_eq!(trial.downs(), Downs::new());
}

#[test]
fn who_flaps_is_convicted_more_slowly_and_that_is_counted() {
    let mut trial = Trial::new(8);
    let pauses = |trial: &mut Trial, times| {
        trial.told.clear();
        for _ in 0..times {
            trial.act(Action::Pause(HostId::new(6)));
            trial.pass(5.0);
            trial.act(Action::Resume(HostId::new(6)));
            trial.pass(15.0);
        }
        let downs = trial
            .told
            .iter()
            .filter(|(_, by, event)| matches!(event, Event::MemberDown { .. }) && *by == 1);
        downs.count()
    };
    assert_eq!(pauses(&mut trial, 2), 2);
    assert_eq!(pauses(&mut trial, 3), 0, "it gets more time now");
    let viewer = trial.world.host(HostId::new(1)).node().unwrap();
    let member = viewer.member(HostId::new(6).node_id()).unwrap();
    assert_eq!(member.flaps(), 2);
    assert_eq!(viewer.metrics().flaps, 2);
    // A crash is still seen, if later; the back-off is bounded.
    trial.act(Action::Crash(HostId::new(6)));
    trial.until(15.0, |trial| trial.whole(&[0, 1, 2, 3, 4, 5, 7]));
    // After a long calm all is forgiven.
    trial.act(Action::Start(HostId::new(6)));
    trial.pass(320.0);
    trial.act(Action::Crash(HostId::new(6)));
    trial.until(4.0, |trial| trial.whole(&[0, 1, 2, 3, 4, 5, 7]));
}

#[test]
fn a_restart_after_a_verdict_is_told_once_and_as_a_restart() {
    let mut trial = Trial::new(20);
    trial.act(Action::Crash(HostId::new(6)));
    trial.pass(20.0);
    trial.told.clear();
    trial.act(Action::Start(HostId::new(6)));
    trial.pass(20.0);
    assert_eq!(trial.ups(6), [UpCause::Restarted; 19]);
    assert_eq!(trial.downs(), Downs::new());
    let flaps = |host: &conformance::sim::Host| host.node().unwrap().metrics().flaps;
    assert!(trial.world.hosts().iter().all(|host| flaps(host) == 0));
}

#[test]
fn a_new_address_is_followed_at_once() {
    let mut trial = Trial::new(12);
    let address = |trial: &Trial, viewer: u32| {
        let viewer = trial.world.host(HostId::new(viewer)).node().unwrap();
        viewer.member(HostId::new(6).node_id()).unwrap().address()
    };
    let before = address(&trial, 1);
    trial.act(Action::Crash(HostId::new(6)));
    trial.act(Action::Move(HostId::new(6)));
    trial.act(Action::Start(HostId::new(6)));
    let moved = |trial: &Trial| {
        let all = trial.nodes().map(|viewer| address(trial, viewer));
        all.collect::<BTreeSet<_>>().len() == 1 && address(trial, 1) != before
    };
    trial.until(2.0, moved);
    trial.pass(20.0);
    assert_eq!(trial.downs(), Downs::new());
}

#[test]
fn clusters_of_different_names_stay_apart() {
    // All have the same seeds.
    let name = |number: u32, config: &mut Config| {
        config.cluster = format!("cluster {}", number % 2);
    };
    let trial = Trial::with(12, name);
    for side in [0, 1] {
        let own: Vec<u32> = trial.nodes().filter(|n| n % 2 == side).collect();
        assert!(trial.whole(&own));
    }
    let dropped = trial.world.hosts().iter().map(|host| {
        let metrics = host.node().unwrap().metrics();
        metrics.dropped.cluster
    });
    assert!(dropped.sum::<u64>() > 0, "they have met");
}

#[test]
fn islands_merge_when_one_node_is_given_a_seed_on_the_other() {
    let seeds = Setup {
        nodes: 12,
        ..Setup::default()
    }
    .config()
    .seeds;
    // Two islands: the even nodes know the first seed, the odd ones the second.
    let apart = |number: u32, config: &mut Config| {
        config.seeds = vec![seeds[usize::try_from(number % 2).unwrap()]];
    };
    let mut trial = Trial::with(12, apart);
    for side in [0, 1] {
        let own: Vec<u32> = trial.nodes().filter(|n| n % 2 == side).collect();
        assert!(trial.whole(&own));
    }
    let command = Command::SetSeeds {
        seeds: vec![seeds[0]],
    };
    trial.act(Action::Command(HostId::new(7), command));
    let all: Vec<u32> = trial.nodes().collect();
    trial.until(15.0, |trial| trial.whole(&all));
    assert_eq!(trial.downs(), Downs::new());
}

/// A split that outlasts `remove_after`, with no seed on the other side: neither has the other in its
/// table any more.
#[test]
fn sides_that_have_removed_each_other_find_together_without_a_seed() {
    let mut trial = Trial::with(12, |_, config| {
        config.remove_after = Duration::from_secs(60);
    });
    let all: Vec<u32> = trial.nodes().collect();
    let (left, right) = all.split_at(6);
    for side in [left, right] {
        let first = trial.world.host(HostId::new(side[0])).node().unwrap();
        let seeds = vec![first.member(first.id()).unwrap().address()];
        for node in side {
            let seeds = seeds.clone();
            trial.act(Action::Command(
                HostId::new(*node),
                Command::SetSeeds { seeds },
            ));
        }
    }
    trial.set(Scope::Across(hosts(left.iter().copied())), Effect::Cut);
    trial.pass(180.0);
    let gone = |viewer: &u32, about: &u32| trial.status(*viewer, *about).is_none();
    assert!(left.iter().all(|one| {
        right
            .iter()
            .all(|other| gone(one, other) && gone(other, one))
    }));
    trial.mend();
    trial.until(30.0, |trial| trial.whole(&all));
}

/// Its log begins with a lower generation than the one that others remember.
#[test]
fn a_node_whose_clock_went_back_returns_above_its_earlier_life() {
    let mut trial = Trial::new(8);
    let generation = |trial: &Trial| {
        let viewer = trial.world.host(HostId::new(1)).node().unwrap();
        let member = viewer.member(HostId::new(6).node_id()).unwrap();
        member.generation()
    };
    let before = generation(&trial);
    trial.act(Action::Crash(HostId::new(6)));
    // Within `max_clock_skew`; one that lies further back refuses everybody, and says so.
    let back = WallClock { ahead_ms: -40_000 };
    trial.act(Action::SetClock(HostId::new(6), back));
    trial.act(Action::Start(HostId::new(6)));
    let all: Vec<u32> = trial.nodes().collect();
    trial.until(5.0, |trial| generation(trial) > before && trial.whole(&all));
    trial.told.clear();
    trial.pass(20.0);
    assert_eq!(trial.downs(), Downs::new());
}

#[test]
fn suspicions_and_verdicts_say_why() {
    let mut trial = Trial::new(20);
    trial.act(Action::Crash(HostId::new(6)));
    trial.pass(10.0);
    let id = HostId::new(6).node_id();
    let suspected = trial.told.iter().filter_map(|(_, by, event)| match event {
        Event::MemberSuspected {
            id: about,
            phi,
            reason,
            ..
        } if *about == id => Some((*by, *phi, *reason)),
        _ => None,
    });
    let suspected: Vec<_> = suspected.collect();
    // Each of its eight observers, but for those that heard of the verdict first.
    assert!((5..=8).contains(&suspected.len()));
    for (by, phi, reason) in suspected {
        let reached = phi >= 5.99;
        assert_eq!(reason == SuspicionReason::Phi, reached, "{by}: {phi}");
    }
    let down = |trial: &Trial, wanted: DownReason| {
        let told = trial.told.iter();
        told.filter(|(_, _, event)| {
            matches!(event, Event::MemberDown { reason, votes, .. }
                if *reason == wanted && (*votes > 0 || wanted == DownReason::Silence))
        })
        .count()
    };
    assert_eq!(down(&trial, DownReason::Votes), 19);
    // Who is cut off alone has nobody's word but its own.
    trial.told.clear();
    trial.set(Scope::Around(hosts([4])), Effect::Cut);
    trial.pass(15.0);
    let by_itself = trial.told.iter().filter(|(_, by, event)| {
        let silence = DownReason::Silence;
        *by == 4 && matches!(event, Event::MemberDown { reason, .. } if *reason == silence)
    });
    assert_eq!(by_itself.count(), 18);
    trial.mend();
    trial.pass(5.0);
    assert!(trial.told.iter().any(|(_, by, event)| {
        *by != 4
            && matches!(event, Event::MemberUp { cause: UpCause::Recovered, phi, .. }
            if phi.is_some_and(|phi| phi < 1.0))
    }));
}

#[test]
fn a_one_way_partition_heals() {
    let mut trial = Trial::new(20);
    let (first, second) = (hosts(0..10), hosts(10..20));
    trial.set(Scope::Between(first, second), Effect::Cut);
    trial.pass(60.0);
    trial.mend();
    let all: Vec<u32> = trial.nodes().collect();
    trial.until(5.0, |trial| trial.whole(&all));
    trial.told.clear();
    trial.pass(20.0);
    assert_eq!(trial.downs(), Downs::new());
}

/// Found by `simulate soak`: a process stood still for up to two seconds just after heartbeats of its
/// had been lost, and half of its observers took both together for its death.
#[test]
fn a_pause_right_after_lost_heartbeats_is_no_death() {
    for (seed, seconds) in [(1034, 130), (2228, 200), (2242, 200)] {
        let soak = Soak {
            warm_up: 20 * SECOND,
            lasts: seconds * SECOND,
            loss: 0.3,
            delay: Duration::from_millis(100),
            pause: 2 * SECOND,
        };
        let setup = Setup {
            nodes: 100,
            seed,
            ..Setup::default()
        };
        let outcome = Scenario::Soak(soak)
            .play(&setup, &Clock::default(), Gauges::default())
            .unwrap();
        assert_eq!(outcome.findings, []);
        let wrong = outcome.report.figure("wrong_down");
        assert_eq!(wrong, Some(&Figure::Count(0)), "seed {seed}");
    }
}

#[test]
fn who_can_reach_only_one_other_learns_all_through_it_and_harms_nobody() {
    let mut trial = Trial::new(12);
    let others = (0..12).filter(|n| ![4, 5].contains(n));
    let (others, one) = (hosts(others), hosts([4]));
    let cut = |scope| Fault {
        scope,
        effect: Effect::Cut,
    };
    let (to, from) = (
        Scope::Between(others.clone(), one.clone()),
        Scope::Between(one, others),
    );
    trial.act(Action::Set(FaultId::new(8), cut(to)));
    trial.act(Action::Set(FaultId::new(9), cut(from)));
    trial.pass(60.0);
    let harmed = |(by, about): &(u32, u32)| *by != 4 && *about != 4;
    assert!(!trial.downs().iter().any(harmed));
    trial.act(Action::Mend(FaultId::new(8)));
    trial.act(Action::Mend(FaultId::new(9)));
    let all: Vec<u32> = trial.nodes().collect();
    trial.until(5.0, |trial| trial.whole(&all));
}

#[test]
fn the_votes_against_a_member_are_seen_with_their_authors() {
    let mut trial = Trial::new(20);
    trial.act(Action::Crash(HostId::new(6)));
    trial.pass(10.0);
    let ring = trial.ring();
    let at = ring.iter().position(|n| *n == 6).unwrap();
    let observers = (1..=4).flat_map(|by| [ring[(at + by) % 20], ring[(at + 20 - by) % 20]]);
    let observers: BTreeSet<u32> = observers.collect();
    let id = HostId::new(6).node_id();
    for host in trial.world.hosts().iter().filter(|h| h.runs()) {
        let node = host.node().unwrap();
        let votes = node.votes(id).map(|vote| trial.names[&vote.observer]);
        assert_eq!(votes.collect::<BTreeSet<_>>(), observers);
        let observes = observers.contains(&host.id().number());
        assert_eq!(node.phi(id).is_some_and(|phi| phi >= 8.0), observes);
    }
}

#[test]
fn leaving_forgetting_and_removal_are_told_apart_from_failure() {
    let mut trial = Trial::with(6, |_, config| {
        config.remove_after = Duration::from_secs(60);
    });
    trial.act(Action::Command(HostId::new(4), Command::Leave));
    trial.pass(10.0);
    assert_eq!(trial.status(1, 4), Some(Status::Left));
    assert_eq!(trial.downs(), Downs::new());
    trial.act(Action::Crash(HostId::new(5)));
    trial.pass(10.0);
    assert_eq!(trial.status(1, 5), Some(Status::Down));
    let id = HostId::new(5).node_id();
    trial.act(Action::Command(HostId::new(1), Command::Forget { id }));
    assert_eq!(trial.status(1, 5), None, "forgotten at once");
    assert_eq!(trial.status(2, 5), Some(Status::Down), "by this one alone");
    trial.pass(90.0);
    for (viewer, gone) in [(1, 4), (2, 4), (2, 5), (0, 5)] {
        assert_eq!(trial.status(viewer, gone), None);
    }
    // The same node comes back under a newer generation.
    trial.act(Action::Start(HostId::new(5)));
    trial.pass(5.0);
    assert_eq!(trial.status(1, 5), Some(Status::Up));
}

#[test]
fn a_generation_far_in_the_future_is_refused_and_told() {
    let mut trial = Trial::new(5);
    let generation = |trial: &Trial| -> Generation {
        let viewer = trial.world.host(HostId::new(1)).node().unwrap();
        viewer
            .member(HostId::new(4).node_id())
            .unwrap()
            .generation()
    };
    let before = generation(&trial);
    trial.act(Action::Crash(HostId::new(4)));
    let ahead = |ahead_ms| Action::SetClock(HostId::new(4), WallClock { ahead_ms });
    trial.act(ahead(3_600_000));
    trial.act(Action::Start(HostId::new(4)));
    trial.pass(20.0);
    assert_eq!(generation(&trial), before, "refused");
    assert!(trial.tells(1, |event| matches!(event, Event::ClockSkew { .. })));
    // With its clock set right it is welcome again.
    trial.act(Action::Crash(HostId::new(4)));
    trial.act(ahead(0));
    trial.act(Action::Start(HostId::new(4)));
    let all: Vec<u32> = trial.nodes().collect();
    trial.until(5.0, |trial| trial.whole(&all));
}
