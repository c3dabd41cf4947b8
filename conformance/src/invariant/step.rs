//! What each input and its outputs must keep to.

use gossip_core::{Config, Instant, Metrics, Standing, Status};

use super::{Held, MemberView, Output, View, Violation};
use crate::num::count;

/// The most datagrams that one message in a node's queue becomes: a push of as many news as wait
/// before it is handed on, 64, and as a last datagram of small ones brings, each in a datagram of its
/// own.
const PER_MESSAGE: usize = 128;

/// The limits that a node's configuration sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in a datagram.
    pub datagram: usize,
    /// Datagrams that one input may bring forth.
    pub transmits: usize,
    /// Events that one input may bring forth.
    pub events: usize,
    /// Members that live or are down. As many more may have left or been removed.
    pub members: u64,
    /// Bytes of state of one member.
    pub state: u64,
}

impl Limits {
    /// The limits of a node with this configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            datagram: usize::from(config.max_datagram),
            transmits: usize::from(config.outbox).saturating_mul(PER_MESSAGE),
            // The queue, and the event that tells of its overflow.
            events: usize::from(config.event_queue).saturating_add(1),
            members: u64::from(config.max_members),
            state: u64::from(config.max_state),
        }
    }

    /// A datagram fits.
    #[must_use]
    pub fn datagram(&self, length: usize) -> Option<Violation> {
        let limit = self.datagram;
        (length > limit).then_some(Violation::DatagramTooLong { length, limit })
    }

    /// The outputs of one input end. To be asked before another is taken.
    #[must_use]
    pub fn drain(&self, output: Output, taken: usize) -> Option<Violation> {
        let limit = match output {
            Output::Transmits => self.transmits,
            Output::Events => self.events,
        };
        (taken > limit).then_some(Violation::DrainTooLong {
            output,
            taken,
            limit,
        })
    }

    /// Tables and stores stay within their limits.
    #[must_use]
    pub fn held(&self, metrics: &Metrics) -> Option<Violation> {
        let check = |what, held, limit| {
            (held > limit).then_some(Violation::TooMuchHeld { what, held, limit })
        };
        let state = self.state.saturating_mul(metrics.members.max(1));
        let living = metrics.live.saturating_add(metrics.down);
        let places = self.members.saturating_mul(2);
        check(Held::Members, living, self.members)
            .or_else(|| check(Held::Members, metrics.members, places))
            .or_else(|| check(Held::State, metrics.state_bytes, state))
    }
}

/// After `handle_timeout(now)`, the next deadline is later than `now`.
#[must_use]
pub fn moves_on(now: Instant, deadline: Option<Instant>) -> Option<Violation> {
    let deadline = deadline?;
    (deadline <= now).then_some(Violation::TimeStandsStill { now, deadline })
}

/// The gauge of live members says what the view shows.
#[must_use]
pub fn gauge(view: &View) -> Option<Violation> {
    if !matches!(view.standing, Standing::Joining | Standing::Up) {
        // Whether a node that departs is one of the living is its own affair.
        return None;
    }
    let live = |member: &&MemberView| !matches!(member.status, Status::Down | Status::Left);
    let shown = count(view.members.iter().filter(live).count());
    (view.live != shown).then_some(Violation::GaugeWrong {
        gauge: view.live,
        shown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::forge::{member, view};

    fn limits() -> Limits {
        Limits::of(&Config::lan())
    }

    #[test]
    fn a_datagram_above_the_limit_is_caught() {
        assert_eq!(limits().datagram(1400), None);
        assert!(limits().datagram(1401).is_some());
    }

    #[test]
    fn a_deadline_that_does_not_move_on_is_caught() {
        let at = Instant::from_nanos;
        assert_eq!(moves_on(at(5), None), None);
        assert_eq!(moves_on(at(5), Some(at(6))), None);
        assert!(moves_on(at(5), Some(at(5))).is_some());
        assert!(moves_on(at(5), Some(at(4))).is_some());
    }

    #[test]
    fn a_drain_that_does_not_end_is_caught() {
        assert_eq!(limits().drain(Output::Transmits, 131_072), None);
        assert!(limits().drain(Output::Transmits, 131_073).is_some());
        assert_eq!(limits().drain(Output::Events, 4097), None);
        assert!(limits().drain(Output::Events, 4098).is_some());
    }

    #[test]
    fn a_gauge_that_does_not_say_what_is_shown_is_caught() {
        let mut view = view(1, [member(1, 1, 1), member(2, 1, 1), member(3, 1, 1)]);
        view.members[1].status = Status::Down;
        assert!(gauge(&view).is_some());
        view.live = 2;
        assert_eq!(gauge(&view), None);
    }

    #[test]
    fn a_table_or_a_store_above_its_limit_is_caught() {
        let mut metrics = Metrics::default();
        metrics.members = 20_000;
        metrics.state_bytes = 20_000 * 10 * 1024;
        assert_eq!(limits().held(&metrics), None);
        metrics.state_bytes += 1;
        assert!(limits().held(&metrics).is_some());
        metrics.state_bytes = 0;
        (metrics.live, metrics.down) = (19_000, 1000);
        metrics.members = 40_000;
        assert_eq!(limits().held(&metrics), None);
        metrics.members += 1;
        assert!(limits().held(&metrics).is_some());
        metrics.members -= 1;
        metrics.down += 1;
        assert!(limits().held(&metrics).is_some());
    }
}
