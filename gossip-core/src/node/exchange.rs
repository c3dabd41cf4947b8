//! Legs and pushes: their items are handed to the machines one by one, and what a delta changes is told
//! to all whom it concerns.

use core::net::SocketAddr;

use super::Node;
use crate::context::{Outgoing, count};
use crate::dissemination::{Arrived, broadcast, serves_first};
use crate::failure::own_votes::Life;
use crate::local::outlive;
use crate::membership::Condition;
#[cfg(feature = "map")]
use crate::shared_map::Peer;
use crate::state::attribute::VOTES;
use crate::sync::apply::{MemberChange, tell_attributes, tell_status};
use crate::sync::exchange::agrees;
#[cfg(feature = "map")]
use crate::sync::leg::FIRST_LEG;
use crate::sync::leg::{Learned, OVERTAKING};
use crate::sync::staging::Sent;
use crate::sync::{Room, Sync, Taken};
use crate::wire::datagram::Datagram;
use crate::wire::message::{Delta, ExchangeHead, Item, PushHead, Sender};

impl Node {
    /// A leg has come in.
    pub(super) fn on_exchange(
        &mut self,
        from: SocketAddr,
        datagram: &Datagram<'_>,
        head: ExchangeHead,
        room: &mut Room,
    ) {
        let sender = datagram.sender;
        if let Some(token) = datagram.found.echo {
            self.addresses.on_echo(self.context.now, from, token);
        }
        // An exchange that ends here needs no answer, and so no proof of address.
        if !self.ends_here(datagram, &head) && !self.is_where_it_says(from, sender) {
            count(&mut self.context.metrics.challenges);
            let token = self.addresses.challenge(self.context.now, from);
            return self.context.send(Outgoing::Challenge { to: from, token });
        }
        #[cfg(feature = "map")]
        if head.leg == FIRST_LEG {
            let (map, items) = (datagram.found.map, datagram.items);
            if !self.shared_map.agrees(map) {
                let peer = self.map_peer(from, sender);
                self.shared_map
                    .on_summary(&mut self.context, peer, head.mode, map, items);
            }
        }
        self.removal
            .raise_prune_time(&mut self.context, head.prune_time);
        if agrees(&self.context, sender, &head) {
            count(&mut self.context.metrics.exchanges_in_agreement);
            // Who agrees with a member knows the table, whoever began.
            return self.local.announce(&mut self.context);
        }
        let mut leg = Sync::begin_leg(&self.context, from, sender, head);
        for item in datagram.items {
            match item {
                Item::Delta(delta) => {
                    let before = leg.before_delta(&self.context, &delta);
                    let taken = self.on_delta(&delta, leg.sent(), room);
                    leg.applied(&self.context, &delta, before, taken);
                }
                // Everybody who removed this node has to take that back, and a new generation is the
                // clearest word.
                Item::Removed(generation) if generation == self.context.generation => {
                    outlive(&mut self.context, generation);
                }
                item => self.sync.on_item(&self.context, &mut leg, item),
            }
        }
        let loss = self.failure.loss_share();
        match self.sync.conclude(&mut self.context, &mut leg, loss) {
            Learned::All => self.local.announce(&mut self.context),
            Learned::AllSoon => self.local.announce_after(&mut self.context, OVERTAKING),
            Learned::Part => {}
        }
        self.sync.answer(&mut self.context, leg);
    }

    /// Whether a SYN is not answered: its sender is a member, and holds the same table and map.
    fn ends_here(&self, datagram: &Datagram<'_>, head: &ExchangeHead) -> bool {
        #[cfg(feature = "map")]
        if !self.shared_map.agrees(datagram.found.map) {
            return false;
        }
        agrees(&self.context, datagram.sender, head)
    }

    /// Whether a datagram comes from where its sender is known to be, or from somebody who has proved to
    /// be there: what is sent back does not hit somebody else.
    fn is_where_it_says(&self, from: SocketAddr, sender: Sender) -> bool {
        let record = self.context.table.get(sender.id);
        let is_member = record.is_some_and(|record| record.address() == Some(from));
        is_member || self.addresses.may_be_answered(from)
    }

    #[cfg(feature = "map")]
    pub(super) fn map_peer(&self, from: SocketAddr, sender: Sender) -> Peer {
        Peer {
            origin: sender.into(),
            address: from,
            is_where_it_says: self.is_where_it_says(from, sender),
            awaits_table: self.outbox.holds_table_for(from),
        }
    }

    /// News has come down a tree.
    pub(super) fn on_push(
        &mut self,
        from: SocketAddr,
        datagram: &Datagram<'_>,
        head: PushHead,
        room: &mut Room,
    ) {
        let mut arrived = Arrived::default();
        for item in datagram.items {
            let Item::Delta(delta) = item else { continue };
            if self.on_delta(&delta, Sent::Alone, room) == Taken::Lacks {
                arrived.lacks(delta.origin);
            }
            if serves_first(&mut self.context, head.tree, &delta) {
                arrived.serve(&delta);
            }
        }
        let votes = self.failure.votes();
        self.push
            .on_push(&mut self.context, votes, from, head, arrived);
        #[cfg(feature = "map")]
        {
            let peer = self.map_peer(from, datagram.sender);
            let votes = self.failure.votes();
            let items = datagram.items;
            self.shared_map
                .on_push(&mut self.context, votes, peer, head, items, room);
        }
    }

    /// A delta has come in, in whatever message.
    fn on_delta(&mut self, delta: &Delta<'_>, sent: Sent, room: &mut Room) -> Taken {
        let context = &mut self.context;
        let known = context.known(delta.origin);
        if (delta.generation, delta.frontier) <= known {
            return Taken::Done;
        }
        if delta.origin == context.own {
            self.local.on_own_delta(context, delta);
            return Taken::Done;
        }
        let is_pruned = known.1 == 0 && self.removal.is_pruned(context, delta);
        let (taken, change) = self.sync.accept(context, delta, sent, is_pruned, room);
        if let Some(change) = change {
            self.on_change(&change);
        }
        taken
    }

    /// What is known of a member has changed: tells the machines, then the application.
    fn on_change(&mut self, change: &MemberChange) {
        let context = &mut self.context;
        let id = change.id;
        context.stale.verdicts |= change.is_new && self.failure.is_anybody_contested();
        if let Some(address) = change.removed_from {
            self.removal.note(id, address);
        }
        if change.restarted {
            let (generation, _) = context.known(id);
            self.failure.on_restart(context, id, generation);
        }
        // A member that is removed has not changed its mind either.
        let life = if change.restarted || change.is_removed {
            Life::Another
        } else {
            Life::Same
        };
        let votes = change.old.get(VOTES).unwrap_or_default();
        let against_own = self
            .failure
            .on_votes(context, id, life, votes, &change.votes);
        for ballot in against_own {
            self.local.refute(context, &ballot);
        }
        if change.was != Condition::Removed {
            self.failure.on_progress(context, id);
        }
        let told = tell_status(context, change);
        if let Some(cause) = told.up {
            self.failure.tell_up(context, id, cause);
        }
        tell_attributes(context, change, told);
        broadcast::tell(context, id, &change.old);
    }
}
