//! What a cluster remembers of a shared map through which many members and keys have passed.

use core::time::Duration;
use std::collections::BTreeSet;

use conformance::sim::{Action, World};
use conformance::testkit::{Cluster, MILLI, MINUTE, SECOND, host, key, value};
use gossip_core::{Command, Key};

const GRACE: Duration = MINUTE;

/// Guests that pass through a cluster.
struct Churn {
    /// Nodes that stay.
    nodes: usize,
    guests: usize,
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

impl Churn {
    fn formed(&self) -> Cluster {
        let options = Cluster::of(self.nodes).seed(3).seeds([0, 1]);
        let options = options.config(|config| {
            config.remove_after = 10 * SECOND;
            config.gc_grace = GRACE;
            config.forget_after = GRACE;
            config.max_tombstones = self.max_tombstones;
        });
        options.form()
    }

    /// A guest comes, writes, sees its keys deleted by another node, and goes, with a word or without.
    fn invite(&self, cluster: &mut Cluster, guest: usize) {
        let number = cluster.add(&format!("g{guest}"));
        let (guest_host, other) = (host(number), host(guest % self.nodes));
        let world = &mut cluster.world;
        let now = world.now();
        world.schedule(now, Action::Start(guest_host));
        for number in 0..self.keys {
            let key = key(&format!("guest/{guest}/{number}"));
            let put = Command::put(key.clone(), value([b'v'; 32]));
            world.schedule(now + 2 * SECOND, Action::Command(guest_host, put));
            let delete = Command::Delete { key };
            world.schedule(now + 3 * SECOND, Action::Command(other, delete));
        }
        if guest.is_multiple_of(2) {
            world.schedule(
                now + 3500 * MILLI,
                Action::Command(guest_host, Command::Leave),
            );
        }
        world.schedule(now + 4 * SECOND, Action::Crash(guest_host));
    }

    fn held(&self, cluster: &Cluster) -> Held {
        let mut most = Held::default();
        for n in 0..self.nodes {
            let node = cluster.node(n);
            let map = node.map();
            let filled: BTreeSet<_> = map.held().map(|(origin, _)| origin).collect();
            most = Held {
                members: most.members.max(node.members().count()),
                logs: most.logs.max(map.logs()),
                ghosts: most.ghosts.max(map.empty_logs()),
                graves: most.graves.max(map.pruned_origins().count()),
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
    fn pour(&self, each: usize) -> Cluster {
        let mut cluster = self.formed();
        let mut before = cluster.traffic();
        for guest in 1..=self.guests {
            self.invite(&mut cluster, guest);
            // Nobody keeps what nodes tell.
            self.pass(&mut cluster.world);
            if guest % each == 0 {
                let held = self.held(&cluster);
                let sent = cluster.traffic().since(before);
                before = cluster.traffic();
                println!(
                    "{} s, {guest} guests: {held:?}; {} datagrams, {} bytes",
                    cluster.world.now(),
                    sent.datagrams_out,
                    sent.bytes_out
                );
                self.check(&held);
            }
        }
        cluster
    }

    /// The same, and what is held when the last one has gone and all keys are deleted.
    fn play(&self, each: usize) {
        let mut cluster = self.pour(each);
        // Some keys were not known yet where they were to be deleted.
        cluster.pass(10 * SECOND);
        let node = cluster.node(0);
        let left: Vec<Key> = (node.entries("").map(|(key, _)| Key::new(key).unwrap())).collect();
        for key in left {
            cluster.command(0, Command::Delete { key });
        }
        cluster.pass(5 * GRACE);
        let held = self.held(&cluster);
        println!("{} s, at rest: {held:?}", cluster.world.now());
        let (nodes, graves) = (self.nodes, self.max_tombstones + self.max_tombstones / 8);
        assert_eq!((held.writes, held.bytes, held.ghosts), (0, 0, 0));
        assert!(held.logs <= nodes, "{held:?}");
        assert!(held.graves <= usize::try_from(graves).unwrap(), "{held:?}");
        let first = cluster.node(0).map().summary();
        for n in 0..nodes {
            assert_eq!(cluster.node(n).map().summary(), first, "n{n}");
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
#[ignore = "half an hour: cargo test --release -p conformance --test it map_memory -- --ignored --nocapture"]
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
