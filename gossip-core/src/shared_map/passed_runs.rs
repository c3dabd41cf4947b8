//! Which runs this node has passed on lately. Each run is passed on once in each tree.

use alloc::collections::VecDeque;

use super::replica::Origin;

/// How many runs are remembered: more than pass through a node while one crosses the cluster.
const REMEMBERED: usize = 128;

/// The latest runs, each as its tree, its origin and its last version.
#[derive(Debug, Default)]
pub(super) struct PassedRuns(VecDeque<(u8, Origin, u64)>);

impl PassedRuns {
    /// Notes that a run comes down a tree. Tells whether it is the first time.
    pub(super) fn note(&mut self, tree: u8, origin: Origin, upto: u64) -> bool {
        let run = (tree, origin, upto);
        if self.0.contains(&run) {
            return false;
        }
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(REMEMBERED.div_euclid(8));
        }
        self.0.push_back(run);
        debug_assert!(self.0.len() <= REMEMBERED, "the oldest one makes room");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Generation, NodeId};

    #[test]
    fn a_run_is_new_once_in_each_tree_until_many_others_have_passed() {
        let origin = Origin {
            id: NodeId::from_u64(1),
            generation: Generation::ZERO,
        };
        let mut passed = PassedRuns::default();
        assert!(passed.note(0, origin, 1) && passed.note(1, origin, 1));
        assert!(!passed.note(0, origin, 1) && !passed.note(1, origin, 1));
        for upto in 0..126 {
            assert!(passed.note(0, origin, 2 + upto));
        }
        assert!(!passed.note(1, origin, 1));
        assert!(passed.note(0, origin, 1000) && passed.note(0, origin, 1));
    }
}
