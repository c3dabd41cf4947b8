//! Whether all live members show the same (R19): in simulated clusters, and whatever happens to them.
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use core::time::Duration;

use conformance::sim::network::Delay;
use conformance::sim::{Action, HostId, Step, Time, World};
use conformance::swarm::Plan;
use gossip_core::{Command, Config, Dissemination, Event, Key, Node, Standing, Value};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn key(text: &str) -> Key {
    Key::new(text).expect("a legal key")
}

fn v5() -> Value {
    Value::new("v5").expect("a legal value")
}

fn host(number: usize) -> HostId {
    HostId::new(u32::try_from(number).expect("a small number"))
}

fn position(host: HostId) -> usize {
    usize::try_from(host.number()).expect("a small number")
}

fn node(world: &World, host: HostId) -> &Node {
    world.host(host).node().expect("it runs")
}

/// Nodes that know one another and watch the schema.
fn formed(seed: u64, nodes: usize, dissemination: Dissemination) -> World {
    let mut world = World::new(seed, Delay::uniform(MILLI, 10 * MILLI));
    let mut config = Config::lan();
    config.seeds = vec![([10, 0, 0, 1], 7946).into()];
    config.dissemination = dissemination;
    for number in 0..nodes {
        let added = world.add(&format!("n{number}"), config.clone());
        world.perform(Action::Start(added.expect("it can be")));
    }
    world.run_until(Time::from_secs(20));
    assert_eq!(world.check_quiescence(), []);
    for number in 0..nodes {
        let watch = Command::Watch { key: key("schema") };
        world.perform(Action::Command(host(number), watch));
        let reached = Event::AgreementReached {
            key: key("schema"),
            value: None,
        };
        assert_eq!(world.events(), [reached], "nobody has one yet");
    }
    world
}

fn migrate(world: &mut World, host: HostId) {
    let command = Command::Set {
        key: key("schema"),
        value: v5(),
    };
    world.perform(Action::Command(host, command));
}

/// The schema as applications do it: each takes over what the first node shows.
struct Migration {
    world: World,
    nodes: usize,
    known: Vec<Option<Duration>>,
    agreed: Vec<Option<Duration>>,
}

impl Migration {
    fn play(mut world: World, nodes: usize) -> Self {
        let begins = world.now();
        migrate(&mut world, host(0));
        let mut migration = Self {
            world,
            nodes,
            known: vec![None; nodes],
            agreed: vec![None; nodes],
        };
        migration.known[0] = Some(Duration::ZERO);
        while let Some(step) = migration.world.step(begins + 60 * SECOND) {
            migration.look(begins, step);
            if migration.agreed.iter().all(Option::is_some) {
                break;
            }
        }
        migration
    }

    fn look(&mut self, begins: Time, step: Step) {
        let first = self.world.host(host(0)).node_id();
        let passed = step.at.since(begins);
        for event in self.world.events().to_vec() {
            match event {
                Event::AttributeChanged { id, value, .. } if id == first => {
                    assert_eq!(value, Some(v5()));
                    self.known[position(step.host)] = Some(passed);
                    migrate(&mut self.world, step.host);
                    // Which may be the last that was missing.
                    self.look(begins, step);
                }
                Event::AgreementReached { value, .. } => {
                    assert_eq!(value, Some(v5()));
                    self.agreed[position(step.host)] = Some(passed);
                }
                _ => {}
            }
        }
    }

    /// When all knew the schema, and when all knew that all show it.
    fn took(&self) -> (Duration, Duration) {
        let last = |times: &[Option<Duration>]| {
            let times: Option<Vec<Duration>> = times.iter().copied().collect();
            let times = times.expect("within a minute");
            times.into_iter().max().expect("there are nodes")
        };
        for number in 0..self.nodes {
            let agreement = node(&self.world, host(number)).agreement(&key("schema"));
            assert!(agreement.is_reached());
            assert_eq!(agreement.agreeing(), self.nodes);
        }
        (last(&self.known), last(&self.agreed))
    }
}

#[test]
fn five_nodes_follow_a_schema_within_three_rounds_and_know_that_all_do() {
    for seed in 1..=20 {
        let world = formed(seed, 5, Dissemination::Periodic);
        let (known, agreed) = Migration::play(world, 5).took();
        assert!(known <= 3 * SECOND, "seed {seed}: {known:?}");
        assert!(agreed <= 5 * SECOND, "seed {seed}: {agreed:?}");
    }
}

#[test]
fn with_eager_push_they_do_at_once() {
    for seed in 1..=20 {
        let world = formed(seed, 5, Dissemination::Eager);
        let (known, agreed) = Migration::play(world, 5).took();
        assert!(known <= 50 * MILLI, "seed {seed}: {known:?}");
        assert!(agreed <= 100 * MILLI, "seed {seed}: {agreed:?}");
    }
}

#[test]
fn who_differs_is_told_and_who_is_down_does_not_count() {
    let mut world = formed(1, 5, Dissemination::Eager);
    let hosts: Vec<HostId> = (0..5).map(host).collect();
    for host in &hosts[..4] {
        migrate(&mut world, *host);
    }
    world.run_until(world.now() + SECOND);
    let last = world.host(hosts[4]).node_id();
    for host in &hosts {
        let agreement = node(&world, *host).agreement(&key("schema"));
        assert!(!agreement.is_reached());
        assert!(!node(&world, *host).has_agreement(&key("schema")));
        let mut apart = agreement.shown.iter();
        let apart = apart.find(|shown| shown.members == [last]);
        assert_eq!(apart.map(|shown| &shown.value), Some(&None));
    }
    let first = node(&world, hosts[0]).agreement(&key("schema"));
    assert_eq!(
        (first.agreeing(), first.differing().collect()),
        (4, vec![last])
    );

    world.perform(Action::Crash(hosts[4]));
    let mut reached = 0;
    let until = world.now() + 20 * SECOND;
    while world.step(until).is_some() {
        let told = world.events().iter();
        reached += told
            .filter(|event| matches!(event, Event::AgreementReached { .. }))
            .count();
    }
    assert_eq!(reached, 4);

    // It comes back without a schema, and is told apart again.
    world.perform(Action::Start(hosts[4]));
    let mut lost = 0;
    let until = world.now() + 5 * SECOND;
    while world.step(until).is_some() {
        let told = world.events().iter();
        lost += told
            .filter(|event| matches!(event, Event::AgreementLost { .. }))
            .count();
    }
    assert_eq!(lost, 4);
}

/// What the nodes of one world were told last of the attribute `a`, where that is known.
struct Watched {
    told: Vec<Option<bool>>,
    checks: u32,
    turns: u32,
}

impl Watched {
    fn look(&mut self, world: &World, step: Step) {
        let told = &mut self.told[position(step.host)];
        for event in world.events() {
            let now = match event {
                Event::AgreementReached { .. } => Some(true),
                Event::AgreementLost { .. } => Some(false),
                // Nobody knows what was told.
                Event::Lagged => {
                    *told = None;
                    continue;
                }
                _ => continue,
            };
            assert_ne!(*told, now, "{} at {}: told twice", step.host, step.at);
            *told = now;
            self.turns += 1;
        }
        let Some(node) = world.host(step.host).node() else {
            return;
        };
        let agreement = node.agreement(&key("a"));
        let reached = agreement.is_reached();
        let counted = node.has_agreement(&key("a"));
        assert_eq!(counted, reached, "{} at {}", step.host, step.at);
        if node.standing() != Standing::Left {
            let known = told.unwrap_or(reached);
            assert_eq!(known, reached, "{} at {}: not told", step.host, step.at);
        }
        self.checks += 1;
    }

    fn play(&mut self, plan: &Plan) {
        let mut world = World::new(plan.seed, plan.delay);
        for number in 0..plan.hosts {
            let name = host(number).name();
            let added = world.add(name.as_str(), plan.config.clone());
            added.expect("plans draw what works");
        }
        self.told = vec![None; plan.hosts];
        for (at, action) in plan.script() {
            while let Some(step) = world.step(at) {
                self.look(&world, step);
            }
            let starts = match action {
                Action::Start(host) if world.host(host).node().is_none() => Some(host),
                _ => None,
            };
            if let Some(host) = starts {
                self.told[position(host)] = None;
            }
            let watch = Command::Watch { key: key("a") };
            let watch = starts.map(|host| Action::Command(host, watch));
            for action in [Some(action), watch].into_iter().flatten() {
                if let Some(step) = world.perform(action) {
                    self.look(&world, step);
                }
            }
        }
    }
}

/// A watched attribute is counted as it changes. Whatever happens, that must say what a look at all
/// members says, and be told in turns.
#[test]
fn what_is_counted_is_what_is_there_whatever_happens() {
    let mut watched = Watched {
        told: Vec::new(),
        checks: 0,
        turns: 0,
    };
    for seed in 1..=12 {
        let plan = Plan::draw(seed);
        println!("seed {seed}");
        watched.play(&plan);
    }
    assert!(watched.checks > 10_000, "{} checks", watched.checks);
    assert!(watched.turns > 50, "{} turns", watched.turns);
}
