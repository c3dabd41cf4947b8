//! Time as the core sees it: two numbers that the caller supplies.
//!
//! The core reads no clock. [`Instant`] is the caller's monotonic time, counted from an origin of the caller's
//! choice. [`UnixTime`] is the wall clock, which is needed only to stamp what is written. Arithmetic on both
//! saturates, so no input can make it overflow.

use core::time::Duration;

/// A point on the caller's monotonic time line, in nanoseconds since an arbitrary origin.
///
/// The origin must stay the same for the life of a [`Node`](crate::Node). The range is 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin of the time line.
    pub const ORIGIN: Self = Self(0);

    /// The point `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The point `since_origin` after the origin. Saturates after 584 years.
    #[must_use]
    pub fn from_origin(since_origin: Duration) -> Self {
        Self(nanos(since_origin))
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, or zero if `earlier` is later.
    #[must_use]
    // On a 32-bit machine the code is large, so it should not be repeated at each call.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point `by` later. Saturates at the end of the time line.
    #[must_use]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// The point `by` earlier. Saturates at the origin.
    #[must_use]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn saturating_sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)))
    }
}

/// One of `parts` equal parts of a duration.
pub(crate) fn part(whole: Duration, parts: u32) -> Duration {
    debug_assert!(parts > 0);
    whole.checked_div(parts).unwrap_or_default()
}

/// A duration in nanoseconds. Saturates at 584 years: 128-bit numbers would cost a small machine much code.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Wall-clock time: milliseconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The point `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The point `by` later. Saturates.
    #[must_use]
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

#[cfg(feature = "std")]
impl From<std::time::SystemTime> for UnixTime {
    /// A time before the epoch becomes the epoch.
    fn from(time: std::time::SystemTime) -> Self {
        let since = time
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let end = Instant::from_nanos(u64::MAX);
        assert_eq!(end.saturating_add(Duration::MAX), end);
        assert_eq!(
            Instant::ORIGIN.saturating_sub(Duration::from_secs(1)),
            Instant::ORIGIN
        );
        assert_eq!(Instant::ORIGIN.saturating_since(end), Duration::ZERO);
        assert_eq!(
            end.saturating_since(Instant::ORIGIN),
            Duration::from_nanos(u64::MAX)
        );
        assert_eq!(
            UnixTime::from_millis(1)
                .saturating_add(Duration::MAX)
                .as_millis(),
            u64::MAX
        );
    }
}
