//! Random schedules over replicas of the shared map.
//!
//! A schedule is drawn from one number: two to six replicas write, delete, collect and forget, push
//! and pull in datagrams that are lost, doubled and overtake one another, are cut off from one
//! another, restart without memory, take one another for gone. Then they are left alone, and must
//! agree, with nothing that was replaced come back and nothing lost that a survivor knew.
//!
//! With a rule taken away ([`Missing`]) the same schedules must fail, or they show nothing.

#![expect(
    clippy::indexing_slicing,
    reason = "positions are drawn below the number of replicas"
)]

mod explore;
mod replica;
mod script;
mod tamper;
mod truth;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use gossip_core::map::{Origin, PruneLimits, Reading};
use gossip_core::{Key, Policy};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use explore::{Budget, Explored, explore};
use replica::{Datagram, Replica};
pub use script::play_script;
pub use tamper::Missing;
use truth::{Knowledge, Ledger, Value};

use crate::sim::Fingerprint;

/// What a schedule that went wrong showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// Replicas that know the same, and have been left alone, read differently.
    Diverged,
    /// Something came back that had been replaced.
    Resurrected,
    /// Something was lost that nobody had replaced.
    Lost,
    /// Replicas that were left alone did not come to know the same.
    Restless,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Diverged => "diverged",
            Self::Resurrected => "resurrected",
            Self::Lost => "lost",
            Self::Restless => "restless",
        })
    }
}

/// Replicas, and what is between them.
#[derive(Clone)]
struct Replicas {
    rng: ChaCha8Rng,
    missing: Missing,
    time: u64,
    generation: u64,
    replicas: Vec<Replica>,
    groups: Vec<u32>,
    flying: Vec<Flight>,
    truth: Ledger,
    values: Value,
    policy: Policy,
    /// How old a tombstone is when it is collected.
    grace: u64,
    /// Whether, and how often, logs are closed, rightly or not, and forgotten.
    forgets: Option<f64>,
    /// How many forgotten logs are remembered.
    graves: usize,
    room: usize,
    /// Whether replicas keep runs that came by, and ask for what they miss.
    repairs: bool,
    /// Whether tombstones are collected before their time.
    is_crowded: bool,
    /// How many dots a context may have and yet name more than what is replaced.
    max_context: usize,
    /// What replicas heard that are no more.
    heard: Fingerprint,
}

/// A datagram under way.
#[derive(Clone)]
struct Flight {
    from: usize,
    /// The sender as it was when it sent it.
    sender: Origin,
    to: usize,
    datagram: Datagram,
}

/// In schedules from this seed on, replicas keep the runs that came by, ask one another for what they miss,
/// and leave long contexts out. Those below are as they were before replicas did so: seeds that are written
/// down show what they showed.
pub const REPAIR: u64 = 1 << 40;

/// In schedules from this seed on, replicas also collect tombstones before their time, as a node does whose map
/// is full.
pub const ROOM: u64 = 1 << 41;

/// Plays the schedule of a seed, with a rule missing or with all of them.
#[must_use]
pub fn play(seed: u64, missing: Missing) -> Option<Flaw> {
    Replicas::draw(seed, missing).play()
}

/// Plays the schedule of a seed, and hashes all that replicas send: to one another, and in the end to
/// a newcomer that learns all that each of them holds.
#[must_use]
pub fn trace(seed: u64, missing: Missing) -> (Option<Flaw>, Fingerprint) {
    let mut world = Replicas::draw(seed, missing);
    let failure = world.play();
    (failure, world.trace())
}

impl Replicas {
    fn draw(seed: u64, missing: Missing) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let count = rng.random_range(2..=6);
        let policy = match rng.random_range(0..3) {
            0 => Policy::LastWriteWins,
            _ => Policy::KeepSiblings,
        };
        let repairs = seed >= REPAIR;
        let mut world = Self {
            missing,
            time: 1,
            generation: 0,
            replicas: Vec::new(),
            groups: vec![0; count],
            flying: Vec::new(),
            truth: Ledger::default(),
            values: 0,
            policy,
            grace: rng.random_range(0..4),
            forgets: rng.random_bool(0.25).then_some(0.0),
            graves: usize::MAX,
            room: rng.random_range(160..400),
            repairs,
            is_crowded: seed >= ROOM,
            max_context: match seed.rem_euclid(3) {
                0 if repairs => 0,
                1 if repairs => 2,
                _ => usize::MAX,
            },
            heard: Fingerprint::default(),
            rng,
        };
        for id in 0..count {
            let replica = world.birth(id);
            world.replicas.push(replica);
        }
        if world.forgets.is_some() {
            world.forgets = Some(world.rng.random_range(0.0..0.2));
            if world.rng.random_bool(0.2) {
                world.graves = world.rng.random_range(0..3);
            }
        }
        world
    }

    fn birth(&mut self, at: usize) -> Replica {
        self.generation += 1;
        let skew = self.rng.random_range(0..6);
        // Some schedules mix the policies.
        let policy = if self.rng.random_bool(0.1) {
            Policy::LastWriteWins
        } else {
            self.policy
        };
        // In the milliseconds, as the stamps of writes.
        let generation = (self.time << 16) + self.generation;
        let mut replica = Replica::new(
            crate::num::count(at),
            generation,
            skew,
            policy,
            self.repairs,
        );
        replica.map.limit_contexts(self.max_context);
        replica
    }

    fn play(&mut self) -> Option<Flaw> {
        for _ in 0..self.rng.random_range(5..90) {
            self.step();
        }
        self.finish()
    }

    /// Leaves the replicas alone, and looks at what they come to.
    fn finish(&mut self) -> Option<Flaw> {
        let held: BTreeSet<Value> = self
            .replicas
            .iter()
            .flat_map(|replica| Ledger::values(&replica.map))
            .collect();
        let dead = self.truth.dead(self.known());
        let mut excused = self.truth.excused(self.known());
        if !self.settle() {
            return Some(Flaw::Restless);
        }
        if self.differ(|replica| Ledger::values(&replica.map)) {
            return Some(Flaw::Diverged);
        }
        // Until a tombstone that hides something is collected, one replica may read what another,
        // which had collected it before it learned the rest, does not.
        for _ in 0..2 {
            self.time += 20;
            for replica in &mut self.replicas {
                replica.collect(self.time, self.grace, &mut self.truth);
            }
            if !self.settle() {
                return Some(Flaw::Restless);
            }
        }
        excused.append(&mut self.truth.excused(self.known()));
        if self.differ(|replica| Ledger::values(&replica.map)) || self.differ(read) {
            return Some(Flaw::Diverged);
        }
        let read = Ledger::values(&self.replicas.first()?.map);
        let came_back = |value: &Value| !self.truth.was_reissued_blindly(*value);
        if read.intersection(&dead).any(came_back) {
            return Some(Flaw::Resurrected);
        }
        let is_lost = |value: &Value| !excused.contains(value) && !read.contains(value);
        held.iter().any(is_lost).then_some(Flaw::Lost)
    }

    fn trace(&mut self) -> Fingerprint {
        let mut all = self.heard;
        for at in 0..self.replicas.len() {
            let mut newcomer = self.birth(self.replicas.len());
            let replica = &mut self.replicas[at];
            newcomer.catch_up(self.time, replica, self.missing, &mut self.truth);
            all.join(self.replicas[at].heard);
            all.join(newcomer.heard);
        }
        all
    }

    fn known(&self) -> impl Iterator<Item = &Knowledge> {
        self.replicas.iter().map(|replica| &*replica.known)
    }

    /// Whether the replicas show different things.
    fn differ<'a, T: PartialEq>(&'a self, shown: impl Fn(&'a Replica) -> T) -> bool {
        let mut shown = self.replicas.iter().map(shown);
        let first = shown.next();
        shown.any(|other| Some(other) != first)
    }

    fn pick(&mut self) -> usize {
        self.rng.random_range(0..self.replicas.len())
    }

    fn step(&mut self) {
        self.time += self.rng.random_range(0..3);
        let at = self.pick();
        if let Some(often) = self.forgets
            && self.rng.random_bool(often)
        {
            return self.forget(at);
        }
        let key = if self.rng.random_bool(0.5) { "a" } else { "b" };
        let Ok(key) = Key::new(key) else { return };
        if self.repairs && self.rng.random_bool(0.15) {
            return self.repair(at);
        }
        match self.rng.random_range(0..100) {
            0..18 => {
                self.values += 1;
                let value = Some(self.values);
                self.replicas[at].write(self.time, &key, value, &mut self.truth);
            }
            18..30 => self.replicas[at].write(self.time, &key, None, &mut self.truth),
            30..40 if self.is_crowded && self.rng.random_bool(0.5) => {
                self.replicas[at].relieve(self.time, &mut self.truth);
            }
            30..40 => self.replicas[at].collect(self.time, self.grace, &mut self.truth),
            40..44 => {
                for group in &mut self.groups {
                    *group = self.rng.random_range(0..2);
                }
            }
            44..48 => {
                // Restarts without memory.
                self.heard.join(self.replicas[at].heard);
                self.replicas[at] = self.birth(at);
            }
            48..50 if self.forgets.is_some() => self.forget(at),
            48..52 => self.replicas[at].drop_staged(),
            52..62 => self.push(at),
            62..76 => {
                let other = self.pick();
                let whole = self.rng.random_bool(0.8);
                if other != at {
                    let it = self.replicas[other].id();
                    let pull = self.replicas[at].pull(it, whole, self.room);
                    self.send(at, other, pull);
                }
            }
            _ => {
                for _ in 0..self.rng.random_range(1..6) {
                    self.deliver();
                }
            }
        }
    }

    fn forget(&mut self, at: usize) {
        let memory = PruneLimits {
            after: Duration::from_millis(self.rng.random_range(0..20)),
            empty_logs: self.rng.random_range(0..3),
            pruned_origins: self.graves,
        };
        let wrong = self.rng.random_bool(0.3);
        let live: Vec<_> = self.replicas.iter().map(Replica::id).collect();
        let closed = |origin: Origin| wrong || !live.contains(&origin);
        self.replicas[at].forget(self.time, closed, memory, &mut self.truth);
    }

    /// A replica hears how far another one knows some origins, asks any replica for what it misses, or
    /// lets time pass.
    fn repair(&mut self, at: usize) {
        let other = self.pick();
        if other == at {
            return;
        }
        if self.rng.random_bool(0.1) {
            return self.replicas[at].begin_round(&mut self.truth);
        }
        if self.rng.random_bool(0.5) {
            self.tell(other, at);
        }
        let wanted = self.replicas[at].want(self.room);
        self.send(at, other, wanted);
    }

    /// A replica hears how far another one knows all origins.
    fn tell(&mut self, from: usize, to: usize) {
        let frontiers = self.replicas[from].map.frontiers();
        let told: Vec<(Origin, u64)> = frontiers.map(|log| (log.origin, log.frontier)).collect();
        self.replicas[to].on_told(told.into_iter());
    }

    fn push(&mut self, at: usize) {
        let datagrams = self.replicas[at].push(self.room);
        for to in 0..self.replicas.len() {
            if to != at && self.rng.random_bool(0.6) {
                self.send(at, to, datagrams.clone());
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, datagrams: Vec<Datagram>) {
        let sender = self.replicas[from].id();
        for datagram in datagrams {
            let flight = Flight {
                from,
                sender,
                to,
                datagram,
            };
            if self.rng.random_bool(0.1) {
                self.flying.push(flight.clone());
            }
            self.flying.push(flight);
        }
    }

    /// One of the datagrams under way arrives, most often the eldest.
    fn deliver(&mut self) {
        if self.flying.is_empty() {
            return;
        }
        let index = if self.rng.random_bool(0.7) {
            0
        } else {
            self.rng.random_range(0..self.flying.len())
        };
        let flight = self.flying.remove(index);
        if self.is_cut(&flight) || self.rng.random_bool(0.08) {
            return;
        }
        self.arrive(flight);
    }

    fn is_cut(&self, flight: &Flight) -> bool {
        self.groups[flight.from] != self.groups[flight.to]
    }

    fn arrive(&mut self, flight: Flight) {
        let Flight {
            from,
            sender,
            to,
            datagram,
        } = flight;
        match datagram {
            Datagram::Pull(bytes) => {
                let window = self.rng.random_range(1..4);
                let room = self.room;
                let answer = self.replicas[to].on_pull(sender, &bytes, window, room);
                self.send(to, from, answer);
            }
            Datagram::Want(bytes) => {
                let answer = self.replicas[to].on_want(&bytes);
                self.send(to, from, answer);
            }
            Datagram::Chunk(bytes, known) => {
                let Ok([giver, taker]) = self.replicas.get_disjoint_mut([from, to]) else {
                    return;
                };
                let ask = taker.on_chunk(
                    self.time,
                    (sender, &giver.map),
                    (&bytes, &known),
                    self.missing,
                    &mut self.truth,
                );
                if ask {
                    let pull = self.replicas[to].go_on(sender);
                    self.send(to, from, pull);
                }
            }
            Datagram::Run {
                origin,
                after,
                upto,
                writes,
            } => {
                let run = gossip_core::map::Run {
                    origin,
                    after,
                    upto,
                    writes: &writes,
                };
                self.replicas[to].on_run(self.time, &run, self.missing, &mut self.truth);
            }
        }
    }

    /// Leaves the replicas alone until all know the same. Tells whether they came to that.
    fn settle(&mut self) -> bool {
        self.flying.clear();
        if self.rng.random_bool(0.5) {
            for replica in &mut self.replicas {
                replica.drop_staged();
            }
        }
        for _ in 0..12 * self.replicas.len() {
            for at in 0..self.replicas.len() {
                for other in 0..self.replicas.len() {
                    if let Ok([taker, giver]) = self.replicas.get_disjoint_mut([at, other]) {
                        taker.catch_up(self.time, giver, self.missing, &mut self.truth);
                    }
                }
            }
            let mut summaries = self.replicas.iter().map(|replica| replica.map.summary());
            let first = summaries.next();
            if summaries.all(|summary| Some(summary) == first) {
                return true;
            }
        }
        false
    }
}

fn read(replica: &Replica) -> Vec<(String, Vec<Reading<'_>>)> {
    replica.view()
}

/// How often schedules failed, and the first seeds that did.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// How many were played.
    pub schedules: u64,
    /// What went wrong: what, how often, and with which seed first.
    pub failures: std::collections::BTreeMap<Flaw, (u64, u64)>,
}

impl Score {
    /// Plays the schedules of `count` seeds from `first` on; until one fails, where that is enough.
    #[must_use]
    pub fn of(first: u64, count: u64, missing: Missing, until_failure: bool) -> Self {
        let mut tally = Self::default();
        for seed in first..first.saturating_add(count) {
            tally.schedules += 1;
            if let Some(failure) = play(seed, missing) {
                tally.failures.entry(failure).or_insert((0, seed)).0 += 1;
                if until_failure {
                    break;
                }
            }
        }
        tally
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} schedules: ", self.schedules)?;
        if self.failures.is_empty() {
            return f.write_str("no failure");
        }
        for (n, (failure, (times, seed))) in self.failures.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{times} {failure} (first: seed {seed})")?;
        }
        Ok(())
    }
}
