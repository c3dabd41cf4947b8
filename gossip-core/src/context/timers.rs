//! The node's deadlines: one slot for each purpose.

use crate::time::Instant;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The next round of exchanges.
    Round,
    /// The next heartbeat to the neighbours.
    Heartbeat,
    /// The next thing due for an observed neighbour.
    Observation,
    /// A late vote begins to count.
    Vote,
    /// The next pings to members in doubt.
    Probe,
    /// Own writes of the last moment are pushed together.
    Flush,
    /// A node that found no seed announces itself all the same.
    Announce,
    /// A rival for this node's name has not shown itself.
    NameConflict,
    /// The next step of leaving.
    Leave,
    /// A node that is far behind meets another peer.
    CatchUp,
    /// What a part of the map's delta has overtaken is missing for so long that it is lost.
    Gap,
}

const COUNT: usize = 11;

impl Timer {
    /// All of them, in the order in which those due at the same time run.
    pub(crate) const ALL: [Self; COUNT] = [
        Self::Heartbeat,
        Self::Observation,
        Self::Vote,
        Self::Probe,
        Self::Announce,
        Self::NameConflict,
        Self::Round,
        Self::CatchUp,
        Self::Gap,
        Self::Leave,
        Self::Flush,
    ];
}

/// The table of deadlines.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadlines: [Option<Instant>; COUNT],
}

impl Timers {
    fn slot(&mut self, timer: Timer) -> &mut Option<Instant> {
        let [
            round,
            heartbeat,
            observation,
            vote,
            probe,
            flush,
            announce,
            conflict,
            leave,
            catch_up,
            gap,
        ] = &mut self.deadlines;
        match timer {
            Timer::Round => round,
            Timer::Heartbeat => heartbeat,
            Timer::Observation => observation,
            Timer::Vote => vote,
            Timer::Probe => probe,
            Timer::Flush => flush,
            Timer::Announce => announce,
            Timer::NameConflict => conflict,
            Timer::Leave => leave,
            Timer::CatchUp => catch_up,
            Timer::Gap => gap,
        }
    }

    /// Sets or clears a deadline.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        *self.slot(timer) = at;
    }

    /// Sets a deadline unless an earlier one stands.
    pub(crate) fn advance(&mut self, timer: Timer, at: Instant) {
        let slot = self.slot(timer);
        *slot = Some(slot.map_or(at, |standing| standing.min(at)));
    }

    /// Takes a deadline that has been reached.
    pub(crate) fn take_due(&mut self, timer: Timer, now: Instant) -> bool {
        self.slot(timer).take_if(|at| *at <= now).is_some()
    }

    /// The earliest.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Moves deadlines that were missed to now.
    pub(crate) fn postpone(&mut self, now: Instant) {
        for deadline in self.deadlines.iter_mut().flatten() {
            *deadline = now.max(*deadline);
        }
    }

    /// Clears all.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_timer_has_its_own_slot_and_the_earliest_is_next() {
        let mut timers = Timers::default();
        for (n, timer) in Timer::ALL.into_iter().enumerate() {
            timers.set(
                timer,
                Some(Instant::from_nanos(100 - u64::try_from(n).unwrap())),
            );
        }
        assert_eq!(timers.next(), Some(Instant::from_nanos(90)));
        timers.advance(Timer::Round, Instant::from_nanos(500));
        assert_eq!(timers.next(), Some(Instant::from_nanos(90)));
        timers.advance(Timer::Round, Instant::from_nanos(3));
        assert!(!timers.take_due(Timer::Round, Instant::from_nanos(2)));
        assert!(timers.take_due(Timer::Round, Instant::from_nanos(3)));
        assert!(!timers.take_due(Timer::Round, Instant::from_nanos(3)));
        timers.clear();
        assert_eq!(timers.next(), None);
    }
}
