//! A fingerprint of everything that happened.

use core::fmt::{self, Write};
use core::net::SocketAddr;

use gossip_core::Event;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::hosts::HostId;
use super::time::Time;
use crate::num::count;

/// A running hash over bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    pub(crate) fn absorb(&mut self, bytes: &[u8]) {
        // The seed is the hash so far, and the length keeps neighbours apart.
        self.0 = xxh3_64_with_seed(bytes, self.0 ^ count(bytes.len()));
    }

    /// Takes in what another one has seen.
    pub(crate) fn join(&mut self, other: Self) {
        self.absorb(&other.0.to_le_bytes());
    }

    fn stamp(&mut self, at: Time, host: HostId, what: u64) {
        let words = [at.as_nanos(), u64::from(host.number()), what];
        let mut bytes = [0; 24];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        self.absorb(&bytes);
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A running hash over every datagram sent, and one over every event told, each with its time and its
/// node.
///
/// Two runs with the same hashes did the same, byte for byte. Events are hashed by their debug text:
/// a renamed event changes the second hash alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceHash {
    datagrams: Fingerprint,
    events: Fingerprint,
}

impl TraceHash {
    pub(crate) fn datagram(&mut self, at: Time, from: HostId, to: SocketAddr, bytes: &[u8]) {
        self.datagrams.absorb(bytes);
        let to = HostId::of(to).map_or(u64::MAX, |(host, moves)| {
            u64::from(host.number()) << 16 | u64::from(moves)
        });
        self.datagrams.stamp(at, from, to);
    }

    pub(crate) fn event(&mut self, at: Time, host: HostId, event: &Event) {
        // Events are told by their debug text: it has every field, in every variant to come.
        let mut text = Text {
            hash: &mut self.events,
            buffer: [0; 64],
            length: 0,
        };
        let _ = write!(text, "{event:?}");
        text.flush();
        self.events.stamp(at, host, u64::MAX);
    }

    /// Takes in another run.
    pub(crate) fn join(&mut self, other: Self) {
        self.datagrams.join(other.datagrams);
        self.events.join(other.events);
    }
}

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.datagrams, self.events)
    }
}

/// Hashes text as it is written, without an allocation.
struct Text<'a> {
    hash: &'a mut Fingerprint,
    buffer: [u8; 64],
    length: usize,
}

impl Text<'_> {
    fn flush(&mut self) {
        self.hash
            .absorb(self.buffer.get(..self.length).unwrap_or_default());
        self.length = 0;
    }
}

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.length == self.buffer.len() {
                self.flush();
            }
            if let Some(place) = self.buffer.get_mut(self.length) {
                *place = byte;
            }
            self.length = self.length.saturating_add(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_difference_gives_another_hash() {
        let hash = |at, from, to: u32, bytes: &[u8]| {
            let mut hash = TraceHash::default();
            let to = HostId::new(to).address(0);
            hash.datagram(Time::from_nanos(at), HostId::new(from), to, bytes);
            hash
        };
        let one = hash(1, 2, 3, b"x");
        assert_eq!(one, hash(1, 2, 3, b"x"));
        for other in [
            hash(2, 2, 3, b"x"),
            hash(1, 3, 3, b"x"),
            hash(1, 2, 4, b"x"),
            hash(1, 2, 3, b"y"),
            hash(1, 2, 3, b"xx"),
        ] {
            assert_ne!(one, other);
        }
        let event = |members| {
            let mut hash = TraceHash::default();
            let cause = gossip_core::JoinCause::Learned;
            let joined = Event::Joined { members, cause };
            hash.event(Time::START, HostId::new(0), &joined);
            hash
        };
        assert_ne!(event(1), event(2));
        assert_eq!(event(1).datagrams, event(2).datagrams);
    }
}
