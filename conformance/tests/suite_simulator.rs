//! What every adapter must do, asked of the simulator: that it drives nodes as adapters do, in its
//! own time.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conformance::sim::network::Delay;
use conformance::sim::{Action, HostId, Time, World};
use conformance::suite::{self, Ability, Adapter, NoEvent, Spec, StartError};
use gossip_core::{Command, CommandError, Event, Node, Standing};

/// A world of its own for each case.
#[derive(Clone)]
struct Simulated(Arc<Mutex<Told>>);

/// A world, and what its nodes have told and nobody has taken.
struct Told {
    world: World,
    events: BTreeMap<HostId, VecDeque<Event>>,
    addresses: BTreeMap<SocketAddr, HostId>,
}

impl Default for Simulated {
    fn default() -> Self {
        let delay = Delay::uniform(Duration::from_micros(50), Duration::from_millis(1));
        Self(Arc::new(Mutex::new(Told {
            world: World::new(1, delay),
            events: BTreeMap::new(),
            addresses: BTreeMap::new(),
        })))
    }
}

impl Told {
    fn perform(&mut self, action: Action) {
        if let Some(step) = self.world.perform(action) {
            self.collect(step.host);
        }
    }

    fn collect(&mut self, host: HostId) {
        let events = self.events.entry(host).or_default();
        events.extend(self.world.events().iter().cloned());
    }

    fn advance(&mut self, until: Time) {
        while let Some(step) = self.world.step(until) {
            self.collect(step.host);
        }
    }

    /// The node at a host, unless it has stopped.
    fn node(&self, host: HostId) -> Option<&Node> {
        let node = self.world.host(host).node();
        node.filter(|node| node.standing() != Standing::Left)
    }
}

impl Simulated {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Adapter for Simulated {
    type Handle = Handle;
    type Events = Events;

    fn start(&self, spec: Spec) -> Result<(Handle, Events), StartError> {
        let mut told = self.lock();
        let host = told.world.add(&spec.name, spec.config)?;
        told.perform(Action::Start(host));
        let own = |node: &Node| node.member(node.id()).map(|member| member.address());
        let address = told.node(host).and_then(own).ok_or("it did not start")?;
        told.addresses.insert(address, host);
        let handle = Handle {
            world: self.clone(),
            host,
            address,
        };
        Ok((handle.clone(), Events(handle)))
    }

    fn lacks(&self) -> Vec<(Ability, &'static str)> {
        vec![
            (Ability::Sockets, "simulated nodes have no sockets"),
            (Ability::FullSocket, "simulated nodes have no sockets"),
            (Ability::RealTime, "time passes only while somebody waits"),
            (Ability::Backlog, "the world takes all events at once"),
            (Ability::Ownership, "the world holds its nodes"),
        ]
    }

    fn hold_up(&self, handle: &Handle, time: Duration) {
        let mut told = self.lock();
        told.perform(Action::Pause(handle.host));
        let until = told.world.now() + time;
        told.advance(until);
        told.perform(Action::Resume(handle.host));
    }

    fn now(&self) -> Duration {
        self.lock().world.now().since(Time::START)
    }

    fn pass(&self, time: Duration) {
        let mut told = self.lock();
        let until = told.world.now() + time;
        told.advance(until);
    }

    fn throw(&self, to: SocketAddr, datagrams: &[Vec<u8>]) -> std::io::Result<()> {
        let mut told = self.lock();
        if let Some(host) = told.addresses.get(&to).copied() {
            for datagram in datagrams {
                told.perform(Action::Forge(host, datagram.clone()));
            }
        }
        Ok(())
    }

    fn closed_address(&self) -> std::io::Result<SocketAddr> {
        // In the simulated network, far from the first hosts.
        Ok(([10, 200, 0, 1], 7946).into())
    }

    fn is_taken(&self, address: SocketAddr) -> bool {
        let told = self.lock();
        let host = told.addresses.get(&address);
        host.is_some_and(|host| told.node(*host).is_some())
    }
}

#[derive(Clone)]
struct Handle {
    world: Simulated,
    host: HostId,
    address: SocketAddr,
}

impl suite::Handle for Handle {
    fn command(&self, command: Command) -> Result<(), CommandError> {
        let mut told = self.world.lock();
        if told.node(self.host).is_none() {
            return Err(CommandError::Stopped);
        }
        let done = told.world.ask(self.host, command);
        told.collect(self.host);
        done.unwrap_or(Err(CommandError::Stopped))
    }

    fn read<R: Send + 'static>(&self, view: impl FnOnce(&Node) -> R + Send + 'static) -> R {
        let told = self.world.lock();
        view(told.world.host(self.host).node().expect("the node runs"))
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn shutdown(&self) {
        self.world.lock().perform(Action::Crash(self.host));
    }
}

struct Events(Handle);

impl suite::Events for Events {
    fn next(&mut self, timeout: Duration) -> Result<Event, NoEvent> {
        let Handle { world, host, .. } = &self.0;
        let mut told = world.lock();
        let until = told.world.now() + timeout;
        loop {
            if let Some(event) = told.events.entry(*host).or_default().pop_front() {
                return Ok(event);
            }
            if told.node(*host).is_none() {
                return Err(NoEvent::Ended);
            }
            let Some(step) = told.world.step(until) else {
                return Err(NoEvent::Yet);
            };
            told.collect(step.host);
        }
    }
}

fn main() {
    suite::run(Simulated::default);
}
