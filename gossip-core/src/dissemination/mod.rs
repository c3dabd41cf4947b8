//! Eager dissemination: a change travels at once, down trees over the id space.
//!
//! The writer divides the id space into `push_fanout` segments. It hands each segment to a random member of
//! the segment, which does the same with its part. There are `push_trees` independent trees, so one lost
//! datagram harms few. Each tree costs one payload for each member. Where a tree breaks, or where views
//! differ, periodic exchanges repair that. Writes of the shared map go down the same trees, and what is
//! missed of them is asked for by name.
//!
//! The trees stand in the writer's datacenter. To each other datacenter the writer hands one copy for
//! each tree, to a bridge, which divides the id space among the members there.
//!
//! While little news passes through a node, it goes on at once. While much does, as when a whole cluster
//! starts, news for the same segment waits a few milliseconds and shares datagrams.

pub(crate) mod broadcast;
mod repair;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use crate::context::{Context, News, Outgoing, Timer};
use crate::failure::votes::Votes;
use crate::identity::{Generation, NodeId};
use crate::membership::segment::{Delegation, Division, Segment, divide};
use crate::sync::peers::handovers;
use crate::time::Instant;
use crate::wire::message::{Delta, PushHead};
use repair::Repair;

/// Time between two rounds of passing news on. Short beside the time a hop takes, long beside the
/// time between two datagrams in a storm.
const PACE: Duration = Duration::from_millis(5);

/// News that waits for the same segment before it goes on at once: a few datagrams full.
const ENOUGH: usize = 64;

/// The most pieces of news that wait for what comes before them.
const MOST_EARLY: usize = 64;

/// The eager dissemination of a node. See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Push {
    relay: Relay,
    /// News that this node could not apply when it came, the latest last.
    early: Vec<Early>,
    repair: Repair,
    /// How much of the own log has been pushed.
    pushed: u64,
}

/// News that is to be served once this node knows what comes before it.
#[derive(Debug)]
struct Early {
    tree: u8,
    segment: Segment,
    origin: NodeId,
    after: u64,
    /// How far the log is known by the node that has pushed it.
    known: (Generation, u64),
}

/// News on its way through this node.
#[derive(Debug, Default)]
struct Relay {
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

/// What a push has brought, item by item.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    news: News,
    early: SmallVec<[Early; 2]>,
}

impl Arrived {
    /// A delta is to be passed on once what comes before it has arrived.
    pub(crate) fn serve_later(&mut self, head: PushHead, delta: &Delta<'_>) {
        self.early.push(Early {
            tree: head.tree,
            segment: head.segment,
            origin: delta.origin,
            after: delta.after,
            known: (delta.generation, delta.frontier),
        });
    }

    /// A delta is to be passed on.
    pub(crate) fn serve(&mut self, delta: &Delta<'_>) {
        self.news.push((delta.origin, delta.after));
    }
}

impl Push {
    /// This node begins another life: all of its log is news again.
    pub(crate) const fn begin_anew(&mut self) {
        self.pushed = 0;
    }

    /// Pushes what this node has written since the last time, and what waits to go on.
    pub(crate) fn flush(&mut self, context: &mut Context, votes: &Votes) {
        let (_, frontier) = context.known(context.own);
        let after = core::mem::replace(&mut self.pushed, frontier);
        if context.is_eager() && after < frontier {
            self.push_after(context, after);
        }
        self.pass_on(context, votes);
    }

    /// Pushes the latest entry of this node's log, be it new or not.
    pub(crate) fn push_latest(&mut self, context: &mut Context, votes: &Votes) {
        let (_, frontier) = context.known(context.own);
        self.pushed = frontier;
        self.push_after(context, frontier.saturating_sub(1));
        self.pass_on(context, votes);
    }

    fn push_after(&mut self, context: &mut Context, after: u64) {
        let own = context.own;
        for tree in 0..context.config.push_trees {
            self.relay.add(tree, Segment::ALL, &[(own, after)]);
        }
        for (tree, delegation) in hand_over(context) {
            context.send(Outgoing::Push {
                tree,
                delegation,
                news: News::from_slice(&[(own, after)]),
            });
        }
    }

    /// Hands on all that waits.
    fn pass_on(&mut self, context: &mut Context, votes: &Votes) {
        self.relay.ready = context.now.saturating_add(PACE);
        while let Some(batch) = self.relay.take() {
            let Division { delegations, own } = split(context, votes, batch.segment);
            for delegation in delegations {
                context.send(Outgoing::Push {
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

    /// Another node knows so much of a log. Sees to it that this node asks for what it misses.
    pub(crate) fn note_known(
        &mut self,
        context: &mut Context,
        origin: NodeId,
        known: (Generation, u64),
        by: NodeId,
    ) {
        self.repair.note(context, origin, known, by);
    }

    /// A peer misses something, so others may, too.
    pub(crate) fn on_asked(&mut self, context: &Context) {
        self.repair.tell_for_some_time(context);
    }

    /// A peer has answered what this node has asked.
    pub(crate) fn on_answered(&mut self, context: &Context, from: SocketAddr) {
        self.repair.on_answer(context, from);
    }

    /// Something has been missing for so long that it is asked for.
    pub(crate) fn on_missing_due(&mut self, context: &mut Context) {
        self.repair.on_due(context);
    }

    /// The logs that the next push tells of beside its news.
    pub(crate) fn tell(&mut self, context: &Context) -> SmallVec<[NodeId; 4]> {
        self.repair.tell(context)
    }

    /// News has come down a tree and has been applied. Serves the segment that was handed to this node.
    pub(crate) fn on_push(
        &mut self,
        context: &mut Context,
        votes: &Votes,
        head: PushHead,
        arrived: Arrived,
    ) {
        let Arrived { news, early } = arrived;
        let members = context.table.home(context.own).live();
        let served = head.segment.is_empty_but_for(context.own, members);
        if served || !context.is_eager() {
            return;
        }
        self.early.extend(early);
        let excess = self.early.len().saturating_sub(MOST_EARLY);
        self.early.drain(..excess);
        if !news.is_empty() {
            self.serve(context, votes, head.tree, head.segment, &news);
        }
    }

    /// More is known of some logs. Serves what came too early.
    pub(crate) fn serve_early(&mut self, context: &mut Context, votes: &Votes) {
        let is_known = |early: &mut Early| context.known(early.origin) >= early.known;
        let known: SmallVec<[Early; 4]> = self.early.extract_if(.., is_known).collect();
        for early in known {
            let news = [(early.origin, early.after)];
            self.serve(context, votes, early.tree, early.segment, &news);
        }
    }

    /// Passes news on to a segment at once, or with what else comes within a moment.
    fn serve(
        &mut self,
        context: &mut Context,
        votes: &Votes,
        tree: u8,
        segment: Segment,
        news: &[(NodeId, u64)],
    ) {
        let enough = self.relay.add(tree, segment, news);
        if enough || self.relay.ready <= context.now {
            self.pass_on(context, votes);
        } else {
            context.timers.advance(Timer::Flush, self.relay.ready);
        }
    }
}

/// Notes that this node serves a delta in this tree. Tells whether it is to do so: the delta has just
/// changed what this node knows, or it is the latest news of its origin and this node has not served it in
/// this tree. A change comes down several trees and is passed on in each; a repetition is not.
pub(crate) fn note_served(
    context: &mut Context,
    tree: u8,
    delta: &Delta<'_>,
    is_new: bool,
) -> bool {
    let bit = 1_u8.checked_shl(u32::from(tree)).unwrap_or(0);
    let own = context.own;
    let Some(record) = context.table.get_mut(delta.origin) else {
        return false;
    };
    let known = (record.log.generation(), record.log.frontier());
    let is_latest = known == (delta.generation, delta.frontier);
    let first = is_new || is_latest && record.served & bit == 0;
    if first {
        record.served |= bit;
    }
    first && bit != 0 && delta.origin != own
}

/// To whom this node hands what it has written, for the other datacenters. There it goes down
/// trees of its own, over the members of that datacenter.
pub(crate) fn hand_over(context: &mut Context) -> impl Iterator<Item = (u8, Delegation)> + use<> {
    let trees = context.config.push_trees;
    let handovers = handovers(&context.table, context.own, trees, &mut context.rng);
    let all_of_it = |to| Delegation {
        to,
        segment: Segment::ALL,
    };
    handovers
        .into_iter()
        .map(move |(tree, to)| (tree, all_of_it(to)))
}

/// Divides a segment among its members. A member that somebody votes against relays nothing where
/// another can.
pub(crate) fn split(context: &mut Context, votes: &Votes, segment: Segment) -> Division {
    let fanout = usize::from(context.config.push_fanout);
    let members = context.table.home(context.own).live();
    let is_doubted = |id| !votes.against(id).is_empty();
    divide(
        members,
        context.own,
        segment,
        fanout,
        is_doubted,
        &mut context.rng,
    )
}
