//! Broadcasts: events of the application, as entries of their writer's log.
//!
//! Each has a key of its own, made of its number, so none overwrites another. What ends them is one
//! entry that says up to which number they are over: it overwrites all of these at once, as a newer
//! write overwrites an older one, and is itself overwritten by the next of its kind. So a broadcast
//! leaves no tombstone behind.

use alloc::vec::Vec;

use postcard::{from_bytes, to_extend};
use serde::{Deserialize, Serialize};

use super::entry::{Entries, Entry};
use crate::identity::Generation;

/// The first byte of a broadcast's key; its number follows.
const BROADCAST: u8 = 5;
/// Up to which number broadcasts are over.
pub(crate) const OVER: &[u8] = &[6];

/// The key of the broadcast with this number.
pub(crate) fn key(number: u64) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    [BROADCAST, a, b, c, d, e, f, g, h]
}

/// The number of the broadcast that has this key, if it is one's.
pub(crate) fn number(key: &[u8]) -> Option<u64> {
    match key {
        [BROADCAST, number @ ..] => Some(u64::from_be_bytes(number.try_into().ok()?)),
        _ => None,
    }
}

/// Where a broadcast stands among its writer's: in which life, and which number it has there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The generation in which the writer's process began. Numbers count from there, whatever the
    /// generation was raised to since.
    pub(crate) life: Generation,
    pub(crate) number: u64,
}

impl Place {
    /// The value of an entry that ends all broadcasts up to here.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Extending a Vec cannot fail.
        to_extend(self, Vec::new()).unwrap_or_default()
    }
}

/// Up to where an entry ends broadcasts, if it does.
pub(crate) fn over(entry: &Entry<'_>) -> Option<Place> {
    let value = entry.value.filter(|_| entry.key == OVER)?;
    from_bytes(value).ok()
}

/// The latest broadcast in a run, be it over or not.
pub(crate) fn latest(entries: Entries<'_>) -> Place {
    let place = |entry: Entry<'_>| {
        over(&entry).or_else(|| {
            let number = number(entry.key)?;
            let life = Body::decode(entry.value?)?.life;
            Some(Place { life, number })
        })
    };
    let places = entries.filter_map(place);
    places.fold(Place::default(), |latest, place| {
        let same = place.life == latest.life;
        if same && place.number <= latest.number {
            latest
        } else {
            place
        }
    })
}

/// What a broadcast says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body<'a> {
    /// See [`Place::life`].
    pub(crate) life: Generation,
    /// When it expires, in milliseconds of Unix time by the writer's clock.
    pub(crate) until: u64,
    /// What it is about.
    #[serde(borrow)]
    pub(crate) name: &'a str,
    pub(crate) payload: &'a [u8],
}

impl<'a> Body<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Extending a Vec cannot fail.
        to_extend(self, Vec::new()).unwrap_or_default()
    }

    pub(crate) fn decode(value: &'a [u8]) -> Option<Self> {
        from_bytes(value).ok()
    }
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
            life: Generation::new(Stamp::from_bits(7 << 40)),
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
    fn the_latest_is_found_also_where_it_is_over() {
        let life = Generation::new(Stamp::from_bits(9));
        let body = Body {
            life,
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
        assert_eq!(append(1, b"a", b"1"), Place::default());
        let place = |number| Place { life, number };
        assert_eq!(append(2, &key(7), &body.encode()), place(7));
        assert_eq!(append(3, &key(8), &body.encode()), place(8));
        assert_eq!(append(4, OVER, &place(7).encode()), place(8));
        assert_eq!(append(5, OVER, &place(9).encode()), place(9));
        assert_eq!(append(6, &key(10), b"nonsense"), place(9));
    }
}
