//! What a cluster remembers of a shared map through which many members and keys have passed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use core::time::Duration;
use std::collections::BTreeSet;

use conformance::sim::network::Delay;
use conformance::sim::{Action, HostId, Time, World};
use gossip_core::{Command, Config, Key, Value};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(60);

/// Guests that pass through a cluster.
struct Churn {
    /// Nodes that stay.
    nodes: u32,
    guests: u32,
    /// Keys that each guest writes, and another node deletes while it is there.
    keys: u32,
    /// Time between two guests. Each stays for four seconds.
    every: Duration,
    /// Ghosts, and graves, that are kept.
    max_tombstones: u32,
}

/// The most that any node of those that stay holds.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    members: usize,
    logs: usize,
    ghosts: usize,
    graves: usize,
    writes: usize,
    bytes: usize,
    /// Logs of which something is held.
    filled: usize,
}

fn key(guest: u32, number: u32) -> Key {
    Key::new(&format!("guest/{guest}/{number}")).unwrap()
}

impl Churn {
    fn world(&self) -> (World, Config) {
        let mut world = World::new(3, Delay::uniform(MILLI, 10 * MILLI));
        let mut config = Config::lan();
        config.seeds = vec![([10, 0, 0, 1], 7946).into(), ([10, 0, 0, 2], 7946).into()];
        config.remove_after = 10 * SECOND;
        config.gc_grace = GRACE;
        config.forget_after = GRACE;
        config.max_tombstones = self.max_tombstones;
        for n in 0..self.nodes {
            let host = world.add(&format!("n{n}"), config.clone()).unwrap();
            world.perform(Action::Start(host));
        }
        world.run_until(Time::from_secs(20));
        (world, config)
    }

    /// A guest comes, writes, sees its keys deleted by another node, and goes, with a word or without.
    fn invite(&self, world: &mut World, config: &Config, guest: u32) {
        let host = world.add(&format!("g{guest}"), config.clone()).unwrap();
        let now = world.now();
        world.schedule(now, Action::Start(host));
        let other = HostId::new(guest % self.nodes);
        let value = Value::new(vec![b'v'; 32]).unwrap();
        for number in 0..self.keys {
            let key = key(guest, number);
            let put = Command::put(key.clone(), value.clone());
            world.schedule(now + 2 * SECOND, Action::Command(host, put));
            let delete = Command::Delete { key };
            world.schedule(now + 3 * SECOND, Action::Command(other, delete));
        }
        if guest.is_multiple_of(2) {
            world.schedule(now + 3500 * MILLI, Action::Command(host, Command::Leave));
        }
        world.schedule(now + 4 * SECOND, Action::Crash(host));
    }

    fn held(&self, world: &World) -> Held {
        let mut most = Held::default();
        for n in 0..self.nodes {
            let node = world.host(HostId::new(n)).node().unwrap();
            let map = node.map();
            let filled: BTreeSet<_> = map.held().map(|(origin, _)| origin).collect();
            most = Held {
                members: most.members.max(node.members().count()),
                logs: most.logs.max(map.logs()),
                ghosts: most.ghosts.max(map.ghosts()),
                graves: most.graves.max(map.graves().count()),
                writes: most.writes.max(map.writes()),
                bytes: most.bytes.max(map.bytes()),
                filled: most.filled.max(filled.len()),
            };
        }
        most
    }

    /// What the node that holds most may hold: what was written lately, who is there, and ghosts and
    /// graves up to their bound, with those that come before somebody has put them away.
    fn check(&self, held: &Held) {
        let within = |time: Duration| usize::try_from(time.as_millis() / self.every.as_millis());
        let keys = usize::try_from(self.keys).unwrap();
        let ghosts = usize::try_from(self.max_tombstones).unwrap() + within(40 * SECOND).unwrap();
        let writes = keys * within(GRACE + 30 * SECOND).unwrap();
        assert!(held.writes <= writes, "at most {writes}: {held:?}");
        assert!(held.bytes <= writes * 64, "{held:?}");
        assert!(held.ghosts <= ghosts, "at most {ghosts}: {held:?}");
        assert!(held.graves <= ghosts, "at most {ghosts}: {held:?}");
        let logs = held.members + held.filled + held.ghosts;
        assert!(held.logs <= logs, "at most {logs}: {held:?}");
    }

    /// Lets the time between two guests pass, with no more ado than there are members.
    fn pass(&self, world: &mut World) {
        let until = world.now() + self.every;
        let before = world.steps();
        while world.step(until).is_some() {
            let steps = world.steps() - before;
            assert!(steps < 100_000, "a storm at {} s", world.now());
        }
    }

    /// Lets them pass through, and looks every so many guests at what is held.
    fn pour(&self, each: u32) -> World {
        let (mut world, config) = self.world();
        let mut before = world.traffic();
        for guest in 1..=self.guests {
            self.invite(&mut world, &config, guest);
            self.pass(&mut world);
            if guest % each == 0 {
                let held = self.held(&world);
                let sent = world.traffic().since(before);
                before = world.traffic();
                println!(
                    "{} s, {guest} guests: {held:?}; {} datagrams, {} bytes",
                    world.now(),
                    sent.datagrams_out,
                    sent.bytes_out
                );
                self.check(&held);
            }
        }
        world
    }

    /// The same, and what is held when the last one has gone and all keys are deleted.
    fn play(&self, each: u32) {
        let mut world = self.pour(each);
        // Some keys were not known yet where they were to be deleted.
        world.run_until(world.now() + 10 * SECOND);
        let node = world.host(HostId::new(0)).node().unwrap();
        let left: Vec<Key> = (node.entries("").map(|(key, _)| Key::new(key).unwrap())).collect();
        for key in left {
            let command = Command::Delete { key };
            world.perform(Action::Command(HostId::new(0), command));
        }
        world.run_until(world.now() + 5 * GRACE);
        let held = self.held(&world);
        println!("{} s, at rest: {held:?}", world.now());
        let (nodes, graves) = (self.nodes, self.max_tombstones + self.max_tombstones / 8);
        assert_eq!((held.writes, held.bytes, held.ghosts), (0, 0, 0));
        assert!(held.logs <= usize::try_from(nodes).unwrap(), "{held:?}");
        assert!(held.graves <= usize::try_from(graves).unwrap(), "{held:?}");
        let first = world.host(HostId::new(0)).node().unwrap().map().summary();
        for n in 0..nodes {
            let node = world.host(HostId::new(n)).node().unwrap();
            assert_eq!(node.map().summary(), first, "n{n}");
        }
    }
}

#[test]
fn metadata_follows_what_lives_in_a_cluster() {
    let churn = Churn {
        nodes: 6,
        guests: 150,
        keys: 5,
        every: SECOND,
        max_tombstones: 8,
    };
    churn.play(10);
}

/// On demand, with `--release`: 10,000 members, 100,000 keys.
#[test]
#[ignore = "half an hour: cargo test --release -p conformance --test map_memory -- --ignored --nocapture"]
fn metadata_follows_what_lives_with_ten_thousand_members_in_a_cluster_of_fifty() {
    let churn = Churn {
        nodes: 50,
        guests: 10_000,
        keys: 10,
        every: SECOND,
        max_tombstones: 64,
    };
    churn.play(250);
}
