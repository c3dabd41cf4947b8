//! What follows from an input: what it has made stale is derived anew before it is done with.

use core::time::Duration;

use super::timers::Timer;
use super::{Node, Standing};
use crate::failure::observation::Observation;
use crate::time::{Instant, part};

/// How often verdicts are drawn in an interval, at most: when half a cluster falls, votes come in by
/// the hundred.
const BREATHS: u32 = 50;
/// Contested members about whom verdicts are drawn as often as that. About more it is less often, so that
/// half of a large cluster may fall without taking all of a core; with 500 it is every tenth of an interval.
const CONTESTED: usize = 100;

/// What must be derived anew before an input is done with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stale {
    pub(super) neighbours: bool,
    /// An observation may be due earlier than the timer says. That one is due later needs no
    /// care: the timer then rings for nothing.
    pub(super) deadlines: bool,
    pub(super) verdicts: bool,
    pub(super) ballots: bool,
}

impl Stale {
    pub(super) const ALL: Self = Self {
        neighbours: true,
        deadlines: true,
        verdicts: true,
        ballots: true,
    };
}

impl Node {
    /// Derives anew what an input has made stale. Each can make the others stale, but a verdict
    /// only ever follows new facts, so this ends; the bound guards against a mistake in here.
    pub(super) fn settle(&mut self, now: Instant) {
        // Another input may come in before the timer is handled.
        self.stale.verdicts |= self.timers.take_due(Timer::Vote, now);
        if core::mem::take(&mut self.outlives) {
            self.begin_another_life(now);
        }
        let mut deferred = false;
        for _ in 0..8 {
            let Stale {
                neighbours,
                deadlines,
                verdicts,
                ballots,
            } = core::mem::take(&mut self.stale);
            let neighbours = neighbours | self.table.take_regrouped();
            if neighbours {
                self.refresh_neighbours(now);
            }
            if verdicts && now < self.judges_next {
                deferred = true;
            } else if verdicts {
                let contested = self.judge(now).div_ceil(CONTESTED).max(1);
                let breath = part(self.config.interval, BREATHS);
                let breath = breath.saturating_mul(u32::try_from(contested).unwrap_or(u32::MAX));
                self.judges_next = now.saturating_add(breath);
            }
            if ballots {
                self.publish_ballots(now);
            }
            if deadlines {
                self.schedule_observations(now);
            }
            if !(neighbours || deadlines || verdicts || ballots) {
                break;
            }
        }
        self.stale.verdicts |= deferred;
        if self.standing == Standing::Left {
            return;
        }
        let deferred = deferred.then_some(self.judges_next);
        let counts = self.votes.next(now);
        self.timers
            .set(Timer::Vote, deferred.into_iter().chain(counts).min());
        self.review_agreements();
    }

    fn schedule_observations(&mut self, now: Instant) {
        let after_now = now.saturating_add(Duration::from_nanos(1));
        let due = self
            .observations
            .iter()
            .filter_map(Observation::deadline)
            .min();
        self.timers
            .set(Timer::Observation, due.map(|due| due.max(after_now)));
    }
}
