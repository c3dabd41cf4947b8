//! What the wall clocks of peers show, and so how wrong this node's own is.
//!
//! Each told time is kept as its offset from this node's monotonic clock, which never steps. So a step of the own
//! wall clock shows at once, and no message is needed to notice it. Of all offsets the middle one counts: a few wrong
//! clocks do not move it.
//!
//! A told time is as old as its datagram, so offsets are short by the delay of the network. Deviations below
//! [`DELAYS`] say nothing.
//!
//! Invariant: at most [`KEPT`] offsets are kept, at most one of each peer.

use core::time::Duration;

use crate::event::ClockDeviation;
use crate::identity::NodeId;
use crate::time::{Instant, UnixTime, part};

/// The most peers whose clocks are remembered. Five wrong ones of nine would be believed.
const KEPT: usize = 9;

/// How long a told time is remembered. A monotonic clock drifts by less than a second meanwhile.
const LASTS: Duration = Duration::from_secs(600);

/// The longest delay that is expected of a datagram.
const DELAYS: Duration = Duration::from_secs(2);

/// The clock of a peer.
#[derive(Clone, Copy, Debug)]
struct Offset {
    peer: NodeId,
    at: Instant,
    /// Milliseconds from this node's monotonic time to the peer's Unix time.
    millis: i64,
}

/// The clocks of a few peers. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct PeerClocks {
    offsets: heapless::Vec<Offset, KEPT>,
    /// Whether the application knows that the own clock is wrong.
    is_told: bool,
}

/// What the application is to be told of the own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnClock {
    /// It differs so much from those of peers.
    Deviates(ClockDeviation),
    /// It agrees with them again.
    IsRight,
}

impl PeerClocks {
    /// A peer tells what its clock shows.
    pub(super) fn note(&mut self, now: Instant, peer: NodeId, wall: UnixTime) {
        let millis = millis(wall).saturating_sub(monotonic(now));
        let offset = Offset {
            peer,
            at: now,
            millis,
        };
        self.offsets
            .retain(|known| known.peer != peer && now.saturating_since(known.at) < LASTS);
        if self.offsets.is_full() {
            // The eldest stands first.
            self.offsets.remove(0);
        }
        let is_kept = self.offsets.push(offset).is_ok();
        debug_assert!(is_kept, "there is room");
    }

    /// By how many milliseconds a time is ahead of the clocks of peers: by the middle one of all that are known. Of the
    /// `peers` that this node meets, those whose clocks are not known count as clocks that show this time, up to [`KEPT`]
    /// in all.
    pub(super) fn ahead(&self, now: Instant, time: UnixTime, peers: usize) -> i64 {
        let mut ahead: heapless::Vec<i64, KEPT> = self.each_ahead(now, time).collect();
        while ahead.len() < peers && ahead.push(0).is_ok() {}
        ahead.sort_unstable();
        let last = ahead.len().saturating_sub(1);
        // Of the two in the middle of an even number, the one that finds the time less wrong.
        let middle = [last.div_euclid(2), last.div_ceil(2)];
        let middle = middle.iter().filter_map(|at| ahead.get(*at));
        let middle = middle.copied().min_by_key(|ahead| ahead.unsigned_abs());
        middle.unwrap_or_default()
    }

    /// Whether a time is within `max_skew` of the clocks of most peers.
    pub(super) fn agree(
        &self,
        now: Instant,
        time: UnixTime,
        peers: usize,
        max_skew: Duration,
    ) -> bool {
        let known = self.each_ahead(now, time);
        let near = |ahead: &i64| Duration::from_millis(ahead.unsigned_abs()) <= max_skew;
        let agree = known.clone().filter(near).count();
        agree.saturating_mul(2) > known.count().max(peers.min(KEPT))
    }

    /// By how much a time is ahead of each clock that is known.
    fn each_ahead(&self, now: Instant, time: UnixTime) -> impl Iterator<Item = i64> + Clone {
        let own = millis(time).saturating_sub(monotonic(now));
        let is_young = move |known: &&Offset| now.saturating_since(known.at) < LASTS;
        let young = self.offsets.iter().filter(is_young);
        young.map(move |known| own.saturating_sub(known.millis))
    }

    /// What the application is to be told of the own clock, which shows `wall`. A deviation is told once it exceeds half
    /// of `max_skew`, before others refuse anything, and its end once it is below a quarter.
    pub(super) fn review(
        &mut self,
        now: Instant,
        wall: UnixTime,
        peers: usize,
        max_skew: Duration,
    ) -> Option<OwnClock> {
        let ahead = self.ahead(now, wall, peers);
        let by = Duration::from_millis(ahead.unsigned_abs());
        let limit = part(max_skew, if self.is_told { 4 } else { 2 });
        let deviates = by > limit.max(DELAYS);
        if deviates == self.is_told {
            return None;
        }
        self.is_told = deviates;
        Some(if deviates {
            OwnClock::Deviates(ClockDeviation::of(ahead))
        } else {
            OwnClock::IsRight
        })
    }
}

/// Whether peers refuse a stamp that is so many milliseconds ahead of their clocks.
#[cfg(feature = "map")]
pub(super) fn is_refused(ahead: i64, max_skew: Duration) -> bool {
    u64::try_from(ahead)
        .is_ok_and(|ahead| Duration::from_millis(ahead) > max_skew.saturating_add(DELAYS))
}

fn millis(time: UnixTime) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn monotonic(now: Instant) -> i64 {
    i64::try_from(now.as_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: u64 = 1_800_000_000_000;
    const SKEW: Duration = Duration::from_secs(60);

    fn wall(ahead: i64) -> UnixTime {
        UnixTime::from_millis(WALL.saturating_add_signed(ahead))
    }

    /// Clocks of so many peers, which are ahead of the truth by this.
    fn clocks(ahead: &[i64]) -> PeerClocks {
        let mut clocks = PeerClocks::default();
        for (peer, ahead) in (1..).zip(ahead) {
            clocks.note(Instant::ORIGIN, NodeId::from_u64(peer), wall(*ahead));
        }
        clocks
    }

    #[test]
    fn the_middle_clock_counts_and_unknown_ones_agree() {
        let hour = 3_600_000;
        for (known, peers, expected) in [
            (&[][..], 5, 0),
            (&[-hour], 0, hour),
            (&[-hour], 1, hour),
            (&[-hour], 2, 0),
            (&[-hour, -hour], 3, hour),
            (&[-hour, 0], 2, 0),
            (&[-hour, 0, 0], 3, 0),
            (&[-hour, -hour, 0], 3, hour),
            (&[hour, hour, -5000], 3, -hour),
            (&[-hour; 5], 9999, hour),
            (&[-hour; 4], 9999, 0),
        ] {
            let ahead = clocks(known).ahead(Instant::ORIGIN, wall(0), peers);
            assert_eq!(ahead, expected, "{known:?} of {peers}");
        }
    }

    #[test]
    fn most_peers_have_to_agree() {
        for (known, peers, expected) in [
            (&[][..], 0, false),
            (&[], 5, false),
            (&[0], 1, true),
            (&[0], 2, false),
            (&[0, 50_000], 3, true),
            (&[0, 70_000], 2, false),
            (&[0; 5], 9999, true),
        ] {
            let agree = clocks(known).agree(Instant::ORIGIN, wall(0), peers, SKEW);
            assert_eq!(agree, expected, "{known:?} of {peers}");
        }
    }

    #[test]
    fn a_deviation_and_its_end_are_told_once_each() {
        let mut clocks = clocks(&[0, 0, 0]);
        let mut review = |ahead| clocks.review(Instant::ORIGIN, wall(ahead), 3, SKEW);
        assert_eq!(review(29_000), None);
        let by = ClockDeviation::Behind(Duration::from_millis(31_000));
        assert_eq!(review(-31_000), Some(OwnClock::Deviates(by)));
        assert_eq!(review(-40_000), None);
        assert_eq!(review(20_000), None, "it is not right yet");
        assert_eq!(review(14_000), Some(OwnClock::IsRight));
        assert_eq!(review(0), None);
    }

    #[test]
    fn a_clock_is_remembered_for_a_while_one_of_each_peer_and_nine_at_most() {
        let later = Instant::ORIGIN.saturating_add(LASTS);
        let mut clocks = clocks(&[0; 20]);
        assert_eq!(clocks.offsets.len(), KEPT);
        clocks.note(Instant::ORIGIN, NodeId::from_u64(20), wall(7));
        let of = |peer| move |known: &&Offset| known.peer == NodeId::from_u64(peer);
        assert_eq!(clocks.offsets.iter().filter(of(20)).count(), 1);
        assert_eq!(clocks.each_ahead(later, wall(0)).count(), 0);
    }

    #[cfg(feature = "map")]
    #[test]
    fn a_stamp_is_refused_beyond_the_skew_and_the_delay() {
        for (ahead, expected) in [(62_001, true), (61_999, false), (-99_999, false)] {
            assert_eq!(is_refused(ahead, SKEW), expected, "{ahead}");
        }
    }
}
