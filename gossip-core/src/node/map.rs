//! The shared map, as a node carries it: writes, pushes, and the exchange of what differs.
//!
//! A SYN tells the map's hash and D where the map is not empty, and the frontiers that rose lately.
//! Whoever sees a difference serves what the other lacks, and asks for what it lacks itself; what a
//! table of frontiers cannot be guessed from is told whole. A delta is asked for a window of datagrams
//! at a time, from one peer at a time. New writes go down the same trees as other news.

mod exchange;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use super::outbox::Outgoing;
use super::{Node, count};
use crate::command::{CommandError, Key, MAX_WATCHED, Policy, Value};
use crate::config::Config;
use crate::event::Event;
use crate::identity::{Generation, NodeId};
use crate::membership::segment::{Delegation, Division, Segment};
use crate::membership::{Condition, Table};
use crate::rng;
use crate::shared_map::replica::{
    Dropped, Head, Map, Memory, Notice, Origin, Own, Pushed, Put, Reading, Run, Serving, Staging,
    Told, Write,
};
use crate::time::Instant;
use crate::wire::message::{Item, Items, Push, Sender};

/// Frontiers told in a request; if more differ, the whole table is told.
const TOLD: usize = 24;

/// Runs pushed at a time. A flood of writes is left to the exchange.
const RUNS: usize = 8;

/// How many runs are remembered: more than pass through a node while one crosses the cluster.
const SEEN: usize = 128;

/// Logs looked after in one round, at least: more where it would take more than `TENDING` rounds to
/// come to each of them.
const TENDED: usize = 4;
const TENDING: usize = 16;

/// Rounds between two looks at the ghosts, in the cluster as a whole, while there is room for them.
const GHOST_ROUNDS: usize = 16;

/// The node's part in the shared map.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) map: Map,
    serving: Serving,
    staging: Staging,
    /// When the staged delta last grew, and how often it was asked for again since.
    progress: Instant,
    tries: u32,
    /// When its first part came.
    began: Instant,
    /// When a request was last answered by one, if no delta has been applied since.
    asked_back: Option<Instant>,
    /// Where the order of application stood at the last four rounds, the latest first.
    marks: [u64; 4],
    /// The log that was looked after last.
    tended: Option<Origin>,
    buffer: Vec<u8>,
    /// Which runs passed through here lately: each is passed on once in each tree.
    seen: VecDeque<(u8, Origin, u64)>,
    /// What the keys begin with of which changes are told; of all, where there are none.
    watched: Vec<Key>,
    /// Chunks of the staged delta that have overtaken others.
    ahead: Vec<(Head, Vec<u8>)>,
}

/// What a write does where there are several values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Siblings {
    Refused,
    Replaced,
}

/// A message about the map that waits to be written.
#[derive(Debug)]
pub(crate) enum MapOutgoing {
    /// Chunks of a delta, so many.
    Chunks {
        to: SocketAddr,
        peer: Origin,
        left: u32,
    },
    /// A request that tells this much.
    Pull {
        to: SocketAddr,
        peer: Origin,
        told: Vec<Told>,
    },
    /// The whole table after an origin; whether a delta is asked for.
    Table {
        to: SocketAddr,
        after: Option<Origin>,
        ask: bool,
    },
    /// A run on its way down a tree.
    Run {
        tree: u8,
        delegation: Delegation,
        run: SharedRun,
    },
}

/// A run that several messages carry.
#[derive(Clone, Debug)]
pub(crate) struct SharedRun {
    origin: Origin,
    after: u64,
    upto: u64,
    writes: Arc<[u8]>,
}

impl SharedRun {
    fn new(run: &Run<'_>) -> Self {
        Self {
            origin: run.origin,
            after: run.after,
            upto: run.upto,
            writes: run.writes.into(),
        }
    }

    fn run(&self) -> Run<'_> {
        Run {
            origin: self.origin,
            after: self.after,
            upto: self.upto,
            writes: &self.writes,
        }
    }
}

impl Shared {
    pub(super) fn new(id: NodeId, generation: Generation, config: &Config) -> Self {
        let own = Origin { id, generation };
        Self {
            map: Map::new(own, &config.cluster, usize::from(config.event_queue)),
            serving: Serving::default(),
            staging: Staging::default(),
            progress: Instant::ORIGIN,
            tries: 0,
            began: Instant::ORIGIN,
            asked_back: None,
            marks: [0; 4],
            tended: None,
            buffer: Vec::new(),
            seen: VecDeque::new(),
            watched: Vec::new(),
            ahead: Vec::new(),
        }
    }

    /// Whether the application is to be told. What is lost is always told.
    fn is_watched(&self, notice: &Notice) -> bool {
        let key = match notice {
            Notice::Changed(changed) => &changed.key,
            Notice::Conflict(conflict) => &conflict.key,
            Notice::Dropped(_) | Notice::Lagged => return true,
        };
        let begins = |prefix: &Key| key.as_str().starts_with(prefix.as_str());
        self.watched.is_empty() || self.watched.iter().any(begins)
    }

    /// Whether a run has not passed through here in this tree.
    fn is_new(&mut self, tree: u8, origin: Origin, upto: u64) -> bool {
        let run = (tree, origin, upto);
        if self.seen.contains(&run) {
            return false;
        }
        if self.seen.len() >= SEEN {
            self.seen.pop_front();
        }
        if self.seen.len() == self.seen.capacity() {
            self.seen.reserve_exact(SEEN.div_euclid(8));
        }
        self.seen.push_back(run);
        true
    }
}

impl From<Sender> for Origin {
    fn from(sender: Sender) -> Self {
        Self {
            id: sender.id,
            generation: sender.generation,
        }
    }
}

impl Node {
    /// The shared map: what is read under each key, and who is known how far.
    #[must_use]
    pub const fn map(&self) -> &Map {
        &self.shared.map
    }

    /// What is read under a key of the shared map: the latest where there are several.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Reading<'_>> {
        self.shared.map.get(key.as_str().as_bytes())
    }

    /// Everything that is read under a key of the shared map, the latest first.
    #[must_use]
    pub fn siblings(&self, key: &Key) -> SmallVec<[Reading<'_>; 2]> {
        self.shared.map.siblings(key.as_str().as_bytes())
    }

    /// The keys of the shared map that begin with `prefix`, in order, with what is read under each.
    pub fn entries<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, Reading<'a>)> + 'a {
        self.shared.map.prefix(prefix.as_bytes())
    }

    pub(super) fn put(
        &mut self,
        now: Instant,
        key: &Key,
        value: &Value,
        policy: Policy,
        lifetime: Option<Duration>,
    ) -> Result<(), CommandError> {
        self.write_map(now, key, Some(value), (policy, lifetime), Siblings::Refused)
    }

    pub(super) fn delete(&mut self, now: Instant, key: &Key) -> Result<(), CommandError> {
        let Some(policy) = self.get(key).map(|reading| reading.policy) else {
            return Ok(());
        };
        self.write_map(now, key, None, (policy, None), Siblings::Refused)
    }

    /// Replaces all siblings.
    pub(super) fn resolve(
        &mut self,
        now: Instant,
        key: &Key,
        value: Option<&Value>,
    ) -> Result<(), CommandError> {
        let policy = self.get(key).map_or(Policy::default(), |r| r.policy);
        self.write_map(now, key, value, (policy, None), Siblings::Replaced)
    }

    fn write_map(
        &mut self,
        now: Instant,
        key: &Key,
        value: Option<&Value>,
        (policy, lifetime): (Policy, Option<Duration>),
        several: Siblings,
    ) -> Result<(), CommandError> {
        let value = value.map(Value::as_bytes);
        let map = &self.shared.map;
        let (siblings, size) = map.weigh(key, value);
        if siblings > 1 && several == Siblings::Refused {
            return Err(CommandError::Unresolved { siblings });
        }
        let size = size.saturating_add(map.bytes());
        let limit = usize::try_from(self.config.max_map).unwrap_or(usize::MAX);
        if value.is_some() && size > limit {
            return Err(CommandError::MapFull { size, limit });
        }
        self.keep_map_open(now, Own::Sound);
        let lifetime = lifetime.map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        let put = Put {
            value,
            policy,
            lifetime,
        };
        let stamp = self.clock.tick(now);
        self.shared.map.put(stamp, key, put);
        self.flush_soon(now);
        self.tell_map();
        Ok(())
    }

    /// Opens a new own log where others refuse the one at hand, or it is not only this node's.
    fn keep_map_open(&mut self, now: Instant, standing: Own) {
        if standing != Own::Sound || self.shared.map.is_outdated() {
            count(&mut self.metrics.outlived);
            let generation = Generation::new(self.clock.tick(now));
            self.shared.map.reopen(generation, standing);
            self.flush_soon(now);
        }
    }

    /// This node has raised its generation: its map's log goes with it.
    pub(super) fn reopen_map(&mut self, generation: Generation) {
        self.shared.map.reopen(generation, Own::Sound);
    }

    /// From now on, only what begins so is told.
    pub(super) fn watch_map(&mut self, prefixes: Vec<Key>) -> Result<(), CommandError> {
        if prefixes.len() > MAX_WATCHED {
            return Err(CommandError::TooManyWatched);
        }
        self.shared.watched = prefixes;
        Ok(())
    }

    /// Tells the application what has changed.
    fn tell_map(&mut self) {
        while let Some(notice) = self.shared.map.poll_notice() {
            if !self.shared.is_watched(&notice) {
                continue;
            }
            self.events.push(match notice {
                Notice::Changed(changed) => Event::MapChanged {
                    key: changed.key,
                    old: changed.old,
                    new: changed.new,
                    writer: changed.writer,
                    stamp: changed.stamp,
                },
                Notice::Conflict(conflict) => Event::Conflict {
                    key: conflict.key,
                    standing: conflict.standing,
                    lost: conflict.lost,
                },
                Notice::Dropped(gone) => {
                    let Dropped { key, dropped } = *gone;
                    Event::MapDropped { key, dropped }
                }
                Notice::Lagged => Event::Lagged,
            });
        }
    }

    /// Pushes what this node has written to the map since the last time.
    pub(super) fn flush_map(&mut self) {
        if !self.is_eager() {
            return self.shared.map.forget_unpushed();
        }
        let limit = self
            .max_datagram()
            .saturating_sub(super::transmit::OVERHEAD);
        for _ in 0..RUNS {
            let Shared { map, buffer, .. } = &mut *self.shared;
            let Some(run) = map.poll_push(limit, buffer) else {
                return;
            };
            let run = SharedRun::new(&run);
            for tree in 0..self.config.push_trees {
                self.pass_run_on(tree, Segment::ALL, &run);
            }
            for (tree, delegation) in self.handovers() {
                let run = run.clone();
                let handed = MapOutgoing::Run {
                    tree,
                    delegation,
                    run,
                };
                self.outbox.push(Outgoing::Map(handed));
            }
        }
        // The rest would be told as a gap, and pulled.
        self.shared.map.forget_unpushed();
    }

    fn pass_run_on(&mut self, tree: u8, segment: Segment, run: &SharedRun) {
        let mut next = Some(segment);
        while let Some(segment) = next {
            let Division { delegations, own } = self.divide(segment);
            for delegation in delegations {
                self.outbox.push(Outgoing::Map(MapOutgoing::Run {
                    tree,
                    delegation,
                    run: run.clone(),
                }));
            }
            next = own;
        }
    }

    /// Writes of the map came down a tree.
    pub(super) fn on_map_push(
        &mut self,
        now: Instant,
        from: SocketAddr,
        sender: Sender,
        head: Push,
        items: Items<'_>,
    ) {
        let limit = self.map_limit(now, items.bytes().len());
        let mut gap = false;
        for item in items {
            let Item::MapRun(run) = item else { continue };
            let stamps = || run.writes().filter_map(Write::decode).map(|w| w.stamp);
            let latest = stamps().max().unwrap_or_default();
            let latest = latest.max(run.origin.generation.stamp());
            let full = self.shared.map.bytes().saturating_add(run.writes.len()) > limit.bytes;
            if latest > limit.stamp {
                self.refuse_stamp(now, run.origin.id, latest);
                continue;
            }
            let room = self.room.checked_sub(run.takes()).filter(|_| !full);
            let Some(room) = room else {
                count(&mut self.metrics.refused_state);
                gap |= !full;
                continue;
            };
            self.room = room;
            let pushed = self.shared.map.apply_push(&run);
            match pushed {
                Pushed::Gap => gap = true,
                Pushed::Own => self.keep_map_open(now, Own::Contested),
                Pushed::Applied => {
                    let _ = self.clock.observe(now, latest);
                }
                Pushed::Known | Pushed::Refused => {}
            }
            let unseen = self.shared.is_new(head.tree, run.origin, run.upto);
            let holds = matches!(pushed, Pushed::Applied | Pushed::Known);
            if holds && (unseen || pushed == Pushed::Applied) && self.is_eager() {
                let run = SharedRun::new(&run);
                self.pass_run_on(head.tree, head.segment, &run);
            }
        }
        if gap && self.is_where_it_says(sender, from) {
            self.ask_for_map(from, sender.into(), self.map_recents(TOLD));
        }
        self.tell_map();
    }

    /// Asks again for a delta that has come to a halt; lets time do its work on the map.
    pub(super) fn tend_map(&mut self, now: Instant) {
        let [first, second, third, _] = self.shared.marks;
        self.shared.marks = [self.shared.map.latest(), first, second, third];
        self.urge_delta(now);
        self.shared.map.tick(self.clock.wall(now));
        if self.shared.map.logs() > 0 {
            self.shared.map.collect(self.config.gc_grace);
            self.close_map_logs(now);
        }
        if self.shared.map.has_unpushed() {
            self.flush_soon(now);
        }
        self.tell_map();
    }

    /// Closes the logs of those who are gone, and of earlier lives; forgets old ghosts.
    fn close_map_logs(&mut self, now: Instant) {
        let Shared { map, tended, .. } = &mut *self.shared;
        let turn = map.logs().div_ceil(TENDING).max(TENDED);
        let (mut met, mut last) = (0_usize, None);
        let closed: SmallVec<[Origin; TENDED]> = map
            .tell_after(*tended)
            .take(turn)
            .filter_map(|told| match told {
                Told::Frontier(origin, _) => Some(origin),
                Told::Complete(..) => None,
            })
            .inspect(|origin| (met, last) = (met.saturating_add(1), Some(*origin)))
            .filter(|origin| is_closed(&self.table, *origin))
            .collect();
        *tended = last.filter(|_| met == turn);
        for origin in closed {
            map.close(origin);
        }
        self.forget_map_logs(now);
    }

    /// Takes old ghosts out of the map's vector. Not everybody at once: whoever is drawn gives that a
    /// name, and the others take it over with the lists.
    fn forget_map_logs(&mut self, now: Instant) {
        let max = usize::try_from(self.config.max_ghosts).unwrap_or(usize::MAX);
        let map = &self.shared.map;
        let crowded = map.ghosts() > max.saturating_add(max.div_euclid(8));
        let rounds = if crowded { 1 } else { GHOST_ROUNDS };
        let turns = (self.table.live_len().saturating_add(1)).saturating_mul(rounds);
        let drawn = map.ghosts() > 0 && rng::chance(&mut self.rng, 1, turns);
        if drawn || map.has_more_graves_than(max) {
            self.keep_map_open(now, Own::Sound);
            let forgotten = self.shared.map.forget(Memory {
                after: self.config.forget_after,
                ghosts: max,
                graves: max,
            });
            let counter = &mut self.metrics.map_logs_forgotten;
            *counter = counter.saturating_add(u64::try_from(forgotten).unwrap_or(u64::MAX));
        }
    }
}

/// Whether nobody writes a log any more: its node is gone, or lives under a later generation.
fn is_closed(table: &Table, origin: Origin) -> bool {
    table.get(origin.id).is_none_or(|record| {
        record.condition == Condition::Ghost || record.log.generation() > origin.generation
    })
}
