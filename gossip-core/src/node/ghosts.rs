//! What is left of removed members, and when that goes, too.
//!
//! A ghost keeps whoever has not removed a member yet from bringing it back. It is part of the table
//! hash, so all must forget it together: each node keeps a **horizon**, a second of Unix time, told
//! at the head of every leg and merged by maximum. A ghost that was buried at or before the horizon
//! is forgotten, and not taken in again. The time of burial travels with the ghost: where members
//! removed one at different moments and the horizon comes to lie between, the later one counts.
//!
//! Who raises it: whoever holds a ghost for longer than `forget_after`, or more than `max_ghosts`;
//! never beyond [`LINGERS`], the time in which all who will remove a member have done so. What comes
//! back all the same, from a replica that slept through the horizon, is a member that nobody hears:
//! it is found silent, goes down and is removed once more.

use alloc::vec::Vec;
use core::time::Duration;

use super::Node;
use crate::hlc::Clock;
use crate::identity::Generation;
use crate::membership::member::buried_at;
use crate::membership::{Condition, Record};
use crate::sort::sort;
use crate::state::attribute::BURIED;
use crate::state::entry::Entries;
use crate::time::Instant;
use crate::wire::message::Delta;

/// Intervals for which a ghost is kept whatever the bounds are.
const LINGERS: u32 = 64;

impl Node {
    /// Milliseconds since a generation began, by this node's wall clock.
    pub(super) fn age_of(&self, now: Instant, generation: Generation) -> u64 {
        let began = generation.stamp().time().as_millis();
        self.clock.wall(now).as_millis().saturating_sub(began)
    }

    /// Somebody has forgotten the ghosts up to here, or it is time to. A horizon in the future is
    /// not believed: it is somebody's clock.
    pub(super) fn raise_horizon(&mut self, now: Instant, horizon: u64) {
        let second = second(&self.clock, now);
        if self.horizon > second {
            // The own clock was ahead when this was set.
            self.horizon = 0;
        }
        if horizon <= self.horizon || horizon > second {
            return;
        }
        self.horizon = horizon;
        let clock = &self.clock;
        self.table
            .forget(|record| buried(clock, now, record) <= horizon);
        let table = &self.table;
        self.recents.retain(|id| table.get(id).is_some());
    }

    /// Whether a delta tells of a ghost that lies behind the horizon.
    pub(super) fn is_forgotten(&self, now: Instant, delta: &Delta<'_>) -> bool {
        let grave = Entries::new(delta.entries).find(|entry| entry.key == BURIED);
        grave.is_some_and(|grave| {
            let buried = buried_at(delta.generation, grave.age);
            buried.min(second(&self.clock, now)) <= self.horizon
        })
    }

    /// Raises the horizon where ghosts are old or many. O(members), once in a turn of tending.
    pub(super) fn tend_ghosts(&mut self, now: Instant) {
        let horizon = self.due_horizon(now);
        self.raise_horizon(now, horizon);
    }

    /// Where the horizon should be by this node's own ghosts; 0 where it need not rise.
    fn due_horizon(&self, now: Instant) -> u64 {
        let seconds = |time: Duration| time.as_secs();
        let second = second(&self.clock, now);
        let ghosts = self
            .table
            .iter()
            .filter(|record| record.condition == Condition::Ghost)
            .map(|record| buried(&self.clock, now, record));
        let (count, eldest) = ghosts
            .clone()
            .fold((0_usize, u64::MAX), |(count, eldest), buried| {
                (count.saturating_add(1), eldest.min(buried))
            });
        let lingers = second.saturating_sub(seconds(self.intervals(LINGERS)));
        let kept = seconds(self.config.forget_after);
        // A sixteenth later, so that many go at a time.
        let overdue = eldest
            .saturating_add(kept)
            .saturating_add(kept.div_euclid(16))
            <= second;
        // They leave half of the places that others do not take to newcomers.
        let places = usize::try_from(self.config.max_members).unwrap_or(usize::MAX);
        let free = places.saturating_sub(self.table.len().saturating_sub(count));
        let max = usize::try_from(self.config.max_ghosts).unwrap_or(usize::MAX);
        let max = max.min(free.div_euclid(2));
        let mut horizon = 0;
        if overdue {
            horizon = second.saturating_sub(kept);
        }
        if count > max {
            // An eighth more than must, so that many go at a time.
            let over = count.saturating_sub(max).saturating_add(max.div_euclid(8));
            let mut buried: Vec<u64> = ghosts.collect();
            sort(&mut buried);
            let last = over.min(count).saturating_sub(1);
            horizon = buried.get(last).copied().unwrap_or(0).max(horizon);
        }
        horizon.min(lingers)
    }
}

/// The Unix time, in seconds.
fn second(clock: &Clock, now: Instant) -> u64 {
    clock.wall(now).as_millis().div_euclid(1000)
}

/// When a ghost was buried, in seconds of Unix time. A time later than when this node learned of it
/// is a forgery, or somebody's clock.
fn buried(clock: &Clock, now: Instant, ghost: &Record) -> u64 {
    let ago = now.saturating_since(ghost.since).as_secs();
    let learned = second(clock, now).saturating_sub(ago);
    ghost.buried().unwrap_or(learned).min(learned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::hlc::Stamp;
    use crate::identity::{Identity, NodeId};
    use crate::state::log::Log;
    use crate::time::UnixTime;

    const WALL: u64 = 1_800_000_000;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    /// A node that removed members 1, 2 and 3 after 10, 20 and 30 s.
    fn mourner(config: Config) -> Node {
        let identity = Identity::new("own", "10.0.0.1:1".parse().unwrap()).unwrap();
        let wall = UnixTime::from_millis(WALL * 1000);
        let mut node = Node::new(config, identity, [1; 32], at(0), wall).unwrap();
        for id in 1..=3 {
            let mut log = Log::new(Generation::new(Stamp::at(wall)));
            log.write(0, b"key", Some(b"value"));
            let claim = log.claim_after(0);
            let id = NodeId::from_u64(id);
            node.table.apply(id, at(0), &claim);
            node.remove(at(10 * id.as_u64()), id);
        }
        node
    }

    #[test]
    fn ghosts_up_to_the_horizon_are_forgotten_and_not_taken_in_again() {
        let mut node = mourner(Config::lan());
        let hash = node.table_hash();
        let first = node.table.get(NodeId::from_u64(1)).unwrap().log.clone();
        node.raise_horizon(at(40), WALL + 20);
        assert_eq!(node.table.len(), 2);
        assert!(node.table.get(NodeId::from_u64(3)).is_some());
        let delta = Delta {
            origin: NodeId::from_u64(1),
            generation: first.generation(),
            after: 0,
            upto: 1,
            frontier: 1,
            floor: 1,
            entries: first.after(0).rest(),
        };
        assert!(node.is_forgotten(at(40), &delta));
        node.horizon = 0;
        assert!(!node.is_forgotten(at(40), &delta));
        node.raise_horizon(at(40), WALL + 40);
        assert_eq!(node.table.len(), 1);
        assert_ne!(node.table_hash(), hash);
        assert_eq!(node.table_hash(), node.table.own_contribution(node.own));
    }

    #[test]
    fn a_horizon_in_the_future_is_not_believed() {
        let mut node = mourner(Config::lan());
        node.raise_horizon(at(40), WALL + 41);
        node.raise_horizon(at(40), u64::MAX);
        assert_eq!((node.table.len(), node.horizon), (4, 0));
        // Nor the own one, set while the clock was ahead.
        node.horizon = WALL + 1_000_000;
        node.raise_horizon(at(40), WALL + 10);
        assert_eq!((node.table.len(), node.horizon), (3, WALL + 10));
    }

    #[test]
    fn the_old_go_and_the_young_linger() {
        let mut config = Config::lan();
        config.gc_grace = Duration::from_secs(60);
        config.forget_after = Duration::from_secs(160);
        let mut node = mourner(config);
        node.tend_ghosts(at(179));
        assert_eq!(node.table.len(), 4, "160 s and a sixteenth");
        node.tend_ghosts(at(181));
        assert_eq!(node.table.len(), 2, "older than 160 s");
        node.config.max_ghosts = 0;
        node.config.forget_after = Duration::from_secs(3600);
        node.tend_ghosts(at(93));
        assert_eq!(node.table.len(), 2, "younger than 64 intervals");
        node.tend_ghosts(at(94));
        assert_eq!(node.table.len(), 1);
    }
}
