//! Nodes that are configured differently: told, and slower, but not blind.

use std::time::Duration;

use conformance::testkit::{Cluster, SECOND};
use gossip_core::{Config, Event, Status};

/// Runs a cluster of which each second node is configured otherwise, lets one die, and tells how long it takes until all
/// others find it down.
fn death_in_a_mix(nodes: usize, dies: usize, change: impl Fn(&mut Config)) -> Duration {
    let options = Cluster::of(nodes).each(|number, config| {
        if number % 2 == 1 {
            change(config);
        }
    });
    let mut cluster = options.start();
    cluster.pass(60 * SECOND);
    let told = |event: &Event| matches!(event, Event::SettingsDiffer { .. });
    for n in 0..nodes {
        assert!(cluster.tells(n, told), "n{n} has met others");
        let others = cluster.node(n).metrics().settings_differed;
        let expected = if n % 2 == 0 {
            nodes / 2
        } else {
            nodes.div_ceil(2)
        };
        assert_eq!(usize::try_from(others).unwrap(), expected, "n{n}");
    }
    assert_eq!(cluster.downs().len(), 0);
    cluster.crash(dies);
    let took = cluster.until(120 * SECOND, |cluster| {
        let others = (0..nodes).filter(|n| *n != dies);
        others
            .into_iter()
            .all(|n| cluster.status(n, dies) == Some(Status::Down))
    });
    cluster.pass(60 * SECOND);
    for n in (0..nodes).filter(|n| *n != dies) {
        assert_eq!(cluster.status(n, dies), Some(Status::Down), "n{n}");
    }
    assert_eq!(cluster.downs().len(), nodes - 1, "nobody else");
    took
}

#[test]
fn while_neighbours_are_changed_node_by_node_deaths_are_told() {
    for dies in [3, 8, 20] {
        let took = death_in_a_mix(30, dies, |config| config.neighbours = 4);
        assert!(took < 6 * SECOND, "{took:?}");
    }
}

#[test]
fn while_the_interval_is_changed_node_by_node_deaths_are_told() {
    for dies in [3, 8] {
        let took = death_in_a_mix(30, dies, |config| config.interval = 2 * SECOND);
        assert!(took < 15 * SECOND, "{took:?}");
    }
}

#[test]
fn nodes_that_are_configured_alike_say_nothing() {
    let mut cluster = Cluster::of(5).form();
    cluster.restart(3);
    cluster.pass(20 * SECOND);
    let told = |event: &Event| matches!(event, Event::SettingsDiffer { .. });
    assert_eq!(cluster.count_told(told), 0);
    let settings: std::collections::BTreeSet<_> = cluster
        .node(0)
        .members()
        .map(|member| member.settings())
        .collect();
    assert_eq!(settings.len(), 1);
}
