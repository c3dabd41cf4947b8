//! The addresses of members that were removed while they were down.
//!
//! A partition may last longer than `remove_after`. Then each side has removed the other. Without seeds on
//! the other side, no node would look for it any more. So a node goes on to try these addresses now and
//! then, until the member lives again or there are too many addresses.

use alloc::collections::VecDeque;
use core::net::SocketAddr;

use crate::identity::NodeId;

/// How many addresses are remembered. A few are enough: one member that answers brings the others.
const MOST: usize = 32;

/// The members that were removed last, the latest at the end, each once, with their addresses.
#[derive(Debug, Default)]
pub(crate) struct RemovedAddresses(VecDeque<(NodeId, SocketAddr)>);

impl RemovedAddresses {
    /// A member that was down is removed.
    pub(crate) fn note(&mut self, id: NodeId, address: SocketAddr) {
        self.forget(id);
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((id, address));
        debug_assert!(self.0.len() <= MOST);
    }

    /// A member is no longer looked for.
    pub(crate) fn forget(&mut self, id: NodeId) {
        self.0.retain(|(known, _)| *known != id);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The member at a position, with its address.
    pub(crate) fn get(&self, at: usize) -> Option<(NodeId, SocketAddr)> {
        self.0.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_addresses_are_remembered_each_once() {
        let mut addresses = RemovedAddresses::default();
        let at = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
        for n in 0..100 {
            addresses.note(NodeId::from_u64(n), at(1));
            addresses.note(NodeId::from_u64(n), at(2));
        }
        assert_eq!(addresses.len(), MOST);
        assert_eq!(addresses.get(0), Some((NodeId::from_u64(68), at(2))));
        addresses.forget(NodeId::from_u64(68));
        assert_eq!(addresses.get(0), Some((NodeId::from_u64(69), at(2))));
        assert_eq!(addresses.get(MOST), None);
    }
}
