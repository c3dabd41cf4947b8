//! What this node hears of one member that it observes.
//!
//! An observation goes through four states: `Alive → Overdue → Suspect → Silent`. Any sign of life
//! brings it back to `Alive`, and from `Silent` one that shows that the member hears this node.
//!
//! - A message of any kind is a sign of life. Only heartbeats feed the statistics.
//! - *Overdue*: the heartbeat is late, and the node pings the member once. If only the heartbeat
//!   was lost, the answer says so a second before anybody would suspect the member. A pause that
//!   follows then does not add to the loss before it.
//! - *Suspect*: the silence has reached the threshold for suspicion. The node pings the member in a
//!   short burst before it finds it silent. When loss sets in suddenly, windows full of clean
//!   samples convict by chance. A burst tells loss from death within half a second.
//! - *Silent*: the burst got no answer, and the silence has reached the threshold for conviction.
//!   The node votes against the member. This vote is what *conviction* means everywhere in this module.
//!
//! # Invariants
//!
//! - A member is never found silent before it was suspect, and never before it was pinged.
//! - The thresholds follow from the window as it is now.
//! - Patience is doubled at most [`MAX_DOUBLINGS`] times.

use alloc::boxed::Box;
use core::time::Duration;

use super::detector::{Detector, Window};
use super::loss::{ANSWER_TO_BURST, Loss};
use crate::identity::{Generation, NodeId};
use crate::time::{Instant, nanos, part};

/// How long a burst of pings takes.
const BURST_TIME: Duration = Duration::from_millis(400);
/// Heartbeats whose counters are further apart say nothing of one another. If a greater counter
/// were believed for good, one forged heartbeat would make all true ones that follow look repeated.
const MAX_STEP: u64 = 64;
/// The most heartbeats that can overtake another one: they are an interval apart.
const MAX_OVERTAKING: u64 = 4;
/// The most times that flaps double the patience with a member. The first flap is forgiven, because
/// a partition makes every member flap. Each further one doubles the patience.
const MAX_DOUBLINGS: u32 = 2;

/// What this node hears of one member.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(super) id: NodeId,
    pub(super) generation: Generation,
    window: Box<Window>,
    /// How many of the member's heartbeats are lost.
    loss: Loss,
    /// The silence that is forgiven because of that loss.
    forgiven: Duration,
    /// After this silence the member is overdue.
    overdue_after: Duration,
    /// After this silence the member is suspect.
    suspect_after: Duration,
    /// After this silence the member is convicted.
    convict_after: Duration,
    /// The counter of the latest heartbeat.
    counter: Option<u64>,
    /// When the latest heartbeat arrived. `None` if the interval up to the next one is no sample.
    last_beat: Option<Instant>,
    /// Heartbeats before this moment are no samples: they waited while this node was paused.
    samples_from: Instant,
    /// When the observation of this generation began.
    observed_from: Instant,
    /// When the current silence began: the latest sign of life, or else the beginning of the
    /// observation.
    silent_from: Instant,
    /// The latest sign of life.
    heard: Option<Instant>,
    /// The latest sign that the member hears this node, or the beginning of the observation.
    hears: Instant,
    state: State,
    /// Whether the application was told that the member is suspect, and not yet that this is over.
    is_suspected: bool,
    damping: Damping,
}

/// How much longer this node bears the silence of a member that went down and came up again a short
/// time ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Damping {
    /// How often the patience is doubled.
    pub(super) doublings: u32,
    /// Silences that begin at this moment or later are not affected.
    pub(super) until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Alive,
    Overdue,
    /// The member has got `pinged` pings of a burst, and the next step is due at `next`.
    Suspect {
        pinged: u32,
        next: Instant,
    },
    /// The member was last asked whether it hears this node after all at `asked`.
    Silent {
        since: Instant,
        asked: Instant,
    },
}

/// What the counter of a heartbeat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// The heartbeat came twice, or a later one has overtaken it.
    Repeated,
    /// So many heartbeats were sent since the latest one, this one included.
    Counted(u64),
    /// The counter is far from the latest one: an outage has ended, or one of the two counters is a
    /// lie. Counting begins anew. Neither the loss nor the length of an interval follows from this
    /// heartbeat.
    Leapt,
}

/// What a sign of life has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relief {
    /// Nothing: the member was neither suspect nor silent.
    None,
    /// The member was suspect.
    Cleared,
    /// The member was silent: the vote against it is to be withdrawn.
    Revived,
}

/// The step that is due for an observed member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// No step is due.
    Nothing,
    /// The member has become suspect: tell the application, and ping the member.
    Suspected,
    /// Ping the member.
    Ping,
    /// The member is silent: vote against it.
    Silent,
}

/// Where the observation of a member is in a list that is sorted by id, or where it is to be
/// inserted.
pub(super) fn position(observations: &[Observation], id: NodeId) -> Result<usize, usize> {
    observations.binary_search_by_key(&id, |observation| observation.id)
}

/// The observation of a member in a list that is sorted by id.
pub(super) fn find(observations: &[Observation], id: NodeId) -> Option<&Observation> {
    observations.get(position(observations, id).ok()?)
}

impl Observation {
    /// Begins to observe a member.
    pub(super) fn new(
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
            last_beat: None,
            samples_from: now,
            observed_from: now,
            silent_from: now,
            heard: None,
            hears: now,
            state: State::Alive,
            is_suspected: false,
            damping: Damping::default(),
        }
    }

    /// A heartbeat has arrived. The caller has noted before that it is a sign of life.
    pub(super) fn heartbeat(&mut self, now: Instant, counter: u64, detector: &Detector) -> Beat {
        debug_assert_eq!(self.state, State::Alive, "a heartbeat is a sign of life");
        debug_assert!(self.silent_from >= now, "a heartbeat is a sign of life");
        let expected = match self.counter {
            None => 1,
            Some(last) if counter <= last && last.saturating_sub(counter) < MAX_OVERTAKING => {
                return Beat::Repeated;
            }
            Some(last) => counter.saturating_sub(last),
        };
        self.counter = Some(counter);
        let last_beat = self.last_beat.replace(now);
        if !(1..=MAX_STEP).contains(&expected) {
            return Beat::Leapt;
        }
        self.loss.heartbeat(expected);
        self.forgiven = detector.forgiven(self.loss.share());
        if let Some(last_beat) = last_beat.filter(|_| now >= self.samples_from) {
            let spanned = u32::try_from(expected).unwrap_or(u32::MAX);
            let interval = now.saturating_since(last_beat).checked_div(spanned);
            // An outage that ended in time moves the statistics, but no further than a suspicion
            // would.
            self.window
                .push(interval.unwrap_or_default().min(self.suspect_after));
            self.update_thresholds(detector);
        }
        Beat::Counted(expected)
    }

    /// Derives the thresholds from a window that has changed.
    fn update_thresholds(&mut self, detector: &Detector) {
        self.suspect_after = detector.suspect_after(&self.window);
        self.convict_after = detector.convict_after(&self.window);
        let overdue = detector.overdue_after(&self.window);
        self.overdue_after = overdue.min(self.suspect_after);
        // Quantiles are found up to a small error, which shows where the two thresholds are almost
        // equal.
        debug_assert!(
            self.suspect_after <= self.convict_after.saturating_add(Duration::from_micros(1)),
            "convicted before suspect"
        );
    }

    /// A message has arrived that shows that the member hears this node.
    pub(super) fn shows_hearing(&mut self, now: Instant) -> Relief {
        self.hears = self.hears.max(now);
        self.sign_of_life(now)
    }

    /// Another message has arrived. It is a sign of life if the member has shown since `since` that it hears this node.
    pub(super) fn sends(&mut self, now: Instant, since: Instant) -> Relief {
        debug_assert!(!self.is_silent(), "only hearing ends a silence");
        if self.hears < since {
            return Relief::None;
        }
        self.sign_of_life(now)
    }

    fn sign_of_life(&mut self, now: Instant) -> Relief {
        self.silent_from = self.silent_from.max(now);
        self.heard = Some(self.silent_from);
        match core::mem::replace(&mut self.state, State::Alive) {
            State::Alive | State::Overdue => Relief::None,
            State::Suspect { .. } => Relief::Cleared,
            State::Silent { .. } => {
                // The silence was an outage: it was no interval between heartbeats, and those that are missing were
                // not lost on the way. A link that lost half a minute of them would be forgiven another silence of
                // many intervals.
                self.last_beat = None;
                self.counter = None;
                Relief::Revived
            }
        }
    }

    /// This node stood still for `gap`, which was not the member's silence.
    ///
    /// What the member sent meanwhile may still be waiting to be read. The next heartbeat is due
    /// within an interval in any case.
    pub(super) fn paused(&mut self, now: Instant, gap: Duration, interval: Duration) {
        self.last_beat = None;
        self.samples_from = now.saturating_add(part(interval, 2));
        let grace = self
            .suspect_after
            .saturating_sub(interval.saturating_mul(2));
        self.hears = self.hears.saturating_add(gap).min(now);
        self.silent_from = self
            .silent_from
            .saturating_add(gap)
            .max(now.saturating_sub(grace))
            .min(now);
        if self.is_suspect() {
            self.state = State::Alive;
        }
    }

    /// The application is told that the member is suspect.
    pub(super) const fn note_suspicion(&mut self) {
        self.is_suspected = true;
    }

    /// The suspicion is over, or what else the application is told of the member ends it. Returns whether it was
    /// told of one.
    pub(super) const fn end_suspicion(&mut self) -> bool {
        core::mem::replace(&mut self.is_suspected, false)
    }

    /// The member runs under another generation.
    pub(super) fn restarted(&mut self, generation: Generation, detector: &Detector, now: Instant) {
        debug_assert!(generation > self.generation, "an older generation");
        self.generation = generation;
        self.window.clear();
        self.update_thresholds(detector);
        self.loss = Loss::default();
        self.forgiven = Duration::ZERO;
        self.counter = None;
        self.last_beat = None;
        self.observed_from = now;
        self.silent_from = now;
        self.heard = None;
        self.hears = now;
        self.state = State::Alive;
        self.is_suspected = false;
        self.damping = Damping::default();
    }

    /// The member has gone down and come up again: from now on this node bears its silence for
    /// longer.
    pub(super) const fn damp(&mut self, damping: Damping) {
        self.damping = damping;
    }

    /// When the observation of this generation began.
    pub(super) const fn observed_from(&self) -> Instant {
        self.observed_from
    }

    /// The latest sign of life that this node received, from the member or through others.
    pub(super) const fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// The counter of the member's latest heartbeat.
    pub(crate) const fn counter(&self) -> Option<u64> {
        self.counter
    }

    pub(crate) fn is_suspect(&self) -> bool {
        matches!(self.state, State::Suspect { .. })
    }

    pub(crate) const fn is_silent(&self) -> bool {
        self.silent_since().is_some()
    }

    /// Whether the member is silent and was not asked since `before`: then it is asked now.
    pub(super) fn ask_again(&mut self, now: Instant, before: Instant) -> bool {
        match &mut self.state {
            State::Silent { asked, .. } if *asked <= before => {
                *asked = now;
                true
            }
            _ => false,
        }
    }

    /// When this node found the member silent, if it is.
    pub(super) const fn silent_since(&self) -> Option<Instant> {
        match self.state {
            State::Silent { since, .. } => Some(since),
            State::Alive | State::Overdue | State::Suspect { .. } => None,
        }
    }

    /// The phi of the current silence.
    pub(super) fn phi(&self, detector: &Detector, now: Instant) -> f64 {
        let silence = now.saturating_since(self.silent_from);
        detector.phi(&self.window, silence.saturating_sub(self.forgiven))
    }

    /// How many of the member's heartbeats are overdue, if one is due each `interval`. None while
    /// the member is silent: then it has sent none, and no datagrams are missing.
    pub(super) fn missing(&self, now: Instant, interval: Duration) -> u64 {
        let last_beat = self.last_beat.filter(|_| !self.is_silent());
        let silence = last_beat.map_or(Duration::ZERO, |beat| now.saturating_since(beat));
        let overdue = silence.saturating_sub(part(interval, 4));
        nanos(overdue).checked_div(nanos(interval)).unwrap_or(0)
    }

    /// When [`Observation::take_step`] has something to do next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Alive => Some(self.overdue_at()),
            State::Overdue => Some(self.crosses(self.suspect_after)),
            State::Suspect { next, .. } => Some(next),
            State::Silent { .. } => None,
        }
    }

    /// Takes the next step, if one is due now, and changes the state. `pings` is how many pings make
    /// a burst at the loss measured now. If that number has grown since the burst began, the burst
    /// goes on.
    pub(super) fn take_step(&mut self, now: Instant, pings: u32) -> Due {
        let spacing = BURST_TIME.checked_div(pings).unwrap_or(BURST_TIME);
        match self.state {
            State::Alive if now >= self.overdue_at() => {
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
                debug_assert!(pinged > 0, "a suspect has been pinged");
                if pinged < pings {
                    let pinged = pinged.saturating_add(1);
                    let is_last = pinged == pings;
                    let wait = if is_last { ANSWER_TO_BURST } else { spacing };
                    self.state = State::Suspect {
                        pinged,
                        next: now.saturating_add(wait),
                    };
                    return Due::Ping;
                }
                let convict_at = self.crosses(self.convict_after);
                if now >= convict_at {
                    self.state = State::Silent {
                        since: now,
                        asked: now,
                    };
                    return Due::Silent;
                }
                self.state = State::Suspect {
                    pinged,
                    next: convict_at,
                };
                Due::Nothing
            }
            _ => Due::Nothing,
        }
    }

    /// When the next heartbeat is overdue. Neither the silence that is forgiven the link nor the
    /// patience with the member puts off this first ping; they put off a suspicion.
    fn overdue_at(&self) -> Instant {
        self.silent_from.saturating_add(self.overdue_after)
    }

    /// When the current silence reaches a threshold, with the silence that is forgiven and the
    /// patience with the member.
    ///
    /// The detector bounds the threshold alone. Loss adds what is forgiven for it, and patience
    /// doubles the sum up to [`MAX_DOUBLINGS`] times.
    fn crosses(&self, threshold: Duration) -> Instant {
        let is_damped = self.silent_from < self.damping.until;
        let doublings = if is_damped { self.damping.doublings } else { 0 };
        let patience = 1_u32.checked_shl(doublings.min(MAX_DOUBLINGS)).unwrap_or(1);
        let silence = threshold.saturating_add(self.forgiven);
        self.silent_from
            .saturating_add(silence.saturating_mul(patience))
    }
}

#[cfg(test)]
mod tests;
