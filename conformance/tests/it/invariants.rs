//! The checks of a whole world, each seen to fail where something is broken and nobody is told.
//!
//! Violations in forged views are shown next to the invariants themselves; here real nodes are
//! brought into states that would be wrong if the network were whole.

use core::time::Duration;

use conformance::invariant::Violation;
use conformance::sim::network::Delay;
use conformance::sim::{Time, World};
use conformance::testkit::{Cluster, MILLI, SECOND};

fn found(cluster: &Cluster, wanted: fn(&Violation) -> bool) -> bool {
    cluster
        .world
        .check_quiescence()
        .iter()
        .any(|finding| wanted(&finding.violation))
}

#[test]
fn members_that_hold_each_other_down_are_caught() {
    let mut cluster = Cluster::of(5).form();
    cluster.cut_off([4]);
    cluster.pass(20 * SECOND);
    assert!(found(&cluster, |v| matches!(
        v,
        Violation::WrongVerdict { .. }
    )));
    assert!(found(&cluster, |v| matches!(
        v,
        Violation::ViewsDiffer { .. }
    )));
}

#[test]
fn a_write_that_does_not_get_through_is_caught() {
    let mut cluster = Cluster::of(5).form();
    cluster.cut_off([4]);
    cluster.set(0, "k", "new");
    assert!(found(&cluster, |v| matches!(
        v,
        Violation::LostWrite { .. }
    )));
    assert!(found(&cluster, |v| matches!(
        v,
        Violation::HashesDiffer { .. }
    )));
}

#[test]
fn a_delete_that_does_not_get_through_is_caught() {
    let mut cluster = Cluster::of(5).form();
    cluster.set(0, "k", "old");
    cluster.pass(5 * SECOND);
    cluster.assert_at_rest();
    cluster.cut_off([4]);
    cluster.unset(0, "k");
    cluster.pass(5 * SECOND);
    assert!(found(&cluster, |v| matches!(
        v,
        Violation::Resurrected { .. }
    )));
}

#[test]
fn a_death_that_nobody_has_noticed_is_caught() {
    let mut cluster = Cluster::of(5).form();
    cluster.crash(4);
    assert!(found(&cluster, |v| matches!(
        v,
        Violation::MissedVerdict { .. }
    )));
    cluster.pass(20 * SECOND);
    cluster.assert_at_rest();
}

#[test]
fn a_new_life_that_nobody_has_heard_of_is_caught() {
    let mut cluster = Cluster::of(5).form();
    cluster.crash(4);
    cluster.pass(20 * SECOND);
    cluster.cut_off([4]);
    cluster.start(4);
    assert!(found(&cluster, |v| matches!(v, Violation::OldLife { .. })));
    assert!(found(&cluster, |v| matches!(v, Violation::Missing { .. })));
}

#[test]
fn a_farewell_that_nobody_has_heard_is_caught() {
    let mut cluster = Cluster::of(5).form();
    cluster.cut_off([4]);
    cluster.leave(4);
    cluster.pass(1500 * MILLI);
    assert!(found(&cluster, |v| matches!(
        v,
        Violation::MissedFarewell { .. }
    )));
}

#[test]
fn nothing_is_wrong_with_an_empty_world() {
    let mut world = World::new(1, Delay::constant(Duration::ZERO));
    world.run_until(Time::from_secs(1));
    assert_eq!(world.check_quiescence(), []);
    assert_eq!(world.findings(), []);
}
