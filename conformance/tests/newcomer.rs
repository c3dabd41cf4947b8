//! One node joins a large cluster with much state: how soon it knows all, and who bears it (issue
//! figures; on demand, since forming the cluster takes minutes):
//! `cargo test --release -p conformance --test newcomer -- --ignored --nocapture --exact` with the name of
//! one of the tests; the last needs 11 GB.

use core::time::Duration;

use conformance::sim::network::Delay;
use conformance::sim::{Action, HostId, Time, World};
use gossip_core::{Command, Config, Key, Value};

fn host(number: usize) -> HostId {
    HostId::new(u32::try_from(number).expect("a small number"))
}

/// How a newcomer came to have what the others have.
#[derive(Clone, Copy)]
struct Caught {
    /// After how many milliseconds it had all of it.
    up: u64,
    /// Bytes that it was sent.
    taken: u64,
    /// The most that one peer sent meanwhile, what it sends anyway included; and within one second.
    most: u64,
    rate: u64,
}

/// `nodes` that hold so many KB each, and one that joins.
fn join(nodes: usize, kilobytes: usize) -> Caught {
    let millis = Duration::from_millis;
    let mut world = World::new(1, Delay::uniform(millis(1), millis(10)));
    let mut config = Config::lan();
    config.seeds = (1..=3).map(|n| ([10, 0, 0, n], 7946).into()).collect();
    for number in 0..=nodes {
        let added = world.add(&format!("n{number}"), config.clone());
        assert_eq!(added.expect("it can be"), host(number));
    }
    for number in 0..nodes {
        world.perform(Action::Start(host(number)));
    }
    world.run_until(Time::from_secs(20));
    for part in 0..kilobytes {
        for number in 0..nodes {
            let command = Command::Set {
                key: Key::new(&format!("state{part}")).expect("a legal key"),
                value: Value::new([b'x'; 1000]).expect("a legal value"),
            };
            world.perform(Action::Command(host(number), command));
        }
        let written = world.now();
        world.run_until(written + millis(500));
    }
    let mut rested = world.now() + millis(40_000);
    world.run_until(rested);
    assert_eq!(world.check_quiescence(), []);

    let sent = |world: &World| -> Vec<u64> {
        let hosts = world.hosts().iter().take(nodes);
        hosts.map(|host| host.traffic().bytes_out).collect()
    };
    let most = |now: &[u64], before: &[u64]| {
        let grown = now.iter().zip(before).map(|(now, before)| now - before);
        grown.max().unwrap_or(0)
    };
    let state = |world: &World, number: usize| {
        let node = world.host(host(number)).node().expect("it runs");
        node.metrics().state_bytes
    };
    let before = sent(&world);
    world.perform(Action::Start(host(nodes)));
    let (mut up, mut rate) = (0, 0);
    let mut second = before.clone();
    while state(&world, nodes) < state(&world, 0) && up < 60_000 {
        up += 10;
        rested = rested + millis(10);
        world.run_until(rested);
        if up % 1000 == 0 {
            let now = sent(&world);
            rate = rate.max(most(&now, &second));
            second = now;
        }
    }
    let now = sent(&world);
    Caught {
        up,
        taken: world.host(host(nodes)).traffic().bytes_in,
        most: most(&now, &before),
        rate: rate.max(most(&now, &second)),
    }
}

fn catches_up(nodes: usize, kilobytes: usize) -> Caught {
    let caught = join(nodes, kilobytes);
    let Caught {
        up,
        taken,
        most,
        rate,
    } = caught;
    println!(
        "{nodes} nodes of {kilobytes} KB: {up} ms, {taken} bytes taken, at most {most} bytes from one \
         peer and {rate} within a second"
    );
    assert!(up < 60_000, "{nodes}");
    // Twelve datagrams in a leg, and no peer is asked again and again.
    assert!(rate < 250_000, "{nodes}");
    caught
}

#[test]
#[ignore = "minutes: cargo test --release -p conformance --test newcomer -- --ignored --nocapture catches_up_and"]
fn a_newcomer_catches_up_and_no_peer_bears_it_all() {
    for nodes in [100, 1000] {
        let caught = catches_up(nodes, 1);
        assert!(caught.up <= 3_000 && caught.most <= 100_000, "{nodes}");
    }
}

#[test]
#[ignore = "minutes: cargo test --release -p conformance --test newcomer -- --ignored --nocapture --exact a_newcomer_catches_up_with_ten_kilobytes_of_each"]
fn a_newcomer_catches_up_with_ten_kilobytes_of_each() {
    for nodes in [100, 300] {
        catches_up(nodes, 10);
    }
}

#[test]
#[ignore = "11 GB, half an hour: cargo test --release -p conformance --test newcomer -- --ignored --nocapture of_a_thousand"]
fn a_newcomer_catches_up_with_ten_kilobytes_of_each_of_a_thousand() {
    catches_up(1000, 10);
}
