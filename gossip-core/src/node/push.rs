//! Eager dissemination: a change travels at once, down a tree over the id ring.
//!
//! The writer splits the ring into as many parts as `push_fanout` says and hands each to a random
//! member of it, which does the same with its part. `push_trees` independent trees make one lost
//! datagram harmless to most. A tree costs one datagram a member; where it breaks, or where views
//! differ, periodic exchanges repair.

use alloc::collections::VecDeque;
use core::net::SocketAddr;

use smallvec::SmallVec;

use super::Node;
use super::exchange::LAST_LEG;
use super::outbox::{Answer, News, Outgoing, Planned};
use super::timers::Timer;
use crate::id::NodeId;
use crate::membership::ring::delegate;
use crate::time::Instant;
use crate::wire::message::{Item, Items, ModeTag, Push};

/// Which pushes passed through here lately. A change comes down several trees and is passed on in
/// each; a repetition is not.
#[derive(Debug, Default)]
pub(crate) struct SeenPushes(VecDeque<(u8, NodeId, u64)>);

/// How many are remembered: more than pass through a node while one of them crosses the cluster.
const SEEN: usize = 128;

impl SeenPushes {
    /// Notes a push. Tells whether it is new.
    pub(super) fn note(&mut self, tree: u8, origin: NodeId, frontier: u64) -> bool {
        let push = (tree, origin, frontier);
        if self.0.iter().any(|seen| *seen == push) {
            return false;
        }
        if self.0.len() >= SEEN {
            self.0.pop_front();
        }
        self.0.push_back(push);
        true
    }
}

impl Node {
    /// Pushes what this node has written since the last time.
    pub(super) fn flush(&mut self) {
        self.timers.set(Timer::Flush, None);
        self.flush_map();
        let frontier = self.known(self.own).1;
        let after = core::mem::replace(&mut self.pushed, frontier);
        if self.is_eager() && after < frontier {
            self.push_after(after);
        }
    }

    /// Pushes the latest entry of this node's log, be it new or not.
    pub(super) fn push_latest(&mut self) {
        self.flush();
        self.push_after(self.pushed.saturating_sub(1));
    }

    fn push_after(&mut self, after: u64) {
        let mut news = News::new();
        news.push((self.own, after));
        // The whole ring, beginning and ending beside this node.
        let next = NodeId::from_u64(self.own.as_u64().wrapping_add(1));
        let previous = NodeId::from_u64(self.own.as_u64().wrapping_sub(1));
        for tree in 0..self.config.push_trees {
            self.pass_on(tree, next, previous, &news);
        }
    }

    fn pass_on(&mut self, tree: u8, first: NodeId, last: NodeId, news: &News) {
        let fanout = usize::from(self.config.push_fanout);
        for part in delegate(&self.table, self.own, first, last, fanout, &mut self.rng) {
            self.outbox.push(Outgoing::Push {
                tree,
                part,
                news: news.clone(),
            });
        }
    }

    /// News came down a tree: takes it in, and serves this node's part of the ring.
    pub(super) fn on_push(&mut self, now: Instant, from: SocketAddr, head: Push, items: Items<'_>) {
        let mut news = News::new();
        let mut gaps: SmallVec<[NodeId; 4]> = SmallVec::new();
        for item in items {
            let Item::Delta(delta) = item else { continue };
            let before = self.known(delta.origin);
            let pull = self.take_in(now, &delta);
            let after = self.known(delta.origin);
            if pull {
                gaps.push(delta.origin);
            }
            let holds = after >= (delta.generation, delta.frontier);
            let is_new = after > before;
            let unseen = self
                .seen_pushes
                .note(head.tree, delta.origin, delta.frontier);
            if holds && (is_new || unseen) {
                news.push((delta.origin, delta.after));
            }
        }
        if !gaps.is_empty() {
            self.outbox.push(Outgoing::Answer(Answer {
                to: from,
                leg: LAST_LEG.saturating_sub(1),
                mode: ModeTag::PushPull,
                plan: gaps.into_iter().map(Planned::Want).collect(),
                sent: 0,
            }));
        }
        if !news.is_empty() && self.is_eager() {
            self.pass_on(head.tree, head.first, head.last, &news);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_new_once_in_each_tree() {
        let mut seen = SeenPushes::default();
        let id = NodeId::from_u64(1);
        assert!(seen.note(0, id, 5));
        assert!(!seen.note(0, id, 5));
        assert!(seen.note(1, id, 5));
        assert!(seen.note(0, id, 6));
        for n in 0..1000 {
            seen.note(0, id, 100 + n);
        }
        assert!(seen.note(0, id, 5), "bounded: the oldest are forgotten");
    }
}
