//! One replica, with a clock of its own and the two ends of its deltas.

use core::time::Duration;
use std::rc::Rc;

use gossip_core::map::{
    ApplyLimits, ChunkHead, ChunkOutcome, Cursor, DeltaPiece, DeltaReceiver, DeltaSender, Map,
    MapChange, Origin, OwnLog, PruneLimits, Pull, Pushed, Put, Reading, RecentRuns, Run,
    VectorItem, Wanted, read_chunk, read_pull, read_wanted, write_pull, write_wanted,
};
use gossip_core::{Generation, Key, NodeId, Policy, Stamp, UnixTime};

use super::tamper::{Missing, Tampered};
use super::truth::{Knowledge, Ledger};
use crate::sim::Fingerprint;

/// A datagram between two replicas.
#[derive(Clone, Debug)]
pub(super) enum Datagram {
    /// A request for a delta.
    Pull(Vec<u8>),
    /// A part of a delta, and what its sender knew when it wrote it.
    Chunk(Vec<u8>, Rc<Knowledge>),
    /// A pushed run.
    Run {
        origin: Origin,
        after: u64,
        upto: u64,
        writes: Vec<u8>,
    },
    /// A request for versions that are missing.
    Want(Vec<u8>),
}

/// One replica.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    pub(super) map: Map,
    serving: DeltaSender,
    staging: DeltaReceiver,
    /// The runs that came by lately, in schedules with repair.
    runs: Option<RecentRuns>,
    /// How far its clock is ahead of the others', in milliseconds.
    skew: u64,
    last: Stamp,
    policy: Policy,
    /// What it has come to know, forgotten or not.
    pub(super) known: Rc<Knowledge>,
    /// A hash over all that others have sent to it.
    pub(super) heard: Fingerprint,
}

/// Nothing is refused here, but a chunk that brings more than a chunk may.
const LIMIT: ApplyLimits = ApplyLimits {
    stamp: Stamp::from_bits(u64::MAX),
    bytes: 1 << 30,
    room: 1 << 30,
};

impl Replica {
    pub(super) fn new(id: u64, generation: u64, skew: u64, policy: Policy, repairs: bool) -> Self {
        Self {
            map: Map::new(origin(id, generation), "", 256),
            serving: DeltaSender::default(),
            staging: DeltaReceiver::default(),
            runs: repairs.then(RecentRuns::default),
            skew,
            last: Stamp::ZERO,
            policy,
            known: Rc::default(),
            heard: Fingerprint::default(),
        }
    }

    pub(super) fn id(&self) -> Origin {
        self.map.own()
    }

    /// Takes note of what it knows now, and of what it tells.
    pub(super) fn note(&mut self, truth: &mut Ledger) {
        truth.grew(&self.map, self.known.upto(self.id()));
        Rc::make_mut(&mut self.known).note(&self.map);
        while let Some(notice) = self.map.poll_change() {
            if let MapChange::Dropped(gone) = notice
                && let Some(value) = &gone.dropped.value
            {
                truth.told(value.as_bytes());
            }
        }
    }

    fn stamp(&mut self, time: u64) -> Stamp {
        let wall = Stamp::at(UnixTime::from_millis(time.saturating_add(self.skew)));
        self.last = wall.max(self.last.next());
        self.last
    }

    /// Writes a key, as its application would.
    pub(super) fn write(&mut self, time: u64, key: &Key, value: Option<u64>, truth: &mut Ledger) {
        self.reopen_if(OwnLog::Sound, time, truth);
        let stamp = self.stamp(time);
        let bytes = value.map(super::truth::written);
        let put = Put {
            value: bytes.as_deref(),
            policy: self.policy,
            lifetime: None,
        };
        let before = Ledger::of_key(&self.map, key);
        let version = self.map.put(stamp, key, put);
        truth.wrote(&self.map, version, &before);
        self.note(truth);
    }

    /// Collects tombstones that are `grace` milliseconds old.
    pub(super) fn collect(&mut self, time: u64, grace: u64, truth: &mut Ledger) {
        self.reopen_if(OwnLog::Sound, time, truth);
        let held = Ledger::of_all(&self.map);
        let before = self.map.frontier(self.id());
        self.map
            .tick(UnixTime::from_millis(time.saturating_add(self.skew)));
        self.map.collect(Duration::from_millis(grace));
        truth.superseded(&self.map, before, &held);
        self.note(truth);
    }

    /// Collects tombstones before their time, all that it can.
    pub(super) fn relieve(&mut self, time: u64, truth: &mut Ledger) {
        self.reopen_if(OwnLog::Sound, time, truth);
        self.map
            .tick(UnixTime::from_millis(time.saturating_add(self.skew)));
        self.map.relieve(0, 0);
        self.note(truth);
    }

    /// Closes the logs of others, rightly or not, and forgets ghosts.
    pub(super) fn forget(
        &mut self,
        time: u64,
        closed: impl Fn(Origin) -> bool,
        memory: PruneLimits,
        truth: &mut Ledger,
    ) {
        self.reopen_if(OwnLog::Sound, time, truth);
        let logs: Vec<Origin> = self.map.frontiers().map(|log| log.origin).collect();
        for origin in logs.into_iter().filter(|origin| closed(*origin)) {
            self.map.close(origin);
        }
        self.map.prune(memory);
        self.note(truth);
    }

    fn reopen_if(&mut self, standing: OwnLog, time: u64, truth: &mut Ledger) {
        if standing != OwnLog::Sound || self.map.is_outdated() {
            let generation = Generation::new(self.stamp(time));
            let (old, before) = (self.id(), Ledger::of_all(&self.map));
            if standing == OwnLog::Pruned
                && self.map.pruned_origins().all(|(other, _)| other != old)
            {
                truth.reissues_blindly(old, &before);
            }
            self.map.reopen(generation, standing);
            truth.reissued(&self.map, old, &before);
        }
    }

    /// The request that begins a delta, or goes on with one. Tells the whole table, or recent
    /// changes only.
    pub(super) fn pull(&self, from: Origin, whole: bool, room: usize) -> Vec<Datagram> {
        let pull = self.staging.pull(&self.map, from);
        let mut buffer = vec![0; room];
        let mut datagrams = Vec::new();
        if !whole {
            let recent = self
                .map
                .recent(self.map.latest_position().saturating_sub(6), 4);
            if let Some((len, _)) = write_pull(&pull, &recent, &mut buffer) {
                buffer.truncate(len);
                datagrams.push(Datagram::Pull(buffer));
            }
            return datagrams;
        }
        let mut after = None;
        while let Some((len, next)) = self.map.write_table(&pull, after, &mut buffer) {
            datagrams.push(Datagram::Pull(
                buffer.get(..len).unwrap_or_default().to_vec(),
            ));
            after = next;
            if after.is_none() {
                break;
            }
        }
        datagrams
    }

    /// A request has come in. Up to `window` chunks answer it.
    pub(super) fn on_pull(
        &mut self,
        from: Origin,
        bytes: &[u8],
        window: usize,
        room: usize,
    ) -> Vec<Datagram> {
        self.heard.absorb(bytes);
        let Some((pull, told)) = read_pull(bytes) else {
            return Vec::new();
        };
        let verdict = self.serving.on_pull(&self.map, from, &pull, told);
        let mut datagrams = Vec::new();
        let Some(number) = verdict.serve else {
            return datagrams;
        };
        let session = (from, number);
        if let Some(runs) = &self.runs
            && pull.session == 0
            && let Some(lacking) = self.serving.lacking(&self.map, session)
            && lacking.iter().all(|wanted| runs.cover(&self.map, *wanted))
        {
            return held(runs, lacking.into_iter());
        }
        for n in 1..=window {
            let mut buffer = vec![0; room];
            let last = n == window;
            let written = self
                .serving
                .write_chunk(&self.map, session, last, &mut buffer);
            let Some((len, extent)) = written else {
                break;
            };
            buffer.truncate(len);
            datagrams.push(Datagram::Chunk(buffer, Rc::clone(&self.known)));
            if extent == gossip_core::map::ChunkEnd::Complete {
                break;
            }
        }
        datagrams
    }

    /// A chunk has come in. Tells whether more has to be asked for.
    pub(super) fn on_chunk(
        &mut self,
        time: u64,
        (peer, from): (Origin, &Map),
        (bytes, known): (&[u8], &Knowledge),
        missing: Missing,
        truth: &mut Ledger,
    ) -> bool {
        self.heard.absorb(bytes);
        let Some((head, pieces)) = read_chunk(bytes) else {
            return false;
        };
        let tampered = Tampered::new(missing, head, pieces, &self.map, from, truth);
        let room = match missing {
            Missing::Nothing => bytes.len().saturating_add(1024),
            _ => LIMIT.room,
        };
        let outcome = self.accept(peer, &tampered.head, tampered.pieces(), room);
        assert_ne!(
            outcome,
            ChunkOutcome::TooLarge,
            "senders keep to what takers take"
        );
        if matches!(outcome, ChunkOutcome::Applied { .. }) {
            Rc::make_mut(&mut self.known).learn(known, &self.map);
        }
        self.learn(time, outcome, truth) == ChunkOutcome::Ask
    }

    fn accept<'a>(
        &mut self,
        peer: Origin,
        head: &ChunkHead,
        pieces: impl Iterator<Item = DeltaPiece<'a>>,
        room: usize,
    ) -> ChunkOutcome {
        let me = self.id();
        let limit = ApplyLimits { room, ..LIMIT };
        self.staging
            .accept(&mut self.map, me, peer, head, pieces, limit)
    }

    fn learn(&mut self, time: u64, outcome: ChunkOutcome, truth: &mut Ledger) -> ChunkOutcome {
        if let ChunkOutcome::Applied { latest, own } = outcome {
            self.last = self.last.max(latest);
            if let Some(runs) = &mut self.runs {
                runs.release_all(&mut self.map);
            }
            self.note(truth);
            self.reopen_if(own, time, truth);
            self.note(truth);
        }
        outcome
    }

    /// What this replica has written lately, as it is pushed.
    pub(super) fn push(&mut self, limit: usize) -> Vec<Datagram> {
        let mut buffer = Vec::new();
        let mut datagrams = Vec::new();
        while let Some(run) = self.map.poll_push(limit, limit, &mut buffer) {
            if let Some(runs) = &mut self.runs {
                runs.keep_own(&run);
            }
            let (origin, after, upto) = (run.origin, run.after, run.upto);
            let writes = run.writes.to_vec();
            datagrams.push(Datagram::Run {
                origin,
                after,
                upto,
                writes,
            });
        }
        datagrams
    }

    /// A pushed run has come in.
    pub(super) fn on_run(
        &mut self,
        time: u64,
        run: &Run<'_>,
        missing: Missing,
        truth: &mut Ledger,
    ) {
        for number in [run.after, run.upto] {
            self.heard.absorb(&number.to_le_bytes());
        }
        self.heard.absorb(run.writes);
        if !run.is_valid() {
            return;
        }
        for write in run.writes().filter_map(gossip_core::map::Write::decode) {
            self.last = self.last.max(write.stamp);
        }
        let rewritten = super::tamper::run(missing, run, truth);
        let run = Run {
            writes: rewritten.as_deref().unwrap_or(run.writes),
            ..*run
        };
        let pushed = match &mut self.runs {
            Some(runs) => runs.take(&mut self.map, &run, Some(0)).pushed,
            None => self.map.apply_push(&run),
        };
        let is_adjacent = self.map.frontier(run.origin) == run.after;
        let is_taken = match missing {
            Missing::Causal => is_adjacent,
            Missing::Gaps => !is_adjacent,
            _ => false,
        };
        if is_taken && matches!(pushed, Pushed::Early(..)) {
            // As a delta that claims no more than the run.
            let head = ChunkHead {
                session: 0,
                receiver: self.id(),
                after: Cursor::default(),
                upto: Cursor::default(),
                as_of: 0,
                prune_stamp: Generation::ZERO,
                end: gossip_core::map::ChunkEnd::Complete,
            };
            let pieces = super::tamper::as_pieces(&run);
            let outcome = self.accept(run.origin, &head, pieces.into_iter(), LIMIT.room);
            self.learn(time, outcome, truth);
        }
        self.note(truth);
    }

    /// Asks for what is missing, as the runs that wait show it.
    pub(super) fn want(&mut self, room: usize) -> Vec<Datagram> {
        let Some(runs) = &mut self.runs else {
            return Vec::new();
        };
        let wanted = runs.missing(&self.map);
        let mut buffer = vec![0; room];
        let len = write_wanted(&wanted, &mut buffer);
        buffer.truncate(len);
        if buffer.is_empty() {
            return Vec::new();
        }
        vec![Datagram::Want(buffer)]
    }

    /// A peer asks for what it misses.
    pub(super) fn on_want(&mut self, bytes: &[u8]) -> Vec<Datagram> {
        self.heard.absorb(bytes);
        let (Some(runs), Some(wanted)) = (&self.runs, read_wanted(bytes)) else {
            return Vec::new();
        };
        held(runs, wanted)
    }

    /// Another replica tells how far it knows some origins.
    pub(super) fn on_told(&mut self, told: impl Iterator<Item = (Origin, u64)>) {
        if let Some(runs) = &mut self.runs {
            for (origin, upto) in told {
                runs.note_told(&self.map, origin, upto);
            }
        }
    }

    /// Time passes for the runs that are kept.
    pub(super) fn begin_round(&mut self, truth: &mut Ledger) {
        if let Some(runs) = &mut self.runs {
            runs.begin_round(&mut self.map);
        }
        self.note(truth);
    }

    /// Everything that is read.
    pub(super) fn view(&self) -> Vec<(String, Vec<Reading<'_>>)> {
        self.map
            .prefix(b"")
            .map(|(key, _)| {
                (
                    key.to_owned(),
                    self.map.siblings(key.as_bytes()).into_iter().collect(),
                )
            })
            .collect()
    }

    /// Learns all that another replica knows, undisturbed. Tells whether it came to an end.
    pub(super) fn catch_up(
        &mut self,
        time: u64,
        from: &mut Self,
        missing: Missing,
        truth: &mut Ledger,
    ) -> bool {
        let (me, it) = (self.id(), from.id());
        if self.staging.peer().is_some_and(|peer| peer != it) {
            // What does not go on is dropped in time.
            self.staging.discard();
        }
        let mut told = self.pull(it, true, 400);
        for _ in 0..100 {
            let mut chunks = Vec::new();
            for datagram in core::mem::take(&mut told) {
                if let Datagram::Pull(bytes) = datagram {
                    chunks = from.on_pull(me, &bytes, 4, 400);
                }
            }
            if chunks.is_empty() {
                return true;
            }
            for datagram in chunks {
                match datagram {
                    Datagram::Chunk(bytes, known) => {
                        if self.on_chunk(time, (it, &from.map), (&bytes, &known), missing, truth) {
                            let pull = self.staging.pull(&self.map, it);
                            told = go_on(&pull);
                        }
                    }
                    Datagram::Run {
                        origin,
                        after,
                        upto,
                        writes,
                    } => {
                        let run = Run {
                            origin,
                            after,
                            upto,
                            writes: &writes,
                        };
                        self.on_run(time, &run, missing, truth);
                    }
                    Datagram::Pull(_) | Datagram::Want(_) => {}
                }
            }
            if told.is_empty() {
                return true;
            }
        }
        false
    }

    /// The request for the next part of a delta.
    pub(super) fn go_on(&self, from: Origin) -> Vec<Datagram> {
        go_on(&self.staging.pull(&self.map, from))
    }

    pub(super) fn drop_staged(&mut self) {
        self.staging.discard();
    }
}

/// The runs that hold some of these versions.
fn held(runs: &RecentRuns, wanted: impl Iterator<Item = Wanted>) -> Vec<Datagram> {
    wanted
        .flat_map(|wanted| runs.holding(wanted))
        .map(|run| Datagram::Run {
            origin: run.origin,
            after: run.after,
            upto: run.upto,
            writes: run.writes.to_vec(),
        })
        .collect()
}

fn go_on(pull: &Pull) -> Vec<Datagram> {
    let mut buffer = vec![0; 200];
    let none: [VectorItem; 0] = [];
    let written = write_pull(pull, &none, &mut buffer);
    let pull = written.map(|(len, _)| buffer.get(..len).unwrap_or_default().to_vec());
    pull.map(Datagram::Pull).into_iter().collect()
}

/// The origin with these numbers.
pub(super) fn origin(id: u64, generation: u64) -> Origin {
    Origin {
        id: NodeId::from_u64(id),
        generation: Generation::new(Stamp::from_bits(generation)),
    }
}
