//! Seeds as people write them down, and how their names are looked up.
//!
//! A node knows seeds by address. An adapter is given text. It parses the text here, looks up the names with
//! its own resolver, and tells [`SeedList`] the results.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv6Addr, SocketAddr};
use core::str::FromStr;
use core::time::Duration;

/// The wait after a look-up that failed, and the shortest wait after any look-up.
const RETRY: Duration = Duration::from_secs(2);

/// A seed as people write it down: an address, or a host name with a port.
///
/// ```
/// use gossip_core::Seed;
/// assert!(matches!("10.0.0.1:7946".parse(), Ok(Seed::Address(_))));
/// assert!(matches!("gossip.example:7946".parse(), Ok(Seed::Name(_))));
/// assert!("gossip.example".parse::<Seed>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seed {
    /// An address: nothing to look up.
    Address(SocketAddr),
    /// A host name, a colon, and a port other than 0, in the form that resolvers take.
    Name(String),
}

impl FromStr for Seed {
    type Err = SeedError;

    fn from_str(text: &str) -> Result<Self, SeedError> {
        let refused = || SeedError(text.to_owned());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match address.port() {
                0 => Err(refused()),
                _ => Ok(Self::Address(address)),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(refused)?;
        let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        match port.parse::<u16>() {
            Ok(1..) if !host.is_empty() && host.chars().all(is_host) => {
                Ok(Self::Name(text.to_owned()))
            }
            _ => Err(refused()),
        }
    }
}

/// This text is not a [`Seed`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "seed {0:?} is not host:port: write it like 10.0.0.1:7946, [2001:db8::1]:7946 or gossip.example:7946"
)]
pub struct SeedError(pub String);

/// The seeds of one node: addresses, and names with the addresses that were last found for them.
///
/// An adapter does this again and again:
///
/// 1. it looks up all [`names`](Self::names);
/// 2. for each it tells the result: [`found`](Self::found) or [`missed`](Self::missed);
/// 3. it gives the node [`Command::SetSeeds`](crate::Command::SetSeeds) with all
///    [`addresses`](Self::addresses);
/// 4. it waits for the [`pause`](Self::pause).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedList {
    fixed: Vec<SocketAddr>,
    named: Vec<Named>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: String,
    addresses: Vec<SocketAddr>,
    /// Why the latest look-up failed.
    missed: Option<String>,
}

impl SeedList {
    /// Parses the texts. The addresses that are `known` already are seeds, too.
    ///
    /// # Errors
    /// [`SeedError`] names the first text that is not a [`Seed`].
    pub fn parse(known: &[SocketAddr], texts: &[String]) -> Result<Self, SeedError> {
        let mut seeds = Self {
            fixed: known.to_vec(),
            named: Vec::new(),
        };
        for text in texts {
            match text.parse()? {
                Seed::Address(address) => seeds.fixed.push(address),
                Seed::Name(name) => seeds.named.push(Named {
                    name,
                    addresses: Vec::new(),
                    missed: None,
                }),
            }
        }
        Ok(seeds)
    }

    /// All addresses known so far.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let found = self.named.iter().flat_map(|named| &named.addresses);
        self.fixed.iter().chain(found).copied().collect()
    }

    /// The names to look up, as `host:port`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.named.iter().map(|named| named.name.clone()).collect()
    }

    /// These addresses were found for a name.
    ///
    /// Addresses of a family that a socket bound to `local` cannot reach are left out. A socket bound to
    /// `[::]` reaches both families. If no address is left, the name counts as missed.
    pub fn found(
        &mut self,
        name: &str,
        addresses: impl IntoIterator<Item = SocketAddr>,
        local: SocketAddr,
    ) {
        let is_dual = local.ip() == Ipv6Addr::UNSPECIFIED;
        let reachable = addresses
            .into_iter()
            .filter(|address| is_dual || address.is_ipv4() == local.is_ipv4());
        let reachable: Vec<_> = reachable.collect();
        if reachable.is_empty() {
            let family = if local.is_ipv4() { "IPv4" } else { "IPv6" };
            return self.missed(name, format_args!("it has no {family} address"));
        }
        for named in self.named.iter_mut().filter(|named| named.name == name) {
            named.addresses.clone_from(&reachable);
            named.missed = None;
        }
    }

    /// The look-up of a name failed. The addresses that were found for it before stay: a name server that
    /// fails must not cost a node its seeds.
    pub fn missed(&mut self, name: &str, reason: impl fmt::Display) {
        for named in self.named.iter_mut().filter(|named| named.name == name) {
            named.missed = Some(reason.to_string());
        }
    }

    /// The names whose latest look-up failed, each with the reason.
    #[must_use]
    pub fn unresolved(&self) -> Vec<(String, String)> {
        let missed = |named: &Named| Some((named.name.clone(), named.missed.clone()?));
        self.named.iter().filter_map(missed).collect()
    }

    /// How long to wait before the names are looked up again: `every`, but at least two seconds, and two
    /// seconds if the last look-up of a name failed.
    #[must_use]
    pub fn pause(&self, every: Duration) -> Duration {
        match self.named.iter().any(|named| named.missed.is_some()) {
            true => RETRY,
            false => every.max(RETRY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::vec;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_seed_is_an_address_or_a_name_with_a_port() {
        for text in ["10.0.0.1:7946", "[::1]:7946"] {
            assert_eq!(text.parse(), Ok(Seed::Address(address(text))));
        }
        for text in ["localhost:7946", "gossip-0.gossip_svc.example:1"] {
            assert_eq!(text.parse(), Ok(Seed::Name(text.to_owned())));
        }
    }

    #[test]
    fn other_text_is_refused_with_examples_of_what_works() {
        for text in [
            "",
            "host",
            ":7946",
            "host:",
            "host:0",
            "host:65536",
            "10.0.0.1:0",
            "::1:7946",
            "a b:1",
            "http://a:1",
        ] {
            let error = text.parse::<Seed>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("seed {text:?} is not host:port")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_name_keeps_its_addresses_while_it_cannot_be_looked_up() {
        let (one, two) = (address("10.0.0.1:1"), address("10.0.0.2:1"));
        let (other_family, local) = (address("[::1]:1"), address("127.0.0.1:9"));
        let (minute, name) = (Duration::from_secs(60), "gossip.example:1");
        let mut seeds = SeedList::parse(&[one], &[name.to_owned()]).unwrap();
        assert_eq!(
            (seeds.addresses(), seeds.names()),
            (vec![one], vec![name.to_owned()])
        );

        seeds.found(name, [other_family, two], local);
        assert_eq!(seeds.addresses(), [one, two]);
        assert_eq!((seeds.unresolved(), seeds.pause(minute)), (vec![], minute));
        assert_eq!(seeds.pause(Duration::ZERO), RETRY);

        seeds.missed(name, "no answer");
        assert_eq!(seeds.addresses(), [one, two]);
        let told = [(name.to_owned(), "no answer".to_owned())];
        assert_eq!(
            (seeds.unresolved(), seeds.pause(minute)),
            (told.into(), RETRY)
        );

        seeds.found(name, [other_family], local);
        assert_eq!(seeds.addresses(), [one, two]);
        assert_eq!(seeds.unresolved()[0].1, "it has no IPv4 address");

        seeds.found(name, [other_family, two], address("[::]:9"));
        assert_eq!(seeds.addresses(), [one, other_family, two]);
    }

    #[test]
    fn if_one_seed_is_wrong_all_are_refused() {
        let texts = ["10.0.0.1:1".to_owned(), "nowhere".to_owned()];
        let refused = SeedList::parse(&[], &texts).unwrap_err();
        assert_eq!(refused, SeedError("nowhere".to_owned()));
    }
}
