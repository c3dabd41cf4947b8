//! A few random schedules over replicas of the shared map on every test run; the binary `map` plays
//! as many as there is time for. Without one of the rules, the same schedules must fail.

use conformance::map::{Missing, Tally, play};

const SCHEDULES: u64 = 1_500;

#[test]
fn nothing_comes_back_nothing_is_lost_and_all_agree() {
    let tally = Tally::of(1, SCHEDULES, Missing::Nothing, true);
    assert!(
        tally.failures.is_empty(),
        "{tally}\ncargo run --release -p conformance --bin map -- --schedules {SCHEDULES}"
    );
}

/// Seeds that once failed.
#[test]
fn what_once_failed_does_not_fail_again() {
    for seed in [151_410, 606_308] {
        assert_eq!(play(seed, Missing::Nothing), None, "seed {seed}");
    }
}

/// Seeds that show what each rule is for; each passes with all rules in place.
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

const SEEDS: [(Missing, &[u64]); 5] = [
    (Missing::Lists, &[19]),
    (Missing::AllOrigins, &[19]),
    (Missing::Contexts, &[49, 899]),
    (Missing::Atomic, &[185]),
    (Missing::Causal, &[4162, 9349]),
];
