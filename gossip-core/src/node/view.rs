//! Views: what the application may look at, read-only.

use core::net::{Ipv4Addr, SocketAddr};

use super::Node;
use crate::command::Key;
use crate::config::SettingsDigest;
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

/// The status of a member in the view of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The member learns the table. It has not announced itself yet.
    Joining,
    /// The member is alive, as far as is known.
    Up,
    /// The member is up by verdict, but has been silent towards this node for suspiciously long.
    Suspect,
    /// The member announces its departure.
    Leaving,
    /// The member has announced that it left.
    Left,
    /// The member is down by verdict.
    Down,
}

/// A vote: an observer finds a member silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vote {
    /// The member that cast the vote.
    pub observer: NodeId,
    /// The member that it is against.
    pub subject: NodeId,
    /// The subject's generation.
    pub generation: Generation,
}

/// What a node knows of one member, which may be the node itself.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    node: &'a Node,
    record: &'a Record,
}

impl<'a> Member<'a> {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.record.id
    }

    /// Its name, which is hashed into the id.
    #[must_use]
    pub fn name(&self) -> Name {
        self.record.display_name()
    }

    /// Its address. A member that has published no usable address has the unspecified one.
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

    /// Whether it is a bridge, by what this node knows: one of the members of its datacenter that talk to
    /// other datacenters. With a single datacenter this says nothing.
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

    /// Its heartbeat counter, if it is a ring neighbour of this node, or this node itself. Other members
    /// send this node no heartbeats.
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

    /// The digest of the settings that all members need the same, as the member was configured.
    #[must_use]
    pub fn settings(&self) -> SettingsDigest {
        let settings = self.record.settings();
        settings.map(|(_, digest)| digest).unwrap_or_default()
    }

    /// Its attributes, in the order in which they were written. O(size of its state).
    pub fn attributes(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.record
            .log
            .entries()
            .filter_map(|entry| Some((user_key(entry.key)?, entry.value?)))
    }

    /// Its broadcasts that have not expired, in the order in which it wrote them. They include those that
    /// were told already, in case [`Event::Lagged`](crate::Event::Lagged) took their place.
    /// O(size of its state).
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

    /// This node's generation. It rises when peers remember a greater one.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.context.generation
    }

    /// How far this node has come.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.local.standing()
    }

    /// The seeds that this node asks now.
    #[must_use]
    pub fn seeds(&self) -> &[SocketAddr] {
        &self.context.config.seeds
    }

    /// All members in the order of their ids. They include this node, but no member that was removed.
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
    /// Now is the time of the latest input. To look at a phi that climbs, feed the time with
    /// [`Node::handle_timeout`] first.
    #[must_use]
    pub fn phi(&self, id: NodeId) -> Option<f64> {
        self.failure.phi(self.context.now, id)
    }

    /// The valid votes against a member, including that of this node.
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
            .observes_silence(id)
            .then(|| vote(self.context.own));
        let others = self.failure.valid_votes(self.context.now, id, record);
        own.into_iter()
            .chain(others.map(move |cast| vote(cast.observer)))
    }

    /// The 128-bit hash over the table. Two nodes that know the same have the same hash.
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
            clock_ahead_ms: self.context.clock_ahead(),
            narrow_paths: gauge(self.context.paths.narrow()),
            ..self.context.metrics
        }
    }

    /// What the live members show of an attribute. O(size of all live members' state).
    #[must_use]
    pub fn agreement(&self, key: &Key) -> Agreement {
        agreement(&self.context, self.local.standing(), key)
    }

    /// Whether all live members show the same value of an attribute, or none shows any. A node that has not
    /// joined yet or is leaving says no. O(1) if the attribute is watched
    /// ([`Command::Watch`](crate::Command::Watch)), otherwise as [`Node::agreement`].
    #[must_use]
    pub fn has_agreement(&self, key: &Key) -> bool {
        let watched = self.local.is_agreed(key);
        watched.unwrap_or_else(|| self.agreement(key).is_reached())
    }
}

/// The shared map.
#[cfg(feature = "map")]
impl Node {
    /// The shared map: what is read under each key, and how far each writer is known.
    #[must_use]
    pub fn map(&self) -> &Map {
        self.shared_map.map()
    }

    /// What is read under a key of the shared map: the latest value where there are several.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Reading<'_>> {
        self.map().get(key.as_str().as_bytes())
    }

    /// All values that are read under a key of the shared map, the latest first.
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
