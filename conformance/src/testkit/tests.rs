use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use gossip_core::Status;

use super::*;
use crate::forge::Known;
use crate::sim::network::{Effect, Scope};

fn panics(act: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(act)).is_err()
}

#[test]
fn waiting_takes_as_long_as_it_takes_and_no_longer_than_it_may() {
    let mut cluster = Cluster::of(3).form();
    cluster.crash(2);
    let is_seen = |cluster: &Cluster| cluster.status(0, 2) == Some(Status::Down);
    let took = cluster.until(20 * SECOND, is_seen);
    assert!(took > SECOND && took < 10 * SECOND, "{took:?}");
    assert_eq!(cluster.until(SECOND, is_seen), Duration::ZERO);
    assert!(panics(|| {
        cluster.until(SECOND, |_| false);
    }));
}

#[test]
fn what_differs_is_not_taken_for_agreement() {
    let mut cluster = Cluster::of(3).form();
    cluster.cut_off([2]);
    cluster.put(0, "k", "v");
    cluster.set(0, "role", "leader");
    cluster.pass(SECOND);
    assert_eq!(cluster.attribute(1, 0, "role").as_deref(), Some("leader"));
    assert_eq!(cluster.attribute(2, 0, "role"), None);
    assert!(panics(|| cluster.assert_all_read("k", &["v"])));
    assert!(panics(|| cluster.assert_maps_agree()));
    assert!(panics(|| cluster.assert_at_rest()));
    cluster.mend();
    cluster.pass(20 * SECOND);
    cluster.assert_all_read("k", &["v"]);
    cluster.assert_maps_agree();
    cluster.assert_at_rest();
}

#[test]
fn one_seed_gives_one_run_and_loss_another() {
    let run = |seed, loss| {
        let cluster = Cluster::of(4).seed(seed).loss(loss).form();
        cluster.world.trace_hash()
    };
    assert_eq!(run(1, 0.0), run(1, 0.0));
    assert_ne!(run(1, 0.0), run(2, 0.0));
    assert_ne!(run(1, 0.0), run(1, 0.1));
}

#[test]
fn nodes_are_put_into_datacenters_in_turn() {
    let cluster = Cluster::of(5).datacenters(&[3, 1, 1]).form();
    let site = |number| cluster.world.host(host(number)).site();
    assert_eq!([0, 1, 2, 3, 4].map(site), [0, 1, 2, 0, 0]);
    let name = |number: usize| {
        cluster
            .node(0)
            .member(cluster.id(number))
            .unwrap()
            .datacenter()
    };
    assert_eq!(name(3), name(0));
    assert_ne!(name(1), name(2));
}

#[test]
fn a_forged_datagram_is_read_in_either_kind_of_cluster() {
    let mut cluster = Cluster::of(2).form();
    cluster.forge(0, &liar().heartbeat(1).byte(0));
    cluster.pass(MILLI);
    assert_eq!(cluster.node(0).metrics().dropped.malformed, 1);

    let mut loopback = Loopback::formed(2, |_| {});
    loopback.forge(&liar().heartbeat(1).byte(0));
    assert_eq!(loopback.node(0).metrics().dropped.malformed, 1);
}

#[test]
fn a_place_that_is_empty_hears_nothing_and_another_node_may_take_it() {
    let mut loopback = Loopback::formed(3, |_| {});
    loopback.stop(2);
    assert!(panics(|| loopback.set(2, "k", "v")));
    loopback.pass(20 * SECOND);
    assert!(loopback.nodes().all(|node| node.metrics().live == 2));
    loopback.start(2, "another", |_| {});
    loopback.pass(20 * SECOND);
    assert!(loopback.nodes().all(|node| node.metrics().live == 3));
}

#[test]
fn a_disturbance_adds_to_those_before_and_all_end_together() {
    let mut cluster = Cluster::of(4).form();
    cluster.isolate([1]);
    cluster.disturb(Scope::Everywhere, Effect::Loss(0.1));
    cluster.pass(30 * SECOND);
    assert_eq!(cluster.status(0, 1), Some(Status::Down));
    cluster.mend();
    cluster.pass(30 * SECOND);
    cluster.assert_at_rest();
    assert_eq!(Known::of(cluster.node(1), 7).frontier, 7);
}
