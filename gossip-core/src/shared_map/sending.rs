//! What a node tells others of its map: summaries, recent frontiers and deltas.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::replica::{
    ChunkEnd, DeltaSender, Map, Origin, Pull, PullReply, ReplicaSummary, VectorItem, Wanted,
};
use crate::wire::datagram::Encoder;
use crate::wire::message::{Item, MapSummary, Sender};

/// The most frontiers in a SYN.
const SYN_FRONTIERS: usize = 8;

/// For how many rounds a risen frontier counts as recent.
const RECENT_ROUNDS: usize = 4;

/// The node that a datagram comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) origin: Origin,
    pub(crate) address: SocketAddr,
    /// Whether the peer is known to be at that address, or has proved to be there. Then an answer does
    /// not hit another node.
    pub(crate) is_where_it_says: bool,
    /// Whether a table of frontiers, or a part of one, waits to be sent there already. A table is long.
    pub(crate) awaits_table: bool,
}

impl From<Sender> for Origin {
    fn from(sender: Sender) -> Self {
        Self {
            id: sender.id,
            generation: sender.generation,
        }
    }
}

/// The sending side.
#[derive(Debug, Default)]
pub(super) struct Sending {
    sender: DeltaSender,
    /// The latest position in the apply order at each of the last rounds, the latest round first.
    rounds: [u64; RECENT_ROUNDS],
}

impl Sending {
    /// Notes that a round begins.
    pub(super) fn begin_round(&mut self, map: &Map) {
        let latest = map.latest_position();
        debug_assert!(self.rounds.iter().all(|at| *at <= latest), "it only rises");
        self.rounds.rotate_right(1);
        if let Some(first) = self.rounds.first_mut() {
            *first = latest;
        }
    }

    /// The frontiers that rose within the last rounds, the latest first, at most `limit`.
    pub(super) fn recent(&self, map: &Map, limit: usize) -> Vec<VectorItem> {
        let [.., since] = self.rounds;
        map.recent(since, limit).into_vec()
    }

    /// Adds to a SYN what it says of the map. Adds nothing if the map is empty.
    pub(super) fn write_summary(&self, map: &Map, encoder: &mut Encoder<'_>) {
        let summary = map.summary();
        if summary == ReplicaSummary::default() {
            return;
        }
        encoder.item(&Item::MapSummary(MapSummary {
            hash: summary.hash.to_le_bytes(),
            forgotten: summary.prune_stamp,
        }));
        for item in self.recent(map, SYN_FRONTIERS) {
            encoder.item(&Item::MapTold(item));
        }
    }

    /// Takes in a peer's request.
    pub(super) fn on_pull(
        &mut self,
        map: &Map,
        peer: Peer,
        pull: &Pull,
        told: &[VectorItem],
    ) -> PullReply {
        self.sender
            .on_pull(map, peer.origin, pull, told.iter().copied())
    }

    /// The versions that a peer lacks. `None` if it needs a delta.
    pub(super) fn lacking(&self, map: &Map, peer: Peer) -> Option<Vec<Wanted>> {
        self.sender.lacking(map, peer.origin)
    }

    /// Writes the next chunk for a peer. After the `last` one the peer has to ask again. Returns the
    /// length and what follows.
    pub(super) fn write_chunk(
        &mut self,
        map: &Map,
        peer: Origin,
        last: bool,
        buffer: &mut [u8],
    ) -> Option<(usize, ChunkEnd)> {
        self.sender.write_chunk(map, peer, last, buffer)
    }
}

/// What a SYN tells of its sender's map. It tells nothing if the map is empty.
pub(super) fn summary_of(told: Option<MapSummary>) -> ReplicaSummary {
    told.map_or_else(ReplicaSummary::default, |told| ReplicaSummary {
        hash: u128::from_le_bytes(told.hash),
        prune_stamp: told.forgotten,
    })
}
