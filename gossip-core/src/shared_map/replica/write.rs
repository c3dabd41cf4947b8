//! One write of a key, in the encoding in which it is kept and travels.

use alloc::boxed::Box;
use alloc::vec::Vec;

use postcard::{take_from_bytes, to_extend};
use serde::{Deserialize, Serialize};

use super::logs::Origin;
use crate::command::{MAX_KEY, MAX_VALUE, Policy};
use crate::hlc::Stamp;
use crate::wire::codec;

/// What a write replaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replaces {
    /// All earlier writes of its own origin, and those in its context.
    #[default]
    Own,
    /// Those in its context and no others. A tombstone of this kind takes the place of other origins'
    /// tombstones. It leaves what its own origin keeps beside them.
    Context,
}

/// A write as its origin made it. Its **dot**, the pair (origin, version), identifies it for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write<'a> {
    /// The key. It comes first and is shorter than 128 bytes, so that it can be found without decoding
    /// the rest.
    #[serde(serialize_with = "codec::bytes")]
    pub key: &'a [u8],
    /// The time by the origin's clock: later than everything that the origin had seen.
    pub stamp: Stamp,
    /// The origin's number for the write: 1, 2, 3, …
    pub version: u64,
    /// What happens when another origin writes the key without knowing this write.
    pub policy: Policy,
    /// Whether it replaces earlier writes of its own origin.
    pub replaces: Replaces,
    /// Milliseconds after the stamp at which it expires. It loses its value then.
    pub lifetime: Option<u64>,
    /// The value, or `None` for a tombstone.
    #[serde(serialize_with = "codec::optional_bytes")]
    pub value: Option<&'a [u8]>,
    /// The key's version vector as the origin knew it; see [`CausalContext`].
    #[serde(serialize_with = "codec::bytes")]
    pub context: &'a [u8],
}

impl<'a> Write<'a> {
    /// Reads a write that may come from anywhere. `None` unless it takes all of `bytes`, every part has a
    /// legal size, and every number stands in its shortest form. So [`encode`](Self::encode) gives the
    /// same bytes again.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (write, rest): (Self, _) = codec::take(bytes)?;
        let key = core::str::from_utf8(write.key).ok()?;
        let legal = rest.is_empty()
            && (1..=MAX_KEY).contains(&key.len())
            && !key.chars().any(char::is_control)
            && write.version > 0
            && write.value.is_none_or(|value| value.len() <= MAX_VALUE)
            && CausalContext(write.context).is_valid();
        legal.then_some(write)
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Box<[u8]> {
        let value = self.value.map_or(0, <[u8]>::len);
        let size = [self.key.len(), value, self.context.len(), 24]
            .into_iter()
            .fold(0, usize::saturating_add);
        let encoded = to_extend(self, Vec::with_capacity(size));
        debug_assert!(encoded.is_ok(), "extending a Vec cannot fail");
        encoded.unwrap_or_default().into_boxed_slice()
    }

    /// Whether this write, being of `origin`, replaces the write with the dot (`other`, `version`).
    #[must_use]
    pub fn replaces(&self, origin: Origin, other: Origin, version: u64) -> bool {
        origin == other && version < self.version && self.replaces == Replaces::Own
            || CausalContext(self.context).covers(other, version)
    }

    /// The key as text: a legal write has a key in UTF-8.
    #[must_use]
    pub fn key_text(&self) -> &'a str {
        core::str::from_utf8(self.key).unwrap_or_default()
    }

    /// When the write dies, in Unix milliseconds. A tombstone without a lifetime is dead since it was
    /// written. `None` if the write has a value for ever.
    pub(crate) const fn dies_at(&self) -> Option<u64> {
        let written = self.stamp.time().as_millis();
        match (self.value, self.lifetime) {
            // A tombstone with a lifetime has expired, or stands for one that hid values.
            (_, Some(lifetime)) => Some(written.saturating_add(lifetime)),
            (None, None) => Some(written),
            (Some(_), None) => None,
        }
    }
}

/// The key in the bytes of a write.
pub(super) fn key_of(bytes: &[u8]) -> &[u8] {
    let length = bytes.first().map_or(0, |length| usize::from(*length));
    bytes.get(1..length.saturating_add(1)).unwrap_or_default()
}

/// The causal context of a write: for each origin, the version up to which the write replaces that
/// origin's writes of the key.
///
/// It usually leaves out the writer's own origin: see [`Replaces`]. Encoded, it is a sequence of dots of
/// 16 bytes of origin and a varint each.
#[derive(Clone, Copy, Debug)]
pub struct CausalContext<'a>(pub &'a [u8]);

impl CausalContext<'_> {
    /// Whether it covers the write with this dot.
    #[must_use]
    pub fn covers(self, origin: Origin, version: u64) -> bool {
        self.into_iter()
            .any(|(other, upto)| other == origin && version <= upto)
    }

    fn is_valid(self) -> bool {
        let mut rest = self.0;
        while !rest.is_empty() {
            match codec::take::<(Origin, u64)>(rest) {
                Some(((_, version), after)) if version > 0 => rest = after,
                _ => return false,
            }
        }
        true
    }

    /// The bytes of a context of these dots.
    #[must_use]
    pub fn encode(dots: &[(Origin, u64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for dot in dots {
            codec::append(&mut bytes, dot);
        }
        bytes
    }
}

impl<'a> IntoIterator for CausalContext<'a> {
    type Item = (Origin, u64);
    type IntoIter = ContextDots<'a>;

    fn into_iter(self) -> ContextDots<'a> {
        ContextDots(self.0)
    }
}

/// The dots of a [`CausalContext`].
#[derive(Clone, Debug)]
pub struct ContextDots<'a>(&'a [u8]);

impl Iterator for ContextDots<'_> {
    type Item = (Origin, u64);

    fn next(&mut self) -> Option<(Origin, u64)> {
        if self.0.is_empty() {
            return None;
        }
        let (dot, rest) = take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(dot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Generation, NodeId};
    use proptest::prelude::*;

    const LEGAL: Write<'_> = Write {
        key: b"k",
        stamp: Stamp::ZERO,
        version: 1,
        policy: Policy::LastWriteWins,
        replaces: Replaces::Own,
        lifetime: None,
        value: None,
        context: &[],
    };

    fn origin(id: u64) -> Origin {
        Origin {
            id: NodeId::from_u64(id),
            generation: Generation::new(Stamp::from_bits(9)),
        }
    }

    #[test]
    fn an_encoded_write_is_decoded_as_it_was() {
        let context = CausalContext::encode(&[(origin(1), 3), (origin(2), 900)]);
        let write = Write {
            key: b"user/123",
            stamp: Stamp::from_bits(77),
            version: 5,
            policy: Policy::KeepSiblings,
            replaces: Replaces::Context,
            lifetime: Some(1000),
            value: Some(b"x"),
            context: &context,
        };
        let bytes = write.encode();
        assert_eq!(Write::decode(&bytes), Some(write));
        assert_eq!(key_of(&bytes), b"user/123");
        let context = CausalContext(&context);
        assert!(context.covers(origin(1), 3) && !context.covers(origin(1), 4));
        assert!(context.covers(origin(2), 1) && !context.covers(origin(3), 1));
    }

    #[test]
    fn an_illegal_write_is_not_decoded() {
        assert!(Write::decode(&LEGAL.encode()).is_some());
        let long = [b'k'; MAX_KEY + 1];
        let large = [0; MAX_VALUE + 1];
        for wrong in [
            Write { key: b"", ..LEGAL },
            Write {
                key: &long,
                ..LEGAL
            },
            Write {
                key: b"\n",
                ..LEGAL
            },
            Write {
                key: b"\xff",
                ..LEGAL
            },
            Write {
                version: 0,
                ..LEGAL
            },
            Write {
                value: Some(&large),
                ..LEGAL
            },
            Write {
                context: &[1, 2, 3],
                ..LEGAL
            },
        ] {
            assert_eq!(Write::decode(&wrong.encode()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_key_length_of_two_bytes_is_refused() {
        let mut bytes = LEGAL.encode().into_vec();
        bytes.splice(..1, [0x81, 0]);
        assert_eq!(Write::decode(&bytes), None);
    }

    proptest! {
        #[test]
        fn what_is_decoded_encodes_to_the_same_bytes(bytes: Vec<u8>) {
            if let Some(write) = Write::decode(&bytes) {
                prop_assert_eq!(&*write.encode(), &bytes[..]);
                prop_assert_eq!(key_of(&bytes), write.key);
            }
        }
    }
}
