//! How new writes go to all nodes at once: as runs, down one push tree.
//!
//! One tree brings each run to each node once. Loss, and delegates that nobody knows to be dead, cut off branches
//! of it. What mends that costs little while nothing is lost:
//!
//! - While runs come to a node otherwise than down that tree, it pushes its own runs down all trees.
//! - Each push tells of the latest runs that went before it, so what is lost shows with what comes next.
//! - A node to which no further run comes for a moment tells another node of its latest ones.
//! - A run that comes late, because it had to be asked for, is passed on to the part that its taker serves in the
//!   tree. So the members of that part need not ask for it, too.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::replica::{RecentRuns, VectorItem};
use crate::context::{Context, MapOutgoing, Outgoing, SharedRun, Timer};
use crate::dissemination::relay::Relay;
use crate::dissemination::{hand_on, hand_over, listener, split};
use crate::failure::votes::Votes;
use crate::membership::segment::{Delegation, Division, Segment};
use crate::wire::message::PushHead;

/// The tree down which runs go while none are lost.
pub(super) const TREE: u8 = 0;

/// So many runs that wait for the same segment go on at once: some datagrams full.
const ENOUGH: usize = 64;

/// The time without a new run after which another node is told of the latest ones, and of how many at most. Under
/// sustained writes pushes tell of them.
const TELL: Duration = Duration::from_millis(50);
const TOLD: usize = 64;

/// Runs on their way through this node.
#[derive(Debug, Default)]
pub(super) struct Pushing {
    relay: Relay<SharedRun>,
    /// How many runs have come since another node was told of the latest ones.
    untold: usize,
}

impl Pushing {
    /// Pushes runs that this node has written down so many trees.
    pub(super) fn begin(&mut self, context: &mut Context, runs: &[SharedRun], trees: u8) {
        self.tell_soon(context, runs.len());
        // The trees of other datacenters begin at bridges. Several of them are handed the runs, in case a datagram
        // is lost on the way, and each run goes on once.
        let bridges = hand_over(context).map(|(_, delegation)| delegation);
        send(context, TREE, bridges, runs);
        for tree in 0..trees {
            let runs = runs.iter().cloned();
            self.relay.add(context.now, tree, Segment::ALL, runs);
        }
    }

    /// Has a run passed on to the members of a segment, with others that come within a moment.
    pub(super) fn serve(
        &mut self,
        context: &mut Context,
        votes: &Votes,
        head: PushHead,
        run: SharedRun,
    ) {
        self.tell_soon(context, 1);
        let beyond = hand_on(context, run.run().origin.id, head.tree);
        send(
            context,
            head.tree,
            beyond.into_iter(),
            core::slice::from_ref(&run),
        );
        let members = context.table.home(context.own).live();
        if head.segment.is_empty_but_for(context.own, members) {
            return;
        }
        let (tree, segment) = (head.tree, head.segment);
        if self.relay.add(context.now, tree, segment, [run]) >= ENOUGH {
            self.pass_on(context, votes);
        }
    }

    /// Passes on what waits, now or when it has waited long enough.
    pub(super) fn pass_on_when_due(&mut self, context: &mut Context, votes: &Votes) {
        match self.relay.due() {
            Some(due) if due > context.now => context.timers.advance(Timer::Flush, due),
            Some(_) => self.pass_on(context, votes),
            None => {}
        }
    }

    /// Passes on all that waits.
    pub(super) fn pass_on(&mut self, context: &mut Context, votes: &Votes) {
        let now = context.now;
        while let Some(batch) = self.relay.take(now) {
            let tree = batch.tree;
            let Division { delegations, own } = split(context, votes, tree, batch.segment);
            send(context, tree, delegations.into_iter(), &batch.news);
            if let Some(segment) = own {
                self.relay.add(now, tree, segment, batch.news);
            }
        }
    }

    /// New runs have come. Has another node told of them, once no further ones come.
    fn tell_soon(&mut self, context: &mut Context, runs: usize) {
        self.untold = self.untold.saturating_add(runs);
        let at = context.now.saturating_add(TELL);
        context.timers.set(Timer::TellRuns, Some(at));
    }

    /// No run has come for a while: tells another node how far this one has the latest.
    pub(super) fn tell(&mut self, context: &mut Context, runs: &RecentRuns) {
        let untold = core::mem::take(&mut self.untold).min(TOLD);
        let mut told: Vec<VectorItem> = Vec::new();
        for (origin, upto) in runs.latest().take(untold) {
            if !told.iter().any(|told| told.is_about(origin)) {
                told.push(VectorItem::Frontier(origin, upto));
            }
        }
        if let Some(to) = listener(context).filter(|_| !told.is_empty()) {
            context.send(Outgoing::Map(MapOutgoing::Told { to, told }));
        }
    }
}

/// Hands runs to the members that serve segments.
fn send(
    context: &mut Context,
    tree: u8,
    delegations: impl Iterator<Item = Delegation>,
    runs: &[SharedRun],
) {
    let mut delegations = delegations.peekable();
    if delegations.peek().is_none() {
        return;
    }
    // Several messages share them.
    let runs: Arc<[SharedRun]> = runs.into();
    for delegation in delegations {
        context.send(Outgoing::Map(MapOutgoing::Push {
            tree,
            delegation,
            runs: Arc::clone(&runs),
            sent: 0,
        }));
    }
}
