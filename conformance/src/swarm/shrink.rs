//! Smaller plans that still fail.

use super::{Exploration, Failure, Plan, Recording, explore};

/// Leaves out one episode after another, as long as the plan still fails in the same way.
///
/// Plays at most `budget` plans. Gives the smallest one found, and what came of it.
#[must_use]
pub fn shrink(plan: &Plan, failure: &Failure, budget: usize) -> (Plan, Option<Exploration>) {
    shrink_with(plan, failure, budget, |plan| explore(plan, Recording::Off))
}

fn shrink_with(
    plan: &Plan,
    failure: &Failure,
    budget: usize,
    explore: impl Fn(&Plan) -> Exploration,
) -> (Plan, Option<Exploration>) {
    let mut smallest = plan.clone();
    let mut result = None;
    let mut left = budget;
    loop {
        let numbers = smallest.numbers();
        let mut smaller = None;
        for &leave_out in numbers.iter().rev() {
            if left == 0 {
                return (smallest, result);
            }
            left = left.saturating_sub(1);
            let rest: Vec<usize> = numbers
                .iter()
                .copied()
                .filter(|&n| n != leave_out)
                .collect();
            let candidate = smallest.only(&rest);
            let came = explore(&candidate);
            if came.failure.as_ref().is_some_and(|f| f.resembles(failure)) {
                smaller = Some((candidate, came));
                break;
            }
        }
        match smaller {
            Some((candidate, came)) => {
                smallest = candidate;
                result = Some(came);
            }
            None => return (smallest, result),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Time, TraceHash};

    #[test]
    fn a_failing_plan_is_shrunk_to_the_episodes_it_takes() {
        let plan = (0..)
            .map(Plan::draw)
            .find(|plan| plan.episodes.len() >= 8)
            .unwrap();
        let numbers = plan.numbers();
        let needed = [numbers[2], numbers[5]];
        let failure = Failure::Panic("x".to_owned());
        let fake = |plan: &Plan| Exploration {
            failure: needed
                .iter()
                .all(|n| plan.numbers().contains(n))
                .then(|| failure.clone()),
            rest: None,
            told: None,
            ended: Time::START,
            steps: 0,
            trace: TraceHash::default(),
            lines: Vec::new(),
        };
        let (smallest, _) = shrink_with(&plan, &failure, 1000, fake);
        let mut left = smallest.numbers();
        left.sort_unstable();
        let mut needed = needed;
        needed.sort_unstable();
        assert_eq!(left, needed);
    }
}
