//! Doubts: which members may have fallen without a word of it reaching this node, and which may be
//! removed.
//!
//! The verdict follows from what others say and from what this node hears. This module names the
//! members about whom both may be missing, so that the node probes them.

use alloc::vec::Vec;

use super::probes::SAMPLE;
use super::verdict::Evidence;
use crate::identity::NodeId;
use crate::membership::Condition;
use crate::membership::datacenter::Place;
use crate::membership::ring::Ring;

impl Evidence<'_> {
    /// The live members that have lost half of the observers that could vouch for them.
    ///
    /// The remaining observers may be too few for a verdict, and without any observer nobody votes.
    pub(super) fn members_that_lost_observers(&self) -> Vec<NodeId> {
        let down = self.table.down().filter_map(|id| self.table.get(id));
        let fallen = down.filter(|record| record.since > self.settled_before);
        let silent = self.observations.iter().filter(|o| o.is_silent());
        let lost = fallen
            .map(|record| record.id)
            .chain(silent.map(|o| o.id))
            .chain(self.probes.silent());
        let mut beside: Vec<NodeId> = lost.flat_map(|id| self.observers(id)).collect();
        beside.sort_unstable();
        beside.dedup();
        let without_a_vote = self.without_a_vote();
        beside.retain(|id| {
            let is_live = self.table.condition(*id) == Some(Condition::Live);
            let tally = || self.tally(*id, &[], &without_a_vote, |_, _| ());
            is_live && *id != self.own && tally().is_doubtful()
        });
        beside
    }

    /// The members to probe of datacenters whose bridges are all silent: the votes of the members
    /// there cannot have reached this node.
    ///
    /// Of a large datacenter this is a sample, and each node takes another one. It is the whole
    /// datacenter if somebody there is heard after all.
    pub(super) fn members_to_probe_behind_silent_bridges(&self) -> Vec<NodeId> {
        let mut to_probe = Vec::new();
        for (place, ring) in self.behind_silent_bridges() {
            let live = ring.live();
            debug_assert!(live.is_sorted(), "members of a ring are sorted");
            let (before, after) = live.split_at(live.partition_point(|id| *id < self.own));
            let around = after.iter().chain(before).copied();
            if self.silent_in(place) < SAMPLE {
                to_probe.extend(around.take(SAMPLE));
            } else if self.hears_any(live) {
                to_probe.extend(around);
            }
        }
        to_probe
    }

    /// The members of datacenters that are out of reach, by all that this node knows: the bridges
    /// are silent, a whole sample was probed in vain, and this node has heard nobody there lately.
    ///
    /// If one in ten of the members could be reached, a sample would miss all of them once in 800
    /// times. A node that does not cross itself takes the word of the bridges that do.
    pub(super) fn members_out_of_reach(&self) -> Vec<NodeId> {
        let crosses = self.crosses();
        let out_of_reach = self.behind_silent_bridges().filter(|(place, ring)| {
            !crosses || self.silent_in(*place) >= SAMPLE && !self.hears_any(ring.live())
        });
        out_of_reach
            .flat_map(|(_, ring)| ring.live().iter().copied())
            .collect()
    }

    /// Whether this node may reach other datacenters.
    fn crosses(&self) -> bool {
        let place = self.table.place(self.own);
        self.table.datacenters().may_cross(place, self.own)
    }

    /// Whether a bridge of this datacenter votes against a member.
    fn is_silent_to_own_bridges(&self, id: NodeId) -> bool {
        let datacenters = self.table.datacenters();
        let bridges = datacenters.bridges_of(self.table.place(self.own));
        self.valid_votes(id)
            .any(|vote| bridges.contains(&vote.observer))
    }

    /// The other datacenters with live members whose bridges this node all finds silent. Where it does not cross,
    /// the bridges of its own datacenter find them silent.
    fn behind_silent_bridges(&self) -> impl Iterator<Item = (Place, &Ring)> {
        let (datacenters, crosses) = (self.table.datacenters(), self.crosses());
        let others = datacenters.others(self.table.place(self.own), 0);
        others.filter(move |(place, ring)| {
            let bridges = datacenters.bridges_of(*place);
            let is_silent = |id: &NodeId| {
                if crosses {
                    self.finds_silent(*id)
                } else {
                    self.is_silent_to_own_bridges(*id)
                }
            };
            !ring.live().is_empty() && bridges.iter().all(is_silent)
        })
    }

    /// How many members of a datacenter are silent by a probe.
    fn silent_in(&self, place: Place) -> usize {
        let silent = self.probes.silent();
        silent.filter(|id| self.table.place(*id) == place).count()
    }

    fn hears_any(&self, members: &[NodeId]) -> bool {
        members.iter().any(|id| self.hears(*id))
    }

    /// The members of other datacenters that are down without a valid vote, although others there
    /// are live. Perhaps this node alone holds them down.
    pub(super) fn unvoted_elsewhere(&self) -> Vec<NodeId> {
        let datacenters = self.table.datacenters();
        let others = datacenters.others(self.table.place(self.own), 0);
        let inhabited = others.filter(|(_, ring)| !ring.live().is_empty());
        let down = inhabited.flat_map(|(_, ring)| ring.down().iter().copied());
        down.filter(|id| !self.has_valid_vote(*id)).collect()
    }

    /// The members of this datacenter that are down without a valid vote.
    pub(super) fn unvoted_here(&self) -> impl Iterator<Item = NodeId> + '_ {
        let down = self.table.home(self.own).down().iter().copied();
        down.filter(|id| !self.has_valid_vote(*id))
    }

    /// Whether members of its own datacenter hold a member down. One of these holds:
    ///
    /// - This node is there.
    /// - The datacenter is so small that others observe it, too.
    /// - Somebody there votes against the member.
    pub(super) fn is_down_at_home(&self, id: NodeId) -> bool {
        let home = self.table.place(id);
        home == self.table.place(self.own)
            || self.table.datacenters().is_small(home)
            || self
                .valid_votes(id)
                .any(|vote| self.table.place(vote.observer) == home)
    }

    /// Whether a member that is down may be removed. One of these holds:
    ///
    /// - Its own datacenter holds it down.
    /// - Others there are live, and this node has probed the member in vain.
    ///
    /// If a datacenter is out of reach as a whole, nobody here knows which of its members are
    /// alive. If they were removed, all of them would have to be brought back.
    pub(super) fn may_be_removed(&self, id: NodeId) -> bool {
        let others_live = !self.table.home(id).live().is_empty();
        self.is_down_at_home(id) || others_live && self.probes.is_silent(id)
    }
}
