//! How a node gets exactly what it misses: it asks for versions, first the node that showed that they exist, then
//! others.
//!
//! A version that is missed has mostly been overtaken, so a node waits a moment before it asks. It asks again
//! at the pace of the round trips that it measures, and each time another node. If nobody has the versions among
//! its recent runs, a delta brings them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use super::replica::{Map, Origin, RecentRuns, VectorItem, Wanted};
use crate::context::{Context, MapOutgoing, Outgoing, SharedRun, Timer, add, count};
use crate::identity::NodeId;
use crate::membership::{Condition, Record};
use crate::rng::{below, jitter};
use crate::time::{Instant, part};

/// How long something has to be missing before it is asked for: it may be on its way down the tree, overtaken by
/// what tells of it.
const GRACE: Duration = Duration::from_millis(15);

/// The round trip that is reckoned with before one has been measured, and the shortest.
const FIRST_TRIP: Duration = Duration::from_millis(20);
const SHORTEST_TRIP: Duration = Duration::from_millis(5);

/// So often an origin is asked for at the pace of the round trip. Then the time doubles, and again each time
/// after as many.
const TRIES: u32 = 8;

/// The longest time between two requests, in intervals.
const LONGEST: u32 = 4;

/// After so many requests a delta is asked for, too: at 50 % loss, where one in eight attempts succeeds,
/// 24 of 25 have succeeded by then.
const ENOUGH: u32 = 24;

/// After so many requests what others have told counts as a mistake.
const MOST: u32 = 64;

/// The most ranges in one message, and the most messages at a time.
const WANTED: usize = 24;
const MESSAGES: usize = 8;

/// The most bytes of runs in answer to one message: what one request of a delta brings, too.
const ANSWERED: usize = 16 * 1400;

/// What a run takes in an answer beyond its writes, at most: its kind, its origin and three numbers.
const RUN_HEAD: usize = 40;

/// Of how many origins a push tells: those of the latest runs, found among so many of these.
const TOLD_LATEST: usize = 2;
const LOOKED_AT: usize = 16;

/// Of how many further origins a push tells in turn, for so many rounds after something was missed.
const TOLD_IN_TURN: usize = 2;
const TELLING: u32 = 3;

/// For how many rounds after a run has not come down the first tree own runs are pushed down all trees.
const LOSSY: u32 = 4;

/// The recent runs, and what has been asked for.
#[derive(Debug)]
pub(super) struct Repair {
    pub(super) runs: RecentRuns,
    asked: BTreeMap<Origin, Asked>,
    /// Whom this node has asked last, and when.
    last: Option<(SocketAddr, Instant)>,
    /// The usual time until an answer.
    trip: Duration,
    /// For how many rounds to go on to tell of origins in turn.
    telling: u32,
    /// For how many rounds to go on to push down all trees.
    lossy: u32,
    /// The origin that was told of last in its turn.
    turn: Option<Origin>,
}

/// What has been done about the missing versions of an origin.
#[derive(Debug)]
struct Asked {
    /// The node that showed that they exist.
    shown_by: NodeId,
    tries: u32,
    /// When to ask next.
    next: Instant,
}

impl Default for Repair {
    fn default() -> Self {
        Self {
            runs: RecentRuns::default(),
            asked: BTreeMap::new(),
            last: None,
            trip: FIRST_TRIP,
            telling: 0,
            lossy: 0,
            turn: None,
        }
    }
}

impl Repair {
    /// Something of an origin is missing, as another node has shown.
    pub(super) fn note_missing(&mut self, context: &mut Context, origin: Origin, shown_by: NodeId) {
        let next = context.now.saturating_add(GRACE);
        self.asked.entry(origin).or_insert(Asked {
            shown_by,
            tries: 0,
            next,
        });
        context.timers.advance(Timer::Repair, next);
    }

    /// Another node has told of its latest runs.
    pub(super) fn note_told(
        &mut self,
        context: &mut Context,
        map: &Map,
        told: VectorItem,
        by: NodeId,
    ) {
        if let VectorItem::Frontier(origin, upto) = told
            && self.runs.note_told(map, origin, upto)
        {
            self.note_missing(context, origin, by);
        }
    }

    /// What a push tells of, beside its runs: how far this node has the runs of some other origins.
    pub(super) fn tell(&mut self, beside: &[SharedRun]) -> SmallVec<[VectorItem; 4]> {
        let mut told = SmallVec::<[VectorItem; 4]>::new();
        let is_told = |told: &[VectorItem], origin| {
            let is_beside = beside.iter().any(|run| run.run().origin == origin);
            is_beside || told.iter().any(|told| told.is_about(origin))
        };
        for (origin, upto) in self.runs.latest().take(LOOKED_AT) {
            if told.len() < TOLD_LATEST && !is_told(&told, origin) {
                told.push(VectorItem::Frontier(origin, upto));
            }
        }
        let in_turn = if self.telling > 0 { TOLD_IN_TURN } else { 0 };
        for _ in 0..in_turn {
            let next = self.runs.last_of_next(self.turn);
            self.turn = next.map(|(origin, _)| origin);
            if let Some((origin, upto)) = next.filter(|(origin, _)| !is_told(&told, *origin)) {
                told.push(VectorItem::Frontier(origin, upto));
            }
        }
        told
    }

    /// Whether runs have come otherwise than down the first tree lately: some are lost on their way.
    pub(super) const fn is_lossy(&self) -> bool {
        self.lossy > 0
    }

    /// The time after which an answer counts as lost.
    pub(super) fn patience(&self) -> Duration {
        self.trip.saturating_mul(3)
    }

    /// A round begins.
    pub(super) fn begin_round(&mut self, map: &mut Map) {
        self.lossy = self.lossy.saturating_sub(1);
        if self.runs.begin_round(map) {
            self.lossy = LOSSY;
        }
        self.telling = self.telling.saturating_sub(1);
    }

    /// Asks for what has been missing for long enough. Returns a node that is to be asked for a delta, because
    /// nobody asked so far has given what it showed.
    pub(super) fn on_due(&mut self, context: &mut Context, map: &Map) -> Option<NodeId> {
        let now = context.now;
        let missing = self.runs.missing(map);
        // They are in the order of the origins.
        self.asked.retain(|origin, _| {
            let at = missing.binary_search_by_key(origin, |wanted| wanted.origin);
            at.is_ok()
        });
        let mut given_up = None;
        let mut requests: BTreeMap<SocketAddr, Vec<Wanted>> = BTreeMap::new();
        let mut ranges = missing.iter().peekable();
        while let Some(first) = ranges.next() {
            let origin = first.origin;
            let mut wanted = Vec::from([*first]);
            while let Some(next) = ranges.next_if(|next| next.origin == origin) {
                wanted.push(*next);
            }
            let asked = self.asked.entry(origin).or_insert(Asked {
                shown_by: origin.id,
                tries: 0,
                next: now,
            });
            if asked.next > now {
                continue;
            }
            let to = whom(context, asked.tries, asked.shown_by, origin.id);
            let doublings = asked.tries.div_euclid(TRIES);
            let pause = self.trip.saturating_mul(2);
            let pause = pause.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
            let pause = pause.min(context.intervals(LONGEST));
            asked.next = now.saturating_add(jitter(&mut context.rng, pause, 4));
            asked.tries = asked.tries.saturating_add(1);
            if asked.tries >= ENOUGH && asked.tries.is_multiple_of(TRIES) {
                given_up = Some(asked.shown_by);
            }
            if asked.tries >= MOST {
                self.runs.forget_told(origin);
            }
            let Some(to) = to else { continue };
            let request = requests.entry(to).or_default();
            if request.len() < WANTED {
                request.extend(wanted);
                request.truncate(WANTED);
            }
        }
        self.send(context, requests);
        let next = self.asked.values().map(|asked| asked.next).min();
        // A burst of losses is asked for together.
        let earliest = now.saturating_add(SHORTEST_TRIP);
        context
            .timers
            .set(Timer::Repair, next.map(|next| next.max(earliest)));
        given_up
    }

    fn send(&mut self, context: &mut Context, requests: BTreeMap<SocketAddr, Vec<Wanted>>) {
        for (to, wanted) in requests.into_iter().take(MESSAGES) {
            self.last = Some((to, context.now));
            self.telling = TELLING;
            add(&mut context.metrics.map_repairs_asked, wanted.len());
            context.send(Outgoing::Map(MapOutgoing::Want { to, wanted }));
        }
    }

    /// A peer asks for versions.
    pub(super) fn on_want(
        &mut self,
        context: &mut Context,
        to: SocketAddr,
        wanted: impl Iterator<Item = Wanted>,
    ) {
        self.telling = TELLING;
        if self.send_runs(context, to, wanted, ANSWERED) {
            count(&mut context.metrics.map_repairs_answered);
        }
    }

    /// Gives a peer the versions that it lacks, in so many bytes at most, if the recent runs hold all of them.
    /// Tells whether they do.
    pub(super) fn give(
        &self,
        context: &mut Context,
        map: &Map,
        to: SocketAddr,
        lacking: &[Wanted],
        bytes: usize,
    ) -> bool {
        lacking.iter().all(|wanted| self.runs.cover(map, *wanted))
            && self.send_runs(context, to, lacking.iter().copied(), bytes)
    }

    /// Sends the runs that hold some of these versions, in so many bytes at most. Tells whether there are any.
    fn send_runs(
        &self,
        context: &mut Context,
        to: SocketAddr,
        wanted: impl Iterator<Item = Wanted>,
        limit: usize,
    ) -> bool {
        let mut bytes = 0_usize;
        let mut runs: Vec<(Origin, u64)> = wanted
            .flat_map(|wanted| self.runs.holding(wanted))
            .take_while(|run| {
                let size = run.writes.len().saturating_add(RUN_HEAD);
                bytes = bytes.saturating_add(size);
                bytes <= limit
            })
            .map(|run| (run.origin, run.upto))
            .collect();
        let has_any = !runs.is_empty();
        if has_any {
            // The next one last.
            runs.reverse();
            context.send(Outgoing::Map(MapOutgoing::Runs { to, runs }));
        }
        has_any
    }

    /// A peer has answered: measures the round trip. What comes an interval after the request and later is no
    /// answer to it.
    pub(super) fn on_answer(&mut self, context: &Context, from: SocketAddr) {
        let Some((_, at)) = self.last.take_if(|(to, _)| *to == from) else {
            return;
        };
        let trip = context.now.saturating_since(at);
        if trip < context.config.interval {
            let smooth = part(self.trip.saturating_mul(7).saturating_add(trip), 8);
            self.trip = smooth.max(SHORTEST_TRIP);
        }
    }
}

/// Whom to ask: first the node that showed what is missing, then in turn any live member and the writer.
fn whom(context: &mut Context, tries: u32, shown_by: NodeId, writer: NodeId) -> Option<SocketAddr> {
    let named = match tries {
        0 => Some(shown_by),
        _ if tries.is_multiple_of(3) => Some(writer),
        _ => None,
    };
    let lives = |record: &&Record| record.condition == Condition::Live && record.id != context.own;
    let named = named.and_then(|id| context.table.get(id)).filter(lives);
    if let Some(address) = named.and_then(Record::address) {
        return Some(address);
    }
    let live = context.table.home(context.own).live();
    let drawn = below(&mut context.rng, live.len());
    let others = live.iter().cycle().skip(drawn).take(live.len());
    let id = others.copied().find(|id| *id != context.own)?;
    context.table.get(id).and_then(Record::address)
}
