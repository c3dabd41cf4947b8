//! How a node gets a delta: it asks one peer at a time, and asks again for what does not arrive.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::limits::{limits, refuse_stamp};
use super::replica::{
    ChunkHead, ChunkOutcome, DeltaReceiver, Map, Origin, Pull, VectorItem, read_chunk,
};
use super::sending::Peer;
use super::upkeep::keep_own_log_open;
use crate::context::{Context, MapOutgoing, Outgoing, Timer, count};
use crate::membership::{Condition, Record};
use crate::time::{Instant, part};

/// The most frontiers in a request. If more differ, the whole table is told.
pub(super) const PULL_FRONTIERS: usize = 24;

/// Intervals after which a delta is given up even if it makes progress: other peers have something to
/// tell, too. An honest delta takes seconds.
const LONGEST: u32 = 300;

/// How often the time doubles after which a delta is asked for again while nothing comes.
const MOST_DOUBLINGS: u32 = 4;

/// For how many times the usual time between two chunks none comes before the delta is asked for again. On a slow
/// link that is longer than a round trip.
const SPACINGS: u32 = 4;

/// The most chunks that wait because they have overtaken others: all of a window.
const AHEAD: usize = 64;

/// The receiving side.
#[derive(Debug)]
pub(super) struct Receiving {
    receiver: DeltaReceiver,
    /// When the first chunk of the delta came.
    began: Instant,
    /// When the delta last grew.
    progress: Instant,
    /// How often the delta has been asked for again since then.
    tries: u32,
    /// When a chunk of the delta last came or was asked for again, and how often it was asked for since it grew.
    heard_at: Instant,
    asked_again: u32,
    /// The usual time between two chunks.
    spacing: Duration,
    /// When this node last answered a request by one of its own, if no delta has been applied since.
    asked_back: Option<Instant>,
    /// Chunks of the delta that have overtaken others.
    ahead: Vec<(ChunkHead, Vec<u8>)>,
}

impl Default for Receiving {
    fn default() -> Self {
        Self {
            receiver: DeltaReceiver::default(),
            began: Instant::ORIGIN,
            progress: Instant::ORIGIN,
            tries: 0,
            heard_at: Instant::ORIGIN,
            asked_again: 0,
            spacing: Duration::ZERO,
            asked_back: None,
            ahead: Vec::new(),
        }
    }
}

impl Receiving {
    /// Whether a delta is on its way.
    pub(super) fn is_busy(&self) -> bool {
        self.receiver.peer().is_some()
    }

    /// The request with which a peer's delta goes on, or begins.
    pub(super) fn pull(&self, map: &Map, peer: Origin) -> Pull {
        self.receiver.pull(map, peer)
    }

    /// Asks a peer for a delta, or to go on with the one that is on its way: then `told` is empty. Asks
    /// nothing if another delta is on its way, since its sender would give that one up.
    pub(super) fn ask(
        &self,
        context: &mut Context,
        to: SocketAddr,
        peer: Origin,
        told: Vec<VectorItem>,
    ) {
        let goes_on = |busy| busy == peer && told.is_empty();
        if self.receiver.peer().is_some_and(|busy| !goes_on(busy)) {
            return;
        }
        context.send(Outgoing::Map(if told.len() > PULL_FRONTIERS {
            MapOutgoing::Table {
                to,
                after: None,
                ask: true,
            }
        } else {
            MapOutgoing::Pull { to, peer, told }
        }));
    }

    /// Whether this node may answer a request by one of its own, and notes that it does. It may do so
    /// once in half an interval until a delta has been applied. Otherwise two nodes that each lack
    /// something of the other would ask each other without end while either cannot apply what it gets.
    pub(super) fn may_ask_back(&mut self, context: &Context) -> bool {
        let pause = part(context.config.interval, 2);
        let asked = self.asked_back;
        let may = asked.is_none_or(|asked| context.now.saturating_since(asked) >= pause);
        if may {
            self.asked_back = Some(context.now);
        }
        may
    }

    /// Takes in a chunk, and after it those that have overtaken it.
    pub(super) fn on_chunk(
        &mut self,
        context: &mut Context,
        map: &mut Map,
        peer: Peer,
        chunk: &[u8],
    ) {
        if !self.is_busy() {
            // These chunks belong to a delta that was given up.
            self.ahead.clear();
        }
        self.take_chunk(context, map, peer, chunk);
        while let Some(next) = self.next_ahead() {
            let (_, chunk) = self.ahead.swap_remove(next);
            self.take_chunk(context, map, peer, &chunk);
        }
        let Self {
            receiver, ahead, ..
        } = self;
        let of = receiver.peer();
        ahead.retain(|(head, _)| of.is_some_and(|of| receiver.is_ahead(of, head)));
        if ahead.is_empty() {
            *ahead = Vec::new();
        }
    }

    /// The index of a waiting chunk with which the delta goes on.
    fn next_ahead(&self) -> Option<usize> {
        let mut ahead = self.ahead.iter();
        ahead.position(|(head, _)| self.receiver.goes_on_with(head))
    }

    fn take_chunk(&mut self, context: &mut Context, map: &mut Map, peer: Peer, chunk: &[u8]) {
        let Some((head, pieces)) = read_chunk(chunk) else {
            return;
        };
        let limits = limits(context, chunk.len());
        let me = context.sender().into();
        if head.receiver == me && self.receiver.is_ahead(peer.origin, &head) {
            self.note_chunk(context.now);
            return self.keep_ahead(head, chunk);
        }
        let before = map.merged();
        let makes_progress = head.after != head.upto;
        let begins = !self.is_busy();
        let outcome = self
            .receiver
            .accept(map, me, peer.origin, &head, pieces, limits);
        debug_assert!(before <= map.merged(), "the count only rises");
        let merged = map.merged().saturating_sub(before);
        let applied = &mut context.metrics.entries_applied;
        *applied = applied.saturating_add(merged);
        match outcome {
            ChunkOutcome::Kept if makes_progress => self.note_progress(context, begins),
            ChunkOutcome::Ask if makes_progress => {
                self.note_progress(context, begins);
                self.ask(context, peer.address, peer.origin, Vec::new());
            }
            // A peer that says nothing does not keep this node from asking others.
            ChunkOutcome::Kept | ChunkOutcome::Ask => {}
            ChunkOutcome::Applied { latest, own } => {
                self.asked_back = None;
                count(&mut context.metrics.map_deltas_applied);
                let _ = context.clock.observe(context.now, latest);
                keep_own_log_open(context, map, own);
            }
            ChunkOutcome::TooFarAhead(origin, stamp) => refuse_stamp(context, origin.id, stamp),
            ChunkOutcome::TooLarge => count(&mut context.metrics.refused_state),
            ChunkOutcome::Elsewhere | ChunkOutcome::Outdated | ChunkOutcome::Broken => {}
        }
    }

    /// Keeps a chunk that has overtaken others, which may be late or lost.
    fn keep_ahead(&mut self, head: ChunkHead, chunk: &[u8]) {
        // Of two chunks for one place, the later one is kept: the other may not fit any more.
        self.ahead
            .retain(|(known, _)| known.after != head.after || known.as_of >= head.as_of);
        let is_new = (self.ahead.iter()).all(|(known, _)| known.after != head.after);
        if is_new && self.ahead.len() < AHEAD {
            self.ahead.push((head, chunk.to_vec()));
        }
    }

    fn note_progress(&mut self, context: &Context, begins: bool) {
        self.progress = context.now;
        self.tries = 0;
        if begins {
            self.began = context.now;
            self.spacing = Duration::ZERO;
        } else {
            self.note_chunk(context.now);
        }
        (self.heard_at, self.asked_again) = (context.now, 0);
    }

    /// A chunk has come, perhaps before others. While chunks come, those that are missing may come, too.
    fn note_chunk(&mut self, now: Instant) {
        if self.asked_again == 0 {
            let since = now.saturating_since(self.heard_at);
            self.spacing = part(self.spacing.saturating_mul(7).saturating_add(since), 8);
        }
        self.heard_at = now;
    }

    /// Has the delta asked for again if nothing more of it comes for a while.
    pub(super) fn watch(&mut self, context: &mut Context, patience: Duration) {
        let due = self.is_busy().then(|| self.next_ask(patience));
        context.timers.set(Timer::Gap, due);
    }

    /// When to ask again, if nothing more of the delta comes: later each time.
    fn next_ask(&self, patience: Duration) -> Instant {
        let patience = patience.max(self.spacing.saturating_mul(SPACINGS));
        let doublings = self.asked_again.min(MOST_DOUBLINGS);
        let pause = patience.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
        self.heard_at.saturating_add(pause)
    }

    /// No part of the delta has come for a while, so some must be lost: asks for the delta again from where
    /// it stands. Not at once, because each request brings a window of datagrams.
    pub(super) fn on_gap_due(&mut self, context: &mut Context, patience: Duration) {
        let Some(peer) = self.receiver.peer() else {
            return;
        };
        if context.now >= self.next_ask(patience) {
            let to = context.table.get(peer.id).and_then(Record::address);
            if let Some(to) = to {
                self.ask(context, to, peer, Vec::new());
            }
            self.asked_again = self.asked_again.saturating_add(1);
            self.heard_at = context.now;
        }
        self.watch(context, patience);
    }

    /// Asks again for a delta that has come to a halt. `enough` is how many requests without an answer
    /// are more than chance explains, at the loss that is measured now. The delta is dropped if
    /// - its peer is gone,
    /// - its peer has not answered `enough` requests, or
    /// - it takes far too long.
    pub(super) fn urge(&mut self, context: &mut Context, enough: Option<u32>) {
        let Some(peer) = self.receiver.peer() else {
            return;
        };
        if context.now.saturating_since(self.began) > context.intervals(LONGEST) {
            return self.receiver.discard();
        }
        let halted: Duration = context.now.saturating_since(self.progress);
        if halted < part(context.config.interval, 2) {
            return;
        }
        self.tries = self.tries.saturating_add(1);
        let enough = enough.unwrap_or(u32::MAX);
        let lives = |record: &&Record| record.condition == Condition::Live;
        let record = context.table.get(peer.id).filter(lives);
        match record.and_then(Record::address) {
            Some(to) if self.tries <= enough => self.ask(context, to, peer, Vec::new()),
            _ => self.receiver.discard(),
        }
    }
}
