//! How suspicious is this silence?
//!
//! A fixed timeout is wrong for every link but one. The phi accrual detector (Hayashibara, Défago,
//! Yared and Katayama, "The phi accrual failure detector", SRDS 2004) learns from the intervals
//! between past heartbeats how the next one is distributed, and says how improbable it is that it
//! comes even later than this:
//!
//! ```text
//! phi(elapsed) = -log10 P(next heartbeat later than elapsed)
//! ```
//!
//! Phi 8 is a chance of one in a hundred million. Thresholds on phi mean the same on every link; the
//! deadlines that they amount to follow the link.
//!
//! **Why Student's t.** The paper takes mean and deviation of the intervals as known. They are
//! estimated, from `n` intervals, and far out in the tail, where the thresholds lie, the error of
//! the estimate is what matters. The distribution of the *next* of `n + 1` normal intervals given the
//! first `n` is Student's t with `n - 1` degrees of freedom (the predictive distribution; Gelman et
//! al., "Bayesian Data Analysis", 3.2; it is the classical prediction interval as well):
//!
//! ```text
//! t = (elapsed - pause - mean) / (s * sqrt(1 + 1/n))
//! ```
//!
//! with the sample deviation `s` (over `n - 1`). It is honest with few intervals and normal with
//! many.
//!
//! **The floor.** `s` counts as at least `min_deviation`: eight equal intervals do not prove that a
//! link never jitters.
//!
//! **The pause.** `acceptable_pause` of every silence is forgiven: a lost heartbeat is no sample of
//! the link's jitter, and the distribution need not explain it.
//!
//! **Loss.** Heartbeats are counted, so loss is seen and not mistaken for jitter: where some are
//! missing between two that came, the interval counts as the mean of as many. In return the share
//! that is lost decides how long a run of missing ones is forgiven on top of the pause.
//!
//! **The prior.** What is known of a link before its first heartbeat is what the peer has promised:
//! one heartbeat each interval. So every link starts with eight pseudo-samples of one interval, and
//! each of the first eight real samples replaces one of them. From eight samples on, only what was
//! seen counts (R8). Replacing one at a time makes the takeover a slide like any other: the deadline
//! moves because of what was seen, never because a counter reached eight. How wide the pseudo-samples
//! lie depends on what the model makes of them. To Student's t eight equal ones say "known from a
//! few", and it keeps a wide berth by itself: with the defaults, 3.9 intervals to suspicion. The
//! normal model would take them at their word; its pseudo-samples deviate by half an interval. The
//! exponential model knows no deviation.
//!
//! **Deadlines.** For a given model, threshold and `n` the quantile is a constant, so the time at
//! which phi crosses the threshold is `pause + mean + quantile * s`: nothing has to poll phi. A
//! deadline is never later than `pause + 2.5 intervals + 5 s`.
//!
//! Invariants:
//! - Phi is finite, not negative, and rises with the silence.
//! - `phi(suspect_after) = suspect` and `phi(convict_after) = convict`, up to rounding, unless the
//!   longest silence granted comes first.
//! - With eight or more samples, phi is a function of the window and the silence alone.
//!
//! What is a sample is for the caller to say: an interval across a death, a restart or a pause of
//! this process itself is none, and must not be pushed.

use core::time::Duration;

use super::phi::{Quantiles, phi};
pub(crate) use super::window::Window;
use super::window::{Moments, micros};
use crate::config::PhiModel;

/// The fewest samples that are judged by themselves; up to here pseudo-samples fill the gap.
const FEWEST_SAMPLES: u8 = 8;

/// What all links of a node have in common: the model, the prior, the thresholds.
#[derive(Clone, Debug)]
pub(crate) struct Detector {
    model: PhiModel,
    prior: Prior,
    /// Seconds.
    floor: f64,
    /// Seconds.
    pause: f64,
    /// Seconds.
    interval: f64,
    suspect: Quantiles,
    convict: Quantiles,
}

/// The longest silence granted beyond the acceptable pause, whatever the model says: so many
/// intervals, and so many deviations. Few samples, or a window that holds an outage, would
/// otherwise grant seconds to minutes, while the burst of pings that follows a suspicion tells
/// jitter and loss from death in half a second. R8's variable link, silent for 4.5 s, is alive by
/// either measure.
const GRANTED_INTERVALS: f64 = 2.5;
const GRANTED_DEVIATIONS: f64 = 5.0;

/// So many deviations beyond the mean no regular heartbeat comes, or one in thirty thousand.
const OVERDUE_DEVIATIONS: f64 = 4.0;

/// A run of lost heartbeats is forgiven unless it is rarer than this.
const RARE_RUN: f64 = 0.01;
/// The longest run forgiven. A link that loses more than two in three is as good as dead.
const LONGEST_RUN: f64 = 12.0;

/// The pseudo-samples that stand in for missing ones, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Prior {
    mean: u32,
    deviation: u32,
}

/// What is believed of a link: statistics of intervals in seconds, the prior and the floor included.
struct Belief {
    n: u32,
    mean: f64,
    s: f64,
}

impl Detector {
    /// For windows of `window` samples and a heartbeat each `interval`; `min_deviation` and
    /// `acceptable_pause` are in intervals. The arguments are those of a checked
    /// [`Config`](crate::Config).
    ///
    /// Finds some hundred quantiles, which takes as long as a few thousand calls of `phi` (0.4 ms on a
    /// PC): one detector serves all links.
    pub(crate) fn new(
        model: PhiModel,
        window: u8,
        suspect: f64,
        convict: f64,
        interval: Duration,
        min_deviation: f64,
        acceptable_pause: f64,
    ) -> Self {
        let deviation = match model {
            PhiModel::StudentT => Duration::ZERO,
            PhiModel::Normal | PhiModel::Exponential => interval / 2,
        };
        let most = window.max(FEWEST_SAMPLES);
        Self {
            model,
            prior: Prior {
                mean: micros(interval),
                deviation: micros(deviation),
            },
            floor: min_deviation * interval.as_secs_f64(),
            pause: acceptable_pause * interval.as_secs_f64(),
            interval: interval.as_secs_f64(),
            suspect: Quantiles::new(model, FEWEST_SAMPLES, most, suspect),
            convict: Quantiles::new(model, FEWEST_SAMPLES, most, convict),
        }
    }

    /// How suspicious it is that the link of this window has been silent for `elapsed`.
    pub(crate) fn phi(&self, window: &Window, elapsed: Duration) -> f64 {
        let Belief { n, mean, s } = self.belief(window);
        phi(self.model, n, mean, s, elapsed.as_secs_f64() - self.pause)
    }

    /// The silence after which a heartbeat is later than regular ones are.
    pub(crate) fn overdue_after(&self, window: &Window) -> Duration {
        let Belief { mean, s, .. } = self.belief(window);
        let regular = mean + OVERDUE_DEVIATIONS * s;
        Duration::try_from_secs_f64(regular).unwrap_or(Duration::MAX)
    }

    /// The silence after which phi reaches the threshold for suspicion, or the longest that is
    /// granted.
    pub(crate) fn suspect_after(&self, window: &Window) -> Duration {
        self.deadline(window, &self.suspect)
    }

    /// The silence after which phi reaches the threshold for conviction, or the longest that is
    /// granted.
    pub(crate) fn convict_after(&self, window: &Window) -> Duration {
        self.deadline(window, &self.convict)
    }

    /// The silence forgiven beyond the acceptable pause on a link that loses this share of the
    /// heartbeats: as many lost in a row as are met once in a hundred.
    pub(crate) fn forgiven(&self, lost: f64) -> Duration {
        if lost <= 0.0 {
            return Duration::ZERO;
        }
        let in_a_row = libm::log(RARE_RUN) / libm::log(lost.min(1.0));
        let silence = in_a_row.clamp(0.0, LONGEST_RUN) * self.interval;
        Duration::try_from_secs_f64((silence - self.pause).max(0.0)).unwrap_or(Duration::ZERO)
    }

    fn deadline(&self, window: &Window, quantiles: &Quantiles) -> Duration {
        let belief = self.belief(window);
        let Belief { n, mean, s } = belief;
        let quantile = quantiles.get(n);
        let regular = match self.model {
            PhiModel::StudentT | PhiModel::Normal => mean + quantile * s,
            PhiModel::Exponential => quantile * mean,
        };
        let silence = regular.min(self.granted(&belief));
        Duration::try_from_secs_f64(self.pause + silence).unwrap_or(Duration::MAX)
    }

    /// The longest silence beyond the acceptable pause, in seconds.
    fn granted(&self, belief: &Belief) -> f64 {
        GRANTED_INTERVALS * self.interval + GRANTED_DEVIATIONS * belief.s
    }

    fn belief(&self, window: &Window) -> Belief {
        let mut moments: Moments = window.moments();
        let missing = u32::from(FEWEST_SAMPLES).saturating_sub(moments.count());
        moments.add_many(missing, self.prior.mean, self.prior.deviation);
        Belief {
            n: moments.count(),
            mean: moments.mean(),
            s: moments.deviation().max(self.floor),
        }
    }
}

#[cfg(test)]
mod tests;
