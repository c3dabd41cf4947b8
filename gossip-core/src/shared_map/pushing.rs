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

use super::limits::{limits, refuse_stamp};
use super::machine::SharedMap;
use super::replica::{ApplyLimits, OwnLog, Pushed, Run, Taken, VectorItem, Write};
use super::sending::Peer;
use super::upkeep::keep_own_log_open;
use crate::context::{Context, MapOutgoing, Outgoing, SharedRun, Timer, count};
use crate::dissemination::relay::{Batch, Relay};
use crate::dissemination::{hand_over, split};
use crate::failure::votes::Votes;
use crate::hlc::Stamp;
use crate::membership::segment::{Division, Segment};
use crate::state::room::Room;
use crate::wire::datagram::Items;
use crate::wire::message::{Item, PushHead};

/// The tree down which runs go while none are lost.
const TREE: u8 = 0;

/// The most runs that are pushed at a time, and the time until the next ones are. That is 2 MB a second.
const RUNS: usize = 8;
const PACE: Duration = Duration::from_millis(5);

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
    /// Room for the writes of a run.
    buffer: Vec<u8>,
}

impl SharedMap {
    /// Pushes what this node has written to the map since the last time, and what waits to go on.
    pub(crate) fn flush(&mut self, context: &mut Context, votes: &Votes) {
        if !context.is_eager() {
            return self.map.drop_unpushed();
        }
        let runs = self.take_written(context);
        if !runs.is_empty() {
            self.tell_soon(context, runs.len());
            // The trees of other datacenters begin at bridges. Several of them are handed the runs, in case a
            // datagram is lost on the way, and each run goes on once.
            let handed: Arc<[SharedRun]> = runs.as_slice().into();
            for (_, delegation) in hand_over(context) {
                context.send(Outgoing::Map(MapOutgoing::Push {
                    tree: TREE,
                    delegation,
                    runs: Arc::clone(&handed),
                    sent: 0,
                }));
            }
            let trees = if self.repair.is_lossy() {
                context.config.push_trees
            } else {
                1
            };
            let relay = &mut self.pushing.relay;
            for tree in 0..trees {
                let runs = runs.iter().cloned();
                relay.add(context.now, tree, Segment::ALL, runs);
            }
        }
        self.pass_on(context, votes);
        if self.map.has_unpushed() {
            let next = context.now.saturating_add(PACE);
            context.timers.advance(Timer::Flush, next);
        }
    }

    /// What this node has written since the last time, as runs that fit datagrams.
    fn take_written(&mut self, context: &mut Context) -> Vec<SharedRun> {
        let limit = context.entry_limit();
        let mut runs = Vec::new();
        while runs.len() < RUNS {
            let Self { map, pushing, .. } = self;
            let Some(run) = map.poll_push(limit, &mut pushing.buffer) else {
                context.metrics.map_pushes_skipped = map.skipped_pushes();
                break;
            };
            let writes = self.repair.runs.keep_own(&run);
            runs.push(SharedRun::new(run.origin, run.after, run.upto, writes));
        }
        runs
    }

    /// Runs of the map have come down a tree.
    pub(crate) fn on_push(
        &mut self,
        context: &mut Context,
        votes: &Votes,
        peer: Peer,
        head: PushHead,
        items: Items<'_>,
        room: &mut Room,
    ) {
        let limits = limits(context, items.bytes().len());
        for item in items {
            match item {
                Item::MapRun(run) => {
                    let tree = Some(head.tree);
                    let Taken { is_first, .. } =
                        self.on_run(context, peer, &run, tree, limits, room);
                    if is_first && context.is_eager() {
                        self.relay(context, votes, head, &run);
                    }
                }
                Item::MapTold(told) => {
                    let by = peer.origin.id;
                    self.repair.note_told(context, &self.map, told, by);
                }
                _ => {}
            }
        }
        self.pass_on_when_due(context, votes);
        self.tell_changes(context);
    }

    /// Runs have come in that this node has asked for. Those that are new to everybody go on.
    pub(crate) fn on_runs(
        &mut self,
        context: &mut Context,
        votes: &Votes,
        peer: Peer,
        items: Items<'_>,
        room: &mut Room,
    ) {
        self.repair.on_answer(context, peer.address);
        let limits = limits(context, items.bytes().len());
        let served = context.served(TREE).filter(|_| context.is_eager());
        for item in items {
            let Item::MapRun(run) = item else { continue };
            let Taken { is_new, .. } = self.on_run(context, peer, &run, None, limits, room);
            let goes_on = served.filter(|_| is_new && is_new_to_all(context, &run));
            if let Some(segment) = goes_on {
                self.repair.runs.note_served(run.origin, run.upto, TREE);
                let head = PushHead {
                    tree: TREE,
                    segment,
                };
                self.relay(context, votes, head, &run);
            }
        }
        self.pass_on_when_due(context, votes);
        self.tell_changes(context);
    }

    /// A run has come in: applies it, or lets it wait.
    ///
    /// A run is passed on whether it could be applied or not. Otherwise what one node misses would be missed
    /// by all nodes that it serves.
    fn on_run(
        &mut self,
        context: &mut Context,
        peer: Peer,
        run: &Run<'_>,
        tree: Option<u8>,
        limits: ApplyLimits,
        room: &mut Room,
    ) -> Taken {
        const REFUSED: Taken = Taken {
            pushed: Pushed::Refused,
            is_first: false,
            is_new: false,
        };
        let latest = latest_stamp(run).max(run.origin.generation.stamp());
        if latest > limits.stamp {
            refuse_stamp(context, run.origin.id, latest);
            return REFUSED;
        }
        let size = self.map.bytes().saturating_add(run.writes.len());
        if size > limits.bytes || !room.take(run.overhead()) {
            count(&mut context.metrics.refused_state);
            return REFUSED;
        }
        let taken = self.repair.runs.take(&mut self.map, run, tree);
        match taken.pushed {
            Pushed::Own => keep_own_log_open(context, &mut self.map, OwnLog::Contested),
            Pushed::Applied => {
                let _ = context.clock.observe(context.now, latest);
            }
            Pushed::Early(origin, _) => {
                let _ = context.clock.observe(context.now, latest);
                if taken.is_new {
                    count(&mut context.metrics.map_runs_held_back);
                }
                self.repair.note_missing(context, origin, peer.origin.id);
            }
            Pushed::Known | Pushed::Refused => {}
        }
        taken
    }

    /// Has a run passed on to the members of a segment, with others that come within a moment.
    fn relay(&mut self, context: &mut Context, votes: &Votes, head: PushHead, run: &Run<'_>) {
        self.tell_soon(context, 1);
        let members = context.table.home(context.own).live();
        if head.segment.is_empty_but_for(context.own, members) {
            return;
        }
        if let Some(writes) = self.repair.runs.share(run.origin, run.upto) {
            let run = SharedRun::new(run.origin, run.after, run.upto, writes);
            let relay = &mut self.pushing.relay;
            if relay.add(context.now, head.tree, head.segment, [run]) >= ENOUGH {
                self.pass_on(context, votes);
            }
        }
    }

    fn pass_on_when_due(&mut self, context: &mut Context, votes: &Votes) {
        match self.pushing.relay.due() {
            Some(due) if due > context.now => context.timers.advance(Timer::Flush, due),
            Some(_) => self.pass_on(context, votes),
            None => {}
        }
    }

    /// Passes on all that waits.
    fn pass_on(&mut self, context: &mut Context, votes: &Votes) {
        let now = context.now;
        while let Some(batch) = self.pushing.relay.take(now) {
            let Batch {
                tree,
                segment,
                news,
            } = batch;
            let Division { delegations, own } = split(context, votes, tree, segment);
            let runs: Arc<[SharedRun]> = news.into();
            for delegation in delegations {
                context.send(Outgoing::Map(MapOutgoing::Push {
                    tree,
                    delegation,
                    runs: Arc::clone(&runs),
                    sent: 0,
                }));
            }
            if let Some(segment) = own {
                let runs = runs.iter().cloned();
                self.pushing.relay.add(now, tree, segment, runs);
            }
        }
    }

    /// New runs have come. Has another node told of them, once no further ones come.
    fn tell_soon(&mut self, context: &mut Context, runs: usize) {
        self.pushing.untold = self.pushing.untold.saturating_add(runs);
        let at = context.now.saturating_add(TELL);
        context.timers.set(Timer::TellRuns, Some(at));
    }

    /// No run has come for a while: tells another node how far this one has the latest.
    pub(crate) fn on_tell_runs_due(&mut self, context: &mut Context) {
        let runs = core::mem::take(&mut self.pushing.untold).min(TOLD);
        let mut told: Vec<VectorItem> = Vec::new();
        for (origin, upto) in self.repair.runs.latest().take(runs) {
            if !told.iter().any(|told| told.is_about(origin)) {
                told.push(VectorItem::Frontier(origin, upto));
            }
        }
        if let Some(to) = context.listener().filter(|_| !told.is_empty()) {
            context.send(Outgoing::Map(MapOutgoing::Told { to, told }));
        }
    }
}

/// Whether a run is so young that others lack it, too: it was written within an interval, by this node's clock.
fn is_new_to_all(context: &Context, run: &Run<'_>) -> bool {
    let written = latest_stamp(run).time().as_millis();
    let now = context.clock.wall(context.now).as_millis();
    u128::from(now.saturating_sub(written)) <= context.config.interval.as_millis()
}

fn latest_stamp(run: &Run<'_>) -> Stamp {
    let stamps = run.writes().filter_map(Write::decode).map(|w| w.stamp);
    stamps.max().unwrap_or_default()
}
