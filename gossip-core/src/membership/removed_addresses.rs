//! Where members were that were removed while they were down.
//!
//! A partition may last longer than `remove_after`. Then each side has removed the other, and where
//! no seed is on the other side nobody would look for it any more. So the addresses are tried on, now
//! and then, until something lives there or they are too many.

use alloc::collections::VecDeque;
use core::net::SocketAddr;

use crate::identity::NodeId;

/// How many are remembered: one that answers brings the others.
const MOST: usize = 32;

/// The members removed last, and where they were.
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
    }

    /// A member is not to be looked for any more.
    pub(crate) fn forget(&mut self, id: NodeId) {
        self.0.retain(|(known, _)| *known != id);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The one at a position.
    pub(crate) fn get(&self, at: usize) -> Option<(NodeId, SocketAddr)> {
        self.0.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_remembered_each_once() {
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
