//! The one public machine: [`Node`].
//!
//! A node is a few machines that own their state, and a router. The router decodes what arrives, and hands
//! it to the machines in a fixed order. A machine returns what the others must hear of, and notes in the
//! [context](crate::context) what is to be sent, told, or done later. At the end of each input the node
//! [settles](settle): it derives anew what has become stale, and carries out what was noted.
//!
//! Beside the machines, [`Node`] owns their context and what stands between them and the wire: the
//! validation of addresses, frames and keys, the outbox, and the queue of events.
//!
//! | file | what it does |
//! |---|---|
//! | here | inputs: datagrams and time |
//! | [`commands`] | inputs: commands of the application |
//! | [`exchange`] | hands the items of legs and pushes to the machines; tells them what a delta has changed |
//! | [`clock`] | the wall clock, and what a wrong one has done |
//! | [`upkeep`] | the periodic round |
//! | [`settle`] | what follows from an input |
//! | [`encode`] | outputs: writes messages as datagrams |
//! | [`address_validation`] | which senders must prove their address |
//! | `keys` | keys, datagrams that no key opens, replays (feature `encryption`) |
//! | [`outbox`], [`events`] | outputs: the bounded queues |
//! | [`view`] | what the application may look at |
//!
//! # Invariants
//!
//! - After each input nothing is left of the notes in the context but deadlines, and verdicts that wait.
//! - After [`Node::handle_timeout`] the next deadline lies ahead.
//! - After it has left, a node neither sends nor tells anything new.

mod address_validation;
mod clock;
mod commands;
mod encode;
mod events;
mod exchange;
#[cfg(feature = "encryption")]
mod keys;
mod outbox;
mod settle;
#[cfg(test)]
mod tests;
mod upkeep;
mod view;

use alloc::boxed::Box;
use core::net::SocketAddr;
use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use siphasher::sip::SipHasher13;

use crate::config::{Config, ConfigError, SettingsDigest};
use crate::context::{Context, Outgoing, Parts, Timer, add, count};
use crate::dissemination::Push;
use crate::event::Event;
use crate::failure::{Failure, Sign};
use crate::hlc::Clock;
use crate::identity::{Generation, Identity};
use crate::local::{Claim, Farewell, Local};
use crate::membership::Table;
use crate::membership::removal::Removal;
use crate::rng::duration_below;
#[cfg(feature = "map")]
use crate::shared_map::SharedMap;
use crate::state::attribute::{
    ADDRESS, BRIDGE, DATACENTER, Declared, NAME, SETTINGS, STATUS, encode_address, encode_settings,
};
use crate::state::log::Log;
use crate::state::room::Room;
use crate::state::table_hash::HashKey;
use crate::sync::Sync;
use crate::sync::leg::{FIRST_LEG, LAST_LEG};
use crate::time::{Instant, UnixTime};
use crate::wire::datagram::{Datagram, DecodeError};
#[cfg(feature = "encryption")]
use crate::wire::encryption::Keyring;
use crate::wire::frame::{ClusterTag, Refused};
use crate::wire::framing::{Framing, Opened};
use crate::wire::message::Message;
use address_validation::AddressValidation;
use events::Events;
#[cfg(feature = "encryption")]
use keys::Keys;
use outbox::Outbox;

pub use crate::dissemination::broadcast::Broadcast;
pub use crate::local::Standing;
pub use crate::local::agreement::{Agreement, Shown};
pub use encode::Transmit;
pub use view::{Member, Status, Vote};

/// One node of a cluster, as a state machine without I/O.
///
/// Its methods are of four kinds:
/// - **inputs**, `handle_*`: a datagram came, the application wants something, time has passed;
/// - **outputs**, `poll_*`: datagrams to send, events, the next deadline. After each input, drain
///   transmits and events, then read the deadline;
/// - **views**: what the node knows of itself and of others, read-only;
/// - [`Node::new`].
///
/// No method blocks, reads a clock or panics on any input. Time never runs backwards: an earlier
/// `now` counts as the latest one seen. The same seed and the same inputs give the same outputs.
#[derive(Debug)]
pub struct Node {
    context: Context,
    failure: Failure,
    sync: Sync,
    push: Push,
    removal: Removal,
    local: Local,
    #[cfg(feature = "map")]
    shared_map: Box<SharedMap>,
    addresses: Box<AddressValidation>,
    framing: Framing,
    #[cfg(feature = "encryption")]
    keys: Keys,
    outbox: Outbox,
    events: Events,
}

impl Node {
    /// A node that begins to join at once: its first messages to the seeds are ready to be polled.
    ///
    /// `seed` must differ from node to node and from start to start. Take it from the random numbers of
    /// the operating system. The generation and the stamps of this node follow from `wall`.
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
        // Secrets come from a stream of their own, so that no random number tells of them.
        let mut secrets = ChaCha8Rng::from_seed(seed);
        secrets.set_stream(1);
        let secret = SipHasher13::new_with_keys(secrets.next_u64(), secrets.next_u64());
        let mut clock = Clock::new(now, wall, config.max_clock_skew);
        let own = identity.id();
        let [a, b, ..] = rng.next_u32().to_le_bytes();
        let generation = Generation::new(clock.start(now, u16::from_le_bytes([a, b])));
        let mut table = empty_table(&config, &mut rng);
        table.ensure(own, now);
        let log = first_log(&config, &identity, generation);
        table.change_log(own, |held| *held = log);
        let mut node = Self {
            failure: Failure::new(&config),
            sync: Sync::new(),
            push: Push::default(),
            removal: Removal::default(),
            local: Local::new(),
            #[cfg(feature = "map")]
            shared_map: Box::new(SharedMap::new(own, generation, &config)),
            addresses: Box::new(AddressValidation::new(secret, usize::from(config.outbox))),
            framing: Framing {
                tag: ClusterTag::of(&config.cluster),
                #[cfg(feature = "encryption")]
                keyring: Keyring::new(&config.keys, config.encryption, seed),
            },
            #[cfg(feature = "encryption")]
            keys: Keys::default(),
            outbox: Outbox::new(usize::from(config.outbox)),
            events: Events::new(usize::from(config.event_queue)),
            context: Context::new(Parts {
                config,
                own,
                generation,
                address: identity.address(),
                now,
                clock,
                rng,
                table,
            }),
        };
        let context = &mut node.context;
        let phase = duration_below(&mut context.rng, context.config.interval);
        let first = now.saturating_add(phase);
        context.timers.set(Timer::Heartbeat, Some(first));
        node.local.begin_joining(context);
        node.on_round();
        node.settle();
        node.carry_out();
        Ok(node)
    }

    /// Takes a datagram that has come in.
    ///
    /// This never fails. A datagram of no use is dropped and counted in
    /// [`Metrics::dropped`](crate::Metrics::dropped). An IPv4 address mapped into IPv6, as a socket of both
    /// families reports it, counts as the IPv4 address. O(length), and O(members) at worst where tables
    /// differ.
    pub fn handle_datagram(&mut self, now: Instant, mut from: SocketAddr, datagram: &[u8]) {
        self.advance(now);
        if from.ip().to_canonical().is_ipv4() {
            from.set_ip(from.ip().to_canonical());
        }
        let metrics = &mut self.context.metrics;
        count(&mut metrics.datagrams_in);
        add(&mut metrics.bytes_in, datagram.len());
        if self.local.has_left() {
            return;
        }
        let max = self.max_datagram();
        #[cfg(not(feature = "encryption"))]
        match self.framing.open(max, datagram) {
            Ok(opened) => self.on_frame(from, opened),
            Err(refused) => self.on_refused(from, refused),
        }
        #[cfg(feature = "encryption")]
        {
            let mut room = core::mem::take(&mut self.keys.plaintext);
            match self.framing.open(max, datagram, &mut room) {
                Ok(opened) => self.on_frame(from, opened),
                Err(refused) => self.on_refused(from, refused),
            }
            self.keys.plaintext = room;
        }
        self.carry_out();
    }

    /// A datagram is no frame of this cluster, or no key opens it.
    #[cfg_attr(
        not(feature = "encryption"),
        expect(unused_variables, reason = "only a mismatch of keys names the address")
    )]
    fn on_refused(&mut self, from: SocketAddr, refused: Refused) {
        #[cfg(feature = "encryption")]
        if matches!(refused, Refused::Key | Refused::Plaintext) {
            self.tell_mismatch(from);
        }
        let dropped = &mut self.context.metrics.dropped;
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

    /// A frame of this cluster has been opened.
    fn on_frame(&mut self, from: SocketAddr, opened: Opened<'_>) {
        let metrics = &mut self.context.metrics;
        let datagram = match Datagram::decode(opened.body) {
            Ok(datagram) => datagram,
            Err(DecodeError::Unknown) => return count(&mut metrics.dropped.unknown),
            Err(DecodeError::Malformed) => return count(&mut metrics.dropped.malformed),
        };
        let sender = datagram.sender;
        #[cfg(feature = "encryption")]
        if opened
            .sequence
            .is_some_and(|n| !self.note_arrival(sender, n))
        {
            return count(&mut self.context.metrics.dropped.replayed);
        }
        let metrics = &mut self.context.metrics;
        metrics.items_skipped = metrics.items_skipped.saturating_add(datagram.found.skipped);
        if sender.id == self.context.own {
            return self.on_own_id(from, datagram);
        }
        self.on_message(from, datagram, Room::of(opened.body.len()));
        self.settle();
    }

    /// Another node says something. The datagram may make this node hold as much more as `room` allows.
    fn on_message(&mut self, from: SocketAddr, datagram: Datagram<'_>, mut room: Room) {
        let sender = datagram.sender;
        let context = &mut self.context;
        self.local.on_answer();
        self.failure
            .on_life(context, sender, sign_of(&datagram.message));
        self.sync.on_life(context, sender);
        match datagram.message {
            Message::Heartbeat { counter } => self.failure.on_heartbeat(context, sender, counter),
            Message::Ping { token } => self.on_ping(from, token),
            // A pong is also a sign of life, which is noted above.
            Message::Pong { token } => {
                context.paths.on_pong(from, token);
                self.addresses.on_echo(context.now, from, token);
            }
            Message::Probe { token } => context.send(Outgoing::Pong { to: from, token }),
            // A claim to a name matters only to the node of that name, so only under its own id.
            Message::Claim { .. } => {}
            Message::Exchange(head) => self.on_exchange(from, &datagram, head, &mut room),
            Message::Push(head) => self.on_push(from, &datagram, head, &mut room),
            #[cfg(feature = "map")]
            Message::MapPull => {
                let peer = self.map_peer(from, sender);
                self.shared_map
                    .on_pull(&mut self.context, peer, datagram.items);
            }
            #[cfg(feature = "map")]
            Message::MapChunk => {
                let peer = self.map_peer(from, sender);
                self.shared_map
                    .on_chunk(&mut self.context, peer, datagram.items);
            }
            #[cfg(feature = "map")]
            Message::MapWant => {
                let peer = self.map_peer(from, sender);
                self.shared_map
                    .on_want(&mut self.context, peer, datagram.items);
            }
            #[cfg(feature = "map")]
            Message::MapRuns => {
                let peer = self.map_peer(from, sender);
                let (votes, items) = (self.failure.votes(), datagram.items);
                self.shared_map
                    .on_runs(&mut self.context, votes, peer, items, &mut room);
            }
            #[cfg(not(feature = "map"))]
            Message::MapPull | Message::MapChunk | Message::MapWant | Message::MapRuns => {}
        }
    }

    /// A datagram bears this node's own id: it is this node's own, or comes from another node of its name.
    fn on_own_id(&mut self, from: SocketAddr, datagram: Datagram<'_>) {
        let context = &mut self.context;
        if datagram.sender.generation == context.generation || from == context.address {
            // It is this node's own: it has come back, or is late.
            return count(&mut context.metrics.dropped.own);
        }
        match datagram.message {
            Message::Claim { since } => {
                if self.local.on_claim(context, from, since) == Claim::Unproven {
                    let token = self.addresses.challenge(context.now, from);
                    context.send(Outgoing::Challenge { to: from, token });
                }
            }
            Message::Ping { token } => context.send(Outgoing::Pong { to: from, token }),
            Message::Pong { token } => {
                if self.addresses.is_own_token(context.now, from, token) {
                    self.local.on_rival_proved(context, from);
                }
            }
            // Only messages longer than the answer are answered, so that nobody can be made to amplify.
            // A live node sends such messages.
            Message::Exchange(_) | Message::Push(_) => {
                count(&mut context.metrics.dropped.own);
                self.local.claim(context, from);
            }
            Message::Heartbeat { .. }
            | Message::Probe { .. }
            | Message::MapPull
            | Message::MapChunk
            | Message::MapWant
            | Message::MapRuns => count(&mut context.metrics.dropped.own),
        }
        self.settle();
    }

    /// A node asks whether this node lives, or wants it to prove its address.
    fn on_ping(&mut self, to: SocketAddr, token: u32) {
        let message = if self.addresses.use_repeat(to) {
            Outgoing::Introduction { to, token }
        } else {
            Outgoing::Pong { to, token }
        };
        self.context.send(message);
    }

    /// Does everything that is due. A call that comes early, late or without need does no harm.
    /// Afterwards [`Node::poll_timeout`] lies after `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        for timer in Timer::ALL {
            let now = self.context.now;
            if self.context.timers.take_due(timer, now) {
                self.on_timer(timer);
            }
        }
        self.settle();
        self.carry_out();
        let now = self.context.now;
        debug_assert!(
            self.poll_timeout()
                .is_none_or(|due| due > now || now == Instant::from_nanos(u64::MAX))
        );
    }

    /// A deadline has been reached.
    fn on_timer(&mut self, timer: Timer) {
        let context = &mut self.context;
        match timer {
            Timer::Round => self.on_round(),
            Timer::Heartbeat => self.failure.on_heartbeat_due(context),
            Timer::Observation => self.failure.on_observations_due(context),
            Timer::Vote => context.stale.verdicts = true,
            Timer::Withdrawal => context.stale.own_votes = true,
            Timer::Probe => self.failure.on_probe_due(context),
            Timer::Flush => self.flush(),
            Timer::Announce => self.local.on_announce_due(context),
            Timer::NameConflict => self.local.on_name_conflict_due(context),
            Timer::Leave => self.on_leave_due(),
            Timer::CatchUp => self.sync.on_catch_up_due(context),
            Timer::Missing => self.push.on_missing_due(context),
            Timer::Relocation => self.sync.on_relocation_due(context),
            #[cfg(feature = "map")]
            Timer::TellRuns => self.shared_map.on_tell_runs_due(context),
            #[cfg(feature = "map")]
            Timer::Gap => self.shared_map.on_gap_due(context),
            #[cfg(feature = "map")]
            Timer::Repair => self.shared_map.on_repair_due(context),
            #[cfg(not(feature = "map"))]
            Timer::Gap | Timer::TellRuns | Timer::Repair => {}
        }
    }

    /// Pushes what this node has written since the last time, and passes on what waits.
    fn flush(&mut self) {
        let votes = self.failure.votes();
        self.push.flush(&mut self.context, votes);
        // This comes last: it sets the timer again if much is left.
        #[cfg(feature = "map")]
        self.shared_map.flush(&mut self.context, votes);
    }

    /// The next step of leaving is due.
    fn on_leave_due(&mut self) {
        if self.local.on_leave_due(&mut self.context) == Farewell::Silent {
            return;
        }
        let votes = self.failure.votes();
        self.push.push_latest(&mut self.context, votes);
        self.on_round();
    }

    /// Takes the next event. `None` means that there is none until the next input.
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
        self.context.timers.next()
    }

    /// Moves time on, and never back. Notices that this process stood still.
    ///
    /// If a deadline was missed by a whole interval, the machine slept or was overloaded. Then that time
    /// was not the neighbours' silence.
    fn advance(&mut self, now: Instant) {
        let context = &mut self.context;
        context.now = context.now.max(now);
        let next = context.timers.next();
        let gap = next.map_or(Duration::ZERO, |due| context.now.saturating_since(due));
        if gap > context.config.interval {
            count(&mut context.metrics.pauses);
            // Timers that were missed are due now. They must not count as a second pause.
            context.timers.postpone(context.now);
            self.failure.on_pause(context, gap);
        }
    }
}

/// What a message says of whether its sender hears this node.
const fn sign_of(message: &Message) -> Sign {
    match message {
        // A heartbeat says that its sender holds this node live. The others are answers.
        Message::Heartbeat { .. } | Message::Pong { .. } | Message::MapChunk | Message::MapRuns => {
            Sign::Hearing
        }
        // The last leg but one also asks for what a push has lacked, and then answers nothing.
        Message::Exchange(head)
            if head.leg > FIRST_LEG && head.leg.saturating_add(1) != LAST_LEG =>
        {
            Sign::Hearing
        }
        Message::Ping { token } if *token & 1 == 1 => Sign::PingInTurn,
        Message::Ping { .. }
        | Message::Probe { .. }
        | Message::Exchange(_)
        | Message::Push(_)
        | Message::Claim { .. }
        | Message::MapPull
        | Message::MapWant => Sign::Sending,
    }
}

/// A table without members. Its index has a key of its own, so that nobody can pick ids that collide.
fn empty_table(config: &Config, rng: &mut ChaCha8Rng) -> Table {
    let index_key = SipHasher13::new_with_keys(rng.next_u64(), rng.next_u64());
    let bridges = usize::from(config.bridges);
    Table::new(HashKey::of(&config.cluster), index_key, bridges)
}

/// The log with which a node starts.
fn first_log(config: &Config, identity: &Identity, generation: Generation) -> Log {
    let mut log = Log::new(generation);
    log.write(0, ADDRESS, Some(&encode_address(identity.address())));
    log.write(0, NAME, Some(identity.name().as_str().as_bytes()));
    if let Some(datacenter) = &config.datacenter {
        log.write(0, DATACENTER, Some(datacenter.as_str().as_bytes()));
    }
    let digest = SettingsDigest::of(config);
    if digest != SettingsDigest::default() {
        let settings = encode_settings(config.neighbours, digest);
        log.write(0, SETTINGS, Some(&settings));
    }
    if config.bridge {
        log.write(0, BRIDGE, Some(&[1]));
    }
    log.write(0, STATUS, Some(Declared::Joining.encode()));
    log
}
