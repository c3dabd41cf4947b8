//! What the application may look at.

use core::net::{Ipv4Addr, SocketAddr};

use super::Node;
use crate::command::Key;
use crate::dissemination::broadcast::{Broadcast, held};
use crate::identity::{Generation, Name, NodeId};
use crate::local::Standing;
use crate::local::agreement::{Agreement, agreement};
use crate::membership::ring::Liveness;
use crate::membership::{Condition, Record};
use crate::metrics::Metrics;
#[cfg(feature = "map")]
use crate::shared_map::replica::{Map, Reading};
use crate::state::attribute::{Declared, user_key};
#[cfg(feature = "map")]
use smallvec::SmallVec;

/// What this node holds of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Learning the table; not announced yet.
    Joining,
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
#[non_exhaustive]
pub struct Vote {
    /// Who cast it.
    pub observer: NodeId,
    /// Against whom.
    pub subject: NodeId,
    /// The subject's generation.
    pub generation: Generation,
}

/// What a node holds of one member, itself included.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    node: &'a Node,
    record: &'a Record,
}

impl<'a> Member<'a> {
    /// The id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.record.id
    }

    /// The name that is hashed into the id.
    #[must_use]
    pub fn name(&self) -> Name {
        self.record.display_name()
    }

    /// Where it is reached. A member that published no usable address has the unspecified one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.record
            .address()
            .unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))
    }

    /// Its generation.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.record.log.generation()
    }

    /// Its datacenter, if it names one.
    #[must_use]
    pub fn datacenter(&self) -> Option<&'a str> {
        self.record.datacenter()
    }

    /// Its status in this node's view.
    #[must_use]
    pub fn status(&self) -> Status {
        match (self.record.condition, self.record.declared()) {
            (Condition::Down, _) => Status::Down,
            (Condition::Left | Condition::Removed, _) | (_, Declared::Left) => Status::Left,
            _ if self
                .node
                .failure
                .observation(self.record.id)
                .is_some_and(|seen| seen.is_suspect() || seen.is_silent()) =>
            {
                Status::Suspect
            }
            (_, Declared::Joining) => Status::Joining,
            (_, Declared::Up) => Status::Up,
            (_, Declared::Leaving) => Status::Leaving,
        }
    }

    /// Whether it is one of the bridges of its datacenter, by what this node knows: those that talk to
    /// other datacenters. Of a single datacenter it says nothing.
    #[must_use]
    pub fn is_bridge(&self) -> bool {
        let bridges = self.node.context.table.datacenters().bridges();
        bridges.contains(Liveness::Live, self.record.id)
    }

    /// The version up to which this node knows its log.
    #[must_use]
    pub const fn frontier(&self) -> u64 {
        self.record.log.frontier()
    }

    /// Its heartbeat counter: this node's own, or that of a ring neighbour; others send this node
    /// no heartbeats.
    #[must_use]
    pub fn heartbeat(&self) -> Option<u64> {
        if self.record.id == self.node.context.own {
            return Some(self.node.failure.beats());
        }
        self.node.failure.observation(self.record.id)?.counter()
    }

    /// How often it went down and came up again under the same generation.
    #[must_use]
    pub const fn flaps(&self) -> u16 {
        self.record.flaps
    }

    /// Its attributes, in the order in which they were written. O(size of its state).
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.record
            .log
            .entries()
            .filter_map(|entry| Some((user_key(entry.key)?, entry.value?)))
    }

    /// Its broadcasts that have not expired, in its order: also those that were told, for the case
    /// that [`Event::Lagged`](crate::Event::Lagged) took their place. O(size of its state).
    pub fn broadcasts(&self) -> impl Iterator<Item = Broadcast<'a>> + use<'a> {
        held(self.record).map(|(_, broadcast)| broadcast)
    }

    /// One of its attributes. O(size of its state).
    #[must_use]
    pub fn attribute(&self, key: &Key) -> Option<&'a [u8]> {
        self.record.log.get(key.as_str().as_bytes())
    }
}

impl Node {
    /// This node's id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.context.own
    }

    /// This node's generation. Rises when peers remember a greater one.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.context.generation
    }

    /// How far this node has come.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.local.standing()
    }

    /// All members in the order of their ids, this node included; not those that were removed.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.context
            .table
            .iter()
            .filter(|record| record.condition != Condition::Removed)
            .map(|record| Member { node: self, record })
    }

    /// One member. O(1).
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<Member<'_>> {
        let record = self.context.table.get(id)?;
        (record.condition != Condition::Removed).then_some(Member { node: self, record })
    }

    /// The current phi of a ring neighbour: `-log10` of the probability that its next message
    /// comes even later than now. `None` for members that this node does not observe.
    ///
    /// As of the latest input: to look at a phi that climbs, feed time with
    /// [`Node::handle_timeout`] first.
    #[must_use]
    pub fn phi(&self, id: NodeId) -> Option<f64> {
        self.failure.phi(self.context.now, id)
    }

    /// The valid votes against a member, this node's own included.
    pub fn votes(&self, id: NodeId) -> impl Iterator<Item = Vote> + '_ {
        let record = self.context.table.get(id);
        let generation = record.map_or(Generation::ZERO, |record| record.log.generation());
        let vote = move |observer| Vote {
            observer,
            subject: id,
            generation,
        };
        let own = self
            .failure
            .finds_silent(id)
            .then(|| vote(self.context.own));
        let others = self.failure.valid_votes(self.context.now, id, record);
        own.into_iter()
            .chain(others.map(move |cast| vote(cast.observer)))
    }

    /// The 128-bit hash over the table: equal on two nodes that know the same.
    #[must_use]
    pub const fn table_hash(&self) -> u128 {
        self.context.table.hash()
    }

    /// Counters and gauges.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let gauge = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Metrics {
            staging_dropped: self.sync.dropped(),
            outbox_dropped: self.outbox.dropped(),
            events_lost: self.events.lost(),
            index_collisions: self.context.table.collisions(),
            members: gauge(self.context.table.len()),
            live: gauge(self.context.table.live_len()),
            down: gauge(self.context.table.down_len()),
            state_bytes: gauge(self.context.table.state_bytes()),
            ..self.context.metrics
        }
    }

    /// What the live members show of an attribute. O(size of all live members' state).
    #[must_use]
    pub fn agreement(&self, key: &Key) -> Agreement {
        agreement(&self.context, key)
    }

    /// Whether all live members show the same of an attribute, be it nothing. O(1) for one that is
    /// watched ([`Command::Watch`](crate::Command::Watch)), otherwise as [`Node::agreement`].
    #[must_use]
    pub fn has_agreement(&self, key: &Key) -> bool {
        let watched = self.local.watches.is_agreed(key);
        watched.unwrap_or_else(|| self.agreement(key).is_reached())
    }
}

/// The shared map.
#[cfg(feature = "map")]
impl Node {
    /// The shared map: what is read under each key, and who is known how far.
    #[must_use]
    pub fn map(&self) -> &Map {
        self.shared_map.map()
    }

    /// What is read under a key of the shared map: the latest where there are several.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Reading<'_>> {
        self.map().get(key.as_str().as_bytes())
    }

    /// Everything that is read under a key of the shared map, the latest first.
    #[must_use]
    pub fn siblings(&self, key: &Key) -> SmallVec<[Reading<'_>; 2]> {
        self.map().siblings(key.as_str().as_bytes())
    }

    /// The keys of the shared map that begin with `prefix`, in order, with what is read under each.
    pub fn entries<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, Reading<'a>)> + 'a {
        self.map().prefix(prefix.as_bytes())
    }
}
