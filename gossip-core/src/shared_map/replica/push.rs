//! What is pushed: a run of one origin's latest writes, to be applied at once or not at all.
//!
//! A run `(after, upto]` holds all that lives of these versions, and whatever is missing from it was
//! replaced by what is in it. So a replica whose frontier is at `after`, and whose frontiers cover the
//! contexts in it, may take it in and raise its frontier to `upto`. Any other replica pulls.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use postcard::take_from_bytes;
use serde::{Deserialize, Serialize};

use super::Map;
use super::apply_order::Change;
use super::delta::{LOG, overhead};
use super::logs::Origin;
use super::write::{Context, Write};
use crate::state::room::Room;
use crate::wire::codec;

/// A run of one origin's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run<'a> {
    /// Whose writes.
    pub origin: Origin,
    /// The version before the first.
    pub after: u64,
    /// The version of the last.
    pub upto: u64,
    /// The writes in the order of their versions, each with its length before it.
    #[serde(serialize_with = "codec::bytes")]
    pub writes: &'a [u8],
}

impl<'a> Run<'a> {
    /// The writes one after the other; ends early where the bytes make no sense.
    pub fn writes(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.writes;
        core::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (write, after): (&[u8], _) = take_from_bytes(rest).ok()?;
            rest = after;
            Some(write)
        })
    }

    /// Bytes that it makes a replica hold that does not know it, beyond its own.
    #[must_use]
    pub fn takes(&self) -> usize {
        self.writes()
            .map(|bytes| overhead(Write::decode(bytes).as_ref()))
            .fold(LOG, usize::saturating_add)
    }

    /// Whether it is a run: legal writes of rising versions in `(after, upto]`, nothing left over.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let mut last = self.after;
        let mut read = 0_usize;
        for bytes in self.writes() {
            let Some(write) = Write::decode(bytes) else {
                return false;
            };
            if write.version <= last || write.version > self.upto {
                return false;
            }
            last = write.version;
            let prefix = if bytes.len() < 128 { 1 } else { 2 };
            read = read.saturating_add(bytes.len()).saturating_add(prefix);
        }
        read == self.writes.len() && last == self.upto && self.after < self.upto
    }
}

/// What became of a pushed run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was applied.
    Applied,
    /// It is known already.
    Known,
    /// What lies before it, or what it builds on, is missing: pull.
    Gap,
    /// Its origin has been forgotten.
    Refused,
    /// Under this replica's own origin, which has not written it: reopen the own log.
    Own,
}

/// Own writes that have not been pushed yet, in the order of their versions.
#[derive(Clone, Debug, Default)]
pub(super) struct Unpushed {
    writes: VecDeque<(u64, Fate)>,
}

/// Unpushed writes beyond this are left to the periodic exchange.
const MAX_UNPUSHED: usize = 4096;

/// What has become of an own write since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Lives,
    /// Replaced by an own write of this version.
    Replaced(u64),
    /// Replaced by another origin's write: the receiver may not know it.
    Lost,
}

impl Unpushed {
    pub(super) fn written(&mut self, version: u64) {
        if self.writes.len() >= MAX_UNPUSHED {
            self.writes.clear();
        }
        self.writes.push_back((version, Fate::Lives));
    }

    pub(super) fn replaced(&mut self, version: u64, by: Option<u64>) {
        let first = self.writes.front().map_or(u64::MAX, |(first, _)| *first);
        let index = version.checked_sub(first);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some((_, fate)) = index.and_then(|index| self.writes.get_mut(index)) {
            *fate = by.map_or(Fate::Lost, Fate::Replaced);
        }
    }
}

impl Map {
    /// Whether there are own writes to push.
    #[must_use]
    pub fn has_unpushed(&self) -> bool {
        !self.unpushed.writes.is_empty()
    }

    /// Leaves what has not been pushed to be pulled.
    pub fn forget_unpushed(&mut self) {
        self.unpushed.writes.clear();
    }

    /// The next run of own writes to push, of at most `limit` bytes of writes; `buffer` is cleared
    /// and takes them. `None` where there is nothing left, or what is left has to be pulled.
    pub fn poll_push<'b>(&mut self, limit: usize, buffer: &'b mut Vec<u8>) -> Option<Run<'b>> {
        buffer.clear();
        let own = self.logs.slot(self.own)?;
        let first = self.unpushed.writes.front()?.0;
        let after = first.saturating_sub(1);
        let start = self.logs.at(own)?.applied_after(after);
        let mut live = self.applied.after(start).filter_map(|(_, change)| {
            let Change::Write(slot) = change else {
                return None;
            };
            self.slab
                .get(slot)
                .filter(|held| held.log == own && held.version > after)
        });
        // A run may end where everything missing from it was replaced within it.
        let mut end = None;
        let (mut needs, mut takes) = (0_u64, LOG);
        for (count, (version, fate)) in (1_usize..).zip(&self.unpushed.writes) {
            match fate {
                Fate::Lost => break,
                Fate::Replaced(by) => needs = needs.max(*by),
                Fate::Lives => {
                    let Some(held) = live.find(|held| held.version == *version) else {
                        break;
                    };
                    let bytes: &[u8] = &held.bytes;
                    codec::append(buffer, &bytes);
                    takes = takes.saturating_add(overhead(Some(&held.write())));
                    if buffer.len() > limit || takes > Room::of(buffer.len()).left() {
                        break;
                    }
                    if needs <= *version {
                        end = Some((*version, count, buffer.len()));
                    }
                }
            }
        }
        drop(live);
        let Some((upto, count, len)) = end else {
            self.unpushed.writes.clear();
            return None;
        };
        self.unpushed.writes.drain(..count);
        buffer.truncate(len);
        Some(Run {
            origin: self.own,
            after,
            upto,
            writes: buffer,
        })
    }

    /// Takes in a valid run, if it follows on what is known.
    pub fn apply_push(&mut self, run: &Run<'_>) -> Pushed {
        let known = self.known(run.origin);
        if run.upto <= known {
            return Pushed::Known;
        }
        if self.refuses(run.origin) {
            return Pushed::Refused;
        }
        if run.origin == self.own {
            return Pushed::Own;
        }
        if run.after > known || !run.writes().all(|write| self.knows_context_of(write)) {
            return Pushed::Gap;
        }
        let Some(log) = self.open(run.origin) else {
            return Pushed::Refused;
        };
        self.logs.mark(log, self.applied.latest());
        for bytes in run.writes() {
            if Write::decode(bytes).is_some_and(|write| write.version > known) {
                self.merged = self.merged.saturating_add(1);
                self.insert(log, bytes.into());
            }
        }
        self.raise(log, run.upto);
        Pushed::Applied
    }

    /// Whether the frontiers cover everything that a write replaces.
    fn knows_context_of(&self, bytes: &[u8]) -> bool {
        Write::decode(bytes).is_some_and(|write| {
            Context(write.context)
                .into_iter()
                .all(|(origin, version)| self.known(origin) >= version || self.refuses(origin))
        })
    }
}
