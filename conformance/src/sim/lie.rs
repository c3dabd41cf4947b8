//! Lies about the shared map: well-formed messages that no honest node would send.
//!
//! None of them makes a node hold what nobody wrote: forged runs build on versions that never come.

use core::fmt;

use gossip_core::map::Origin;

use super::host::Host;
use super::hosts::HostId;
use crate::forge::{Body, Known, item, message};

/// The id of whoever is no node, and of origins that nobody has heard of.
const NOBODY: u64 = 77 << 40;
/// What the origin of a forged run has, and its contexts name. No node has them.
const FORGED: u64 = 78 << 40;

/// A lie about the shared map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lie {
    /// The message.
    pub said: Said,
    /// Who says it: a node, if one runs there, or a stranger.
    pub sender: Option<HostId>,
    /// Whether it comes from where no node is, whoever says it.
    pub is_elsewhere: bool,
    /// What it is about.
    pub claimed: Claimed,
}

/// The message of a lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Versions are asked for.
    Want,
    /// A run comes as if it had been asked for. It builds on the claimed version of an origin that is none.
    Runs,
    /// Such a run is pushed, and a frontier told with it. The context of its write names what never comes.
    Push,
    /// A push tells a frontier.
    Told,
    /// A SYN tells it, with the hash of another map.
    Syn,
}

/// Versions of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The origin: that of a node, if one runs there, or an unknown one.
    pub of: Option<HostId>,
    /// The version before the first.
    pub after: Number,
    /// The last version. If it is not later than the one before the first, the next one.
    pub upto: Number,
}

/// A version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// So many after the last that the node knows to which the lie is told.
    Ahead(u8),
    /// So many before the last that there can be.
    BeforeLast(u8),
    /// A power of two.
    Power(u8),
}

impl Number {
    fn after(self, known: u64) -> u64 {
        match self {
            Self::Ahead(by) => known.saturating_add(by.into()),
            Self::BeforeLast(by) => u64::MAX.saturating_sub(by.into()),
            Self::Power(power) => 1_u64.checked_shl(power.into()).unwrap_or(u64::MAX),
        }
    }
}

impl Lie {
    /// Which host it comes from.
    pub(crate) fn comes_from(&self) -> Option<HostId> {
        self.sender.filter(|_| !self.is_elsewhere)
    }

    /// Its bytes, as it is told to a host. `None` if no node runs there.
    pub(crate) fn body(&self, hosts: &[Host], to: HostId) -> Option<Body> {
        let node = |id: Option<HostId>| hosts.get(id?.position())?.node();
        let taker = node(Some(to))?;
        let own = Known::of(taker, 0);
        // Not from the future.
        let nobody = |origin| Known { origin, ..own };
        let sender = node(self.sender).filter(|node| node.id() != taker.id());
        let sender = sender.map_or(nobody(NOBODY), |node| Known::of(node, 0));
        let origin = node(self.claimed.of).map(|node| node.map().own());
        let known = origin.map_or(0, |origin| taker.map().frontier(origin));
        let after = self.claimed.after.after(known).min(u64::MAX - 1);
        let upto = self.claimed.upto.after(known).max(after.saturating_add(1));
        let whose = origin.map_or(nobody(NOBODY + 1), known_of);
        let whose = Known {
            frontier: upto,
            ..whose
        };
        let body = Body::from(sender.origin, sender.generation);
        Some(match self.said {
            Said::Want => body.byte(message::MAP_WANT).range(whose, after),
            Said::Runs => forged_run(body.map_runs(), nobody(FORGED), after.max(1), &[]),
            Said::Push => {
                let context = [Known {
                    frontier: upto,
                    ..nobody(FORGED)
                }];
                forged_run(body.push(), nobody(FORGED + 1), after % 2, &context).map_told(whose)
            }
            Said::Told => body.push().map_told(whose),
            Said::Syn => {
                let mut syn = body.exchange(1, 7).byte(item::MAP_SUMMARY);
                syn.0.extend_from_slice(&[200; 16]);
                syn.fixed(0).map_told(whose)
            }
        })
    }
}

fn known_of(origin: Origin) -> Known {
    Known {
        origin: origin.id.as_u64(),
        generation: origin.generation.stamp().to_bits(),
        frontier: 0,
    }
}

/// A run of one write of an origin that is none.
fn forged_run(body: Body, whose: Known, after: u64, context: &[Known]) -> Body {
    let whose = Known {
        frontier: after.saturating_add(1),
        ..whose
    };
    let write = Body::default().write_after(whose, b"a", Some(b"forged"), context);
    body.runs(whose, after, &Body::default().bytes(&write.0).0)
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a lie: {self:?}")
    }
}
