//! One versioned write, and runs of writes in their encoded form.
//!
//! Entries are kept in the very bytes in which they travel. A log is a run of entries in version order, so
//! what a peer lacks is a suffix of the run: to serve a delta is to copy a slice.

use alloc::vec::Vec;

use postcard::take_from_bytes;
use serde::{Deserialize, Serialize};

use crate::command::{MAX_KEY, MAX_VALUE};
use crate::wire::codec;

/// One write of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry<'a> {
    /// The number that its origin gave it: 1, 2, 3, …
    pub(crate) version: u64,
    /// When it was written, in milliseconds since the origin's generation began.
    pub(crate) age: u64,
    /// What it is about; see [`attribute`](super::attribute).
    #[serde(serialize_with = "codec::bytes")]
    pub(crate) key: &'a [u8],
    /// What it says, or `None` for a tombstone.
    #[serde(serialize_with = "codec::optional_bytes")]
    pub(crate) value: Option<&'a [u8]>,
}

impl Entry<'_> {
    /// Appends the encoded entry.
    pub(crate) fn append_to(&self, run: &mut Vec<u8>) {
        codec::append(run, self);
    }
}

/// A run of encoded entries, read one after the other. [`Entries::rest`] tells which bytes are left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    /// Reads a run that [`Entries::check`] has accepted, or that this node wrote.
    pub(crate) const fn new(run: &'a [u8]) -> Self {
        Self(run)
    }

    /// Whether `run` is a sound run of versions in `(after, upto]`:
    ///
    /// - versions rise strictly;
    /// - keys and values have a legal size;
    /// - no bytes are left over.
    pub(crate) fn check(run: &[u8], after: u64, upto: u64) -> bool {
        let mut last = after;
        let mut entries = Entries::new(run);
        while !entries.0.is_empty() {
            let Some((entry, rest)) = codec::take::<Entry<'_>>(entries.0) else {
                return false;
            };
            entries.0 = rest;
            let legal = entry.version > last
                && entry.version <= upto
                && (1..=MAX_KEY).contains(&entry.key.len())
                && entry.value.is_none_or(|value| value.len() <= MAX_VALUE);
            if !legal {
                return false;
            }
            last = entry.version;
        }
        true
    }

    /// The bytes not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The part of the run with versions above `after`.
    pub(crate) fn after(mut self, after: u64) -> &'a [u8] {
        loop {
            let rest = self.0;
            match self.next() {
                Some(entry) if entry.version <= after => {}
                _ => return rest,
            }
        }
    }

    /// The first entry of the run, and its version.
    pub(crate) fn first(mut self) -> Option<(&'a [u8], u64)> {
        let run = self.0;
        let version = self.next()?.version;
        let len = run.len().saturating_sub(self.0.len());
        Some((run.get(..len)?, version))
    }

    /// The longest prefix of the run of at most `limit` bytes, and the version it reaches.
    pub(crate) fn fitting(mut self, limit: usize) -> (&'a [u8], Option<u64>) {
        let run = self.0;
        let mut end = 0;
        let mut reached = None;
        while let Some(entry) = self.next() {
            debug_assert!(self.0.len() <= run.len(), "the rest is a suffix of the run");
            let read = run.len().saturating_sub(self.0.len());
            if read > limit {
                break;
            }
            end = read;
            reached = Some(entry.version);
        }
        (run.get(..end).unwrap_or_default(), reached)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let taken = take_from_bytes(self.0);
        debug_assert!(taken.is_ok(), "a run is checked before it is read");
        let (entry, rest) = taken.ok()?;
        debug_assert!(rest.len() < self.0.len(), "each step takes something");
        self.0 = rest;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(versions: &[u64]) -> Vec<u8> {
        let mut run = Vec::new();
        for version in versions {
            Entry {
                version: *version,
                age: 0,
                key: b"k",
                value: Some(b"v"),
            }
            .append_to(&mut run);
        }
        run
    }

    #[test]
    fn an_entry_is_read_back_as_it_was_written() {
        let mut bytes = Vec::new();
        let entry = Entry {
            version: 300,
            age: 70_000,
            key: b"key",
            value: Some(b"value"),
        };
        let tombstone = Entry {
            version: 301,
            age: 0,
            key: b"key",
            value: None,
        };
        entry.append_to(&mut bytes);
        tombstone.append_to(&mut bytes);
        assert_eq!(Entries::new(&bytes).collect::<Vec<_>>(), [entry, tombstone]);
    }

    #[test]
    fn a_run_rises_within_its_bounds_and_leaves_nothing_over() {
        assert!(Entries::check(&run(&[2, 3, 9]), 1, 9));
        assert!(Entries::check(&[], 5, 5));
        assert!(!Entries::check(&run(&[2, 2]), 1, 9));
        assert!(!Entries::check(&run(&[1]), 1, 9));
        assert!(!Entries::check(&run(&[10]), 1, 9));
        let mut cut = run(&[2, 3]);
        cut.pop();
        assert!(!Entries::check(&cut, 1, 9));
    }

    #[test]
    fn suffixes_and_prefixes_end_between_entries() {
        let all = run(&[2, 3, 9]);
        let one = run(&[2]).len();
        assert_eq!(Entries::new(&all).after(1), all);
        assert_eq!(Entries::new(&all).after(2), &all[one..]);
        assert_eq!(Entries::new(&all).after(9), b"");
        assert_eq!(
            Entries::new(&all).fitting(2 * one),
            (&all[..2 * one], Some(3))
        );
        assert_eq!(
            Entries::new(&all).fitting(2 * one - 1),
            (&all[..one], Some(2))
        );
        assert_eq!(Entries::new(&all).fitting(0), (&b""[..], None));
    }
}
