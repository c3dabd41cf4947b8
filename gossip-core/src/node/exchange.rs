//! Routes legs and pushes.
//!
//! The items of a datagram are handed to the machines one by one. When a delta changes what is known of a
//! member, all machines that this concerns are told in a fixed order.

use core::net::SocketAddr;

use super::Node;
use crate::context::{Outgoing, count};
use crate::dissemination::{Arrived, broadcast, note_served};
use crate::failure::own_votes::LogChange;
use crate::local::request_new_generation;
use crate::membership::Condition;
#[cfg(feature = "map")]
use crate::shared_map::Peer;
use crate::state::attribute::{Declared, VOTES};
use crate::state::room::Room;
use crate::state::table_hash::Salt;
use crate::sync::apply::{Attributes, MemberChange, tell_attributes, tell_settings, tell_status};
use crate::sync::exchange::agrees;
use crate::sync::leg::{FIRST_LEG, LAST_LEG, Learned, OVERTAKING, recognise};
use crate::sync::staging::Sent;
use crate::sync::{Sync, Taken};
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
            if self.is_known_to_be_up(from, sender) {
                return;
            }
        }
        if let Some(wall) = datagram
            .found
            .clock
            .filter(|_| self.has_a_clock(from, sender))
        {
            self.on_peer_clock(sender.id, wall);
        }
        // An exchange that ends here is not answered, so the sender need not prove its address.
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
        self.raise_prune_time(head.prune_time);
        if agrees(&self.context, sender, &head) {
            count(&mut self.context.metrics.exchanges_in_agreement);
            // A node that agrees with a member knows the table, whichever of them began.
            self.failure.on_learned(self.context.now);
            return self.local.on_learned(&mut self.context);
        }
        if head.leg == LAST_LEG {
            self.push.on_answered(&self.context, from);
        }
        let mut leg = Sync::begin_leg(&self.context, from, sender, head);
        let is_skewed = datagram
            .found
            .clock
            .is_some_and(|told| self.is_skewed(told));
        leg.tell_clock_if(is_skewed);
        for item in datagram.items {
            match item {
                Item::Delta(delta) => {
                    let before = leg.before_delta(&self.context, &delta);
                    let taken = self.on_delta(&delta, leg.sent(), room);
                    leg.applied(&self.context, &delta, before, taken);
                }
                // Every node that has removed this one has to take that back. A new generation is the
                // clearest word.
                Item::Removed(generation) if generation == self.context.generation => {
                    request_new_generation(&mut self.context, generation);
                }
                // Only an answer says so: whoever says more has asked for it.
                Item::Full(_) if head.leg > FIRST_LEG => {
                    self.context.tell_refused(sender.id, from);
                }
                item => self.sync.on_item(&self.context, &mut leg, item),
            }
        }
        if leg.only_asks() {
            self.push.on_asked(&self.context);
        }
        let loss = self.failure.measured_loss_share();
        match self.sync.conclude(&mut self.context, &mut leg, loss) {
            Learned::All => {
                self.failure.on_learned(self.context.now);
                self.local.on_learned(&mut self.context);
            }
            Learned::AllSoon => {
                let soon = self.context.now.saturating_add(OVERTAKING);
                self.local.ask_again_at(&mut self.context, soon);
            }
            Learned::Part if leg.brings_news() => self.local.on_news(&mut self.context),
            Learned::Part => {}
        }
        self.sync.answer(&mut self.context, leg);
        let votes = self.failure.votes();
        self.push.serve_early(&mut self.context, votes);
    }

    /// Whether a leg is not answered, because its sender is a member and holds the same table and map.
    fn ends_here(&self, datagram: &Datagram<'_>, head: &ExchangeHead) -> bool {
        #[cfg(feature = "map")]
        if !self.shared_map.agrees(datagram.found.map) {
            return false;
        }
        agrees(&self.context, datagram.sender, head)
    }

    /// Whether what is sent back reaches the sender, and no victim whose address the sender has forged.
    /// That is so if the sender is a member at the address of its log, or has proved its address.
    fn is_where_it_says(&self, from: SocketAddr, sender: Sender) -> bool {
        let record = self.context.table.get(sender.id);
        let is_member = record.is_some_and(|record| record.address() == Some(from));
        is_member || self.addresses.may_be_answered(from)
    }

    /// Whether this node believes what a sender tells of its clock: a live member at the address of its log. A node that
    /// knows no other live member believes whom it has asked: its own clock may be why it knows none.
    fn has_a_clock(&self, from: SocketAddr, sender: Sender) -> bool {
        let table = &self.context.table;
        if table.live_len() <= 1 {
            return self.addresses.was_asked(from);
        }
        let record = table.get(sender.id);
        record.is_some_and(|record| {
            record.condition == Condition::Live && record.address() == Some(from)
        })
    }

    /// Whether a sender that says its SYN again, with a token, was answered before. A ping of this node may ask whether
    /// a member lives, and the member cannot tell that from a demand for proof.
    fn is_known_to_be_up(&self, from: SocketAddr, sender: Sender) -> bool {
        let record = self.context.table.get(sender.id);
        record.is_some_and(|record| {
            record.log.generation() == sender.generation
                && record.address() == Some(from)
                && record.condition != Condition::Removed
                && record.declared() == Declared::Up
        })
    }

    /// What the shared map has to know of a sender.
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
        let sender = datagram.sender;
        let mut arrived = Arrived::default();
        for item in datagram.items {
            let Item::Delta(delta) = item else { continue };
            let before = self.context.known(delta.origin);
            let taken = self.on_delta(&delta, Sent::Alone, room);
            if taken == Taken::Lacks {
                let known = (delta.generation, delta.frontier);
                self.push
                    .note_known(&mut self.context, delta.origin, known, sender.id);
                arrived.serve_later(head, &delta);
            }
            let is_new = self.context.known(delta.origin) > before;
            if note_served(&mut self.context, head.tree, &delta, is_new) {
                arrived.serve(&delta);
            }
        }
        let salt = Salt::of_sender(sender.id, sender.generation);
        let is_believed = self.is_where_it_says(from, sender);
        for item in datagram.items {
            if let Item::Summary(told) = item
                && is_believed
                && let Some((origin, generation)) = recognise(&self.context, salt, told)
            {
                let known = (generation, told.frontier);
                self.push
                    .note_known(&mut self.context, origin, known, sender.id);
            }
        }
        let votes = self.failure.votes();
        self.push.serve_early(&mut self.context, votes);
        self.push.on_push(&mut self.context, votes, head, arrived);
        #[cfg(feature = "map")]
        {
            let peer = self.map_peer(from, sender);
            let votes = self.failure.votes();
            let items = datagram.items;
            self.shared_map
                .on_push(&mut self.context, votes, peer, head, items, room);
        }
    }

    /// A delta has come in, in a leg or in a push.
    fn on_delta(&mut self, delta: &Delta<'_>, sent: Sent, room: &mut Room) -> Taken {
        let context = &mut self.context;
        let known = context.known(delta.origin);
        if delta.origin == context.own {
            self.local.on_own_delta(context, delta);
            return Taken::Done;
        }
        if (delta.generation, delta.frontier) <= known {
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
        debug_assert_ne!(id, context.own);
        debug_assert!(context.table.get(id).is_some());
        context.stale.verdicts |= change.is_new && self.failure.has_silence_reports();
        if let Some(address) = change.address_when_removed {
            self.removal.note(id, address);
        }
        if change.restarted {
            let (generation, _) = context.known(id);
            self.failure.on_restart(context, id, generation);
            let before = change.old.generation();
            self.failure.note_return(context, id, before);
        }
        // A member that restarted or was removed has not changed its mind about its votes.
        let log_change = if change.restarted || change.is_removed {
            LogChange::Replaced
        } else {
            LogChange::Continued
        };
        let votes = change.old.get(VOTES).unwrap_or_default();
        let against_own = self
            .failure
            .on_votes(context, id, log_change, votes, &change.votes);
        for vote in against_own {
            self.local.refute(context, &vote);
        }
        if change.was != Condition::Removed {
            self.failure.on_progress(context, id);
        }
        let attributes = tell_status(context, change);
        self.failure.note_untold(context, id);
        self.introduce(Some(id));
        if attributes == Attributes::Told {
            tell_attributes(&mut self.context, id, &change.old);
        }
        tell_settings(&mut self.context, change);
        broadcast::tell(&mut self.context, id, &change.old);
    }
}
