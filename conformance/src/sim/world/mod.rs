//! The world: machines, a network, and time that passes from one event to the next.

mod acts;
mod flow;

use std::collections::BTreeMap;

use gossip_core::{
    Command, CommandError, Config, ConfigError, Event, Identity, IdentityError, Key, Node, NodeId,
    Standing, Value,
};
use rand_chacha::ChaCha8Rng;

use super::action::Action;
use super::drive::Outputs;
use super::host::{Host, Traffic};
use super::hosts::HostId;
use super::inspector::{Finding, Inspector, Scrutiny};
use super::meter::{Marker, Meter};
use super::network::{Delay, Network};
use super::parcels::Parcels;
use super::queue::{Due, Queue};
use super::seeds::{Seeds, Stream, between};
use super::time::{Time, nanos};
use super::trace::TraceHash;
use crate::invariant::{Broadcasts, Fate, MapView, Truth, View, Violation};
use crate::num::{narrow, position};

/// A simulated world. One seed decides everything that happens in it.
#[derive(Debug)]
pub struct World {
    seeds: Seeds,
    now: Time,
    queue: Queue,
    parcels: Parcels,
    network: Network,
    hosts: Vec<Host>,
    ids: BTreeMap<NodeId, HostId>,
    rng: ChaCha8Rng,
    script: Vec<Option<Action>>,
    outputs: Outputs,
    writes: BTreeMap<(NodeId, Key), Option<Value>>,
    broadcasts: Broadcasts,
    inspector: Inspector,
    trace: TraceHash,
    marker: Marker,
    /// The head of the frame of the first datagram that a node sent.
    frame: Vec<u8>,
    meter: Meter,
    crossing: Traffic,
    steps: u64,
}

/// One step of the world: a node has had an input, and all its outputs are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Time,
    /// Whose node.
    pub host: HostId,
}

/// Why a host cannot be.
#[derive(Clone, Debug, PartialEq)]
pub enum SetupError {
    /// Its name does not work.
    Identity(IdentityError),
    /// Its configuration does not work.
    Config(ConfigError),
}

impl core::fmt::Display for SetupError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Identity(error) => error.fmt(f),
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SetupError {}

impl World {
    /// An empty world.
    #[must_use]
    pub fn new(seed: u64, delay: Delay) -> Self {
        let seeds = Seeds::new(seed);
        Self {
            seeds,
            now: Time::START,
            queue: Queue::default(),
            parcels: Parcels::default(),
            network: Network::new(seeds, delay),
            hosts: Vec::new(),
            ids: BTreeMap::new(),
            rng: seeds.rng(Stream::Hosts),
            script: Vec::new(),
            outputs: Outputs::default(),
            writes: BTreeMap::new(),
            broadcasts: Broadcasts::default(),
            inspector: Inspector::default(),
            trace: TraceHash::default(),
            marker: Marker::default(),
            frame: Vec::new(),
            meter: Meter::default(),
            crossing: Traffic::default(),
            steps: 0,
        }
    }

    /// Adds a machine whose process does not run yet.
    ///
    /// # Errors
    /// [`SetupError`] where no node can be made of this name and configuration.
    pub fn add(&mut self, name: &str, config: Config) -> Result<HostId, SetupError> {
        let id = HostId::at(self.hosts.len());
        let identity = Identity::new(name, id.address(0)).map_err(SetupError::Identity)?;
        let node_id = identity.id();
        let mut host = Host::new(id, name.to_owned(), node_id, config.clone());
        // Up to a day: a node must not care where its clock starts.
        host.origin = between(&mut self.rng, 0, 86_400_000_000_000);
        // What can be refused is refused here, not at the start: a node is made and thrown away,
        // unless the configuration is the one that has just been tried.
        if self
            .hosts
            .last()
            .is_none_or(|last| *last.config() != config)
        {
            let (now, wall) = (host.instant(self.now), host.wall.read(self.now));
            Node::new(config, identity, [0; 32], now, wall).map_err(SetupError::Config)?;
        }
        self.ids.insert(node_id, id);
        self.hosts.push(host);
        Ok(id)
    }

    /// The virtual time.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// All machines, in the order in which they were added.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// One machine.
    ///
    /// # Panics
    /// If it is none of this world.
    #[must_use]
    pub fn host(&self, id: HostId) -> &Host {
        self.hosts
            .get(id.position())
            .expect("a host id comes from its own world")
    }

    /// The machine of a node.
    #[must_use]
    pub fn host_of(&self, id: NodeId) -> Option<HostId> {
        self.ids.get(&id).copied()
    }

    /// The network.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// The events told in the last step.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.outputs.events
    }

    /// The violations found so far.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        self.inspector.findings()
    }

    /// Notes a violation that whoever runs the world has found.
    pub(crate) fn report(&mut self, host: HostId, violation: Violation) {
        self.inspector.report(self.now, host, violation);
    }

    /// Sets how closely nodes are watched.
    pub fn set_scrutiny(&mut self, scrutiny: Scrutiny) {
        self.inspector.set_scrutiny(scrutiny);
    }

    /// The hash over everything so far.
    #[must_use]
    pub const fn trace_hash(&self) -> TraceHash {
        self.trace
    }

    /// Hashes what another world did too.
    pub(crate) fn join_trace(&mut self, other: TraceHash) {
        self.trace.join(other);
    }

    /// How many inputs nodes have had.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Datagrams on their way and timers that run.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// What is measured about the run itself.
    pub const fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    /// From now on, counts the datagrams that carry these bytes.
    pub fn mark(&mut self, bytes: &[u8]) {
        self.marker.look_for(bytes);
    }

    /// The count of marked datagrams.
    #[must_use]
    pub const fn marked(&self) -> u64 {
        self.marker.datagrams()
    }

    /// What all machines together have sent and received.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.hosts
            .iter()
            .fold(Traffic::default(), |sum, host| sum.with(host.traffic))
    }

    /// Puts a machine somewhere. All stand at site 0 otherwise.
    pub fn set_site(&mut self, id: HostId, site: u32) {
        if let Some(host) = self.host_mut(id) {
            host.site = site;
        }
    }

    /// What the processes of a host are started with from now on.
    ///
    /// # Errors
    /// [`SetupError`] where no node can be made of it.
    pub fn set_config(&mut self, id: HostId, config: Config) -> Result<(), SetupError> {
        let (now, host) = (self.now, self.host(id));
        let identity = Identity::new(host.name(), id.address(host.moves));
        let identity = identity.map_err(SetupError::Identity)?;
        let (instant, wall) = (host.instant(now), host.wall.read(now));
        let tried = Node::new(config.clone(), identity, [0; 32], instant, wall);
        tried.map_err(SetupError::Config)?;
        if let Some(host) = self.host_mut(id) {
            host.set_config(config);
        }
        Ok(())
    }

    /// What was sent from one site to another.
    #[must_use]
    pub const fn crossing(&self) -> Traffic {
        self.crossing
    }

    /// Plans an action for later.
    pub fn schedule(&mut self, at: Time, action: Action) {
        let number = narrow(self.script.len());
        self.script.push(Some(action));
        self.queue.push(at.max(self.now), Due::Action(number));
    }

    /// Lets time pass without looking at what happens.
    pub fn run_until(&mut self, until: Time) {
        while self.step(until).is_some() {}
    }

    /// The next step, if there is one by `until`; otherwise time moves on to `until`.
    pub fn step(&mut self, until: Time) -> Option<Step> {
        self.outputs.events.clear();
        while let Some((at, due)) = self.queue.pop(until) {
            self.now = self.now.max(at);
            let stepped = match due {
                Due::Arrival(parcel) => self.arrive(parcel),
                Due::Timer(host) => self.ring(HostId::new(host)),
                Due::Action(number) => {
                    let action = self.script.get_mut(position(number));
                    action.and_then(Option::take).and_then(|a| self.act(a))
                }
            };
            if let Some(host) = stepped {
                let at = self.now;
                return Some(Step { at, host });
            }
        }
        self.now = self.now.max(until);
        None
    }

    /// Does something to the world, now. Gives the step that a node has made of it.
    pub fn perform(&mut self, action: Action) -> Option<Step> {
        self.outputs.events.clear();
        let at = self.now;
        self.act(action).map(|host| Step { at, host })
    }

    /// Gives a node a command, now, as [`Action::Command`] does, and hands back what the node says
    /// to it. `None` where no node runs that could take it.
    pub fn ask(&mut self, id: HostId, command: Command) -> Option<Result<(), CommandError>> {
        self.outputs.events.clear();
        self.command(id, command)
    }

    /// What is true of the cluster, whatever its nodes believe: to be asked once no fault is left.
    #[must_use]
    pub fn truth(&self) -> Truth {
        let fates = self.hosts.iter().map(|host| (host.node_id(), fate(host)));
        let nodes: BTreeMap<NodeId, Fate> =
            fates.filter_map(|(id, fate)| Some((id, fate?))).collect();
        let mut truth = Truth {
            nodes,
            writes: self.writes.clone(),
        };
        let nodes = &truth.nodes;
        truth
            .writes
            .retain(|(id, _), _| matches!(nodes.get(id), Some(Fate::Lives(_))));
        truth
    }

    /// Checks what must hold once all faults have ended and news has had time to spread.
    #[must_use]
    pub fn check_quiescence(&self) -> Vec<Finding> {
        let truth = self.truth();
        let mut found = Vec::new();
        let mut first: Option<(View, MapView)> = None;
        for host in self.hosts.iter().filter(|h| truth.lives(h.node_id())) {
            let Some(node) = host.node() else {
                continue;
            };
            let (view, map) = (View::of(node), MapView::of(node));
            let mut wrong = truth.check(&view);
            // A life is over to within an interval.
            let before = Time::from_nanos(
                (self.now.as_nanos()).saturating_sub(nanos(host.config().interval * 3)),
            );
            let wall = host.wall.read(before);
            wrong.extend(
                self.inspector
                    .maps()
                    .check(&map, wall, |id| truth.lives(id)),
            );
            if let Some((first, first_map)) = &first {
                wrong.extend(Truth::compare(&view, first));
                wrong.extend(map.compare(first_map));
            }
            let now = self.now.since(Time::START);
            let writers = truth.nodes.keys().filter(|writer| truth.lives(**writer));
            let missing = |writer: &NodeId| self.broadcasts.missing(host.node_id(), *writer, now);
            wrong.extend(writers.filter_map(missing));
            let suspected = self.inspector.suspected_by(host.node_id());
            wrong.extend(suspected.map(|about| Violation::SuspicionWithoutEnd { about }));
            found.extend(wrong.into_iter().map(|violation| Finding {
                at: self.now,
                host: host.id(),
                violation,
            }));
            first.get_or_insert((view, map));
        }
        found
    }

    fn host_mut(&mut self, id: HostId) -> Option<&mut Host> {
        self.hosts.get_mut(id.position())
    }
}

#[cfg(test)]
mod tests;

/// What became of a host's node, if there ever was one.
fn fate(host: &Host) -> Option<Fate> {
    let Some(node) = host.node() else {
        return host.ended;
    };
    Some(match node.standing() {
        Standing::Joining | Standing::Up => Fate::Lives(node.generation()),
        Standing::Leaving => Fate::Parts,
        Standing::Left => Fate::Left,
    })
}
