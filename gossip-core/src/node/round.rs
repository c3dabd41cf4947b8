//! The periodic round: exchanges with a few peers, and a little tending of the table.

use core::net::SocketAddr;

use super::judgement::CALM;
use super::outbox::Outgoing;
use super::peers::{Peers, Seeds, choose};
use super::timers::Timer;
use super::{Node, Standing, count};
use crate::event::Event;
use crate::identity::NodeId;
use crate::membership::{Condition, Record};
use crate::time::Instant;

/// Records looked after in one round, at least. Small: what is tended (removal after a day, tombstones
/// after ten) is in no hurry. More where a turn would take more than `TENDING` rounds, so that no churn
/// outruns it.
const TENDED: usize = 4;
const TENDING: usize = 64;

impl Node {
    /// Meets the peers of this round.
    pub(super) fn on_round(&mut self, now: Instant) {
        let next = self.next_interval();
        self.timers
            .set(Timer::Round, Some(now.saturating_add(next)));
        let seeds = self.config.seeds.len();
        let fanout = usize::from(self.config.fanout);
        let Peers {
            live,
            down,
            live_abroad,
            down_abroad,
            seeds,
            lost,
        } = choose(
            &self.table,
            self.own,
            seeds,
            self.lost.len(),
            fanout,
            &mut self.rng,
        );
        let here = live.into_iter().chain(down);
        for id in here.chain(live_abroad).chain(down_abroad) {
            self.begin_exchange_with(id);
        }
        if let Some(id) = down_abroad {
            // It may know the same and not answer, and would not begin anything itself.
            self.ping(id);
        }
        match seeds {
            // A newcomer keeps asking all of them until it has learned the table.
            _ if self.standing == Standing::Joining => self.ask_all_seeds(),
            Seeds::All => self.ask_all_seeds(),
            Seeds::One(index) => {
                if let Some(seed) = self.config.seeds.get(index) {
                    self.begin_exchange(*seed);
                }
            }
            Seeds::None => {}
        }
        if let Some(lost) = lost {
            self.look_for(lost);
        }
        self.end_broadcasts(now);
        self.tend(now);
        self.tend_map(now);
        self.sweep(now);
        // Witnesses come and go with time alone: who was heard lately, who has been down for long.
        self.stale.verdicts |= self.is_anybody_contested();
    }

    /// Asks where a removed member was.
    fn look_for(&mut self, lost: usize) {
        let Some((id, address)) = self.lost.get(lost) else {
            return;
        };
        let returned = self.table.condition(id);
        if matches!(returned, Some(Condition::Live | Condition::Down)) {
            self.lost.forget(id);
        } else {
            self.begin_exchange(address);
        }
    }

    pub(super) fn ask_all_seeds(&mut self) {
        for index in 0..self.config.seeds.len() {
            if let Some(seed) = self.config.seeds.get(index) {
                self.begin_exchange(*seed);
            }
        }
    }

    /// Begins an exchange with a member.
    pub(super) fn begin_exchange_with(&mut self, id: NodeId) {
        if let Some(to) = self.table.get(id).and_then(|record| record.address()) {
            self.begin_exchange(to);
        }
    }

    /// Begins an exchange with whoever is at an address, unless that is this node.
    pub(super) fn begin_exchange(&mut self, to: SocketAddr) {
        if to != self.address {
            count(&mut self.metrics.exchanges);
            self.proofs.ask(to);
            self.outbox.push(Outgoing::Syn { to });
        }
    }

    /// Removes members that have been gone for long, and collects old tombstones. Asks whom this node has not
    /// heard since it may have been away: for so long that it has missed a death, the votes and the removal,
    /// and then nobody else shows the member up.
    fn tend(&mut self, now: Instant) {
        let members = self.table.len();
        let turn = members.div_ceil(TENDING).max(TENDED);
        for _ in 0..turn.min(members) {
            self.tended = self.tended.saturating_add(1);
            if self.tended >= self.table.len() {
                self.tended = 0;
                self.tend_ghosts(now);
                // A broken link is no death, and must not be voted about for ever.
                if self.woken < Some(now.saturating_sub(self.intervals(CALM))) {
                    self.woken = None;
                }
            }
            let Some(record) = self.table.record_at(self.tended) else {
                continue;
            };
            let id = record.id;
            let patience = match record.condition {
                Condition::Down => self.patience_with(now, record),
                _ => self.config.remove_after,
            };
            let gone = id != self.own
                && matches!(record.condition, Condition::Down | Condition::Left)
                && now.saturating_since(record.since) >= patience
                && (record.condition == Condition::Left || self.evidence(now).is_attested(id));
            let began = record.log.generation().stamp().time().as_millis();
            let grace = u64::try_from(self.config.gc_grace.as_millis()).unwrap_or(u64::MAX);
            let wall = self.clock.wall(now).as_millis();
            let is_live = record.condition == Condition::Live && id != self.own;
            if gone {
                self.remove(now, id);
            } else if is_live && record.heard < self.woken {
                self.ask_in_doubt(now, id);
            } else if let Some(age) = wall.saturating_sub(began).checked_sub(grace)
                && record.log.has_tombstone(age)
            {
                self.table.change_log(id, |log| log.collect(age));
            }
        }
    }

    /// Removes a member. A trace of its log stays, so that nobody brings it back.
    pub(super) fn remove(&mut self, now: Instant, id: NodeId) {
        let Some(record) = self.table.get(id) else {
            return;
        };
        let (name, generation) = (record.display_name(), record.log.generation());
        let is_down = record.condition == Condition::Down;
        if is_down && !self.evidence(now).is_down_by_its_own(id) {
            self.warn_of_removal(now, id);
        }
        if is_down && let Some(address) = self.table.get(id).and_then(Record::address) {
            self.lost.note(id, address);
        }
        self.withdraw_all_votes_of(id);
        let age = self.age_of(now, generation);
        self.table.change_log(id, |log| log.bury(age));
        self.table.set_condition(id, now, Condition::Ghost);
        self.staging.discard(id);
        self.stale.neighbours = true;
        self.stale.verdicts = true;
        self.events.push(Event::MemberRemoved { id, name });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::hlc::Stamp;
    use crate::identity::{Generation, Identity};
    use crate::state::log::Log;
    use crate::time::UnixTime;

    /// However many have gone at once, their removal is a matter of a minute.
    #[test]
    fn many_who_left_are_removed_in_as_many_rounds_as_few() {
        let wall = UnixTime::from_millis(1_800_000_000_000);
        for members in [10, 100, 3000] {
            let identity = Identity::new("own", "10.0.0.1:1".parse().unwrap()).unwrap();
            let config = Config::lan();
            let due = Instant::ORIGIN.saturating_add(config.remove_after);
            let mut node = Node::new(config, identity, [1; 32], Instant::ORIGIN, wall).unwrap();
            for id in (1..=members).map(NodeId::from_u64) {
                let mut log = Log::new(Generation::new(Stamp::at(wall)));
                log.write(0, b"key", Some(b"value"));
                node.table.apply(id, Instant::ORIGIN, &log.claim_after(0));
                let gone = Condition::Left;
                node.table.set_condition(id, Instant::ORIGIN, gone);
            }
            for _ in 0..=TENDING {
                node.tend(due);
            }
            let of = |condition| move |record: &&Record| record.condition == condition;
            let left = node.table.iter().filter(of(Condition::Left)).count();
            let ghosts = node.table.iter().filter(of(Condition::Ghost)).count();
            assert_eq!((left, ghosts > 0), (0, true), "of {members}");
        }
    }
}
