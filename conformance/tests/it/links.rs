//! Links that are missing for good: every node comes to one steady view.

use conformance::scenario::{MissingLinks, Scenario, Setup};
use conformance::sim::network::{Effect, PATTERNS, Scope};
use conformance::testkit::{Cluster, SECOND, hosts};
use gossip_core::{Event, Status};

use super::{figure, play};

/// Which members are reached follows from the links alone. Found with most patterns: votes and their
/// refutations, or what a deaf node sends and does not answer, took turns for ever.
#[test]
fn whichever_links_are_missing_views_come_to_rest() {
    for (number, links) in (1..).zip(PATTERNS) {
        for nodes in [3, 5, 8, 16] {
            let setup = Setup {
                nodes,
                seed: number * 100 + u64::from(nodes),
                ..Setup::default()
            };
            let missing = MissingLinks {
                warm_up: 20 * SECOND,
                links,
                named: false,
                settles: 300 * SECOND,
                lasts: 100 * SECOND,
            };
            let outcome = play(Scenario::Links(missing), &setup);
            let changes = figure(&outcome, "changes");
            assert!(changes == 0.0, "{links}, {nodes} nodes: {changes} changes");
        }
    }
}

#[test]
fn who_hears_nobody_is_down_for_all_others_until_it_hears_again() {
    for nodes in [3, 12, 30] {
        let mut cluster = Cluster::of(nodes).form();
        cluster.disturb(Scope::To(hosts([1])), Effect::Cut);
        let is_down = |cluster: &Cluster| {
            let mut others = cluster.numbers().filter(|by| *by != 1);
            others.all(|by| cluster.status(by, 1) == Some(Status::Down))
        };
        cluster.until(40 * SECOND, is_down);
        cluster.take_told();
        cluster.pass(300 * SECOND);
        let changes =
            |event: &Event| matches!(event, Event::MemberUp { .. } | Event::MemberDown { .. });
        assert_eq!(cluster.count_told(changes), 0, "{nodes} nodes");
        cluster.mend();
        let all: Vec<usize> = cluster.numbers().collect();
        cluster.until(2 * SECOND, |cluster| cluster.is_whole(&all));
    }
}

/// Those that do not hear it cannot vouch for it. So its death is told by those that did, or by itself: it
/// answers nobody.
#[test]
fn a_death_is_seen_by_all_though_most_of_its_observers_did_not_hear_the_member() {
    for unheard_by in [4, 6, 8] {
        let mut cluster = Cluster::of(20).form();
        let ring = cluster.ring();
        let member = ring[10];
        let around = [9, 11, 8, 12, 7, 13, 6, 14].map(|at| ring[at]);
        let deaf: Vec<usize> = around.iter().copied().take(unheard_by).collect();
        let scope = Scope::Between(hosts([member]), hosts(deaf.iter().copied()));
        cluster.disturb(scope, Effect::Cut);
        cluster.pass(60 * SECOND);
        let hearing = || (0..20).filter(|by| *by != member && !deaf.contains(by));
        for by in hearing() {
            let status = cluster.status(by, member);
            assert_eq!(
                status,
                Some(Status::Up),
                "{by} hears it, {unheard_by} do not"
            );
        }
        cluster.crash(member);
        let rest: Vec<usize> = (0..20).filter(|n| *n != member).collect();
        cluster.until(8 * SECOND, |cluster| cluster.is_whole(&rest));
    }
}

/// Two datacenters, and two gateways in each that alone reach the other one and say so.
fn with_gateways(nodes: usize) -> Cluster {
    let sizes = [nodes / 2, nodes / 2];
    let options = Cluster::of(nodes).datacenters(&sizes);
    let mut cluster = options
        .each(|number, config| config.bridge = number < 4)
        .form();
    for from in 4..nodes {
        let abroad = (0..nodes).filter(|to| to % 2 != from % 2);
        let abroad = hosts(abroad);
        cluster.disturb(Scope::Between(hosts([from]), abroad.clone()), Effect::Cut);
        cluster.disturb(Scope::Between(abroad, hosts([from])), Effect::Cut);
    }
    cluster
}

#[test]
fn gateways_that_say_that_they_are_bridges_hold_datacenters_together() {
    let mut cluster = with_gateways(16);
    cluster.take_told();
    cluster.pass(120 * SECOND);
    let all: Vec<usize> = cluster.numbers().collect();
    assert!(cluster.is_whole(&all));
    assert_eq!(cluster.take_told(), []);
    // Who does not cross has the bridges hand on what it writes.
    for writer in [9, 12] {
        cluster.set(writer, "key", writer.to_string());
        cluster.put(writer, &writer.to_string(), "value");
        let is_read = |cluster: &Cluster| {
            let mut all = cluster.numbers();
            all.all(|by| {
                cluster.attribute(by, writer, "key").is_some()
                    && !cluster.read(by, &writer.to_string()).is_empty()
            })
        };
        cluster.until(SECOND / 2, is_read);
    }
    cluster.crash(13);
    let rest: Vec<usize> = all.into_iter().filter(|n| *n != 13).collect();
    cluster.until(6 * SECOND, |cluster| cluster.is_whole(&rest));
}

/// They cannot ask, so they take the word of their bridges.
#[test]
fn who_does_not_cross_learns_from_bridges_that_a_datacenter_is_cut_off_and_back() {
    let mut cluster = with_gateways(16);
    let here: Vec<usize> = cluster.numbers().filter(|n| n % 2 == 0).collect();
    let there: Vec<usize> = cluster.numbers().filter(|n| n % 2 == 1).collect();
    cluster.cut_off(here.iter().copied());
    cluster.until(10 * SECOND, |cluster| {
        cluster.is_whole(&here) && cluster.is_whole(&there)
    });
    cluster.take_told();
    cluster.pass(100 * SECOND);
    assert_eq!(cluster.take_told(), [], "steady");
    // Other links than those of the gateways are whole then, too, and nobody uses them.
    cluster.mend();
    let all: Vec<usize> = cluster.numbers().collect();
    cluster.until(10 * SECOND, |cluster| cluster.is_whole(&all));
}
