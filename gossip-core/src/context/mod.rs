//! What all machines of a node share, and the notes of what is to be done.
//!
//! A machine owns its state and sees no other machine. It takes facts and a `&mut Context`, which holds
//!
//! - **facts**: the settings, this node's identity, the time, the member table, the recent changes;
//! - **tools**: the clock, random numbers, the counters;
//! - **notes**: messages to send, events to tell, deadlines, and facts that have become stale.
//!
//! A machine returns what another machine must hear of. Everything else that follows from an input it
//! notes here, and the node carries that out at the end of the input, in the order of the notes.
//!
//! # Invariants
//!
//! - The time never runs backwards.
//! - This node is in its own table, and its log there is of its own generation.
//! - Between two inputs no message and no event is noted, and at most the verdicts are stale.

mod outgoing;
pub(crate) mod paths;
mod peer_clocks;
pub(crate) mod recent_changes;
mod skew;
#[cfg(test)]
pub(crate) mod testing;
mod timers;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use crate::config::{Config, Dissemination};
use crate::event::Event;
use crate::hlc::Clock;
use crate::identity::{Generation, Name, NodeId};
use crate::membership::{Record, Table};
use crate::metrics::Metrics;
use crate::rng::jitter;
use crate::state::log::Log;
use crate::time::{Instant, UnixTime};
use crate::wire::frame::MOST_FRAME;
use crate::wire::message::{DELTA_HEAD, Sender};
pub(crate) use outgoing::{Answer, News, Outgoing, Planned, Receiver};
#[cfg(feature = "map")]
pub(crate) use outgoing::{MapOutgoing, SharedRun};
pub(crate) use paths::Lengths;
use paths::{Found, Paths};
use peer_clocks::{OwnClock, PeerClocks};
use recent_changes::RecentChanges;
use skew::SkewReports;
pub(crate) use timers::{Timer, Timers};

/// The most bytes of a datagram that are not the key and the value of its only entry.
const OVERHEAD: usize = MOST_FRAME + HEAD + DELTA_HEAD + 40;

/// The most bytes of sender and message.
pub(crate) const HEAD: usize = 16 + 40;

/// Own writes made within this time share datagrams.
const BATCH: Duration = Duration::from_millis(2);

/// Messages that the list keeps room for between two inputs: more than a round or a heartbeat makes.
const KEPT_MESSAGES: usize = 24;

/// Events that the list keeps room for between two inputs. At rest there are none.
const KEPT_EVENTS: usize = 4;

/// The facts, tools and notes that all machines share. See the [module](self).
// A process may run thousands of nodes, and a heartbeat should find what it needs in a few cache lines.
// So whatever is large and rarely touched is boxed.
#[derive(Debug)]
pub(crate) struct Context {
    /// The settings, which are valid.
    pub(crate) config: Box<Config>,
    /// This node's id.
    pub(crate) own: NodeId,
    /// The generation of this node's log.
    pub(crate) generation: Generation,
    /// The generation in which this process started. It stays when the generation is raised.
    pub(crate) incarnation_start: Generation,
    /// The address that this node's log names.
    pub(crate) address: SocketAddr,
    /// The latest time that an input has told.
    pub(crate) now: Instant,
    /// The wall clock, and the stamps that follow it.
    pub(crate) clock: Clock,
    /// All random numbers but the secrets.
    pub(crate) rng: ChaCha8Rng,
    /// All members, this node included, and their logs.
    pub(crate) table: Table,
    /// The members whose logs changed lately.
    pub(crate) recent_changes: RecentChanges,
    /// What is due later.
    pub(crate) timers: Timers,
    /// What must be derived anew at the end of this input.
    pub(crate) stale: Stale,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// How long datagrams may be.
    pub(crate) paths: Box<Paths>,
    /// Whose wrong clocks were reported lately.
    skew: Box<SkewReports>,
    /// What the clocks of peers show.
    peer_clocks: Box<PeerClocks>,
    /// When it was told last that a member finds no place here.
    told_full: Option<Instant>,
    /// When it was told last that this node finds no place at a member.
    told_refused: Option<Instant>,
    /// Messages to send.
    messages: Vec<Outgoing>,
    /// Events to tell.
    events: Vec<Event>,
}

/// What must be derived anew at the end of an input, because a fact that it follows from has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stale {
    /// The own generation: peers remember a greater one.
    pub(crate) generation: bool,
    /// The ring neighbours of this node.
    pub(crate) neighbours: bool,
    /// The timer of the observations. It is not stale where the next step is due later than before: then
    /// the timer fires once without need.
    pub(crate) deadlines: bool,
    /// Who is down.
    pub(crate) verdicts: bool,
    /// The votes that this node publishes.
    pub(crate) own_votes: bool,
}

impl Stale {
    /// Marks everything that follows from which members live.
    pub(crate) const fn all_of_liveness(&mut self) {
        self.neighbours = true;
        self.deadlines = true;
        self.verdicts = true;
        self.own_votes = true;
    }
}

/// What a [`Context`] is made of, by name.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) own: NodeId,
    pub(crate) generation: Generation,
    pub(crate) address: SocketAddr,
    pub(crate) now: Instant,
    pub(crate) clock: Clock,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) table: Table,
}

impl Context {
    /// The context of a node that starts: nothing is noted, and nothing is due.
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts {
            config,
            own,
            generation,
            address,
            now,
            clock,
            rng,
            table,
        } = parts;
        debug_assert_eq!(
            table.get(own).map(|own| own.log.generation()),
            Some(generation)
        );
        Self {
            config: Box::new(config),
            own,
            generation,
            incarnation_start: generation,
            address,
            now,
            clock,
            rng,
            table,
            recent_changes: RecentChanges::default(),
            timers: Timers::default(),
            stale: Stale::default(),
            metrics: Metrics::default(),
            paths: Box::default(),
            skew: Box::default(),
            peer_clocks: Box::default(),
            told_full: None,
            told_refused: None,
            messages: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Notes a message to be sent.
    pub(crate) fn send(&mut self, message: Outgoing) {
        self.messages.push(message);
    }

    /// Notes a ping to a member. Its token is even: the member may ping in turn.
    pub(crate) fn ping(&mut self, to: NodeId) {
        let token = self.rng.next_u32() & !1;
        self.send(Outgoing::Ping { to, token });
    }

    /// Notes a ping to a member that has just sent something. Its token is odd: the member only answers. Otherwise
    /// two nodes could ping each other in turn without end.
    pub(crate) fn ping_in_turn(&mut self, to: NodeId) {
        let token = self.rng.next_u32() | 1;
        self.send(Outgoing::Ping { to, token });
    }

    /// Notes a SYN to an address, unless that is this node's own address.
    pub(crate) fn begin_exchange(&mut self, to: SocketAddr) {
        if to != self.address {
            count(&mut self.metrics.exchanges);
            self.send(Outgoing::Syn { to });
        }
    }

    /// Notes a SYN to a member, if the member has an address.
    pub(crate) fn begin_exchange_with(&mut self, id: NodeId) {
        if let Some(to) = self.table.get(id).and_then(Record::address) {
            self.begin_exchange(to);
        }
    }

    /// Notes a SYN to each seed.
    pub(crate) fn ask_all_seeds(&mut self) {
        for index in 0..self.config.seeds.len() {
            if let Some(seed) = self.config.seeds.get(index) {
                self.begin_exchange(*seed);
            }
        }
    }

    /// Notes a SYN to one of the seeds: to each in its turn. Each node begins with another one.
    pub(crate) fn ask_a_seed(&mut self, turn: usize) {
        let first = usize::try_from(self.own.prefix()).unwrap_or(0);
        let index = first.wrapping_add(turn);
        let index = index.checked_rem(self.config.seeds.len()).unwrap_or(0);
        if let Some(seed) = self.config.seeds.get(index) {
            self.begin_exchange(*seed);
        }
    }

    /// Notes an event for the application.
    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    /// A stamp of this member lies too far ahead. Counts it. Notes [`Event::ClockSkew`], unless it was told of the
    /// same member not long ago.
    pub(crate) fn refuse_skew(&mut self, id: NodeId, address: Option<SocketAddr>, ahead: Duration) {
        count(&mut self.metrics.refused_skew);
        let quiet = self.intervals(60);
        if self.skew.take_due(self.now, id, quiet) {
            let known = self.table.get(id).and_then(Record::address);
            let address = known.or(address);
            self.tell(Event::ClockSkew { id, address, ahead });
        }
    }

    /// A peer tells what its wall clock shows.
    pub(crate) fn note_peer_clock(&mut self, peer: NodeId, wall: UnixTime) {
        self.peer_clocks.note(self.now, peer, wall);
        self.review_own_clock();
    }

    /// The own clock was set, or a peer has told its own. Tells the application what that says of the own clock.
    pub(crate) fn review_own_clock(&mut self) {
        let (now, max_skew) = (self.now, self.config.max_clock_skew);
        let wall = self.clock.wall(now);
        let peers = self.peers_met();
        match self.peer_clocks.review(now, wall, peers, max_skew) {
            Some(OwnClock::Deviates(by)) => self.tell(Event::OwnClockDeviates { by }),
            Some(OwnClock::IsRight) => self.tell(Event::OwnClockAgrees),
            None => {}
        }
    }

    /// By how many milliseconds the own wall clock is ahead of those of peers.
    pub(crate) fn clock_ahead(&self) -> i64 {
        let (now, peers) = (self.now, self.peers_met());
        self.peer_clocks.ahead(now, self.clock.wall(now), peers)
    }

    /// Whether the own wall clock agrees with those of most peers.
    pub(crate) fn clock_agrees(&self) -> bool {
        let (now, max_skew) = (self.now, self.config.max_clock_skew);
        let wall = self.clock.wall(now);
        self.peer_clocks
            .agree(now, wall, self.peers_met(), max_skew)
    }

    /// How far the next stamp would be ahead, if peers would refuse it for that.
    #[cfg(feature = "map")]
    pub(crate) fn stamp_is_refused(&self) -> Option<Duration> {
        let (now, peers) = (self.now, self.peers_met());
        let next = self.clock.next(now).time();
        let ahead = self.peer_clocks.ahead(now, next, peers);
        let is_refused = peer_clocks::is_refused(ahead, self.config.max_clock_skew);
        is_refused.then(|| Duration::from_millis(ahead.unsigned_abs()))
    }

    /// How many live members this node meets in its rounds: those of its own datacenter, and the bridges of others if it
    /// is a bridge itself.
    fn peers_met(&self) -> usize {
        let datacenters = self.table.datacenters();
        let bridges = datacenters.bridges().live();
        let home = self.table.home(self.own).live().len().saturating_sub(1);
        let abroad = if bridges.binary_search(&self.own).is_ok() {
            let own = datacenters.bridges_of(self.table.place(self.own));
            bridges.len().saturating_sub(own.len())
        } else {
            0
        };
        home.saturating_add(abroad)
    }

    /// There is no place for a member that lives. Notes [`Event::TableFull`], unless it was told not long ago.
    pub(crate) fn tell_full(&mut self, id: NodeId, name: Name) {
        if self.is_quiet_over(self.told_full) {
            self.told_full = Some(self.now);
            self.tell(Event::TableFull { id, name });
        }
    }

    /// A member has no place for this node. Notes [`Event::Refused`], unless it was told not long ago.
    pub(crate) fn tell_refused(&mut self, id: NodeId, address: SocketAddr) {
        if self.is_quiet_over(self.told_refused) {
            self.told_refused = Some(self.now);
            self.tell(Event::Refused { id, address });
        }
    }

    /// Whether what was told last at this time may be told again: once in 60 intervals.
    fn is_quiet_over(&self, told: Option<Instant>) -> bool {
        told.is_none_or(|at| self.now.saturating_since(at) >= self.intervals(60))
    }

    /// Takes the messages that have been noted, in their order.
    pub(crate) fn drain_messages(&mut self) -> impl Iterator<Item = Outgoing> + '_ {
        self.messages.drain(..)
    }

    /// Takes the events that have been noted, in their order.
    pub(crate) fn drain_events(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.events.drain(..)
    }

    /// Gives back the memory of lists that a large input has filled. What the next input mostly needs is
    /// kept, so that it need not allocate.
    pub(crate) fn release_lists(&mut self) {
        debug_assert!(self.messages.is_empty() && self.events.is_empty());
        self.messages.shrink_to(KEPT_MESSAGES);
        self.events.shrink_to(KEPT_EVENTS);
    }

    /// Writes one more entry into the own log. It is pushed together with others of the same moment.
    pub(crate) fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        let (generation, frontier) = self.known(self.own);
        debug_assert_eq!(generation, self.generation);
        let age = self.age();
        self.table
            .change_log(self.own, |log| log.write(age, key, value));
        debug_assert!(self.known(self.own) > (generation, frontier));
        self.recent_changes.note(self.own, self.now);
        self.flush_soon();
    }

    /// The log of this node.
    pub(crate) fn own_log(&self) -> Option<&Log> {
        let own = self.table.get(self.own);
        debug_assert!(own.is_some(), "a node is in its own table");
        own.map(|own| &own.log)
    }

    /// Has everything that this node writes within a moment pushed together.
    pub(crate) fn flush_soon(&mut self) {
        let at = self.now.saturating_add(BATCH);
        self.timers.advance(Timer::Flush, at);
    }

    /// The generation and the frontier up to which a member's log is known. Both are zero of an unknown
    /// member.
    pub(crate) fn known(&self, id: NodeId) -> (Generation, u64) {
        let record = self.table.get(id);
        record.map_or((Generation::ZERO, 0), |record| {
            (record.log.generation(), record.log.frontier())
        })
    }

    /// Milliseconds since the own generation began, by the wall clock.
    pub(crate) fn age(&self) -> u64 {
        self.age_of(self.generation)
    }

    /// Milliseconds since a generation began, by this node's wall clock; 0 if that runs behind.
    pub(crate) fn age_of(&self, generation: Generation) -> u64 {
        let began = generation.stamp().time().as_millis();
        self.clock.wall(self.now).as_millis().saturating_sub(began)
    }

    /// How this node introduces itself in a datagram.
    pub(crate) const fn sender(&self) -> Sender {
        Sender {
            id: self.own,
            generation: self.generation,
        }
    }

    /// Whether changes are pushed at once.
    pub(crate) fn is_eager(&self) -> bool {
        self.config.dissemination == Dissemination::Eager
    }

    /// A multiple of the interval.
    pub(crate) fn intervals(&self, n: u32) -> Duration {
        self.config.interval.saturating_mul(n)
    }

    /// The time so many intervals from now.
    pub(crate) fn in_intervals(&self, n: u32) -> Instant {
        self.now.saturating_add(self.intervals(n))
    }

    /// The time so many intervals ago.
    pub(crate) fn intervals_ago(&self, n: u32) -> Instant {
        self.now.saturating_sub(self.intervals(n))
    }

    /// The first moment after now.
    pub(crate) fn at_once(&self) -> Instant {
        self.now.saturating_add(Duration::from_nanos(1))
    }

    /// When the next interval ends. Its length varies a little, so that nodes do not fall into step.
    pub(crate) fn next_interval(&mut self) -> Instant {
        let interval = jitter(&mut self.rng, self.config.interval, 100);
        self.now.saturating_add(interval)
    }

    /// The largest datagram, in bytes.
    pub(crate) fn max_datagram(&self) -> usize {
        usize::from(self.config.max_datagram)
    }

    /// The length up to which datagrams are filled.
    pub(crate) fn fill(&self) -> usize {
        Lengths::of(&self.config).fill
    }

    /// The length up to which datagrams to this address are filled.
    pub(crate) fn fill_to(&self, to: SocketAddr) -> usize {
        self.lengths(to).fill
    }

    /// How long datagrams to this address may be.
    pub(crate) fn lengths(&self, to: SocketAddr) -> Lengths {
        self.paths.lengths(to, Lengths::of(&self.config))
    }

    /// The most bytes that key and value of an entry may have together: an entry has to fit a datagram.
    pub(crate) fn entry_limit(&self) -> usize {
        debug_assert!(self.max_datagram() > OVERHEAD);
        self.max_datagram().saturating_sub(OVERHEAD)
    }

    /// The most bytes of entries that fit a datagram of a usual length together.
    pub(crate) fn entries_limit(&self) -> usize {
        debug_assert!(self.fill() > OVERHEAD);
        self.fill().saturating_sub(OVERHEAD)
    }

    /// An interval has passed: searches paths that may drop long datagrams. `enough` is how many pings make a silence.
    pub(crate) fn search_paths(&mut self, enough: Option<u32>) {
        let (now, interval, most) = (self.now, self.config.interval, self.max_datagram());
        let (found, probes) = self
            .paths
            .on_round(now, interval, most, enough, &mut self.rng);
        for probe in probes.into_iter().flatten() {
            self.send(Outgoing::Probe(probe));
        }
        match found {
            Some(Found {
                address,
                limit: Some(longest),
            }) => self.tell(Event::PathNarrowed { address, longest }),
            Some(Found {
                address,
                limit: None,
            }) => self.tell(Event::PathWidened { address }),
            None => {}
        }
    }
}

/// Adds one to a counter.
pub(crate) fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

/// Adds so many to a counter.
pub(crate) fn add(counter: &mut u64, n: usize) {
    let n = u64::try_from(n).unwrap_or(u64::MAX);
    *counter = counter.saturating_add(n);
}
