//! What a node is started with, and why it may not start.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use gossip_core::{ConfigError, ConfigWarning, IdentityError};

/// What [`spawn`](crate::spawn) needs. Start from [`Config::new`] and change what differs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The settings of the protocol. Default [`gossip_core::Config::lan`].
    pub node: gossip_core::Config,
    /// The node's name, unique in its cluster. A node that starts again under the same name is the
    /// same node.
    pub name: String,
    /// The local address to receive on. Port 0 lets the system choose a free port.
    pub bind: SocketAddr,
    /// The address that peers are told, where it is not the one bound: behind a NAT, or when `bind`
    /// is `0.0.0.0` or `[::]`, which is no address to send to. Port 0 stands for the port bound.
    /// Default none: the address bound.
    pub advertise: Option<SocketAddr>,
    /// Where to find the cluster, as `host:port`, in addition to the addresses in `node.seeds`. The
    /// host is an IP address (IPv6 in brackets) or a name, which is looked up again and again.
    pub seeds: Vec<String>,
    /// Time between two look-ups of the names among `seeds`. Default 60 s: the usual life of a DNS
    /// record that is meant to change. A name that cannot be found is retried sooner.
    pub resolve_every: Duration,
}

impl Config {
    /// A node of this name that receives on this address, with all else at its default.
    #[must_use]
    pub fn new(name: impl Into<String>, bind: SocketAddr) -> Self {
        Self {
            node: gossip_core::Config::lan(),
            name: name.into(),
            bind,
            advertise: None,
            seeds: Vec::new(),
            resolve_every: Duration::from_secs(60),
        }
    }

    /// The settings that work but lie outside what is recommended.
    #[must_use]
    pub fn warnings(&self) -> Vec<ConfigWarning> {
        let mut node = self.node.clone();
        // Only the number of seeds is judged: any address may stand for one with a name.
        let seeds = node.seeds.len().saturating_add(self.seeds.len());
        node.seeds.resize(seeds, self.bind);
        node.warnings()
    }

    /// The address to tell peers, given the one that was bound.
    pub(crate) fn advertised(&self, local: SocketAddr) -> Result<SocketAddr, SpawnError> {
        match self.advertise {
            None if local.ip().is_unspecified() => Err(SpawnError::NoAdvertise(self.bind)),
            None => Ok(local),
            Some(advertise) if advertise.port() == 0 => {
                Ok(SocketAddr::new(advertise.ip(), local.port()))
            }
            Some(advertise) => Ok(advertise),
        }
    }
}

/// A seed as it was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seed {
    /// An address: nothing to look up.
    Address(SocketAddr),
    /// A host name with a port.
    Name(String),
}

impl Seed {
    pub(crate) fn parse(text: &str) -> Result<Self, SpawnError> {
        let refuse = || SpawnError::Seed(text.to_owned());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match address.port() {
                0 => Err(refuse()),
                _ => Ok(Self::Address(address)),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        match port.parse::<u16>() {
            Ok(1..) if !host.is_empty() && host.chars().all(is_host) => {
                Ok(Self::Name(text.to_owned()))
            }
            _ => Err(refuse()),
        }
    }
}

/// Why [`spawn`](crate::spawn) started no node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// A setting of the protocol cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The name cannot be used, or nobody can send to the address.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A seed is not of the form `host:port`.
    #[error(
        "seed {0:?} is not host:port: write it like 10.0.0.1:7946, [2001:db8::1]:7946 or gossip.example:7946"
    )]
    Seed(String),
    /// The address to bind stands for all addresses of the machine, and no other was given.
    #[error(
        "peers cannot send to {0}: advertise the address at which they reach this machine, or bind that one"
    )]
    NoAdvertise(SocketAddr),
    /// The address cannot be bound.
    #[error("{}", bind_advice(address, source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system refuses a resource that every node needs: a thread, a poll, random numbers.
    #[error("the system refuses what a node needs: {0}; look at its limits")]
    System(#[source] io::Error),
}

fn bind_advice(address: &SocketAddr, source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => format!(
            "address {address} is in use: stop the program that holds it, or bind another port (0 lets the system choose)"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{address} is no address of this machine: bind one of its own, and advertise the other"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("no permission to bind {address}: choose a port above 1023")
        }
        _ => format!("cannot bind {address}: {source}; choose another address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_an_address_or_a_name_with_a_port() {
        for text in ["10.0.0.1:7946", "[::1]:7946"] {
            assert_eq!(
                Seed::parse(text).unwrap(),
                Seed::Address(text.parse().unwrap())
            );
        }
        for text in ["localhost:7946", "gossip-0.gossip_svc.example:1"] {
            assert_eq!(Seed::parse(text).unwrap(), Seed::Name(text.to_owned()));
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
            let error = Seed::parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("seed {text:?} is not host:port")),
                "{error}"
            );
        }
    }

    #[test]
    fn the_address_bound_is_advertised_unless_another_is_given() {
        let local: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let any: SocketAddr = "0.0.0.0:4000".parse().unwrap();
        let mut config = Config::new("a", any);
        assert_eq!(config.advertised(local).unwrap(), local);
        assert!(matches!(config.advertised(any), Err(SpawnError::NoAdvertise(a)) if a == any));
        config.advertise = Some("10.0.0.1:5000".parse().unwrap());
        assert_eq!(config.advertised(any).unwrap().to_string(), "10.0.0.1:5000");
        config.advertise = Some("10.0.0.1:0".parse().unwrap());
        assert_eq!(config.advertised(any).unwrap().to_string(), "10.0.0.1:4000");
    }

    #[test]
    fn seeds_with_names_count_as_seeds() {
        let mut config = Config::new("a", "127.0.0.1:0".parse().unwrap());
        config.seeds = vec!["one.example:1".into()];
        assert_eq!(config.warnings().len(), 1);
        config
            .seeds
            .extend(["two.example:1".into(), "three.example:1".into()]);
        assert_eq!(config.warnings(), []);
    }
}
