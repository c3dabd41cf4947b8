//! Patterns of links: which hosts cannot send to which, for good.

use core::fmt;

use super::fault::{Effect, Fault, Scope};
use crate::sim::hosts::{HostId, HostSet};
use crate::sim::seeds::{Seeds, Stream, chance, pick};

/// A constant pattern of missing links among the hosts of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Links {
    /// One host hears nobody, and all hear it.
    Deaf,
    /// One host hears all, and nobody hears it.
    Mute,
    /// One host does not hear another one, which hears it.
    OneWay,
    /// Two hosts hear nothing of each other.
    Pair,
    /// This share of all directed links is missing.
    Random(f64),
    /// Two halves, and nothing passes between them but to and from one host, which is in both.
    Joint,
    /// Two sites, and nothing passes between them but among the first so many hosts of each.
    Gateways(usize),
}

/// One pattern of each kind.
pub const PATTERNS: [Links; 10] = [
    Links::Deaf,
    Links::Mute,
    Links::OneWay,
    Links::Pair,
    Links::Random(0.1),
    Links::Random(0.2),
    Links::Random(0.3),
    Links::Joint,
    Links::Gateways(1),
    Links::Gateways(2),
];

impl Links {
    /// The missing links among so many hosts: the receivers of each sender, one fault for each. `site` says
    /// at which of the sites a host is.
    #[must_use]
    pub fn faults(self, hosts: usize, site: impl Fn(usize) -> u32, seeds: Seeds) -> Vec<Fault> {
        let rng = &mut seeds.rng(Stream::Links);
        let one = pick(rng, hosts);
        let other = (one + 1 + pick(rng, hosts.saturating_sub(1))) % hosts.max(1);
        // The joint is in the middle of the order.
        let side = |host: usize| host.cmp(&(hosts / 2));
        let is_gate = |host: usize, count: usize| {
            let before = (0..host).filter(|other| site(*other) == site(host));
            before.count() < count
        };
        let mut is_missing = |from: usize, to: usize| match self {
            Self::Deaf => to == one,
            Self::Mute => from == one,
            Self::OneWay => (from, to) == (one, other),
            Self::Pair => (from, to) == (one, other) || (to, from) == (one, other),
            Self::Random(share) => chance(rng, share),
            Self::Joint => side(from).is_ne() && side(to) == side(from).reverse(),
            Self::Gateways(count) => {
                site(from) != site(to) && !(is_gate(from, count) && is_gate(to, count))
            }
        };
        let mut faults = Vec::new();
        for from in 0..hosts {
            let unheard = (0..hosts).filter(|to| *to != from && is_missing(from, *to));
            let unheard: HostSet = unheard.map(HostId::at).collect();
            if unheard.iter().next().is_some() {
                faults.push(Fault {
                    scope: Scope::Between(HostSet::one(HostId::at(from)), unheard),
                    effect: Effect::Cut,
                });
            }
        }
        faults
    }
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deaf => f.write_str("one is deaf"),
            Self::Mute => f.write_str("one is mute"),
            Self::OneWay => f.write_str("one link is missing"),
            Self::Pair => f.write_str("two do not hear each other"),
            Self::Random(share) => write!(f, "{:.0} % of all links are missing", 100.0 * share),
            Self::Joint => f.write_str("two halves and a joint"),
            Self::Gateways(count) => write!(f, "{count} gateways"),
        }
    }
}
