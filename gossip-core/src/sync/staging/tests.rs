//! Claims that come in parts, in any order, twice or never.

use super::*;
use crate::hlc::Stamp;
use crate::rng::below;
use crate::sync::accept::tests::{ID as ORIGIN, delta};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const MAX: usize = 10_000;

fn log(writes: u64) -> Log {
    let mut log = Log::new(Generation::new(Stamp::from_bits(1)));
    for n in 0..writes {
        let [.., key] = n.to_be_bytes();
        log.write(0, &[key % 16 + 32], Some(&[key]));
    }
    log
}

#[test]
fn a_log_whose_floor_is_above_its_first_part_is_put_together_all_the_same() {
    let mut log = log(5);
    for key in [b"a", b"b", b"c"] {
        log.write(0, key, Some(b"value"));
    }
    log.write(0, b"a", None);
    log.collect(0);
    log.write(0, b"d", Some(b"value"));
    assert_eq!((log.floor(), log.frontier()), (9, 10));
    let mut staging = Staging::default();
    let first = staging.accept(None, &delta(&log, 0, 6), Sent::Alone, MAX);
    assert!(matches!(first, Acceptance::Kept));
    let second = staging.accept(None, &delta(&log, 6, 10), Sent::Alone, MAX);
    assert!(matches!(second, Acceptance::Completed(_)));
}

#[test]
fn what_lies_below_a_floor_is_no_base_for_what_follows() {
    // The replica holds "a". Its tombstone is collected elsewhere, so the rest of the log alone must not
    // be laid over what the replica holds.
    let mut log = log(5);
    log.write(0, b"a", Some(b"value"));
    let held = log.clone();
    log.write(0, b"a", None);
    log.collect(0);
    log.write(0, b"d", Some(b"value"));
    let mut staging = Staging::default();
    let rest = staging.accept(Some(&held), &delta(&log, 6, 8), Sent::Alone, MAX);
    assert!(matches!(rest, Acceptance::Gap));
}

#[test]
fn nothing_is_claimed_before_all_of_it_has_arrived() {
    let log = log(12);
    let mut staging = Staging::default();
    assert!(matches!(
        staging.accept(None, &delta(&log, 0, 5), Sent::Alone, MAX),
        Acceptance::Kept
    ));
    assert_eq!(
        staging.resume(ORIGIN, None).map(|begun| begun.upto),
        Some(5)
    );
    assert!(matches!(
        staging.accept(None, &delta(&log, 5, 9), Sent::Alone, MAX),
        Acceptance::Kept
    ));
    let Acceptance::Completed(staged) = staging.accept(None, &delta(&log, 9, 12), Sent::Alone, MAX)
    else {
        panic!("the claim is complete")
    };
    assert_eq!(staged.claim().run, log.after(0).rest());
    assert_eq!(staging.resume(ORIGIN, None), None);
}

#[test]
fn a_claim_is_resumed_with_a_peer_that_knows_more() {
    let older = log(12);
    let newer = log(20);
    let mut staging = Staging::default();
    staging.accept(None, &delta(&older, 0, 6), Sent::Alone, MAX);
    let Acceptance::Completed(staged) =
        staging.accept(None, &delta(&newer, 6, 20), Sent::Alone, MAX)
    else {
        panic!("the claim is complete")
    };
    let mut replica = Log::default();
    replica.apply(&staged.claim());
    for key in 32..48 {
        assert_eq!(
            replica
                .entries()
                .filter(|e| e.key == [key])
                .last()
                .unwrap()
                .value,
            newer.get(&[key])
        );
    }
}

#[test]
fn a_peer_that_knows_less_continues_it_and_one_that_knows_enough_completes_it() {
    let newer = log(20);
    let older = log(12);
    let mut staging = Staging::default();
    staging.accept(None, &delta(&newer, 0, 6), Sent::Alone, MAX);
    let more = staging.accept(None, &delta(&older, 6, 12), Sent::Alone, MAX);
    assert!(matches!(more, Acceptance::Kept), "as far as 12, of 20");
    let rest = staging.accept(None, &delta(&newer, 12, 20), Sent::Alone, MAX);
    assert!(matches!(rest, Acceptance::Completed(_)));
}

proptest! {
    /// Parts come to the log itself or to nothing: in any order, repeated, and from replicas that know
    /// more or less and have collected tombstones or not.
    #[test]
    fn parts_in_any_order_come_to_the_log(
        writes in proptest::collection::vec((0_u8..6, any::<bool>()), 1..30),
        collected in proptest::collection::vec(0_u64..30, 4),
        parts in proptest::collection::vec((0_usize..4, 0_u64..30, 1_u64..8), 0..60),
        shuffle in any::<u64>(),
    ) {
        // Four replicas. Each knows a quarter more than the one before, and has collected any tombstones.
        let mut replicas = Vec::new();
        let mut writer = Log::new(Generation::new(Stamp::from_bits(1)));
        for (n, (key, lives)) in writes.iter().enumerate() {
            let age = u64::try_from(n).unwrap();
            writer.write(age, &[key + 32], lives.then_some(&[*key]));
            if n % writes.len().div_ceil(4) == 0 || n + 1 == writes.len() {
                let mut replica = writer.clone();
                if let Some(age) = collected.get(replicas.len()) {
                    replica.collect(*age);
                }
                replicas.push(replica);
            }
        }
        let newest_at = replicas.len() - 1;
        let newest = replicas[newest_at].clone();
        let mut sent: Vec<(usize, u64, u64)> = parts
            .into_iter()
            .map(|(replica, after, len)| (replica % replicas.len(), after, len))
            .collect();
        let mut rng = ChaCha8Rng::seed_from_u64(shuffle);
        for at in (1..sent.len()).rev() {
            sent.swap(at, below(&mut rng, at + 1));
        }
        let mut staging = Staging::default();
        let mut held: Option<Log> = None;
        // At last a peer that knows everything is asked. What it sends arrives in order.
        let asked = (newest_at, u64::MAX, 3);
        for (replica, after, len) in sent.into_iter().chain([asked; 30]) {
            let log = &replicas[replica];
            let after = if after < u64::MAX {
                after
            } else if let Some(begun) = staging.resume(ORIGIN, held.as_ref()) {
                log.resume_from(begun.generation, begun.upto, begun.least_frontier)
            } else {
                held.as_ref().map_or(0, |held| log.serve_from(held.generation(), held.frontier()))
            };
            let upto = (after + len).min(log.frontier());
            if after >= upto {
                continue;
            }
            let delta = delta(log, after, upto);
            match staging.accept(held.as_ref(), &delta, Sent::InParts, MAX) {
                Acceptance::Whole(claim) => held.get_or_insert_default().apply(&claim),
                Acceptance::Completed(staged) => {
                    held.get_or_insert_default().apply(&staged.claim());
                }
                _ => continue,
            }
            let held = held.as_ref().unwrap();
            let mut truth = Log::new(held.generation());
            for (n, (key, lives)) in writes.iter().enumerate() {
                if u64::try_from(n).unwrap() < held.frontier() {
                    truth.write(0, &[key + 32], lives.then_some(&[*key]));
                }
            }
            for key in 32..38 {
                prop_assert_eq!(held.get(&[key]), truth.get(&[key]), "key {}", key);
            }
        }
        prop_assert_eq!(held.map_or(0, |log| log.frontier()), newest.frontier());
    }
}

#[test]
fn repeats_change_nothing_and_gaps_are_told() {
    let log = log(12);
    let mut staging = Staging::default();
    staging.accept(None, &delta(&log, 0, 5), Sent::Alone, MAX);
    assert!(matches!(
        staging.accept(None, &delta(&log, 0, 5), Sent::InParts, MAX),
        Acceptance::Stale
    ));
    assert!(matches!(
        staging.accept(None, &delta(&log, 0, 5), Sent::Alone, MAX),
        Acceptance::Again
    ));
    assert_eq!(
        staging.resume(ORIGIN, None).map(|begun| begun.upto),
        Some(5)
    );
    let mut fresh = Staging::default();
    assert!(matches!(
        fresh.accept(None, &delta(&log, 5, 12), Sent::Alone, MAX),
        Acceptance::Gap
    ));
    assert!(matches!(
        fresh.accept(Some(&log), &delta(&log, 0, 12), Sent::Alone, MAX),
        Acceptance::Stale
    ));
}

#[test]
fn what_waits_for_a_part_that_never_came_is_lacking_when_it_comes_again() {
    let (held, log) = (log(6), log(8));
    let mut staging = Staging::default();
    let news = delta(&log, 7, 8);
    let mut accept = |sent| match staging.accept(Some(&held), &news, sent, MAX) {
        Acceptance::Kept => "kept",
        Acceptance::Again => "again",
        _ => "else",
    };
    assert_eq!(accept(Sent::InParts), "kept");
    assert_eq!(accept(Sent::InParts), "again");
    assert_eq!(accept(Sent::Alone), "again");
}

#[test]
fn it_is_bounded() {
    let log = log(12);
    let mut staging = Staging::default();
    for n in 0..100 {
        let delta = Delta {
            origin: NodeId::from_u64(n),
            ..delta(&log, 0, 5)
        };
        assert!(matches!(
            staging.accept(None, &delta, Sent::Alone, MAX),
            Acceptance::Kept
        ));
    }
    assert_eq!(staging.partials.len(), MAX_PARTIAL);
    assert_eq!(staging.dropped(), 68);
    assert!(matches!(
        staging.accept(None, &delta(&log, 0, 5), Sent::Alone, 10),
        Acceptance::TooLarge
    ));
}
