//! Another node of the same name.
//!
//! Peers that know more of this node's log than it has written remember either an earlier life of it
//! or another live node of its name. The address in what they remember tells: at its own address it
//! was an earlier life, and this node outlives it at once, under a greater generation. At another
//! address somebody is asked: *I have held this name since my process started, then.* The younger
//! says the same once and falls silent, without declaring that it has left, for that would be read as the elder's word.
//! Where nobody answers within two intervals it was an earlier life that had moved.

use core::net::SocketAddr;

use super::outbox::Outgoing;
use super::timers::Timer;
use super::{Node, Standing};
use crate::event::Event;
use crate::identity::{Generation, is_reachable};
use crate::state::attribute::{ADDRESS, decode_address, encode_address};
use crate::state::entry::Entries;
use crate::time::Instant;
use crate::wire::message::Delta;

/// Intervals in which a rival may answer.
const PATIENCE: u32 = 2;

/// What is known of another node of this name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rival {
    address: SocketAddr,
    /// The greatest generation that it is remembered under.
    generation: Generation,
    /// Whether it has answered, and the application been told.
    told: bool,
}

impl Node {
    /// A peer serves a log of this node's own name that this node has not written.
    pub(super) fn on_own_delta(&mut self, now: Instant, delta: &Delta<'_>) {
        let entries = Entries::new(delta.entries).filter(|entry| entry.key == ADDRESS);
        let address = entries
            .last()
            .and_then(|entry| decode_address(entry.value?));
        match address
            .filter(is_reachable)
            .filter(|address| *address != self.address)
        {
            None => self.outlive(now, delta.generation),
            // One is asked at a time, for a datagram can name many. Another is, once this one has had its
            // time and a peer serves the log of that other again.
            Some(address) if self.rival.is_none_or(|rival| rival.address == address) => {
                self.contest(now, address, delta.generation);
            }
            Some(_) => {}
        }
    }

    /// A datagram came from another node of this name.
    pub(super) fn claim(&mut self, now: Instant, from: SocketAddr) {
        self.contest(now, from, self.generation);
    }

    /// Asks who is older, unless that was asked already and the timer runs.
    /// Tells whether it did.
    fn contest(&mut self, now: Instant, address: SocketAddr, generation: Generation) -> bool {
        let known = self.rival.filter(|rival| rival.address == address);
        let told = known.is_some_and(|rival| rival.told);
        let generation = known.map_or(generation, |rival| rival.generation.max(generation));
        self.rival = Some(Rival {
            address,
            generation,
            told,
        });
        let asks = known.is_none();
        if asks {
            self.outbox.push(Outgoing::Claim { to: address });
            self.timers.set(
                Timer::Rival,
                Some(now.saturating_add(self.intervals(PATIENCE))),
            );
        }
        asks
    }

    /// Another node of this name tells since when it holds it. The elder keeps it; of two that
    /// started in the same moment, the one with the smaller address.
    pub(super) fn on_claim(&mut self, now: Instant, from: SocketAddr, born: Generation) {
        let [theirs, ours] = [from, self.address].map(encode_address);
        if born < self.born || born == self.born && theirs < ours {
            // So that the elder can tell its application.
            self.outbox.push(Outgoing::Claim { to: from });
            self.standing = Standing::Left;
            self.timers.clear();
            self.events.push(Event::IdentityConflict { address: from });
            return;
        }
        let told = self
            .rival
            .is_some_and(|rival| rival.address == from && rival.told);
        if !told {
            self.events.push(Event::NameContested { address: from });
        }
        let answered = self.contest(now, from, self.generation);
        if let Some(rival) = &mut self.rival {
            rival.told = true;
        }
        if !answered {
            self.outbox.push(Outgoing::Claim { to: from });
        }
    }

    /// The rival has had its time: it has fallen silent, or there was none. What peers remember of
    /// it is outlived.
    pub(super) fn on_rival_due(&mut self, now: Instant) {
        if let Some(rival) = self.rival.take()
            && rival.generation > self.generation
        {
            self.outlive(now, rival.generation);
        }
    }
}
