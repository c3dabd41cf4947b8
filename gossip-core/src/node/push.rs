//! Eager dissemination: a change travels at once, down trees over the id space.
//!
//! The writer divides the id space into `push_fanout` segments and hands each to a random member of
//! it, which does the same with its part. `push_trees` independent trees make one lost datagram
//! harmless to most. A tree costs one payload a member; where it breaks, or where views differ,
//! periodic exchanges repair.
//!
//! The trees stand in the writer's datacenter. To each other datacenter the writer hands one copy for
//! each tree, to a bridge, which divides the id space among the members there.
//!
//! News goes on at once while little passes through. When much does, as when a whole cluster starts,
//! what comes within a few milliseconds for the same segment shares datagrams.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use super::Node;
use super::exchange::LAST_LEG;
use super::intake::Intake;
use super::outbox::{Answer, News, Outgoing, Planned};
use super::peers::handovers;
use super::timers::Timer;
use crate::identity::NodeId;
use crate::membership::segment::{Delegation, Division, Segment, divide};
use crate::sync::staging::Sent;
use crate::time::Instant;
use crate::wire::message::{Delta, Item, Items, ModeTag, Push};

/// Time between two rounds of passing news on. Short beside the time a hop takes, long beside the
/// time between two datagrams in a storm.
const PACE: Duration = Duration::from_millis(5);

/// News that waits for the same segment before it goes on at once: a few datagrams full.
const ENOUGH: usize = 64;

/// News on its way through this node.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    waiting: Vec<Batch>,
    /// Before this, news waits for more.
    ready: Instant,
}

/// What is to be served to the members of a segment.
#[derive(Debug)]
struct Batch {
    tree: u8,
    segment: Segment,
    news: News,
}

impl Relay {
    /// Adds news for a segment. Tells whether that is enough to go on at once.
    fn add(&mut self, tree: u8, segment: Segment, news: &[(NodeId, u64)]) -> bool {
        let is_same = |batch: &Batch| (batch.tree, batch.segment) == (tree, segment);
        let at = self.waiting.iter().position(is_same).unwrap_or_else(|| {
            self.waiting.push(Batch {
                tree,
                segment,
                news: News::new(),
            });
            self.waiting.len().saturating_sub(1)
        });
        let Some(batch) = self.waiting.get_mut(at) else {
            return false;
        };
        // A datagram can bring many deltas of one origin; all that follows the first is given once.
        for (origin, after) in news {
            match batch.news.iter_mut().find(|(known, _)| known == origin) {
                Some((_, known)) => *known = (*known).min(*after),
                None => batch.news.push((*origin, *after)),
            }
        }
        batch.news.len() >= ENOUGH
    }

    /// Takes what waits for the widest segment: a part of it may be another's whole.
    fn take(&mut self) -> Option<Batch> {
        let widths = self.waiting.iter().map(|batch| batch.segment.width());
        let (widest, _) = widths.enumerate().max_by_key(|(_, width)| *width)?;
        Some(self.waiting.swap_remove(widest))
    }
}

impl Node {
    /// Pushes what this node has written since the last time, and what waits to go on.
    pub(super) fn flush(&mut self, now: Instant) {
        self.flush_map();
        let frontier = self.known(self.own).1;
        let after = core::mem::replace(&mut self.pushed, frontier);
        if self.is_eager() && after < frontier {
            self.push_after(after);
        }
        self.pass_on(now);
    }

    /// Pushes the latest entry of this node's log, be it new or not.
    pub(super) fn push_latest(&mut self, now: Instant) {
        self.pushed = self.known(self.own).1;
        self.push_after(self.pushed.saturating_sub(1));
        self.pass_on(now);
    }

    fn push_after(&mut self, after: u64) {
        for tree in 0..self.config.push_trees {
            self.relay.add(tree, Segment::ALL, &[(self.own, after)]);
        }
        for (tree, delegation) in self.handovers() {
            self.outbox.push(Outgoing::Push {
                tree,
                delegation,
                news: News::from_slice(&[(self.own, after)]),
            });
        }
    }

    /// To whom this node hands what it has written, for the other datacenters. There it goes down
    /// trees of its own, over the members of that datacenter.
    pub(super) fn handovers(&mut self) -> impl Iterator<Item = (u8, Delegation)> + use<> {
        let trees = self.config.push_trees;
        let handovers = handovers(&self.table, self.own, trees, &mut self.rng);
        let all_of_it = |to| Delegation {
            to,
            segment: Segment::ALL,
        };
        handovers
            .into_iter()
            .map(move |(tree, to)| (tree, all_of_it(to)))
    }

    /// Hands on all that waits.
    fn pass_on(&mut self, now: Instant) {
        self.timers.set(Timer::Flush, None);
        self.relay.ready = now.saturating_add(PACE);
        while let Some(batch) = self.relay.take() {
            let Division { delegations, own } = self.divide(batch.segment);
            for delegation in delegations {
                self.outbox.push(Outgoing::Push {
                    tree: batch.tree,
                    delegation,
                    news: batch.news.clone(),
                });
            }
            if let Some(segment) = own {
                self.relay.add(batch.tree, segment, &batch.news);
            }
        }
    }

    /// Divides a segment among its members.
    pub(super) fn divide(&mut self, segment: Segment) -> Division {
        let fanout = usize::from(self.config.push_fanout);
        let members = self.table.home(self.own).live();
        let votes = &self.votes;
        let is_doubted = |id| !votes.against(id).is_empty();
        divide(
            members,
            self.own,
            segment,
            fanout,
            is_doubted,
            &mut self.rng,
        )
    }

    /// News came down a tree: takes it in, and serves this node's segment.
    pub(super) fn on_push(&mut self, now: Instant, from: SocketAddr, head: Push, items: Items<'_>) {
        let mut news = News::new();
        let mut gaps: SmallVec<[NodeId; 8]> = SmallVec::new();
        for item in items {
            let Item::Delta(delta) = item else { continue };
            if self.take_in(now, &delta, Sent::Alone) == Intake::Lacks {
                gaps.push(delta.origin);
            }
            if self.serves_first(head.tree, &delta) {
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
                truncated: false,
            }));
        }
        let members = self.table.home(self.own).live();
        let served = head.segment.is_empty_but_for(self.own, members);
        if news.is_empty() || served || !self.is_eager() {
            return;
        }
        let enough = self.relay.add(head.tree, head.segment, &news);
        if enough || self.relay.ready <= now {
            self.pass_on(now);
        } else {
            self.timers.advance(Timer::Flush, self.relay.ready);
        }
    }

    /// Whether this is the latest news of its origin, and this node has not served it in this tree:
    /// a change comes down several trees and is passed on in each; a repetition is not.
    pub(super) fn serves_first(&mut self, tree: u8, delta: &Delta<'_>) -> bool {
        let bit = 1_u8.checked_shl(u32::from(tree)).unwrap_or(0);
        let Some(record) = self.table.get_mut(delta.origin) else {
            return false;
        };
        let known = (record.log.generation(), record.log.frontier());
        let first = known == (delta.generation, delta.frontier) && record.served & bit == 0;
        if first {
            record.served |= bit;
        }
        first && bit != 0 && delta.origin != self.own
    }
}
