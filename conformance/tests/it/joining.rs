//! Nodes that join a cluster with much state: how soon they know all, and who bears it.

use conformance::sim::{Action, World};
use conformance::testkit::{Cluster, MILLI, MINUTE, SECOND, host, key, value};
use gossip_core::{Command, Mode};

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
    let mut cluster = Cluster::of(nodes).spare(1).start();
    // From here on, nobody keeps what nodes tell: it would be more than they hold.
    let world = &mut cluster.world;
    let begun = world.now() + 20 * SECOND;
    world.run_until(begun);
    for part in 0..kilobytes {
        for number in 0..nodes {
            let command = Command::Set {
                key: key(&format!("state{part}")),
                value: value([b'x'; 1000]),
            };
            world.perform(Action::Command(host(number), command));
        }
        let written = world.now() + 500 * MILLI;
        world.run_until(written);
    }
    let mut rested = world.now() + 40 * SECOND;
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
    let before = sent(world);
    world.perform(Action::Start(host(nodes)));
    let (mut up, mut rate) = (0, 0);
    let mut second = before.clone();
    while state(world, nodes) < state(world, 0) && up < 60_000 {
        up += 10;
        rested = rested + 10 * MILLI;
        world.run_until(rested);
        if up % 1000 == 0 {
            let now = sent(world);
            rate = rate.max(most(&now, &second));
            second = now;
        }
    }
    let now = sent(world);
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
    assert!(rate < 200_000, "{nodes}");
    caught
}

#[test]
#[ignore = "minutes: cargo test --release -p conformance --test it -- --ignored --nocapture catches_up_and"]
fn a_newcomer_catches_up_and_no_peer_bears_it_all() {
    for nodes in [100, 1000] {
        let caught = catches_up(nodes, 1);
        assert!(caught.up <= 3_000 && caught.most <= 100_000, "{nodes}");
    }
}

#[test]
#[ignore = "minutes: cargo test --release -p conformance --test it -- --ignored --nocapture --exact a_newcomer_catches_up_with_ten_kilobytes_of_each"]
fn a_newcomer_catches_up_with_ten_kilobytes_of_each() {
    for nodes in [100, 300] {
        catches_up(nodes, 10);
    }
}

#[test]
#[ignore = "11 GB, half an hour: cargo test --release -p conformance --test it -- --ignored --nocapture of_a_thousand"]
fn a_newcomer_catches_up_with_ten_kilobytes_of_each_of_a_thousand() {
    catches_up(1000, 10);
}

/// A leg is twelve datagrams, and each log here is longer.
#[test]
fn a_newcomer_learns_logs_that_are_longer_than_a_leg() {
    for (mode, datagram, filled) in [
        (Mode::PushPull, 512, 9_500),
        (Mode::Pull, 512, 9_500),
        (Mode::PushPull, 1400, 50_000),
    ] {
        println!("{mode:?} {datagram}");
        let nodes = 7;
        let options = Cluster::of(nodes).seeds([0, 1]).spare(1).config(|config| {
            config.mode = mode;
            config.max_datagram = datagram;
            config.max_state = 1 << 16;
        });
        let mut cluster = options.form();
        for (number, key) in (0..nodes).flat_map(|n| (0..filled / 270).map(move |key| (n, key))) {
            cluster.set(number, &format!("key{key}"), [b'.'; 250]);
        }
        cluster.pass(MINUTE);
        cluster.assert_at_rest();
        cluster.start(nodes);
        cluster.pass(MINUTE);
        cluster.assert_at_rest();
    }
}
