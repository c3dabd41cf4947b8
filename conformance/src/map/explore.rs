//! All states that three replicas can come to by a few acts: writes, a delete, a collection, a crash
//! that loses memory, a log that leaves the vector, and any number of deltas in between.
//!
//! Each act is the real code's. Deltas take effect as a whole here, in one datagram; what becomes of
//! parts of them is for the random schedules.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use gossip_core::map::{Origin, PruneLimits};
use gossip_core::{Key, Policy};

use super::replica::Replica;
use super::{Flaw, Missing, Replicas};

/// How often each act may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// A value is written.
    pub writes: u8,
    /// The key is deleted.
    pub deletes: u8,
    /// A replica collects its tombstones.
    pub collections: u8,
    /// A replica restarts without memory.
    pub crashes: u8,
    /// A replica takes the logs of ended lives out of its vector.
    pub burials: u8,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Explored {
    /// How many states there are.
    pub states: usize,
    /// What went wrong in the first that went wrong, and the acts that led there.
    pub failure: Option<(Flaw, Vec<String>)>,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Write,
    Delete,
    Collect,
    Crash,
    Bury,
    Pull(usize),
}

const REPLICAS: usize = 3;

/// Goes through every state that can be reached, until one is wrong. In every state the replicas are
/// left alone, and must come to agree, with nothing lost and nothing come back.
#[must_use]
pub fn explore(budget: Budget, missing: Missing) -> Explored {
    let mut start = Replicas::draw(0, missing);
    start.replicas.clear();
    start.groups.clear();
    (start.time, start.generation, start.grace) = (1, 0, 0);
    (start.policy, start.forgets, start.graves) = (Policy::KeepSiblings, None, usize::MAX);
    for at in 0..REPLICAS {
        let replica = start.born(at);
        start.replicas.push(replica);
    }
    let mut seen = BTreeSet::from([start.print(&budget)]);
    let mut open = vec![(start, budget, Vec::new())];
    while let Some((world, budget, path)) = open.pop() {
        if let Some(failure) = world.clone().finish() {
            let path = path.iter().map(|act| format!("{act:?}")).collect();
            let states = seen.len();
            let failure = Some((failure, path));
            return Explored { states, failure };
        }
        for at in 0..REPLICAS {
            let pulls = (0..REPLICAS).filter(|other| *other != at).map(Act::Pull);
            let acts = [
                (Act::Write, budget.writes),
                (Act::Delete, budget.deletes),
                (Act::Collect, budget.collections),
                (Act::Crash, budget.crashes),
                (Act::Bury, budget.burials),
            ];
            let acts = acts.into_iter().filter(|(_, left)| *left > 0);
            for act in acts.map(|(act, _)| act).chain(pulls) {
                let (mut world, mut budget) = (world.clone(), budget);
                world.act(at, act, &mut budget);
                if seen.insert(world.print(&budget)) {
                    let mut path = path.clone();
                    path.push((at, act));
                    open.push((world, budget, path));
                }
            }
        }
    }
    Explored {
        states: seen.len(),
        failure: None,
    }
}

impl Replicas {
    fn born(&mut self, at: usize) -> Replica {
        self.generation += 1;
        let generation = (self.time << 16) + self.generation;
        Replica::new(crate::num::count(at), generation, 0, self.policy, false)
    }

    fn act(&mut self, at: usize, act: Act, budget: &mut Budget) {
        let Ok(key) = Key::new("k") else { return };
        let time = self.time;
        match act {
            Act::Write => {
                budget.writes -= 1;
                self.values += 1;
                let value = Some(self.values);
                self.replicas[at].write(time, &key, value, &mut self.truth);
            }
            Act::Delete => {
                budget.deletes -= 1;
                self.replicas[at].write(time, &key, None, &mut self.truth);
            }
            Act::Collect => {
                budget.collections -= 1;
                // Stamps of one millisecond may have run ahead of it.
                self.replicas[at].collect(time + 1, 0, &mut self.truth);
            }
            Act::Crash => {
                budget.crashes -= 1;
                self.replicas[at] = self.born(at);
            }
            Act::Bury => {
                budget.burials -= 1;
                let live: Vec<_> = self.replicas.iter().map(Replica::id).collect();
                let memory = PruneLimits {
                    after: Duration::ZERO,
                    empty_logs: 0,
                    pruned_origins: usize::MAX,
                };
                let closed = |origin: Origin| !live.contains(&origin);
                self.replicas[at].forget(time, closed, memory, &mut self.truth);
            }
            Act::Pull(other) => {
                let Ok([taker, giver]) = self.replicas.get_disjoint_mut([at, other]) else {
                    return;
                };
                taker.catch_up(time, giver, self.missing, &mut self.truth);
            }
        }
    }

    /// What tells this state from others.
    fn print(&self, budget: &Budget) -> u64 {
        let mut hasher = DefaultHasher::new();
        (budget, &self.truth, self.values).hash(&mut hasher);
        for replica in &self.replicas {
            let map = &replica.map;
            (map.own(), map.summary().hash, map.summary().prune_stamp).hash(&mut hasher);
            for log in map.frontiers() {
                (log.origin, log.frontier, log.floor).hash(&mut hasher);
            }
            let mut held: Vec<_> = map
                .held()
                .map(|(origin, write)| (origin, write.encode()))
                .collect();
            held.sort();
            held.hash(&mut hasher);
            map.pruned_origins().collect::<Vec<_>>().hash(&mut hasher);
            replica.known.hash(&mut hasher);
        }
        hasher.finish()
    }
}
