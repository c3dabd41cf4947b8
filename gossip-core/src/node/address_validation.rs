//! Which senders may be answered at length, and which must prove their address first (RFC 9000 §8).
//!
//! The source address of a datagram can be forged. A node that answered a short SYN with a whole table
//! would be a weapon against the node at the forged address. So a stranger is answered with a ping, which
//! is shorter than what it sent. Once it has echoed the token of the ping from its address, it is
//! answered like others. It echoes the token together with its SYN, so that this costs one round trip,
//! once.
//!
//! Two kinds of senders are no strangers:
//!
//! - a member, at the address of its log (the caller checks this);
//! - a node with which this node has just begun an exchange.
//!
//! The token is made from the address and a secret, as SYN cookies are (Bernstein 1996), so that nothing
//! is remembered of strangers that never echo.
//!
//! Invariant: both lists are bounded, and the proven addresses are distinct.

use alloc::collections::VecDeque;
use core::net::SocketAddr;
use core::time::Duration;

use siphasher::sip::SipHasher13;

use crate::state::attribute::encode_address;
use crate::time::{Instant, nanos};

/// How long a token is valid, at least. It is valid for twice that at most.
const TOKEN_LASTS: Duration = Duration::from_secs(10);
/// The most addresses that this node remembers to have asked: more than it meets in a round.
const ASKED: usize = 32;
/// How often a SYN is repeated. The answer to the first may be lost, or a token may run out.
const REPEATS: u8 = 2;

/// The addresses that need no proof, for now.
#[derive(Debug)]
pub(super) struct AddressValidation {
    secret: SipHasher13,
    /// Where strangers have echoed a token, the latest last.
    proven: VecDeque<SocketAddr>,
    /// The most of them that are remembered.
    capacity: usize,
    /// Where this node has sent a SYN, and how often it may repeat that, the latest last.
    asked: VecDeque<(SocketAddr, u8)>,
}

impl AddressValidation {
    /// `secret` must be unknown to the peers. `capacity` is how many strangers may be on their way in
    /// at a time.
    pub(super) fn new(secret: SipHasher13, capacity: usize) -> Self {
        debug_assert!(capacity > 0);
        Self {
            secret,
            proven: VecDeque::new(),
            capacity,
            asked: VecDeque::new(),
        }
    }

    /// Notes that this node has sent a SYN to an address.
    pub(super) fn note_asked(&mut self, address: SocketAddr) {
        let known = self.asked.iter_mut().find(|(asked, _)| *asked == address);
        if let Some((_, repeats)) = known {
            *repeats = REPEATS;
            return;
        }
        if self.asked.len() >= ASKED {
            self.asked.pop_front();
        }
        self.asked.push_back((address, REPEATS));
        debug_assert!(self.asked.len() <= ASKED);
    }

    /// Uses one repetition of the SYN to an address, if one is left. Tells whether there was one: then a ping
    /// from there may be a demand for proof, and this node should repeat its SYN.
    pub(super) fn use_repeat(&mut self, address: SocketAddr) -> bool {
        let mut asked = self.asked.iter_mut();
        let Some((_, left)) = asked.find(|(asked, left)| *asked == address && *left > 0) else {
            return false;
        };
        debug_assert!(*left <= REPEATS);
        *left = left.saturating_sub(1);
        true
    }

    /// Whether the node at an address has proved to be there, or was sent a SYN.
    pub(super) fn may_be_answered(&self, address: SocketAddr) -> bool {
        self.proven.iter().any(|proven| *proven == address) || self.was_asked(address)
    }

    /// Whether a SYN went to an address lately.
    pub(super) fn was_asked(&self, address: SocketAddr) -> bool {
        self.asked.iter().any(|(asked, _)| *asked == address)
    }

    /// The node at an address has proved to be there.
    fn prove(&mut self, address: SocketAddr) {
        if self.may_be_answered(address) {
            return;
        }
        if self.proven.len() >= self.capacity {
            self.proven.pop_front();
        }
        self.proven.push_back(address);
        debug_assert!(self.proven.len() <= self.capacity);
    }

    /// The token that a stranger at this address has to echo.
    pub(super) fn challenge(&self, now: Instant, address: SocketAddr) -> u32 {
        self.token(address, period(now))
    }

    /// A token came back from an address, or a number that looks like one. Tokens that this node did not
    /// issue are ignored.
    pub(super) fn on_echo(&mut self, now: Instant, from: SocketAddr, token: u32) {
        if self.is_own_token(now, from, token) {
            self.prove(from);
        }
    }

    /// Whether this node has issued a token for an address lately.
    pub(super) fn is_own_token(&self, now: Instant, from: SocketAddr, token: u32) -> bool {
        let this = period(now);
        let valid = [this, this.saturating_sub(1)];
        valid.iter().any(|p| self.token(from, *p) == token)
    }

    /// The token of an address in one period.
    fn token(&self, address: SocketAddr, period: u64) -> u32 {
        let mut bytes: heapless::Vec<u8, 26> = heapless::Vec::new();
        let fits = bytes.extend_from_slice(&encode_address(address)).is_ok()
            && bytes.extend_from_slice(&period.to_le_bytes()).is_ok();
        debug_assert!(fits, "18 and 8 bytes at most");
        let [a, b, c, d, ..] = self.secret.hash(&bytes).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

/// Time is divided into periods. A token is valid in its own period and in the next.
fn period(now: Instant) -> u64 {
    now.as_nanos().div_euclid(nanos(TOKEN_LASTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn validation() -> AddressValidation {
        AddressValidation::new(SipHasher13::new_with_keys(1, 2), 32)
    }

    #[test]
    fn a_token_belongs_to_one_address_and_one_period() {
        let validation = validation();
        let token = validation.token(address(1), 5);
        assert_eq!(validation.token(address(1), 5), token);
        assert_ne!(validation.token(address(2), 5), token);
        assert_ne!(validation.token(address(1), 6), token);
        let other = AddressValidation::new(SipHasher13::new_with_keys(1, 3), 32);
        assert_ne!(other.token(address(1), 5), token);
    }

    #[test]
    fn a_syn_is_repeated_at_most_twice_and_memory_is_bounded() {
        let mut validation = validation();
        assert!(!validation.use_repeat(address(1)));
        validation.note_asked(address(1));
        assert!(validation.use_repeat(address(1)) && validation.use_repeat(address(1)));
        assert!(!validation.use_repeat(address(1)));
        for port in 2..1000 {
            validation.note_asked(address(port));
            validation.prove(address(port.wrapping_add(5000)));
        }
        assert!(!validation.may_be_answered(address(1)));
        assert!(validation.may_be_answered(address(999)));
        assert!(validation.may_be_answered(address(5999)));
    }

    #[test]
    fn a_stranger_proves_its_address_by_an_echo_within_two_periods() {
        let stranger = address(7);
        let later = |lasts: u32| Instant::ORIGIN.saturating_add(TOKEN_LASTS.saturating_mul(lasts));
        let token = validation().challenge(Instant::ORIGIN, stranger);
        for (now, echo, is_proof) in [
            (Instant::ORIGIN, token, true),
            (later(1), token, true),
            (later(2), token, false),
            (Instant::ORIGIN, token ^ 1, false),
        ] {
            let mut validation = validation();
            validation.on_echo(now, stranger, echo);
            assert_eq!(validation.may_be_answered(stranger), is_proof);
            assert!(!validation.may_be_answered(address(8)));
        }
    }
}
