//! What nodes and clusters do, in virtual time: one module for each behaviour.
//!
//! `cargo test -p conformance --test it liveness` runs one module, and the name of a test runs that test.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod addresses;
mod agreement;
mod bounds;
mod broadcast;
mod clocks;
mod datacenters;
mod exchange;
mod floods;
mod identity;
mod invariants;
mod joining;
mod links;
mod liveness;
mod malformed;
mod map_lies;
mod map_memory;
mod map_schedules;
mod partition;
mod paths;
mod protocol;
mod removal;
mod repair_floods;
mod room;
mod scenarios;
mod settings;
mod shared_map;
mod swarm;

use conformance::scenario::{Clock, Figure, Gauges, Outcome, Scenario, Setup};
use conformance::testkit::{Cluster, SECOND};

/// Guests under names of their own come one after the other, and go in this way.
fn receive(cluster: &mut Cluster, guests: u32, go: impl Fn(&mut Cluster, usize)) {
    for guest in 0..guests {
        let number = cluster.add(&format!("guest{guest}"));
        cluster.start(number);
        cluster.pass(20 * SECOND);
        go(cluster, number);
        cluster.pass(20 * SECOND);
    }
}

/// Plays a scenario, in which no invariant is broken.
fn play(scenario: Scenario, setup: &Setup) -> Outcome {
    let outcome = scenario
        .play(setup, &Clock::default(), Gauges::default())
        .expect("the cluster forms");
    assert_eq!(outcome.findings, []);
    outcome
}

/// A figure as a number; panics where it is missing.
fn figure(outcome: &Outcome, key: &str) -> f64 {
    match outcome.report.figure(key) {
        Some(Figure::Real(real)) => *real,
        Some(Figure::Count(count)) => f64::from(u32::try_from(*count).expect("a small count")),
        other => panic!("{key} is {other:?}"),
    }
}
