//! Requests: what a replica tells of its frontiers when it asks a peer for a delta.
//!
//! The head of a request holds a hash over all frontiers. The items after it tell those frontiers that the
//! peer cannot guess, or all of them. A table of all frontiers may take several requests.

use serde::{Deserialize, Serialize};

use super::Map;
use super::chunk::Cursor;
use super::delta_codec::{DeltaWriter, EncodedItems};
use super::logs::Origin;
use crate::identity::Generation;
use crate::wire::codec;

/// The head of a request. [`VectorItem`]s follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// The stream to continue. 0 stands for a new one.
    pub session: u32,
    /// Where the stream continues.
    pub cursor: Cursor,
    /// The hash over all of the sender's frontiers.
    pub hash: [u8; 16],
    /// The sender's prune stamp.
    pub prune_stamp: Generation,
    /// Whether the sender asks for a delta. Otherwise it tells its frontiers so that the peer can ask.
    pub ask: bool,
}

/// A part of a version vector, as one replica tells it to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VectorItem {
    /// How far the sender knows an origin. 0 stands for not at all.
    Frontier(Origin, u64),
    /// The sender knows no other origins than those it has told, after the first of these and up to the
    /// second. `None` stands for the beginning and the end.
    Complete(Option<Origin>, Option<Origin>),
}

impl VectorItem {
    /// Whether it says how far this origin is known.
    #[must_use]
    pub fn is_about(&self, origin: Origin) -> bool {
        matches!(self, Self::Frontier(other, _) if *other == origin)
    }
}

/// The most bytes of a [`VectorItem::Frontier`]: its tag, an origin and a varint. A
/// [`VectorItem::Complete`] takes at most twice as many.
const FRONTIER_ITEM: usize = 1 + 16 + 10;

/// Reads the head of a request and its items, up to the last byte.
#[must_use]
pub fn read_pull(bytes: &[u8]) -> Option<(Pull, EncodedItems<'_, VectorItem>)> {
    let (pull, rest) = codec::take(bytes)?;
    Some((pull, EncodedItems::read(rest, |_| true)?))
}

/// Writes a request that tells `items`, or the first of them where not all fit. Returns its length and
/// how many items it tells. `None` if the buffer does not even hold the head.
#[must_use]
pub fn write_pull(pull: &Pull, items: &[VectorItem], buffer: &mut [u8]) -> Option<(usize, usize)> {
    let mut writer = DeltaWriter::new(buffer);
    if !writer.put(pull) {
        return None;
    }
    let written = items.iter().take_while(|item| writer.put(item)).count();
    Some((writer.len(), written))
}

impl Map {
    /// Writes a request that tells all frontiers after an origin, or the first of them where not all fit.
    /// Returns its length and, if frontiers are left, the origin after which the next request begins.
    /// `None` if the buffer does not even hold one of them.
    #[must_use]
    pub fn write_table(
        &self,
        pull: &Pull,
        after: Option<Origin>,
        buffer: &mut [u8],
    ) -> Option<(usize, Option<Origin>)> {
        let mut writer = DeltaWriter::new(buffer);
        if !writer.put(pull) {
            return None;
        }
        let fitting = writer
            .free()
            .saturating_sub(2 * FRONTIER_ITEM)
            .div_euclid(FRONTIER_ITEM)
            .max(1);
        let mut rest = self.frontiers_after(after).skip(fitting.saturating_sub(1));
        let last = rest.next().filter(|_| rest.next().is_some());
        let upto = match last {
            Some(VectorItem::Frontier(origin, _)) => Some(origin),
            _ => None,
        };
        let mut frontiers = self.frontiers_after(after).take(fitting);
        let is_written = writer.put(&VectorItem::Complete(after, upto))
            && frontiers.all(|item| writer.put(&item));
        is_written.then(|| (writer.len(), upto))
    }
}
