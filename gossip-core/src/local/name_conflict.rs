//! Which of two live nodes keeps a name.
//!
//! A peer may serve a log of this node's name that this node has not written. The log is that of an
//! earlier process of this node, or that of another live node. The address in the log decides:
//!
//! - It is the own address, or none. Then it was an earlier process, and this node
//!   [outlives](super::request_new_generation) it at once.
//! - It is another address. Then this node sends a claim there: "I have held this name since my process
//!   started, then." The younger node repeats its own claim once and falls silent. It does not declare
//!   that it has left, because peers would read that as the elder's word. If nobody answers within
//!   [`PATIENCE`], it was an earlier process that had moved, and this node outlives it.
//!
//! A claim alone silences nobody: it may be forged, or be a record of an earlier life. The younger node sends a token to
//! the elder first, and falls silent once the elder has echoed it.

use core::net::SocketAddr;

use super::{Local, request_new_generation};
use crate::context::{Context, Outgoing, Timer};
use crate::event::Event;
use crate::identity::{Generation, is_reachable};
use crate::state::attribute::{ADDRESS, decode_address, encode_address};
use crate::state::entry::Entries;
use crate::wire::message::Delta;

/// Intervals in which the other node may answer a claim.
const PATIENCE: u32 = 2;

/// What is known of another node of this name.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameConflict {
    address: SocketAddr,
    /// The greatest generation that it is remembered under.
    generation: Generation,
    /// Whether it has answered, and the application has been told.
    told: bool,
    /// Whether it has claimed to be the elder, and has yet to echo a token.
    is_unproven: bool,
}

/// What becomes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nothing has to be proved: this node is the elder.
    Answered,
    /// The other node says that it is the elder. It has to echo a token.
    Unproven,
}

/// What this node does about another of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contest {
    /// It sends a claim, and gives the other node time to answer.
    Begun,
    /// It has sent a claim there already, and the other node still has time.
    Open,
}

impl Local {
    /// A peer serves a log of this node's name. This node has not written it if it says more than is known here, or if it
    /// names another address.
    pub(crate) fn on_own_delta(&mut self, context: &mut Context, delta: &Delta<'_>) {
        debug_assert_eq!(delta.origin, context.own);
        let says_more = (delta.generation, delta.frontier) > context.known(context.own);
        let addresses = Entries::new(delta.entries).filter(|entry| entry.key == ADDRESS);
        let address = addresses
            .last()
            .and_then(|entry| decode_address(entry.value?));
        let elsewhere = |address: &SocketAddr| *address != context.address;
        match address.filter(is_reachable).filter(elsewhere) {
            None if says_more => request_new_generation(context, delta.generation),
            None => {}
            // One conflict is open at a time, because a datagram can name many addresses. The next one
            // is opened after that, when a peer serves the log again.
            Some(address) if self.conflict.is_none_or(|other| other.address == address) => {
                self.contest(context, address, delta.generation);
            }
            Some(_) => {}
        }
    }

    /// A datagram came from another node of this name.
    pub(crate) fn claim(&mut self, context: &mut Context, from: SocketAddr) {
        self.contest(context, from, context.generation);
    }

    /// Notes another node of this name. Sends it a claim, unless the conflict with it is open.
    fn contest(
        &mut self,
        context: &mut Context,
        address: SocketAddr,
        generation: Generation,
    ) -> Contest {
        debug_assert_ne!(address, context.address, "a node is not its own rival");
        let known = self.conflict.filter(|other| other.address == address);
        self.conflict = Some(NameConflict {
            address,
            generation: known.map_or(generation, |other| other.generation.max(generation)),
            told: known.is_some_and(|other| other.told),
            is_unproven: known.is_some_and(|other| other.is_unproven),
        });
        if known.is_some() {
            return Contest::Open;
        }
        context.send(Outgoing::Claim { to: address });
        let at = context.in_intervals(PATIENCE);
        context.timers.set(Timer::NameConflict, Some(at));
        Contest::Begun
    }

    /// Another node of this name tells since when it holds it. The elder keeps the name. If both started
    /// in the same moment, the node with the smaller address keeps it.
    pub(crate) fn on_claim(
        &mut self,
        context: &mut Context,
        from: SocketAddr,
        since: Generation,
    ) -> Claim {
        let [theirs, ours] = [from, context.address].map(encode_address);
        if (since, theirs) < (context.incarnation_start, ours) {
            self.contest(context, from, context.generation);
            if let Some(other) = &mut self.conflict {
                other.is_unproven = true;
            }
            return Claim::Unproven;
        }
        let known = self.conflict.filter(|other| other.address == from);
        if !known.is_some_and(|other| other.told) {
            context.tell(Event::NameContested { address: from });
        }
        let contest = self.contest(context, from, context.generation);
        if let Some(other) = &mut self.conflict {
            other.told = true;
        }
        if contest == Contest::Open {
            context.send(Outgoing::Claim { to: from });
        }
        Claim::Answered
    }

    /// Another node of this name has echoed a token. If it has claimed to be the elder, this node falls silent.
    pub(crate) fn on_rival_proved(&mut self, context: &mut Context, from: SocketAddr) {
        let is_elder = |other: &NameConflict| other.address == from && other.is_unproven;
        if self.conflict.as_ref().is_some_and(is_elder) {
            // So that the elder can tell its application.
            context.send(Outgoing::Claim { to: from });
            self.fall_silent(context);
            context.tell(Event::IdentityConflict { address: from });
        }
    }

    /// The other node has had its time. It has fallen silent, or there never was one. Whatever peers
    /// remember of it is outlived.
    pub(crate) fn on_name_conflict_due(&mut self, context: &mut Context) {
        debug_assert!(self.conflict.is_some(), "the timer runs with a conflict");
        if let Some(other) = self.conflict.take()
            && other.generation > context.generation
        {
            request_new_generation(context, other.generation);
        }
    }
}
