//! Names, addresses, generations and clusters: who a node is, whatever others say and its clock shows.

use core::net::SocketAddr;
use std::collections::BTreeSet;

use conformance::forge::{Body, Known};
use conformance::sim::Action;
use conformance::testkit::{Cluster, Loopback, SECOND, host, key, liar, stamp};
use gossip_core::{Config, Event, Generation, UpCause};

#[test]
fn a_generation_from_the_far_future_is_refused_counted_and_told() {
    let mut cluster = Loopback::formed(3, |_| {});
    let target = cluster.node(1).id().as_u64();
    let log = Body::default().entry(1, 0, &[2], Some(&[3]));
    for generation in [u64::MAX, stamp(3_600_000), stamp(200_000)] {
        let known = Known {
            origin: target,
            generation,
            frontier: 1,
        };
        cluster.forge(&liar().exchange(2, 7).delta(known, 0, 1, 0, &log.0));
    }
    cluster.pass(10 * SECOND);
    assert!(cluster.is_well());
    assert_eq!(cluster.node(0).metrics().refused_skew, 3);
    let skew = |event: &Event| matches!(event, Event::ClockSkew { .. });
    assert_eq!(cluster.count_told(skew), 1);
}

#[test]
fn a_removal_or_claim_from_the_far_future_moves_no_clock() {
    let mut cluster = Loopback::formed(3, |_| {});
    let generation = cluster.node(0).generation();
    cluster.forge(&liar().exchange(2, 7).removed(u64::MAX));
    cluster.forge(&Body::from(cluster.node(0).id().as_u64(), u64::MAX).claim(u64::MAX));
    cluster.pass(10 * SECOND);
    assert_eq!(cluster.node(0).generation(), generation);
    assert!(cluster.is_well());
}

#[test]
fn a_writer_outlives_a_claim_to_more_of_its_log_than_it_has_written() {
    let mut cluster = Loopback::formed(3, |_| {});
    let log = Body::default().entry(u64::MAX, 0, b"role", Some(b"forged"));
    let known = Known::of(cluster.node(1), u64::MAX);
    cluster.forge(&liar().exchange(2, 7).delta(known, 0, u64::MAX, 0, &log.0));
    cluster.pass(30 * SECOND);
    assert!(cluster.is_well());
    for node in cluster.nodes() {
        let member = node.member(cluster.node(1).id()).unwrap();
        assert_eq!(member.attribute(&key("role")), Some(&b"value of 1"[..]));
    }
}

#[test]
fn a_node_begins_one_life_however_many_a_datagram_remembers() {
    let mut cluster = Loopback::formed(3, |_| {});
    let outlived = |cluster: &Loopback| cluster.node(0).metrics().outlived;
    let own = Known::of(cluster.node(0), 1);
    // Stamps that are ahead of the clock follow one another without gaps, so they can be foretold.
    let ahead = stamp(60_000);
    let stranger = Known {
        origin: 99 << 32,
        generation: ahead,
        frontier: 1,
    };
    let mut removed = liar()
        .exchange(2, 7)
        .delta(
            stranger,
            0,
            1,
            0,
            &Body::default().entry(1, 0, b"k", None).0,
        )
        .removed(own.generation);
    for n in 1..130 {
        removed = removed.removed(ahead + n);
    }
    cluster.forge(&removed);
    assert_eq!(outlived(&cluster), 1);

    let mut logs = liar().push();
    for n in 0..30 {
        let known = Known {
            generation: ahead + 1000 * (n + 1),
            ..own
        };
        logs = logs.delta(known, 0, 1, 0, &Body::default().entry(1, 0, b"k", None).0);
    }
    cluster.forge(&logs);
    assert_eq!(outlived(&cluster), 2);
    assert!(cluster.node(0).generation().stamp().to_bits() > ahead + 30_000);
    cluster.pass(30 * SECOND);
    assert!(cluster.is_well());
}

#[test]
fn a_node_asks_one_address_at_a_time_about_its_name() {
    let mut cluster = Loopback::formed(3, |_| {});
    let own = Known::of(cluster.node(0), 1);
    let at = |n: u8| SocketAddr::from(([203, 0, 113, n], 53));
    let later = |n: u8, lives: u64| {
        let log = Body::default().entry(1, 0, &[0], Some(&[203, 0, 113, n, 0, 53]));
        let known = Known {
            generation: own.generation + lives,
            ..own
        };
        (known, log.0)
    };
    let mut body = liar().push();
    for n in 0..30 {
        for (known, log) in [later(n, 1), later(0, u64::from(n) + 2)] {
            if body.0.len() < 1340 {
                body = body.delta(known, 0, 1, 0, &log);
            }
        }
    }
    let sent = cluster.forge(&body);
    let asked: Vec<_> = sent.iter().map(|(to, _)| *to).collect();
    assert_eq!(asked, [at(0)]);
    // One that is remembered still when that one has had its time is asked then.
    cluster.pass(5 * SECOND);
    let generation = cluster.node(0).generation().stamp().to_bits();
    assert!(generation > own.generation + 10, "the first is outlived");
    let (known, log) = later(7, 0);
    let known = Known {
        generation: generation + 1,
        ..known
    };
    let sent = cluster.forge(&liar().push().delta(known, 0, 1, 0, &log));
    let asked: Vec<_> = sent.iter().map(|(to, _)| *to).collect();
    assert_eq!(asked, [at(7)]);
    cluster.pass(30 * SECOND);
    assert!(cluster.is_well());
}

#[test]
fn a_restart_after_a_verdict_is_told_once_and_as_a_restart() {
    let mut cluster = Cluster::of(20).form();
    cluster.crash(6);
    cluster.pass(20 * SECOND);
    cluster.take_told();
    cluster.start(6);
    cluster.pass(20 * SECOND);
    let ups = cluster.told().iter().filter_map(|told| match told.event {
        Event::MemberUp { id, cause, .. } if id == cluster.id(6) => Some(cause),
        _ => None,
    });
    assert_eq!(ups.collect::<Vec<_>>(), [UpCause::Restarted; 19]);
    assert_eq!(cluster.downs(), BTreeSet::new());
    let mut numbers = cluster.numbers();
    assert!(numbers.all(|number| cluster.node(number).metrics().flaps == 0));
}

/// What was found of the earlier life says nothing of the next, also where this node alone, or those that are left,
/// found it (reports of serf, scylladb and swift-distributed-actors).
#[test]
fn after_a_restart_of_half_and_more_nobody_goes_down_again() {
    for (nodes, dead) in [(2, 1), (3, 1), (4, 2), (5, 4), (8, 4), (20, 10), (20, 15)] {
        for seed in 0..4 {
            let mut cluster = Cluster::of(nodes).seed(seed).form();
            let gone = nodes - dead..nodes;
            gone.clone().for_each(|number| cluster.crash(number));
            cluster.pass(20 * SECOND);
            cluster.take_told();
            gone.clone().for_each(|number| cluster.start(number));
            cluster.pass(20 * SECOND);
            assert_eq!(
                cluster.downs(),
                BTreeSet::new(),
                "{dead} of {nodes}, seed {seed}"
            );
            for number in gone {
                let id = cluster.id(number);
                let told = cluster.told().iter();
                let ups = told.filter(|told| {
                    told.by < nodes - dead
                        && matches!(told.event, Event::MemberUp { id: up, .. } if up == id)
                });
                let ups: Vec<_> = ups.collect();
                assert_eq!(
                    ups.len(),
                    nodes - dead,
                    "{dead} of {nodes}, seed {seed}: {ups:?}"
                );
            }
        }
    }
}

#[test]
fn a_new_address_is_followed_at_once() {
    let mut cluster = Cluster::of(12).form();
    let address = |cluster: &Cluster, viewer: usize| {
        let viewer = cluster.node(viewer);
        viewer.member(cluster.id(6)).unwrap().address()
    };
    let before = address(&cluster, 1);
    cluster.crash(6);
    cluster.act(Action::Move(host(6)));
    cluster.start(6);
    let moved = |cluster: &Cluster| {
        let all = cluster.numbers().map(|viewer| address(cluster, viewer));
        all.collect::<BTreeSet<_>>().len() == 1 && address(cluster, 1) != before
    };
    cluster.until(2 * SECOND, moved);
    cluster.pass(20 * SECOND);
    assert_eq!(cluster.downs(), BTreeSet::new());
}

#[test]
fn clusters_of_different_names_stay_apart() {
    // All have the same seeds.
    let name = |number: usize, config: &mut Config| {
        config.cluster = format!("cluster {}", number % 2);
    };
    let mut cluster = Cluster::of(12).each(name).start();
    cluster.pass(25 * SECOND);
    for side in [0, 1] {
        let own: Vec<usize> = cluster.numbers().filter(|n| n % 2 == side).collect();
        assert!(cluster.is_whole(&own));
    }
    let dropped = (cluster.numbers()).map(|number| cluster.node(number).metrics().dropped.cluster);
    assert!(dropped.sum::<u64>() > 0, "they have met");
}

/// Its log begins with a lower generation than the one that others remember.
#[test]
fn a_node_whose_clock_went_back_returns_above_its_earlier_life() {
    let mut cluster = Cluster::of(8).form();
    let generation = |cluster: &Cluster| {
        let viewer = cluster.node(1);
        let member = viewer.member(cluster.id(6)).unwrap();
        member.generation()
    };
    let before = generation(&cluster);
    cluster.crash(6);
    // Within `max_clock_skew`; one that lies further back refuses everybody, and says so.
    cluster.set_clock(6, -40_000);
    cluster.start(6);
    let all: Vec<usize> = cluster.numbers().collect();
    cluster.until(5 * SECOND, |cluster| {
        generation(cluster) > before && cluster.is_whole(&all)
    });
    cluster.take_told();
    cluster.pass(20 * SECOND);
    assert_eq!(cluster.downs(), BTreeSet::new());
}

/// It cannot outlive what it wrote in the future, and must say why nobody hears it.
#[test]
fn a_restart_whose_clock_went_far_back_is_told() {
    let mut cluster = Cluster::of(5).seeds([0, 1]).form();
    cluster.crash(4);
    cluster.set_clock(4, -180_000);
    cluster.start(4);
    cluster.pass(30 * SECOND);
    assert!(cluster.node(4).metrics().refused_skew > 0);
    let own = cluster.id(4);
    let is_skew = |event: &Event| matches!(event, Event::ClockSkew { id, .. } if *id == own);
    assert!(cluster.tells(4, is_skew));
}

#[test]
fn a_generation_far_in_the_future_is_refused_and_told() {
    let mut cluster = Cluster::of(5).form();
    let generation = |cluster: &Cluster| -> Generation {
        let viewer = cluster.node(1);
        viewer.member(cluster.id(4)).unwrap().generation()
    };
    let before = generation(&cluster);
    cluster.crash(4);
    cluster.set_clock(4, 3_600_000);
    cluster.start(4);
    cluster.pass(20 * SECOND);
    assert_eq!(generation(&cluster), before, "refused");
    assert!(cluster.tells(1, |event| matches!(event, Event::ClockSkew { .. })));
    // With its clock set right it is welcome again.
    cluster.crash(4);
    cluster.set_clock(4, 0);
    cluster.start(4);
    let all: Vec<usize> = cluster.numbers().collect();
    cluster.until(5 * SECOND, |cluster| cluster.is_whole(&all));
}
