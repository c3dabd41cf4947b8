//! The shared map in simulated clusters: R15 to R18 with their own values, and what they leave open.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use core::time::Duration;

use conformance::sim::network::{Delay, Effect, Fault, FaultId, Scope};
use conformance::sim::{Action, HostId, HostSet, Time, WallClock, World};
use gossip_core::{Command, CommandError, Config, Event, Key, Node, Policy, Value};

const MILLI: Duration = Duration::from_millis(1);
const SPLIT: FaultId = FaultId::new(0);
const LOSS: FaultId = FaultId::new(1);

struct Cluster(World);

/// N1 is the first.
fn host(n: usize) -> HostId {
    HostId::new(u32::try_from(n).unwrap() - 1)
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn value(text: &str) -> Value {
    Value::new(text).unwrap()
}

impl Cluster {
    /// Nodes that know one another.
    fn of(nodes: usize, change: impl Fn(&mut Config)) -> Self {
        let mut world = World::new(7, Delay::uniform(MILLI, 10 * MILLI));
        let mut config = Config::lan();
        config.seeds = vec!["10.0.0.1:7946".parse().unwrap()];
        change(&mut config);
        for n in 1..=nodes {
            let host = world.add(&format!("N{n}"), config.clone()).unwrap();
            world.perform(Action::Start(host));
        }
        let mut cluster = Self(world);
        cluster.at(10);
        cluster
    }

    /// Lets time pass until this second.
    fn at(&mut self, second: u64) {
        self.0.run_until(Time::from_secs(second));
    }

    /// N1 is the first.
    fn node(&self, n: usize) -> &Node {
        self.0.host(host(n)).node().unwrap()
    }

    fn ask(&mut self, n: usize, command: Command) -> Result<(), CommandError> {
        self.0.ask(host(n), command).unwrap()
    }

    fn put_with(&mut self, n: usize, text: &str, says: &str, policy: Policy) {
        let put = Command::Put {
            key: key(text),
            value: value(says),
            policy,
            lifetime: None,
        };
        self.ask(n, put).unwrap();
    }

    fn put(&mut self, n: usize, text: &str, says: &str) {
        self.put_with(n, text, says, Policy::LastWriteWins);
    }

    fn delete(&mut self, n: usize, text: &str) {
        self.ask(n, Command::Delete { key: key(text) }).unwrap();
    }

    /// Everything that a node reads under a key, the latest first.
    fn read(&self, n: usize, text: &str) -> Vec<String> {
        let siblings = self.node(n).siblings(&key(text));
        let says = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        siblings.iter().map(|reading| says(reading.value)).collect()
    }

    fn all_read(&self, text: &str, expected: &[&str]) {
        for n in 1..=self.0.hosts().len() {
            assert_eq!(self.read(n, text), expected, "N{n}");
        }
    }

    fn cut_off(&mut self, nodes: &[usize]) {
        let set: HostSet = nodes.iter().map(|n| host(*n)).collect();
        let fault = Fault {
            scope: Scope::Across(set),
            effect: Effect::Cut,
        };
        self.0.perform(Action::Set(SPLIT, fault));
    }

    fn mend(&mut self) {
        self.0.perform(Action::Mend(SPLIT));
    }

    fn agree(&self) {
        let first = self.node(1).map().summary();
        for n in 2..=self.0.hosts().len() {
            assert_eq!(self.node(n).map().summary(), first, "N{n}");
        }
    }
}

#[test]
fn a_write_is_everywhere_at_once() {
    let mut cluster = Cluster::of(50, |_| {});
    cluster.put(7, "X", "10");
    let now = cluster.0.now();
    cluster.0.run_until(now + 100 * MILLI);
    cluster.all_read("X", &["10"]);
}

#[test]
fn both_sides_of_a_partition_write_and_the_last_write_wins() {
    let mut cluster = Cluster::of(5, |_| {});
    cluster.at(90);
    cluster.cut_off(&[1, 2]);
    cluster.at(100);
    cluster.put(1, "X", "10");
    cluster.at(105);
    cluster.put(3, "X", "20");
    cluster.at(110);
    assert_eq!(
        (cluster.read(2, "X"), cluster.read(5, "X")),
        (vec!["10".into()], vec!["20".into()])
    );
    cluster.mend();
    cluster.at(150);
    cluster.all_read("X", &["20"]);
    cluster.agree();
}

#[test]
fn however_long_it_lasted() {
    let mut cluster = Cluster::of(5, |config| {
        config.gc_grace = Duration::from_secs(60);
        config.remove_after = Duration::from_secs(300);
    });
    cluster.put(1, "before", "v");
    cluster.put(1, "gone", "v");
    cluster.at(20);
    cluster.cut_off(&[1, 2]);
    cluster.at(25);
    cluster.put(1, "left", "1");
    cluster.put(3, "right", "2");
    cluster.delete(4, "gone");
    cluster.at(4_000);
    assert_eq!(
        cluster.node(1).members().count(),
        2,
        "the others are removed"
    );
    cluster.mend();
    for host in [0, 2_u32] {
        // Somebody has to tell them of one another: they have forgotten.
        cluster.0.perform(Action::Command(
            HostId::new(host),
            Command::SetSeeds {
                seeds: vec![format!("10.0.0.{}:7946", 3 - host).parse().unwrap()],
            },
        ));
    }
    cluster.at(4_200);
    for (text, says) in [("before", "v"), ("left", "1"), ("right", "2")] {
        cluster.all_read(text, &[says]);
    }
    cluster.all_read("gone", &[]);
    cluster.agree();
}

#[test]
fn writes_that_did_not_know_each_other_are_told_and_kept_where_so_asked() {
    let mut cluster = Cluster::of(5, |_| {});
    cluster.at(90);
    cluster.cut_off(&[1, 2]);
    cluster.at(100);
    cluster.put_with(1, "X", "10", Policy::KeepSiblings);
    cluster.at(105);
    cluster.put_with(3, "X", "20", Policy::KeepSiblings);
    cluster.mend();
    let until = Time::from_secs(150);
    let mut told = 0;
    while cluster.0.step(until).is_some() {
        let conflicts = cluster.0.events().iter();
        told += conflicts
            .filter(|event| matches!(event, Event::Conflict { .. }))
            .count();
    }
    assert_eq!(told, 5, "once to each");
    cluster.all_read("X", &["20", "10"]);
    let refused = cluster.ask(
        4,
        Command::Put {
            key: key("X"),
            value: value("30"),
            policy: Policy::KeepSiblings,
            lifetime: None,
        },
    );
    assert_eq!(refused, Err(CommandError::Unresolved { siblings: 2 }));
    let resolve = Command::Resolve {
        key: key("X"),
        value: Some(value("30")),
    };
    cluster.ask(4, resolve).unwrap();
    cluster.at(155);
    cluster.all_read("X", &["30"]);
    cluster.put_with(2, "X", "40", Policy::KeepSiblings);
    cluster.at(160);
    cluster.all_read("X", &["40"]);
}

#[test]
fn a_delete_stays_when_a_node_returns_with_the_old_value() {
    for (away, grace) in [(60, 10 * 24 * 3600), (3_000, 60)] {
        let mut cluster = Cluster::of(5, |config| config.gc_grace = Duration::from_secs(grace));
        cluster.put(2, "user 123", "old");
        cluster.at(20);
        cluster.cut_off(&[4]);
        cluster.at(30);
        cluster.delete(2, "user 123");
        cluster.at(30 + away);
        assert_eq!(cluster.read(4, "user 123"), ["old"]);
        let tombstones = cluster.node(2).map().writes();
        assert_eq!(
            tombstones,
            usize::from(away < grace),
            "collected after the grace time"
        );
        cluster.mend();
        cluster.at(30 + away + 60);
        cluster.all_read("user 123", &[]);
        cluster.agree();
    }
}

#[test]
fn a_tombstone_beats_what_is_earlier_and_yields_to_what_is_later() {
    for (written, expected) in [(50, &[][..]), (150, &["data"][..])] {
        let mut cluster = Cluster::of(5, |_| {});
        cluster.put(1, "k", "first");
        cluster.at(20);
        cluster.cut_off(&[1, 2]);
        let mut acts = [(100, false), (written, true)];
        acts.sort_unstable();
        for (second, writes) in acts {
            cluster.at(second);
            if writes {
                cluster.put(1, "k", "data");
            } else {
                cluster.delete(4, "k");
            }
        }
        cluster.mend();
        cluster.at(220);
        cluster.all_read("k", expected);
        cluster.agree();
    }
}

#[test]
fn a_newcomer_learns_a_large_map_through_loss() {
    let mut cluster = Cluster::of(5, |_| {});
    for n in 0..3_000_usize {
        cluster.put(n % 5 + 1, &format!("key/{n}"), &"v".repeat(100));
        if n % 100 == 99 {
            let now = cluster.0.now();
            cluster.0.run_until(now + 50 * MILLI);
        }
    }
    cluster.at(60);
    cluster.agree();
    let fault = Fault {
        scope: Scope::Everywhere,
        effect: Effect::Loss(0.3),
    };
    cluster.0.perform(Action::Set(LOSS, fault));
    cluster.0.perform(Action::Crash(host(4)));
    cluster.at(65);
    cluster.0.perform(Action::Start(host(4)));
    cluster.at(150);
    assert_eq!(cluster.node(4).entries("key/").count(), 3_000);
    cluster.agree();
}

#[test]
fn a_newcomer_is_sent_a_large_map_once_though_datagrams_overtake_one_another() {
    let mut cluster = Cluster::of(3, |_| {});
    for n in 0..3_000_usize {
        cluster.put(n % 3 + 1, &format!("key/{n}"), &"v".repeat(100));
    }
    cluster.at(60);
    cluster.agree();
    cluster.0.perform(Action::Crash(host(3)));
    let before = cluster.0.traffic();
    cluster.0.perform(Action::Start(host(3)));
    cluster.at(70);
    cluster.agree();
    let (sent, held) = (cluster.0.traffic().since(before).bytes_out, {
        u64::try_from(cluster.node(1).map().bytes()).unwrap()
    });
    assert!(sent < held * 3 / 2, "{sent} bytes for {held}");
}

#[test]
fn two_that_cannot_take_what_the_other_gives_do_not_ask_one_another_without_end() {
    let mut cluster = Cluster::of(2, |config| config.max_clock_skew = Duration::from_secs(10));
    let clock = |n, ahead_ms| Action::SetClock(host(n), WallClock { ahead_ms });
    cluster.0.perform(clock(1, 1_200_000));
    cluster.put(1, "one", "from the far future");
    cluster.0.perform(clock(1, 0));
    cluster.0.perform(clock(2, 600_000));
    cluster.put(2, "two", "from the future");
    cluster.at(20);
    let before = cluster.0.traffic();
    cluster.at(80);
    let sent = cluster.0.traffic().since(before).datagrams_out;
    for n in [1, 2] {
        assert_eq!(cluster.node(n).map().logs(), 1, "N{n}");
    }
    assert!(sent < 60 * 20, "{sent} datagrams in a minute");
}

#[test]
fn a_node_whose_clock_went_back_never_writes_behind_its_own_past() {
    let mut cluster = Cluster::of(3, |_| {});
    let back = WallClock { ahead_ms: -20_000 };
    cluster.put(1, "X", "1");
    cluster.at(12);
    cluster.put(2, "X", "2");
    cluster.at(13);
    cluster.0.perform(Action::SetClock(host(1), back));
    let before = cluster.node(1).get(&key("X")).unwrap().stamp;
    cluster.put(1, "X", "3");
    cluster.at(14);
    assert!(cluster.node(3).get(&key("X")).unwrap().stamp > before);
    cluster.all_read("X", &["3"]);
    // Nor does its next life, which begins with the clock behind and nothing in memory.
    cluster.0.perform(Action::Crash(host(1)));
    cluster.0.perform(Action::Start(host(1)));
    cluster.at(20);
    cluster.put(1, "X", "4");
    cluster.at(21);
    cluster.all_read("X", &["4"]);
    cluster.agree();
}

#[test]
fn a_write_from_too_far_ahead_is_refused_for_now_and_told() {
    let skew = Duration::from_secs(10);
    let mut cluster = Cluster::of(3, |config| config.max_clock_skew = skew);
    let ahead = WallClock { ahead_ms: 60_000 };
    cluster.0.perform(Action::SetClock(host(3), ahead));
    cluster.put(3, "X", "from the future");
    let mut told = Vec::new();
    while let Some(step) = cluster.0.step(Time::from_secs(50)) {
        let skewed = |event: &Event| matches!(event, Event::ClockSkew { .. });
        if cluster.0.events().iter().any(skewed) {
            told.push(step.host);
        }
    }
    for n in [1, 2] {
        assert!(told.contains(&host(n)));
        assert_eq!(cluster.read(n, "X"), [""; 0], "N{n}");
        assert!(cluster.node(n).metrics().refused_skew > 0);
        assert!(cluster.node(n).map().logs() == 0, "not even claimed");
    }
    // When its time has come.
    cluster.at(80);
    cluster.all_read("X", &["from the future"]);
    cluster.agree();
}

#[test]
fn values_die_everywhere() {
    let mut cluster = Cluster::of(5, |_| {});
    let put = Command::Put {
        key: key("session"),
        value: value("v"),
        policy: Policy::LastWriteWins,
        lifetime: Some(Duration::from_secs(20)),
    };
    cluster.ask(1, put).unwrap();
    cluster.at(25);
    cluster.all_read("session", &["v"]);
    cluster.at(33);
    cluster.all_read("session", &[]);
}

#[test]
fn the_periodic_exchange_alone_brings_it_everywhere() {
    for mode in [
        gossip_core::Mode::PushPull,
        gossip_core::Mode::Push,
        gossip_core::Mode::Pull,
    ] {
        let mut cluster = Cluster::of(20, |config| {
            config.mode = mode;
            config.dissemination = gossip_core::Dissemination::Periodic;
        });
        for n in 1..=20 {
            cluster.put(n, &format!("k{n}"), "v");
        }
        cluster.at(40);
        for n in 1..=20 {
            cluster.all_read(&format!("k{n}"), &["v"]);
        }
        cluster.agree();
    }
}
