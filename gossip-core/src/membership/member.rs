//! One member, as one replica holds it.

use core::net::SocketAddr;

use super::datacenter::Place;
use crate::config::SettingsDigest;
use crate::identity::{Generation, Name, NodeId, is_reachable};
use crate::state::attribute::{
    ADDRESS, DATACENTER, Declared, NAME, SETTINGS, STATUS, decode_address, decode_settings,
};
use crate::state::log::Log;
use crate::time::Instant;

/// What a replica holds of a member. It stores nothing that the log tells, except the place, and whether
/// it is named as a bridge.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: NodeId,
    pub(crate) log: Log,
    /// When this replica last received a datagram from the member itself.
    pub(crate) heard: Option<Instant>,
    /// Since when the member has its condition, or, if it is live, since when it has declared itself up.
    pub(crate) since: Instant,
    pub(crate) condition: Condition,
    /// The member's datacenter, as its log tells it.
    pub(crate) place: Place,
    /// Whether the member says that it is a bridge, as its log tells it.
    pub(crate) is_named: bool,
    /// How often the member went down and came up again under the same generation.
    pub(crate) flaps: u16,
    /// How many of its latest flaps followed one another without a long calm between.
    pub(crate) unsteady: u8,
    /// What the application has been told of the member.
    pub(crate) told: Told,
    /// Whether this node has asked the member before it tells of it, and has no answer yet.
    pub(crate) is_doubted: bool,
    /// Whether the member runs under a later generation than the one that the application was told of.
    pub(crate) returns: bool,
    /// The push trees in which this node has served the member's latest news, one bit for each.
    pub(crate) served: u8,
    /// The member's encrypted datagrams that have arrived, and under which generation.
    #[cfg(feature = "encryption")]
    pub(crate) arrived: (Generation, crate::wire::encryption::ReplayWindow),
}

/// How a member counts for this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It takes part: it is joining, up or leaving.
    Live,
    /// A verdict says that it is down.
    Down,
    /// It has announced its departure.
    Left,
    /// It was removed. Its record is a member tombstone: it says how far the log was known, so that no
    /// replica brings the member back.
    Removed,
}

/// What the application has been told of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing, or its removal.
    Never,
    /// That it is up.
    Up,
    /// That it is up, and then that it is down or has left.
    Ended,
}

impl Record {
    /// A live member of which nothing else is known yet.
    pub(crate) fn new(id: NodeId, now: Instant) -> Self {
        Self {
            id,
            log: Log::new(Generation::ZERO),
            heard: None,
            since: now,
            condition: Condition::Live,
            place: Place::UNSAID,
            is_named: false,
            flaps: 0,
            unsteady: 0,
            told: Told::Never,
            is_doubted: false,
            returns: false,
            served: 0,
            #[cfg(feature = "encryption")]
            arrived: (
                Generation::ZERO,
                crate::wire::encryption::ReplayWindow::new(),
            ),
        }
    }

    /// Whether the member takes part by its own word, and the application has not been told so.
    pub(crate) fn is_untold(&self) -> bool {
        (self.told != Told::Up || self.returns)
            && self.condition == Condition::Live
            && matches!(self.declared(), Declared::Up | Declared::Leaving)
            && self.address().is_some()
    }

    /// The status that the member declares.
    pub(crate) fn declared(&self) -> Declared {
        self.log
            .get(STATUS)
            .map_or(Declared::Joining, Declared::decode)
    }

    /// How many neighbours the member observes, and the digest of its settings. `None`: it has the default settings.
    pub(crate) fn settings(&self) -> Option<(u8, SettingsDigest)> {
        decode_settings(self.log.get(SETTINGS)?)
    }

    /// The address at which the member is reached, if its log names one that can be sent to.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.log
            .get(ADDRESS)
            .and_then(decode_address)
            .filter(is_reachable)
    }

    /// The member's name. Empty if the log has none.
    pub(crate) fn name(&self) -> &str {
        text(self.log.get(NAME))
    }

    /// The name of the member's datacenter.
    pub(crate) fn datacenter(&self) -> Option<&str> {
        self.log.get(DATACENTER).map(|value| text(Some(value)))
    }

    /// If this is a member tombstone, the second of Unix time at which the member was removed, by the clock
    /// of the node that did so.
    pub(crate) fn buried(&self) -> Option<u64> {
        Some(buried_at(self.log.generation(), self.log.buried()?))
    }

    /// The member's name as the application is told it.
    pub(crate) fn display_name(&self) -> Name {
        Name::new(self.name()).unwrap_or_else(|_| Name::placeholder())
    }
}

/// The second of Unix time at which a generation reaches an age in milliseconds.
pub(crate) const fn buried_at(generation: Generation, age: u64) -> u64 {
    let began = generation.stamp().time().as_millis();
    began.saturating_add(age).div_euclid(1000)
}

fn text(value: Option<&[u8]>) -> &str {
    value
        .and_then(|value| core::str::from_utf8(value).ok())
        .unwrap_or_default()
}
