use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MODELS: [PhiModel; 3] = [PhiModel::StudentT, PhiModel::Normal, PhiModel::Exponential];

fn detector(model: PhiModel, acceptable_pause: f64) -> Detector {
    Detector::new(model, 64, 6.0, 8.0, SECOND, 0.1, acceptable_pause)
}

/// The defaults of `Config::lan()`.
fn lan(model: PhiModel) -> Detector {
    detector(model, 1.4)
}

fn window(intervals: impl IntoIterator<Item = Duration>) -> Window {
    let mut window = Window::new(64);
    for interval in intervals {
        window.push(interval);
    }
    window
}

/// The window after heartbeats at these milliseconds.
fn observed(heartbeats: &[u64]) -> Window {
    window(
        heartbeats
            .windows(2)
            .map(|pair| Duration::from_millis(pair[1] - pair[0])),
    )
}

/// The conviction deadlines in seconds after the first 0, 1, 2, ... of these intervals in
/// milliseconds.
fn deadlines(detector: &Detector, intervals: &[u64]) -> Vec<f64> {
    (0..=intervals.len())
        .map(|seen| {
            let seen = intervals[..seen].iter().copied();
            let window = window(seen.map(Duration::from_millis));
            detector.convict_after(&window).as_secs_f64()
        })
        .collect()
}

const STABLE: [u64; 10] = [0, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000];
const VARIABLE: [u64; 9] = [0, 1200, 2800, 3500, 5100, 6800, 7300, 9000, 10_500];

#[test]
fn the_same_silence_is_death_on_a_stable_link_and_nothing_on_a_variable_one() {
    let detector = detector(PhiModel::StudentT, 0.0);
    let stable = observed(&STABLE);
    let variable = observed(&VARIABLE);
    assert_eq!((stable.len(), stable.mean()), (9, 1.0));
    assert_eq!((variable.len(), variable.mean()), (8, 1.3125));

    let phi = |window, millis| detector.phi(window, Duration::from_millis(millis));
    for (window, now, last, expected, dead) in [
        (&stable, 11_000, 9_000, 5.2, false),
        (&stable, 13_000, 9_000, 8.9, true),
        (&variable, 15_000, 10_500, 3.7, false),
        (&stable, 13_500, 9_000, 9.4, true),
    ] {
        let silence = now - last;
        let phi = phi(window, silence);
        assert!((phi - expected).abs() <= 0.05, "{silence} ms: {phi}");
        let overdue = detector.convict_after(window) <= Duration::from_millis(silence);
        assert_eq!(overdue, dead, "{silence} ms: {phi}");
    }
}

#[test]
fn the_normal_model_gives_much_greater_figures() {
    let detector = detector(PhiModel::Normal, 0.0);
    let phi = detector.phi(&observed(&STABLE), Duration::from_secs(2));
    assert!(phi > 20.0, "{phi}");
}

#[test]
fn before_the_first_sample_the_prior_decides() {
    for (model, suspect, convict) in [(PhiModel::StudentT, 3.9, 4.4), (PhiModel::Normal, 4.9, 5.4)]
    {
        let (detector, empty) = (lan(model), Window::new(64));
        let (s, c) = (
            detector.suspect_after(&empty).as_secs_f64(),
            detector.convict_after(&empty).as_secs_f64(),
        );
        assert!((s - suspect).abs() < 0.1, "{model:?}: suspect {s}");
        assert!((c - convict).abs() < 0.1, "{model:?}: convict {c}");
    }
}

#[test]
fn on_a_regular_link_the_deadline_only_ever_falls() {
    for model in MODELS {
        let deadlines = deadlines(&lan(model), &[1000; 64]);
        for (n, pair) in deadlines.windows(2).enumerate() {
            assert!(pair[1] <= pair[0] + 1e-9, "{model:?} at {n}: {pair:?}");
        }
        let last = deadlines[64];
        if model != PhiModel::Exponential {
            assert!((2.9..3.2).contains(&last), "{model:?}: {last}");
        }
    }
}

#[test]
fn the_first_samples_take_over_from_the_prior_without_a_jump() {
    // The link jitters by half its interval. The deadline may follow the samples. But the eighth
    // sample, which ends the prior, moves the deadline no more than a typical one before it.
    let intervals: Vec<u64> = VARIABLE.windows(2).map(|p| p[1] - p[0]).collect();
    let deadlines = deadlines(&lan(PhiModel::StudentT), &intervals);
    let steps: Vec<f64> = deadlines.windows(2).map(|p| p[1] - p[0]).collect();
    let largest = steps[..7].iter().copied().fold(0.0, f64::max);
    assert!(steps[7].abs() <= largest, "{deadlines:?}");
}

#[test]
fn one_lost_heartbeat_is_no_suspicion_on_a_link_that_loses_none() {
    for model in MODELS {
        let detector = lan(model);
        for n in 0..=64 {
            let window = window(core::iter::repeat_n(SECOND, n));
            let silence = Duration::from_millis(2300);
            assert!(detector.phi(&window, silence) < 6.0, "{model:?} {n}");
            assert!(detector.suspect_after(&window) > silence);
        }
    }
}

#[test]
fn phi_is_next_to_nothing_within_the_acceptable_pause() {
    for model in MODELS {
        let phi = lan(model).phi(&window([SECOND; 20]), Duration::from_millis(1400));
        assert!((0.0..1e-6).contains(&phi), "{model:?}: {phi}");
    }
}

#[test]
fn a_window_shorter_than_the_prior_keeps_a_part_of_it() {
    let detector = Detector::new(PhiModel::StudentT, 4, 6.0, 8.0, SECOND, 0.1, 1.4);
    let mut window = Window::new(4);
    for _ in 0..10 {
        window.push(SECOND);
    }
    assert_eq!(window.len(), 4);
    let deadline = detector.convict_after(&window).as_secs_f64();
    assert!((4.39..4.41).contains(&deadline), "{deadline}");
}

/// A detector of any valid configuration, with its two thresholds and an empty window.
fn any_detector() -> impl Strategy<Value = (Detector, f64, f64, Window)> {
    (
        prop::sample::select(&MODELS[..]),
        4..=64_u8,
        1.0..16.0,
        0.0..=1.0,
        10..=60_000_u64,
        0.01..=1.0,
        0.0..=60.0,
    )
        .prop_map(|(model, window, convict, part, interval, floor, pause)| {
            let suspect = 1.0 + part * (convict - 1.0);
            let interval = Duration::from_millis(interval);
            let detector = Detector::new(model, window, suspect, convict, interval, floor, pause);
            (detector, suspect, convict, Window::new(window))
        })
}

fn any_intervals(most: usize) -> impl Strategy<Value = Vec<Duration>> {
    let interval = (1..200_000_u64).prop_map(Duration::from_millis);
    prop::collection::vec(interval, 0..=most)
}

proptest! {
    #[test]
    fn phi_at_a_deadline_is_its_threshold_unless_the_longest_silence_comes_first(
        (detector, suspect, convict, mut window) in any_detector(),
        intervals in any_intervals(80),
    ) {
        intervals.into_iter().for_each(|interval| window.push(interval));
        let longest = detector.pause + detector.granted(&detector.belief(&window));
        for (silence, phi_there) in [
            (detector.suspect_after(&window), suspect),
            (detector.convict_after(&window), convict),
        ] {
            let phi = detector.phi(&window, silence);
            if silence.as_secs_f64() < longest - 1e-9 {
                // A deadline is rounded to a nanosecond.
                prop_assert!((phi - phi_there).abs() < 1e-4, "{phi} for {phi_there}");
            } else {
                prop_assert!(phi < phi_there + 1e-4, "{phi} for {phi_there}");
            }
        }
    }

    #[test]
    fn while_the_prior_fades_an_interval_as_promised_never_puts_the_deadline_off(
        model in prop::sample::select(&MODELS[..]),
        intervals in any_intervals(7),
    ) {
        let detector = lan(model);
        let mut window = window(intervals);
        let before = detector.convict_after(&window);
        window.push(SECOND);
        let after = detector.convict_after(&window);
        prop_assert!(after <= before, "{before:?} {after:?}");
    }
}
