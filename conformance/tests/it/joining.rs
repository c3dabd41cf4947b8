//! Nodes that join a cluster: what they tell, how soon they know all, and who bears it.

use core::time::Duration;

use conformance::sim::network::{Effect, Scope};
use conformance::sim::{Action, World};
use conformance::testkit::{Cluster, MILLI, MINUTE, SECOND, host, key, value};
use gossip_core::{Command, Event, JoinCause, Mode, NodeId, Standing, Status};

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

/// The members that a node has told to be up, in this order, and those that it has told to be down.
fn told_by(cluster: &mut Cluster, number: usize) -> (Vec<NodeId>, Vec<NodeId>) {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let told = cluster.take_told().into_iter();
    for told in told.filter(|told| told.by == number) {
        match told.event {
            Event::MemberUp { id, .. } => up.push(id),
            Event::MemberDown { id, .. } => down.push(id),
            _ => {}
        }
    }
    up.sort_unstable();
    (up, down)
}

#[test]
fn a_newcomer_tells_nobody_up_whom_all_have_held_down_for_long() {
    for seed in 1..=9 {
        let options = Cluster::of(12).seed(seed).seeds([0, 1, 2]).spare(1);
        let mut cluster = options.form();
        let dead = [5, 8];
        dead.iter().for_each(|number| cluster.crash(*number));
        cluster.pass(MINUTE);
        cluster.take_told();
        cluster.start(12);
        cluster.pass(20 * SECOND);
        let (up, down) = told_by(&mut cluster, 12);
        let live = (0..12).filter(|number| !dead.contains(number));
        let mut live: Vec<NodeId> = live.map(|number| cluster.id(number)).collect();
        live.sort_unstable();
        assert_eq!(up, live, "seed {seed}");
        assert_eq!(down, [], "seed {seed}");
        for number in dead {
            assert_eq!(cluster.status(12, number), Some(Status::Down));
        }
    }
}

/// All members are told at once when a newcomer has joined, and none of that is lost.
#[test]
fn a_newcomer_is_told_of_more_members_than_its_queue_of_events_holds() {
    let nodes = 60;
    let options = Cluster::of(nodes).spare(1);
    let mut cluster = options.config(|config| config.event_queue = 32).form();
    cluster.take_told();
    cluster.start(nodes);
    cluster.pass(10 * SECOND);
    assert_eq!(joined(&cluster, nodes), (nodes, JoinCause::Learned));
    assert!(!cluster.tells(nodes, |event| *event == Event::Lagged));
    let (up, _) = told_by(&mut cluster, nodes);
    assert_eq!(up.len(), nodes);
}

/// How a node has joined: how many others it knew, and why it announced itself.
fn joined(cluster: &Cluster, number: usize) -> (usize, JoinCause) {
    let mut told = cluster.told().iter().filter(|told| told.by == number);
    let joined = told.find_map(|told| match told.event {
        Event::Joined { members, cause } => Some((members, cause)),
        _ => None,
    });
    joined.expect("it has joined")
}

/// A dead member is not told up by those either that were away while it lived or died.
#[test]
fn a_node_that_was_cut_off_tells_nobody_up_whom_all_have_held_down_for_long() {
    for seed in 1..=9 {
        let options = Cluster::of(9).seed(seed).seeds([0, 1, 2]).spare(1);
        let mut cluster = options.form();
        cluster.cut_off([8]);
        cluster.pass(20 * SECOND);
        cluster.start(9);
        cluster.pass(10 * SECOND);
        cluster.set(5, "role", "writes before it dies");
        cluster.pass(SECOND);
        let dead = [5, 9];
        dead.iter().for_each(|number| cluster.crash(*number));
        cluster.pass(MINUTE);
        cluster.take_told();
        cluster.mend();
        cluster.pass(MINUTE);
        let (up, down) = told_by(&mut cluster, 8);
        let dead = dead.map(|number| cluster.id(number));
        assert!(
            up.iter().all(|id| !dead.contains(id)),
            "seed {seed}: {up:?} {dead:?}"
        );
        assert_eq!((up.len(), down), (7, Vec::new()), "seed {seed}");
    }
}

#[test]
fn a_node_that_was_restarted_tells_nobody_up_whom_all_have_held_down_for_long() {
    for seed in 1..=9 {
        let mut cluster = Cluster::of(7).seed(seed).seeds([0, 1, 2]).form();
        cluster.crash(5);
        cluster.pass(MINUTE);
        cluster.take_told();
        cluster.restart(6);
        cluster.pass(20 * SECOND);
        let (up, down) = told_by(&mut cluster, 6);
        let dead = cluster.id(5);
        assert!(!up.contains(&dead), "seed {seed}");
        assert_eq!((up.len(), down), (5, Vec::new()), "seed {seed}");
    }
}

#[test]
fn a_newcomer_tells_nobody_up_of_a_datacenter_that_has_been_down_for_long() {
    for seed in 1..=3 {
        let options = Cluster::of(24).seed(seed).datacenters(&[12, 12]).spare(1);
        let mut cluster = options.seeds([0, 2, 4]).form();
        let elsewhere: Vec<usize> = (0..24).filter(|number| number % 2 == 1).collect();
        elsewhere.iter().for_each(|number| cluster.crash(*number));
        cluster.pass(MINUTE);
        cluster.take_told();
        cluster.start(24);
        cluster.pass(MINUTE);
        let (up, down) = told_by(&mut cluster, 24);
        assert_eq!((up.len(), down), (12, Vec::new()), "seed {seed}");
    }
}

#[test]
fn a_node_whose_seed_does_not_answer_says_so() {
    for (seed, what) in [(0, "itself"), (1, "a machine that is off")] {
        let mut cluster = Cluster::of(1).seeds([seed]).spare(1).start();
        cluster.pass(5 * SECOND);
        assert_eq!(joined(&cluster, 0), (0, JoinCause::NoAnswer), "{what}");
        // A later answer is told as a member that is up.
        cluster.start(1);
        cluster.until(10 * SECOND, |cluster| {
            cluster.tells(0, |event| matches!(event, Event::MemberUp { .. }))
        });
        if seed == 0 {
            assert_eq!(joined(&cluster, 1), (1, JoinCause::Learned));
        }
    }
}

#[test]
fn a_node_that_has_joined_knows_the_table_or_says_that_it_does_not() {
    for (seed, loss) in [(1, 0.1), (2, 0.3), (3, 0.3), (4, 0.5), (5, 0.5)] {
        let nodes = 40;
        let options = Cluster::of(nodes).seed(seed).seeds([0, 1]).spare(1);
        let mut cluster = options.config(|config| config.max_state = 1 << 15).form();
        for (number, key) in (0..nodes).flat_map(|n| (0..9).map(move |key| (n, key))) {
            cluster.set(number, &format!("key{key}"), [b'.'; 1000]);
        }
        cluster.pass(MINUTE);
        cluster.take_told();
        cluster.disturb(Scope::Everywhere, Effect::Loss(loss));
        cluster.start(nodes);
        cluster.pass(MINUTE);
        let (members, cause) = joined(&cluster, nodes);
        println!("seed {seed}: {members} {cause:?}");
        if loss < 0.5 {
            assert_eq!(cause, JoinCause::Learned, "seed {seed}");
        }
        assert_eq!(members == nodes, cause == JoinCause::Learned, "seed {seed}");
    }
}

/// The answer takes several datagrams, which overtake each other.
#[test]
fn a_newcomer_that_has_taken_the_table_in_parts_is_up_at_once() {
    let nodes = 20;
    for seed in 1..=9 {
        let mut cluster = Cluster::of(nodes).seed(seed).spare(1).form();
        for number in 0..nodes {
            cluster.set(number, "key", [b'.'; 400]);
        }
        cluster.pass(MINUTE);
        cluster.start(nodes);
        let is_up = |cluster: &Cluster| cluster.node(nodes).standing() == Standing::Up;
        let took = cluster.until(10 * SECOND, is_up);
        assert!(took < 200 * MILLI, "seed {seed}: {took:?}");
        assert_eq!(joined(&cluster, nodes), (nodes, JoinCause::Learned));
    }
}

#[test]
fn a_node_tells_nobody_up_before_it_has_joined() {
    for seed in 1..=5 {
        let mut cluster = Cluster::of(0).seed(seed).spare(12).start();
        (0..12).for_each(|number| cluster.start(number));
        for _ in 0..5000 {
            cluster.pass(MILLI);
            for number in cluster.numbers() {
                let is_joining = cluster.node(number).standing() == Standing::Joining;
                let tells = cluster.tells(number, |event| matches!(event, Event::MemberUp { .. }));
                assert!(!(is_joining && tells), "seed {seed}: n{number}");
            }
        }
        assert_eq!(joined(&cluster, 11).1, JoinCause::Learned);
    }
}

/// What it learned before it was paused is all that it can say. Found by the swarm (seed 773).
#[test]
fn a_node_that_hears_nobody_tells_nobody_up() {
    for seed in 1..=9 {
        let mut cluster = Cluster::of(5).seed(seed).form();
        cluster.pass(MINUTE);
        cluster.pause(0);
        cluster.restart(2);
        cluster.pass(3 * SECOND);
        cluster.disturb(Scope::Everywhere, Effect::Cut);
        cluster.pass(SECOND);
        cluster.crash(2);
        cluster.pass(30 * SECOND);
        cluster.take_told();
        cluster.resume(0);
        cluster.pass(20 * SECOND);
        assert_eq!(told_by(&mut cluster, 0).0, [], "seed {seed}");
    }
}

/// For how long the slowest node goes on joining although it knows all others, and when the last one is up.
fn lingers(nodes: usize) -> (Duration, Duration) {
    let mut cluster = Cluster::of(0).spare(nodes).start();
    let mut known = vec![None; nodes];
    let mut up = vec![None; nodes];
    let step = 10 * MILLI;
    let mut started = 0;
    let all = u64::try_from(nodes).unwrap();
    while up.contains(&None) {
        let now = cluster.now();
        while started < nodes
            && now >= SECOND * u32::try_from(started).unwrap() / u32::try_from(nodes).unwrap()
        {
            cluster.start(started);
            started += 1;
        }
        cluster.pass(step);
        for number in 0..started {
            let node = cluster.node(number);
            if node.metrics().live == all {
                known[number].get_or_insert(cluster.now());
            }
            if node.standing() == Standing::Up {
                up[number].get_or_insert(cluster.now());
            }
        }
    }
    let pairs = known.iter().zip(&up);
    let lingers = pairs.filter_map(|(known, up)| Some((*up)?.saturating_sub((*known)?)));
    (
        lingers.max().unwrap(),
        up.into_iter().flatten().max().unwrap(),
    )
}

#[test]
fn a_newcomer_that_knows_all_is_up() {
    for nodes in [20, 100] {
        let (lingers, last) = lingers(nodes);
        println!("{nodes} nodes: {lingers:?}, the last after {last:?}");
        assert!(lingers <= 500 * MILLI, "{nodes} nodes: {lingers:?}");
    }
}

#[test]
fn every_write_is_known_soon_whatever_passes_through_its_writer() {
    let nodes = 12;
    let mut cluster = Cluster::of(nodes).form();
    let mut late = Vec::new();
    for write in 0..220 {
        // Within a moment all write, so that much passes through each.
        let writer = write % nodes;
        let text = write.to_string();
        cluster.set(writer, "latest", &text);
        cluster.set((writer + 5) % nodes, "other", &text);
        let took = (0..100).find(|_| {
            cluster.pass(MILLI);
            (0..nodes)
                .all(|viewer| cluster.attribute(viewer, writer, "latest").as_ref() == Some(&text))
        });
        late.extend(took.is_none().then_some(write));
        cluster.pass(MILLI * u32::try_from(write % 7).unwrap());
    }
    assert_eq!(late, [], "not known after 0.1 s");
}

/// What waits in the socket of a paused process was said long ago.
#[test]
fn a_node_that_was_paused_tells_nobody_up_who_has_died_meanwhile() {
    for seed in 1..=9 {
        let mut cluster = Cluster::of(5).seed(seed).spare(1).form();
        cluster.pause(3);
        cluster.start(5);
        cluster.restart(4);
        cluster.pass(10 * SECOND);
        [4, 5].iter().for_each(|number| cluster.crash(*number));
        cluster.pass(MINUTE);
        cluster.take_told();
        cluster.resume(3);
        cluster.pass(20 * SECOND);
        let (up, down) = told_by(&mut cluster, 3);
        let [restarted, new] = [4, 5].map(|number| cluster.id(number));
        assert!(
            !up.contains(&new) && !up.contains(&restarted),
            "seed {seed}: {up:?}"
        );
        assert!(
            down.contains(&restarted) && !down.contains(&new),
            "seed {seed}: {down:?}"
        );
    }
}

/// Two nodes refute the votes of a side that cannot hear them, and one of them dies before the network heals.
#[test]
fn a_refutation_of_a_member_that_has_died_since_does_not_make_it_up() {
    for seed in 1..=9 {
        let mut cluster = Cluster::of(5).seed(seed).form();
        cluster.cut_off([3, 4]);
        cluster.pass(20 * SECOND);
        cluster.crash(4);
        cluster.pass(20 * SECOND);
        cluster.take_told();
        cluster.mend();
        cluster.pass(30 * SECOND);
        let dead = cluster.id(4);
        let told = cluster.told().iter();
        let wrong =
            told.filter(|told| matches!(told.event, Event::MemberUp { id, .. } if id == dead));
        assert_eq!(wrong.count(), 0, "seed {seed}");
    }
}
