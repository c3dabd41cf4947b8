//! The shared map in simulated clusters: partitions, deletes, newcomers, clocks and lifetimes.

use core::time::Duration;

use conformance::sim::network::{Effect, Scope};
use conformance::testkit::{Cluster, MILLI, MINUTE, SECOND, key, value};
use gossip_core::{Command, CommandError, Config, Dissemination, Event, Mode, Policy};

/// Nodes that have known one another for ten seconds.
fn formed(nodes: usize, change: impl Fn(&mut Config)) -> Cluster {
    let options = Cluster::of(nodes).seeds([0]).config(change);
    options.warm_up(10 * SECOND).form()
}

/// A write that replaces nothing that its writer does not know.
fn keep(name: &str, says: &str) -> Command {
    Command::Put {
        key: key(name),
        value: value(says),
        policy: Policy::KeepSiblings,
        lifetime: None,
    }
}

#[test]
fn a_write_is_everywhere_at_once() {
    let mut cluster = formed(50, |_| {});
    cluster.put(6, "X", "10");
    cluster.pass(100 * MILLI);
    cluster.assert_all_read("X", &["10"]);
}

#[test]
fn both_sides_of_a_partition_write_and_the_last_write_wins() {
    let mut cluster = formed(5, |_| {});
    cluster.at(90 * SECOND);
    cluster.cut_off([0, 1]);
    cluster.at(100 * SECOND);
    cluster.put(0, "X", "10");
    cluster.at(105 * SECOND);
    cluster.put(2, "X", "20");
    cluster.at(110 * SECOND);
    assert_eq!(
        (cluster.read(1, "X"), cluster.read(4, "X")),
        (vec!["10".into()], vec!["20".into()])
    );
    cluster.mend();
    cluster.at(150 * SECOND);
    cluster.assert_all_read("X", &["20"]);
    cluster.assert_maps_agree();
}

#[test]
fn both_sides_of_a_partition_merge_however_long_it_lasted() {
    let mut cluster = formed(5, |config| {
        config.gc_grace = MINUTE;
        config.remove_after = 5 * MINUTE;
    });
    cluster.put(0, "before", "v");
    cluster.put(0, "gone", "v");
    cluster.at(20 * SECOND);
    cluster.cut_off([0, 1]);
    cluster.at(25 * SECOND);
    cluster.put(0, "left", "1");
    cluster.put(2, "right", "2");
    cluster.delete(3, "gone");
    cluster.at(4_000 * SECOND);
    assert_eq!(
        cluster.node(0).members().count(),
        2,
        "the others are removed"
    );
    cluster.mend();
    for (number, seed) in [(0, "10.0.0.3:7946"), (2, "10.0.0.1:7946")] {
        // Somebody has to tell them of one another: they have forgotten.
        let seeds = vec![seed.parse().unwrap()];
        cluster.command(number, Command::SetSeeds { seeds });
    }
    cluster.at(4_200 * SECOND);
    for (text, says) in [("before", "v"), ("left", "1"), ("right", "2")] {
        cluster.assert_all_read(text, &[says]);
    }
    cluster.assert_all_read("gone", &[]);
    cluster.assert_maps_agree();
}

#[test]
fn concurrent_writes_are_told_as_a_conflict_and_kept_where_so_asked() {
    let mut cluster = formed(5, |_| {});
    cluster.at(90 * SECOND);
    cluster.cut_off([0, 1]);
    cluster.at(100 * SECOND);
    cluster.command(0, keep("X", "10"));
    cluster.at(105 * SECOND);
    cluster.command(2, keep("X", "20"));
    cluster.mend();
    cluster.at(150 * SECOND);
    let told = cluster.count_told(|event| matches!(event, Event::Conflict { .. }));
    assert_eq!(told, 5, "once to each");
    cluster.assert_all_read("X", &["20", "10"]);
    let refused = cluster.ask(4, keep("X", "30"));
    assert_eq!(refused, Err(CommandError::Unresolved { siblings: 2 }));
    let resolve = Command::Resolve {
        key: key("X"),
        value: Some(value("30")),
    };
    cluster.ask(3, resolve).unwrap();
    cluster.at(155 * SECOND);
    cluster.assert_all_read("X", &["30"]);
    cluster.command(1, keep("X", "40"));
    cluster.at(160 * SECOND);
    cluster.assert_all_read("X", &["40"]);
}

#[test]
fn a_delete_stays_when_a_node_returns_with_the_old_value() {
    for (away, grace) in [(60, 10 * 24 * 3600), (3_000, 60_u64)] {
        let mut cluster = formed(5, |config| config.gc_grace = Duration::from_secs(grace));
        cluster.put(1, "user 123", "old");
        cluster.at(20 * SECOND);
        cluster.cut_off([3]);
        cluster.at(30 * SECOND);
        cluster.delete(1, "user 123");
        cluster.at((30 + away) * SECOND);
        assert_eq!(cluster.read(3, "user 123"), ["old"]);
        let tombstones = cluster.node(1).map().writes();
        assert_eq!(
            tombstones,
            usize::from(u64::from(away) < grace),
            "collected after the grace time"
        );
        cluster.mend();
        cluster.at((30 + away + 60) * SECOND);
        cluster.assert_all_read("user 123", &[]);
        cluster.assert_maps_agree();
    }
}

#[test]
fn a_tombstone_beats_what_is_earlier_and_yields_to_what_is_later() {
    for (written, expected) in [(50, &[][..]), (150, &["data"][..])] {
        let mut cluster = formed(5, |_| {});
        cluster.put(0, "k", "first");
        cluster.at(20 * SECOND);
        cluster.cut_off([0, 1]);
        let mut acts = [(100, false), (written, true)];
        acts.sort_unstable();
        for (second, writes) in acts {
            cluster.at((second) * SECOND);
            if writes {
                cluster.put(0, "k", "data");
            } else {
                cluster.delete(3, "k");
            }
        }
        cluster.mend();
        cluster.at(220 * SECOND);
        cluster.assert_all_read("k", expected);
        cluster.assert_maps_agree();
    }
}

#[test]
fn a_newcomer_learns_a_large_map_through_loss() {
    let mut cluster = formed(5, |_| {});
    for n in 0..3_000_usize {
        cluster.put(n % 5, &format!("key/{n}"), [b'v'; 100]);
        if n % 100 == 99 {
            cluster.pass(50 * MILLI);
        }
    }
    cluster.at(60 * SECOND);
    cluster.assert_maps_agree();
    cluster.disturb(Scope::Everywhere, Effect::Loss(0.3));
    cluster.crash(3);
    cluster.at(65 * SECOND);
    cluster.start(3);
    cluster.at(150 * SECOND);
    assert_eq!(cluster.node(3).entries("key/").count(), 3_000);
    cluster.assert_maps_agree();
}

#[test]
fn a_newcomer_is_sent_a_large_map_once_though_datagrams_overtake_one_another() {
    let mut cluster = formed(3, |_| {});
    for n in 0..3_000_usize {
        cluster.put(n % 3, &format!("key/{n}"), [b'v'; 100]);
    }
    cluster.at(60 * SECOND);
    cluster.assert_maps_agree();
    cluster.crash(2);
    let before = cluster.traffic();
    cluster.start(2);
    cluster.at(70 * SECOND);
    cluster.assert_maps_agree();
    let (sent, held) = (cluster.traffic().since(before).bytes_out, {
        u64::try_from(cluster.node(0).map().bytes()).unwrap()
    });
    assert!(sent < held * 3 / 2, "{sent} bytes for {held}");
}

#[test]
fn two_nodes_that_cannot_take_each_others_writes_do_not_ask_without_end() {
    let mut cluster = formed(2, |config| config.max_clock_skew = 10 * SECOND);
    // Apart for so long that neither knows the other's clock, so each finds its own to be right.
    cluster.break_link(0, 1);
    cluster.at(700 * SECOND);
    cluster.set_clock(0, 1_200_000);
    cluster.put(0, "one", "from the far future");
    cluster.set_clock(0, 0);
    cluster.set_clock(1, 600_000);
    cluster.put(1, "two", "from the future");
    cluster.mend();
    cluster.at(720 * SECOND);
    let before = cluster.traffic();
    cluster.at(780 * SECOND);
    let sent = cluster.traffic().since(before).datagrams_out;
    for n in [0, 1] {
        assert_eq!(cluster.node(n).map().logs(), 1, "n{n}");
    }
    assert!(sent < 60 * 20, "{sent} datagrams in a minute");
}

#[test]
fn a_node_whose_clock_went_back_never_writes_behind_its_own_past() {
    let mut cluster = formed(3, |_| {});
    cluster.put(0, "X", "1");
    cluster.at(12 * SECOND);
    cluster.put(1, "X", "2");
    cluster.at(13 * SECOND);
    cluster.set_clock(0, -20_000);
    let before = cluster.node(0).get(&key("X")).unwrap().stamp;
    cluster.put(0, "X", "3");
    cluster.at(14 * SECOND);
    assert!(cluster.node(2).get(&key("X")).unwrap().stamp > before);
    cluster.assert_all_read("X", &["3"]);
    // Nor does its next life, which begins with the clock behind and nothing in memory.
    cluster.restart(0);
    cluster.at(20 * SECOND);
    cluster.put(0, "X", "4");
    cluster.at(21 * SECOND);
    cluster.assert_all_read("X", &["4"]);
    cluster.assert_maps_agree();
}

#[test]
fn a_write_from_too_far_ahead_is_refused_for_now_and_told() {
    let mut cluster = formed(3, |config| config.max_clock_skew = 10 * SECOND);
    cluster.set_clock(2, 60_000);
    cluster.put(2, "X", "from the future");
    cluster.at(50 * SECOND);
    for n in [0, 1] {
        assert!(cluster.tells(n, |event| matches!(event, Event::ClockSkew { .. })));
        assert_eq!(cluster.read(n, "X"), [""; 0], "n{n}");
        assert!(cluster.node(n).metrics().refused_skew > 0);
        assert!(cluster.node(n).map().logs() == 0, "not even claimed");
    }
    // When its time has come.
    cluster.at(80 * SECOND);
    cluster.assert_all_read("X", &["from the future"]);
    cluster.assert_maps_agree();
}

#[test]
fn a_value_dies_everywhere_when_its_lifetime_ends() {
    let mut cluster = formed(5, |_| {});
    let put = Command::Put {
        key: key("session"),
        value: value("v"),
        policy: Policy::LastWriteWins,
        lifetime: Some(Duration::from_secs(20)),
    };
    cluster.ask(0, put).unwrap();
    cluster.at(25 * SECOND);
    cluster.assert_all_read("session", &["v"]);
    cluster.at(33 * SECOND);
    cluster.assert_all_read("session", &[]);
}

#[test]
fn the_periodic_exchange_alone_brings_a_write_everywhere() {
    for mode in [Mode::PushPull, Mode::Push, Mode::Pull] {
        let mut cluster = formed(20, |config| {
            config.mode = mode;
            config.dissemination = Dissemination::Periodic;
        });
        for n in 0..20 {
            cluster.put(n, &format!("k{n}"), "v");
        }
        cluster.at(40 * SECOND);
        for n in 0..20 {
            cluster.assert_all_read(&format!("k{n}"), &["v"]);
        }
        cluster.assert_maps_agree();
    }
}
