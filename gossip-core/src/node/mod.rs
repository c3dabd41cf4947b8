//! The one public machine: [`Node`].
//!
//! It routes. What arrives is handed to the components (table, logs, staging, observations, votes),
//! what they decide is queued for the caller. Submodules hold the parts of the protocol:
//! [`agreement`] (who shows the same value), [`broadcast`] (events of the application), [`peers`] and [`round`] (whom to talk to), [`exchange`] (the legs), [`intake`] (what comes of a delta), [`push`] (eager
//! dissemination), [`liveness`] (heartbeats, suspicion), [`lost`] (whom it has removed), [`ballots`] (votes), [`judgement`] (verdicts), [`own`] (what this node says of
//! itself), [`rival`] (another node of its name), [`stale`] (what follows from an input), [`transmit`] (writing datagrams), [`view`] (what the application may look at).

mod agreement;
mod ballots;
mod broadcast;
mod events;
mod exchange;
mod ghosts;
mod intake;
mod judgement;
mod liveness;
mod lost;
#[cfg_attr(not(feature = "map"), path = "unmapped.rs")]
mod map;
mod outbox;
mod own;
mod peers;
mod proof;
mod push;
mod recents;
mod rival;
mod round;
#[cfg(feature = "encryption")]
mod sealing;
mod stale;
mod timers;
mod transmit;
mod view;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use crate::command::{Command, CommandError};
use crate::config::{Config, ConfigError, Dissemination};
use crate::event::Event;
use crate::failure::detector::Detector;
use crate::failure::loss::Loss;
use crate::failure::observation::Observation;
use crate::failure::probes::Probes;
use crate::failure::votes::Votes;
use crate::hlc::Clock;
use crate::identity::{Generation, Identity, NodeId};
use crate::membership::Table;
use crate::metrics::Metrics;
use crate::rng::{duration_below, jitter};
use crate::state::attribute::{
    ADDRESS, Ballot, DATACENTER, Declared, NAME, STATUS, encode_address,
};
use crate::state::log::Log;
use crate::state::room;
use crate::state::table_hash::HashKey;
use crate::sync::staging::Staging;
use crate::time::{Instant, UnixTime};
#[cfg(feature = "encryption")]
use crate::wire::encryption::Keyring;
use crate::wire::frame::{ClusterTag, Framing, Opened, Refused};
use crate::wire::message::{Datagram, Message, Sender, Unreadable};
use agreement::Watches;
use broadcast::Broadcasts;
use events::Events;
use liveness::Neighbour;
use lost::Lost;
use map::Shared;
use outbox::Outbox;
use proof::Proofs;
use push::Relay;
use recents::Recents;
use rival::Rival;
use stale::Stale;
use timers::{Timer, Timers};

pub use agreement::{Agreement, Shown};
pub use broadcast::Broadcast;
pub use transmit::Transmit;
pub use view::{Member, Standing, Status, Vote};

/// One node of a cluster, as a state machine without I/O.
///
/// Its methods are of four kinds:
/// - **inputs**, `handle_*`: a datagram came, the application wants something, time has passed;
/// - **outputs**, `poll_*`: datagrams to send, events, the next deadline. After each input, drain
///   transmits and events, then read the deadline;
/// - **views**: what the node holds of itself and of others, read-only;
/// - [`Node::new`].
///
/// No method blocks, reads a clock or panics on any input. Time never runs backwards: an earlier
/// `now` counts as the latest one seen. The same seed and the same inputs give the same outputs.
// What is large and rarely touched is boxed: a heartbeat should find the rest in a few cache lines,
// for a process may run thousands of nodes.
#[derive(Debug)]
pub struct Node {
    config: Box<Config>,
    own: NodeId,
    /// The generation of the own log, and the address that it names.
    generation: Generation,
    address: SocketAddr,
    /// The generation in which this process started, whatever it was raised to since.
    born: Generation,
    /// What peers remember of this name that this node has not written.
    rival: Option<Rival>,
    /// Whether another life begins once the input is done with.
    outlives: bool,
    /// Until when this node may have missed deaths, if that is not long ago: it has begun another life, or
    /// slept for longer than others keep members that are down.
    woken: Option<Instant>,
    standing: Standing,
    /// How often departure has been announced.
    farewells: u8,
    now: Instant,
    clock: Clock,
    rng: ChaCha8Rng,
    framing: Framing,
    /// Where what was encrypted is opened.
    #[cfg(feature = "encryption")]
    opened: Vec<u8>,
    /// Whether [`Event::EncryptionMismatch`] was told since the keys changed.
    #[cfg(feature = "encryption")]
    mismatch_told: bool,
    // State plane.
    table: Table,
    staging: Staging,
    /// How many bytes the datagram at hand may still make this node hold beyond those that it has. A
    /// member that is gone already takes 22 bytes in it, and five times as many in the table.
    room: usize,
    recents: Recents,
    relay: Relay,
    /// How much of the own log has been pushed.
    pushed: u64,
    /// When an exchange last found another table than the own one.
    differed: Option<Instant>,
    /// When a node that is far behind may meet another peer.
    caught_up: Instant,
    broadcasts: Broadcasts,
    shared: Box<Shared>,
    /// Where to look for members that were removed while they were down.
    lost: Lost,
    /// Where the next round goes on tending records.
    tended: usize,
    /// See [`ghosts`].
    horizon: u64,
    // Liveness plane.
    detector: Box<Detector>,
    neighbours: Vec<Neighbour>,
    /// Who was a neighbour a moment ago, and until when it still gets heartbeats.
    former: Vec<(Neighbour, Instant)>,
    /// Sorted by id.
    observations: Vec<Observation>,
    beats: u64,
    loss: Loss,
    votes: Votes,
    probes: Probes,
    /// The votes that this node publishes.
    ballots: SmallVec<[Ballot; 8]>,
    /// Members that are down and of which there is news that may revive them.
    reconsider: SmallVec<[NodeId; 8]>,
    isolated: bool,
    /// Verdicts are not drawn again before this.
    judges_next: Instant,
    /// Whose clock was reported last, and when.
    skew_told: Option<(NodeId, Instant)>,
    stale: Stale,
    watches: Watches,
    // Outputs.
    timers: Timers,
    proofs: Box<Proofs>,
    outbox: Outbox,
    events: Events,
    metrics: Metrics,
}

impl Node {
    /// A node that begins to join at once: the first messages to the seeds are ready to be polled.
    ///
    /// `seed` must differ from node to node and from start to start, as the operating system's
    /// random numbers do. `wall` decides the generation and the stamps of what this node writes.
    ///
    /// # Errors
    /// [`ConfigError`] names the first field that cannot work.
    pub fn new(
        config: Config,
        identity: Identity,
        seed: [u8; 32],
        now: Instant,
        wall: UnixTime,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let mut rng = ChaCha8Rng::from_seed(seed);
        // A stream of its own, so that what is secret has nothing to do with what is drawn.
        let mut secrets = ChaCha8Rng::from_seed(seed);
        secrets.set_stream(1);
        let secret = SipHasher13::new_with_keys(secrets.next_u64(), secrets.next_u64());
        let mut clock = Clock::new(now, wall, config.max_clock_skew);
        let own = identity.id();
        let generation = Generation::new(clock.tick(now));
        let mut log = Log::new(generation);
        log.write(0, ADDRESS, Some(&encode_address(identity.address())));
        log.write(0, NAME, Some(identity.name().as_str().as_bytes()));
        if let Some(datacenter) = &config.datacenter {
            log.write(0, DATACENTER, Some(datacenter.as_str().as_bytes()));
        }
        log.write(0, STATUS, Some(Declared::Joining.encode()));
        let index_key = SipHasher13::new_with_keys(rng.next_u64(), rng.next_u64());
        let bridges = usize::from(config.bridges);
        let mut table = Table::new(HashKey::of(&config.cluster), index_key, bridges);
        table.ensure(own, now);
        table.change_log(own, |held| *held = log);
        let detector = Detector::new(
            config.phi_model,
            config.window,
            config.phi_suspect,
            config.phi_convict,
            config.interval,
            config.min_deviation,
            config.acceptable_pause,
        );
        let mut node = Self {
            own,
            generation,
            address: identity.address(),
            born: generation,
            rival: None,
            outlives: false,
            woken: None,
            standing: Standing::Joining,
            farewells: 0,
            now,
            clock,
            rng,
            framing: Framing {
                tag: ClusterTag::of(&config.cluster),
                #[cfg(feature = "encryption")]
                keyring: Keyring::new(&config.keys, config.encryption, seed),
            },
            #[cfg(feature = "encryption")]
            opened: Vec::new(),
            #[cfg(feature = "encryption")]
            mismatch_told: false,
            table,
            staging: Staging::default(),
            room: 0,
            recents: Recents::default(),
            relay: Relay::default(),
            pushed: 0,
            differed: None,
            caught_up: now,
            broadcasts: Broadcasts::default(),
            shared: Box::new(Shared::new(own, generation, &config)),
            lost: Lost::default(),
            tended: 0,
            horizon: 0,
            detector: Box::new(detector),
            neighbours: Vec::new(),
            former: Vec::new(),
            observations: Vec::new(),
            beats: 0,
            loss: Loss::default(),
            votes: Votes::default(),
            probes: Probes::default(),
            ballots: SmallVec::new(),
            reconsider: SmallVec::new(),
            isolated: false,
            judges_next: Instant::ORIGIN,
            skew_told: None,
            stale: Stale::default(),
            watches: Watches::default(),
            timers: Timers::default(),
            proofs: Box::new(Proofs::new(secret, usize::from(config.outbox))),
            outbox: Outbox::new(usize::from(config.outbox)),
            events: Events::new(usize::from(config.event_queue)),
            metrics: Metrics::default(),
            config: Box::new(config),
        };
        let phase = duration_below(&mut node.rng, node.config.interval);
        node.timers
            .set(Timer::Heartbeat, Some(now.saturating_add(phase)));
        node.begin_joining(now);
        Ok(node)
    }

    /// A datagram has come in.
    ///
    /// Never an error: what cannot be used is dropped and counted in
    /// [`Metrics::dropped`]. An IPv4 address as a socket of both families tells it, mapped into IPv6, is
    /// taken for what it is. O(length), and O(members) at worst where tables differ.
    pub fn handle_datagram(&mut self, now: Instant, mut from: SocketAddr, datagram: &[u8]) {
        let now = self.advance(now);
        if from.ip().to_canonical().is_ipv4() {
            from.set_ip(from.ip().to_canonical());
        }
        let metrics = &mut self.metrics;
        count(&mut metrics.datagrams_in);
        metrics.bytes_in = metrics.bytes_in.saturating_add(length(datagram));
        if self.standing == Standing::Left {
            return;
        }
        let max = self.max_datagram();
        #[cfg(not(feature = "encryption"))]
        match self.framing.open(max, datagram) {
            Ok(opened) => self.on_frame(now, from, opened),
            Err(refused) => self.on_refused(from, refused),
        }
        #[cfg(feature = "encryption")]
        {
            let mut room = core::mem::take(&mut self.opened);
            match self.framing.open(max, datagram, &mut room) {
                Ok(opened) => self.on_frame(now, from, opened),
                Err(refused) => self.on_refused(from, refused),
            }
            self.opened = room;
        }
    }

    /// A datagram is no frame of this cluster.
    #[cfg_attr(
        not(feature = "encryption"),
        expect(unused_variables, reason = "only encryption tells who it was")
    )]
    fn on_refused(&mut self, from: SocketAddr, refused: Refused) {
        #[cfg(feature = "encryption")]
        if matches!(refused, Refused::Key | Refused::Plaintext) {
            self.tell_mismatch(from);
        }
        let dropped = &mut self.metrics.dropped;
        count(match refused {
            Refused::Length => &mut dropped.length,
            Refused::Version => &mut dropped.version,
            Refused::Flags => &mut dropped.flags,
            Refused::Cluster => &mut dropped.cluster,
            Refused::Checksum => &mut dropped.checksum,
            #[cfg(feature = "encryption")]
            Refused::Key => &mut dropped.key,
            #[cfg(feature = "encryption")]
            Refused::Plaintext => &mut dropped.plaintext,
        });
    }

    /// A datagram of this cluster.
    fn on_frame(&mut self, now: Instant, from: SocketAddr, opened: Opened<'_>) {
        self.room = room(opened.body.len());
        let dropped = &mut self.metrics.dropped;
        let Datagram {
            sender,
            message,
            items,
            skipped,
        } = match Datagram::decode(opened.body) {
            Ok(datagram) => datagram,
            Err(Unreadable::Unknown) => return count(&mut dropped.unknown),
            Err(Unreadable::Malformed) => return count(&mut dropped.malformed),
        };
        #[cfg(feature = "encryption")]
        if opened.sequence.is_some_and(|n| !self.is_new(sender, n)) {
            return count(&mut self.metrics.dropped.replayed);
        }
        let Metrics {
            dropped,
            items_skipped,
            ..
        } = &mut self.metrics;
        *items_skipped = items_skipped.saturating_add(skipped);
        if sender.id == self.own {
            if sender.generation == self.generation || from == self.address {
                // This node's own, looped or late.
                return count(&mut dropped.own);
            }
            match message {
                Message::Claim { born } => self.on_claim(now, from, born),
                // Of what is longer than the answer; whoever lives says such things.
                Message::Exchange(_) | Message::Push(_) => {
                    count(&mut dropped.own);
                    self.claim(now, from);
                }
                _ => count(&mut dropped.own),
            }
            return self.settle(now);
        }
        self.on_life(now, sender);
        match message {
            Message::Heartbeat { counter } => self.on_heartbeat(now, sender, counter),
            Message::Ping { token } => self.on_ping(from, token),
            Message::Pong { token } => self.on_echo(now, from, token),
            Message::Claim { .. } => {}
            Message::Exchange(head) if self.demands_proof(now, from, sender, head, items) => {}
            Message::Exchange(head) => {
                if head.leg == exchange::FIRST_LEG {
                    self.on_map_summary(from, sender, head.mode, items);
                }
                self.on_exchange(now, from, sender, head, items);
            }
            Message::Push(head) => {
                self.on_push(now, from, head, items);
                self.on_map_push(now, from, sender, head, items);
            }
            Message::MapPull => self.on_map_pull(from, sender, items),
            Message::MapChunk => self.on_map_chunk(now, from, sender, items),
        }
        self.settle(now);
    }

    /// The application wants something.
    ///
    /// # Errors
    /// [`CommandError`]; nothing has changed then.
    pub fn handle_command(&mut self, now: Instant, command: Command) -> Result<(), CommandError> {
        let now = self.advance(now);
        let result = self.on_command(now, command);
        self.settle(now);
        result
    }

    /// Time has passed. Does what is due; harmless when early, late or needless. Afterwards
    /// [`Node::poll_timeout`] lies after `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        for timer in Timer::ALL {
            if !self.timers.take_due(timer, now) {
                continue;
            }
            match timer {
                Timer::Round => self.on_round(now),
                Timer::Heartbeat => self.on_heartbeat_due(now),
                Timer::Observation => self.on_observations_due(now),
                Timer::Vote => self.stale.verdicts = true,
                Timer::Probe => self.on_probe_due(now),
                Timer::Flush => self.flush(now),
                Timer::Announce => self.announce(now),
                Timer::Rival => self.on_rival_due(now),
                Timer::Leave => self.on_leave_due(now),
                Timer::CatchUp => self.on_catch_up_due(now),
                Timer::Gap => self.on_gap_due(now),
            }
        }
        self.settle(now);
    }

    /// The next event, or `None` until the next input.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Whether an event waits to be polled.
    #[must_use]
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// When to call [`Node::handle_timeout`] next. `None` once the node has left.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Moves time on, never back; notices that this process stood still.
    ///
    /// A deadline missed by a whole interval means that the machine slept or was overloaded: that
    /// time was not the neighbours' silence.
    fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        let now = self.now;
        let gap = self
            .timers
            .next()
            .map_or(Duration::ZERO, |due| now.saturating_since(due));
        if gap > self.config.interval {
            count(&mut self.metrics.pauses);
            // The timer that was missed is due now; it must not count as a second pause.
            self.timers.postpone(now);
            self.stale.deadlines = true;
            self.note_sleep(now, gap);
            for observation in &mut self.observations {
                observation.paused(now, gap, self.config.interval);
            }
        }
        now
    }

    /// This node has slept, or its wall clock has gone on without it.
    fn note_sleep(&mut self, now: Instant, slept: Duration) {
        if slept >= self.config.remove_after {
            self.note_absence(now);
        }
    }

    /// This node may have missed deaths. Who is heard in the next moment may have died long ago: the socket
    /// has kept what came meanwhile.
    fn note_absence(&mut self, now: Instant) {
        self.woken = Some(now.saturating_add(self.config.interval));
    }

    /// How this node introduces itself in a datagram.
    fn sender(&self) -> Sender {
        Sender {
            id: self.own,
            generation: self.generation,
        }
    }

    /// Milliseconds since this node's generation began, by the wall clock.
    fn age(&self, now: Instant) -> u64 {
        self.age_of(now, self.generation)
    }

    fn is_eager(&self) -> bool {
        self.config.dissemination == Dissemination::Eager
    }

    /// A multiple of the interval.
    fn intervals(&self, n: u32) -> Duration {
        self.config.interval.saturating_mul(n)
    }

    /// The interval, spread a little so that nodes do not fall into step.
    fn next_interval(&mut self) -> Duration {
        jitter(&mut self.rng, self.config.interval, 100)
    }
}

/// Bytes that an unknown member takes in the table, beyond its log.
const NEWCOMER: usize = 112;

/// Adds one.
fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
