use super::*;
use crate::hlc::Stamp;
use proptest::prelude::*;

fn generation(bits: u64) -> Generation {
    Generation::new(Stamp::from_bits(bits))
}

#[test]
fn a_write_replaces_the_earlier_write_of_its_key() {
    let mut log = Log::new(generation(1));
    log.write(0, b"a", Some(b"1"));
    log.write(0, b"b", Some(b"2"));
    let predicted = log.size_with(b"a", Some(b"3"));
    log.write(0, b"a", Some(b"3"));
    assert_eq!(log.size(), predicted);
    assert_eq!(
        (log.get(b"a"), log.get(b"b")),
        (Some(&b"3"[..]), Some(&b"2"[..]))
    );
    assert_eq!(log.entries().map(|e| e.version).collect::<Vec<_>>(), [2, 3]);
    log.write(0, b"a", None);
    assert_eq!((log.get(b"a"), log.frontier()), (None, 4));
}

#[test]
fn a_replica_below_the_floor_is_served_everything() {
    let mut log = Log::new(generation(1));
    log.write(0, b"a", Some(b"1"));
    let mut replica = Log::default();
    replica.apply(&log.claim_after(0));
    log.write(10, b"a", None);
    log.write(10, b"b", Some(b"2"));
    assert!(log.has_tombstone(20) && !log.has_tombstone(9));
    log.collect(20);
    assert!(!log.has_tombstone(20));
    assert_eq!((log.floor(), log.entries().count()), (2, 1));
    assert_eq!(log.serve_from(replica.generation(), replica.frontier()), 0);
    replica.apply(&log.claim_after(0));
    assert_eq!(replica.get(b"a"), None, "what was deleted stays deleted");
    assert_eq!(
        replica.floor(),
        2,
        "the replica does not complete what knows less, either"
    );
}

#[test]
fn the_earliest_tombstones_go_and_replicas_drop_what_the_origin_has_collected() {
    let mut log = Log::new(generation(1));
    for key in [b"a", b"b", b"c"] {
        log.write(0, key, Some(b"1"));
        log.write(0, key, None);
    }
    let mut replica = Log::default();
    replica.apply(&log.claim_after(0));
    assert_eq!((log.size(), log.dead_size()), (15, 15));
    log.collect_earliest(0);
    assert_eq!((log.floor(), log.dead_size()), (0, 15));
    log.collect_earliest(6);
    assert_eq!((log.floor(), log.dead_size()), (4, 5));
    log.write(0, b"d", Some(b"1"));
    replica.apply(&log.claim_after(replica.frontier()));
    replica.check();
    assert_eq!((replica.floor(), replica.dead_size()), (4, 5));
    assert_eq!(replica.entries().count(), 2);
    log.collect_earliest(1000);
    assert_eq!((log.floor(), log.dead_size()), (6, 0));
}

#[test]
fn a_delta_reaches_back_over_what_is_dead_but_not_below_the_floor() {
    let mut log = Log::new(generation(1));
    log.write(0, b"a", Some(b"1"));
    let mut replica = log.clone();
    for _ in 0..3 {
        log.write(10, b"b", Some(b"2"));
    }
    assert_eq!(log.reach_back(3), 1, "two writes of b are dead");
    assert_eq!((log.reach_back(1), log.reach_back(0)), (1, 0));
    replica.apply(&log.claim_after(log.reach_back(3)));
    let missed = "two writes were missed, and both are dead";
    assert_eq!(
        (replica.frontier(), &replica.run),
        (4, &log.run),
        "{missed}"
    );
    log.write(10, b"c", None);
    log.collect(20);
    log.write(30, b"b", Some(b"3"));
    assert_eq!(
        (log.floor(), log.reach_back(5), log.reach_back(4)),
        (5, 5, 0)
    );
}

#[test]
fn a_newer_generation_replaces_everything() {
    let mut log = Log::new(generation(1));
    log.write(0, b"a", Some(b"1"));
    log.write(0, b"b", None);
    let mut replica = Log::default();
    replica.apply(&log.claim_after(0));
    log.reissue(generation(2), 5);
    assert_eq!(log.serve_from(replica.generation(), replica.frontier()), 0);
    replica.apply(&log.claim_after(0));
    assert_eq!(
        (replica.generation(), replica.frontier()),
        (generation(2), 1)
    );
    assert_eq!(replica.get(b"a"), Some(&b"1"[..]));
}

fn ending(number: u64) -> Vec<u8> {
    let incarnation_start = generation(1);
    broadcast::BroadcastNumber {
        incarnation_start,
        number,
    }
    .encode()
}

#[test]
fn an_end_of_broadcasts_overwrites_them_and_leaves_nothing_behind() {
    let mut log = Log::new(generation(1));
    log.write(0, b"a", Some(b"1"));
    for number in 1..=3 {
        log.write(0, &broadcast::key(number), Some(b"news"));
    }
    let mut replica = Log::default();
    replica.apply(&log.claim_after(0));
    let numbers = |log: &Log| {
        let keys = log.entries().filter_map(|e| broadcast::number(e.key));
        keys.collect::<Vec<_>>()
    };
    assert_eq!(numbers(&replica), [1, 2, 3]);

    log.write(0, broadcast::OVER, Some(&ending(2)));
    assert_eq!((numbers(&log), log.floor()), (std::vec![3], 0));
    // A replica that knew the broadcasts and one that knew none come to hold the same.
    replica.apply(&log.claim_after(replica.frontier()));
    assert_eq!(replica.run, log.run);
    let mut late = Log::default();
    late.apply(&log.claim_after(0));
    assert_eq!(late.run, log.run);

    log.write(0, broadcast::OVER, Some(&ending(3)));
    assert_eq!(log.entries().count(), 2, "a, and the end of broadcasts");
}

proptest! {
    /// In whatever order broadcasts, ends of broadcasts and other writes come, and wherever the
    /// replica stood before: one claim makes it hold what the origin holds, byte for byte.
    #[test]
    fn after_one_claim_a_replica_holds_the_same_broadcasts(
        steps in proptest::collection::vec((0_u8..4, 0_u64..5), 1..60),
        copy_at in 0_usize..60,
    ) {
        let mut log = Log::new(generation(1));
        let mut replica = Log::default();
        let (mut last, mut over) = (0_u64, 0_u64);
        for (step, (what, by)) in steps.into_iter().enumerate() {
            match what {
                0 => {
                    log.write(0, b"a", Some(&[7]));
                }
                1 => {
                    over = last.min(over + by);
                    log.write(0, broadcast::OVER, Some(&ending(over)));
                }
                _ => {
                    last += 1;
                    log.write(0, &broadcast::key(last), Some(b"news"));
                }
            }
            if step == copy_at {
                replica.apply(&log.claim_after(0));
            }
        }
        let from = log.serve_from(replica.generation(), replica.frontier());
        replica.apply(&log.claim_after(from));
        prop_assert_eq!(replica.frontier(), log.frontier());
        prop_assert_eq!(&replica.run, &log.run);
        let held = log.entries().filter_map(|e| broadcast::number(e.key));
        prop_assert!(held.eq(over + 1..=last));
        log.check();
        replica.check();
    }

    /// Whatever was written and collected, and wherever the replica stood before: one claim makes
    /// it show what the origin shows.
    #[test]
    fn one_claim_brings_a_replica_up_to_date(
        writes in proptest::collection::vec((0_u8..6, any::<Option<u8>>(), any::<bool>()), 1..60),
        copy_at in 0_usize..60,
    ) {
        let mut log = Log::new(generation(1));
        let mut replica = Log::default();
        for (step, (key, value, collect)) in writes.into_iter().enumerate() {
            let age = u64::try_from(step).unwrap();
            let value = value.map(|v| [v]);
            log.write(age, &[key + 32], value.as_ref().map(|v| &v[..]));
            if collect {
                log.collect(age.saturating_sub(3));
            }
            if step == copy_at {
                replica.apply(&log.claim_after(0));
            }
        }
        let from = log.serve_from(replica.generation(), replica.frontier());
        replica.apply(&log.claim_after(from));
        prop_assert_eq!(replica.frontier(), log.frontier());
        for key in 32..38 {
            prop_assert_eq!(replica.get(&[key]), log.get(&[key]));
        }
        log.check();
        replica.check();
    }
}
