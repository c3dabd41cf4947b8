//! What this node hears of one ring neighbour.
//!
//! `Alive → Overdue → Suspect → Silent`, and back to `Alive` at any evidence of life. Only heartbeats
//! feed the statistics; any message is evidence. Who is overdue is pinged once: where it was the
//! heartbeat that was lost, the answer says so a second before anybody would be suspected, and a pause
//! that follows does not add to what was lost before. A suspect is probed with a short burst of pings
//! before it is found silent: when loss sets in all at once, windows full of clean samples convict by
//! chance, and a burst tells loss from death within half a second.

use alloc::boxed::Box;
use core::time::Duration;

use super::loss::Loss;
use crate::failure::detector::{Detector, Window};
use crate::identity::{Generation, NodeId};
use crate::time::{Instant, nanos, part};

/// How long a burst of pings takes.
const BURST: Duration = Duration::from_millis(400);
/// How long after the last ping its answer may still come.
const ANSWER: Duration = Duration::from_millis(150);
/// Heartbeats further apart than this say nothing of one another: were a greater count believed for good,
/// one forged heartbeat would make all true ones that follow repetitions.
const LEAP: u64 = 64;
/// By how many heartbeats one can have been overtaken: they are an interval apart.
const OVERTAKEN: u64 = 4;
/// After this many refuted votes in a row, or flaps, the patience no longer doubles.
const MAX_PATIENCE: u32 = 4;

/// One observed neighbour.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(crate) id: NodeId,
    pub(crate) generation: Generation,
    window: Box<Window>,
    /// How many of its heartbeats are lost, and the silence forgiven for that.
    loss: Loss,
    forgiven: Duration,
    /// The silences after which its heartbeat is overdue, it is suspect, and it is convicted, by the
    /// window as it is.
    overdue_after: Duration,
    suspect_after: Duration,
    convict_after: Duration,
    /// The greatest heartbeat counter received.
    counter: Option<u64>,
    /// When the latest heartbeat came; `None` where the interval to the next is no sample.
    beat: Option<Instant>,
    /// Heartbeats before this are no samples: they had been waiting while this node was paused.
    samples_from: Instant,
    /// When observation of this life began.
    began: Instant,
    /// The latest sign of life, or when observation began.
    evidence: Instant,
    /// The latest sign of life.
    heard: Option<Instant>,
    state: State,
    /// Votes against it that were refuted since its latest heartbeat.
    refuted: u32,
    damping: Damping,
}

/// How much longer the silence of a member is borne that has gone down and come up again lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damping {
    /// How often the patience is doubled.
    pub(crate) doublings: u32,
    /// Silences that begin later are no longer concerned.
    pub(crate) until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Alive,
    Overdue,
    Suspect { pinged: u32, next: Instant },
    Silent { since: Instant },
}

/// What a heartbeat's counter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Nothing new: it came twice, or another has overtaken it.
    Repeated,
    /// So many were expected since the last one, itself included.
    Counted(u64),
    /// It is so far from the last one that an outage has ended, or one of the two is a lie. Counting
    /// begins anew: neither how many are lost nor how long an interval is follows from it.
    Leapt,
}

/// What a sign of life has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relief {
    /// Nothing: it was held alive.
    None,
    /// It was suspected.
    Cleared,
    /// It had been found silent: the vote against it is to be withdrawn.
    Revived,
}

/// What is due for a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// It has become suspect: tell, and ping it.
    Suspected,
    /// Ping it.
    Ping,
    /// It has been found silent: vote.
    Silent,
}

impl Observation {
    /// Begins to observe a neighbour.
    pub(crate) fn new(
        id: NodeId,
        generation: Generation,
        capacity: u8,
        detector: &Detector,
        now: Instant,
    ) -> Self {
        let window = Box::new(Window::new(capacity));
        Self {
            id,
            generation,
            overdue_after: detector.overdue_after(&window),
            suspect_after: detector.suspect_after(&window),
            convict_after: detector.convict_after(&window),
            window,
            loss: Loss::default(),
            forgiven: Duration::ZERO,
            counter: None,
            beat: None,
            samples_from: now,
            began: now,
            evidence: now,
            heard: None,
            state: State::Alive,
            refuted: 0,
            damping: Damping::default(),
        }
    }

    /// A heartbeat came; that it is a sign of life has been noted before.
    pub(crate) fn heartbeat(&mut self, now: Instant, counter: u64, detector: &Detector) -> Beat {
        let expected = match self.counter {
            None => 1,
            Some(last) if counter <= last && last.saturating_sub(counter) < OVERTAKEN => {
                return Beat::Repeated;
            }
            Some(last) => counter.saturating_sub(last),
        };
        self.counter = Some(counter);
        self.refuted = 0;
        let beat = self.beat.replace(now);
        if !(1..=LEAP).contains(&expected) {
            return Beat::Leapt;
        }
        self.loss.heartbeat(expected);
        self.forgiven = detector.forgiven(self.loss.share());
        if let Some(beat) = beat.filter(|_| now >= self.samples_from) {
            let spanned = u32::try_from(expected).unwrap_or(u32::MAX);
            let interval = now.saturating_since(beat).checked_div(spanned);
            // An outage that ended in time moves the statistics, but no further than a suspicion.
            self.window
                .push(interval.unwrap_or_default().min(self.suspect_after));
            self.judge_by(detector);
        }
        Beat::Counted(expected)
    }

    /// The window has changed.
    fn judge_by(&mut self, detector: &Detector) {
        self.suspect_after = detector.suspect_after(&self.window);
        self.convict_after = detector.convict_after(&self.window);
        let overdue = detector.overdue_after(&self.window);
        self.overdue_after = overdue.min(self.suspect_after);
    }

    /// Some other message came.
    pub(crate) fn evidence(&mut self, now: Instant) -> Relief {
        self.evidence = self.evidence.max(now);
        self.heard = Some(self.evidence);
        match core::mem::replace(&mut self.state, State::Alive) {
            State::Alive | State::Overdue => Relief::None,
            State::Suspect { .. } => Relief::Cleared,
            State::Silent { .. } => {
                // The silence was an outage, not an interval between heartbeats.
                self.beat = None;
                Relief::Revived
            }
        }
    }

    /// It refuted a vote through others. Evidence, but while nothing comes from it directly, each
    /// time is believed twice as long before the next vote.
    pub(crate) fn refuted(&mut self, now: Instant) -> Relief {
        self.refuted = self.refuted.saturating_add(1).min(MAX_PATIENCE);
        self.evidence(now)
    }

    /// This node stood still for `gap`, and an interval is as long as `interval`. The gap was not the
    /// neighbour's silence; what it sent meanwhile may still be waiting to be read, and is due within
    /// an interval in any case.
    pub(crate) fn paused(&mut self, now: Instant, gap: Duration, interval: Duration) {
        self.beat = None;
        self.samples_from = now.saturating_add(part(interval, 2));
        let grace = self
            .suspect_after
            .saturating_sub(interval.saturating_mul(2));
        self.evidence = self
            .evidence
            .saturating_add(gap)
            .max(now.saturating_sub(grace))
            .min(now);
        if self.is_suspect() {
            self.state = State::Alive;
        }
    }

    /// The neighbour has begun another life.
    pub(crate) fn restarted(&mut self, generation: Generation, detector: &Detector, now: Instant) {
        self.generation = generation;
        self.window.clear();
        self.judge_by(detector);
        self.loss = Loss::default();
        self.forgiven = Duration::ZERO;
        self.counter = None;
        self.beat = None;
        self.began = now;
        self.evidence = now;
        self.heard = None;
        self.state = State::Alive;
        self.refuted = 0;
        self.damping = Damping::default();
    }

    /// It has gone down and come up again: from now on its silence is borne for longer.
    pub(crate) const fn damp(&mut self, damping: Damping) {
        self.damping = damping;
    }

    /// When observation of this life began.
    pub(crate) const fn began(&self) -> Instant {
        self.began
    }

    /// When it last showed life to this node, or through others.
    pub(crate) const fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Its latest heartbeat counter.
    pub(crate) const fn counter(&self) -> Option<u64> {
        self.counter
    }

    pub(crate) fn is_suspect(&self) -> bool {
        matches!(self.state, State::Suspect { .. })
    }

    pub(crate) const fn is_silent(&self) -> bool {
        self.silent_since().is_some()
    }

    /// When it was found silent, if it is.
    pub(crate) const fn silent_since(&self) -> Option<Instant> {
        match self.state {
            State::Silent { since } => Some(since),
            State::Alive | State::Overdue | State::Suspect { .. } => None,
        }
    }

    /// Phi of the current silence.
    pub(crate) fn phi(&self, detector: &Detector, now: Instant) -> f64 {
        let silence = now.saturating_since(self.evidence);
        detector.phi(&self.window, silence.saturating_sub(self.forgiven))
    }

    /// How many of its heartbeats are overdue, where one is due each `interval`. None while it is
    /// found silent: then it is not its datagrams that are missing.
    pub(crate) fn missing(&self, now: Instant, interval: Duration) -> u64 {
        let beat = self.beat.filter(|_| !self.is_silent());
        let silence = beat.map_or(Duration::ZERO, |beat| now.saturating_since(beat));
        let overdue = silence.saturating_sub(part(interval, 4));
        nanos(overdue).checked_div(nanos(interval)).unwrap_or(0)
    }

    /// When [`Observation::due`] has something to do next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Alive => Some(self.overdue()),
            State::Overdue => Some(self.crosses(self.suspect_after)),
            State::Suspect { next, .. } => Some(next),
            State::Silent { .. } => None,
        }
    }

    /// What is due at this moment. `pings` is how many make a burst at the loss measured now; where
    /// that has grown since the burst began, it goes on.
    pub(crate) fn due(&mut self, now: Instant, pings: u32) -> Due {
        let spacing = BURST.checked_div(pings).unwrap_or(BURST);
        match self.state {
            State::Alive if now >= self.overdue() => {
                self.state = State::Overdue;
                Due::Ping
            }
            State::Overdue if now >= self.crosses(self.suspect_after) => {
                self.state = State::Suspect {
                    pinged: 1,
                    next: now.saturating_add(spacing),
                };
                Due::Suspected
            }
            State::Suspect { pinged, next } if now >= next => {
                if pinged < pings {
                    let pinged = pinged.saturating_add(1);
                    let wait = if pinged < pings { spacing } else { ANSWER };
                    self.state = State::Suspect {
                        pinged,
                        next: now.saturating_add(wait),
                    };
                    return Due::Ping;
                }
                let convict = self.crosses(self.convict_after);
                if now >= convict {
                    self.state = State::Silent { since: now };
                    return Due::Silent;
                }
                self.state = State::Suspect {
                    pinged,
                    next: convict,
                };
                Due::Nothing
            }
            _ => Due::Nothing,
        }
    }

    /// When its next heartbeat is overdue. What is forgiven the link and the patience with the member
    /// put off a suspicion, not the question.
    fn overdue(&self) -> Instant {
        self.evidence.saturating_add(self.overdue_after)
    }

    fn crosses(&self, after: Duration) -> Instant {
        let damped = self.evidence < self.damping.until;
        let doublings = if damped { self.damping.doublings } else { 0 };
        let doublings = self.refuted.saturating_add(doublings).min(MAX_PATIENCE);
        let patience = 1_u32.checked_shl(doublings).unwrap_or(1);
        let after = after.saturating_add(self.forgiven);
        self.evidence.saturating_add(after.saturating_mul(patience))
    }
}

#[cfg(test)]
mod tests {
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
        let mut observation =
            Observation::new(id, Generation::ZERO, 64, &detector(), Instant::ORIGIN);
        for n in 0..beats {
            beat(&mut observation, f64::from(n), u64::from(n) + 1);
        }
        observation
    }

    /// A heartbeat as the node takes it in: first a sign of life, then a sample.
    fn beat(observation: &mut Observation, seconds: f64, counter: u64) -> (Relief, Beat) {
        let relief = observation.evidence(at(seconds));
        (
            relief,
            observation.heartbeat(at(seconds), counter, &detector()),
        )
    }

    /// When it becomes suspect, if nothing is heard of it.
    fn suspicion(observation: &Observation) -> Instant {
        observation.crosses(observation.suspect_after)
    }

    /// Runs the deadlines until nothing is due any more; returns what was due, and when.
    fn run(observation: &mut Observation) -> std::vec::Vec<(Due, Instant)> {
        let mut log = std::vec::Vec::new();
        while let Some(now) = observation.deadline() {
            let due = observation.due(now, 5);
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
    fn a_count_that_leaps_is_believed_until_the_next() {
        let mut observation = after(70);
        let silence = suspicion(&observation).saturating_since(at(69.0));
        assert_eq!(beat(&mut observation, 69.5, u64::MAX).1, Beat::Leapt);
        assert_eq!(beat(&mut observation, 70.0, 71).1, Beat::Leapt);
        assert_eq!(beat(&mut observation, 71.0, 72).1, Beat::Counted(1));
        assert_eq!(observation.missing(at(72.0), Duration::from_secs(1)), 0);
        assert_eq!(
            suspicion(&observation).saturating_since(at(71.0)),
            silence,
            "how long an interval is does not follow from it"
        );
        assert_eq!(beat(&mut observation, 500.0, 501).1, Beat::Leapt);
        // A lie that leaps less far holds no longer.
        assert_eq!(beat(&mut observation, 500.5, 501 + 62).1, Beat::Counted(62));
        assert_eq!(beat(&mut observation, 501.0, 502).1, Beat::Leapt);
        assert_eq!(observation.missing(at(502.0), Duration::from_secs(1)), 0);
    }

    #[test]
    fn one_lost_heartbeat_raises_a_question_and_no_suspicion() {
        let mut observation = after(70);
        assert!(observation.deadline().unwrap() > at(70.3));
        assert_eq!(observation.due(at(70.5), 5), Due::Ping);
        assert_eq!(
            observation.due(at(71.1), 5),
            Due::Nothing,
            "it is asked once"
        );
        observation.evidence(at(71.1));
        assert!(observation.deadline().unwrap() > at(72.3));
    }

    #[test]
    fn an_answer_ends_the_suspicion_and_is_no_sample() {
        let mut observation = after(70);
        let suspected = suspicion(&observation);
        assert_eq!(observation.due(suspected, 5), Due::Ping);
        assert_eq!(observation.due(suspected, 5), Due::Suspected);
        assert_eq!(observation.evidence(suspected), Relief::Cleared);
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
    fn the_dead_come_back_without_poisoning_the_window() {
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

    #[test]
    fn a_pause_of_this_node_is_not_the_neighbours_silence() {
        let mut observation = after(70);
        let before = observation.convict_after;
        observation.paused(at(100.0), Duration::from_secs(30), SECOND);
        assert!(
            suspicion(&observation) >= at(102.0),
            "it has time to be heard"
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
            "what had queued up is no sample"
        );
        beat(&mut observation, 101.0, 101);
        beat(&mut observation, 102.0, 102);
        assert!(suspicion(&observation) < at(105.5));
    }

    #[test]
    fn refutation_through_others_is_believed_longer_each_time() {
        let mut observation = after(70);
        let mut last = Duration::ZERO;
        for _ in 0..3 {
            run(&mut observation);
            let now = at(1000.0);
            observation.refuted(now);
            let patience = suspicion(&observation).saturating_since(now);
            assert!(patience > last);
            last = patience;
            observation.evidence = at(70.0);
        }
        beat(&mut observation, 2000.0, 100);
        let patience = suspicion(&observation).saturating_since(at(2000.0));
        assert!(patience < last);
    }

    #[test]
    fn lost_heartbeats_are_no_jitter_but_a_run_of_them_is_forgiven() {
        let regular = after(70);
        let mut lossy = after(0);
        for n in (0..140_u32).filter(|n| n % 3 != 1) {
            beat(&mut lossy, f64::from(n), u64::from(n) + 1);
        }
        assert_eq!(lossy.convict_after, regular.convict_after);
        let silence = |o: &Observation| o.crosses(o.convict_after).saturating_since(o.evidence);
        let more = silence(&lossy).saturating_sub(silence(&regular));
        // Of one in three, four in a row are lost about once in a hundred: 4.2 s, less the pause.
        assert!((2.6..2.9).contains(&more.as_secs_f64()), "{more:?}");
        let phi = |o: &Observation| o.phi(&detector(), o.evidence.saturating_add(silence(o)));
        assert!((phi(&lossy) - phi(&regular)).abs() < 1e-6);
    }

    #[test]
    fn the_silence_of_an_unsteady_member_is_borne_for_longer_and_for_a_while() {
        let mut observation = after(70);
        let silence = |o: &Observation| suspicion(o).saturating_since(o.evidence);
        let plain = silence(&observation);
        let until = at(100.0);
        let damping = Damping {
            doublings: 2,
            until,
        };
        observation.damp(damping);
        assert_eq!(silence(&observation), plain.saturating_mul(4));
        observation.evidence(until);
        assert_eq!(silence(&observation), plain);
        observation.damp(Damping {
            doublings: 40,
            until: at(1000.0),
        });
        assert_eq!(silence(&observation), plain.saturating_mul(16), "bounded");
    }
}
