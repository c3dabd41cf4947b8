//! The deadlines of a node: a table with one slot for each purpose.
//!
//! All timers stand in one order, which is the order in which those due at the same time run. The enum,
//! [`Timer::ALL`] and the slots of the table are written in it.

use crate::time::Instant;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The next heartbeat to the neighbours is due.
    Heartbeat,
    /// The next step of an observation is due.
    Observation,
    /// A vote begins to count, or verdicts may be drawn again.
    Vote,
    /// Votes that are to be withdrawn have waited for others.
    Withdrawal,
    /// The next pings to members in doubt are due.
    Probe,
    /// A node that found no seed announces itself all the same.
    Announce,
    /// The other node of this name has had its time to answer.
    NameConflict,
    /// The next round is due.
    Round,
    /// A node that is far behind may meet another peer.
    CatchUp,
    /// What pushes have shown has been missing for so long that it is asked for.
    Missing,
    /// A part of the map's delta has been overtaken for so long that it counts as lost.
    Gap,
    /// No run of the map has come for a while, so others are told of the latest ones.
    TellRuns,
    /// Writes of the map have been missing for so long that they are asked for.
    Repair,
    /// The old addresses of members that seem to have moved have had time to answer.
    Relocation,
    /// The next step of leaving is due.
    Leave,
    /// What this node wrote in the last moment is pushed.
    Flush,
}

const COUNT: usize = 16;

impl Timer {
    /// All timers, in the order in which those due at the same time run.
    pub(crate) const ALL: [Self; COUNT] = [
        Self::Heartbeat,
        Self::Observation,
        Self::Vote,
        Self::Withdrawal,
        Self::Probe,
        Self::Announce,
        Self::NameConflict,
        Self::Round,
        Self::CatchUp,
        Self::Missing,
        Self::Gap,
        Self::TellRuns,
        Self::Repair,
        Self::Relocation,
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
            heartbeat,
            observation,
            vote,
            withdrawal,
            probe,
            announce,
            name_conflict,
            round,
            catch_up,
            missing,
            gap,
            tell_runs,
            repair,
            relocation,
            leave,
            flush,
        ] = &mut self.deadlines;
        match timer {
            Timer::Heartbeat => heartbeat,
            Timer::Observation => observation,
            Timer::Vote => vote,
            Timer::Withdrawal => withdrawal,
            Timer::Probe => probe,
            Timer::Announce => announce,
            Timer::NameConflict => name_conflict,
            Timer::Round => round,
            Timer::CatchUp => catch_up,
            Timer::Missing => missing,
            Timer::Gap => gap,
            Timer::TellRuns => tell_runs,
            Timer::Repair => repair,
            Timer::Relocation => relocation,
            Timer::Leave => leave,
            Timer::Flush => flush,
        }
    }

    /// Sets or clears a deadline.
    pub(crate) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        *self.slot(timer) = at;
    }

    /// Sets a deadline, unless an earlier one is set.
    pub(crate) fn advance(&mut self, timer: Timer, at: Instant) {
        let slot = self.slot(timer);
        *slot = Some(slot.map_or(at, |earlier| earlier.min(at)));
    }

    /// Clears a deadline that has been reached. Tells whether there was one.
    pub(crate) fn take_due(&mut self, timer: Timer, now: Instant) -> bool {
        self.slot(timer).take_if(|at| *at <= now).is_some()
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Moves deadlines that were missed to now.
    pub(crate) fn postpone(&mut self, now: Instant) {
        for deadline in self.deadlines.iter_mut().flatten() {
            *deadline = now.max(*deadline);
        }
    }

    /// Clears all deadlines.
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
        assert_eq!(timers.next(), Some(Instant::from_nanos(85)));
        timers.advance(Timer::Round, Instant::from_nanos(500));
        assert_eq!(timers.next(), Some(Instant::from_nanos(85)));
        timers.advance(Timer::Round, Instant::from_nanos(3));
        assert!(!timers.take_due(Timer::Round, Instant::from_nanos(2)));
        assert!(timers.take_due(Timer::Round, Instant::from_nanos(3)));
        assert!(!timers.take_due(Timer::Round, Instant::from_nanos(3)));
        timers.clear();
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn only_missed_deadlines_are_postponed() {
        let mut timers = Timers::default();
        let at = Instant::from_nanos;
        timers.set(Timer::Round, Some(at(5)));
        timers.set(Timer::Leave, Some(at(20)));
        timers.postpone(at(10));
        assert!(timers.take_due(Timer::Round, at(10)));
        assert!(!timers.take_due(Timer::Leave, at(19)));
        assert_eq!(timers.next(), Some(at(20)));
    }
}
