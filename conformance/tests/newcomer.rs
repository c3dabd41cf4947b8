//! One node joins a large cluster with much state: how soon it knows all, and who bears it (issue
//! figures; on demand, since forming the cluster takes a minute):
//! `cargo test --release -p conformance --test newcomer -- --ignored --nocapture`

use core::time::Duration;

use conformance::sim::network::Delay;
use conformance::sim::{Action, HostId, Time, World};
use gossip_core::{Command, Config, Key, Value};

fn host(number: usize) -> HostId {
    HostId::new(u32::try_from(number).expect("a small number"))
}

/// `nodes` that hold 1 KB each, and one that joins. How long it takes until it has the table hash of
/// the others, in ms, and the most that one peer has sent meanwhile beyond what it sends anyway.
fn join(nodes: usize) -> (u64, u64) {
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
    for number in 0..nodes {
        let command = Command::Set {
            key: Key::new("state").expect("a legal key"),
            value: Value::new([b'x'; 1000]).expect("a legal value"),
        };
        world.perform(Action::Command(host(number), command));
    }
    world.run_until(Time::from_secs(60));
    assert_eq!(world.check_quiescence(), []);

    let before: Vec<_> = world.hosts().iter().map(|host| host.traffic()).collect();
    world.perform(Action::Start(host(nodes)));
    let state = |world: &World, number: usize| {
        let node = world.host(host(number)).node().expect("it runs");
        node.metrics().state_bytes
    };
    let mut took = 0;
    while state(&world, nodes) < state(&world, 0) && took < 30_000 {
        took += 10;
        world.run_until(Time::from_secs(60) + millis(took));
    }
    let sent = world.hosts().iter().take(nodes).zip(before);
    let most = sent.map(|(host, before)| host.traffic().since(before).bytes_out);
    (took, most.max().unwrap_or(0))
}

#[test]
#[ignore = "minutes: cargo test --release -p conformance --test newcomer -- --ignored"]
fn a_newcomer_catches_up_and_no_peer_bears_it_all() {
    for nodes in [100, 1000] {
        let (millis, most) = join(nodes);
        println!("{nodes} nodes of 1 KB: {millis} ms, {most} bytes at most from one peer");
        assert!(millis < 30_000, "{nodes}");
    }
}
