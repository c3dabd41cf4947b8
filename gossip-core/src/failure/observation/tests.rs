use super::*;
use crate::config::PhiModel;

const SECOND: Duration = Duration::from_secs(1);

fn detector() -> Detector {
    Detector::new(PhiModel::StudentT, 64, 6.0, 8.0, SECOND, 0.1, 1.4)
}

fn at(seconds: f64) -> Instant {
    Instant::from_origin(Duration::from_secs_f64(seconds))
}

/// An observation after `beats` heartbeats, one a second.
fn after(beats: u32) -> Observation {
    let id = NodeId::from_u64(1);
    let mut observation = Observation::new(id, Generation::ZERO, 64, &detector(), Instant::ORIGIN);
    for n in 0..beats {
        beat(&mut observation, f64::from(n), u64::from(n) + 1);
    }
    observation
}

/// A heartbeat arrives: first it is a sign of life, then a sample.
fn beat(observation: &mut Observation, seconds: f64, counter: u64) -> (Relief, Beat) {
    let relief = observation.shows_hearing(at(seconds));
    (
        relief,
        observation.heartbeat(at(seconds), counter, &detector()),
    )
}

/// When the member becomes suspect, if nothing is heard of it.
fn suspicion(observation: &Observation) -> Instant {
    observation.crosses(observation.suspect_after)
}

/// Takes steps until none is due any more. Returns each step and its time.
fn run(observation: &mut Observation) -> std::vec::Vec<(Due, Instant)> {
    let mut log = std::vec::Vec::new();
    while let Some(now) = observation.deadline() {
        let due = observation.take_step(now, 5);
        log.push((due, now));
    }
    log
}

#[test]
fn a_silent_neighbour_is_suspected_probed_and_found_silent() {
    let mut observation = after(70);
    let log = run(&mut observation);
    let dues: std::vec::Vec<_> = log
        .iter()
        .map(|(due, _)| *due)
        .filter(|due| *due != Due::Nothing)
        .collect();
    assert_eq!(
        dues,
        [
            Due::Ping,
            Due::Suspected,
            Due::Ping,
            Due::Ping,
            Due::Ping,
            Due::Ping,
            Due::Silent
        ]
    );
    let silence = log.last().unwrap().1.saturating_since(at(69.0));
    assert!(silence < Duration::from_millis(3600), "{silence:?}");
}

#[test]
fn a_counter_that_leaps_is_believed_until_the_next_heartbeat() {
    let mut observation = after(70);
    let silence = suspicion(&observation).saturating_since(at(69.0));
    assert_eq!(beat(&mut observation, 69.5, u64::MAX).1, Beat::Leapt);
    assert_eq!(beat(&mut observation, 70.0, 71).1, Beat::Leapt);
    assert_eq!(beat(&mut observation, 71.0, 72).1, Beat::Counted(1));
    assert_eq!(observation.missing(at(72.0), Duration::from_secs(1)), 0);
    assert_eq!(
        suspicion(&observation).saturating_since(at(71.0)),
        silence,
        "the length of an interval does not follow from it"
    );
    assert_eq!(beat(&mut observation, 500.0, 501).1, Beat::Leapt);
    // A lie that leaps less far is not believed for longer.
    assert_eq!(beat(&mut observation, 500.5, 501 + 62).1, Beat::Counted(62));
    assert_eq!(beat(&mut observation, 501.0, 502).1, Beat::Leapt);
    assert_eq!(observation.missing(at(502.0), Duration::from_secs(1)), 0);
}

#[test]
fn after_one_lost_heartbeat_the_member_is_pinged_and_not_suspected() {
    let mut observation = after(70);
    assert!(observation.deadline().unwrap() > at(70.3));
    assert_eq!(observation.take_step(at(70.5), 5), Due::Ping);
    assert_eq!(
        observation.take_step(at(71.1), 5),
        Due::Nothing,
        "it is pinged once"
    );
    observation.shows_hearing(at(71.1));
    assert!(observation.deadline().unwrap() > at(72.3));
}

#[test]
fn an_answer_ends_the_suspicion_and_is_no_sample() {
    let mut observation = after(70);
    let suspected = suspicion(&observation);
    assert_eq!(observation.take_step(suspected, 5), Due::Ping);
    assert_eq!(observation.take_step(suspected, 5), Due::Suspected);
    assert_eq!(observation.shows_hearing(suspected), Relief::Cleared);
    assert!(!observation.is_suspect());
    assert!(suspicion(&observation) > suspected);
}

#[test]
fn a_repeated_or_reordered_heartbeat_is_no_sample() {
    let mut observation = after(70);
    for repeated in [70, 68] {
        assert_eq!(beat(&mut observation, 72.0, repeated).1, Beat::Repeated);
    }
    assert_eq!(beat(&mut observation, 72.0, 73).1, Beat::Counted(3));
}

#[test]
fn the_silence_of_a_member_that_comes_back_is_no_sample() {
    let mut observation = after(70);
    run(&mut observation);
    assert!(observation.is_silent());
    assert_eq!(
        beat(&mut observation, 500.0, 71),
        (Relief::Revived, Beat::Counted(1))
    );
    beat(&mut observation, 501.0, 72);
    let detected = suspicion(&observation).saturating_since(at(501.0));
    assert!(detected < 3 * SECOND, "{detected:?}");
}

/// A link that had lost half a minute of heartbeats would be forgiven another silence of many intervals.
#[test]
fn heartbeats_that_are_missing_in_an_outage_do_not_count_as_lost() {
    let mut observation = after(70);
    let silence = |o: &Observation| o.crosses(o.convict_after).saturating_since(o.silent_from);
    let before = silence(&observation);
    run(&mut observation);
    assert!(observation.is_silent());
    let counted = (Relief::Revived, Beat::Counted(1));
    assert_eq!(beat(&mut observation, 109.0, 110), counted);
    assert_eq!(silence(&observation), before);
    let counted = beat(&mut observation, 112.0, 113).1;
    assert_eq!(counted, Beat::Counted(3), "the next ones do");
}

#[test]
fn a_pause_of_this_node_is_not_a_silence_of_the_neighbour() {
    let mut observation = after(70);
    let before = observation.convict_after;
    observation.paused(at(100.0), Duration::from_secs(30), SECOND);
    assert!(
        suspicion(&observation) >= at(102.0),
        "the neighbour has time to be heard"
    );
    for (n, counter) in (71..=100).enumerate() {
        beat(
            &mut observation,
            100.0 + f64::from(u32::try_from(n).unwrap()) / 1000.0,
            counter,
        );
    }
    assert_eq!(
        observation.convict_after, before,
        "heartbeats that had queued up are no samples"
    );
    beat(&mut observation, 101.0, 101);
    beat(&mut observation, 102.0, 102);
    assert!(suspicion(&observation) < at(105.5));
}

/// In a small cluster a node that hears nobody sends something to each other one all the time.
#[test]
fn messages_that_show_no_hearing_put_off_a_suspicion_for_a_while() {
    let mut observation = after(70);
    observation.sends(at(71.0), at(60.0));
    assert_eq!(observation.silent_from, at(71.0));
    observation.sends(at(72.0), at(70.5));
    assert_eq!(
        observation.silent_from,
        at(71.0),
        "it was last heard to hear before"
    );
    observation.shows_hearing(at(73.0));
    observation.sends(at(74.0), at(70.5));
    assert_eq!(observation.silent_from, at(74.0));
}

#[test]
fn a_silent_member_is_asked_again_once_in_a_while() {
    let mut observation = after(70);
    assert!(
        !observation.ask_again(at(80.0), at(80.0)),
        "it is not silent"
    );
    run(&mut observation);
    let found = observation.silent_since().unwrap();
    assert!(
        !observation.ask_again(at(80.0), at(0.0)),
        "it was just asked"
    );
    assert!(observation.ask_again(at(90.0), found));
    assert!(!observation.ask_again(at(90.0), found));
    assert_eq!(observation.silent_since(), Some(found));
}

#[test]
fn lost_heartbeats_do_not_count_as_jitter_and_a_run_of_them_is_forgiven() {
    let regular = after(70);
    let mut lossy = after(0);
    for n in (0..140_u32).filter(|n| n % 3 != 1) {
        beat(&mut lossy, f64::from(n), u64::from(n) + 1);
    }
    assert_eq!(lossy.convict_after, regular.convict_after);
    let silence = |o: &Observation| o.crosses(o.convict_after).saturating_since(o.silent_from);
    let more = silence(&lossy).saturating_sub(silence(&regular));
    // If one in three is lost, four in a row are lost about once in a hundred: 4.2 s, less the
    // pause.
    assert!((2.6..2.9).contains(&more.as_secs_f64()), "{more:?}");
    let phi = |o: &Observation| o.phi(&detector(), o.silent_from.saturating_add(silence(o)));
    assert!((phi(&lossy) - phi(&regular)).abs() < 1e-6);
}

#[test]
fn patience_with_an_unsteady_member_is_doubled_for_a_while() {
    let mut observation = after(70);
    let silence = |o: &Observation| suspicion(o).saturating_since(o.silent_from);
    let plain = silence(&observation);
    let until = at(100.0);
    let damping = Damping {
        doublings: 2,
        until,
    };
    observation.damp(damping);
    assert_eq!(silence(&observation), plain.saturating_mul(4));
    observation.shows_hearing(until);
    assert_eq!(silence(&observation), plain);
    observation.damp(Damping {
        doublings: 40,
        until: at(1000.0),
    });
    assert_eq!(silence(&observation), plain.saturating_mul(4), "bounded");
}
