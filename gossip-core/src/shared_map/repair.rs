//! How a node gets exactly what it misses: it asks for versions. If nobody has them among its recent runs, a delta
//! brings them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use smallvec::SmallVec;

use super::replica::{Map, Origin, RecentRuns, VectorItem, Wanted};
use crate::context::{Context, MapOutgoing, Outgoing, SharedRun, Timer, add, count};
use crate::dissemination::asking::{
    Asking, GRACE, MESSAGES, TOLD_IN_TURN, TOLD_LATEST, TRIES, any_other, earliest, whom,
};
use crate::identity::NodeId;
use crate::time::Instant;

/// After so many requests a delta is asked for, too: at 50 % loss, where one in eight attempts succeeds,
/// 24 of 25 have succeeded by then.
const ENOUGH: u32 = 24;

/// After so many requests what others have told counts as a mistake.
const MOST: u32 = 64;

/// The most ranges in one message.
const WANTED: usize = 24;

/// The most bytes of runs in answer to one message: what one request of a delta brings, too.
const ANSWERED: usize = 16 * 1400;

/// What a run takes in an answer beyond its writes, at most: its kind, its origin and three numbers.
const RUN_HEAD: usize = 40;

/// Of how many of the latest a push tells while something is missed: at hundreds of writes a second a node soon has
/// later ones than the one that another node lacks. Among 200 nodes that lose 1 % of 300 writes a second, 99 of 100
/// are read by all within 0.27 s with two, and within 0.11 s with four.
const TOLD_WHILE_MISSED: usize = 4;

/// Among how many of the latest runs those are found of which a push tells.
const LOOKED_AT: usize = 16;

/// For how many rounds after a run has not come down the first tree own runs are pushed down all trees.
const LOSSY: u32 = 4;

/// The recent runs, and what has been asked for.
#[derive(Debug, Default)]
pub(super) struct Repair {
    pub(super) runs: RecentRuns,
    asked: BTreeMap<Origin, Asked>,
    pub(super) asking: Asking,
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
    pub(super) fn tell(&mut self, now: Instant, beside: &[SharedRun]) -> SmallVec<[VectorItem; 6]> {
        let mut told = SmallVec::<[VectorItem; 6]>::new();
        let is_told = |told: &[VectorItem], origin| {
            let is_beside = beside.iter().any(|run| run.run().origin == origin);
            is_beside || told.iter().any(|told| told.is_about(origin))
        };
        let (latest, in_turn) = if self.asking.has_missed(now) {
            (TOLD_WHILE_MISSED, TOLD_IN_TURN)
        } else {
            (TOLD_LATEST, 0)
        };
        for (origin, upto) in self.runs.latest().take(LOOKED_AT) {
            if told.len() < latest && !is_told(&told, origin) {
                told.push(VectorItem::Frontier(origin, upto));
            }
        }
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

    /// A round begins.
    pub(super) fn begin_round(&mut self, map: &mut Map) {
        self.lossy = self.lossy.saturating_sub(1);
        if self.runs.begin_round(map) {
            self.lossy = LOSSY;
        }
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
        let other = any_other(context);
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
            let to = whom(context, asked.tries, asked.shown_by, origin.id, other);
            asked.next = self.asking.next(context, asked.tries);
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
        let next = next.map(|next| next.max(earliest(now)));
        context.timers.set(Timer::Repair, next);
        given_up
    }

    fn send(&mut self, context: &mut Context, requests: BTreeMap<SocketAddr, Vec<Wanted>>) {
        for (to, wanted) in requests.into_iter().take(MESSAGES) {
            self.asking.note_asked(context, to);
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
        self.asking.note_missed(context);
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

    /// Runs of an origin come in. While they do, those that are missing may come, too, so they are not asked for
    /// again: on a slow link an answer takes longer than a round trip.
    pub(super) fn note_coming(&mut self, context: &Context, origin: Origin) {
        if let Some(asked) = self.asked.get_mut(&origin).filter(|asked| asked.tries > 0) {
            let next = self.asking.next(context, asked.tries);
            asked.next = asked.next.max(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::testing::{at, context};
    use crate::identity::Generation;
    use crate::shared_map::replica::Run;

    #[test]
    fn pushes_tell_of_more_origins_while_something_is_missed() {
        let mut context = context(|_| ());
        let mut repair = Repair::default();
        for id in 1..=12 {
            let origin = Origin {
                id: NodeId::from_u64(id),
                generation: Generation::ZERO,
            };
            let run = Run {
                origin,
                after: 0,
                upto: 1,
                writes: b"write",
            };
            repair.runs.keep_own(&run);
        }
        let told = |repair: &mut Repair, now| -> Vec<u64> {
            let items = repair.tell(now, &[]).into_iter();
            let ids = items.filter_map(|item| match item {
                VectorItem::Frontier(origin, 1) => {
                    (1..=12).find(|id| origin.id == NodeId::from_u64(*id))
                }
                _ => None,
            });
            ids.collect()
        };
        assert_eq!(told(&mut repair, at(0)), [12, 11]);
        repair.asking.note_missed(&context);
        assert_eq!(told(&mut repair, at(1)), [12, 11, 10, 9, 1, 2]);
        assert_eq!(told(&mut repair, at(2)), [12, 11, 10, 9, 3, 4]);
        context.now = context.in_intervals(3);
        assert_eq!(told(&mut repair, context.now), [12, 11]);
    }
}
