//! What all machines of a node share: the settings, the time, random numbers, the member table, and
//! the list of what is to be done.
//!
//! A machine owns its state and sees no other machine. It takes facts and a `&mut Context`. What another
//! machine must hear of, it returns. What leaves the node (messages, events), what is due later (timers)
//! and what must be derived anew (stale facts) it notes here. The node carries that out at the end of
//! the input, in the order in which it was noted.

mod outgoing;
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
use crate::identity::{Generation, NodeId};
use crate::membership::{Record, Table};
use crate::metrics::Metrics;
use crate::rng::jitter;
use crate::state::attribute::{Declared, STATUS};
use crate::time::Instant;
use crate::wire::frame::MOST_FRAME;
use crate::wire::message::{DELTA_HEAD, Sender};
pub(crate) use outgoing::{Answer, News, Outgoing, Planned};
#[cfg(feature = "map")]
pub(crate) use outgoing::{MapOutgoing, SharedRun};
use recent_changes::RecentChanges;
use skew::SkewReports;
pub(crate) use timers::{Timer, Timers};

/// The most bytes of a datagram that are not the keys and values of one entry.
pub(crate) const OVERHEAD: usize = MOST_FRAME + HEAD + DELTA_HEAD + 40;

/// The most bytes of sender and message.
pub(crate) const HEAD: usize = 16 + 40;

/// Own writes made within this time share datagrams.
const BATCH: Duration = Duration::from_millis(2);

/// Messages that the list keeps room for between two inputs: more than one round makes.
const KEPT: usize = 64;

/// The facts and tools that all machines share. See the [module](self).
// What is large and rarely touched is boxed: a heartbeat should find the rest in a few cache lines,
// because a process may run thousands of nodes.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Box<Config>,
    /// This node's id.
    pub(crate) own: NodeId,
    /// The generation of this node's log.
    pub(crate) generation: Generation,
    /// The generation in which this process started, whatever it was raised to since.
    pub(crate) incarnation_start: Generation,
    /// The address that this node's log names.
    pub(crate) address: SocketAddr,
    /// The latest time that an input has told.
    pub(crate) now: Instant,
    pub(crate) clock: Clock,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) table: Table,
    pub(crate) recent_changes: RecentChanges,
    pub(crate) timers: Timers,
    pub(crate) stale: Stale,
    pub(crate) metrics: Metrics,
    skew: SkewReports,
    messages: Vec<Outgoing>,
    events: Vec<Event>,
}

/// What must be derived anew before an input is done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stale {
    /// The own generation: peers remember a greater one.
    pub(crate) generation: bool,
    pub(crate) neighbours: bool,
    /// The time of the next step of an observation. A step that is due later than the timer needs no
    /// care: the timer then fires once for nothing.
    pub(crate) deadlines: bool,
    pub(crate) verdicts: bool,
    /// The votes that this node publishes.
    pub(crate) own_votes: bool,
}

impl Stale {
    /// Marks all that follows from who lives.
    pub(crate) const fn all_of_liveness(&mut self) {
        self.neighbours = true;
        self.deadlines = true;
        self.verdicts = true;
        self.own_votes = true;
    }
}

/// What a [`Context`] is made of.
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
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            config: Box::new(parts.config),
            own: parts.own,
            generation: parts.generation,
            incarnation_start: parts.generation,
            address: parts.address,
            now: parts.now,
            clock: parts.clock,
            rng: parts.rng,
            table: parts.table,
            recent_changes: RecentChanges::default(),
            timers: Timers::default(),
            stale: Stale::default(),
            metrics: Metrics::default(),
            skew: SkewReports::default(),
            messages: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Notes a message to be sent.
    pub(crate) fn send(&mut self, message: Outgoing) {
        self.messages.push(message);
    }

    /// Notes a ping to a member.
    pub(crate) fn ping(&mut self, to: NodeId) {
        let token = self.rng.next_u32();
        self.send(Outgoing::Ping { to, token });
    }

    /// Notes a SYN to an address, unless that is this node's own.
    pub(crate) fn begin_exchange(&mut self, to: SocketAddr) {
        if to != self.address {
            count(&mut self.metrics.exchanges);
            self.send(Outgoing::Syn { to });
        }
    }

    /// Notes a SYN to a member.
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

    /// Notes an event for the application.
    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Notes [`Event::ClockSkew`]: a stamp of this member lies too far ahead.
    pub(crate) fn tell_skew(&mut self, id: NodeId, ahead: Duration) {
        let quiet = self.intervals(60);
        if self.skew.is_due(self.now, id, quiet) {
            self.tell(Event::ClockSkew { id, ahead });
        }
    }

    /// Takes the messages that have been noted, in their order. The list keeps room, so that the next
    /// input need not allocate.
    pub(crate) fn drain_messages(&mut self) -> impl Iterator<Item = Outgoing> + '_ {
        if self.messages.is_empty() {
            self.messages.shrink_to(KEPT);
        }
        self.messages.drain(..)
    }

    /// Takes the events that have been noted, in their order.
    pub(crate) fn drain_events(&mut self) -> impl Iterator<Item = Event> + '_ {
        if self.events.is_empty() {
            self.events.shrink_to(KEPT);
        }
        self.events.drain(..)
    }

    /// Writes one more entry into the own log. It is pushed together with others of the same moment.
    pub(crate) fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        let age = self.age();
        self.table
            .change_log(self.own, |log| log.write(age, key, value));
        self.recent_changes.note(self.own, self.now);
        self.flush_soon();
    }

    /// Writes the own status, be it new or the same again: the one more entry that refutes a vote.
    pub(crate) fn declare(&mut self, status: Declared) {
        self.write(STATUS, Some(status.encode()));
    }

    /// Has what this node wrote pushed together with what it writes in the same moment.
    pub(crate) fn flush_soon(&mut self) {
        let at = self.now.saturating_add(BATCH);
        self.timers.advance(Timer::Flush, at);
    }

    /// Generation and frontier up to which a member's log is known.
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

    /// Milliseconds since a generation began, by this node's wall clock.
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

    /// The time that lies so many intervals ahead.
    pub(crate) fn in_intervals(&self, n: u32) -> Instant {
        self.now.saturating_add(self.intervals(n))
    }

    /// The time that lies so many intervals back.
    pub(crate) fn intervals_ago(&self, n: u32) -> Instant {
        self.now.saturating_sub(self.intervals(n))
    }

    /// The first moment after now.
    pub(crate) fn at_once(&self) -> Instant {
        self.now.saturating_add(Duration::from_nanos(1))
    }

    /// When the next interval ends, spread a little so that nodes do not fall into step.
    pub(crate) fn next_interval(&mut self) -> Instant {
        let interval = jitter(&mut self.rng, self.config.interval, 100);
        self.now.saturating_add(interval)
    }

    /// The largest datagram, in bytes.
    pub(crate) fn max_datagram(&self) -> usize {
        usize::from(self.config.max_datagram)
    }

    /// The most bytes that key and value of an entry may have together: an entry has to fit a datagram.
    pub(crate) fn entry_limit(&self) -> usize {
        self.max_datagram().saturating_sub(OVERHEAD)
    }
}

/// Adds one.
pub(crate) fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

/// Adds so many.
pub(crate) fn add(counter: &mut u64, n: usize) {
    let n = u64::try_from(n).unwrap_or(u64::MAX);
    *counter = counter.saturating_add(n);
}
