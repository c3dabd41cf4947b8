//! One write of a key, in the bytes in which it is kept and travels.

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
    /// All earlier ones of its own origin, and those in its context.
    #[default]
    Own,
    /// Those in its context and no others: a tombstone that takes the part of others' and leaves
    /// what its origin keeps beside them.
    Context,
}

/// A write as its origin made it. Its **dot**, (origin, version), is its name for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write<'a> {
    /// What is written. First, and shorter than 128 bytes, so that it is found without decoding.
    #[serde(serialize_with = "codec::bytes")]
    pub key: &'a [u8],
    /// When, by its origin's clock: later than everything that its origin had seen.
    pub stamp: Stamp,
    /// The origin's number for it: 1, 2, 3, …
    pub version: u64,
    /// What becomes of it when somebody else writes the key without knowing it.
    pub policy: Policy,
    /// Whether it replaces earlier writes of its own origin.
    pub replaces: Replaces,
    /// Milliseconds after the stamp at which it dies by itself. It loses its value then.
    pub lifetime: Option<u64>,
    /// What it says, or `None` for a tombstone.
    #[serde(serialize_with = "codec::optional_bytes")]
    pub value: Option<&'a [u8]>,
    /// The key's version vector as its origin knew it; see [`Context`].
    #[serde(serialize_with = "codec::bytes")]
    pub context: &'a [u8],
}

impl<'a> Write<'a> {
    /// Reads one that may come from anywhere: all of `bytes`, every part of a legal size and in its
    /// shortest form. [`encode`](Self::encode) gives the same bytes.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (write, rest): (Self, _) = codec::take(bytes)?;
        let key = core::str::from_utf8(write.key).ok()?;
        let legal = rest.is_empty()
            && (1..=MAX_KEY).contains(&key.len())
            && !key.chars().any(char::is_control)
            && write.version > 0
            && write.value.is_none_or(|value| value.len() <= MAX_VALUE)
            && Context(write.context).is_valid();
        legal.then_some(write)
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Box<[u8]> {
        let value = self.value.map_or(0, <[u8]>::len);
        let size = [self.key.len(), value, self.context.len(), 24]
            .into_iter()
            .fold(0, usize::saturating_add);
        // Extending a Vec cannot fail.
        to_extend(self, Vec::with_capacity(size))
            .unwrap_or_default()
            .into_boxed_slice()
    }

    /// Whether it replaces the write with this dot, it being of `origin` itself.
    #[must_use]
    pub fn replaces(&self, origin: Origin, other: Origin, version: u64) -> bool {
        origin == other && version < self.version && self.replaces == Replaces::Own
            || Context(self.context).covers(other, version)
    }

    /// The key, which is UTF-8 by construction.
    #[must_use]
    pub fn key_text(&self) -> &'a str {
        core::str::from_utf8(self.key).unwrap_or_default()
    }

    /// Since when it is dead, in Unix milliseconds, if ever: since it was written, for a tombstone.
    pub(crate) const fn dies_at(&self) -> Option<u64> {
        let written = self.stamp.time().as_millis();
        match (self.value, self.lifetime) {
            // Without a value, it is one whose life is over.
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

/// The dots that a write replaces: of each origin, its writes of the key up to a version.
///
/// The writer's own are not listed, as a rule: see [`Replaces`]. Dots are
/// 16 bytes of origin and a varint each.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a>(pub &'a [u8]);

impl Context<'_> {
    /// Whether it replaces this dot.
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

    /// The bytes that say so.
    #[must_use]
    pub fn encode(dots: &[(Origin, u64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for dot in dots {
            codec::append(&mut bytes, dot);
        }
        bytes
    }
}

impl<'a> IntoIterator for Context<'a> {
    type Item = (Origin, u64);
    type IntoIter = Dots<'a>;

    fn into_iter(self) -> Dots<'a> {
        Dots(self.0)
    }
}

/// The dots of a [`Context`].
#[derive(Clone, Debug)]
pub struct Dots<'a>(&'a [u8]);

impl Iterator for Dots<'_> {
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
    fn a_write_is_read_back_as_it_was_made() {
        let context = Context::encode(&[(origin(1), 3), (origin(2), 900)]);
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
        let context = Context(&context);
        assert!(context.covers(origin(1), 3) && !context.covers(origin(1), 4));
        assert!(context.covers(origin(2), 1) && !context.covers(origin(3), 1));
    }

    #[test]
    fn what_is_not_legal_is_no_write() {
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
    fn a_key_whose_length_is_told_in_two_bytes_is_refused() {
        let mut bytes = LEGAL.encode().into_vec();
        bytes.splice(..1, [0x81, 0]);
        assert_eq!(Write::decode(&bytes), None);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(bytes: Vec<u8>) {
            if let Some(write) = Write::decode(&bytes) {
                prop_assert_eq!(&*write.encode(), &bytes[..]);
                prop_assert_eq!(key_of(&bytes), write.key);
            }
        }
    }
}
