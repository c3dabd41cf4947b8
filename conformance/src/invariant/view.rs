//! What a node shows, as plain data that a test can forge.

use core::net::SocketAddr;

use gossip_core::{Generation, Node, NodeId, Standing, Status};

/// Everything that one node shows at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Whose view it is.
    pub viewer: NodeId,
    /// How far that node has come.
    pub standing: Standing,
    /// Its table hash.
    pub table_hash: u128,
    /// Its count of live members.
    pub live: u64,
    /// Its members in the order of their ids.
    pub members: Vec<MemberView>,
}

/// How far a node has come with one member's log: its version vector's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Which life of the member.
    pub generation: Generation,
    /// Up to which version.
    pub frontier: u64,
}

/// What a node shows of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// The member.
    pub id: NodeId,
    /// Where it is reached.
    pub address: SocketAddr,
    /// How much of its log is known.
    pub mark: Mark,
    /// Its status.
    pub status: Status,
    /// Its attributes, in the order in which they were written.
    pub attributes: Vec<Attribute>,
    /// Its broadcasts that have not ended, in the order of their numbers.
    pub broadcasts: Vec<(u64, Vec<u8>)>,
}

/// One attribute: its key and its value.
pub type Attribute = (String, Vec<u8>);

impl View {
    /// What this node shows now.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        Self {
            viewer: node.id(),
            standing: node.standing(),
            table_hash: node.table_hash(),
            live: node.metrics().live,
            members: node
                .members()
                .map(|member| MemberView {
                    id: member.id(),
                    address: member.address(),
                    mark: Mark {
                        generation: member.generation(),
                        frontier: member.frontier(),
                    },
                    status: member.status(),
                    attributes: member
                        .attributes()
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .collect(),
                    broadcasts: member
                        .broadcasts()
                        .map(|broadcast| (broadcast.number, broadcast.payload.to_owned()))
                        .collect(),
                })
                .collect(),
        }
    }

    /// What it shows of one member.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&MemberView> {
        let at = self.members.binary_search_by_key(&id, |member| member.id);
        at.ok().and_then(|at| self.members.get(at))
    }
}

impl MemberView {
    /// One of its attributes.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&[u8]> {
        let found = self.attributes.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_slice())
    }
}

impl core::fmt::Display for Mark {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "version {} of generation {}",
            self.frontier, self.generation
        )
    }
}
