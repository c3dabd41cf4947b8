//! What is pushed: a run of one origin's latest writes.
//!
//! A run `(after, upto]` holds every write of these versions, dead or not. So a replica may apply its writes one
//! after the other, and raise its frontier as far, if
//! - its frontier is at `after` or above, and
//! - its frontiers cover the context of each, as far as the run itself does not.
//!
//! The replica stops at a write whose context is not covered. It does not leave the whole run to wait: of two runs
//! each may hold a write that has seen one in the other.
//!
//! What is left of the run is early: it waits among the [recent runs](super::recent_runs).

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use postcard::take_from_bytes;
use serde::{Deserialize, Serialize};

use super::Map;
use super::logs::Origin;
use super::overhead;
use super::slab::WriteSlot;
use super::write::{CausalContext, Write};
use crate::state::room::Room;
use crate::wire::codec;

/// A run of one origin's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run<'a> {
    /// The origin of the writes.
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
    /// The writes one after the other. Ends early where the bytes cannot be read.
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

    /// Bytes that a replica must hold to apply the run, beyond those of the writes.
    #[must_use]
    pub fn overhead(&self) -> usize {
        self.writes()
            .map(|bytes| overhead::of_write(Write::decode(bytes).as_ref()))
            .fold(overhead::LOG, usize::saturating_add)
    }

    /// Whether this is a run: legal writes of rising versions in `(after, upto]`, the last of which is
    /// `upto`, and no bytes left over.
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

/// What has become of a pushed run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The replica has applied it.
    Applied,
    /// The replica knew it already.
    Known,
    /// It is early, or the rest of it is: the replica lacks this version, which stands before it or in the
    /// context of the next write.
    Early(Origin, u64),
    /// Its origin may have been pruned and forgotten.
    Refused,
    /// It is under this replica's own origin, but this replica has not written it: reopen the own log.
    Own,
}

/// Own writes that have not been pushed yet: consecutive versions in their order.
///
/// A write that has died since is pushed all the same. A run that left it out could be applied only together
/// with what has replaced it, which may be another origin's write.
#[derive(Clone, Debug, Default)]
pub(super) struct Unpushed {
    writes: VecDeque<(u64, UnpushedWrite)>,
    /// How many were left to the periodic exchange.
    skipped: u64,
}

/// Where an unpushed write is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum UnpushedWrite {
    Held(WriteSlot),
    /// It has died. These are its bytes.
    Dead(Box<[u8]>),
}

/// The most unpushed writes. If there are more, all are left to the periodic exchange.
const MAX_UNPUSHED: usize = 4096;

impl Unpushed {
    /// Notes the write of one more version.
    pub(super) fn add(&mut self, version: u64, slot: WriteSlot) {
        debug_assert!(
            (self.writes.back()).is_none_or(|(last, _)| last.checked_add(1) == Some(version)),
            "versions are consecutive"
        );
        if self.writes.len() >= MAX_UNPUSHED {
            self.skip();
        }
        self.writes.push_back((version, UnpushedWrite::Held(slot)));
    }

    /// Leaves all of them to the periodic exchange.
    fn skip(&mut self) {
        let skipped = u64::try_from(self.writes.len()).unwrap_or(u64::MAX);
        self.skipped = self.skipped.saturating_add(skipped);
        self.writes.clear();
    }

    /// Keeps the bytes of a write that is about to be dropped, if it is among them.
    pub(super) fn keep(&mut self, version: u64, bytes: &[u8]) {
        let first = self.writes.front().map_or(u64::MAX, |(first, _)| *first);
        let index = version.checked_sub(first);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some((_, write)) = index.and_then(|index| self.writes.get_mut(index)) {
            debug_assert!(matches!(write, UnpushedWrite::Held(_)), "a write dies once");
            *write = UnpushedWrite::Dead(bytes.into());
        }
    }
}

impl Map {
    /// Whether there are own writes to push.
    #[must_use]
    pub fn has_unpushed(&self) -> bool {
        !self.unpushed.writes.is_empty()
    }

    /// How many own writes have not been pushed because too many waited, or because one is larger than a
    /// datagram.
    #[must_use]
    pub const fn skipped_pushes(&self) -> u64 {
        self.unpushed.skipped
    }

    /// Drops what has not been pushed. Peers will pull it.
    pub fn drop_unpushed(&mut self) {
        self.unpushed.writes.clear();
    }

    /// The next run of own writes to push, with at most `usual` bytes of writes, or a single write of at most `most`.
    /// They are written into `buffer`. `None` if nothing is left, or if the next write is longer: then peers have to pull.
    pub fn poll_push<'b>(
        &mut self,
        usual: usize,
        most: usize,
        buffer: &'b mut Vec<u8>,
    ) -> Option<Run<'b>> {
        buffer.clear();
        let first = self.unpushed.writes.front()?.0;
        let after = first.saturating_sub(1);
        let mut upto = after;
        let mut len = 0;
        let mut held_beside = overhead::LOG;
        for (version, write) in &self.unpushed.writes {
            let bytes: &[u8] = match write {
                UnpushedWrite::Dead(bytes) => bytes,
                UnpushedWrite::Held(slot) => match self.slab.get(*slot) {
                    Some(held) => &held.bytes,
                    None => break,
                },
            };
            debug_assert_eq!(
                Write::decode(bytes).map(|write| write.version),
                Some(*version)
            );
            codec::append(buffer, &bytes);
            held_beside =
                held_beside.saturating_add(overhead::of_write(Write::decode(bytes).as_ref()));
            let limit = if len == 0 { most } else { usual };
            if buffer.len() > limit || held_beside > Room::of(buffer.len()).left() {
                break;
            }
            (upto, len) = (*version, buffer.len());
        }
        if upto == after {
            self.unpushed.skip();
            return None;
        }
        self.unpushed.writes.drain(
            ..self
                .unpushed
                .writes
                .partition_point(|(version, _)| *version <= upto),
        );
        buffer.truncate(len);
        Some(Run {
            origin: self.own,
            after,
            upto,
            writes: buffer,
        })
    }

    /// Applies a valid run as far as it follows on what is known.
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
        if run.after > known {
            return Pushed::Early(run.origin, run.after);
        }
        let mut writes = run
            .writes()
            .filter_map(|bytes| Some((Write::decode(bytes)?, bytes)))
            .skip_while(|(write, _)| write.version <= known)
            .peekable();
        let first = writes.peek();
        if let Some((origin, version)) =
            first.and_then(|(write, _)| self.lacks_context_of(run.origin, write))
        {
            return Pushed::Early(origin, version);
        }
        let Some(log) = self.open(run.origin) else {
            return Pushed::Refused;
        };
        self.logs.mark(log, self.apply_order.latest());
        let (mut applied, mut pushed) = (known, Pushed::Applied);
        for (write, bytes) in writes {
            if let Some((origin, version)) = self.lacks_context_of(run.origin, &write) {
                pushed = Pushed::Early(origin, version);
                break;
            }
            self.merged = self.merged.saturating_add(1);
            self.insert(log, bytes.into());
            applied = write.version;
        }
        debug_assert!(pushed != Pushed::Applied || applied == run.upto);
        self.raise(log, applied);
        pushed
    }

    /// Whether all origins in the contexts of a run are in the vector.
    pub(super) fn has_logs_in_contexts(&self, run: &Run<'_>) -> bool {
        run.writes().filter_map(Write::decode).all(|write| {
            let mut dots = CausalContext(write.context).into_iter();
            dots.all(|(origin, _)| self.logs.slot(origin).is_some())
        })
    }

    /// A version in the context of an origin's write that this replica does not know. What the origin wrote
    /// before the write comes with it, in the same run.
    fn lacks_context_of(&self, origin: Origin, write: &Write<'_>) -> Option<(Origin, u64)> {
        let comes_along = |(other, version)| other == origin && version < write.version;
        CausalContext(write.context).into_iter().find(|dot| {
            let (other, version) = *dot;
            self.known(other) < version && !self.refuses(other) && !comes_along(*dot)
        })
    }
}
