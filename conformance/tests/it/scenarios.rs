//! Small runs of the scenarios: the figures that a reader relies on.

use conformance::scenario::{
    Crash, Histories, Join, Load, Newcomer, Partition, Place, Restart, Scenario, Setup, Spread,
    Steady, Target,
};
use conformance::testkit::{MILLI, SECOND};
use gossip_core::{Dissemination, Mode};

use super::{figure, play};

fn nodes(nodes: u32) -> Setup {
    Setup {
        nodes,
        ..Setup::default()
    }
}

#[test]
fn twenty_nodes_join_within_five_seconds_and_no_datagram_is_too_long() {
    let join = Scenario::Join(Join { limit: 60 * SECOND });
    let outcome = play(join, &nodes(20));
    assert!(figure(&outcome, "converged_s") <= 5.0);
    assert!(figure(&outcome, "max_datagram") <= 1400.0);
    assert_eq!(figure(&outcome, "known_share"), 1.0);
}

#[test]
fn a_newcomer_soon_knows_ten_kilobytes_of_each() {
    let newcomer = Scenario::Newcomer(Newcomer {
        warm_up: 10 * SECOND,
        state: 10_000,
        limit: 60 * SECOND,
    });
    for (loss, within) in [(0.0, 1.5), (0.1, 3.5)] {
        let setup = Setup { loss, ..nodes(50) };
        let outcome = play(newcomer, &setup);
        assert!(figure(&outcome, "complete_s") <= within, "{loss}");
        assert!(figure(&outcome, "joined_s") <= within, "{loss}");
        assert!(figure(&outcome, "max_kb_per_peer_and_s") <= 200.0, "{loss}");
        assert_eq!(figure(&outcome, "wrong_down"), 0.0, "{loss}");
    }
}

/// With one write at a time and no loss, any way of spreading writes looks good.
#[test]
fn sustained_writes_with_loss_are_read_soon_and_by_all() {
    for (loss, keys, p99) in [
        (0.0, 200, 0.05),
        (0.1, 200, 0.6),
        (0.3, 200, 2.5),
        (0.1, 1, 0.6),
    ] {
        let load = Scenario::Load(Load {
            warm_up: 20 * SECOND,
            rate: 40.0,
            value: 100,
            keys,
            one_at_a_time: false,
            to: Target::Map,
            lasts: 10 * SECOND,
        });
        let setup = Setup { loss, ..nodes(20) };
        let outcome = play(load, &setup);
        assert_eq!(figure(&outcome, "never"), 0.0, "{loss} {keys}");
        assert_eq!(figure(&outcome, "wrong_down"), 0.0, "{loss} {keys}");
        let late = figure(&outcome, "late_p99_s");
        assert!(late <= p99, "{late} s at a loss of {loss}, {keys} keys");
    }
}

/// One tree of three levels brings each write to each node, once. Nobody waits for what comes after it.
#[test]
fn without_loss_one_tree_brings_each_write_to_all() {
    let load = Scenario::Load(Load {
        warm_up: 20 * SECOND,
        rate: 40.0,
        value: 100,
        keys: 200,
        one_at_a_time: false,
        to: Target::Map,
        lasts: 5 * SECOND,
    });
    let outcome = play(load, &nodes(120));
    assert_eq!(figure(&outcome, "never"), 0.0);
    // Three hops of 10 ms, and 5 ms at each of two nodes. The writer waits 2 ms for more writes.
    let late = figure(&outcome, "late_max_s");
    assert!(late <= 0.042 + 0.001, "{late} s");
    let bytes = figure(&outcome, "bytes_per_written_byte_and_node");
    assert!(bytes <= 4.0, "{bytes} bytes for each");
}

/// A write is pushed whatever passes through its writer, and what is missed is asked for.
#[test]
fn sustained_writes_of_attributes_are_read_soon_and_by_all() {
    for (size, rate, loss, p50, most) in [
        (12, 100.0, 0.0, 0.02, 0.1),
        (20, 40.0, 0.1, 0.1, 1.0),
        (20, 40.0, 0.3, 0.3, 2.0),
    ] {
        let load = Scenario::Load(Load {
            warm_up: 20 * SECOND,
            rate,
            value: 100,
            keys: 200,
            one_at_a_time: false,
            to: Target::Attributes,
            lasts: 10 * SECOND,
        });
        let setup = Setup {
            loss,
            ..nodes(size)
        };
        let outcome = play(load, &setup);
        assert_eq!(figure(&outcome, "never"), 0.0, "{loss}");
        assert_eq!(figure(&outcome, "wrong_down"), 0.0, "{loss}");
        for (name, bound) in [("late_p50_s", p50), ("late_max_s", most)] {
            let late = figure(&outcome, name);
            assert!(late <= bound, "{name} {late} s at a loss of {loss}");
        }
    }
}

/// Who has just joined has heard too few heartbeats to know how many are lost, and its neighbours may
/// not know it yet.
#[test]
fn nobody_is_held_down_while_a_cluster_forms_and_half_of_all_is_lost() {
    let join = Scenario::Join(Join {
        limit: 120 * SECOND,
    });
    for (mode, seed) in [(Mode::PushPull, 3), (Mode::PushPull, 4), (Mode::Pull, 1)] {
        let setup = Setup {
            loss: 0.5,
            mode,
            seed,
            ..nodes(60)
        };
        let outcome = play(join, &setup);
        assert_eq!(figure(&outcome, "wrong_down"), 0.0, "{mode:?} {seed}");
        assert!(figure(&outcome, "converged_s") <= 100.0, "{mode:?} {seed}");
    }
}

#[test]
fn steady_traffic_is_flat_and_small_at_any_size() {
    let steady = Scenario::Steady(Steady {
        warm_up: 20 * SECOND,
        lasts: 20 * SECOND,
    });
    for size in [5, 50] {
        let outcome = play(steady, &nodes(size));
        assert!(figure(&outcome, "bytes_per_node_per_s") <= 600.0);
        assert_eq!(figure(&outcome, "wrong_down"), 0.0);
    }
}

#[test]
fn a_write_spreads_within_a_few_rounds_with_rounds_alone() {
    let spread = Scenario::Spread(Spread {
        to: Place::Attribute,
        warm_up: 10 * SECOND,
        writes: 20,
        limit: 60 * SECOND,
    });
    let setup = Setup {
        dissemination: Dissemination::Periodic,
        ..nodes(10)
    };
    let outcome = play(spread, &setup);
    assert_eq!(figure(&outcome, "unfinished"), 0.0);
    // The limit of synchronous rounds is 3 at the 99th percentile; see `--help` for what a round is.
    assert!(figure(&outcome, "rounds_p99") <= 4.0);
    assert!(
        figure(&outcome, "payloads_per_node") >= 0.9,
        "everybody gets it once"
    );
}

#[test]
fn a_crash_is_seen_by_all_within_seconds() {
    let crash = Scenario::Crash(Crash {
        warm_up: 30 * SECOND,
        victims: 1,
        limit: 60 * SECOND,
    });
    let outcome = play(crash, &nodes(10));
    assert!(figure(&outcome, "detect_last_s") <= 6.0);
    assert_eq!(figure(&outcome, "detected_share"), 1.0);
    assert_eq!(figure(&outcome, "wrong_down"), 0.0);
}

/// The seeds are of histories with splits after which a death once took 8 to 54 s.
#[test]
fn a_death_is_told_in_time_whatever_came_before() {
    let histories = Scenario::Histories(Histories {
        warm_up: 20 * SECOND,
        limit: 60 * SECOND,
    });
    for (size, seeds) in [
        (3, &[1, 2, 32, 103, 143, 167][..]),
        (10, &[1, 2, 157, 251][..]),
        (50, &[225][..]),
    ] {
        for &seed in seeds {
            let setup = Setup {
                seed,
                ..nodes(size)
            };
            // Each flap after the first doubles the patience, twice at most; a death that takes longer is a violation.
            let outcome = play(histories, &setup);
            assert_eq!(figure(&outcome, "never"), 0.0, "{size}, {seed}");
            let flaps = figure(&outcome, "flaps");
            let told = figure(&outcome, "told_last_s");
            assert!(flaps > 1.0 || told <= 6.0, "{told} s: {size}, {seed}");
        }
    }
}

#[test]
fn a_healed_partition_is_forgotten_and_both_writes_are_everywhere() {
    let partition = Scenario::Partition(Partition {
        warm_up: 30 * SECOND,
        smaller: 3,
        lasts: 30 * SECOND,
        limit: 60 * SECOND,
    });
    let outcome = play(partition, &nodes(10));
    assert!(figure(&outcome, "heal_s") <= 10.0);
    assert!(figure(&outcome, "keys_everywhere_s") <= 10.0);
}

#[test]
fn a_restarted_node_is_recognised_at_once() {
    let restart = Scenario::Restart(Restart {
        warm_up: 10 * SECOND,
        away: 10 * MILLI,
        limit: 60 * SECOND,
    });
    // Of 100, the table comes in several datagrams, and the last may come first. Of ten, one brings
    // more members than are taken from it at once. Of three, a node is told of its own earlier life.
    for (size, seeds) in [(3, 1..=4), (10, 1..=4), (100, 8..=10)] {
        for seed in seeds {
            let setup = Setup {
                seed,
                ..nodes(size)
            };
            let outcome = play(restart, &setup);
            assert!(figure(&outcome, "seen_last_s") <= 0.3, "{size}, {seed}");
            assert_eq!(figure(&outcome, "old_after_new"), 0.0);
        }
    }
}

#[test]
fn the_same_run_gives_the_same_figures_and_the_same_trace() {
    let join = Scenario::Join(Join { limit: 60 * SECOND });
    let (one, other) = (play(join, &nodes(12)), play(join, &nodes(12)));
    assert_eq!(one, other);
    let setup = Setup {
        seed: 2,
        ..nodes(12)
    };
    assert_ne!(one.trace, play(join, &setup).trace);
}
