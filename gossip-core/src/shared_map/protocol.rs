//! The conversation about the shared map: tables of frontiers, requests and deltas.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use super::machine::{Peer, SharedMap, TOLD, limit, refuse_stamp};
use super::replica::{
    Extent, Origin, Outcome, Pull, Summary, Told, pull_of, read_chunk, read_pull, write_pull,
};
use crate::config::Mode;
use crate::context::{Context, MapOutgoing, Outgoing, Timer, count};
use crate::membership::{Condition, Record};
use crate::time::part;
use crate::wire::datagram::{Encoder, Items};
use crate::wire::message::{Item, MapSummary, Message, ModeTag, PushHead};

/// By how much a datagram may come later than one sent after it.
const OVERTAKING: Duration = crate::sync::leg::OVERTAKING;

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

impl SharedMap {
    /// The frontiers that rose within the last rounds.
    pub(crate) fn recent(&self, limit: usize) -> Vec<Told> {
        let [.., since] = self.marks;
        self.map.recent(since, limit).into_vec()
    }

    /// Adds what a SYN says of the map; nothing, where it is empty.
    pub(crate) fn write_summary(&self, encoder: &mut Encoder<'_>) {
        let summary = self.map.summary();
        if summary == Summary::default() {
            return;
        }
        encoder.item(&Item::MapSummary(MapSummary {
            hash: summary.hash.to_le_bytes(),
            forgotten: summary.forgotten,
        }));
        for told in self.recent(RECENTS) {
            encoder.item(&Item::MapTold(told));
        }
    }

    /// Whether a SYN's sender has the same map, so that it is not answered.
    pub(crate) fn agrees(&self, told: Option<MapSummary>) -> bool {
        summary(told) == self.map.summary()
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
        let theirs = summary(told);
        if theirs == self.map.summary() {
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
        self.answer_pull(context, peer, &pull, &told, 1, may_ask);
    }

    /// A request has come in.
    pub(crate) fn on_pull(&mut self, context: &mut Context, peer: Peer, items: Items<'_>) {
        // An answer is larger than its question: only for whom the table knows at this address.
        let record = context.table.get(peer.origin.id);
        if record.and_then(Record::address) != Some(peer.address) {
            return;
        }
        let Some((pull, told)) = read_pull(items.bytes()) else {
            return;
        };
        let told: SmallVec<[Told; 64]> = told.collect();
        let may_ask = context.config.mode == Mode::PushPull || !pull.ask;
        self.answer_pull(context, peer, &pull, &told, WINDOW, may_ask);
    }

    fn answer_pull(
        &mut self,
        context: &mut Context,
        peer: Peer,
        pull: &Pull,
        told: &[Told],
        window: u32,
        may_ask: bool,
    ) {
        let to = peer.address;
        let verdict = self
            .serving
            .on_pull(&self.map, peer.origin, pull, told.iter().copied());
        if verdict.serve {
            context.send(Outgoing::Map(MapOutgoing::Chunks {
                to,
                peer: peer.origin,
                left: window,
            }));
        }
        let is_table = told.iter().any(|told| matches!(told, Told::Complete(..)));
        if let Some(differs) = verdict.ask {
            if may_ask && self.may_ask_back(context) {
                self.ask(context, to, peer.origin, differs);
            }
        } else if verdict.unexplained && !is_table && !peer.awaits_table {
            context.send(Outgoing::Map(MapOutgoing::Table {
                to,
                after: None,
                ask: may_ask && self.staging.peer().is_none(),
            }));
        }
    }

    /// Whether a request may be answered by one: once in half an interval, until a delta has been
    /// applied. Two that each lack something of the other would otherwise go on asking one another for
    /// as long as either cannot take what it is given.
    fn may_ask_back(&mut self, context: &Context) -> bool {
        let pause = part(context.config.interval, 2);
        let asked = self.asked_back;
        let may = asked.is_none_or(|asked| context.now.saturating_since(asked) >= pause);
        if may {
            self.asked_back = Some(context.now);
        }
        may
    }

    /// Asks a peer for a delta, or to go on with the one that is under way. One at a time: for a new
    /// one its sender would give up the other.
    pub(super) fn ask(&self, context: &mut Context, to: SocketAddr, peer: Origin, told: Vec<Told>) {
        let goes_on = |busy| busy == peer && told.is_empty();
        if self.staging.peer().is_some_and(|busy| !goes_on(busy)) {
            return;
        }
        context.send(Outgoing::Map(if told.len() > TOLD {
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
    pub(crate) fn on_chunk(&mut self, context: &mut Context, peer: Peer, items: Items<'_>) {
        if !peer.is_where_it_says {
            return;
        }
        let (from, peer) = (peer.address, peer.origin);
        if self.staging.peer().is_none() {
            // What is left belongs to a delta that was given up.
            self.ahead.clear();
        }
        self.take_chunk(context, from, peer, items.bytes());
        // What had overtaken it follows.
        loop {
            let mut ahead = self.ahead.iter();
            let Some(next) = ahead.position(|(head, _)| self.staging.goes_on_with(head)) else {
                break;
            };
            let (_, chunk) = self.ahead.swap_remove(next);
            self.take_chunk(context, from, peer, &chunk);
        }
        let Self { staging, ahead, .. } = self;
        let of = staging.peer();
        ahead.retain(|(head, _)| of.is_some_and(|of| staging.is_ahead(of, head)));
        if ahead.is_empty() {
            *ahead = Vec::new();
        }
        self.tell(context);
    }

    fn take_chunk(&mut self, context: &mut Context, from: SocketAddr, peer: Origin, chunk: &[u8]) {
        let Some((head, pieces)) = read_chunk(chunk) else {
            return;
        };
        let limit = limit(context, chunk.len());
        let me = context.sender().into();
        let Self {
            map,
            staging,
            ahead,
            ..
        } = self;
        if head.taker == me && staging.is_ahead(peer, &head) {
            // Of two, the one that was written later: the other may not fit any more.
            ahead.retain(|(known, _)| known.after != head.after || known.as_of >= head.as_of);
            let is_new = ahead.iter().all(|(known, _)| known.after != head.after);
            if is_new && ahead.len() < AHEAD {
                ahead.push((head, chunk.to_vec()));
            }
            // What it has overtaken may be late, or lost.
            let late = context.now.saturating_add(OVERTAKING);
            context.timers.advance(Timer::Gap, late);
            return;
        }
        let before = map.merged();
        let moves = head.after != head.upto;
        let begins = staging.peer().is_none();
        let outcome = staging.accept(map, me, peer, &head, pieces, limit);
        let merged = map.merged().saturating_sub(before);
        let applied = &mut context.metrics.entries_applied;
        *applied = applied.saturating_add(merged);
        match outcome {
            Outcome::Kept if moves => self.note_progress(context, begins),
            Outcome::Ask if moves => {
                self.note_progress(context, begins);
                self.ask(context, from, peer, Vec::new());
            }
            // Who says nothing does not keep others from being asked.
            Outcome::Kept | Outcome::Ask => {}
            Outcome::Applied { latest, own } => {
                self.asked_back = None;
                let _ = context.clock.observe(context.now, latest);
                self.keep_open(context, own);
            }
            Outcome::TooFarAhead(origin, stamp) => refuse_stamp(context, origin.id, stamp),
            Outcome::TooLarge => count(&mut context.metrics.refused_state),
            Outcome::Elsewhere | Outcome::Outdated | Outcome::Broken => {}
        }
    }

    /// What parts of a delta have overtaken has not come for so long that it must be lost: the delta is
    /// asked for again from there. Not at once: each question brings a window of datagrams.
    pub(crate) fn on_gap_due(&mut self, context: &mut Context) {
        let Some(peer) = self.staging.peer() else {
            return;
        };
        if self.ahead.is_empty() {
            return;
        }
        let due = self.progress.saturating_add(OVERTAKING);
        let to = context.table.get(peer.id).and_then(Record::address);
        if context.now < due {
            context.timers.set(Timer::Gap, Some(due));
        } else if let Some(to) = to {
            self.ask(context, to, peer, Vec::new());
        }
    }

    fn note_progress(&mut self, context: &Context, begins: bool) {
        self.progress = context.now;
        self.tries = 0;
        if begins {
            self.began = context.now;
        }
    }

    /// Asks again for a delta that has come to a halt. `enough` is how many questions without an answer are
    /// more than chance explains. It is dropped once its peer is gone, or has been
    /// silent more often than chance explains at the loss measured now, or has taken far too long.
    pub(super) fn urge_delta(&mut self, context: &mut Context, enough: Option<u32>) {
        let Some(peer) = self.staging.peer() else {
            return;
        };
        if context.now.saturating_since(self.began) > context.intervals(LONGEST) {
            return self.staging.discard();
        }
        if context.now.saturating_since(self.progress) < part(context.config.interval, 2) {
            return;
        }
        self.tries = self.tries.saturating_add(1);
        let enough = enough.unwrap_or(u32::MAX);
        let lives = |record: &&Record| record.condition == Condition::Live;
        let record = context.table.get(peer.id).filter(lives);
        match record.and_then(Record::address) {
            Some(to) if self.tries <= enough => self.ask(context, to, peer, Vec::new()),
            _ => self.staging.discard(),
        }
    }

    /// Writes a message about the map. Returns where it goes, how long it is, and what is left of it.
    pub(crate) fn write_message(
        &mut self,
        context: &Context,
        message: MapOutgoing,
        body: &mut [u8],
    ) -> Option<(SocketAddr, usize, Option<MapOutgoing>)> {
        let sender = context.sender();
        match message {
            MapOutgoing::Chunks { to, peer, left } => {
                let (head, room) = Encoder::split(body, sender, Message::MapChunk)?;
                let last = left <= 1;
                let (len, extent) = self.serving.write_chunk(&self.map, peer, last, room)?;
                let left = left.saturating_sub(1);
                let rest = MapOutgoing::Chunks { to, peer, left };
                let rest = (extent == Extent::More).then_some(rest);
                Some((to, head.saturating_add(len), rest))
            }
            MapOutgoing::Pull { to, peer, told } => {
                let pull = self.staging.pull(&self.map, peer);
                let (head, room) = Encoder::split(body, sender, Message::MapPull)?;
                let (len, _) = write_pull(&pull, &told, room)?;
                Some((to, head.saturating_add(len), None))
            }
            MapOutgoing::Table { to, after, ask } => {
                let pull = pull_of(self.map.summary(), ask);
                let (head, room) = Encoder::split(body, sender, Message::MapPull)?;
                let (len, next) = self.map.write_table(&pull, after, room)?;
                let rest = next.map(|next| MapOutgoing::Table {
                    to,
                    after: Some(next),
                    ask,
                });
                Some((to, head.saturating_add(len), rest))
            }
            MapOutgoing::Run {
                tree,
                delegation,
                run,
            } => {
                let to = context.table.get(delegation.to)?.address()?;
                let segment = delegation.segment;
                let push = PushHead { tree, segment };
                let mut encoder = Encoder::new(body, sender, Message::Push(push))?;
                let fits = encoder.item(&Item::MapRun(run.run()));
                fits.then(|| (to, encoder.len(), None))
            }
        }
    }
}

/// What a SYN tells of its sender's map: nothing, where that is empty.
fn summary(told: Option<MapSummary>) -> Summary {
    told.map_or_else(Summary::default, |told| Summary {
        hash: u128::from_le_bytes(told.hash),
        forgotten: told.forgotten,
    })
}
