//! Since when something holds of every node.

use gossip_core::Node;

use crate::sim::{Host, Step, Time, World};

/// Keeps track of the nodes of which something holds. Only the node of a step can change, so a step
/// costs one look at one node.
#[derive(Clone, Debug)]
pub(crate) struct Unanimity {
    holds: Vec<bool>,
    missing: usize,
    since: Option<Time>,
}

impl Unanimity {
    /// Looks at every node. A process that has crashed has no say; one that has not started does not
    /// agree yet.
    pub(crate) fn new(world: &World, holds: &impl Fn(&Node) -> bool) -> Self {
        let ask = |host: &Host| match host.node() {
            Some(node) => holds(node),
            None => host.lives() > 0,
        };
        let holds: Vec<bool> = world.hosts().iter().map(ask).collect();
        let missing = holds.iter().filter(|&&holds| !holds).count();
        Self {
            holds,
            missing,
            since: (missing == 0).then(|| world.now()),
        }
    }

    /// Looks at the node of a step.
    pub(crate) fn look(&mut self, world: &World, step: Step, holds: &impl Fn(&Node) -> bool) {
        let Some(node) = world.host(step.host).node() else {
            return;
        };
        let now = holds(node);
        let Some(before) = self.holds.get_mut(step.host.position()) else {
            return;
        };
        match (*before, now) {
            (false, true) => self.missing = self.missing.saturating_sub(1),
            (true, false) => self.missing = self.missing.saturating_add(1),
            _ => return,
        }
        *before = now;
        self.since = (self.missing == 0).then_some(step.at);
    }

    /// Since when it has held of all without a break, if it does.
    pub(crate) const fn since(&self) -> Option<Time> {
        self.since
    }
}
