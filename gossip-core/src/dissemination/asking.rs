//! How a node asks for what it has missed of pushes: whom, and at what pace.
//!
//! What is missed has mostly been overtaken, so a node waits a moment before it asks. It asks again at the pace of
//! the round trips that it measures, each time another node. While something is missed, here or at a peer, pushes
//! also tell how far others have come. So a node that has missed a push altogether hears of it from the next one,
//! whoever wrote that.

use core::net::SocketAddr;
use core::time::Duration;

use crate::context::Context;
use crate::identity::NodeId;
use crate::membership::{Condition, Record};
use crate::sync::peers::sample;
use crate::time::{Instant, part};

/// How long something has to be missing before it is asked for: what tells of it may have overtaken it.
pub(crate) const GRACE: Duration = Duration::from_millis(15);

/// The round trip that is reckoned with before one has been measured, and the shortest.
const FIRST_TRIP: Duration = Duration::from_millis(20);
const SHORTEST_TRIP: Duration = Duration::from_millis(5);

/// So often something is asked for at the pace of the round trip. Then the time doubles, and again each time after
/// as many.
pub(crate) const TRIES: u32 = 8;

/// The longest time between two requests, in intervals.
const LONGEST: u32 = 4;

/// The most messages at a time.
pub(crate) const MESSAGES: usize = 8;

/// For how many intervals after something was missed pushes tell of others.
const TELLING: u32 = 3;

/// Of how many of the latest a push tells then, or always, and of how many further ones in turn.
pub(crate) const TOLD_LATEST: usize = 2;
pub(crate) const TOLD_IN_TURN: usize = 2;

/// The pace of requests. See the [module](self).
#[derive(Debug)]
pub(crate) struct Asking {
    /// Whom this node has asked last, and when.
    last: Option<(SocketAddr, Instant)>,
    /// The usual time until an answer.
    trip: Duration,
    /// Until when pushes tell of others.
    telling: Instant,
}

impl Default for Asking {
    fn default() -> Self {
        Self {
            last: None,
            trip: FIRST_TRIP,
            telling: Instant::ORIGIN,
        }
    }
}

impl Asking {
    /// This node asks a peer.
    pub(crate) fn note_asked(&mut self, context: &Context, to: SocketAddr) {
        self.last = Some((to, context.now));
        self.note_missed(context);
    }

    /// Something is missing here or at a peer.
    pub(crate) fn note_missed(&mut self, context: &Context) {
        self.telling = context.in_intervals(TELLING);
    }

    /// Whether something was missing lately.
    pub(crate) fn has_missed(&self, now: Instant) -> bool {
        now < self.telling
    }

    /// A peer has answered: measures the round trip. What comes an interval after the request and later is no
    /// answer to it.
    pub(crate) fn on_answer(&mut self, context: &Context, from: SocketAddr) {
        let Some((_, at)) = self.last.take_if(|(to, _)| *to == from) else {
            return;
        };
        let trip = context.now.saturating_since(at);
        if trip < context.config.interval {
            let smooth = part(self.trip.saturating_mul(7).saturating_add(trip), 8);
            self.trip = smooth.max(SHORTEST_TRIP);
        }
    }

    /// The time after which an answer counts as lost.
    #[cfg(feature = "map")]
    pub(crate) fn patience(&self) -> Duration {
        self.trip.saturating_mul(3)
    }

    /// When to ask again for what has been asked for so often. What is asked for together is so again.
    pub(crate) fn next(&self, context: &Context, tries: u32) -> Instant {
        let doublings = tries.div_euclid(TRIES);
        let pause = self.trip.saturating_mul(2);
        let pause = pause.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
        let pause = pause.min(context.intervals(LONGEST));
        context.now.saturating_add(pause)
    }
}

/// The earliest time for the next requests: a burst of losses is asked for together.
pub(crate) fn earliest(now: Instant) -> Instant {
    now.saturating_add(SHORTEST_TRIP)
}

/// Any other live member.
pub(crate) fn any_other(context: &mut Context) -> Option<NodeId> {
    let live = context.table.home(context.own).live();
    let drawn = sample(live, context.own, 1, &mut context.rng);
    drawn.first().copied()
}

/// Whom to ask: first the node that showed what is missing, then `other`, and each third time the writer.
pub(crate) fn whom(
    context: &Context,
    tries: u32,
    shown_by: NodeId,
    writer: NodeId,
    other: Option<NodeId>,
) -> Option<SocketAddr> {
    let named = match tries {
        0 => Some(shown_by),
        _ if tries.is_multiple_of(3) => Some(writer),
        _ => None,
    };
    let lives = |record: &&Record| record.condition == Condition::Live && record.id != context.own;
    let address = |id| {
        let record = context.table.get(id).filter(lives);
        record.and_then(Record::address)
    };
    named.and_then(address).or_else(|| other.and_then(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::testing::{address, at, context};

    #[test]
    fn the_pace_follows_round_trips_and_no_late_answer() {
        let mut context = context(|_| ());
        let mut asking = Asking::default();
        asking.note_asked(&context, address(2));
        context.now = at(5);
        asking.on_answer(&context, address(3));
        assert_eq!(asking.trip, FIRST_TRIP, "it was not asked");
        asking.on_answer(&context, address(2));
        assert!(asking.trip < FIRST_TRIP);
        let quick = asking.trip;
        asking.note_asked(&context, address(2));
        context.now = context.in_intervals(1);
        asking.on_answer(&context, address(2));
        assert_eq!(asking.trip, quick, "that is no answer");
    }

    #[test]
    fn the_pause_doubles_after_every_eighth_request_up_to_a_bound() {
        let context = context(|_| ());
        let asking = Asking::default();
        let pause = |tries| {
            let next = asking.next(&context, tries);
            next.saturating_since(context.now)
        };
        for (tries, trips) in [(0, 2), (7, 2), (8, 4), (23, 8), (24, 16)] {
            assert_eq!(pause(tries), FIRST_TRIP * trips, "{tries}");
        }
        assert_eq!(pause(u32::MAX), context.intervals(LONGEST));
    }

    #[test]
    fn who_showed_it_is_asked_first_and_each_third_time_the_writer() {
        let mut context = context(|_| ());
        let (by, writer, other) = (context.learn(2), context.learn(3), context.learn(4));
        let asked = |tries| whom(&context, tries, by, writer, Some(other));
        let expected = [2, 4, 4, 3, 4, 4, 3].map(|n| Some(address(n)));
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(asked), expected);
        let own = context.own;
        assert_eq!(
            whom(&context, 0, own, writer, Some(other)),
            Some(address(4))
        );
    }
}
