//! Broadcasts: events of the application, as entries of their writer's log.
//!
//! Each broadcast has a key of its own, made of its number, so no broadcast overwrites another. The
//! writer ends broadcasts with an entry of another kind, the *end of broadcasts*. It says up to which
//! number they are over, and overwrites all of them at once. The next end overwrites it in turn. So an
//! expired broadcast leaves no tombstone behind.

use alloc::vec::Vec;

use postcard::{from_bytes, to_extend};
use serde::{Deserialize, Serialize};

use super::entry::{Entries, Entry};
use crate::identity::Generation;

/// The first byte of a broadcast's key. Its number follows.
const BROADCAST: u8 = 5;
/// The key of the end of broadcasts: the number up to which they are over.
pub(crate) const OVER: &[u8] = &[6];

/// The key of the broadcast with this number.
pub(crate) fn key(number: u64) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    [BROADCAST, a, b, c, d, e, f, g, h]
}

/// The number of the broadcast that has this key, if the key is a broadcast's.
pub(crate) fn number(key: &[u8]) -> Option<u64> {
    match key {
        [BROADCAST, number @ ..] => Some(u64::from_be_bytes(number.try_into().ok()?)),
        _ => None,
    }
}

/// Names a broadcast among all of its writer. The default stands before every broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BroadcastNumber {
    /// The generation in which the writer's process began. Numbers count from there, whatever the
    /// process has raised its generation to since.
    pub(crate) incarnation_start: Generation,
    pub(crate) number: u64,
}

impl BroadcastNumber {
    /// The value of the entry that ends all broadcasts up to this one.
    pub(crate) fn encode(&self) -> Vec<u8> {
        encoded(self)
    }
}

/// The last broadcast that an entry ends, if it is an end of broadcasts.
pub(crate) fn over(entry: &Entry<'_>) -> Option<BroadcastNumber> {
    let value = entry.value.filter(|_| entry.key == OVER)?;
    from_bytes(value).ok()
}

/// The latest broadcast of which a run tells, be it over or not.
pub(crate) fn latest(entries: Entries<'_>) -> BroadcastNumber {
    let told = |entry: Entry<'_>| {
        over(&entry).or_else(|| {
            let number = number(entry.key)?;
            let incarnation_start = Body::decode(entry.value?)?.incarnation_start;
            Some(BroadcastNumber {
                incarnation_start,
                number,
            })
        })
    };
    entries
        .filter_map(told)
        .fold(BroadcastNumber::default(), |latest, told| {
            let same_process = told.incarnation_start == latest.incarnation_start;
            if same_process && told.number <= latest.number {
                latest
            } else {
                told
            }
        })
}

/// What a broadcast says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body<'a> {
    /// See [`BroadcastNumber::incarnation_start`].
    pub(crate) incarnation_start: Generation,
    /// When it expires, in milliseconds of Unix time by the writer's clock.
    pub(crate) until: u64,
    /// What it is about.
    #[serde(borrow)]
    pub(crate) name: &'a str,
    pub(crate) payload: &'a [u8],
}

impl<'a> Body<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        encoded(self)
    }

    pub(crate) fn decode(value: &'a [u8]) -> Option<Self> {
        from_bytes(value).ok()
    }
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    let encoded = to_extend(value, Vec::new());
    debug_assert!(encoded.is_ok(), "a Vec takes whatever is written");
    encoded.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Stamp;

    #[test]
    fn keys_and_bodies_are_read_back() {
        for n in [0, 1, 0x1234, u64::MAX] {
            assert_eq!(number(&key(n)), Some(n));
        }
        for other in [&[BROADCAST][..], &[BROADCAST, 1], b"key", OVER, b""] {
            assert_eq!(number(other), None);
        }
        let body = Body {
            incarnation_start: Generation::new(Stamp::from_bits(7 << 40)),
            until: 1_767_225_600_000,
            name: "deploy",
            payload: b"v5",
        };
        let bytes = body.encode();
        assert_eq!(Body::decode(&bytes), Some(body));
        assert_eq!(Body::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Body::decode(b""), None);
    }

    #[test]
    fn the_latest_broadcast_is_found_even_if_it_is_over() {
        let incarnation_start = Generation::new(Stamp::from_bits(9));
        let body = Body {
            incarnation_start,
            until: 1,
            name: "x",
            payload: b"",
        };
        let mut run = Vec::new();
        let mut append = |version, key: &[u8], value: &[u8]| {
            let value = Some(value);
            Entry {
                version,
                age: 0,
                key,
                value,
            }
            .append_to(&mut run);
            latest(Entries::new(&run))
        };
        assert_eq!(append(1, b"a", b"1"), BroadcastNumber::default());
        let numbered = |number| BroadcastNumber {
            incarnation_start,
            number,
        };
        assert_eq!(append(2, &key(7), &body.encode()), numbered(7));
        assert_eq!(append(3, &key(8), &body.encode()), numbered(8));
        assert_eq!(append(4, OVER, &numbered(7).encode()), numbered(8));
        assert_eq!(append(5, OVER, &numbered(9).encode()), numbered(9));
        assert_eq!(append(6, &key(10), b"nonsense"), numbered(9));
    }
}
