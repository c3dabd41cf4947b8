//! Hybrid logical time (Kulkarni et al., *Logical Physical Clocks*, 2014): stamps that follow the wall clock
//! and never run backwards.
//!
//! A [`Stamp`] packs 48 bits of Unix milliseconds above a 16-bit counter, so two stamps compare like two
//! integers.
//!
//! # Invariant
//!
//! A [`Clock`] hands out a stamp that is greater than every stamp that it has handed out or seen before, even
//! if the wall clock stands still or steps back. There is one exception, [`Clock::begin_anew`]: the wall clock was
//! wrong, and others refuse the stamps that followed it.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Instant, UnixTime};

const COUNTER_BITS: u32 = 16;
const MAX_MILLIS: u64 = (1 << 48) - 1;

/// A hybrid logical time stamp: 48 bits of Unix milliseconds, then a 16-bit counter.
///
/// Stamps last until the year 10889. The default, [`Stamp::ZERO`], is smaller than any that a clock hands
/// out.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp(#[serde(with = "postcard::fixint::le")] u64);

impl Stamp {
    /// Smaller than every stamp that a clock hands out.
    pub const ZERO: Self = Self(0);

    /// The first stamp of a millisecond. A time beyond 48 bits counts as the last one.
    #[must_use]
    pub fn at(time: UnixTime) -> Self {
        Self(time.as_millis().min(MAX_MILLIS) << COUNTER_BITS)
    }

    /// The stamp with this bit pattern.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bit pattern: milliseconds in the upper 48 bits, the counter below.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The wall-clock part.
    #[must_use]
    pub const fn time(self) -> UnixTime {
        UnixTime::from_millis(self.0 >> COUNTER_BITS)
    }

    /// The counter part, which orders the stamps of one millisecond.
    #[must_use]
    pub const fn counter(self) -> u16 {
        let [low, high, ..] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// The next greater stamp. The counter carries into the milliseconds. Saturates.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The same stamp so much earlier. Saturates.
    pub(crate) fn earlier(self, by: Duration) -> Self {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let bits = millis.min(MAX_MILLIS) << COUNTER_BITS;
        Self(self.0.saturating_sub(bits))
    }

    /// The next smaller stamp. Saturates.
    pub(crate) const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.time().as_millis(), self.counter())
    }
}

/// A stamp lies further ahead of the local wall clock than `max_clock_skew`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFarAhead {
    /// How far ahead it lies.
    pub(crate) ahead: Duration,
}

/// Hands out rising stamps. See the [module](self).
///
/// It knows what the wall clock showed when it was set last. Since then the monotonic clock moves it on.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    base: UnixTime,
    base_at: Instant,
    last: Stamp,
    max_skew: Duration,
}

impl Clock {
    pub(crate) fn new(now: Instant, wall: UnixTime, max_skew: Duration) -> Self {
        Self {
            base: wall,
            base_at: now,
            last: Stamp::ZERO,
            max_skew,
        }
    }

    /// Follows a step of the wall clock. Stamps to come are still greater than those handed out.
    pub(crate) fn set(&mut self, now: Instant, wall: UnixTime) {
        self.base = wall;
        self.base_at = now;
    }

    /// What the local wall clock shows.
    pub(crate) fn wall(&self, now: Instant) -> UnixTime {
        self.base.saturating_add(now.saturating_since(self.base_at))
    }

    /// The stamp of a process that starts, before any other. Two processes may start in the same millisecond, or a coarse
    /// clock may not tell them apart, so the counter has to differ from start to start.
    pub(crate) fn start(&mut self, now: Instant, counter: u16) -> Stamp {
        debug_assert_eq!(self.last, Stamp::ZERO, "this is the first");
        self.last = Stamp(Stamp::at(self.wall(now)).to_bits() | u64::from(counter));
        self.last
    }

    /// The stamp that [`tick`](Self::tick) would give.
    pub(crate) fn next(&self, now: Instant) -> Stamp {
        Stamp::at(self.wall(now)).max(self.last.next())
    }

    /// A new stamp, greater than every one before.
    pub(crate) fn tick(&mut self, now: Instant) -> Stamp {
        let before = self.last;
        self.last = self.next(now);
        // Only a caller whose wall clock shows the year 10889 gets the same stamp twice.
        debug_assert!(self.last > before || before.to_bits() == u64::MAX);
        self.last
    }

    /// The greatest stamp that is accepted of another node.
    pub(crate) fn limit(&self, now: Instant) -> Stamp {
        Stamp::at(self.wall(now).saturating_add(self.max_skew))
    }

    /// How far the latest stamp is ahead of the wall clock, if that is further than `max_clock_skew`. Others refuse it
    /// then: the wall clock was ahead, and has been set back.
    pub(crate) fn ran_ahead(&self, now: Instant) -> Option<Duration> {
        let wall = self.wall(now).as_millis();
        let ahead = self.last.time().as_millis().saturating_sub(wall);
        (self.last > self.limit(now)).then(|| Duration::from_millis(ahead))
    }

    /// Begins anew at the wall clock. Stamps given before it, and those seen, may be greater than those to come.
    pub(crate) fn begin_anew(&mut self, now: Instant) {
        self.last = Stamp::at(self.wall(now));
    }

    /// Accepts a stamp of another node, so that later ticks come after it. Refuses a stamp too far in the
    /// future, which would drag this clock along.
    pub(crate) fn observe(&mut self, now: Instant, stamp: Stamp) -> Result<(), TooFarAhead> {
        let wall = self.wall(now).as_millis();
        let ahead = Duration::from_millis(stamp.time().as_millis().saturating_sub(wall));
        if ahead > self.max_skew {
            return Err(TooFarAhead { ahead });
        }
        self.last = self.last.max(stamp);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKEW: Duration = Duration::from_secs(60);

    fn clock(millis: u64) -> Clock {
        Clock::new(Instant::ORIGIN, UnixTime::from_millis(millis), SKEW)
    }

    #[test]
    fn stamps_rise_even_if_the_wall_clock_stands_still_or_steps_back() {
        let mut clock = clock(1_000);
        let first = clock.tick(Instant::ORIGIN);
        let second = clock.tick(Instant::ORIGIN);
        clock.set(Instant::ORIGIN, UnixTime::from_millis(10));
        let third = clock.tick(Instant::ORIGIN);
        assert!(first < second && second < third);
        assert_eq!(third.time().as_millis(), 1_000);
    }

    #[test]
    fn a_stamp_is_greater_than_those_observed() {
        let mut clock = clock(1_000);
        let seen = Stamp::at(UnixTime::from_millis(5_000));
        clock.observe(Instant::ORIGIN, seen).unwrap();
        assert!(clock.tick(Instant::ORIGIN) > seen);
    }

    #[test]
    fn a_stamp_from_the_far_future_is_refused_and_changes_nothing() {
        let mut clock = clock(1_000);
        let far = Stamp::at(UnixTime::from_millis(1_000 + 60_001));
        let refused = clock.observe(Instant::ORIGIN, far).unwrap_err();
        assert_eq!(refused.ahead, Duration::from_millis(60_001));
        assert!(clock.tick(Instant::ORIGIN) < far);
        assert!(
            clock
                .observe(Instant::ORIGIN, Stamp::from_bits(u64::MAX))
                .is_err()
        );
    }

    #[test]
    fn the_counter_carries_into_the_milliseconds() {
        let last_of_its_millisecond = Stamp::from_bits((7 << 16) | 0xffff);
        assert_eq!(
            last_of_its_millisecond.next(),
            Stamp::at(UnixTime::from_millis(8))
        );
        assert_eq!(
            Stamp::from_bits(u64::MAX).next(),
            Stamp::from_bits(u64::MAX)
        );
    }
}
