//! Eager dissemination: a change travels at once, down trees over the id space.
//!
//! The writer divides the members into `push_fanout` segments of the id space. It hands each segment to a member
//! of it, the delegate, which does the same with its part. All nodes choose the same delegates, so news of many
//! writers meets in them and shares datagrams; in each interval they are others. There are `push_trees`
//! independent trees, so one lost datagram harms few. Each tree costs one payload for each member. Where a tree
//! breaks, or where views differ, what is missed is asked for by name, and periodic exchanges repair the rest.
//! Writes of the shared map go down one tree while none are lost.
//!
//! The trees stand in the writer's datacenter. To each other datacenter the writer hands one copy for
//! each tree, to a bridge, which divides the id space among the members there.

pub(crate) mod asking;
pub(crate) mod broadcast;
pub(crate) mod relay;
mod repair;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::net::SocketAddr;

use smallvec::SmallVec;

use crate::context::{Context, News, Outgoing, Timer};
use crate::failure::votes::Votes;
use crate::identity::{Generation, NodeId};
#[cfg(feature = "map")]
use crate::membership::segment;
use crate::membership::segment::{Delegation, Division, Segment, Tree, divide};
use crate::state::attribute::Declared;
use crate::sync::peers::handovers;
use crate::wire::message::{Delta, PushHead};
use relay::Relay;
use repair::Repair;

/// News that waits for the same segment before it goes on at once: a few datagrams full.
const ENOUGH: usize = 64;

/// With more members than this a cluster counts as large.
const LARGE: usize = 256;

/// The most pieces of news that wait for what comes before them.
const MOST_EARLY: usize = 64;

/// The eager dissemination of a node. See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Push {
    relay: Relay<(NodeId, u64)>,
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

    /// Pushes what this node has written since the last time, and what waits to go on. A node that joins a large
    /// cluster pushes nothing of its own: what it has written goes with the word that it is up.
    pub(crate) fn flush(&mut self, context: &mut Context, votes: &Votes) {
        let (_, frontier) = context.known(context.own);
        if !joins(context) || !is_large(context) {
            let after = core::mem::replace(&mut self.pushed, frontier);
            if context.is_eager() && after < frontier {
                self.push_after(context, after);
            }
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

    /// In a large cluster, what a node says first of itself goes down one tree: when many join at once, that is most
    /// of what is sent, and whoever misses it hears of the node in the next rounds.
    fn push_after(&mut self, context: &mut Context, after: u64) {
        let own = context.own;
        let is_first = after == 0 && is_large(context);
        let trees = if is_first {
            1
        } else {
            context.config.push_trees
        };
        for tree in 0..trees {
            self.relay
                .add(context.now, tree, Segment::ALL, [(own, after)]);
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
        let now = context.now;
        while let Some(batch) = self.relay.take(now) {
            let tree = batch.tree;
            let news = merged(&batch.news);
            let Division { delegations, own } = split(context, votes, tree, batch.segment);
            for delegation in delegations {
                context.send(Outgoing::Push {
                    tree,
                    delegation,
                    news: news.clone(),
                });
            }
            if let Some(segment) = own {
                self.relay.add(now, tree, segment, news);
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
        self.repair.asking.note_missed(context);
    }

    /// A peer has answered what this node has asked.
    pub(crate) fn on_answered(&mut self, context: &Context, from: SocketAddr) {
        self.repair.asking.on_answer(context, from);
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
        for (origin, after) in &news {
            for delegation in hand_on(context, *origin, head.tree) {
                context.send(Outgoing::Push {
                    tree: head.tree,
                    delegation,
                    news: News::from_slice(&[(*origin, *after)]),
                });
            }
        }
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
        let news = news.iter().copied();
        let is_enough = self.relay.add(context.now, tree, segment, news) >= ENOUGH;
        match self.relay.due().filter(|due| *due > context.now) {
            Some(due) if !is_enough => context.timers.advance(Timer::Flush, due),
            _ => self.pass_on(context, votes),
        }
    }
}

/// Whether this node has not announced itself yet.
fn joins(context: &Context) -> bool {
    let own = context.table.get(context.own);
    own.is_some_and(|own| own.declared() == Declared::Joining)
}

/// Whether so many members are known that it costs much when all of them join at once: each tree brings each log to
/// each member.
fn is_large(context: &Context) -> bool {
    context.table.len() > LARGE
}

/// Each origin once. A datagram can bring many deltas of one; all that follows the first is given once.
fn merged(news: &[(NodeId, u64)]) -> News {
    let mut merged = News::new();
    for (origin, after) in news {
        match merged.iter_mut().find(|(known, _)| known == origin) {
            Some((_, known)) => *known = (*known).min(*after),
            None => merged.push((*origin, *after)),
        }
    }
    merged
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

/// To whom this node hands what a member of its datacenter has written that does not cross itself. The bridges that
/// are named there share the trees.
pub(crate) fn hand_on(
    context: &mut Context,
    origin: NodeId,
    tree: u8,
) -> SmallVec<[Delegation; 4]> {
    let (table, own) = (&context.table, context.own);
    let (place, datacenters) = (table.place(own), table.datacenters());
    if table.place(origin) != place || datacenters.may_cross(place, origin) {
        return SmallVec::new();
    }
    let bridges = datacenters.bridges_of(place);
    let turn = usize::from(tree).checked_rem(bridges.len());
    if turn.and_then(|turn| bridges.get(turn)) != Some(&own) {
        return SmallVec::new();
    }
    let all = hand_over(context).filter(|(of, _)| *of == tree);
    all.map(|(_, delegation)| delegation).collect()
}

/// Divides a segment of a tree among its members. A member that somebody votes against relays nothing where
/// another can.
pub(crate) fn split(context: &Context, votes: &Votes, tree: u8, segment: Segment) -> Division {
    let fanout = usize::from(context.config.push_fanout);
    let members = context.table.home(context.own).live();
    let is_doubted = |id| !votes.against(id).is_empty();
    divide(
        members,
        context.own,
        segment,
        fanout,
        tree_of(context, tree),
        is_doubted,
    )
}

/// The push tree of this number, as it stands now by the wall clock. In each interval it has other delegates, so no
/// node bears it all for long. Nodes whose clocks differ choose other delegates, so less news shares datagrams;
/// nothing else depends on it.
fn tree_of(context: &Context, number: u8) -> Tree {
    let interval = context.config.interval.as_millis().max(1);
    let wall = u128::from(context.clock.wall(context.now).as_millis());
    let interval = wall.checked_div(interval).unwrap_or(0);
    Tree {
        number,
        interval: u64::try_from(interval).unwrap_or(u64::MAX),
    }
}

/// The segment that this node serves in a tree, whoever begins it.
#[cfg(feature = "map")]
pub(crate) fn served(context: &Context, tree: u8) -> Option<Segment> {
    let members = context.table.home(context.own).live();
    let fanout = usize::from(context.config.push_fanout);
    segment::served(members, context.own, fanout, tree_of(context, tree))
}

/// The member that this node tells of its latest news. In each interval it is another one, and each member is told
/// by one other, as far as tables and clocks agree.
#[cfg(feature = "map")]
pub(crate) fn listener(context: &Context) -> Option<NodeId> {
    let members = context.table.home(context.own).live();
    let others = members.len().checked_sub(1).filter(|others| *others > 0)?;
    let own = members.partition_point(|id| *id < context.own);
    let at = own.saturating_add(tree_of(context, 0).distance(others));
    let wrapped = at.checked_sub(members.len()).unwrap_or(at);
    members.get(wrapped).copied()
}
