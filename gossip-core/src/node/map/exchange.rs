//! The exchange of what differs in the shared map: tables, requests and deltas.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use super::{MapOutgoing, Shared, TOLD};
use crate::config::Mode;
use crate::hlc::Stamp;
use crate::identity::NodeId;
use crate::membership::{Condition, Record};
use crate::node::exchange::OVERTAKING;
use crate::node::outbox::Outgoing;
use crate::node::timers::Timer;
use crate::node::transmit::{Rest, Written};
use crate::node::{Node, count};
use crate::shared_map::replica::{
    Extent, Limit, Origin, Outcome, Pull, Summary, Told, pull_of, read_chunk, read_pull, write_pull,
};
use crate::state::room;
use crate::time::{Instant, part};
use crate::wire::message::{Encoder, Item, Items, MapSummary, Message, ModeTag, Push, Sender};

/// Datagrams that answer one request. With 1400 bytes each this is 22 kB: little enough for a socket
/// buffer, much for one round trip.
const WINDOW: u32 = 16;

/// Frontiers told in a SYN, at most.
const RECENTS: usize = 8;

/// Intervals after which a delta is given up, however it gets on: others have something to tell, too.
/// An honest one takes seconds.
const LONGEST: u32 = 300;

/// Chunks that may have overtaken others.
const AHEAD: usize = 32;

impl Node {
    /// What this node takes of others, of a chunk of so many bytes.
    pub(super) fn map_limit(&self, now: Instant, bytes: usize) -> Limit {
        let wall = self.clock.wall(now);
        let max_map = usize::try_from(self.config.max_map).unwrap_or(usize::MAX);
        Limit {
            stamp: Stamp::at(wall.saturating_add(self.config.max_clock_skew)),
            // With what it takes to stage them.
            bytes: max_map.saturating_mul(2),
            room: room(bytes),
        }
    }

    pub(super) fn refuse_stamp(&mut self, now: Instant, id: NodeId, stamp: Stamp) {
        count(&mut self.metrics.refused_skew);
        let wall = self.clock.wall(now).as_millis();
        let ahead = stamp.time().as_millis().saturating_sub(wall);
        self.tell_skew(now, id, Duration::from_millis(ahead));
    }

    /// The frontiers that rose within the last rounds.
    pub(super) fn map_recents(&self, limit: usize) -> Vec<Told> {
        let [.., since] = self.shared.marks;
        self.shared.map.recent(since, limit).into_vec()
    }

    /// Adds what a SYN says of the map; nothing, where it is empty.
    pub(in crate::node) fn write_map_summary(&self, encoder: &mut Encoder<'_>) {
        let summary = self.shared.map.summary();
        if summary == Summary::default() {
            return;
        }
        encoder.item(&Item::MapSummary(MapSummary {
            hash: summary.hash.to_le_bytes(),
            forgotten: summary.forgotten,
        }));
        for told in self.map_recents(RECENTS) {
            encoder.item(&Item::MapTold(told));
        }
    }

    /// Whether a SYN's sender has the same map, so that it is not answered.
    pub(in crate::node) fn agrees_on_map(&self, items: Items<'_>) -> bool {
        summary_in(items) == self.shared.map.summary()
    }

    /// A SYN tells of its sender's map.
    pub(in crate::node) fn on_map_summary(
        &mut self,
        from: SocketAddr,
        sender: Sender,
        mode: ModeTag,
        items: Items<'_>,
    ) {
        let theirs = summary_in(items);
        if theirs == self.shared.map.summary() {
            return;
        }
        let told: SmallVec<[Told; 16]> = items
            .filter_map(|item| match item {
                Item::MapTold(told) => Some(told),
                _ => None,
            })
            .collect();
        let (may_give, may_ask) = match mode {
            ModeTag::PushPull => (true, true),
            ModeTag::Push => (false, true),
            ModeTag::Pull => (true, false),
        };
        let pull = pull_of(theirs, may_give);
        // One datagram: several peers may be asked at a time, and one is enough to go on with.
        self.answer_pull(from, sender.into(), &pull, &told, 1, may_ask);
    }

    /// A request has come in.
    pub(in crate::node) fn on_map_pull(
        &mut self,
        from: SocketAddr,
        sender: Sender,
        items: Items<'_>,
    ) {
        // An answer is larger than its question: only for whom the table knows at this address.
        let known = self
            .table
            .get(sender.id)
            .and_then(|record| record.address());
        if known != Some(from) {
            return;
        }
        let Some((pull, told)) = read_pull(items.bytes()) else {
            return;
        };
        let told: SmallVec<[Told; 64]> = told.collect();
        let may_ask = self.config.mode == Mode::PushPull || !pull.ask;
        self.answer_pull(from, sender.into(), &pull, &told, WINDOW, may_ask);
    }

    fn answer_pull(
        &mut self,
        to: SocketAddr,
        peer: Origin,
        pull: &Pull,
        told: &[Told],
        window: u32,
        may_ask: bool,
    ) {
        let Shared { map, serving, .. } = &mut *self.shared;
        let verdict = serving.on_pull(map, peer, pull, told.iter().copied());
        if verdict.serve {
            self.outbox.push(Outgoing::Map(MapOutgoing::Chunks {
                to,
                peer,
                left: window,
            }));
        }
        let is_table = told.iter().any(|told| matches!(told, Told::Complete(..)));
        if let Some(differs) = verdict.ask {
            if may_ask && self.may_ask_back() {
                self.ask_for_map(to, peer, differs);
            }
        } else if verdict.unexplained && !is_table && !self.outbox.holds_table_for(to) {
            self.outbox.push(Outgoing::Map(MapOutgoing::Table {
                to,
                after: None,
                ask: may_ask && self.shared.staging.peer().is_none(),
            }));
        }
    }

    /// Whether a request may be answered by one: once in half an interval, until a delta has been
    /// applied. Two that each lack something of the other would otherwise go on asking one another for
    /// as long as either cannot take what it is given.
    fn may_ask_back(&mut self) -> bool {
        let pause = part(self.config.interval, 2);
        let asked = self.shared.asked_back;
        let may = asked.is_none_or(|asked| self.now.saturating_since(asked) >= pause);
        if may {
            self.shared.asked_back = Some(self.now);
        }
        may
    }

    /// Asks a peer for a delta, or to go on with the one that is under way. One at a time: for a new
    /// one its sender would give up the other.
    pub(super) fn ask_for_map(&mut self, to: SocketAddr, peer: Origin, told: Vec<Told>) {
        let goes_on = |busy| busy == peer && told.is_empty();
        if self
            .shared
            .staging
            .peer()
            .is_some_and(|busy| !goes_on(busy))
        {
            return;
        }
        self.outbox.push(Outgoing::Map(if told.len() > TOLD {
            MapOutgoing::Table {
                to,
                after: None,
                ask: true,
            }
        } else {
            MapOutgoing::Pull { to, peer, told }
        }));
    }

    /// A part of a delta has come in.
    pub(in crate::node) fn on_map_chunk(
        &mut self,
        now: Instant,
        from: SocketAddr,
        sender: Sender,
        items: Items<'_>,
    ) {
        if !self.is_where_it_says(sender, from) {
            return;
        }
        let peer = Origin::from(sender);
        if self.shared.staging.peer().is_none() {
            // What is left belongs to a delta that was given up.
            self.shared.ahead.clear();
        }
        self.take_chunk(now, from, peer, items.bytes());
        // What had overtaken it follows.
        loop {
            let Shared { staging, ahead, .. } = &mut *self.shared;
            let Some(next) = (ahead.iter()).position(|(head, _)| staging.goes_on_with(head)) else {
                break;
            };
            let (_, chunk) = ahead.swap_remove(next);
            self.take_chunk(now, from, peer, &chunk);
        }
        let Shared { staging, ahead, .. } = &mut *self.shared;
        let of = staging.peer();
        ahead.retain(|(head, _)| of.is_some_and(|of| staging.is_ahead(of, head)));
        if ahead.is_empty() {
            *ahead = Vec::new();
        }
        self.tell_map();
    }

    fn take_chunk(&mut self, now: Instant, from: SocketAddr, peer: Origin, chunk: &[u8]) {
        let Some((head, pieces)) = read_chunk(chunk) else {
            return;
        };
        let limit = self.map_limit(now, chunk.len());
        let me = self.sender().into();
        let Shared {
            map,
            staging,
            ahead,
            ..
        } = &mut *self.shared;
        if head.taker == me && staging.is_ahead(peer, &head) {
            // Of two, the one that was written later: the other may not fit any more.
            ahead.retain(|(known, _)| known.after != head.after || known.as_of >= head.as_of);
            let is_new = ahead.iter().all(|(known, _)| known.after != head.after);
            if is_new && ahead.len() < AHEAD {
                ahead.push((head, chunk.to_vec()));
            }
            // What it has overtaken may be late, or lost.
            self.timers
                .advance(Timer::Gap, now.saturating_add(OVERTAKING));
            return;
        }
        let before = map.merged();
        let moves = head.after != head.upto;
        let begins = staging.peer().is_none();
        let outcome = staging.accept(map, me, peer, &head, pieces, limit);
        let merged = map.merged().saturating_sub(before);
        self.metrics.entries_applied = self.metrics.entries_applied.saturating_add(merged);
        match outcome {
            Outcome::Kept if moves => self.note_progress(now, begins),
            Outcome::Ask if moves => {
                self.note_progress(now, begins);
                self.ask_for_map(from, peer, Vec::new());
            }
            // Who says nothing does not keep others from being asked.
            Outcome::Kept | Outcome::Ask => {}
            Outcome::Applied { latest, own } => {
                self.shared.asked_back = None;
                let _ = self.clock.observe(now, latest);
                self.keep_map_open(now, own);
            }
            Outcome::TooFarAhead(origin, stamp) => self.refuse_stamp(now, origin.id, stamp),
            Outcome::TooLarge => count(&mut self.metrics.refused_state),
            Outcome::Elsewhere | Outcome::Outdated | Outcome::Broken => {}
        }
    }

    /// What parts of a delta have overtaken has not come for so long that it must be lost: the delta is
    /// asked for again from there. Not at once: each question brings a window of datagrams.
    pub(in crate::node) fn on_gap_due(&mut self, now: Instant) {
        let Some(peer) = self.shared.staging.peer() else {
            return;
        };
        if self.shared.ahead.is_empty() {
            return;
        }
        let due = self.shared.progress.saturating_add(OVERTAKING);
        let to = self.table.get(peer.id).and_then(Record::address);
        if now < due {
            self.timers.set(Timer::Gap, Some(due));
        } else if let Some(to) = to {
            self.ask_for_map(to, peer, Vec::new());
        }
    }

    fn note_progress(&mut self, now: Instant, begins: bool) {
        self.shared.progress = now;
        self.shared.tries = 0;
        if begins {
            self.shared.began = now;
        }
    }

    /// Asks again for a delta that has come to a halt. It is dropped once its peer is gone, or has been
    /// silent more often than chance explains at the loss measured now, or has taken far too long.
    pub(super) fn urge_delta(&mut self, now: Instant) {
        let Some(peer) = self.shared.staging.peer() else {
            return;
        };
        if now.saturating_since(self.shared.began) > self.intervals(LONGEST) {
            return self.shared.staging.discard();
        }
        if now.saturating_since(self.shared.progress) < part(self.config.interval, 2) {
            return;
        }
        self.shared.tries = self.shared.tries.saturating_add(1);
        let enough = self.loss(now).pings().unwrap_or(u32::MAX);
        let lives = |record: &&Record| record.condition == Condition::Live;
        let record = self.table.get(peer.id).filter(lives);
        match record.and_then(Record::address) {
            Some(to) if self.shared.tries <= enough => self.ask_for_map(to, peer, Vec::new()),
            _ => self.shared.staging.discard(),
        }
    }

    /// Writes a message about the map.
    pub(in crate::node) fn write_about_map(
        &mut self,
        message: MapOutgoing,
        body: &mut [u8],
    ) -> Option<Written> {
        let (sender, map) = (self.sender(), &self.shared.map);
        let done = |to, len| Some((to, len, Rest::Done));
        match message {
            MapOutgoing::Chunks { to, peer, left } => {
                let (head, room) = Encoder::split(body, sender, Message::MapChunk)?;
                let last = left <= 1;
                let (len, extent) = self.shared.serving.write_chunk(map, peer, last, room)?;
                let rest = if extent == Extent::More {
                    let left = left.saturating_sub(1);
                    Rest::More(Outgoing::Map(MapOutgoing::Chunks { to, peer, left }))
                } else {
                    Rest::Done
                };
                Some((to, head.saturating_add(len), rest))
            }
            MapOutgoing::Pull { to, peer, told } => {
                let pull = self.shared.staging.pull(map, peer);
                let (head, room) = Encoder::split(body, sender, Message::MapPull)?;
                let (len, _) = write_pull(&pull, &told, room)?;
                done(to, head.saturating_add(len))
            }
            MapOutgoing::Table { to, after, ask } => {
                let pull = pull_of(map.summary(), ask);
                let (head, room) = Encoder::split(body, sender, Message::MapPull)?;
                let (len, next) = map.write_table(&pull, after, room)?;
                let rest = match next {
                    Some(_) => Rest::More(Outgoing::Map(MapOutgoing::Table {
                        to,
                        after: next,
                        ask,
                    })),
                    None => Rest::Done,
                };
                Some((to, head.saturating_add(len), rest))
            }
            MapOutgoing::Run {
                tree,
                delegation,
                run,
            } => {
                let to = self.table.get(delegation.to)?.address()?;
                let segment = delegation.segment;
                let push = Push { tree, segment };
                let mut encoder = Encoder::new(body, sender, Message::Push(push))?;
                let fits = encoder.item(&Item::MapRun(run.run()));
                fits.then(|| done(to, encoder.len()))?
            }
        }
    }
}

/// What a SYN tells of its sender's map: nothing, where that is empty.
fn summary_in(mut items: Items<'_>) -> Summary {
    let told = items.find_map(|item| match item {
        Item::MapSummary(summary) => Some(Summary {
            hash: u128::from_le_bytes(summary.hash),
            forgotten: summary.forgotten,
        }),
        _ => None,
    });
    told.unwrap_or_default()
}
