//! What adapters over UDP sockets share. Each adapter re-exports it, so that all of them look alike to their
//! users:
//!
//! - [`Config`]: what a node is started with;
//! - [`SpawnError`]: why it could not be started;
//! - [`Faults`]: what failed around it since.

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

/// What an adapter starts a node with. Start from [`Config::new`] and change what differs. The settings of the
/// protocol itself are in [`Config::node`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The settings of the protocol. Default [`Config::lan`](crate::Config::lan).
    pub node: crate::Config,
    /// The node's name, which no other node of the cluster has. A node that starts again under the same name
    /// is the same node.
    pub name: String,
    /// The local address to receive on. With port 0 the system chooses a free port.
    pub bind: SocketAddr,
    /// The address that peers are told. It is needed behind a NAT, and if `bind` is `0.0.0.0` or `[::]`, to
    /// which nobody can send. Port 0 stands for the port that was bound. Default `None`: the address that
    /// was bound.
    pub advertise: Option<SocketAddr>,
    /// Where to find the cluster, each a [`Seed`](crate::Seed) as text, in addition to the addresses in
    /// `node.seeds`. The adapter looks up names again and again.
    pub seeds: Vec<String>,
    /// Time between two look-ups of the names among `seeds`, at least 2 s. Default 60 s: DNS records that are
    /// meant to change usually live as long. After a look-up that failed, the adapter tries again in 2 s.
    pub resolve_every: Duration,
}

impl Config {
    /// The defaults, for a node of this name that receives on this address.
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
    /// [`SeedError`] names the first text that is not a seed.
    pub fn seeds(&self) -> Result<SeedList, SeedError> {
        SeedList::parse(&self.node.seeds, &self.seeds)
    }

    /// The node, for a socket that is bound to `local`. Its time begins at [`Instant::ORIGIN`]. `random` and
    /// `wall` are as `seed` and `wall` of [`Node::new`].
    ///
    /// # Errors
    /// [`SpawnError`] if the settings, the name, the address or a seed cannot be used.
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

/// Why an adapter could not start a node.
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
    #[error("the system refuses a resource that a node needs: {0}; look at its limits")]
    System(#[source] io::Error),
}

fn refusal(address: &SocketAddr, source: &io::Error) -> String {
    match source.kind() {
        ErrorKind::AddrInUse => format!(
            "address {address} is in use: stop the program that holds it, or bind another port (0 lets the system choose)"
        ),
        ErrorKind::AddrNotAvailable => format!(
            "{address} is not an address of this machine: bind one of its own, and advertise {address}"
        ),
        ErrorKind::PermissionDenied => {
            format!("no permission to bind {address}: choose a port above 1023")
        }
        _ => format!("cannot bind {address}: {source}; choose another address"),
    }
}

/// Why a wait for agreement ended without agreement.
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

/// What failed around a node. None of it stops the node, and the adapter tries all of it again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// Datagrams that the system refused to send: there is no route, a port is closed, the datagram is too
    /// long, …
    pub send: u64,
    /// Errors that the system returned in place of a datagram, for example because a peer's port is closed.
    pub receive: u64,
    /// The names of seeds whose last look-up failed, each with the reason.
    pub unresolved: Vec<(String, String)>,
}

/// A copy of what [`Node::get`] reads, for callers that cannot keep the node waiting.
#[must_use]
pub fn get(node: &Node, key: &Key) -> Option<Value> {
    Value::new(node.get(key)?.value).ok()
}

/// A copy of what [`Node::entries`] reads: the keys of the shared map that begin with `prefix`, in order, each
/// with its value.
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
    fn seeds_given_by_name_count_as_seeds() {
        let mut config = Config::new("a", "127.0.0.1:0".parse().unwrap());
        config.seeds = vec!["one.example:1".into()];
        assert_eq!(config.warnings().len(), 1);
        let more = ["two.example:1".into(), "three.example:1".into()];
        config.seeds.extend(more);
        assert_eq!(config.warnings(), []);
    }

    #[test]
    fn the_error_about_an_address_names_the_remedy() {
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
                "127.0.0.1:7946 is not an address of",
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
    fn a_node_is_made_from_the_bound_and_the_advertised_address() {
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
