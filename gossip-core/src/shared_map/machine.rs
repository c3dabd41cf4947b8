//! The machine: writes, pushes and upkeep of the shared map.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use super::replica::{
    Dropped, Head, Limit, Map, Memory, Notice, Origin, Own, Pushed, Put, Serving, Staging, Told,
    Write,
};
use crate::command::{CommandError, Key, MAX_WATCHED, Policy, Value};
use crate::config::Config;
use crate::context::{Context, MapOutgoing, Outgoing, SharedRun, add, count};
use crate::dissemination::{hand_over, split};
use crate::event::Event;
use crate::failure::votes::Votes;
use crate::hlc::Stamp;
use crate::identity::{Generation, NodeId};
use crate::membership::segment::{Division, Segment};
use crate::membership::{Condition, Table};
use crate::rng;
use crate::state::room::Room;
use crate::time::Instant;
use crate::wire::datagram::Items;
use crate::wire::message::{Item, PushHead, Sender};

/// Frontiers told in a request; if more differ, the whole table is told.
pub(super) const TOLD: usize = 24;

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

/// A node's part in the shared map. See the [module](super).
#[derive(Debug)]
pub(crate) struct SharedMap {
    pub(super) map: Map,
    pub(super) serving: Serving,
    pub(super) staging: Staging,
    /// When the staged delta last grew, and how often it was asked for again since.
    pub(super) progress: Instant,
    pub(super) tries: u32,
    /// When its first part came.
    pub(super) began: Instant,
    /// When a request was last answered by one, if no delta has been applied since.
    pub(super) asked_back: Option<Instant>,
    /// Where the order of application stood at the last four rounds, the latest first.
    pub(super) marks: [u64; 4],
    /// The log that was looked after last.
    tended: Option<Origin>,
    buffer: Vec<u8>,
    /// Which runs passed through here lately: each is passed on once in each tree.
    seen: VecDeque<(u8, Origin, u64)>,
    /// What the keys begin with of which changes are told; of all, where there are none.
    watched: Vec<Key>,
    /// Chunks of the staged delta that have overtaken others.
    pub(super) ahead: Vec<(Head, Vec<u8>)>,
}

/// The node that a datagram comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) origin: Origin,
    pub(crate) address: SocketAddr,
    /// Whether it is known to be at that address, or has proved to be there: what is sent back does not
    /// hit somebody else.
    pub(crate) is_where_it_says: bool,
    /// Whether a table of frontiers, or the rest of one, waits to be sent there already: it is long.
    pub(crate) awaits_table: bool,
}

/// What a write does where there are several values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Siblings {
    Refused,
    Replaced,
}

impl SharedMap {
    pub(crate) fn new(id: NodeId, generation: Generation, config: &Config) -> Self {
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

impl SharedMap {
    /// The replica: what is read under each key, and who is known how far.
    pub(crate) const fn map(&self) -> &Map {
        &self.map
    }

    pub(crate) fn put(
        &mut self,
        context: &mut Context,
        key: &Key,
        value: &Value,
        policy: Policy,
        lifetime: Option<Duration>,
    ) -> Result<(), CommandError> {
        self.write(
            context,
            key,
            Some(value),
            (policy, lifetime),
            Siblings::Refused,
        )
    }

    pub(crate) fn delete(&mut self, context: &mut Context, key: &Key) -> Result<(), CommandError> {
        let Some(policy) = self.policy_of(key) else {
            return Ok(());
        };
        self.write(context, key, None, (policy, None), Siblings::Refused)
    }

    /// Replaces all siblings.
    pub(crate) fn resolve(
        &mut self,
        context: &mut Context,
        key: &Key,
        value: Option<&Value>,
    ) -> Result<(), CommandError> {
        let policy = self.policy_of(key).unwrap_or_default();
        self.write(context, key, value, (policy, None), Siblings::Replaced)
    }

    /// The policy of what is read under a key.
    fn policy_of(&self, key: &Key) -> Option<Policy> {
        let reading = self.map.get(key.as_str().as_bytes());
        reading.map(|reading| reading.policy)
    }

    fn write(
        &mut self,
        context: &mut Context,
        key: &Key,
        value: Option<&Value>,
        (policy, lifetime): (Policy, Option<Duration>),
        several: Siblings,
    ) -> Result<(), CommandError> {
        let value = value.map(Value::as_bytes);
        let map = &self.map;
        let (siblings, size) = map.weigh(key, value);
        if siblings > 1 && several == Siblings::Refused {
            return Err(CommandError::Unresolved { siblings });
        }
        let size = size.saturating_add(map.bytes());
        let limit = usize::try_from(context.config.max_map).unwrap_or(usize::MAX);
        if value.is_some() && size > limit {
            return Err(CommandError::MapFull { size, limit });
        }
        self.keep_open(context, Own::Sound);
        let lifetime = lifetime.map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        let put = Put {
            value,
            policy,
            lifetime,
        };
        let stamp = context.clock.tick(context.now);
        self.map.put(stamp, key, put);
        context.flush_soon();
        self.tell(context);
        Ok(())
    }

    /// Opens a new own log where others refuse the one at hand, or it is not only this node's.
    pub(super) fn keep_open(&mut self, context: &mut Context, standing: Own) {
        if standing != Own::Sound || self.map.is_outdated() {
            count(&mut context.metrics.outlived);
            let generation = Generation::new(context.clock.tick(context.now));
            self.map.reopen(generation, standing);
            context.flush_soon();
        }
    }

    /// This node has raised its generation: its map's log goes with it.
    pub(crate) fn reopen(&mut self, generation: Generation) {
        self.map.reopen(generation, Own::Sound);
    }

    /// From now on, only what begins so is told.
    pub(crate) fn watch(&mut self, prefixes: Vec<Key>) -> Result<(), CommandError> {
        if prefixes.len() > MAX_WATCHED {
            return Err(CommandError::TooManyWatched);
        }
        self.watched = prefixes;
        Ok(())
    }

    /// Tells the application what has changed.
    pub(super) fn tell(&mut self, context: &mut Context) {
        while let Some(notice) = self.map.poll_notice() {
            if !self.is_watched(&notice) {
                continue;
            }
            context.tell(match notice {
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
    pub(crate) fn flush(&mut self, context: &mut Context, votes: &Votes) {
        if !context.is_eager() {
            return self.map.forget_unpushed();
        }
        let limit = context.entry_limit();
        for _ in 0..RUNS {
            let Self { map, buffer, .. } = self;
            let Some(run) = map.poll_push(limit, buffer) else {
                return;
            };
            let run = SharedRun::new(&run);
            for tree in 0..context.config.push_trees {
                pass_on(context, votes, tree, Segment::ALL, &run);
            }
            for (tree, delegation) in hand_over(context) {
                let run = run.clone();
                let handed = MapOutgoing::Run {
                    tree,
                    delegation,
                    run,
                };
                context.send(Outgoing::Map(handed));
            }
        }
        // The rest would be told as a gap, and pulled.
        self.map.forget_unpushed();
    }

    /// Writes of the map came down a tree.
    pub(crate) fn on_push(
        &mut self,
        context: &mut Context,
        votes: &Votes,
        peer: Peer,
        head: PushHead,
        items: Items<'_>,
        room: &mut Room,
    ) {
        let limit = limit(context, items.bytes().len());
        let mut gap = false;
        for item in items {
            let Item::MapRun(run) = item else { continue };
            let stamps = || run.writes().filter_map(Write::decode).map(|w| w.stamp);
            let latest = stamps().max().unwrap_or_default();
            let latest = latest.max(run.origin.generation.stamp());
            let full = self.map.bytes().saturating_add(run.writes.len()) > limit.bytes;
            if latest > limit.stamp {
                refuse_stamp(context, run.origin.id, latest);
                continue;
            }
            if full || !room.take(run.takes()) {
                count(&mut context.metrics.refused_state);
                gap |= !full;
                continue;
            }
            let pushed = self.map.apply_push(&run);
            match pushed {
                Pushed::Gap => gap = true,
                Pushed::Own => self.keep_open(context, Own::Contested),
                Pushed::Applied => {
                    let _ = context.clock.observe(context.now, latest);
                }
                Pushed::Known | Pushed::Refused => {}
            }
            let unseen = self.is_new(head.tree, run.origin, run.upto);
            let holds = matches!(pushed, Pushed::Applied | Pushed::Known);
            if holds && (unseen || pushed == Pushed::Applied) && context.is_eager() {
                let run = SharedRun::new(&run);
                pass_on(context, votes, head.tree, head.segment, &run);
            }
        }
        if gap && peer.is_where_it_says {
            self.ask(context, peer.address, peer.origin, self.recent(TOLD));
        }
        self.tell(context);
    }

    /// Asks again for a delta that has come to a halt; lets time do its work on the map.
    pub(crate) fn tend(&mut self, context: &mut Context, enough: Option<u32>) {
        let [first, second, third, _] = self.marks;
        self.marks = [self.map.latest(), first, second, third];
        self.urge_delta(context, enough);
        self.map.tick(context.clock.wall(context.now));
        if self.map.logs() > 0 {
            self.map.collect(context.config.gc_grace);
            self.close_logs(context);
        }
        if self.map.has_unpushed() {
            context.flush_soon();
        }
        self.tell(context);
    }

    /// Closes the logs of those who are gone, and of earlier lives; forgets old ghosts.
    fn close_logs(&mut self, context: &mut Context) {
        let Self { map, tended, .. } = self;
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
            .filter(|origin| is_closed(&context.table, *origin))
            .collect();
        *tended = last.filter(|_| met == turn);
        for origin in closed {
            map.close(origin);
        }
        self.forget_logs(context);
    }

    /// Takes old ghosts out of the map's vector. Not everybody at once: whoever is drawn gives that a
    /// name, and the others take it over with the lists.
    fn forget_logs(&mut self, context: &mut Context) {
        let max = usize::try_from(context.config.max_tombstones).unwrap_or(usize::MAX);
        let map = &self.map;
        let crowded = map.ghosts() > max.saturating_add(max.div_euclid(8));
        let rounds = if crowded { 1 } else { GHOST_ROUNDS };
        let turns = (context.table.live_len().saturating_add(1)).saturating_mul(rounds);
        let drawn = map.ghosts() > 0 && rng::chance(&mut context.rng, 1, turns);
        if drawn || map.has_more_graves_than(max) {
            self.keep_open(context, Own::Sound);
            let forgotten = self.map.forget(Memory {
                after: context.config.forget_after,
                ghosts: max,
                graves: max,
            });
            add(&mut context.metrics.map_logs_forgotten, forgotten);
        }
    }
}

/// Passes a run on to the members of a segment, down one tree.
fn pass_on(context: &mut Context, votes: &Votes, tree: u8, segment: Segment, run: &SharedRun) {
    let mut next = Some(segment);
    while let Some(segment) = next {
        let Division { delegations, own } = split(context, votes, segment);
        for delegation in delegations {
            context.send(Outgoing::Map(MapOutgoing::Run {
                tree,
                delegation,
                run: run.clone(),
            }));
        }
        next = own;
    }
}

/// What this node takes of others, of a datagram of so many bytes.
pub(super) fn limit(context: &Context, bytes: usize) -> Limit {
    let wall = context.clock.wall(context.now);
    let max_map = usize::try_from(context.config.max_map).unwrap_or(usize::MAX);
    Limit {
        stamp: Stamp::at(wall.saturating_add(context.config.max_clock_skew)),
        // With what it takes to stage them.
        bytes: max_map.saturating_mul(2),
        room: Room::of(bytes).left(),
    }
}

/// A write bears a stamp that lies too far ahead.
pub(super) fn refuse_stamp(context: &mut Context, id: NodeId, stamp: Stamp) {
    count(&mut context.metrics.refused_skew);
    let wall = context.clock.wall(context.now).as_millis();
    let ahead = stamp.time().as_millis().saturating_sub(wall);
    context.tell_skew(id, Duration::from_millis(ahead));
}

/// Whether nobody writes a log any more: its node is gone, or lives under a later generation.
fn is_closed(table: &Table, origin: Origin) -> bool {
    table.get(origin.id).is_none_or(|record| {
        record.condition == Condition::Removed || record.log.generation() > origin.generation
    })
}
