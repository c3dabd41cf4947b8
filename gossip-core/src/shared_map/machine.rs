//! The machine: it gives each input to the part that deals with it.

use alloc::vec::Vec;
use core::time::Duration;

use smallvec::SmallVec;

use super::limits::{Relief, limits, most_with_runs, refuse_stamp};
use super::pushing::{Pushing, TREE};
use super::receiving::{PULL_FRONTIERS, Receiving};
use super::repair::Repair;
use super::replica::{
    ApplyLimits, DroppedValue, Map, MapChange, Origin, OwnLog, Pull, Pushed, Put, RecentRuns, Run,
    Taken, VectorItem, Write, read_pull, read_wanted,
};
use super::sending::{Peer, Sending, summary_of};
use super::upkeep::{Upkeep, keep_own_log_open};
use crate::command::{CommandError, Key, MAX_WATCHED, Policy, Value};
use crate::config::{Config, Mode};
use crate::context::{Context, MapOutgoing, Outgoing, SharedRun, Timer, count};
use crate::dissemination::served;
use crate::event::Event;
use crate::failure::votes::Votes;
use crate::hlc::Stamp;
use crate::identity::{Generation, NodeId};
use crate::membership::Record;
use crate::state::room::Room;
use crate::wire::datagram::{Encoder, Items};
use crate::wire::message::{Item, MapSummary, ModeTag, PushHead};

/// The most runs that are pushed at a time, and the time until the next ones are. That is 2 MB a second.
const RUNS: usize = 8;
const PACE: Duration = Duration::from_millis(5);

/// A node's part in the shared map. See the [module](super).
#[derive(Debug)]
pub(crate) struct SharedMap {
    pub(super) map: Map,
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
    pub(super) repair: Repair,
    pushing: Pushing,
    upkeep: Upkeep,
    relief: Relief,
    /// Room for the writes of a run.
    buffer: Vec<u8>,
    /// The application is told of changes of keys that begin with one of these. If there are none, it is
    /// told of all changes.
    watched: Vec<Key>,
}

/// What a write does if there are several values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Siblings {
    Refuse,
    Replace,
}

impl SharedMap {
    pub(crate) fn new(id: NodeId, generation: Generation, config: &Config) -> Self {
        let own = Origin { id, generation };
        Self {
            map: Map::new(own, &config.cluster, usize::from(config.event_queue)),
            sending: Sending::default(),
            receiving: Receiving::default(),
            repair: Repair::default(),
            pushing: Pushing::default(),
            upkeep: Upkeep::default(),
            relief: Relief::default(),
            buffer: Vec::new(),
            watched: Vec::new(),
        }
    }

    /// The replica.
    pub(crate) const fn map(&self) -> &Map {
        &self.map
    }
}

/// Commands of the application.
impl SharedMap {
    pub(crate) fn put(
        &mut self,
        context: &mut Context,
        key: &Key,
        value: &Value,
        policy: Policy,
        lifetime: Option<Duration>,
    ) -> Result<(), CommandError> {
        let value = Some(value.as_bytes());
        let lifetime = lifetime.map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        let put = Put {
            value,
            policy,
            lifetime,
        };
        self.write(context, key, put, Siblings::Refuse)
    }

    pub(crate) fn delete(&mut self, context: &mut Context, key: &Key) -> Result<(), CommandError> {
        let Some(policy) = self.policy_of(key) else {
            return Ok(());
        };
        self.write(context, key, Put::delete(policy), Siblings::Refuse)
    }

    /// Replaces all siblings.
    pub(crate) fn resolve(
        &mut self,
        context: &mut Context,
        key: &Key,
        value: Option<&Value>,
    ) -> Result<(), CommandError> {
        let put = Put {
            value: value.map(Value::as_bytes),
            ..Put::delete(self.policy_of(key).unwrap_or_default())
        };
        self.write(context, key, put, Siblings::Replace)
    }

    /// The policy of the value that is read under a key.
    fn policy_of(&self, key: &Key) -> Option<Policy> {
        let reading = self.map.get(key.as_str().as_bytes());
        reading.map(|reading| reading.policy)
    }

    fn write(
        &mut self,
        context: &mut Context,
        key: &Key,
        put: Put<'_>,
        several: Siblings,
    ) -> Result<(), CommandError> {
        if let Some(ahead) = context.stamp_is_refused() {
            return Err(CommandError::ClockAhead { ahead });
        }
        let (siblings, size) = self.map.weigh(key, put.value);
        if siblings > 1 && several == Siblings::Refuse {
            return Err(CommandError::Unresolved { siblings });
        }
        let living = self.map.bytes().saturating_sub(self.map.dead_bytes());
        let size = size.saturating_add(living);
        let limit = usize::try_from(context.config.max_map).unwrap_or(usize::MAX);
        if put.value.is_some() && size > limit {
            return Err(CommandError::MapFull { size, limit });
        }
        keep_own_log_open(context, &mut self.map, OwnLog::Sound);
        debug_assert!(!self.map.is_outdated(), "other nodes accept the own log");
        let stamp = context.clock.tick(context.now);
        self.map.put(stamp, key, put);
        self.relief.keep(context, &mut self.map);
        context.flush_soon();
        self.tell_changes(context);
        Ok(())
    }

    /// Has the application told of changes of keys that begin with one of these, and of no others.
    pub(crate) fn watch(&mut self, prefixes: Vec<Key>) -> Result<(), CommandError> {
        if prefixes.len() > MAX_WATCHED {
            return Err(CommandError::TooManyWatched);
        }
        self.watched = prefixes;
        Ok(())
    }

    /// Whether the application is told of a change. It is always told of a loss.
    fn is_watched(&self, change: &MapChange) -> bool {
        let key = match change {
            MapChange::Value(changed) => &changed.key,
            MapChange::Conflict(conflict) => &conflict.key,
            MapChange::Dropped(_) | MapChange::Lagged => return true,
        };
        let begins = |prefix: &Key| key.as_str().starts_with(prefix.as_str());
        self.watched.is_empty() || self.watched.iter().any(begins)
    }

    /// Tells the application what has changed.
    fn tell_changes(&mut self, context: &mut Context) {
        while let Some(change) = self.map.poll_change() {
            if !self.is_watched(&change) {
                continue;
            }
            context.tell(match change {
                MapChange::Value(changed) => Event::MapChanged {
                    key: changed.key,
                    old: changed.old,
                    new: changed.new,
                    writer: changed.writer,
                    stamp: changed.stamp,
                },
                MapChange::Conflict(conflict) => Event::Conflict {
                    key: conflict.key,
                    standing: conflict.standing,
                    lost: conflict.lost,
                },
                MapChange::Dropped(value) => {
                    let DroppedValue { key, dropped } = *value;
                    Event::MapDropped { key, dropped }
                }
                MapChange::Lagged => Event::Lagged,
            });
        }
    }
}

/// Time, and this node's own log.
impl SharedMap {
    /// This node has raised its generation, so it writes a new log from now on.
    pub(crate) fn reopen(&mut self, generation: Generation) {
        self.map.reopen(generation, OwnLog::Sound);
    }

    /// This node's wall clock was ahead by so much, and is right again. What it has written and taken in meanwhile is
    /// refused by others, if its stamp is greater than `limit`. Writes it again under the stamp that would have been
    /// right.
    pub(crate) fn correct_stamps(&mut self, context: &mut Context, limit: Stamp, by: Duration) {
        let generation = Generation::new(context.clock.tick(context.now));
        self.map.correct_stamps(limit, by, generation);
        // Peers refuse the runs that came before. A delta brings them what they lack.
        self.repair.runs = RecentRuns::default();
        context.flush_soon();
    }

    /// Asks again for a delta that has come to a halt, and does what time does to the map. `enough` is as
    /// in [`Receiving::urge`].
    pub(crate) fn tend(&mut self, context: &mut Context, enough: Option<u32>) {
        self.sending.begin_round(&self.map);
        self.repair.begin_round(&mut self.map);
        self.receiving.urge(context, enough);
        self.map.tick(context.clock.wall(context.now));
        self.relief.begin_round();
        if self.map.logs() > 0 {
            self.map.collect(context.config.gc_grace);
            self.relief.keep(context, &mut self.map);
            self.upkeep.tend_logs(context, &mut self.map);
        }
        if self.map.has_unpushed() {
            context.flush_soon();
        }
        self.tell_changes(context);
    }

    /// Chunks of the delta that is on its way are late.
    pub(crate) fn on_gap_due(&mut self, context: &mut Context) {
        self.receiving
            .on_gap_due(context, self.repair.asking.patience());
    }
}

/// Pushes, and what is missed of them.
impl SharedMap {
    /// Pushes what this node has written to the map since the last time, and what waits to go on.
    pub(crate) fn flush(&mut self, context: &mut Context, votes: &Votes) {
        if !context.is_eager() {
            return self.map.drop_unpushed();
        }
        let runs = self.take_written(context);
        if !runs.is_empty() {
            let trees = context.config.push_trees;
            let trees = if self.repair.is_lossy() { trees } else { 1 };
            self.pushing.begin(context, &runs, trees);
        }
        self.pushing.pass_on(context, votes);
        if self.map.has_unpushed() {
            let next = context.now.saturating_add(PACE);
            context.timers.advance(Timer::Flush, next);
        }
    }

    /// What this node has written since the last time, as runs that fit datagrams.
    fn take_written(&mut self, context: &mut Context) -> Vec<SharedRun> {
        let (usual, most) = (context.entries_limit(), context.entry_limit());
        let mut runs = Vec::new();
        while runs.len() < RUNS {
            let Some(run) = self.map.poll_push(usual, most, &mut self.buffer) else {
                context.metrics.map_pushes_skipped = self.map.skipped_pushes();
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
                    let taken = self.on_run(context, peer, &run, tree, limits, room);
                    if taken.is_first && context.is_eager() {
                        self.serve(context, votes, head, &run);
                    }
                }
                Item::MapTold(told) => {
                    let by = peer.origin.id;
                    self.repair.note_told(context, &self.map, told, by);
                }
                _ => {}
            }
        }
        self.pushing.pass_on_when_due(context, votes);
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
        self.repair.asking.on_answer(context, peer.address);
        let limits = limits(context, items.bytes().len());
        let segment = served(context, TREE).filter(|_| context.is_eager());
        let head = segment.map(|segment| PushHead {
            tree: TREE,
            segment,
        });
        for item in items {
            let Item::MapRun(run) = item else { continue };
            let taken = self.on_run(context, peer, &run, None, limits, room);
            if taken.pushed == Pushed::Applied {
                self.repair.note_coming(context, run.origin);
            }
            let goes_on = head.filter(|_| taken.is_new && is_new_to_all(context, &run));
            if let Some(head) = goes_on {
                self.repair.runs.note_served(run.origin, run.upto, TREE);
                self.serve(context, votes, head, &run);
            }
        }
        self.pushing.pass_on_when_due(context, votes);
        self.tell_changes(context);
    }

    /// Has a run passed on to the members of a segment.
    fn serve(&mut self, context: &mut Context, votes: &Votes, head: PushHead, run: &Run<'_>) {
        if let Some(writes) = self.repair.runs.share(run.origin, run.upto) {
            let run = SharedRun::new(run.origin, run.after, run.upto, writes);
            self.pushing.serve(context, votes, head, run);
        }
    }

    /// No run has come for a while.
    pub(crate) fn on_tell_runs_due(&mut self, context: &mut Context) {
        self.pushing.tell(context, &self.repair.runs);
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
        if size > most_with_runs(context) || !room.take(run.overhead()) {
            count(&mut context.metrics.refused_state);
            return REFUSED;
        }
        let taken = self.repair.runs.take(&mut self.map, run, tree);
        self.relief.keep(context, &mut self.map);
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

    /// A peer asks for versions that it lacks.
    pub(crate) fn on_want(&mut self, context: &mut Context, peer: Peer, items: Items<'_>) {
        // An answer is larger than the request, so it goes only to an address that the table knows.
        let record = context.table.get(peer.origin.id);
        if record.and_then(Record::address) != Some(peer.address) {
            return;
        }
        if let Some(wanted) = read_wanted(items.bytes()) {
            self.repair.on_want(context, peer.address, wanted);
        }
    }

    /// Something has been missing for a while.
    pub(crate) fn on_repair_due(&mut self, context: &mut Context) {
        let Some(from) = self.repair.on_due(context, &self.map) else {
            return;
        };
        let record = context.table.get(from);
        let named = record.and_then(|record| {
            let generation = record.log.generation();
            Some((
                record.address()?,
                Origin {
                    id: from,
                    generation,
                },
            ))
        });
        if let Some((to, peer)) = named {
            let recent = self.sending.recent(&self.map, PULL_FRONTIERS);
            self.receiving.ask(context, to, peer, recent);
        }
    }
}

/// The conversation with a peer.
impl SharedMap {
    /// Adds to a SYN what it says of the map.
    pub(crate) fn write_summary(&self, encoder: &mut Encoder<'_>) {
        self.sending.write_summary(&self.map, encoder);
    }

    /// Whether the sender of a SYN has the same map.
    pub(crate) fn agrees(&self, told: Option<MapSummary>) -> bool {
        summary_of(told) == self.map.summary()
    }

    /// A SYN tells of its sender's map.
    pub(crate) fn on_summary(
        &mut self,
        context: &mut Context,
        peer: Peer,
        mode: ModeTag,
        told: Option<MapSummary>,
        items: Items<'_>,
    ) {
        if self.agrees(told) {
            return;
        }
        let frontiers: SmallVec<[VectorItem; 16]> = items
            .filter_map(|item| match item {
                Item::MapTold(told) => Some(told),
                _ => None,
            })
            .collect();
        for told in &frontiers {
            self.repair
                .note_told(context, &self.map, *told, peer.origin.id);
        }
        let (may_give, may_ask) = match mode {
            ModeTag::PushPull => (true, true),
            ModeTag::Push => (false, true),
            ModeTag::Pull => (true, false),
        };
        let pull = summary_of(told).to_pull(may_give);
        // One datagram: several nodes may answer the same peer, and the peer goes on with one of them.
        self.answer_pull(context, peer, &pull, &frontiers, Some(1), may_ask);
    }

    /// A request has come in.
    pub(crate) fn on_pull(&mut self, context: &mut Context, peer: Peer, items: Items<'_>) {
        // An answer is larger than the request, so it goes only to an address that the table knows.
        let record = context.table.get(peer.origin.id);
        if record.and_then(Record::address) != Some(peer.address) {
            return;
        }
        let Some((pull, told)) = read_pull(items.bytes()) else {
            return;
        };
        let told: SmallVec<[VectorItem; 64]> = told.collect();
        // What is missing by little is asked for by name: that is soon repeated where a datagram is lost.
        for told in &told {
            self.repair
                .note_told(context, &self.map, *told, peer.origin.id);
        }
        let may_ask = context.config.mode == Mode::PushPull || !pull.ask;
        self.answer_pull(context, peer, &pull, &told, None, may_ask);
    }

    fn answer_pull(
        &mut self,
        context: &mut Context,
        peer: Peer,
        pull: &Pull,
        told: &[VectorItem],
        window: Option<u32>,
        may_ask: bool,
    ) {
        let to = peer.address;
        let reply = self.sending.on_pull(&self.map, peer, pull, told);
        if let Some(number) = reply.serve {
            let window = window
                .unwrap_or_else(|| self.sending.window(context.now, peer.origin, reply.goes_on));
            self.give(context, peer, number, pull, window);
        }
        let is_table = (told.iter()).any(|item| matches!(item, VectorItem::Complete(..)));
        if let Some(differs) = reply.ask {
            if may_ask && self.receiving.may_ask_back(context) {
                self.receiving.ask(context, to, peer.origin, differs);
            }
        } else if reply.unexplained && !is_table && !peer.awaits_table {
            context.send(Outgoing::Map(MapOutgoing::Table {
                to,
                after: None,
                ask: may_ask && !self.receiving.is_busy(),
            }));
        }
    }

    /// Sends a peer what it lacks, in `window` datagrams at most: runs where it has missed only the latest,
    /// otherwise a delta.
    fn give(&self, context: &mut Context, peer: Peer, number: u32, pull: &Pull, window: u32) {
        let session = (peer.origin, number);
        let lacking = (pull.session == 0)
            .then(|| self.sending.lacking(&self.map, session))
            .flatten();
        let datagrams = usize::try_from(window).unwrap_or(usize::MAX);
        let bytes = context.entries_limit().saturating_mul(datagrams);
        let is_served = lacking.is_some_and(|lacking| {
            let to = peer.address;
            self.repair.give(context, &self.map, to, &lacking, bytes)
        });
        if !is_served {
            context.send(Outgoing::Map(MapOutgoing::Chunks {
                to: peer.address,
                session,
                left: window,
            }));
        }
    }

    /// A chunk of a delta has come in.
    pub(crate) fn on_chunk(&mut self, context: &mut Context, peer: Peer, items: Items<'_>) {
        if !peer.is_where_it_says {
            return;
        }
        let before = self.map.latest_position();
        self.receiving
            .on_chunk(context, &mut self.map, peer, items.bytes());
        self.receiving.watch(context, self.repair.asking.patience());
        if self.map.latest_position() != before {
            self.repair.runs.release_all(&mut self.map);
            self.relief.keep(context, &mut self.map);
        }
        self.tell_changes(context);
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

#[cfg(test)]
mod tests;
