//! What the entries of a member's log are about: the keys of the protocol, and how their values are
//! encoded.
//!
//! A key whose first byte is below 0x20 belongs to the protocol. Any other key is the application's. A node
//! keeps and passes on keys that its version does not know, because a frontier claims them, too.

use core::net::{IpAddr, SocketAddr};

use postcard::{take_from_bytes, to_slice};
use serde::{Deserialize, Serialize};

use crate::command::MAX_VALUE;
use crate::config::SettingsDigest;
use crate::identity::{Generation, NodeId};

/// The address at which peers reach the member.
pub(crate) const ADDRESS: &[u8] = &[0];
/// The member's name.
pub(crate) const NAME: &[u8] = &[1];
/// The member's [`Declared`] status.
pub(crate) const STATUS: &[u8] = &[2];
/// The member's datacenter.
pub(crate) const DATACENTER: &[u8] = &[3];
/// The member's votes against members that it observes.
pub(crate) const VOTES: &[u8] = &[4];
// 5 and 6 are in `broadcast`.
/// The one entry of a member tombstone. The age of the entry says when the member was removed.
pub(crate) const BURIED: &[u8] = &[7];
/// That the member is a bridge of its datacenter.
pub(crate) const BRIDGE: &[u8] = &[8];

/// How many neighbours the member observes, in one byte, and the digest of its settings, in four. A member with the
/// default settings does not show it.
pub(crate) const SETTINGS: &[u8] = &[9];

/// The key as text, or `None` if it is not one of the application's.
pub(crate) fn user_key(key: &[u8]) -> Option<&str> {
    core::str::from_utf8(key)
        .ok()
        .filter(|text| !text.chars().any(char::is_control))
}

/// The status that a member declares of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Declared {
    /// It is learning the table.
    #[default]
    Joining,
    /// It takes part.
    Up,
    /// It is about to leave.
    Leaving,
    /// It has left.
    Left,
}

impl Declared {
    pub(crate) const fn encode(self) -> &'static [u8] {
        match self {
            Self::Joining => &[0],
            Self::Up => &[1],
            Self::Leaving => &[2],
            Self::Left => &[3],
        }
    }

    /// A status of a later version, which this one does not know, counts as up.
    pub(crate) const fn decode(value: &[u8]) -> Self {
        match value {
            [0, ..] | [] => Self::Joining,
            [2, ..] => Self::Leaving,
            [3, ..] => Self::Left,
            _ => Self::Up,
        }
    }
}

/// The encoded form of the settings that a member shows.
pub(crate) fn encode_settings(neighbours: u8, digest: SettingsDigest) -> [u8; 5] {
    let [a, b, c, d] = digest.to_bytes();
    [neighbours, a, b, c, d]
}

/// Reads what [`encode_settings`] wrote. A later version may add to it.
pub(crate) const fn decode_settings(value: &[u8]) -> Option<(u8, SettingsDigest)> {
    match value {
        [neighbours, a, b, c, d, ..] => {
            Some((*neighbours, SettingsDigest::from_bytes([*a, *b, *c, *d])))
        }
        _ => None,
    }
}

/// The encoded form of an address: the octets of the IP, then the port.
pub(crate) fn encode_address(address: SocketAddr) -> heapless::Vec<u8, 18> {
    let mut bytes = heapless::Vec::new();
    let ip = match address.ip() {
        IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
    };
    let port = bytes.extend_from_slice(&address.port().to_be_bytes());
    debug_assert!(ip.is_ok() && port.is_ok(), "16 + 2 bytes fit");
    bytes
}

/// Reads what [`encode_address`] wrote.
pub(crate) fn decode_address(value: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = value.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// One vote as its author publishes it: "I find this member silent."
///
/// The vote is void once its subject shows a newer generation or an entry beyond `frontier`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublishedVote {
    pub(crate) subject: NodeId,
    pub(crate) generation: Generation,
    /// How far the author knew the subject's log when it voted.
    pub(crate) frontier: u64,
    /// When it voted, in milliseconds since the author's generation began.
    pub(crate) age: u64,
    /// Whether the author has removed the subject. The author ends such a vote one day without having
    /// changed its mind.
    pub(crate) removed: bool,
}

/// The most votes that one member may publish at a time. A ring neighbourhood is smaller. Votes beyond
/// this number are ignored.
pub(crate) const MAX_VOTES: usize = 32;

/// Bytes that a vote takes in the memory of a node that holds it, beside those in its author's log.
pub(crate) const HELD_VOTE_BYTES: usize = 5 * 8;

/// What peers accept of a node beyond `max_state`, for what the protocol itself writes.
pub(crate) const PROTOCOL_RESERVE: usize = 2 * MAX_VALUE;

/// Encodes votes in their order: the first [`MAX_VOTES`], and of these as many as fit into `limit` bytes.
pub(crate) fn encode_votes<'a>(
    votes: impl Iterator<Item = &'a PublishedVote>,
    limit: usize,
) -> alloc::vec::Vec<u8> {
    let mut value = alloc::vec![0; limit.min(MAX_VALUE)];
    let mut len = 0_usize;
    for vote in votes.take(MAX_VOTES) {
        let Some(free) = value.get_mut(len..) else {
            break;
        };
        let Ok(written) = to_slice(vote, free) else {
            break;
        };
        len = len.saturating_add(written.len());
    }
    value.truncate(len);
    value
}

/// Decodes what [`encode_votes`] wrote. Stops at the first vote that cannot be read.
pub(crate) fn decode_votes(mut value: &[u8]) -> impl Iterator<Item = PublishedVote> + '_ {
    core::iter::from_fn(move || {
        let (vote, rest) = take_from_bytes(value).ok()?;
        value = rest;
        Some(vote)
    })
    .take(MAX_VOTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Stamp;
    use std::vec::Vec;

    #[test]
    fn addresses_of_both_families_are_read_back() {
        for text in ["127.0.0.1:7946", "[2001:db8::1]:65535"] {
            let address = text.parse().unwrap();
            assert_eq!(decode_address(&encode_address(address)), Some(address));
        }
        assert_eq!(decode_address(b""), None);
        assert_eq!(decode_address(b"12345"), None);
    }

    #[test]
    fn statuses_are_read_back() {
        for status in [
            Declared::Joining,
            Declared::Up,
            Declared::Leaving,
            Declared::Left,
        ] {
            assert_eq!(Declared::decode(status.encode()), status);
        }
        assert_eq!(Declared::decode(&[9]), Declared::Up);
    }

    #[test]
    fn votes_are_read_back_up_to_their_bound() {
        let vote = |n: u64| PublishedVote {
            subject: NodeId::from_u64(n),
            generation: Generation::new(Stamp::from_bits(u64::MAX)),
            frontier: u64::from(u32::MAX),
            age: 1 << 35,
            removed: true,
        };
        let many: Vec<_> = (0..100).map(vote).collect();
        let value = encode_votes(many.iter(), usize::MAX);
        assert!(value.len() <= MAX_VALUE);
        assert_eq!(decode_votes(&value).collect::<Vec<_>>(), many[..MAX_VOTES]);
        assert_eq!(decode_votes(&value[..5]).count(), 0);
    }

    #[test]
    fn a_key_of_the_protocol_is_not_one_of_the_application() {
        for key in [
            ADDRESS,
            NAME,
            STATUS,
            DATACENTER,
            VOTES,
            BRIDGE,
            &[0x1f],
            b"a\n",
            &[0xff],
        ] {
            assert_eq!(user_key(key), None);
        }
        assert_eq!(user_key("rôle".as_bytes()), Some("rôle"));
    }
}
