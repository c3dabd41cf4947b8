//! Phi as a function of the statistics, and its inverse.
//!
//! `phi = -log10 P(the next heartbeat comes later than this)`. The probability soon becomes too small
//! for `1 - cdf` (beyond phi 16) and then for `f64` itself (beyond phi 308). So everything is computed
//! in the upper tail and as a logarithm; the probability itself is never formed.
//!
//! With `z` the lateness in standard deviations and `t = z / sqrt(1 + 1/n)`:
//!
//! - Normal: `P = erfc(z / sqrt 2) / 2` (DLMF 7.2.2), and far out by the asymptotic expansion of
//!   `erfc` (DLMF 7.12.1).
//! - Student t with `v = n - 1` degrees of freedom: `P = I_x(v/2, 1/2) / 2` with `x = v / (v + t^2)`
//!   (Abramowitz and Stegun 26.7.1), where `I` is the regularised incomplete beta function, by its
//!   continued fraction (DLMF 8.17.22).
//! - Exponential: `P = exp(-elapsed / mean)`.

use core::f64::consts::{FRAC_1_SQRT_2, LN_2, LN_10, LOG10_E, PI};

use heapless::Vec;

use super::window::MOST_SAMPLES;
use crate::config::PhiModel;

/// A nanosecond, what `Duration` can tell apart: no mean or deviation counts as smaller.
const SHORTEST: f64 = 1e-9;

/// No time counts as longer, so that no square overflows.
const LONGEST: f64 = 1e100;

/// More samples count as this many. No window is that long; beyond it the continued fraction grows
/// long.
const ENOUGH_SAMPLES: u32 = 1024;

/// No threshold counts as higher: `f64` must be able to hold its quantiles, squared.
const HIGHEST_THRESHOLD: f64 = 64.0;

/// How improbable the silence is: `-log10 P(next heartbeat later than elapsed)`, given the mean and
/// the sample standard deviation `s` of `n` intervals. All in one unit, seconds.
///
/// Never negative, infinite or NaN, whatever the arguments, and rises with `elapsed`. What is NaN is
/// read as what raises the least suspicion.
pub(crate) fn phi(model: PhiModel, n: u32, mean: f64, s: f64, elapsed: f64) -> f64 {
    let elapsed = usable(elapsed, -LONGEST);
    let mean = usable(mean, LONGEST);
    let s = usable(s, LONGEST).max(SHORTEST);
    match model {
        PhiModel::StudentT => student_t(n, (elapsed - mean) / (s * widening(n))),
        PhiModel::Normal => normal((elapsed - mean) / s),
        PhiModel::Exponential => exponential(elapsed / mean.max(SHORTEST)),
    }
}

/// Where `phi` is crossed: in deviations `s` beyond the mean (Student t, its widening included, and
/// normal) or in means (exponential).
///
/// Meant for thresholds of at least 1. Of the symmetric models, one of less than 0.3 (half of all
/// heartbeats are later) counts as crossed at the mean.
pub(crate) fn quantile(model: PhiModel, n: u32, phi: f64) -> f64 {
    match model {
        PhiModel::StudentT => widening(n) * crossing(&|t| student_t(n, t), phi),
        PhiModel::Normal => crossing(&normal, phi),
        PhiModel::Exponential => crossing(&exponential, phi),
    }
}

/// The quantiles of one threshold for every number of samples, since each is a constant: with them
/// a deadline costs a multiplication and an addition.
#[derive(Clone, Debug)]
pub(crate) struct Quantiles {
    fewest: u8,
    table: Vec<f64, MOST_SAMPLES>,
}

impl Quantiles {
    /// Those for `fewest` to `most` samples, at most [`MOST_SAMPLES`] of them.
    pub(crate) fn new(model: PhiModel, fewest: u8, most: u8, phi: f64) -> Self {
        Self {
            fewest,
            table: (fewest..=most)
                .take(MOST_SAMPLES)
                .map(|n| quantile(model, u32::from(n), phi))
                .collect(),
        }
    }

    /// The one for `n` samples, or for the nearest number that there is one for.
    pub(crate) fn get(&self, n: u32) -> f64 {
        let index = n.saturating_sub(u32::from(self.fewest));
        usize::try_from(index)
            .ok()
            .and_then(|index| self.table.get(index))
            .or(self.table.last())
            .copied()
            .unwrap_or(0.0)
    }
}

/// A new interval differs from the *estimated* mean by its own deviation and by the estimate's:
/// `s * sqrt(1 + 1/n)` in all.
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
    /// From here to where `erfc` underflows (26.5) both ways are exact to the last digits.
    const FAR: f64 = 20.0;
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
    let beta = beta_of_a_half(freedom);
    let freedom = f64::from(freedom);
    let (a, b) = (0.5 * freedom, 0.5);
    // x = v / (v + t^2), and y = 1 - x without the cancellation.
    let ratio = t * t / freedom;
    let (x, y) = (1.0 / (1.0 + ratio), ratio / (1.0 + ratio));
    let ln_x = -libm::log1p(ratio);
    let ln_y = libm::log(ratio) + ln_x;
    let ln_power = a * ln_x + b * ln_y - libm::log(beta);
    // The fraction converges fast below the mean of the beta distribution; above it the
    // complement's does, and there the complement is not yet so near 1 that digits are lost.
    let ln_both_tails = if x < (a + 1.0) / (a + b + 2.0) {
        ln_power + libm::log(beta_fraction(a, b, x) / a)
    } else {
        libm::log1p(-libm::exp(ln_power) * beta_fraction(b, a, y) / b)
    };
    ln_both_tails - LN_2
}

/// The complete beta function `B(v/2, 1/2)`, for `v` from 1: from `B(1/2, 1/2) = pi` or
/// `B(1, 1/2) = 2` by `B(a + 1, 1/2) = B(a, 1/2) a / (a + 1/2)` (DLMF 5.12.1 with 5.5.1).
fn beta_of_a_half(freedom: u32) -> f64 {
    let (first, beta) = if freedom.is_multiple_of(2) {
        (2, 2.0)
    } else {
        (1, PI)
    };
    (first..freedom).step_by(2).fold(beta, |beta, v| {
        beta * (f64::from(v) / f64::from(v.saturating_add(1)))
    })
}

/// The continued fraction `1 / (1 + d1 / (1 + d2 / (1 + ...)))` of `I_x(a, b)`, summed forwards by
/// Steed's method (Barnett et al. 1974): each term is the difference of two convergents.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    /// About four times what the slowest case (1024 samples near the mean) needs.
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
/// Brackets by doubling, then closes in by false position, with the value of an end that stays put
/// halved (the Illinois rule; Dowell and Jarratt 1971), which takes about six steps.
fn crossing(phi: &dyn Fn(f64) -> f64, target: f64) -> f64 {
    /// In phi; at the flattest (two samples) it is 2.3 times as much, relative, in the result.
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
        // `high` is always the newest point, on whichever side; `low` is the one opposite.
        if (here < 0.0) == (above < 0.0) {
            below *= 0.5;
        } else {
            (low, below) = (high, above);
        }
        (high, above) = (t, here);
    }
    high
}

/// `value` within what can be reckoned with, or `unknown` where it is no number.
fn usable(value: f64, unknown: f64) -> f64 {
    if value.is_nan() {
        unknown
    } else {
        value.clamp(-LONGEST, LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const MODELS: [PhiModel; 3] = [PhiModel::StudentT, PhiModel::Normal, PhiModel::Exponential];

    fn any_model() -> impl Strategy<Value = PhiModel> {
        prop::sample::select(&MODELS[..])
    }

    /// Values that a careless caller may come up with.
    fn silly() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>(),
            prop::num::f64::ANY,
            -10.0..10.0,
            prop::sample::select(
                &[
                    0.0,
                    -0.0,
                    1.0,
                    -1.0,
                    1e18,
                    f64::MIN_POSITIVE,
                    5e-324,
                    f64::MAX,
                    f64::MIN,
                    f64::INFINITY,
                    f64::NEG_INFINITY,
                    f64::NAN,
                ][..]
            ),
        ]
    }

    #[test]
    fn every_reference_vector_is_met() {
        let file: Value = serde_json::from_str(include_str!("phi-vectors.json")).unwrap();
        let vectors = file["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 131);
        for vector in vectors {
            let number = |field: &str| vector[field].as_f64().unwrap();
            let model = match vector["model"].as_str().unwrap() {
                "student_t" => PhiModel::StudentT,
                "normal" => PhiModel::Normal,
                "exponential" => PhiModel::Exponential,
                other => panic!("unknown model {other}"),
            };
            let n = u32::try_from(vector["n"].as_u64().unwrap()).unwrap();
            let phi = phi(model, n, number("mean"), number("s"), number("elapsed"));
            let expected = number("phi");
            let tolerance = f64::max(1e-12, 1e-9 * expected);
            assert!(
                (phi - expected).abs() <= tolerance,
                "{vector}: got {phi}, off by {}",
                phi - expected
            );
        }
    }

    #[test]
    fn the_median_is_at_log_2() {
        for n in [2, 3, 8, 64, 1000] {
            for model in [PhiModel::StudentT, PhiModel::Normal] {
                assert!((phi(model, n, 1.0, 0.1, 1.0) - 2.0_f64.log10()).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn with_few_samples_student_t_has_closed_forms() {
        for t in [-1e6, -30.0, -1.0, -0.01, 0.0, 0.3, 1.0, 7.0, 1e3, 1e7, 1e14] {
            // v = 1, Cauchy: atan(1/t) / pi. v = 2: (1 - t / sqrt(2 + t^2)) / 2, without
            // the cancellation.
            let cauchy = if t > 0.0 {
                f64::atan(1.0 / t) / PI
            } else {
                0.5 - f64::atan(t) / PI
            };
            let root = f64::sqrt(2.0 + t * t);
            let second = if t > 0.0 {
                1.0 / (root * (root + t))
            } else {
                0.5 * (1.0 - t / root)
            };
            for (n, later) in [(2, cauchy), (3, second)] {
                let expected = -later.log10();
                let error = student_t(n, t) - expected;
                assert!(
                    error.abs() <= 2e-14 * (1.0 + expected),
                    "n {n} t {t}: {error:e}"
                );
            }
        }
    }

    #[test]
    fn the_two_ways_to_the_normal_tail_meet() {
        let join = 20.0 / FRAC_1_SQRT_2;
        let step = 1e-12 * join;
        let slope = join / LN_10;
        let rise = normal(join + step) - normal(join - step);
        assert!((rise - 2.0 * step * slope).abs() < 1e-12, "{rise:e}");
    }

    #[test]
    fn the_two_ways_to_the_student_t_tail_meet() {
        for n in [2, 3, 4, 8, 9, 16, 64, 1000, ENOUGH_SAMPLES] {
            // x = (a + 1) / (a + b + 2), solved for t.
            let freedom = f64::from(n - 1);
            let join = f64::sqrt(freedom * 1.5 / (0.5 * freedom + 1.0));
            let (before, after) = (join * (1.0 - 1e-13), join * (1.0 + 1e-13));
            let rise = student_t(n, after) - student_t(n, before);
            assert!(rise.abs() < 3e-12, "n {n}: {rise:e}");
        }
    }

    #[test]
    fn phi_rises_strictly_far_beyond_300() {
        for model in MODELS {
            for n in [2, 9, 64, 1000, u32::MAX] {
                let mut last = -1.0;
                let mut elapsed = 1.0;
                while elapsed < 1e18 {
                    let phi = phi(model, n, 1.0, 1e-3, elapsed);
                    assert!(
                        phi.is_finite() && phi > last,
                        "{model:?} {n} {elapsed}: {phi}"
                    );
                    last = phi;
                    elapsed *= 1.0 + 1e-3;
                }
                assert!(last > 300.0 || n < 64, "{model:?} {n} ended at {last}");
            }
        }
    }

    #[test]
    fn what_is_not_a_number_raises_no_suspicion() {
        for model in MODELS {
            assert!(phi(model, 9, 1.0, 0.1, f64::NAN) < 1.0);
            assert!(phi(model, 9, f64::NAN, 0.1, 100.0) < 1.0);
        }
        assert!(phi(PhiModel::StudentT, 9, 1.0, f64::NAN, 100.0) < 1.0);
        assert!(phi(PhiModel::Normal, 9, 1.0, f64::NAN, 100.0) < 1.0);
    }

    #[test]
    fn student_t_with_many_samples_is_normal() {
        for z in [-3.0, 0.0, 2.0, 6.0] {
            let few = (student_t(8, z) - normal(z)).abs();
            let many = (student_t(u32::MAX, z) - normal(z)).abs();
            assert!(many < 0.15 && many <= few, "{z}: {many}");
        }
    }

    #[test]
    fn known_quantiles_are_met() {
        // Normal: the textbook's z of 1e-1, 1e-6 and 1e-8.
        for (phi, z) in [
            (1.0, 1.281_551_565_544_6),
            (6.0, 4.753_424_308_822_9),
            (8.0, 5.612_001_243_305_5),
        ] {
            assert!((quantile(PhiModel::Normal, 9, phi) / z - 1.0).abs() < 1e-9);
        }
        // Cauchy: 1 / tan(pi P), widened by sqrt(1 + 1/2).
        let cauchy = f64::sqrt(1.5) / f64::tan(PI * 1e-8);
        assert!((quantile(PhiModel::StudentT, 2, 8.0) / cauchy - 1.0).abs() < 1e-9);
        assert!((quantile(PhiModel::Exponential, 9, 8.0) / (8.0 * LN_10) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn an_absurd_threshold_still_has_a_quantile() {
        for model in MODELS {
            for n in [0, 1, 2, 64, u32::MAX] {
                for threshold in [
                    f64::NAN,
                    f64::NEG_INFINITY,
                    -1.0,
                    0.0,
                    0.3,
                    1e9,
                    f64::INFINITY,
                ] {
                    let quantile = quantile(model, n, threshold);
                    assert!(quantile.is_finite() && quantile >= 0.0);
                }
            }
        }
    }

    #[test]
    fn the_table_holds_the_quantiles_and_ends_at_its_ends() {
        let table = Quantiles::new(PhiModel::StudentT, 8, 64, 8.0);
        for n in 8..=64 {
            assert_eq!(table.get(n), quantile(PhiModel::StudentT, n, 8.0));
        }
        assert_eq!(table.get(0), table.get(8));
        assert_eq!(table.get(u32::MAX), table.get(64));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn phi_is_finite_and_not_negative_for_any_arguments(
            model in any_model(),
            n in prop_oneof![0..70_u32, any::<u32>()],
            mean in silly(),
            s in silly(),
            elapsed in silly(),
        ) {
            let phi = phi(model, n, mean, s, elapsed);
            prop_assert!(phi.is_finite() && phi >= 0.0, "{phi}");
            prop_assert!(phi.is_sign_positive());
        }

        #[test]
        fn phi_never_falls_with_elapsed(
            model in any_model(),
            n in prop_oneof![0..70_u32, any::<u32>()],
            mean in 0.0..100.0,
            s in 0.0..100.0,
            elapsed in -100.0..1000.0,
            more in prop_oneof![0.0..1e-6, 0.0..1e3, 0.0..1e18],
        ) {
            let before = phi(model, n, mean, s, elapsed);
            let after = phi(model, n, mean, s, elapsed + more);
            // The last digits of a logarithm are not monotone.
            prop_assert!(after >= before * (1.0 - 1e-13) - 1e-15, "{before} {after}");
        }

        #[test]
        fn phi_rises_strictly_beyond_the_mean(
            model in any_model(),
            n in 2..=64_u32,
            mean in 0.01..60.0,
            s in 0.001..60.0,
            late in 0.0..1e6,
            factor in 1e-6..1.0,
        ) {
            let elapsed = mean + late * s;
            let before = phi(model, n, mean, s, elapsed);
            let after = phi(model, n, mean, s, elapsed + factor * (s + late * s));
            prop_assert!(after > before, "{before} {after}");
        }

        #[test]
        fn phi_at_the_quantile_is_the_threshold(
            model in any_model(),
            n in 2..=1000_u32,
            threshold in 0.4..64.0,
        ) {
            let quantile = quantile(model, n, threshold);
            let phi = match model {
                PhiModel::Exponential => phi(model, n, 1.0, 0.1, quantile),
                _ => phi(model, n, 0.0, 1.0, quantile),
            };
            prop_assert!((phi - threshold).abs() < 1e-9, "{phi}");
        }
    }
}
