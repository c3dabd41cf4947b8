//! What a node is started with, and why it may not start.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use gossip_core::{ConfigError, IdentityError};

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
    /// is `0.0.0.0` or `[::]`. Port 0 stands for the port bound. Default none: the address bound.
    pub advertise: Option<SocketAddr>,
    /// Where to find the cluster, as `host:port`, in addition to the addresses in `node.seeds`.
    /// Names are looked up again and again.
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

    /// The address to tell peers, given the one that was bound.
    pub(crate) fn advertised(&self, local: SocketAddr) -> Result<SocketAddr, SpawnError> {
        match self.advertise {
            None if local.ip().is_unspecified() => Err(SpawnError::NoAdvertise(self.bind)),
            None => Ok(local),
            Some(told) if told.port() == 0 => Ok(SocketAddr::new(told.ip(), local.port())),
            Some(told) => Ok(told),
        }
    }

    /// Sorts the seeds into addresses, all known ones, and names, which are yet to be looked up.
    pub(crate) fn sorted_seeds(&self) -> Result<(Vec<SocketAddr>, Vec<String>), SpawnError> {
        let (mut addresses, mut names) = (self.node.seeds.clone(), Vec::new());
        for seed in &self.seeds {
            let port = seed.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            match (seed.parse(), port) {
                (Ok(address), Some(Ok(1..))) => addresses.push(address),
                (Err(_), Some(Ok(1..))) => names.push(seed.clone()),
                _ => return Err(SpawnError::Seed(seed.clone())),
            }
        }
        Ok((addresses, names))
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
    #[error("cannot bind {address}: {source}; {}", advice(source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system has no random numbers.
    #[error("the system refuses random numbers, which every node needs: {0}")]
    System(#[source] io::Error),
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::AddrInUse => {
            "stop the program that holds it, or bind another port (0 lets the system choose)"
        }
        ErrorKind::AddrNotAvailable => {
            "bind an address of this machine, and advertise the other one"
        }
        ErrorKind::PermissionDenied => "choose a port above 1023",
        _ => "choose another address",
    }
}
