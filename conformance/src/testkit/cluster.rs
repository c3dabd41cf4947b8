//! A simulated cluster, as a test sees it.

use core::time::Duration;
use std::collections::BTreeSet;

use gossip_core::{Command, CommandError, Config, Event, Node, NodeId, Status};

use super::options::{Options, datacenter};
use super::{MILLI, key, value};
use crate::forge::Body;
use crate::num::count;
use crate::sim::network::{Effect, Fault, FaultId, Scope};
use crate::sim::{Action, HostId, HostSet, Time, Traffic, WallClock, World};

/// How often [`Cluster::until`] looks.
const LOOKS: Duration = MILLI.saturating_mul(100);

/// A cluster in virtual time. [`Cluster::of`] makes one; the [module](super) says how to use it.
#[derive(Debug)]
pub struct Cluster {
    /// The world that the nodes live in, for whatever this type has no method for. Events that nodes
    /// tell while a test drives the world itself are not in [`Cluster::told`].
    pub world: World,
    config: Config,
    told: Vec<Told>,
    faults: u32,
}

/// An event, with the node that told it and the time.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// When the node told it.
    pub at: Time,
    /// The number of the node.
    pub by: usize,
    /// What it told.
    pub event: Event,
}

/// The host of a node.
#[must_use]
pub fn host(number: usize) -> HostId {
    HostId::at(number)
}

/// The hosts of some nodes.
#[must_use]
pub fn hosts(numbers: impl IntoIterator<Item = usize>) -> HostSet {
    numbers.into_iter().map(host).collect()
}

/// Making a cluster.
impl Cluster {
    /// A cluster of so many nodes, called `n0`, `n1` and so on.
    pub fn of(nodes: usize) -> Options {
        Options::of(nodes)
    }

    pub(super) const fn new(world: World, config: Config) -> Self {
        Self {
            world,
            config,
            told: Vec::new(),
            faults: 0,
        }
    }

    /// Adds a machine of this name that is configured as all nodes are. Gives its number; its process
    /// does not run yet.
    ///
    /// # Panics
    /// If no node can have this name.
    #[track_caller]
    pub fn add(&mut self, name: &str) -> usize {
        self.add_with(name, self.config.clone())
    }

    /// Adds a machine of this name and configuration.
    ///
    /// # Panics
    /// If no node can be made of them.
    #[track_caller]
    pub fn add_with(&mut self, name: &str, config: Config) -> usize {
        let host = self.world.add(name, config).expect("a legal node");
        host.position()
    }

    /// What nodes are configured with that are added.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }
}

/// Time.
impl Cluster {
    /// Lets time pass.
    ///
    /// # Panics
    /// If a node breaks the contract of the core.
    #[track_caller]
    pub fn pass(&mut self, time: Duration) {
        let end = self.world.now() + time;
        while let Some(step) = self.world.step(end) {
            self.note(step.host);
        }
        assert_eq!(self.world.findings(), []);
    }

    /// Lets time pass up to a point, as seen from the beginning of the world.
    ///
    /// # Panics
    /// If a node breaks the contract of the core.
    #[track_caller]
    pub fn at(&mut self, time: Duration) {
        self.pass((Time::START + time).since(self.world.now()));
    }

    /// Lets time pass until something holds, and tells how much. It looks ten times a second.
    ///
    /// # Panics
    /// If it does not hold in time, or if a node breaks the contract of the core.
    #[track_caller]
    pub fn until(&mut self, within: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let began = self.world.now();
        loop {
            let passed = self.world.now().since(began);
            if holds(self) {
                return passed;
            }
            assert!(passed < within, "it does not hold within {within:?}");
            self.pass(LOOKS);
        }
    }

    /// The time since the beginning of the world.
    #[must_use]
    pub const fn now(&self) -> Duration {
        self.world.now().since(Time::START)
    }
}

/// What happens to nodes and to the network.
impl Cluster {
    /// Does anything to the world.
    pub fn act(&mut self, action: Action) {
        if let Some(step) = self.world.perform(action) {
            self.note(step.host);
        }
    }

    /// A process starts, without memory of its earlier life.
    pub fn start(&mut self, number: usize) {
        self.act(Action::Start(host(number)));
    }

    /// A process ends without a word.
    pub fn crash(&mut self, number: usize) {
        self.act(Action::Crash(host(number)));
    }

    /// A process ends without a word, and starts anew at once.
    pub fn restart(&mut self, number: usize) {
        self.crash(number);
        self.start(number);
    }

    /// A process gets no time.
    pub fn pause(&mut self, number: usize) {
        self.act(Action::Pause(host(number)));
    }

    /// A paused process goes on.
    pub fn resume(&mut self, number: usize) {
        self.act(Action::Resume(host(number)));
    }

    /// A wall clock is set so many milliseconds ahead of the true time.
    pub fn set_clock(&mut self, number: usize, ahead_ms: i64) {
        self.act(Action::SetClock(host(number), WallClock { ahead_ms }));
    }

    /// A node that does not run is put into a datacenter, numbered as in [`Options::datacenters`].
    ///
    /// # Panics
    /// If no node can be made of that.
    #[track_caller]
    pub fn set_datacenter(&mut self, number: usize, site: u32) {
        let mut config = self.world.host(host(number)).config().clone();
        config.datacenter = datacenter(site);
        let set = self.world.set_config(host(number), config);
        set.expect("a legal configuration");
        self.world.set_site(host(number), site);
    }

    /// The network gets worse, in addition to what is wrong with it already.
    pub fn disturb(&mut self, scope: Scope, effect: Effect) {
        let id = FaultId::new(self.faults);
        self.faults = self.faults.saturating_add(1);
        self.act(Action::Set(id, Fault { scope, effect }));
    }

    /// Some nodes reach one another, and nobody else.
    pub fn cut_off(&mut self, numbers: impl IntoIterator<Item = usize>) {
        self.disturb(Scope::Across(hosts(numbers)), Effect::Cut);
    }

    /// Some nodes reach nobody, not even one another.
    pub fn isolate(&mut self, numbers: impl IntoIterator<Item = usize>) {
        self.disturb(Scope::Around(hosts(numbers)), Effect::Cut);
    }

    /// Two nodes do not reach each other.
    pub fn break_link(&mut self, one: usize, other: usize) {
        let between = |from, to| Scope::Between(hosts([from]), hosts([to]));
        self.disturb(between(one, other), Effect::Cut);
        self.disturb(between(other, one), Effect::Cut);
    }

    /// Nothing is wrong with the network any more.
    pub fn mend(&mut self) {
        for id in 0..self.faults {
            self.act(Action::Mend(FaultId::new(id)));
        }
        self.faults = 0;
    }

    /// A forged datagram comes to a node, from an address where nobody is.
    ///
    /// # Panics
    /// If nothing can be forged, because the cluster encrypts.
    #[track_caller]
    pub fn forge(&mut self, number: usize, body: &Body) {
        let config = self.world.host(host(number)).config().clone();
        let datagram = super::loopback::framed(config, body);
        self.act(Action::Forge(host(number), datagram));
    }
}

/// What applications ask their nodes for.
impl Cluster {
    /// Asks a node for something, and gives its answer.
    ///
    /// # Errors
    /// [`CommandError`], as the node says.
    ///
    /// # Panics
    /// If the node does not run.
    #[track_caller]
    pub fn ask(&mut self, number: usize, command: Command) -> Result<(), CommandError> {
        let answer = self.world.ask(host(number), command);
        self.note(host(number));
        answer.expect("the node runs")
    }

    /// Tells a node something that it does not refuse.
    ///
    /// # Panics
    /// If the node does not run, or refuses.
    #[track_caller]
    pub fn command(&mut self, number: usize, command: Command) {
        self.ask(number, command).expect("the node accepts it");
    }

    /// A node sets an attribute of its own.
    #[track_caller]
    pub fn set(&mut self, number: usize, name: &str, to: impl AsRef<[u8]>) {
        let (key, value) = (key(name), value(to));
        self.command(number, Command::Set { key, value });
    }

    /// A node deletes an attribute of its own.
    #[track_caller]
    pub fn unset(&mut self, number: usize, name: &str) {
        self.command(number, Command::Unset { key: key(name) });
    }

    /// A node sends something to all.
    #[track_caller]
    pub fn broadcast(&mut self, number: usize, name: &str, payload: impl AsRef<[u8]>) {
        let (name, payload) = (key(name), value(payload));
        self.command(number, Command::Broadcast { name, payload });
    }

    /// A node writes to the shared map. The last write wins.
    #[track_caller]
    pub fn put(&mut self, number: usize, name: &str, says: impl AsRef<[u8]>) {
        self.command(number, Command::put(key(name), value(says)));
    }

    /// A node deletes a key of the shared map.
    #[track_caller]
    pub fn delete(&mut self, number: usize, name: &str) {
        self.command(number, Command::Delete { key: key(name) });
    }

    /// A node leaves.
    #[track_caller]
    pub fn leave(&mut self, number: usize) {
        self.command(number, Command::Leave);
    }
}

/// What nodes show.
impl Cluster {
    /// All machines, whether their processes run or not.
    pub fn numbers(&self) -> impl Iterator<Item = usize> + use<> {
        0..self.world.hosts().len()
    }

    /// A node.
    ///
    /// # Panics
    /// If it does not run.
    #[track_caller]
    #[must_use]
    pub fn node(&self, number: usize) -> &Node {
        let node = self.world.host(host(number)).node();
        node.expect("the node runs")
    }

    /// The id of a node, whether it runs or not.
    #[must_use]
    pub fn id(&self, number: usize) -> NodeId {
        self.world.host(host(number)).node_id()
    }

    /// The number of a node.
    ///
    /// # Panics
    /// If it is none of this cluster.
    #[track_caller]
    #[must_use]
    pub fn number(&self, id: NodeId) -> usize {
        let host = self.world.host_of(id);
        host.expect("a node of this cluster").position()
    }

    /// The nodes in the order in which they stand on the ring of observers.
    #[must_use]
    pub fn ring(&self) -> Vec<usize> {
        let mut ring: Vec<usize> = self.numbers().collect();
        ring.sort_by_key(|number| self.id(*number));
        ring
    }

    /// As what one node shows another. `None` where it does not know the other, or does not run.
    #[must_use]
    pub fn status(&self, viewer: usize, about: usize) -> Option<Status> {
        let node = self.world.host(host(viewer)).node()?;
        Some(node.member(self.id(about))?.status())
    }

    /// Whether each running node shows each node so; if not, who does not.
    ///
    /// # Errors
    /// The first pair of nodes that is shown otherwise.
    pub fn show(&self, expected: impl Fn(usize, usize) -> Status) -> Result<(), String> {
        let runs = |number: &usize| self.world.host(host(*number)).node().is_some();
        for viewer in self.numbers().filter(runs) {
            for about in self.numbers() {
                let shown = self.status(viewer, about);
                if shown != Some(expected(viewer, about)) {
                    return Err(format!("n{viewer} shows n{about} as {shown:?}"));
                }
            }
        }
        Ok(())
    }

    /// Whether each node of a list holds exactly the nodes of the list to be alive.
    #[must_use]
    pub fn is_whole(&self, list: &[usize]) -> bool {
        list.iter().all(|viewer| {
            self.node(*viewer).metrics().live == count(list.len())
                && list.iter().all(|about| {
                    let status = self.status(*viewer, *about);
                    matches!(status, Some(Status::Up | Status::Suspect))
                })
        })
    }

    /// An attribute of one node, as another shows it.
    #[must_use]
    pub fn attribute(&self, viewer: usize, about: usize, name: &str) -> Option<String> {
        let node = self.world.host(host(viewer)).node()?;
        let bytes = node.member(self.id(about))?.attribute(&key(name))?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// All that a node reads under a key of the shared map, the latest first.
    #[track_caller]
    #[must_use]
    pub fn read(&self, number: usize, name: &str) -> Vec<String> {
        let siblings = self.node(number).siblings(&key(name));
        let says = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        siblings.iter().map(|reading| says(reading.value)).collect()
    }

    /// All nodes read this under a key of the shared map.
    ///
    /// # Panics
    /// If one reads something else, or does not run.
    #[track_caller]
    pub fn assert_all_read(&self, name: &str, expected: &[&str]) {
        for number in self.numbers() {
            assert_eq!(self.read(number, name), expected, "{name} at n{number}");
        }
    }

    /// All nodes know the same of the shared map.
    ///
    /// # Panics
    /// If two differ, or one does not run.
    #[track_caller]
    pub fn assert_maps_agree(&self) {
        for number in self.numbers() {
            let (first, other) = (self.node(0).map(), self.node(number).map());
            assert_eq!(first.summary(), other.summary(), "n0 and n{number}");
        }
    }

    /// Whether all views agree with one another and with the truth.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.world.check_quiescence().is_empty()
    }

    /// All views agree with one another and with the truth.
    ///
    /// # Panics
    /// If they do not.
    #[track_caller]
    pub fn assert_at_rest(&self) {
        assert_eq!(self.world.check_quiescence(), []);
    }

    /// What all nodes together have sent and received.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.world.traffic()
    }
}

/// What nodes have told their applications.
impl Cluster {
    fn note(&mut self, by: HostId) {
        let (at, by) = (self.world.now(), by.position());
        for event in self.world.events() {
            let event = event.clone();
            self.told.push(Told { at, by, event });
        }
    }

    /// All that nodes have told, in the order of time.
    #[must_use]
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// All that nodes have told since the last call.
    pub fn take_told(&mut self) -> Vec<Told> {
        core::mem::take(&mut self.told)
    }

    /// How many such events nodes have told.
    #[must_use]
    pub fn count_told(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        let told = self.told.iter();
        told.filter(|told| wanted(&told.event)).count()
    }

    /// Whether a node has told such an event.
    #[must_use]
    pub fn tells(&self, by: usize, wanted: impl Fn(&Event) -> bool) -> bool {
        let mut told = self.told.iter();
        told.any(|told| told.by == by && wanted(&told.event))
    }

    /// Who has told of whom that it is down.
    #[must_use]
    pub fn downs(&self) -> BTreeSet<(usize, usize)> {
        let down = self.told.iter().filter_map(|told| match told.event {
            Event::MemberDown { id, .. } => Some((told.by, self.number(id))),
            _ => None,
        });
        down.collect()
    }
}
