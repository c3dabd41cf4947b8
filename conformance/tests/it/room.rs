//! Whoever lives has room before whoever is gone: in the table, in a node's state and in the map.

use core::ops::Range;
use std::net::SocketAddr;

use conformance::forge::{self, Body, Known};
use conformance::testkit::{Cluster, LIAR, Loopback, MINUTE, SECOND, key, liar, stamp, value};
use gossip_core::{Command, CommandError, Config, Event, Status};

/// A table of twenty places, in which all who have left are kept for a day.
fn small() -> Cluster {
    let few = |config: &mut Config| config.max_members = 20;
    Cluster::of(3).seeds([0, 1]).config(few).form()
}

#[test]
fn the_eighteenth_guest_is_seen_by_all_however_many_have_left() {
    let mut cluster = small();
    for guest in 1..=40 {
        let number = cluster.add(&format!("guest{guest}"));
        cluster.start(number);
        let took = cluster.until(10 * SECOND, |c| c.is_whole(&[0, 1, 2, number]));
        println!("guest {guest} is seen by all after {took:?}");
        cluster.leave(number);
        cluster.pass(2 * SECOND);
        cluster.crash(number);
    }
    cluster.pass(5 * MINUTE);
    cluster.assert_at_rest();
    let held = cluster.node(0).metrics().members;
    assert!(held <= 3 + 20, "what is left of them is bounded: {held}");
}

/// Where a node is reached.
fn address_of(cluster: &Cluster, number: usize) -> SocketAddr {
    let node = cluster.node(number);
    node.member(node.id()).unwrap().address()
}

/// All nodes are replaced one after the other by others of new names, twice within a day, politely or not.
#[test]
fn after_two_redeployments_under_new_names_all_know_all() {
    for go in [Cluster::leave, Cluster::crash] {
        let few = |config: &mut Config| config.max_members = 20;
        let mut cluster = Cluster::of(9).seeds([0, 1, 2]).config(few).form();
        let mut running: Vec<usize> = (0..9).collect();
        for deployment in 1..=4 {
            for place in 0..9 {
                let seeds = running.iter().rev().take(2);
                let mut config = cluster.config().clone();
                config.seeds = seeds.map(|n| address_of(&cluster, *n)).collect();
                let number = cluster.add_with(&format!("d{deployment}-{place}"), config);
                cluster.start(number);
                cluster.pass(10 * SECOND);
                go(&mut cluster, running[place]);
                cluster.pass(10 * SECOND);
                cluster.crash(running[place]);
                running[place] = number;
            }
            cluster.pass(10 * MINUTE);
            let of = |n: &usize| cluster.node(*n).metrics().live;
            let live: Vec<u64> = running.iter().map(of).collect();
            println!("deployment {deployment}: {live:?} live");
            assert!(
                cluster.is_whole(&running),
                "deployment {deployment}: {live:?}"
            );
        }
    }
}

#[test]
fn who_is_refused_is_told_so_and_so_is_who_refuses() {
    let few = |config: &mut Config| config.max_members = 4;
    let mut cluster = Cluster::of(4).seeds([0, 1]).config(few).form();
    let number = cluster.add("fifth");
    cluster.start(number);
    cluster.pass(10 * MINUTE);
    let refused = cluster.count_told(|event| matches!(event, Event::Refused { .. }));
    assert!((5..=11).contains(&refused), "once a minute: {refused}");
    assert!(cluster.tells(number, |event| matches!(event, Event::Refused { .. })));
    let id = cluster.id(number);
    for member in 0..4 {
        let tells = |event: &Event| matches!(event, Event::TableFull { id: who, .. } if *who == id);
        let told = cluster
            .told()
            .iter()
            .filter(|told| told.by == member && tells(&told.event));
        let told = told.count();
        assert!(
            (1..=11).contains(&told),
            "once a minute: {told} at n{member}"
        );
        assert!(cluster.node(member).metrics().refused_members > 0);
    }
    // Once somebody goes, there is a place.
    cluster.leave(3);
    cluster.until(10 * SECOND, |c| c.is_whole(&[0, 1, 2, number]));
}

/// Sets an attribute and deletes it, under one new name after the other.
fn set_and_unset(cluster: &mut Cluster, number: usize, names: Range<usize>) {
    for n in names {
        let name = format!("job/{n}");
        cluster.set(number, &name, "done");
        cluster.unset(number, &name);
    }
}

#[test]
fn attributes_come_and_go_under_ever_new_names() {
    let mut cluster = Cluster::of(5).seeds([0, 1]).form();
    let room = u64::from(cluster.config().max_state);
    for round in 0..40 {
        set_and_unset(&mut cluster, 0, round * 100..(round + 1) * 100);
        let name = format!("kept/{round}");
        cluster.set(0, &name, "v");
        cluster.until(5 * SECOND, |cluster| {
            (0..5).all(|viewer| cluster.attribute(viewer, 0, &name).is_some())
        });
        for viewer in 0..5 {
            let metrics = cluster.node(viewer).metrics();
            assert!(metrics.state_bytes <= room + 5 * 200);
            assert_eq!(metrics.refused_state, 0);
            assert_eq!(cluster.attribute(viewer, 0, "job/0"), None);
        }
    }
    cluster.pass(10 * SECOND);
    cluster.assert_at_rest();
    // Nobody is behind, so nobody is sent the whole state again.
    let before = cluster.traffic();
    set_and_unset(&mut cluster, 0, 4000..4010);
    cluster.pass(10 * SECOND);
    let sent = cluster.traffic().since(before).bytes_out;
    println!("{sent} bytes for ten more in ten seconds");
    assert!(sent < 5 * 10 * 1000, "{sent} bytes");
}

/// A node that was away while its tombstones were collected learns what is gone.
#[test]
fn what_was_deleted_under_pressure_stays_deleted() {
    let mut cluster = Cluster::of(5).seeds([0, 1]).form();
    for n in 0..20 {
        cluster.set(0, &format!("old/{n}"), "v");
    }
    cluster.pass(5 * SECOND);
    cluster.cut_off([4]);
    for n in 0..20 {
        cluster.unset(0, &format!("old/{n}"));
    }
    set_and_unset(&mut cluster, 0, 0..3000);
    cluster.pass(5 * SECOND);
    assert!(cluster.attribute(4, 0, "old/7").is_some());
    cluster.mend();
    cluster.pass(20 * SECOND);
    for n in 0..20 {
        assert_eq!(cluster.attribute(4, 0, &format!("old/{n}")), None);
    }
    cluster.assert_at_rest();
}

/// Puts short values until the map is full. Returns how many fit.
fn fill(cluster: &mut Cluster, number: usize) -> usize {
    for n in 0.. {
        let put = Command::put(key(&format!("key/{n}")), value("v"));
        if let Err(refused) = cluster.ask(number, put) {
            assert!(matches!(refused, CommandError::MapFull { .. }));
            return n;
        }
    }
    unreachable!("the map is full some time")
}

#[test]
fn a_full_map_that_is_emptied_has_room_again_at_every_node() {
    let room = 64 * 1024;
    let small = |config: &mut Config| config.max_map = 64 * 1024;
    let mut cluster = Cluster::of(4).seeds([0, 1]).config(small).form();
    for (writer, deleter) in [(0, 0), (1, 2), (2, 3)] {
        let n = fill(&mut cluster, writer);
        let map = cluster.node(writer).map();
        let living = map.bytes() - map.dead_bytes();
        println!("{n} keys fit, {living} bytes");
        assert!(living > room - 200, "values have all the room");
        cluster.until(30 * SECOND, |c| {
            (0..4).all(|m| c.node(m).entries("").count() == n)
        });
        // The map is full, and one of them was away.
        let refused = cluster.ask(3, Command::put(key("more"), value([7; 100])));
        assert!(matches!(refused, Err(CommandError::MapFull { .. })));
        cluster.cut_off([1]);
        for n in 0..n {
            cluster.delete(deleter, &format!("key/{n}"));
        }
        cluster.pass(5 * SECOND);
        cluster.mend();
        cluster.until(60 * SECOND, |c| {
            (0..4).all(|m| c.node(m).entries("").count() == 0)
        });
        for member in 0..4 {
            let bytes = cluster.node(member).map().bytes();
            assert!(bytes <= room + room / 16, "{bytes} bytes at n{member}");
        }
        cluster.put(3, "more", [7; 100]);
        cluster.delete(3, "more");
    }
    cluster.pass(30 * SECOND);
    cluster.assert_maps_agree();
}

/// A liar tells of ever new members that have left. Those who live are known all the same.
#[test]
fn a_flood_of_members_that_left_keeps_out_nobody_who_lives() {
    let mut cluster = Loopback::formed(4, |config| config.max_members = 20);
    cluster.stop(3);
    let mut id = LIAR;
    for round in 0..300 {
        let mut body = liar().exchange(2, 7);
        for n in 0..20_u64 {
            id = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
            // Some say that they left long ago, some only now, and some that they will.
            let log = Body::default().entry(1, n * 4000, &[2], Some(&[3]));
            let known = Known {
                origin: id,
                generation: stamp(2),
                frontier: 1,
            };
            body = body.delta(known, 0, 1, 0, &log.0);
        }
        cluster.forge(&body);
        if round % 3 == 0 {
            cluster.pass(SECOND);
        }
        for node in cluster.nodes() {
            assert!(node.metrics().members <= 20 + 20);
            assert!(node.metrics().live + node.metrics().down <= 20);
        }
    }
    assert!(cluster.node(0).metrics().refused_members > 3000);
    cluster.start(3, "newcomer", |config| config.max_members = 20);
    cluster.pass(5 * SECOND);
    let newcomer = cluster.node(3).id();
    for number in 0..3 {
        let member = cluster.node(number).member(newcomer);
        assert_eq!(member.map(|member| member.status()), Some(Status::Up));
    }
    let full = |event: &Event| matches!(event, Event::TableFull { .. });
    assert_eq!(cluster.count_told(full), 0, "only who lives is missed");
    cluster.pass(5 * MINUTE);
    let held = cluster.nodes().map(|node| node.metrics().members);
    assert!(held.max() <= Some(4 + 1 + 1 + 10), "most are forgotten");
    assert!(cluster.is_well());
}

/// A SYN that says "no place for you" is no answer to anything.
#[test]
fn who_is_told_without_end_that_it_has_no_place_tells_it_once_a_minute() {
    let mut cluster = Loopback::formed(2, |_| {});
    for _ in 0..60 {
        for leg in [1, 2] {
            cluster.forge(&liar().exchange(leg, 7).byte(forge::item::FULL).byte(0));
        }
        cluster.pass(SECOND);
    }
    let refused = |event: &Event| matches!(event, Event::Refused { .. });
    assert!((1..=2).contains(&cluster.count_told(refused)));
    let mut cluster = Loopback::formed(2, |_| {});
    cluster.forge(&liar().exchange(1, 7).byte(forge::item::FULL).byte(0));
    assert_eq!(cluster.count_told(refused), 0);
}
