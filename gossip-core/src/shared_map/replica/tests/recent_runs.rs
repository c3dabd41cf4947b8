//! Runs that come early, twice, or not at all.

use super::*;
use crate::map::{RecentRuns, Wanted, read_wanted, write_wanted};
use alloc::vec::Vec;
use proptest::prelude::*;

/// A run that owns its bytes.
#[derive(Clone, Debug)]
struct Sent {
    origin: Origin,
    after: u64,
    upto: u64,
    writes: Vec<u8>,
}

impl Sent {
    fn run(&self) -> Run<'_> {
        Run {
            origin: self.origin,
            after: self.after,
            upto: self.upto,
            writes: &self.writes,
        }
    }
}

/// What a replica has written since the last time, one run for each `limit` bytes.
fn pushed(map: &mut Map, limit: usize) -> Vec<Sent> {
    let mut buffer = Vec::new();
    let mut sent = Vec::new();
    while let Some(run) = map.poll_push(limit, limit, &mut buffer) {
        sent.push(Sent {
            origin: run.origin,
            after: run.after,
            upto: run.upto,
            writes: run.writes.to_vec(),
        });
    }
    sent
}

/// Runs of three writers, each of which replaces what the others wrote.
fn chain(writes: usize) -> (Vec<Sent>, Map) {
    let mut writers = [map(1), map(2), map(3)];
    let mut sent = Vec::new();
    for (n, time) in (0..writes).zip(1..) {
        let writer = &mut writers[n % 3];
        put(writer, time, if n % 2 == 0 { "a" } else { "b" }, "v");
        for run in pushed(writer, 1000) {
            for other in &mut writers {
                other.apply_push(&run.run());
            }
            sent.push(run);
        }
    }
    let [first, ..] = writers;
    (sent, first)
}

#[test]
fn runs_that_have_seen_parts_of_each_other_are_applied() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    put(&mut a, 1, "k", "a1");
    learn(&mut b, &a);
    put(&mut b, 2, "k", "b1");
    learn(&mut a, &b);
    put(&mut a, 3, "k", "a2");
    learn(&mut b, &a);
    put(&mut b, 4, "k", "b2");
    let mut runs = RecentRuns::default();
    let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
    let first = a.poll_push(1000, 1000, &mut of_a).unwrap();
    let second = b.poll_push(1000, 1000, &mut of_b).unwrap();
    assert_eq!((first.upto, second.upto), (2, 2));
    let early = Pushed::Early(b.own(), 1);
    assert_eq!(runs.take(&mut c, &first, Some(0)).pushed, early);
    assert_eq!(c.frontier(a.own()), 1, "its beginning is applied");
    assert_eq!(
        runs.take(&mut c, &second, Some(0)).pushed,
        Pushed::Early(a.own(), 2)
    );
    assert_eq!(c.summary(), b.summary());
    assert!(!runs.has_early());
    runs.check(&c);
}

#[test]
fn an_early_run_is_applied_the_moment_that_what_it_waits_for_is_known() {
    let (sent, truth) = chain(6);
    let (mut taker, mut runs) = (map(9), RecentRuns::default());
    for run in sent.iter().rev() {
        assert!(taker.summary() != truth.summary());
        let taken = runs.take(&mut taker, &run.run(), Some(0));
        assert!(taken.is_first, "it is passed on, early or not");
        // The first two runs build on nothing.
        let is_early = run.after > 0 || run.origin == origin(3, 1);
        assert_eq!(matches!(taken.pushed, Pushed::Early(..)), is_early);
        runs.check(&taker);
    }
    assert_eq!(taker.summary(), truth.summary());
    assert!(!runs.has_early());
    let again = runs.take(&mut taker, &sent[0].run(), Some(0));
    assert!(!again.is_first, "it has come down this tree before");
    assert!(runs.take(&mut taker, &sent[0].run(), Some(1)).is_first);
}

#[test]
fn what_is_missing_is_named_exactly() {
    let mut writer = map(1);
    let mut sent = Vec::new();
    for n in 1..=9 {
        put(&mut writer, n, "k", "v");
        sent.append(&mut pushed(&mut writer, 1000));
    }
    let (mut taker, mut runs) = (map(9), RecentRuns::default());
    for n in [0, 3, 4, 7] {
        runs.take(&mut taker, &sent[n].run(), None);
    }
    let origin = writer.own();
    let hole = |after, upto| Wanted {
        origin,
        after,
        upto,
    };
    assert_eq!(runs.missing(&taker), [hole(1, 3), hole(5, 7)]);
    assert!(runs.note_told(&taker, origin, 9));
    assert_eq!(runs.missing(&taker), [hole(1, 3), hole(5, 7), hole(8, 9)]);
    assert!(!runs.note_told(&taker, origin, 1), "that is known");
    for n in [1, 2, 5, 6, 8] {
        runs.take(&mut taker, &sent[n].run(), None);
    }
    assert_eq!(runs.missing(&taker), []);
    assert_eq!(taker.summary(), writer.summary());
}

#[test]
fn a_peer_gets_the_runs_that_it_asks_for_and_dead_writes_with_them() {
    let (mut writer, mut other) = (map(1), map(2));
    put(&mut writer, 1, "k", "first");
    let first = pushed(&mut writer, 1000);
    other.apply_push(&first[0].run());
    put(&mut other, 2, "k", "second");
    let second = pushed(&mut other, 1000);
    let (mut taker, mut runs) = (map(9), RecentRuns::default());
    let mut kept = RecentRuns::default();
    kept.keep_own(&first[0].run());
    writer.apply_push(&second[0].run());
    runs.take(&mut taker, &second[0].run(), None);
    let mut buffer = [0; 100];
    let len = write_wanted(&runs.missing(&taker), &mut buffer);
    let answer: Vec<Sent> = read_wanted(&buffer[..len])
        .unwrap()
        .flat_map(|wanted| kept.holding(wanted))
        .map(|run| Sent {
            origin: run.origin,
            after: run.after,
            upto: run.upto,
            writes: run.writes.to_vec(),
        })
        .collect();
    assert_eq!(answer.len(), 1);
    runs.take(&mut taker, &answer[0].run(), None);
    assert_eq!(get(&taker, "k").unwrap(), "second");
    assert_eq!(taker.summary(), writer.summary());
}

#[test]
fn a_write_that_another_writer_has_replaced_is_pushed_all_the_same() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    put(&mut a, 1, "k", "first");
    // b learns it by a delta before a pushes it, and replaces it.
    learn(&mut b, &a);
    put(&mut b, 2, "k", "second");
    learn(&mut a, &b);
    put(&mut a, 3, "other", "third");
    let sent = pushed(&mut a, 1000);
    assert_eq!((sent.len(), sent[0].upto), (1, 2));
    assert_eq!(c.apply_push(&sent[0].run()), Pushed::Applied);
    assert_eq!(get(&c, "k").unwrap(), "first");
}

#[test]
fn early_runs_that_never_fit_are_bounded_and_dropped_in_time() {
    let (mut taker, mut runs) = (map(9), RecentRuns::default());
    let mut writer = map(1);
    put(&mut writer, 1, "k", &"v".repeat(900));
    let sent = pushed(&mut writer, 2000).remove(0);
    for n in 0..2000 {
        let forged = Sent {
            origin: Origin {
                id: NodeId::from_u64(1000 + n),
                ..sent.origin
            },
            after: 7,
            upto: 8,
            ..sent.clone()
        };
        runs.take(&mut taker, &forged.run(), Some(0));
    }
    assert!(runs.bytes() <= 1 << 20 && runs.early_bytes() <= 1 << 19);
    runs.check(&taker);
    assert!(
        runs.take(&mut taker, &sent.run(), Some(0)).is_first,
        "others find room"
    );
    for _ in 0..17 {
        runs.begin_round(&mut taker);
    }
    assert_eq!((runs.bytes(), runs.missing(&taker).len()), (0, 0));
    runs.check(&taker);
}

#[test]
fn an_early_run_is_not_told_of_and_once_dropped_is_not_asked_for_again() {
    let (mut taker, mut runs) = (map(9), RecentRuns::default());
    let (sent, _) = chain(3);
    let (applied, early) = (&sent[1], &sent[2]);
    runs.take(&mut taker, &applied.run(), Some(0));
    assert!(runs.note_told(&taker, early.origin, early.upto));
    runs.take(&mut taker, &early.run(), Some(0));
    assert!(runs.has_early());
    assert_eq!(runs.last_of_next(None), Some((applied.origin, 1)));
    assert_eq!(runs.last_of_next(Some(applied.origin)), None);
    // What it builds on never comes. Peers that have asked for the run meanwhile hold it for longer, so asking
    // for it again would keep it going round for ever.
    for _ in 0..17 {
        runs.begin_round(&mut taker);
    }
    assert_eq!(runs.missing(&taker), []);
    runs.check(&taker);
}

#[test]
fn an_early_run_is_tried_again_after_a_delta_and_in_each_round() {
    for is_told in [true, false] {
        let (sent, truth) = chain(6);
        let (mut taker, mut runs) = (map(9), RecentRuns::default());
        runs.take(&mut taker, &sent[5].run(), None);
        let mut other = map(8);
        for run in &sent[..5] {
            other.apply_push(&run.run());
        }
        learn(&mut taker, &other);
        assert!(runs.has_early());
        if is_told {
            runs.release_all(&mut taker);
        } else {
            runs.begin_round(&mut taker);
        }
        assert_eq!(taker.summary(), truth.summary());
        runs.check(&taker);
    }
}

proptest! {
    /// However runs are lost, doubled and reordered, asking for what is missing brings it all.
    #[test]
    fn asking_for_what_is_missing_ends_with_everything(
        order in proptest::collection::vec(0..40_usize, 0..80),
    ) {
        let (sent, truth) = chain(40);
        let mut kept = RecentRuns::default();
        for run in &sent {
            kept.keep_own(&run.run());
        }
        let (mut taker, mut runs) = (map(9), RecentRuns::default());
        for n in order {
            runs.take(&mut taker, &sent[n].run(), Some(0));
            runs.check(&taker);
        }
        for run in &sent {
            runs.note_told(&taker, run.origin, run.upto);
        }
        for _ in 0..3 {
            for wanted in runs.missing(&taker) {
                for run in kept.holding(wanted) {
                    runs.take(&mut taker, &run, None);
                }
            }
            runs.check(&taker);
        }
        prop_assert_eq!(taker.summary(), truth.summary());
        prop_assert!(!runs.has_early());
        taker.check();
    }
}
