//! The periodic round: exchanges with a few peers, and a little upkeep of the table.

use super::{Node, Standing};
use crate::context::Timer;
use crate::identity::NodeId;
use crate::membership::Condition;
use crate::membership::removal::{self, Removal};
use crate::sync::peers::{Peers, Seeds, choose};

impl Node {
    /// Meets the peers of this round, and looks after all that time alone changes.
    pub(super) fn on_round(&mut self) {
        let next = self.context.next_interval();
        self.context.timers.set(Timer::Round, Some(next));
        self.meet_peers();
        if self.local.standing() != Standing::Left {
            self.local.broadcasts.end(&mut self.context);
        }
        self.tend();
        #[cfg(feature = "map")]
        {
            let enough = self.failure.loss(&self.context).pings();
            self.shared_map.tend(&mut self.context, enough);
        }
        self.failure.sweep(&mut self.context);
        // Witnesses come and go with time alone: who was heard lately, who has been down for long.
        self.context.stale.verdicts |= self.failure.is_anybody_contested();
    }

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
            // It may know the same and not answer, and would not begin anything itself.
            context.ping(id);
        }
        match seeds {
            // A newcomer keeps asking all of them until it has learned the table.
            _ if self.local.standing() == Standing::Joining => context.ask_all_seeds(),
            Seeds::All => context.ask_all_seeds(),
            Seeds::One(index) => {
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

    /// Removes members that have been gone for long, and collects old tombstones. Asks the members that
    /// were not heard since this node may have been away: for so long that it has missed a death, the
    /// votes and the removal, and then nobody else shows the member up.
    fn tend(&mut self) {
        for _ in 0..Removal::turn(&self.context) {
            if self.removal.next(&mut self.context) {
                self.failure.end_absence(&self.context);
            }
            let Some(record) = self.removal.record(&self.context) else {
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

    /// Removes a member.
    pub(super) fn remove(&mut self, id: NodeId) {
        self.failure.on_removal(&mut self.context, id);
        self.removal.remove(&mut self.context, id);
        self.sync.discard(id);
    }
}
