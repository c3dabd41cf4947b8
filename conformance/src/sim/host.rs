//! A simulated machine and the process on it.

use core::time::Duration;
use std::collections::VecDeque;

use gossip_core::{Config, Instant, Node, NodeId, UnixTime};

use super::arena::Slot;
use super::hosts::HostId;
use super::time::{Time, nanos};
use crate::invariant::Fate;
use crate::invariant::step::Limits;
use crate::num::count;

/// A machine with a name, an address, clocks, and a process that comes and goes.
#[derive(Debug)]
pub struct Host {
    id: HostId,
    name: String,
    node_id: NodeId,
    config: Config,
    pub(crate) limits: Limits,
    pub(crate) process: Process,
    /// What became of the latest process that has ended.
    pub(crate) ended: Option<Fate>,
    /// How often the process was started.
    pub(crate) lives: u32,
    /// When it was started last.
    pub(crate) started: Option<Time>,
    /// How often the machine got another address.
    pub(crate) moves: u16,
    /// Where the monotonic clock of the process stood when the world began.
    pub(crate) origin: u64,
    pub(crate) wall: WallClock,
    /// How late the process handles everything.
    pub(crate) lag: Duration,
    pub(crate) timer: Timer,
    pub(crate) traffic: Traffic,
    /// Where it stands: what it sends to elsewhere is counted.
    pub(crate) site: u32,
}

/// What runs on a host.
#[derive(Debug)]
pub(crate) enum Process {
    /// Nothing.
    Off,
    /// A node.
    Running(Box<Node>),
    /// A node that gets no time. Its socket buffer fills.
    Paused(Box<Node>, SocketBuffer),
}

/// Datagrams that wait for a paused process.
#[derive(Debug, Default)]
pub(crate) struct SocketBuffer {
    pub(crate) datagrams: VecDeque<(HostId, u16, Slot)>,
    bytes: usize,
}

/// A kernel's usual receive buffer, and what it charges for each datagram beyond its bytes.
const SOCKET_BUFFER: usize = 212_992;
const OVERHEAD: usize = 512;

impl SocketBuffer {
    /// Puts a datagram in, unless the buffer is full.
    pub(crate) fn put(&mut self, datagram: (HostId, u16, Slot), length: usize) -> bool {
        let bytes = self.bytes.saturating_add(length).saturating_add(OVERHEAD);
        if bytes > SOCKET_BUFFER {
            return false;
        }
        self.bytes = bytes;
        self.datagrams.push_back(datagram);
        true
    }
}

/// A wall clock: the true time, plus what it is ahead or behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// Milliseconds ahead of the true time.
    pub ahead_ms: i64,
}

/// When the world begins: 2025-06-15 15:06:40 UTC.
const EPOCH_MS: u64 = 1_750_000_000_000;

impl WallClock {
    /// What the clock shows.
    pub(crate) fn read(self, now: Time) -> UnixTime {
        let truth = EPOCH_MS.saturating_add(now.as_nanos() / 1_000_000);
        UnixTime::from_millis(truth.saturating_add_signed(self.ahead_ms))
    }
}

/// The one timer of a host. The queue may hold more entries for it; all but the earliest are stale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    /// When the node wants to be woken.
    pub(crate) deadline: Time,
    /// The earliest entry in the queue.
    pub(crate) queued: Time,
    /// When the node was woken last.
    rang: Option<Time>,
}

/// How long a node sleeps that wants to be woken at once again and again.
const BREAK: Duration = Duration::from_millis(1);

impl Timer {
    pub(crate) const UNSET: Self = Self {
        deadline: Time::NEVER,
        queued: Time::NEVER,
        rang: None,
    };

    /// The node is woken.
    pub(crate) fn ring(&mut self, now: Time) {
        self.queued = Time::NEVER;
        self.rang = Some(now);
    }

    /// When to wake the node: at its deadline; or a little later, where it has just been woken and
    /// wants it again at once. That is a violation, which has been reported, but time must pass.
    pub(crate) fn wakes(&self, now: Time) -> Time {
        if self.rang == Some(now) && self.deadline <= now {
            now + BREAK
        } else {
            self.deadline
        }
    }
}

/// What a host has sent and received since the world began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams sent, the lost ones included.
    pub datagrams_out: u64,
    /// Bytes of payload sent.
    pub bytes_out: u64,
    /// Datagrams handled.
    pub datagrams_in: u64,
    /// Bytes of payload handled.
    pub bytes_in: u64,
    /// The longest datagram sent.
    pub longest: usize,
}

impl Traffic {
    pub(crate) fn send(&mut self, length: usize) {
        self.datagrams_out = self.datagrams_out.saturating_add(1);
        self.bytes_out = self.bytes_out.saturating_add(count(length));
        self.longest = self.longest.max(length);
    }

    pub(crate) fn receive(&mut self, length: usize) {
        self.datagrams_in = self.datagrams_in.saturating_add(1);
        self.bytes_in = self.bytes_in.saturating_add(count(length));
    }

    /// The sum of two.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            datagrams_out: self.datagrams_out.saturating_add(other.datagrams_out),
            bytes_out: self.bytes_out.saturating_add(other.bytes_out),
            datagrams_in: self.datagrams_in.saturating_add(other.datagrams_in),
            bytes_in: self.bytes_in.saturating_add(other.bytes_in),
            longest: self.longest.max(other.longest),
        }
    }

    /// What was sent and received since an earlier reading.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            datagrams_out: self.datagrams_out.saturating_sub(earlier.datagrams_out),
            bytes_out: self.bytes_out.saturating_sub(earlier.bytes_out),
            datagrams_in: self.datagrams_in.saturating_sub(earlier.datagrams_in),
            bytes_in: self.bytes_in.saturating_sub(earlier.bytes_in),
            longest: self.longest,
        }
    }
}

impl Host {
    pub(crate) fn new(id: HostId, name: String, node_id: NodeId, config: Config) -> Self {
        Self {
            id,
            name,
            node_id,
            limits: Limits::of(&config),
            config,
            process: Process::Off,
            ended: None,
            lives: 0,
            started: None,
            moves: 0,
            origin: 0,
            wall: WallClock::default(),
            lag: Duration::ZERO,
            timer: Timer::UNSET,
            traffic: Traffic::default(),
            site: 0,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> HostId {
        self.id
    }

    /// The name of its node.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of its node.
    #[must_use]
    pub const fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// What its node is started with.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Where it stands.
    #[must_use]
    pub const fn site(&self) -> u32 {
        self.site
    }

    pub(crate) fn set_config(&mut self, config: Config) {
        self.limits = Limits::of(&config);
        self.config = config;
    }

    /// What it has sent and received.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Its node, running or paused.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        match &self.process {
            Process::Off => None,
            Process::Running(node) | Process::Paused(node, _) => Some(node),
        }
    }

    /// Whether its process runs, and is not paused.
    #[must_use]
    pub const fn runs(&self) -> bool {
        matches!(self.process, Process::Running(_))
    }

    /// How often its process has been started.
    #[must_use]
    pub const fn lives(&self) -> u32 {
        self.lives
    }

    /// When its process was started last, if it ever was.
    #[must_use]
    pub const fn started(&self) -> Option<Time> {
        self.started
    }

    /// What its monotonic clock shows.
    pub(crate) fn instant(&self, now: Time) -> Instant {
        Instant::from_nanos(self.origin.saturating_add(now.as_nanos()))
    }

    /// When its monotonic clock will show this.
    pub(crate) fn time(&self, instant: Instant) -> Time {
        Time::from_nanos(instant.as_nanos().saturating_sub(self.origin))
    }

    /// When it will react to something that happens now.
    pub(crate) fn reacts(&self, now: Time) -> Time {
        Time::from_nanos(now.as_nanos().saturating_add(nanos(self.lag)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_wants_to_be_woken_at_once_again_does_not_stop_time() {
        let now = Time::from_secs(5);
        let mut timer = Timer {
            deadline: now,
            ..Timer::UNSET
        };
        assert_eq!(timer.wakes(now), now, "after a datagram, at once is right");
        timer.ring(now);
        assert!(timer.wakes(now) > now);
        timer.deadline = Time::from_secs(6);
        assert_eq!(timer.wakes(now), Time::from_secs(6));
    }

    #[test]
    fn a_wall_clock_that_is_behind_shows_less() {
        let now = Time::from_secs(1);
        let truth = WallClock::default().read(now).as_millis();
        assert_eq!(
            WallClock { ahead_ms: -500 }.read(now).as_millis(),
            truth - 500
        );
    }
}
