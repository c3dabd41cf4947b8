//! A few random clusters on every test run; `simulate swarm` plays as many as there is time for.

use conformance::swarm::{Plan, Recording, explore};

const SEEDS: u64 = 40;

/// Seeds that once failed:
/// - 709, 6808: most had removed a dead member, and who still showed it waited for their votes;
/// - 13592, 15003: what is left of a removed member was asked to continue what nobody held;
/// - 20485: the one member that was missing came alone, and was too many for its datagram;
/// - 15428: a log of many datagrams, which overtook one another, never arrived, and was asked for
///   without end;
/// - 9457: a node that had left removed itself after a while, and rejoined;
/// - 13198: an answer of many datagrams was taken for an endless one;
/// - 1693: of values of one key that died together, the change was told for each;
/// - 3215: a delta of the shared map was ended by a datagram from before what its beginning left out
///   was replaced;
/// - 920136: who was suspended while others removed a dead member took the end of their votes for a
///   change of mind, and showed it up for ever.
const ONCE_FAILED: [u64; 11] = [
    709, 1693, 3215, 6808, 9457, 13_198, 13_592, 15_003, 15_428, 20_485, 920_136,
];

#[test]
fn random_clusters_under_random_faults_come_to_rest_and_agree() {
    for seed in (1..=SEEDS).chain(ONCE_FAILED) {
        let plan = Plan::draw(seed);
        let came = explore(&plan, Recording::Off);
        if let Some(failure) = came.failure {
            panic!(
                "{plan}\n{}\nsimulate swarm --seed {seed} --seeds 1",
                failure.describe(&plan)
            );
        }
    }
}

#[test]
fn a_plan_plays_the_same_every_time_recorded_or_not() {
    for seed in [3, 7] {
        let plan = Plan::draw(seed);
        let once = explore(&plan, Recording::Off);
        let again = explore(&plan, Recording::On);
        assert_eq!(once.trace, again.trace);
        assert_eq!(once.steps, again.steps);
        assert!(!again.lines.is_empty());
    }
}
