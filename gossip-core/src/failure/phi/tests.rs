use proptest::prelude::*;
use serde_json::Value;

use super::*;

const MODELS: [PhiModel; 3] = [PhiModel::StudentT, PhiModel::Normal, PhiModel::Exponential];

fn any_model() -> impl Strategy<Value = PhiModel> {
    prop::sample::select(&MODELS[..])
}

/// Values that a careless caller may pass.
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
fn phi_meets_every_reference_vector() {
    let file: Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
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
fn the_two_ways_to_the_normal_tail_agree() {
    let join = 20.0 / FRAC_1_SQRT_2;
    let step = 1e-12 * join;
    let slope = join / LN_10;
    let rise = normal(join + step) - normal(join - step);
    assert!((rise - 2.0 * step * slope).abs() < 1e-12, "{rise:e}");
}

#[test]
fn the_two_ways_to_the_student_t_tail_agree() {
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
fn an_argument_that_is_not_a_number_raises_no_suspicion() {
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
fn the_quantiles_of_textbooks_are_met() {
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
fn the_table_holds_the_quantiles() {
    let table = Quantiles::new(PhiModel::StudentT, 8, 64, 8.0);
    for n in 8..=64 {
        assert_eq!(table.get(n), quantile(PhiModel::StudentT, n, 8.0));
    }
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
