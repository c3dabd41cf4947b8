//! News: what a node tells of its recent changes without being asked.
//!
//! Recent changes explain most differences between two tables. A SYN tells them while they are news. A node
//! whose SYN does not explain a difference is told the changes that it did not mention.

use core::time::Duration;

use smallvec::SmallVec;

use super::Sync;
use super::leg::{FIRST_LEG, Leg};
use crate::config::Mode;
use crate::context::recent_changes::CAPACITY;
use crate::context::{Context, Planned};
use crate::identity::NodeId;
use crate::membership::Region;
use crate::time::Instant;
use crate::wire::message::DELTA_HEAD;

/// Intervals for which a change is news.
const FRESH: u32 = 4;

/// Intervals for which a change is news while tables differ.
const LINGERING: u32 = 60;

/// One of so many changes may be left to be found by comparing tables, where nobody asks for it.
const MISSED: f64 = 1000.0;

/// The most changes that a node gives unasked to a peer that does not tell of them, as far as they fit one
/// datagram. It gives the latest ones, which explain a difference best: the changes of a storm that is over
/// stand behind them. It only names large ones, because the peer may know them.
pub(crate) const GIVEN: usize = 12;

impl Sync {
    /// What the peer told does not explain why the hashes differ. Plans to tell what is new here, or to
    /// narrow the difference down.
    pub(super) fn explain(&mut self, context: &Context, leg: &mut Leg, loss: f64) {
        self.differed = Some(context.now);
        if leg.head.leg == FIRST_LEG && self.tell_news(context, leg, loss) {
            return;
        }
        leg.differing.push(Region::ALL);
    }

    /// Plans to tell the recent changes that the peer did not name. Tells whether they can explain the
    /// difference.
    fn tell_news(&self, context: &Context, leg: &mut Leg, loss: f64) -> bool {
        let news = self.news_lasts(context, context.now, loss);
        let recent = context.recent_changes.since(context.now, news);
        let unnamed: SmallVec<[NodeId; 16]> = recent.filter(|id| !leg.named.contains(id)).collect();
        let fresh = context.intervals(FRESH);
        let fresh = context.recent_changes.since(context.now, fresh).count();
        // If everything that is remembered is fresh, then there is more news than is remembered.
        if unnamed.is_empty() || fresh >= CAPACITY {
            return false;
        }
        let mut room = context.fill_to(leg.from);
        for (n, origin) in unnamed.into_iter().enumerate() {
            let (_, frontier) = context.known(origin);
            let after = frontier.saturating_sub(1);
            let rest = room.checked_sub(delta_size(context, origin, after));
            if let Some(rest) = rest.filter(|_| leg.may_give && n < GIVEN) {
                // The peer has not told of the change, so it hardly knows it. Giving saves two legs.
                leg.give(origin, after);
                room = rest;
            } else {
                leg.plan.push(Planned::Summary(origin));
            }
        }
        true
    }

    /// How long SYNs tell a change. `loss` is the share of datagrams that is being lost.
    ///
    /// A round reaches several peers. Within four rounds nearly everybody who missed the push has met
    /// somebody who did not. While tables still differ, much is being lost, and a change is told for longer.
    pub(crate) fn news_lasts(&self, context: &Context, now: Instant, loss: f64) -> Duration {
        let lately = now.saturating_sub(context.intervals(2));
        let differ = self.differed.is_some_and(|at| at >= lately);
        match context.config.mode {
            _ if differ => context.intervals(LINGERING),
            Mode::Push => {
                let live = context.table.home(context.own).live().len();
                let fresh = rounds_of_pushing(live, context.config.fanout, loss);
                context.config.interval.mul_f64(fresh)
            }
            Mode::Pull | Mode::PushPull => context.intervals(FRESH),
        }
    }
}

/// How many rounds a change is told where nobody asks: a node that pushes does not hear who has missed it.
///
/// Once most members know a change, a member is told it `fanout * (1 - loss)` times in a round. It misses
/// the change in `h` rounds with probability `exp(-h * fanout * (1 - loss))`. The result is as many rounds
/// as leave nobody out but once in [`MISSED`] changes.
fn rounds_of_pushing(members: usize, fanout: u8, loss: f64) -> f64 {
    let members = f64::from(u32::try_from(members).unwrap_or(u32::MAX).max(1));
    let told = f64::from(fanout) * (1.0 - loss);
    let rounds = libm::log(members * MISSED) / told.max(0.1);
    rounds.clamp(f64::from(FRESH), f64::from(LINGERING))
}

/// The version from which to serve an origin, so that the peer may have missed what is dead: all of it, if the floor
/// has risen since that was planned.
pub(crate) fn reach_back(context: &Context, origin: NodeId, after: u64) -> u64 {
    let record = context.table.get(origin);
    record.map_or(0, |record| record.log.reach_back(after))
}

/// The most bytes that what lives of an origin above a version takes.
pub(super) fn delta_size(context: &Context, origin: NodeId, after: u64) -> usize {
    let after = reach_back(context, origin, after);
    let log = context.table.get(origin).map(|record| &record.log);
    let entries = log.map_or(0, |log| log.after(after).rest().len());
    entries.saturating_add(DELTA_HEAD)
}

#[cfg(test)]
mod tests {
    use super::super::leg::testing::leg;
    use super::*;
    use crate::context::testing::{at, context};
    use crate::wire::message::ModeTag;
    use std::vec::Vec;

    const MODE: ModeTag = ModeTag::PushPull;

    /// The plan of a node that hears a SYN which does not explain the difference.
    fn explained(context: &Context) -> (Vec<Planned>, usize) {
        let mut sync = Sync::new();
        let mut leg = leg(context, 1, MODE, 5);
        sync.explain(context, &mut leg, 0.0);
        (leg.plan, leg.differing.len())
    }

    #[test]
    fn the_latest_changes_are_given_and_further_ones_are_named() {
        let mut context = context(|_| ());
        for member in 1..=15 {
            let id = context.learn(member);
            context.recent_changes.note(id, context.now);
        }
        let (plan, differing) = explained(&context);
        assert_eq!((plan.len(), differing), (15, 0));
        let given = |planned: &Planned| matches!(planned, Planned::Delta { after: 1, .. });
        assert!(plan[..GIVEN].iter().all(given));
        let named = [3, 2, 1].map(|n| Planned::Summary(NodeId::from_u64(n)));
        assert_eq!(plan[GIVEN..], named);
    }

    #[test]
    fn what_would_not_fit_one_datagram_is_named() {
        let mut context = context(|_| ());
        for member in 1..=4 {
            let id = context.learn(member);
            context.recent_changes.note(id, context.now);
            context.table.change_log(id, |log| {
                log.write(0, b"large", Some(&[b'v'; 500]));
            });
        }
        let (plan, _) = explained(&context);
        let given = |planned: &&Planned| matches!(planned, Planned::Delta { .. });
        assert_eq!(plan.iter().filter(given).count(), 2);
        assert_eq!(plan.len(), 4);
    }

    #[test]
    fn without_news_or_with_too_much_of_it_the_difference_is_narrowed_down() {
        let mut context = context(|_| ());
        assert_eq!(explained(&context), (Vec::new(), 1));
        for member in 0..u16::try_from(CAPACITY).unwrap() {
            let id = context.learn(member);
            context.recent_changes.note(id, context.now);
        }
        assert_eq!(explained(&context), (Vec::new(), 1));
    }

    #[test]
    fn a_change_is_told_for_longer_while_tables_differ() {
        let mut context = context(|_| ());
        let mut sync = Sync::new();
        let interval = context.config.interval;
        assert_eq!(
            sync.news_lasts(&context, context.now, 0.0),
            interval * FRESH
        );
        context.now = at(60_000);
        sync.explain(&context, &mut leg(&context, 2, MODE, 5), 0.0);
        let lasts = |after| sync.news_lasts(&context, context.in_intervals(after), 0.0);
        assert_eq!(lasts(2), interval * LINGERING);
        assert_eq!(lasts(3), interval * FRESH);
    }

    #[test]
    fn a_node_that_only_pushes_tells_a_change_for_longer_the_more_is_lost() {
        let rounds = |members, loss| rounds_of_pushing(members, 3, loss);
        assert!(rounds(1_000, 0.0) < rounds(1_000, 0.3));
        assert!(rounds(10, 0.0) < rounds(10_000, 0.0));
        assert_eq!(rounds(0, 0.0), f64::from(FRESH));
        assert_eq!(rounds(10_000, 1.0), f64::from(LINGERING));
    }
}
