//! Phi as a function of the statistics, and its inverse.
//!
//! `phi = -log10 P(the next heartbeat comes later than this)`. The probability soon becomes too
//! small for `1 - cdf` (beyond phi 16) and then for `f64` itself (beyond phi 308). So this module
//! computes in the upper tail and with logarithms. It never forms the probability itself.
//!
//! With `z` the lateness in standard deviations and `t = z / sqrt(1 + 1/n)`:
//!
//! - Normal: `P = erfc(z / sqrt 2) / 2` (DLMF 7.2.2), and far out the asymptotic expansion of
//!   `erfc` (DLMF 7.12.1).
//! - Student t with `v = n - 1` degrees of freedom: `P = I_x(v/2, 1/2) / 2` with `x = v / (v +
//!   t^2)` (Abramowitz and Stegun 26.7.1). `I` is the regularised incomplete beta function,
//!   computed by its continued fraction (DLMF 8.17.22).
//! - Exponential: `P = exp(-elapsed / mean)`.
//!
//! # Invariants
//!
//! - Phi is finite and not negative, whatever the arguments.
//! - Phi rises with the silence.

use core::f64::consts::{FRAC_1_SQRT_2, LN_2, LN_10, LOG10_E, PI};

use heapless::Vec;

use super::window::MOST_SAMPLES;
use crate::config::PhiModel;

/// A nanosecond, which is what `Duration` can tell apart. No mean or deviation counts as smaller.
const SHORTEST: f64 = 1e-9;

/// No time counts as longer, so that no square overflows.
const LONGEST: f64 = 1e100;

/// More samples count as this many. No window is that long, and with more samples the continued
/// fraction would take many terms.
const ENOUGH_SAMPLES: u32 = 1024;

/// No threshold counts as higher: the square of its quantile must fit into `f64`.
const HIGHEST_THRESHOLD: f64 = 64.0;

/// How improbable the silence is: `-log10 P(next heartbeat later than elapsed)`, given the mean and
/// the sample standard deviation `s` of `n` intervals. All times are in seconds.
///
/// Phi is never negative, infinite or NaN, whatever the arguments, and rises with `elapsed`. An
/// argument that is NaN is read as the value that raises the least suspicion.
pub(super) fn phi(model: PhiModel, n: u32, mean: f64, s: f64, elapsed: f64) -> f64 {
    let elapsed = usable(elapsed, -LONGEST);
    let mean = usable(mean, LONGEST);
    let s = usable(s, LONGEST).max(SHORTEST);
    let phi = match model {
        PhiModel::StudentT => student_t(n, (elapsed - mean) / (s * widening(n))),
        PhiModel::Normal => normal((elapsed - mean) / s),
        PhiModel::Exponential => exponential(elapsed / mean.max(SHORTEST)),
    };
    debug_assert!(phi.is_finite() && phi >= 0.0, "phi is {phi}");
    phi
}

/// The silence at which phi reaches a threshold. For Student t (widening included) and normal it is
/// in deviations `s` beyond the mean. For exponential it is in means.
///
/// Thresholds are meant to be at least 1. In the symmetric models a threshold of less than 0.3,
/// which half of all heartbeats reach, counts as reached at the mean.
fn quantile(model: PhiModel, n: u32, phi: f64) -> f64 {
    match model {
        PhiModel::StudentT => widening(n) * crossing(&|t| student_t(n, t), phi),
        PhiModel::Normal => crossing(&normal, phi),
        PhiModel::Exponential => crossing(&exponential, phi),
    }
}

/// The quantiles of one threshold for every number of samples. Each is a constant, so a deadline
/// costs one multiplication and one addition.
#[derive(Clone, Debug)]
pub(super) struct Quantiles {
    fewest: u8,
    table: Vec<f64, MOST_SAMPLES>,
}

impl Quantiles {
    /// The quantiles for `fewest` to `most` samples.
    pub(super) fn new(model: PhiModel, fewest: u8, most: u8, phi: f64) -> Self {
        debug_assert!(fewest <= most, "an empty table");
        debug_assert!(
            usize::from(most) <= MOST_SAMPLES,
            "more than a window holds"
        );
        Self {
            fewest,
            table: (fewest..=most)
                .take(MOST_SAMPLES)
                .map(|n| quantile(model, u32::from(n), phi))
                .collect(),
        }
    }

    /// The quantile for `n` samples, which the table must have.
    pub(super) fn get(&self, n: u32) -> f64 {
        debug_assert!(n >= u32::from(self.fewest), "too few samples");
        let index = usize::try_from(n.saturating_sub(u32::from(self.fewest)));
        let quantile = index.ok().and_then(|index| self.table.get(index));
        debug_assert!(quantile.is_some(), "too many samples");
        quantile.or(self.table.last()).copied().unwrap_or(0.0)
    }
}

/// A new interval differs from the *estimated* mean by its own deviation and by that of the
/// estimate. Together they are `s * sqrt(1 + 1/n)`.
fn widening(n: u32) -> f64 {
    libm::sqrt(1.0 + 1.0 / f64::from(n.max(2)))
}

fn student_t(n: u32, t: f64) -> f64 {
    let freedom = n.clamp(2, ENOUGH_SAMPLES).saturating_sub(1);
    from_tail(t, ln_tail_student_t(freedom, t.abs()))
}

fn normal(z: f64) -> f64 {
    from_tail(z, ln_tail_normal(z.abs()))
}

fn exponential(means: f64) -> f64 {
    if means > 0.0 { means * LOG10_E } else { 0.0 }
}

/// Phi at `t` of a symmetric distribution whose upper tail beyond `|t|` has this logarithm.
fn from_tail(t: f64, ln_tail: f64) -> f64 {
    let ln_later = if t < 0.0 {
        libm::log1p(-libm::exp(ln_tail))
    } else {
        ln_tail
    };
    -ln_later / LN_10
}

/// `ln P(Z > z)` for `z >= 0`.
fn ln_tail_normal(z: f64) -> f64 {
    /// From here to where `erfc` underflows (26.5), both ways are exact to the last digits.
    const FAR: f64 = 20.0;
    debug_assert!(z >= 0.0, "not in the upper tail: {z}");
    let x = z * FRAC_1_SQRT_2;
    let ln_erfc = if x < FAR {
        libm::log(libm::erfc(x))
    } else {
        // 1 - h + 3h^2 - 15h^3 + 105h^4, with h = 1/(2x^2): the next term is below 3e-12.
        let h = 0.5 / (x * x);
        let series = -h * (1.0 - 3.0 * h * (1.0 - 5.0 * h * (1.0 - 7.0 * h)));
        -x * x - libm::log(x) - 0.5 * libm::log(PI) + libm::log1p(series)
    };
    ln_erfc - LN_2
}

/// `ln P(T > t)` for `t >= 0`.
fn ln_tail_student_t(freedom: u32, t: f64) -> f64 {
    debug_assert!(t >= 0.0, "not in the upper tail: {t}");
    let beta = beta_of_a_half(freedom);
    let freedom = f64::from(freedom);
    let (a, b) = (0.5 * freedom, 0.5);
    // x = v / (v + t^2), and y = 1 - x without cancellation.
    let ratio = t * t / freedom;
    let (x, y) = (1.0 / (1.0 + ratio), ratio / (1.0 + ratio));
    let ln_x = -libm::log1p(ratio);
    let ln_y = libm::log(ratio) + ln_x;
    let ln_power = a * ln_x + b * ln_y - libm::log(beta);
    // Below the mean of the beta distribution the fraction converges fast. Above it the fraction of
    // the complement does, and there the complement is not yet so near 1 that digits are lost.
    let ln_both_tails = if x < (a + 1.0) / (a + b + 2.0) {
        ln_power + libm::log(beta_fraction(a, b, x) / a)
    } else {
        libm::log1p(-libm::exp(ln_power) * beta_fraction(b, a, y) / b)
    };
    ln_both_tails - LN_2
}

/// The complete beta function `B(v/2, 1/2)`, for `v` from 1.
///
/// Starts from `B(1/2, 1/2) = pi` or `B(1, 1/2) = 2`, and goes on by `B(a + 1, 1/2) = B(a, 1/2) a /
/// (a + 1/2)` (DLMF 5.12.1 with 5.5.1).
fn beta_of_a_half(freedom: u32) -> f64 {
    debug_assert!(freedom > 0, "no degree of freedom");
    let (first, beta) = if freedom.is_multiple_of(2) {
        (2, 2.0)
    } else {
        (1, PI)
    };
    (first..freedom).step_by(2).fold(beta, |beta, v| {
        beta * (f64::from(v) / f64::from(v.saturating_add(1)))
    })
}

/// The continued fraction `1 / (1 + d1 / (1 + d2 / (1 + ...)))` of `I_x(a, b)`.
///
/// It is summed forwards by Steed's method (Barnett et al. 1974). Each term is the difference of
/// two convergents.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    /// About four times as many as the slowest case needs (1024 samples near the mean).
    const MOST_PAIRS: u16 = 200;
    let (mut sum, mut term, mut denominator) = (1.0, 1.0, 1.0);
    let mut step = |d: f64| {
        denominator = 1.0 / (1.0 + d * denominator);
        term *= denominator - 1.0;
        sum += term;
        (sum, term)
    };
    step(-(a + b) * x / (a + 1.0));
    for m in 1..MOST_PAIRS {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        step(even);
        let (sum, term) = step(odd);
        if term.abs() <= f64::EPSILON * sum.abs() {
            break;
        }
    }
    sum
}

/// Where the rising function `phi` reaches `target`, searched from zero up.
///
/// The search brackets the place by doubling. Then it closes in by false position, and halves the
/// value of an end that stays put (the Illinois rule; Dowell and Jarratt 1971). That takes about
/// six steps.
fn crossing(phi: &dyn Fn(f64) -> f64, target: f64) -> f64 {
    /// In phi. In the result it is at most 2.3 times as much, relatively: with two samples, the
    /// flattest case.
    const PRECISION: f64 = 1e-11;
    const MOST_STEPS: u8 = 100;
    let target = usable(target, 0.0).clamp(0.0, HIGHEST_THRESHOLD);
    let miss = |t: f64| phi(t) - target;

    let (mut low, mut high) = (0.0, 1.0);
    let (mut below, mut above) = (miss(low), miss(high));
    if below >= 0.0 {
        return low;
    }
    while above < 0.0 {
        (low, below) = (high, above);
        high *= 2.0;
        above = miss(high);
    }
    for _ in 0..MOST_STEPS {
        let t = high - above * (high - low) / (above - below);
        let here = miss(t);
        if here.abs() <= PRECISION {
            return t;
        }
        // `high` is always the newest point, on either side. `low` is the point on the other side.
        if (here < 0.0) == (above < 0.0) {
            below *= 0.5;
        } else {
            (low, below) = (high, above);
        }
        (high, above) = (t, here);
    }
    high
}

/// `value` within the range that can be computed with, or `unknown` if it is NaN.
fn usable(value: f64, unknown: f64) -> f64 {
    if value.is_nan() {
        unknown
    } else {
        value.clamp(-LONGEST, LONGEST)
    }
}

#[cfg(test)]
mod tests;
