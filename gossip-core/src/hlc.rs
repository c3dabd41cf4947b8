//! Hybrid logical time: stamps that follow the wall clock and never run backwards.
//!
//! Source: Kulkarni et al., *Logical Physical Clocks* (2014). A [`Stamp`] packs 48 bits of Unix
//! milliseconds above a 16-bit counter, so that comparing two stamps is comparing two integers. A
//! [`Clock`] hands out stamps that are strictly greater than every stamp it handed out or saw, even
//! when the wall clock stands still or steps back.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Instant, UnixTime};

const COUNTER_BITS: u32 = 16;
const MAX_MILLIS: u64 = (1 << 48) - 1;

/// A hybrid logical time stamp: 48 bits of Unix milliseconds, then a 16-bit counter.
///
/// Lasts until the year 10889. The default, [`Stamp::ZERO`], is older than any real stamp.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp(#[serde(with = "postcard::fixint::le")] u64);

impl Stamp {
    /// Older than every stamp that a clock hands out.
    pub const ZERO: Self = Self(0);

    /// The first stamp of a millisecond; times beyond 48 bits saturate.
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

    /// The counter part, which orders stamps of one millisecond.
    #[must_use]
    pub fn counter(self) -> u16 {
        u16::try_from(self.0 & u64::from(u16::MAX)).unwrap_or(u16::MAX)
    }

    /// The next greater stamp; the counter carries into the milliseconds. Saturates.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
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

/// A stamp lies further ahead of the local wall clock than `max_clock_skew` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFarAhead {
    /// How far ahead it lies.
    pub(crate) ahead: Duration,
}

/// Hands out strictly increasing stamps.
///
/// The wall clock is a base that is set from outside, moved on by the monotonic clock.
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

    /// Follows a step of the wall clock. Stamps already handed out stay behind those to come.
    pub(crate) fn set(&mut self, now: Instant, wall: UnixTime) {
        self.base = wall;
        self.base_at = now;
    }

    /// The local wall clock.
    pub(crate) fn wall(&self, now: Instant) -> UnixTime {
        self.base.saturating_add(now.saturating_since(self.base_at))
    }

    /// A new stamp, greater than every one before.
    pub(crate) fn tick(&mut self, now: Instant) -> Stamp {
        self.last = Stamp::at(self.wall(now)).max(self.last.next());
        self.last
    }

    /// Accepts a stamp from elsewhere, so that later ticks come after it; refuses one too far in
    /// the future, which would drag this clock along.
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
    fn ticks_rise_when_the_wall_clock_stands_still_or_steps_back() {
        let mut clock = clock(1_000);
        let first = clock.tick(Instant::ORIGIN);
        let second = clock.tick(Instant::ORIGIN);
        clock.set(Instant::ORIGIN, UnixTime::from_millis(10));
        let third = clock.tick(Instant::ORIGIN);
        assert!(first < second && second < third);
        assert_eq!(third.time().as_millis(), 1_000);
    }

    #[test]
    fn a_tick_follows_what_was_observed() {
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
