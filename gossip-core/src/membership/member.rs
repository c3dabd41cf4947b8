//! One member, as one replica holds it.

use core::net::SocketAddr;

use super::datacenter::Place;
use crate::identity::{Generation, Name, NodeId, is_reachable};
use crate::state::attribute::{ADDRESS, DATACENTER, Declared, NAME, STATUS, decode_address};
use crate::state::log::Log;
use crate::time::Instant;

/// What a replica holds of a member. What can be read from the log is not stored again.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: NodeId,
    pub(crate) log: Log,
    /// When this replica last received anything from it directly.
    pub(crate) heard: Option<Instant>,
    /// When it took on its condition.
    pub(crate) since: Instant,
    pub(crate) condition: Condition,
    /// In which datacenter.
    pub(crate) place: Place,
    /// How often it went down and came up again under the same generation.
    pub(crate) flaps: u16,
    /// How often it did so without a long calm between.
    pub(crate) unsteady: u8,
    /// Whether it took part under an earlier generation, and has not declared itself up again.
    pub(crate) returns: bool,
    /// In which push trees this node has served its latest news, one bit for each.
    pub(crate) served: u8,
    /// Which of its encrypted datagrams have arrived, under which generation.
    #[cfg(feature = "encryption")]
    pub(crate) arrived: (Generation, crate::wire::encryption::ReplayWindow),
}

/// How a member counts for this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It takes part: joining, up or leaving.
    Live,
    /// Down by verdict.
    Down,
    /// Left by its own announcement.
    Left,
    /// Removed. What remains is how far its log was known, so that nobody brings it back.
    Removed,
}

impl Record {
    /// A member of which nothing is known yet.
    pub(crate) fn new(id: NodeId, now: Instant) -> Self {
        Self {
            id,
            log: Log::new(Generation::ZERO),
            heard: None,
            since: now,
            condition: Condition::Live,
            place: Place::UNSAID,
            flaps: 0,
            unsteady: 0,
            returns: false,
            served: 0,
            #[cfg(feature = "encryption")]
            arrived: (
                Generation::ZERO,
                crate::wire::encryption::ReplayWindow::new(),
            ),
        }
    }

    /// What it says of its own status.
    pub(crate) fn declared(&self) -> Declared {
        self.log
            .get(STATUS)
            .map_or(Declared::Joining, Declared::decode)
    }

    /// Where it is reached, if its log names an address that one can send to.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.log
            .get(ADDRESS)
            .and_then(decode_address)
            .filter(is_reachable)
    }

    /// Its name; empty where the log has none.
    pub(crate) fn name(&self) -> &str {
        text(self.log.get(NAME))
    }

    /// Its datacenter.
    pub(crate) fn datacenter(&self) -> Option<&str> {
        self.log.get(DATACENTER).map(|value| text(Some(value)))
    }

    /// When it was removed, by the clock of whoever was the first to do so, in seconds of Unix time.
    pub(crate) fn buried(&self) -> Option<u64> {
        Some(buried_at(self.log.generation(), self.log.buried()?))
    }

    /// Its name as the application is told it.
    pub(crate) fn display_name(&self) -> Name {
        Name::new(self.name()).unwrap_or_else(|_| Name::placeholder())
    }
}

/// The second of Unix time in which a generation had reached an age in milliseconds.
pub(crate) const fn buried_at(generation: Generation, age: u64) -> u64 {
    let began = generation.stamp().time().as_millis();
    began.saturating_add(age).div_euclid(1000)
}

fn text(value: Option<&[u8]>) -> &str {
    value
        .and_then(|value| core::str::from_utf8(value).ok())
        .unwrap_or_default()
}
