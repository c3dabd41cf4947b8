//! Wall clocks that are wrong: told on their own node and named on the others, and forgiven once they are right.

use std::time::Duration;

use conformance::forge::{Body, Known, item};
use conformance::testkit::{Cluster, Loopback, SECOND, key, liar, stamp, value};
use gossip_core::{ClockDeviation, Command, CommandError, Config, Event, Policy, Status};

const HOUR: i64 = 3_600_000;

fn put(name: &str, says: &str) -> Command {
    Command::Put {
        key: key(name),
        value: value(says),
        policy: Policy::LastWriteWins,
        lifetime: None,
    }
}

/// Whether every node reads this under a key.
fn all_read(cluster: &Cluster, name: &str, says: &str) -> bool {
    let numbers: Vec<usize> = cluster.numbers().collect();
    numbers.iter().all(|n| cluster.read(*n, name) == [says])
}

/// Whether every node finds every other one up.
fn is_whole(cluster: &Cluster) -> bool {
    let numbers: Vec<usize> = cluster.numbers().collect();
    cluster.show(|_, _| Status::Up).is_ok() && cluster.is_whole(&numbers)
}

fn deviates(event: &Event) -> bool {
    matches!(event, Event::OwnClockDeviates { .. })
}

fn is_skew(event: &Event) -> bool {
    matches!(event, Event::ClockSkew { .. })
}

/// A clock steps ahead for a while, during which its node writes, and back. Afterwards the writes of the node come
/// through, without a restart.
#[test]
fn a_node_whose_clock_stepped_ahead_and_back_is_heard_again() {
    for ahead in [2 * HOUR, 90_000] {
        let mut cluster = Cluster::of(6).form();
        cluster.pass(30 * SECOND);
        cluster.put(0, "before", "0");
        cluster.take_told();
        cluster.set_clock(0, ahead);
        assert!(cluster.tells(0, deviates), "at once");
        for step in 0..10 {
            let refused = cluster.ask(0, put("meanwhile", "1"));
            assert!(
                matches!(refused, Err(CommandError::ClockAhead { .. })),
                "{ahead}, {step}: {refused:?}"
            );
            cluster.pass(SECOND);
        }
        cluster.set_clock(0, 0);
        for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
            let now = cluster.now();
            cluster.put(0, name, "2");
            cluster.until(5 * SECOND, |cluster| all_read(cluster, name, "2"));
            let took = cluster.now() - now;
            assert!(took < SECOND, "{ahead}, {number}: {took:?}");
        }
        cluster.put(3, "a", "3");
        cluster.until(5 * SECOND, |cluster| all_read(cluster, "a", "3"));
        cluster.pass(10 * SECOND);
        cluster.assert_maps_agree();
        assert_eq!(cluster.count_told(deviates), 1);
        assert_eq!(
            cluster.count_told(|event| *event == Event::OwnClockAgrees),
            1
        );
        assert_eq!(cluster.downs().len(), 0);
    }
}

/// A node that is cut off for so long that it knows no clock writes under stamps that nobody takes. It writes them again
/// once it knows better.
#[test]
fn what_was_written_ahead_of_time_is_written_again_once_the_clock_is_right() {
    for foreign in [false, true] {
        let mut cluster = Cluster::of(6).form();
        cluster.put(0, "k", "old");
        cluster.put(0, "other", "old");
        cluster.pass(5 * SECOND);
        let apart: Vec<usize> = if foreign { vec![0, 1] } else { vec![0] };
        cluster.cut_off(apart.iter().copied());
        cluster.pass(15 * 60 * SECOND);
        for n in &apart {
            cluster.set_clock(*n, 2 * HOUR);
        }
        // Until each has heard that the other's clock shows the same.
        cluster.pass(60 * SECOND);
        for round in 0..20 {
            cluster.put(0, "k", format!("new {round}"));
            cluster.put(0, &format!("k{round}"), "x");
            cluster.pass(SECOND);
        }
        cluster.delete(0, "other");
        cluster.pass(SECOND);
        cluster.mend();
        cluster.pass(90 * SECOND);
        // They know by now, and the others have taken nothing.
        assert_eq!(cluster.read(4, "k"), ["old"]);
        if !foreign {
            assert!(cluster.tells(0, deviates));
        }
        for n in &apart {
            cluster.set_clock(*n, 0);
        }
        cluster.until(60 * SECOND, |cluster| all_read(cluster, "k", "new 19"));
        cluster.put(0, "later", "x");
        cluster.until(10 * SECOND, |cluster| all_read(cluster, "later", "x"));
        cluster.pass(30 * SECOND);
        cluster.assert_all_read("other", &[]);
        cluster.assert_all_read("k7", &["x"]);
        cluster.assert_maps_agree();
        assert!(is_whole(&cluster));
    }
}

/// A node starts with a clock that is ahead: it is told so, the others name it and where it is. Once its clock is right
/// it is welcome, without a restart.
#[test]
fn a_node_that_starts_ahead_is_told_so_and_welcome_once_its_clock_is_right() {
    for (late, together) in [(vec![5], false), (vec![4, 5], false), (vec![4, 5], true)] {
        let mut cluster = Cluster::of(6).form();
        cluster.put(0, "k", "0");
        cluster.pass(5 * SECOND);
        for n in &late {
            cluster.crash(*n);
        }
        cluster.pass(20 * SECOND);
        cluster.take_told();
        for n in &late {
            cluster.set_clock(*n, HOUR);
            cluster.start(*n);
        }
        cluster.pass(10 * SECOND);
        for n in &late {
            let own = cluster.told().iter().find_map(|told| match told.event {
                Event::OwnClockDeviates { by } if told.by == *n => Some(by),
                _ => None,
            });
            let Some(ClockDeviation::Ahead(by)) = own else {
                panic!("{n} is told {own:?}");
            };
            assert!(
                by.abs_diff(Duration::from_secs(3600)) < 3 * SECOND,
                "{by:?}"
            );
            let id = cluster.id(*n);
            let where_it_is = cluster.node(*n).member(id).unwrap().address();
            let names = |event: &Event| match event {
                Event::ClockSkew {
                    id: of, address, ..
                } => *of == id && *address == Some(where_it_is),
                _ => false,
            };
            assert!(cluster.tells(1, names));
        }
        let refused = cluster.ask(5, put("k", "1"));
        assert!(matches!(refused, Err(CommandError::ClockAhead { .. })));
        cluster.set(5, "role", "db");
        for n in &late {
            cluster.set_clock(*n, 0);
            if !together {
                cluster.pass(20 * SECOND);
            }
        }
        cluster.until(20 * SECOND, is_whole);
        cluster.put(5, "k", "1");
        cluster.until(5 * SECOND, |cluster| all_read(cluster, "k", "1"));
        cluster.pass(10 * SECOND);
        assert_eq!(cluster.attribute(1, 5, "role").as_deref(), Some("db"));
        cluster.assert_maps_agree();
        cluster.assert_at_rest();
    }
}

/// A node starts with a clock that is behind. It refuses the others, and is told why. They are named once a minute each.
#[test]
fn a_node_that_starts_behind_is_told_so_and_joins_once_its_clock_is_right() {
    let mut cluster = Cluster::of(8).spare(1).form();
    cluster.put(0, "k", "0");
    cluster.set_clock(8, -HOUR);
    cluster.start(8);
    cluster.pass(60 * SECOND);
    let behind = |event: &Event| {
        matches!(event, Event::OwnClockDeviates { by: ClockDeviation::Behind(by) }
            if by.abs_diff(Duration::from_secs(3600)) < 3 * SECOND)
    };
    assert!(cluster.tells(8, behind));
    let skews = cluster.told().iter();
    let skews = skews.filter(|told| told.by == 8 && is_skew(&told.event));
    assert!(skews.count() <= 16, "once a minute for each member");
    cluster.set_clock(8, 0);
    cluster.until(10 * SECOND, is_whole);
    cluster.until(5 * SECOND, |cluster| all_read(cluster, "k", "0"));
    cluster.put(8, "k", "1");
    cluster.until(5 * SECOND, |cluster| all_read(cluster, "k", "1"));
}

/// A right clock that is set back wrongly is no reason to write anything again.
#[test]
fn a_clock_that_is_set_back_wrongly_moves_nothing() {
    let mut cluster = Cluster::of(5).form();
    cluster.put(0, "k", "0");
    cluster.pass(30 * SECOND);
    let generations = |cluster: &Cluster| -> Vec<_> {
        let numbers = cluster.numbers();
        numbers.map(|n| cluster.node(n).generation()).collect()
    };
    let before = generations(&cluster);
    let writes = cluster.node(0).map().writes();
    cluster.set_clock(0, -2 * HOUR);
    cluster.put(0, "k", "1");
    cluster.pass(10 * SECOND);
    assert!(cluster.tells(0, deviates));
    assert!(
        all_read(&cluster, "k", "1"),
        "its stamps go on from where they were"
    );
    cluster.set_clock(0, 0);
    cluster.pass(10 * SECOND);
    assert_eq!(generations(&cluster), before);
    assert_eq!(cluster.node(0).map().writes(), writes);
    assert!(is_whole(&cluster));
    assert_eq!(cluster.downs().len(), 0);
}

/// A few wrong clocks do not make a right one look wrong.
#[test]
fn a_minority_of_wrong_clocks_does_not_move_the_others() {
    let mut cluster = Cluster::of(7).form();
    for n in [0, 1, 2] {
        cluster.set_clock(n, 2 * HOUR);
    }
    cluster.pass(120 * SECOND);
    for n in cluster.numbers() {
        assert_eq!(cluster.tells(n, deviates), n < 3, "n{n}");
    }
    for n in [3, 4, 5, 6] {
        cluster.put(n, "k", "1");
    }
}

/// Small steps in both directions, as a time service makes them, are not worth a word.
#[test]
fn a_clock_that_drifts_and_is_corrected_in_small_steps_is_no_event() {
    let mut cluster = Cluster::of(4)
        .config(|config: &mut Config| config.max_clock_skew = 60 * SECOND)
        .form();
    for step in 0..60 {
        // It gains one in a hundred, and is set right once in a while.
        cluster.set_clock(0, (step % 20) * 100);
        cluster.put(0, "k", step.to_string());
        cluster.pass(10 * SECOND);
        assert!(all_read(&cluster, "k", &step.to_string()));
    }
    assert_eq!(
        cluster.count_told(|event| deviates(event) || is_skew(event)),
        0
    );
}

/// Whoever is not where it says to be has no clock. Neither has a length that is none.
#[test]
fn a_clock_of_nobody_is_not_believed() {
    let mut cluster = Loopback::formed(3, |_| {});
    let later = stamp(2 * 3_600_000) >> 16;
    let known = Known::of(cluster.node(1), 0);
    for id in [1, 2, 3, 4, 5, 6, 7, 8, 9, known.origin] {
        let whose = Body::from(id, known.generation);
        cluster.forge(&whose.exchange(1, 7).clock(later));
    }
    let short = liar().exchange(1, 7).byte(item::CLOCK).bytes(&[1]);
    cluster.forge(&short);
    assert_eq!(cluster.node(0).metrics().dropped.malformed, 1);
    cluster.pass(10 * SECOND);
    assert_eq!(cluster.count_told(deviates), 0);
    assert!(cluster.node(0).metrics().clock_ahead_ms.abs() < 2000);
    assert!(cluster.is_well());
}

/// In a small datacenter a node that is no bridge hears of few clocks, however large the cluster is.
#[test]
fn a_node_that_meets_few_peers_learns_from_these_that_its_clock_is_wrong() {
    for is_bridge in [false, true] {
        let options = Cluster::of(24).datacenters(&[4, 4, 4, 4, 4, 4]);
        // It meets its seeds, too.
        let mut cluster = options.seeds([0]).form();
        // What clocks it has heard of while it joined is forgotten by then.
        cluster.pass(900 * SECOND);
        let first: Vec<usize> = (0..4).collect();
        let seen = |n: &usize| {
            let member = cluster.node(*n).member(cluster.id(*n));
            member.is_some_and(|own| own.is_bridge() == is_bridge)
        };
        let wrong = first.into_iter().find(seen).unwrap();
        cluster.set_clock(wrong, 2 * HOUR);
        assert!(cluster.tells(wrong, deviates), "bridge: {is_bridge}");
        let refused = cluster.ask(wrong, put("k", "1"));
        assert!(matches!(refused, Err(CommandError::ClockAhead { .. })));
        cluster.set_clock(wrong, 0);
        cluster.put(wrong, "k", "1");
        cluster.until(10 * SECOND, |cluster| all_read(cluster, "k", "1"));
    }
}
