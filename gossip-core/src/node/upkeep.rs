//! The periodic round: exchanges with a few peers, and upkeep of a part of the table.

use super::{Node, Standing};
use crate::context::Timer;
use crate::identity::NodeId;
use crate::membership::Condition;
use crate::membership::removal::{self, Removal, due_prune_time};
use crate::sync::peers::{Peers, Seeds, choose};

impl Node {
    /// Meets the peers of this round, and looks after everything that changes with time alone.
    pub(super) fn on_round(&mut self) {
        let next = self.context.next_interval();
        self.context.timers.set(Timer::Round, Some(next));
        self.sync.begin_round();
        self.meet_peers();
        let enough = self.failure.loss_now(&self.context).pings();
        self.context.search_paths(enough);
        self.local.end_broadcasts(&mut self.context);
        self.tend();
        #[cfg(feature = "map")]
        self.shared_map.tend(&mut self.context, enough);
        self.failure.sweep(&mut self.context);
        // With time, an observer was not heard lately any more, or a member has been down for long.
        self.context.stale.verdicts |= self.failure.has_silence_reports();
    }

    /// Begins exchanges with the peers of this round.
    fn meet_peers(&mut self) {
        let context = &mut self.context;
        let Peers {
            live,
            down,
            live_abroad,
            down_abroad,
            seeds,
            removed,
        } = choose(
            &context.table,
            context.own,
            context.config.seeds.len(),
            self.removal.sought(),
            usize::from(context.config.fanout),
            &mut context.rng,
        );
        let here = live.into_iter().chain(down);
        for id in here.chain(live_abroad).chain(down_abroad) {
            context.begin_exchange_with(id);
        }
        if let Some(id) = down_abroad {
            // If it knows the same, it does not answer a SYN. And it may never begin an exchange itself.
            context.ping(id);
        }
        match seeds {
            // A joining node keeps asking all seeds until it has learned the table.
            _ if self.local.standing() == Standing::Joining => context.ask_all_seeds(),
            Seeds::All => context.ask_all_seeds(),
            Seeds::One(index) => {
                debug_assert!(index < context.config.seeds.len());
                if let Some(seed) = context.config.seeds.get(index) {
                    context.begin_exchange(*seed);
                }
            }
            Seeds::None => {}
        }
        if let Some(at) = removed {
            self.removal.look_for(context, at);
        }
    }

    /// Looks after the next few records of the table:
    ///
    /// - a member that has been gone for long is removed;
    /// - a live member that was not heard since this node may have been away is asked whether it lives.
    ///   This node may have missed its death, the votes and the removal, and then nobody else tells of
    ///   the member;
    /// - of any other, old tombstones of attributes are collected.
    fn tend(&mut self) {
        for _ in 0..Removal::records_this_round(&self.context) {
            if self.removal.advance(&self.context) {
                self.prune();
                self.failure.end_absence(&self.context);
            }
            let Some(record) = self.removal.current(&self.context) else {
                continue;
            };
            let id = record.id;
            let is_live = record.condition == Condition::Live && id != self.context.own;
            let is_due = match record.condition {
                Condition::Down => self.failure.is_removable(&self.context, record),
                _ => removal::has_left_for_long(&self.context, record),
            };
            if is_due {
                self.remove(id);
            } else if is_live && self.failure.is_unheard(record) {
                self.failure.ask_in_doubt(&mut self.context, id);
            } else {
                removal::collect(&mut self.context, id);
            }
        }
    }

    /// A new turn through the table begins: who is gone for too long, or is one of too many, is pruned.
    fn prune(&mut self) {
        self.raise_prune_time(due_prune_time(&self.context));
        // What others have brought back meanwhile.
        self.prune_up_to(self.removal.prune_time());
    }

    /// Takes over a prune time that a peer tells, or that is due here, if it is greater than the own.
    pub(super) fn raise_prune_time(&mut self, told: u64) {
        if self.removal.raise_prune_time(&self.context, told) {
            self.prune_up_to(told);
        }
    }

    /// Prunes what is left of members that were removed, or left, at or before this second of Unix time.
    fn prune_up_to(&mut self, prune_time: u64) {
        for id in removal::left_up_to(&self.context, prune_time) {
            self.remove(id);
        }
        removal::prune_up_to(&mut self.context, prune_time);
    }

    /// Removes a member: it is down, has left, or was never more than a mistake of a clock.
    pub(super) fn remove(&mut self, id: NodeId) {
        self.failure.on_removal(&mut self.context, id);
        self.removal.remove(&mut self.context, id);
        self.sync.discard(id);
    }
}
