//! A few random schedules over replicas of the shared map on every test run; the binary `map` plays
//! as many as there is time for. Without one of the rules, the same schedules must fail.

use conformance::map::{Budget, Missing, REPAIR, ROOM, Score, explore, play};

const SCHEDULES: u64 = 1_500;

#[test]
fn nothing_comes_back_nothing_is_lost_and_all_agree() {
    for seed in [1, REPAIR, ROOM] {
        let tally = Score::of(seed, SCHEDULES, Missing::Nothing, true);
        assert!(
            tally.failures.is_empty(),
            "{tally}\ncargo run --release -p conformance --bin map -- --seed {seed} --schedules {SCHEDULES}"
        );
    }
}

/// Seeds that once failed.
#[test]
fn schedules_that_once_failed_pass() {
    // Half of a write was told as half of another: 23_466. What a forgotten log had killed lived on
    // elsewhere: 116_598, 145_937, 290_403. A refused log's writes escaped their deletes: 4_399.
    // A write hid that its writer had collected a delete: 2_632_623. Lists made anew killed what was
    // collected since the floors were told: 3_348_307. Collecting a delete deleted what was written since:
    // 50_000_083; what was written in the same millisecond: 60_345_673; and what its origin keeps beside:
    // 400_332_479.
    for seed in [
        4_399,
        23_466,
        116_598,
        145_937,
        151_410,
        290_403,
        606_308,
        979_703,
        2_632_623,
        3_348_307,
        50_000_083,
        60_345_673,
        400_332_479,
        REPAIR + 2_343,
        REPAIR + 2_968,
        REPAIR + 10_001_964,
        REPAIR + 10_005_830,
    ] {
        assert_eq!(play(seed, Missing::Nothing), None, "seed {seed}");
    }
}

/// Seeds that show what each rule is for; each passes with all rules in place. At least one of a
/// rule's must fail without it.
#[test]
fn without_any_of_the_rules_schedules_fail() {
    for (missing, seeds) in SEEDS {
        let fails = seeds.iter().any(|seed| play(*seed, missing).is_some());
        assert!(fails, "without {} nothing failed", missing.name());
        for seed in seeds {
            assert_eq!(play(*seed, Missing::Nothing), None, "seed {seed}");
        }
    }
}

const SEEDS: [(Missing, &[u64]); 9] = [
    (Missing::Lists, &[109, REPAIR + 155]),
    (Missing::AllOrigins, &[122, REPAIR + 155]),
    (Missing::Contexts, &[8, REPAIR + 167]),
    (Missing::Atomic, &[16, REPAIR + 40]),
    (Missing::Causal, &[21_506, REPAIR + 24_145]),
    (Missing::Gaps, &[46, REPAIR + 194]),
    (Missing::Names, &[122, REPAIR + 9_217]),
    (Missing::Graves, &[457, REPAIR + 221]),
    (Missing::Deaths, &[REPAIR + 144_884]),
];

/// All states that three replicas come to by a write, a delete, a collection and a crash, with any
/// deltas in between; more of each by `map --explore`.
#[test]
fn every_state_that_few_acts_lead_to_is_sound() {
    let budget = Budget {
        writes: 1,
        deletes: 1,
        collections: 1,
        crashes: 1,
        burials: 0,
    };
    let explored = explore(budget, Missing::Nothing);
    assert_eq!(explored.failure, None, "{explored:?}");
    assert_eq!(explored.states, 10_548);
    let explored = explore(budget, Missing::Lists);
    assert!(explored.failure.is_some(), "without lists nothing failed");
}
