//! Another node of the same name.
//!
//! Peers that know more of this node's log than it has written remember either an earlier life of it
//! or another live node of its name. The address in what they remember tells: at its own address it
//! was an earlier life, and this node outlives it at once, under a greater generation. At another
//! address somebody is asked: *I have held this name since my process started, then.* The younger
//! says the same once and falls silent, without declaring that it has left, for that would be read as the elder's word.
//! Where nobody answers within two intervals it was an earlier life that had moved.

use core::net::SocketAddr;

use super::{Local, Standing, outlive};
use crate::context::{Context, Outgoing, Timer};
use crate::event::Event;
use crate::identity::{Generation, is_reachable};
use crate::state::attribute::{ADDRESS, decode_address, encode_address};
use crate::state::entry::Entries;
use crate::wire::message::Delta;

/// Intervals in which a rival may answer.
const PATIENCE: u32 = 2;

/// What is known of another node of this name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameConflict {
    address: SocketAddr,
    /// The greatest generation that it is remembered under.
    generation: Generation,
    /// Whether it has answered, and the application been told.
    told: bool,
}

impl Local {
    /// A peer serves a log of this node's own name that this node has not written.
    pub(crate) fn on_own_delta(&mut self, context: &mut Context, delta: &Delta<'_>) {
        let entries = Entries::new(delta.entries).filter(|entry| entry.key == ADDRESS);
        let address = entries
            .last()
            .and_then(|entry| decode_address(entry.value?));
        let elsewhere = |address: &SocketAddr| *address != context.address;
        match address.filter(is_reachable).filter(elsewhere) {
            None => outlive(context, delta.generation),
            // One is asked at a time, for a datagram can name many. Another is, once this one has had its
            // time and a peer serves the log of that other again.
            Some(address) if self.conflict.is_none_or(|rival| rival.address == address) => {
                self.contest(context, address, delta.generation);
            }
            Some(_) => {}
        }
    }

    /// A datagram came from another node of this name.
    pub(crate) fn claim(&mut self, context: &mut Context, from: SocketAddr) {
        self.contest(context, from, context.generation);
    }

    /// Asks who is older, unless that was asked already and the timer runs.
    /// Tells whether it did.
    fn contest(
        &mut self,
        context: &mut Context,
        address: SocketAddr,
        generation: Generation,
    ) -> bool {
        let known = self.conflict.filter(|rival| rival.address == address);
        let told = known.is_some_and(|rival| rival.told);
        let generation = known.map_or(generation, |rival| rival.generation.max(generation));
        self.conflict = Some(NameConflict {
            address,
            generation,
            told,
        });
        let asks = known.is_none();
        if asks {
            context.send(Outgoing::Claim { to: address });
            let at = context.in_intervals(PATIENCE);
            context.timers.set(Timer::NameConflict, Some(at));
        }
        asks
    }

    /// Another node of this name tells since when it holds it. The elder keeps it; of two that
    /// started in the same moment, the one with the smaller address.
    pub(crate) fn on_claim(&mut self, context: &mut Context, from: SocketAddr, since: Generation) {
        let [theirs, ours] = [from, context.address].map(encode_address);
        if since < context.incarnation_start || since == context.incarnation_start && theirs < ours
        {
            // So that the elder can tell its application.
            context.send(Outgoing::Claim { to: from });
            self.standing = Standing::Left;
            context.timers.clear();
            context.tell(Event::IdentityConflict { address: from });
            return;
        }
        let told = self
            .conflict
            .is_some_and(|rival| rival.address == from && rival.told);
        if !told {
            context.tell(Event::NameContested { address: from });
        }
        let answered = self.contest(context, from, context.generation);
        if let Some(rival) = &mut self.conflict {
            rival.told = true;
        }
        if !answered {
            context.send(Outgoing::Claim { to: from });
        }
    }

    /// The rival has had its time: it has fallen silent, or there was none. What peers remember of
    /// it is outlived.
    pub(crate) fn on_name_conflict_due(&mut self, context: &mut Context) {
        if let Some(rival) = self.conflict.take()
            && rival.generation > context.generation
        {
            outlive(context, rival.generation);
        }
    }
}
