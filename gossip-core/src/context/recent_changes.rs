//! The members whose logs changed lately in this replica's view.
//!
//! Every SYN names them while they are news, because they explain most differences between two tables.
//!
//! # Invariants
//!
//! - Each member stands there once, at the time of its latest change.
//! - Times never decrease from the first to the last, and there are at most [`CAPACITY`] members.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::identity::NodeId;
use crate::time::Instant;

/// How many members are remembered.
pub(crate) const CAPACITY: usize = 32;

/// Members and when their logs changed, the latest change last.
#[derive(Debug, Default)]
pub(crate) struct RecentChanges(VecDeque<(NodeId, Instant)>);

impl RecentChanges {
    /// The log of a member has changed.
    pub(crate) fn note(&mut self, id: NodeId, now: Instant) {
        debug_assert!(self.0.back().is_none_or(|(_, at)| *at <= now));
        match self.0.iter().position(|(other, _)| *other == id) {
            Some(at) => drop(self.0.remove(at)),
            None if self.0.len() >= CAPACITY => drop(self.0.pop_front()),
            None => {}
        }
        self.0.push_back((id, now));
        debug_assert!(self.0.len() <= CAPACITY);
    }

    /// Forgets all members but those that stay.
    pub(crate) fn retain(&mut self, stays: impl Fn(NodeId) -> bool) {
        self.0.retain(|(id, _)| stays(*id));
    }

    /// The members whose logs changed no longer than `within` ago, the latest change first.
    pub(crate) fn since(
        &self,
        now: Instant,
        within: Duration,
    ) -> impl Iterator<Item = NodeId> + '_ {
        let fresh = move |(_, at): &&(NodeId, Instant)| now.saturating_since(*at) <= within;
        self.0.iter().rev().take_while(fresh).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_latest_changes_come_first_and_each_member_once() {
        let mut recent = RecentChanges::default();
        let at = |n| Instant::from_nanos(n);
        let id = NodeId::from_u64;
        for (n, who) in [(0, 1), (10, 2), (20, 1), (30, 3)] {
            recent.note(id(who), at(n));
        }
        let within = |nanos| {
            recent
                .since(at(30), Duration::from_nanos(nanos))
                .collect::<Vec<_>>()
        };
        assert_eq!(within(100), [id(3), id(1), id(2)]);
        assert_eq!(within(10), [id(3), id(1)]);
        for n in 0..100 {
            recent.note(id(n), at(40));
        }
        assert_eq!(recent.since(at(40), Duration::ZERO).count(), CAPACITY);
    }
}
