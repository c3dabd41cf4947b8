//! What a node tells others of its map: summaries, recent frontiers and deltas.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::replica::{
    ChunkEnd, DeltaSender, Map, Origin, Pull, PullReply, ReplicaSummary, VectorItem, Wanted,
};
use crate::time::Instant;
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
    /// How much each peer is sent at a time, the one that has not asked for the longest time first.
    windows: Vec<(Origin, Window)>,
}

/// How many datagrams of a delta are sent in answer to one request.
///
/// The window adapts to what arrives. It grows by a quarter with each request that follows quickly on a window of
/// which all has arrived. So it fills no more of a link than the link carries in [`QUICK`], or in the time of the
/// first window, and what others have to say is not late because of it. It shrinks by a quarter where something
/// is missing and the request comes late. Something that is missing soon has been lost by chance.
#[derive(Clone, Copy, Debug)]
struct Window {
    datagrams: u32,
    sent_at: Instant,
}

/// The first, the smallest and the largest window. 16 datagrams of 1400 bytes are 22 kB: little for a socket
/// buffer, much for one round trip. 64 of them still fit the buffer that Linux gives a socket.
const FIRST_WINDOW: u32 = 16;
const LEAST_WINDOW: u32 = 4;
const MOST_WINDOW: u32 = 64;

/// A request that comes within this time is quick.
const QUICK: Duration = Duration::from_millis(100);

/// The most peers whose windows are remembered: those that are served at a time.
const WINDOWS: usize = 8;

impl Window {
    /// The window that follows on this one. `has_all` tells whether all of it has arrived.
    fn next(self, now: Instant, has_all: bool) -> Self {
        let quarter = self.datagrams.div_euclid(4).max(1);
        let is_quick = now.saturating_since(self.sent_at) <= QUICK;
        let datagrams = match (has_all, is_quick) {
            (true, true) => self.datagrams.saturating_add(quarter).min(MOST_WINDOW),
            (false, false) => self.datagrams.saturating_sub(quarter).max(LEAST_WINDOW),
            _ => self.datagrams,
        };
        Self {
            datagrams,
            sent_at: now,
        }
    }
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

    /// How many datagrams of a delta a peer is sent now. `goes_on` is as in [`PullReply`].
    pub(super) fn window(&mut self, now: Instant, peer: Origin, goes_on: Option<bool>) -> u32 {
        let at = self.windows.iter().position(|(known, _)| *known == peer);
        let before = at.map(|at| self.windows.remove(at).1);
        let first = Window {
            datagrams: FIRST_WINDOW,
            sent_at: now,
        };
        let window = match (before, goes_on) {
            (Some(before), Some(has_all)) => before.next(now, has_all),
            _ => first,
        };
        if self.windows.len() >= WINDOWS {
            self.windows.remove(0);
        }
        self.windows.push((peer, window));
        window.datagrams
    }

    /// The versions that a peer lacks. `None` if it needs a delta.
    pub(super) fn lacking(&self, map: &Map, session: (Origin, u32)) -> Option<Vec<Wanted>> {
        self.sender.lacking(map, session)
    }

    /// Writes the next chunk of a session with a peer. After the `last` one the peer has to ask again. Returns the
    /// length and what follows.
    pub(super) fn write_chunk(
        &mut self,
        map: &Map,
        session: (Origin, u32),
        last: bool,
        buffer: &mut [u8],
    ) -> Option<(usize, ChunkEnd)> {
        self.sender.write_chunk(map, session, last, buffer)
    }
}

/// What a SYN tells of its sender's map. It tells nothing if the map is empty.
pub(super) fn summary_of(told: Option<MapSummary>) -> ReplicaSummary {
    told.map_or_else(ReplicaSummary::default, |told| ReplicaSummary {
        hash: u128::from_le_bytes(told.hash),
        prune_stamp: told.forgotten,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ORIGIN.saturating_add(Duration::from_millis(millis))
    }

    #[test]
    fn a_window_grows_while_all_of_it_arrives_quickly_and_shrinks_on_a_full_link() {
        let mut sending = Sending::default();
        let peer = Origin {
            id: crate::identity::NodeId::from_u64(1),
            generation: crate::identity::Generation::ZERO,
        };
        let mut window = sending.window(at(0), peer, None);
        assert_eq!(window, FIRST_WINDOW);
        for round in 1..20 {
            let next = sending.window(at(10 * round), peer, Some(true));
            assert!(next > window || next == MOST_WINDOW);
            window = next;
        }
        assert_eq!(window, MOST_WINDOW);
        let slow = sending.window(at(500), peer, Some(true));
        assert_eq!(slow, window, "a slow link is full already");
        let lossy = sending.window(at(510), peer, Some(false));
        assert_eq!(lossy, window, "that is chance");
        for round in 0..20 {
            let next = sending.window(at(700 + 200 * round), peer, Some(false));
            assert!(next < window || next == LEAST_WINDOW);
            window = next;
        }
        assert_eq!(window, LEAST_WINDOW);
        assert_eq!(sending.window(at(5000), peer, None), FIRST_WINDOW);
    }
}
