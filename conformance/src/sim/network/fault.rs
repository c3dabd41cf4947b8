//! What can be wrong with a network, as data.

use core::fmt;
use core::time::Duration;

use super::bursts::Bursts;
use super::delay::Delay;
use crate::sim::hosts::{HostId, HostSet};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The datagrams concerned.
    pub scope: Scope,
    /// What happens to them.
    pub effect: Effect,
}

/// The datagrams that a fault concerns.
#[derive(Clone, Debug, PartialEq)]
pub enum Scope {
    /// All of them.
    Everywhere,
    /// Those that these hosts send.
    From(HostSet),
    /// Those sent to these hosts.
    To(HostSet),
    /// Those that these hosts send or are sent.
    Around(HostSet),
    /// Those from the first set to the second: one direction only.
    Between(HostSet, HostSet),
    /// Those that cross the border of this set, in either direction.
    Across(HostSet),
}

/// What happens to the datagrams concerned.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// None arrives.
    Cut,
    /// This share is lost, independently.
    Loss(f64),
    /// Those with more bytes of payload than this are lost.
    Longer(u64),
    /// They are lost in bursts, on each link on its own.
    Bursts(Bursts),
    /// They take longer by this much.
    Delay(Delay),
    /// This share takes longer, so that later ones overtake it.
    Reorder {
        /// The share.
        share: f64,
        /// How much longer.
        by: Delay,
    },
    /// This share arrives twice.
    Duplicate(f64),
    /// This share arrives with bits flipped or its end missing.
    Corrupt(f64),
    /// Each sending host gets no more than this.
    Bandwidth {
        /// Bytes of payload in a second.
        bytes_per_s: u64,
        /// How long a datagram may wait for its turn before it is dropped.
        buffer: Duration,
    },
}

impl Scope {
    /// Whether a datagram is concerned.
    #[must_use]
    pub fn covers(&self, from: HostId, to: HostId) -> bool {
        match self {
            Self::Everywhere => true,
            Self::From(set) => set.contains(from),
            Self::To(set) => set.contains(to),
            Self::Around(set) => set.contains(from) || set.contains(to),
            Self::Between(first, second) => first.contains(from) && second.contains(to),
            Self::Across(set) => set.contains(from) != set.contains(to),
        }
    }
}

impl Effect {
    /// Whether nothing at all gets through.
    pub(crate) fn severs(&self) -> bool {
        match self {
            Self::Cut => true,
            Self::Loss(share) => *share >= 1.0,
            _ => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.effect {
            Effect::Cut => f.write_str("cut")?,
            Effect::Longer(most) => write!(f, "none over {most} bytes")?,
            Effect::Loss(share) => write!(f, "{:.0} % loss", 100.0 * share)?,
            Effect::Bursts(bursts) => write!(
                f,
                "{:.0} % loss for {} ms every {} ms",
                100.0 * bursts.loss,
                bursts.bad.as_millis(),
                bursts.good.as_millis()
            )?,
            Effect::Delay(delay) => write!(f, "{delay} later")?,
            Effect::Reorder { share, by } => write!(f, "{:.0} % {by} later", 100.0 * share)?,
            Effect::Duplicate(share) => write!(f, "{:.0} % twice", 100.0 * share)?,
            Effect::Corrupt(share) => write!(f, "{:.0} % damaged", 100.0 * share)?,
            Effect::Bandwidth { bytes_per_s, .. } => write!(f, "{bytes_per_s} B/s at most")?,
        }
        match &self.scope {
            Scope::Everywhere => f.write_str(" everywhere"),
            Scope::From(set) => write!(f, " from {set}"),
            Scope::To(set) => write!(f, " to {set}"),
            Scope::Around(set) => write!(f, " from and to {set}"),
            Scope::Between(first, second) => write!(f, " from {first} to {second}"),
            Scope::Across(set) => write!(f, " between {set} and the others"),
        }
    }
}
