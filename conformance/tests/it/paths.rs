//! Paths that drop long datagrams: everything arrives nevertheless, what cannot is told, and nothing is sent for ever.

use conformance::sim::network::{Effect, Scope};
use conformance::testkit::{Cluster, SECOND, Told, hosts};
use gossip_core::Event;

/// Node 0 is behind a tunnel that carries so many bytes of payload.
fn behind_a_tunnel(nodes: usize, carries: u64) -> Cluster {
    let mut cluster = Cluster::of(nodes).start();
    cluster.disturb(Scope::Around(hosts([0])), Effect::Longer(carries));
    cluster
}

/// Each node has 20 attributes, and has written 10 values of the map: more than a datagram takes.
fn write(cluster: &mut Cluster) {
    for by in cluster.numbers() {
        for n in 0..20 {
            cluster.set(by, &format!("a{n}"), [b'a'; 150]);
        }
        for n in 0..10 {
            cluster.put(by, &format!("{by}-{n}"), [b'v'; 700]);
        }
        cluster.put(by, &format!("{by}-large"), [b'v'; 1024]);
    }
}

fn all_is_read(cluster: &Cluster) -> bool {
    let mut pairs = cluster
        .numbers()
        .flat_map(|by| cluster.numbers().map(move |of| (by, of)));
    pairs.all(|(by, of)| {
        cluster.attribute(by, of, "a0").is_some()
            && cluster.attribute(by, of, "a19").is_some()
            && (0..10).all(|n| !cluster.read(by, &format!("{of}-{n}")).is_empty())
            && !cluster.read(by, &format!("{of}-large")).is_empty()
    })
}

fn narrowed(event: &Event) -> bool {
    matches!(event, Event::PathNarrowed { .. })
}

/// What a node sends in a second, over half a minute.
fn bytes_a_second(cluster: &mut Cluster) -> u64 {
    let before = cluster.traffic().bytes_out;
    cluster.pass(30 * SECOND);
    let nodes = u64::try_from(cluster.numbers().count()).unwrap();
    (cluster.traffic().bytes_out - before) / (30 * nodes)
}

#[test]
fn over_a_path_that_drops_long_datagrams_everything_arrives() {
    for carries in [1300, 1210, 1000, 700, 520] {
        for nodes in [2, 5, 20] {
            let mut cluster = behind_a_tunnel(nodes, carries);
            cluster.pass(10 * SECOND);
            write(&mut cluster);
            let is_safe = carries >= 1200;
            let within = if is_safe { SECOND } else { 60 * SECOND };
            cluster.until(within, all_is_read);
            // Later writes of everybody arrive, too.
            for by in cluster.numbers() {
                cluster.set(by, "later", by.to_string());
                cluster.put(by, &by.to_string(), "later");
            }
            cluster.until(20 * SECOND, |cluster| {
                let mut pairs = cluster
                    .numbers()
                    .flat_map(|by| cluster.numbers().map(move |of| (by, of)));
                pairs.all(|(by, of)| {
                    cluster.attribute(by, of, "later").is_some()
                        && !cluster.read(by, &of.to_string()).is_empty()
                })
            });
            cluster.pass(30 * SECOND);
            let rate = bytes_a_second(&mut cluster);
            assert!(rate < 700, "{carries} bytes, {nodes} nodes: {rate} B/s");
            let is_told = cluster.count_told(narrowed) > 0;
            assert_ne!(is_told, is_safe, "{carries}, {nodes}");
        }
    }
}

/// An attribute is sent whole. So one that is longer than the path carries stays out there until the path is whole again:
/// that is told, and costs little.
#[test]
fn what_is_too_long_for_a_path_is_told_and_arrives_once_the_path_is_whole() {
    let mut cluster = behind_a_tunnel(12, 900);
    cluster.pass(10 * SECOND);
    cluster.set(3, "long", [b'a'; 1020]);
    let has = |cluster: &Cluster, by| cluster.attribute(by, 3, "long").is_some();
    cluster.until(5 * SECOND, |cluster| (1..12).all(|by| has(cluster, by)));
    cluster.until(60 * SECOND, |cluster| cluster.count_told(narrowed) > 0);
    let limits: Vec<usize> = cluster.told().iter().filter_map(longest).collect();
    assert!(limits.iter().all(|limit| *limit <= 900), "{limits:?}");
    cluster.pass(120 * SECOND);
    assert!(!has(&cluster, 0));
    let rate = bytes_a_second(&mut cluster);
    assert!(rate < 1000, "{rate} bytes a second");
    cluster.mend();
    cluster.until(100 * SECOND, |cluster| has(cluster, 0));
    let widened = |event: &Event| matches!(event, Event::PathWidened { .. });
    assert!(cluster.count_told(widened) > 0);
}

fn longest(told: &Told) -> Option<usize> {
    match told.event {
        Event::PathNarrowed { longest, .. } => Some(longest),
        _ => None,
    }
}

#[test]
fn lossy_paths_are_not_taken_for_narrow_ones() {
    for loss in [0.1, 0.3] {
        let mut cluster = Cluster::of(12).loss(loss).form();
        for round in 0..20 {
            for by in cluster.numbers() {
                cluster.set(by, &round.to_string(), [b'a'; 400]);
            }
            cluster.pass(10 * SECOND);
        }
        assert_eq!(cluster.count_told(narrowed), 0, "{loss}");
    }
}
