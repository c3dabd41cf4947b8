//! Whether all live members show the same: in simulated clusters, and whatever happens to them.

use core::time::Duration;

use conformance::sim::{Action, HostId, Step, World};
use conformance::swarm::Plan;
use conformance::testkit::{Cluster, MILLI, MINUTE, SECOND, Told, host, key, value};
use gossip_core::{Command, Config, Dissemination, Event, Standing, Value};

fn v5() -> Value {
    value("v5")
}

/// Nodes that know one another and watch the schema.
fn formed(seed: u64, nodes: usize, dissemination: Dissemination) -> Cluster {
    let change = |config: &mut Config| config.dissemination = dissemination;
    let mut cluster = Cluster::of(nodes).seed(seed).config(change).form();
    for number in 0..nodes {
        cluster.command(number, Command::Watch { key: key("schema") });
        let reached = Event::AgreementReached {
            key: key("schema"),
            value: None,
        };
        let told = cluster.take_told().into_iter().map(|told| told.event);
        assert_eq!(told.collect::<Vec<_>>(), [reached], "nobody has one yet");
    }
    cluster
}

fn migrate(cluster: &mut Cluster, number: usize) {
    cluster.set(number, "schema", "v5");
}

/// The schema as applications do it: each takes over what the first node shows.
struct Migration {
    cluster: Cluster,
    nodes: usize,
    known: Vec<Option<Duration>>,
    agreed: Vec<Option<Duration>>,
}

impl Migration {
    fn play(mut cluster: Cluster, nodes: usize) -> Self {
        let begins = cluster.now();
        migrate(&mut cluster, 0);
        let mut migration = Self {
            cluster,
            nodes,
            known: vec![None; nodes],
            agreed: vec![None; nodes],
        };
        migration.known[0] = Some(Duration::ZERO);
        while migration.agreed.contains(&None) && migration.cluster.now() < begins + MINUTE {
            migration.cluster.pass(MILLI);
            migration.look(begins);
        }
        migration
    }

    /// Looks at what nodes have told in the last millisecond.
    fn look(&mut self, begins: Duration) {
        let first = self.cluster.id(0);
        for Told { by, event, .. } in self.cluster.take_told() {
            let passed = self.cluster.now() - begins;
            match event {
                Event::AttributeChanged { id, value, .. } if id == first => {
                    assert_eq!(value, Some(v5()));
                    self.known[by] = Some(passed);
                    // Which may be the last that was missing, and is told at once then.
                    migrate(&mut self.cluster, by);
                }
                Event::AgreementReached { value, .. } => {
                    assert_eq!(value, Some(v5()));
                    self.agreed[by] = Some(passed);
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
            let agreement = self.cluster.node(number).agreement(&key("schema"));
            assert!(agreement.is_reached());
            assert_eq!(agreement.agreeing(), self.nodes);
        }
        (last(&self.known), last(&self.agreed))
    }
}

#[test]
fn five_nodes_follow_a_schema_within_three_rounds_and_know_that_all_do() {
    for seed in 1..=20 {
        let cluster = formed(seed, 5, Dissemination::Periodic);
        let (known, agreed) = Migration::play(cluster, 5).took();
        assert!(known <= 3 * SECOND, "seed {seed}: {known:?}");
        assert!(agreed <= 5 * SECOND, "seed {seed}: {agreed:?}");
    }
}

#[test]
fn five_nodes_follow_a_schema_at_once_with_eager_push() {
    for seed in 1..=20 {
        let cluster = formed(seed, 5, Dissemination::Eager);
        let (known, agreed) = Migration::play(cluster, 5).took();
        assert!(known <= 50 * MILLI, "seed {seed}: {known:?}");
        assert!(agreed <= 100 * MILLI, "seed {seed}: {agreed:?}");
    }
}

#[test]
fn a_node_that_differs_is_named_and_a_down_node_does_not_count() {
    let mut cluster = formed(1, 5, Dissemination::Eager);
    (0..4).for_each(|number| migrate(&mut cluster, number));
    cluster.pass(SECOND);
    let last = cluster.id(4);
    for number in cluster.numbers() {
        let agreement = cluster.node(number).agreement(&key("schema"));
        assert!(!agreement.is_reached());
        assert!(!cluster.node(number).has_agreement(&key("schema")));
        let mut apart = agreement.shown.iter();
        let apart = apart.find(|shown| shown.members == [last]);
        assert_eq!(apart.map(|shown| &shown.value), Some(&None));
    }
    let first = cluster.node(0).agreement(&key("schema"));
    assert_eq!(
        (first.agreeing(), first.differing().collect()),
        (4, vec![last])
    );

    cluster.take_told();
    cluster.crash(4);
    cluster.pass(20 * SECOND);
    let is_reached = |event: &Event| matches!(event, Event::AgreementReached { .. });
    assert_eq!(cluster.count_told(is_reached), 4);

    // It comes back without a schema, and is told apart again.
    cluster.take_told();
    cluster.start(4);
    cluster.pass(5 * SECOND);
    let is_lost = |event: &Event| matches!(event, Event::AgreementLost { .. });
    assert_eq!(cluster.count_told(is_lost), 4);
}

fn position(host: HostId) -> usize {
    usize::try_from(host.number()).unwrap()
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
        // A node that leaves is no longer one of those that agree, and tells nothing more.
        if matches!(node.standing(), Standing::Joining | Standing::Up) {
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
fn an_agreement_counts_what_members_show_whatever_happens() {
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

/// A node that has not joined does not know what the others show, and one that leaves is no longer one of them.
#[test]
fn nothing_is_agreed_before_joining_or_while_leaving() {
    for seed in 1..=9 {
        let mut cluster = Cluster::of(5).seed(seed).spare(1).form();
        let watch = || Command::Watch { key: key("schema") };
        for number in 0..5 {
            cluster.command(number, watch());
            cluster.set(number, "schema", "v4");
        }
        cluster.pass(5 * SECOND);
        cluster.take_told();
        for number in 0..4 {
            cluster.set(number, "schema", "v5");
        }
        cluster.pass(SECOND);
        cluster.leave(4);
        cluster.start(5);
        cluster.command(5, watch());
        assert!(!cluster.node(5).has_agreement(&key("schema")));
        assert!(!cluster.node(5).agreement(&key("schema")).is_reached());
        cluster.pass(10 * SECOND);
        let reached = |event: &Event| matches!(event, Event::AgreementReached { .. });
        assert!(!cluster.tells(4, reached), "it leaves, seed {seed}");
        assert!(!cluster.tells(5, reached), "it shows nothing, seed {seed}");
        cluster.set(5, "schema", "v5");
        cluster.pass(SECOND);
        assert!(cluster.tells(5, reached), "seed {seed}");
    }
}
