//! Who has to show that it is where its datagrams say it is.
//!
//! The address a datagram comes from can be forged. A node that answered a short SYN with a whole
//! table would be a weapon against whoever bears that address. So a stranger gets a ping, shorter
//! than what it sent, until it has echoed the ping's token from there; then whatever it asks for. It
//! echoes with its SYN said again, in one datagram, so that this costs one round trip, once.
//!
//! No stranger is: a member, at the address that its log names; and whom this node has just asked
//! something of its own accord. The token is made from the address and a secret, as SYN cookies are
//! (Bernstein 1996), so that nothing is remembered of those who never echo.

use alloc::collections::VecDeque;
use core::net::SocketAddr;
use core::time::Duration;

use siphasher::sip::SipHasher13;

use crate::state::attribute::encode_address;
use crate::time::{Instant, nanos};

/// How long a token is good for, at least; twice that at most.
const TOKEN_LASTS: Duration = Duration::from_secs(10);
/// Whom this node has asked lately, at most: more than it meets in a round.
const ASKED: usize = 32;
/// How often a SYN is repeated: the answer to the first may be lost, or a token run out.
const REPEATS: u8 = 2;

/// Who need not prove its address, for now.
#[derive(Debug)]
pub(super) struct AddressValidation {
    secret: SipHasher13,
    /// Strangers that have echoed a token.
    proven: VecDeque<SocketAddr>,
    /// How many of them are remembered.
    capacity: usize,
    /// Whom this node has asked, and how often it may repeat that.
    asked: VecDeque<(SocketAddr, u8)>,
}

impl AddressValidation {
    /// `secret` must be unknown to the peers. `capacity` is how many strangers may be on their way in
    /// at a time.
    pub(super) const fn new(secret: SipHasher13, capacity: usize) -> Self {
        Self {
            secret,
            proven: VecDeque::new(),
            capacity,
            asked: VecDeque::new(),
        }
    }

    /// This node asks somebody something.
    pub(super) fn ask(&mut self, address: SocketAddr) {
        let known = self.asked.iter_mut().find(|(asked, _)| *asked == address);
        if let Some((_, repeats)) = known {
            *repeats = REPEATS;
            return;
        }
        if self.asked.len() >= ASKED {
            self.asked.pop_front();
        }
        self.asked.push_back((address, REPEATS));
    }

    /// Whether a ping from there may be a demand for proof, so that what was asked should be
    /// repeated.
    pub(super) fn repeats(&mut self, address: SocketAddr) -> bool {
        let mut asked = self.asked.iter_mut();
        let Some((_, left)) = asked.find(|(asked, left)| *asked == address && *left > 0) else {
            return false;
        };
        *left = left.saturating_sub(1);
        true
    }

    /// Whether whoever is at an address has proved to be there, or was asked something.
    pub(super) fn may_be_answered(&self, address: SocketAddr) -> bool {
        self.proven.iter().any(|proven| *proven == address)
            || self.asked.iter().any(|(asked, _)| *asked == address)
    }

    fn prove(&mut self, address: SocketAddr) {
        if self.may_be_answered(address) {
            return;
        }
        if self.proven.len() >= self.capacity {
            self.proven.pop_front();
        }
        self.proven.push_back(address);
    }

    /// The token that proves an address now.
    pub(super) fn challenge(&self, now: Instant, address: SocketAddr) -> u32 {
        self.token(address, period(now))
    }

    /// Whoever is at an address echoes a token, or says something that looks like it. Tokens that this
    /// node did not make are ignored.
    pub(super) fn on_echo(&mut self, now: Instant, from: SocketAddr, token: u32) {
        let this = period(now);
        let good = [this, this.saturating_sub(1)];
        if good.iter().any(|p| self.token(from, *p) == token) {
            self.prove(from);
        }
    }

    fn token(&self, address: SocketAddr, period: u64) -> u32 {
        let mut bytes: heapless::Vec<u8, 26> = heapless::Vec::new();
        // 18 and 8 bytes at most: they fit.
        let _ = bytes.extend_from_slice(&encode_address(address));
        let _ = bytes.extend_from_slice(&period.to_le_bytes());
        let [a, b, c, d, ..] = self.secret.hash(&bytes).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

fn period(now: Instant) -> u64 {
    now.as_nanos().div_euclid(nanos(TOKEN_LASTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn proofs() -> AddressValidation {
        AddressValidation::new(SipHasher13::new_with_keys(1, 2), 32)
    }

    #[test]
    fn a_token_is_good_for_one_address_and_some_time() {
        let proofs = proofs();
        let token = proofs.token(address(1), 5);
        assert_eq!(proofs.token(address(1), 5), token);
        assert_ne!(proofs.token(address(2), 5), token);
        assert_ne!(proofs.token(address(1), 6), token);
        let other = AddressValidation::new(SipHasher13::new_with_keys(1, 3), 32);
        assert_ne!(other.token(address(1), 5), token);
    }

    #[test]
    fn who_asks_repeats_it_at_most_twice_and_memory_is_bounded() {
        let mut proofs = proofs();
        assert!(!proofs.repeats(address(1)));
        proofs.ask(address(1));
        assert!(proofs.repeats(address(1)) && proofs.repeats(address(1)));
        assert!(!proofs.repeats(address(1)));
        for port in 2..1000 {
            proofs.ask(address(port));
            proofs.prove(address(port.wrapping_add(5000)));
        }
        assert!(!proofs.may_be_answered(address(1)));
        assert!(proofs.may_be_answered(address(999)));
        assert!(proofs.may_be_answered(address(5999)));
    }
}
