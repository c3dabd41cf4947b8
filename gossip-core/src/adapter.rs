//! The words that adapters over UDP sockets share: what a node is started with, why it may not
//! start, and what fails around it. Each adapter re-exports them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, ErrorKind};

use crate::command::{CommandError, Key, Value};
use crate::config::{ConfigError, ConfigWarning};
use crate::identity::{Identity, IdentityError};
use crate::node::{Agreement, Node};
use crate::seed::{SeedError, SeedList};
use crate::time::{Instant, UnixTime};

/// What an adapter starts a node with. Start from [`Config::new`] and change what differs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The settings of the protocol. Default [`Config::lan`](crate::Config::lan).
    pub node: crate::Config,
    /// The node's name, unique in its cluster. A node that starts again under the same name is the
    /// same node.
    pub name: String,
    /// The local address to receive on. Port 0 lets the system choose a free port.
    pub bind: SocketAddr,
    /// The address that peers are told, where it is not the one bound: behind a NAT, or when `bind`
    /// is `0.0.0.0` or `[::]`, which is no address to send to. Port 0 stands for the port bound.
    /// Default none: the address bound.
    pub advertise: Option<SocketAddr>,
    /// Where to find the cluster, each a [`Seed`](crate::Seed) as text, in addition to the addresses
    /// in `node.seeds`. Names are looked up again and again.
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
            node: crate::Config::lan(),
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

    /// All seeds, those in `node.seeds` included.
    ///
    /// # Errors
    /// [`SeedError`] tells the first text that is none.
    pub fn seeds(&self) -> Result<SeedList, SeedError> {
        SeedList::parse(&self.node.seeds, &self.seeds)
    }

    /// The node, for a socket that is bound to `local`. Its time begins at [`Instant::ORIGIN`];
    /// `random` and `wall` are as for [`Node::new`].
    ///
    /// # Errors
    /// What is wrong with the settings, the name or the address.
    pub fn node(
        &self,
        local: SocketAddr,
        random: [u8; 32],
        wall: UnixTime,
    ) -> Result<Node, SpawnError> {
        let identity = Identity::bound(&self.name, local, self.advertise)?;
        let mut settings = self.node.clone();
        let seeds = self.seeds()?;
        settings.seeds = seeds.addresses();
        settings.seeds_to_come |= !seeds.names().is_empty();
        let node = Node::new(settings, identity, random, Instant::ORIGIN, wall)?;
        Ok(node)
    }
}

/// Why an adapter started no node.
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
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The address cannot be bound.
    #[error("{}", refusal(address, source))]
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

fn refusal(address: &SocketAddr, source: &io::Error) -> String {
    match source.kind() {
        ErrorKind::AddrInUse => format!(
            "address {address} is in use: stop the program that holds it, or bind another port (0 lets the system choose)"
        ),
        ErrorKind::AddrNotAvailable => format!(
            "{address} is no address of this machine: bind one of its own, and advertise the other"
        ),
        ErrorKind::PermissionDenied => {
            format!("no permission to bind {address}: choose a port above 1023")
        }
        _ => format!("cannot bind {address}: {source}; choose another address"),
    }
}

/// Why a wait for agreement ended without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoAgreement {
    /// Time ran out.
    #[error("no agreement yet: {} live members show another value than this node", .0.differing().count())]
    Yet(Agreement),
    /// The node refuses to watch the attribute, or has stopped.
    #[error(transparent)]
    Refused(#[from] CommandError),
}

/// What failed around a node. None of it stops the node, and all of it is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// Datagrams that the system refused to send: no route, a closed port, too long, …
    pub send: u64,
    /// Errors in place of a datagram, such as the news that a peer's port is closed.
    pub receive: u64,
    /// The seeds whose names could not be looked up the last time, each with the reason.
    pub unresolved: Vec<(String, String)>,
}

/// What is read under a key of the shared map, as by [`Node::get`], for those who cannot keep the node
/// waiting.
#[must_use]
pub fn get(node: &Node, key: &Key) -> Option<Value> {
    Value::new(node.get(key)?.value).ok()
}

/// A copy of what [`Node::entries`] tells: the keys of the shared map that begin with `prefix`, in
/// order, with what is read under each.
#[must_use]
pub fn entries(node: &Node, prefix: &str) -> Vec<(Key, Value)> {
    let owned = |(key, value)| Some((Key::new(key).ok()?, Value::new(value).ok()?));
    let entries = node.entries(prefix);
    let read = entries.map(|(key, reading)| (key, reading.value));
    read.filter_map(owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec;

    #[test]
    fn seeds_with_names_count_as_seeds() {
        let mut config = Config::new("a", "127.0.0.1:0".parse().unwrap());
        config.seeds = vec!["one.example:1".into()];
        assert_eq!(config.warnings().len(), 1);
        let more = ["two.example:1".into(), "three.example:1".into()];
        config.seeds.extend(more);
        assert_eq!(config.warnings(), []);
    }

    #[test]
    fn a_refused_address_is_told_with_the_remedy() {
        let address = "127.0.0.1:7946".parse().unwrap();
        let told = |kind: ErrorKind| {
            let source = io::Error::from(kind);
            SpawnError::Bind { address, source }.to_string()
        };
        for (kind, expected) in [
            (
                ErrorKind::AddrInUse,
                "address 127.0.0.1:7946 is in use: stop",
            ),
            (
                ErrorKind::AddrNotAvailable,
                "127.0.0.1:7946 is no address of",
            ),
            (
                ErrorKind::PermissionDenied,
                "no permission to bind 127.0.0.1:7946",
            ),
            (ErrorKind::Other, "cannot bind 127.0.0.1:7946: other error"),
        ] {
            assert!(told(kind).starts_with(expected), "{}", told(kind));
        }
    }

    #[test]
    fn a_node_is_made_of_what_was_bound_and_what_is_told() {
        let mut config = Config::new("a", "0.0.0.0:0".parse().unwrap());
        let local = "0.0.0.0:4000".parse().unwrap();
        let node = |config: &Config| config.node(local, [1; 32], UnixTime::from_millis(1));
        let refused = node(&config).unwrap_err().to_string();
        assert!(refused.contains("advertise"), "{refused}");

        config.advertise = Some("10.0.0.1:0".parse().unwrap());
        let made = node(&config).unwrap();
        let told = made.member(made.id()).unwrap().address();
        assert_eq!(told.to_string(), "10.0.0.1:4000");

        config.seeds = vec!["nowhere".into()];
        assert!(matches!(node(&config), Err(SpawnError::Seed(_))));
    }
}
