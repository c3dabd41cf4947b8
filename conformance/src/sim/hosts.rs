//! Names for the machines of the simulated world.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use gossip_core::{Name, NodeId};

use crate::num::{narrow, position};

/// A simulated machine, numbered from 0. Its process comes and goes; the machine stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(u32);

/// Every address is in 10.0.0.0/8, so that looking a host up is arithmetic.
const NETWORK: u32 = 10 << 24;
const FIRST_PORT: u16 = 7946;

impl HostId {
    /// The host with this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The name of the node on it, unless another was given.
    #[must_use]
    pub fn name(self) -> Name {
        Name::new(&self.to_string()).expect("a letter and a number")
    }

    /// The id of the node of that name.
    #[must_use]
    pub fn node_id(self) -> NodeId {
        NodeId::of(&self.name())
    }

    pub(crate) fn at(position: usize) -> Self {
        Self(narrow(position))
    }

    pub(crate) fn position(self) -> usize {
        position(self.0)
    }

    /// Where it listens after it has moved `moves` times.
    pub(crate) fn address(self, moves: u16) -> SocketAddr {
        let ip = Ipv4Addr::from_bits(NETWORK.saturating_add(self.0).saturating_add(1));
        SocketAddr::new(IpAddr::V4(ip), FIRST_PORT.saturating_add(moves))
    }

    /// The host that an address belongs to, and the number of moves after which it listens there.
    pub(crate) fn of(address: SocketAddr) -> Option<(Self, u16)> {
        let IpAddr::V4(ip) = address.ip() else {
            return None;
        };
        let number = ip.to_bits().checked_sub(NETWORK)?.checked_sub(1)?;
        let moves = address.port().checked_sub(FIRST_PORT)?;
        Some((Self(number), moves))
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("n{}", self.0))
    }
}

/// A set of hosts, quick to ask for membership.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HostSet {
    bits: Vec<u64>,
}

const WORD: u32 = u64::BITS;

impl HostSet {
    /// The set of one.
    #[must_use]
    pub fn one(host: HostId) -> Self {
        core::iter::once(host).collect()
    }

    /// All hosts below `count` that are not in this set.
    #[must_use]
    pub fn others(&self, count: usize) -> Self {
        (0..count)
            .map(HostId::at)
            .filter(|&host| !self.contains(host))
            .collect()
    }

    /// Whether a host is in the set.
    #[must_use]
    pub fn contains(&self, host: HostId) -> bool {
        self.bits
            .get(position(host.0 / WORD))
            .is_some_and(|word| word >> (host.0 % WORD) & 1 == 1)
    }

    /// Its hosts, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = HostId> {
        let end = narrow(self.bits.len()).saturating_mul(WORD);
        (0..end).map(HostId).filter(|&host| self.contains(host))
    }
}

impl FromIterator<HostId> for HostSet {
    fn from_iter<I: IntoIterator<Item = HostId>>(hosts: I) -> Self {
        let mut bits: Vec<u64> = Vec::new();
        for HostId(number) in hosts {
            let word = position(number / WORD);
            if bits.len() <= word {
                bits.resize(word.saturating_add(1), 0);
            }
            if let Some(word) = bits.get_mut(word) {
                *word |= 1 << (number % WORD);
            }
        }
        Self { bits }
    }
}

impl fmt::Display for HostSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, host) in self.iter().enumerate() {
            write!(f, "{}{host}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Debug for HostSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_back_to_its_host() {
        for number in [0, 1, 255, 256, 9_999] {
            let host = HostId::new(number);
            assert_eq!(HostId::of(host.address(0)), Some((host, 0)));
            assert_eq!(HostId::of(host.address(3)), Some((host, 3)));
        }
        assert_eq!(HostId::of("1.2.3.4:7946".parse().unwrap()), None);
    }

    #[test]
    fn a_set_and_the_others_are_everybody() {
        let set: HostSet = [0, 63, 64, 99].map(HostId::new).into_iter().collect();
        let others = set.others(100);
        assert_eq!(set.iter().count() + others.iter().count(), 100);
        assert!((0..100).all(|n| set.contains(HostId::new(n)) != others.contains(HostId::new(n))));
        assert_eq!(set.to_string(), "n0,n63,n64,n99");
    }
}
