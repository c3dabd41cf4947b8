//! How suspicious is this silence?
//!
//! A fixed timeout is wrong for every link but one. The phi accrual detector (Hayashibara, Défago,
//! Yared and Katayama, "The phi accrual failure detector", SRDS 2004) learns from the past
//! intervals between heartbeats how the next interval is distributed. It says how improbable it is
//! that the next heartbeat comes even later than now:
//!
//! ```text
//! phi(elapsed) = -log10 P(next heartbeat later than elapsed)
//! ```
//!
//! Phi 8 is a chance of one in a hundred million. A threshold on phi means the same on every link,
//! and the deadline that it amounts to follows the link.
//!
//! **Why Student's t.** The paper takes the mean and the deviation of the intervals as known. But
//! they are estimated from `n` intervals. The thresholds lie far out in the tail, where the error
//! of the estimate is what matters. Given `n` normal intervals, the distribution of the *next* one
//! is Student's t with `n - 1` degrees of freedom. This is the predictive distribution (Gelman et
//! al., "Bayesian Data Analysis", 3.2), and also the classical prediction interval:
//!
//! ```text
//! t = (elapsed - pause - mean) / (s * sqrt(1 + 1/n))
//! ```
//!
//! Here `s` is the sample deviation (over `n - 1`). The distribution is honest with few intervals,
//! and normal with many.
//!
//! **The floor.** `s` counts as at least `min_deviation`: eight equal intervals do not prove that a
//! link never jitters.
//!
//! **The pause.** The first `acceptable_pause` of every silence is forgiven. A lost heartbeat is no
//! sample of the link's jitter, and the distribution need not explain it.
//!
//! **Loss.** Heartbeats are counted, so loss is seen and not mistaken for jitter. If heartbeats are
//! missing between two that arrived, the interval counts as the mean of as many intervals. In
//! return, the share that is lost decides how long a run of missing heartbeats is forgiven beyond
//! the pause.
//!
//! **The prior.** Before the first heartbeat, this node knows only what the peer has promised: one
//! heartbeat in each interval. So every link starts with eight pseudo-samples of one interval, and
//! each of the first eight real samples replaces one of them. From eight samples on, only real
//! samples count. Because one is replaced at a time, a deadline moves because of a sample, and
//! never because a counter reached eight.
//!
//! How far the pseudo-samples deviate depends on the model:
//!
//! - Student's t takes eight equal samples for "known from a few", and keeps a wide margin by
//!   itself: with the defaults, 3.9 intervals to suspicion.
//! - The normal model would take them at their word, so its pseudo-samples deviate by half an
//!   interval.
//! - The exponential model knows no deviation.
//!
//! **Deadlines.** For a given model, threshold and `n`, the quantile is a constant. So the time at
//! which phi crosses the threshold is `pause + mean + quantile * s`, and nothing has to poll phi. A
//! deadline is never later than `pause + 2.5 intervals + 5 deviations`. The
//! [observation](super::observation) puts it off further, for the loss of the link and for its patience with
//! the member.
//!
//! # Invariants
//!
//! - Phi is finite, not negative, and rises with the silence.
//! - `phi(suspect_after) = suspect` and `phi(convict_after) = convict`, up to rounding, unless the
//!   longest silence granted comes first.
//! - With eight or more samples, phi is a function of the window and the silence alone.
//!
//! The caller says what is a sample. An interval across a death, a restart or a pause of this
//! process is no sample, and must not be pushed.

use core::time::Duration;

use super::phi::{Quantiles, phi};
pub(super) use super::window::Window;
use super::window::{Moments, micros};
use crate::config::PhiModel;

/// With fewer samples than this, pseudo-samples fill the gap.
const FEWEST_SAMPLES: u8 = 8;

/// What all links of a node have in common: the model, the prior and the thresholds.
#[derive(Clone, Debug)]
pub(super) struct Detector {
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
/// intervals, and [so many deviations](GRANTED_DEVIATIONS).
///
/// With few samples, or with an outage in the window, the model would grant seconds to minutes. The
/// burst of pings that follows a suspicion tells jitter and loss from death in half a second.
///
/// This is not the longest silence that ends in no vote: see `Observation::crosses`.
const GRANTED_INTERVALS: f64 = 2.5;
/// See [`GRANTED_INTERVALS`].
const GRANTED_DEVIATIONS: f64 = 5.0;

/// A heartbeat that is so many deviations later than the mean is overdue. Of regular heartbeats,
/// one in thirty thousand is.
const OVERDUE_DEVIATIONS: f64 = 4.0;

/// A run of lost heartbeats is forgiven unless its probability is below this.
const RARE_RUN: f64 = 0.01;
/// The longest run that is forgiven. A link that loses more than two in three is as good as dead.
const LONGEST_RUN: f64 = 12.0;

/// The pseudo-samples that stand in for missing samples, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Prior {
    mean: u32,
    deviation: u32,
}

/// What is believed of a link: statistics of its intervals in seconds, with the prior and the
/// floor.
struct Belief {
    n: u32,
    mean: f64,
    s: f64,
}

impl Detector {
    /// A detector for windows of `window` samples, and one heartbeat in each `interval`.
    /// `min_deviation` and `acceptable_pause` are in intervals. The arguments are those of a
    /// checked [`Config`](crate::Config).
    ///
    /// One detector serves all links, because it computes some hundred quantiles. That takes as
    /// long as a few thousand calls of `phi` (0.4 ms on a PC).
    pub(super) fn new(
        model: PhiModel,
        window: u8,
        suspect: f64,
        convict: f64,
        interval: Duration,
        min_deviation: f64,
        acceptable_pause: f64,
    ) -> Self {
        debug_assert!(suspect <= convict, "suspect {suspect}, convict {convict}");
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

    /// How suspicious it is that the link with this window has been silent for `elapsed`.
    pub(super) fn phi(&self, window: &Window, elapsed: Duration) -> f64 {
        let Belief { n, mean, s } = self.belief(window);
        phi(self.model, n, mean, s, elapsed.as_secs_f64() - self.pause)
    }

    /// The silence after which a heartbeat is overdue.
    pub(super) fn overdue_after(&self, window: &Window) -> Duration {
        let Belief { mean, s, .. } = self.belief(window);
        let regular = mean + OVERDUE_DEVIATIONS * s;
        Duration::try_from_secs_f64(regular).unwrap_or(Duration::MAX)
    }

    /// The silence after which phi reaches the threshold for suspicion, or the longest silence
    /// granted.
    pub(super) fn suspect_after(&self, window: &Window) -> Duration {
        self.deadline(window, &self.suspect)
    }

    /// The silence after which phi reaches the threshold for conviction, or the longest silence
    /// granted.
    pub(super) fn convict_after(&self, window: &Window) -> Duration {
        self.deadline(window, &self.convict)
    }

    /// The silence that is forgiven beyond the acceptable pause on a link that loses this share of
    /// heartbeats. It is as long as a run of lost heartbeats that has a probability of one in a
    /// hundred.
    pub(super) fn forgiven(&self, lost: f64) -> Duration {
        debug_assert!((0.0..=1.0).contains(&lost), "not a share: {lost}");
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
        debug_assert!(moments.count() >= u32::from(FEWEST_SAMPLES));
        Belief {
            n: moments.count(),
            mean: moments.mean(),
            s: moments.deviation().max(self.floor),
        }
    }
}

#[cfg(test)]
mod tests;
