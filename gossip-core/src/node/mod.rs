//! The state machine (stub while its parts are being built).

use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::command::{Command, CommandError, Key};
use crate::config::{Config, ConfigError};
use crate::event::Event;
use crate::id::{Generation, Identity, NodeId};
use crate::metrics::Metrics;
use crate::time::{Instant, UnixTime};

/// One node of a cluster.
#[derive(Debug)]
pub struct Node {
    identity: Identity,
}

/// A datagram to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Transmit<'b> {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub payload: &'b [u8],
}

/// How far this node itself has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Learning the table from its seeds; not announced yet.
    Joining,
    /// Announced.
    Up,
    /// Announcing its departure.
    Leaving,
    /// Silent: it has left, or has lost its name to another node.
    Left,
}

/// What this node holds of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Alive, as far as is known.
    Up,
    /// Up by verdict, but silent for suspiciously long towards this node.
    Suspect,
    /// Announcing its departure.
    Leaving,
    /// Left by its own announcement.
    Left,
    /// Down by verdict.
    Down,
}

/// A vote: an observer finds a member silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Who cast it.
    pub observer: NodeId,
    /// Against whom.
    pub subject: NodeId,
    /// The subject's generation when it was cast.
    pub generation: Generation,
}

/// What a node holds of one member, itself included.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    node: &'a Node,
    id: NodeId,
}

impl<'a> Member<'a> {
    /// The id.
    pub fn id(&self) -> NodeId {
        self.id
    }
    /// The name, hashed into the id.
    pub fn name(&self) -> &'a str {
        todo!()
    }
    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        todo!()
    }
    /// Its generation.
    pub fn generation(&self) -> Generation {
        todo!()
    }
    /// Its datacenter, if it names one.
    pub fn datacenter(&self) -> Option<&'a str> {
        todo!()
    }
    /// Its status in this node's view.
    pub fn status(&self) -> Status {
        todo!()
    }
    /// The version up to which this node knows its log.
    pub fn frontier(&self) -> u64 {
        todo!()
    }
    /// Its heartbeat counter, where this node observes it.
    pub fn heartbeat(&self) -> Option<u64> {
        todo!()
    }
    /// How often it went down and came up again.
    pub fn flaps(&self) -> u16 {
        todo!()
    }
    /// Its user attributes, in the order in which they were written.
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        core::iter::empty()
    }
    /// One of its attributes.
    pub fn attribute(&self, key: &Key) -> Option<&'a [u8]> {
        todo!()
    }
}

/// Whether all live members show the same value of an attribute (R19).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Live members whose value equals this node's, this node included.
    pub agreeing: usize,
    /// Live members that show another value, or none.
    pub differing: Vec<NodeId>,
}

impl Agreement {
    /// All live members show the value that this node shows.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.differing.is_empty()
    }
}

impl Node {
    /// A node that begins to join at once: `poll_transmit` has its first messages.
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
        let _ = (seed, now, wall);
        Ok(Self { identity })
    }

    /// A datagram has arrived.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let _ = (now, from, datagram);
    }
    /// The application wants something.
    ///
    /// # Errors
    /// [`CommandError`]; nothing has changed then.
    pub fn handle_command(&mut self, now: Instant, command: Command) -> Result<(), CommandError> {
        let _ = (now, command);
        Ok(())
    }
    /// Time has passed. Harmless when early or late.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }
    /// The next datagram to send, written into `buffer`, which needs [`Node::max_datagram`] bytes.
    pub fn poll_transmit<'b>(
        &mut self,
        now: Instant,
        buffer: &'b mut [u8],
    ) -> Option<Transmit<'b>> {
        let _ = (now, buffer);
        None
    }
    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }
    /// When to call `handle_timeout` next; `None` once the node has left.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.identity.id()
    }
    /// This node's generation.
    pub fn generation(&self) -> Generation {
        todo!()
    }
    /// How far this node has come.
    pub fn standing(&self) -> Standing {
        todo!()
    }
    /// The largest datagram that this node sends, in bytes.
    pub fn max_datagram(&self) -> usize {
        todo!()
    }
    /// All members in the order of their ids, this node included once it has announced itself.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        core::iter::empty()
    }
    /// One member.
    pub fn member(&self, id: NodeId) -> Option<Member<'_>> {
        let _ = id;
        None
    }
    /// The current phi of a ring neighbour; `None` for members that this node does not observe.
    pub fn phi(&self, id: NodeId) -> Option<f64> {
        let _ = id;
        None
    }
    /// The valid votes against a member.
    pub fn votes(&self, id: NodeId) -> impl Iterator<Item = Vote> + '_ {
        let _ = id;
        core::iter::empty()
    }
    /// Whether all live members show the same value of an attribute as this node.
    pub fn agreement(&self, key: &Key) -> Agreement {
        let _ = key;
        todo!()
    }
    /// The 128-bit hash over the table: equal on two nodes that know the same.
    pub fn table_hash(&self) -> u128 {
        todo!()
    }
    /// Counters and gauges.
    pub fn metrics(&self) -> Metrics {
        todo!()
    }
}
