//! What the application holds of a running node.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant as Clock, SystemTime};

use gossip_core::adapter::{self, Config, Faults, NoAgreement, SpawnError};
use gossip_core::{Command, CommandError, Event, Key, Node, Standing, Value};
use mio::net::UdpSocket;
use mio::{Poll, Waker};

use crate::driver::{self, Driver};
use crate::resolver;
use crate::shared::{Phase, Shared, State};

/// Starts a node on a thread of its own. It begins to join at once.
///
/// # Errors
/// [`SpawnError`] says what is wrong and what to do; nothing is left running then.
pub fn spawn(config: Config) -> Result<(Handle, Events), SpawnError> {
    let seeds = config.seeds()?;
    let address = config.bind;
    let refused = |source| SpawnError::Bind { address, source };
    let socket = UdpSocket::bind(address).map_err(refused)?;
    let local = socket.local_addr().map_err(refused)?;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| SpawnError::System(error.into()))?;
    let (origin, wall) = (Clock::now(), SystemTime::now().into());
    let node = config.node(local, random, wall)?;

    let poll = Poll::new().map_err(SpawnError::System)?;
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            node,
            faults: Faults::default(),
            phase: Phase::Running,
            waiting: 0,
        }),
        changed: Condvar::new(),
        phase_changed: Condvar::new(),
        waker: Waker::new(poll.registry(), driver::WAKE).map_err(SpawnError::System)?,
        origin,
        local,
    });
    // From here on, an early return drops the owner, which stops what runs already.
    let owner = Arc::new(Owner(Arc::clone(&shared)));
    if !seeds.names().is_empty() {
        let shared = Arc::clone(&shared);
        let every = config.resolve_every;
        start("gossip-resolver", move || {
            resolver::run(&shared, seeds, every);
        })?;
    }
    let driver = Driver::new(Arc::clone(&shared), poll, socket).map_err(SpawnError::System)?;
    start("gossip", move || {
        // A panic is a bug of this library; it must not leave others waiting for ever.
        let outcome = catch_unwind(AssertUnwindSafe(|| driver.run()))
            .unwrap_or_else(|_| Err(io::Error::other("the node's thread panicked")));
        shared.end(outcome);
    })?;
    Ok((Handle(Arc::clone(&owner)), Events(owner)))
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), SpawnError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map(drop).map_err(SpawnError::System)
}

/// A hold on a running node, for any thread. Clones hold the same node.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Owner>);

impl Handle {
    /// Gives the node a command, and has what follows from it sent at once.
    ///
    /// # Errors
    /// As [`Node::handle_command`]; [`CommandError::Stopped`] where the node has stopped.
    pub fn command(&self, command: Command) -> Result<(), CommandError> {
        self.0.0.command(command)
    }

    /// Looks at the node as it is now, or as it was when it stopped. The node waits for the closure:
    /// take what is needed and return it. Using this handle or the events inside it would deadlock.
    pub fn read<R>(&self, view: impl FnOnce(&Node) -> R) -> R {
        let mut state = self.0.0.lock();
        if state.is_running() {
            // Time passes for a view (phi, above all) only when the node is told.
            state.node.handle_timeout(self.0.0.now());
        }
        view(&state.node)
    }

    /// Writes a key of the shared map, by [`Command::Put`]: the last write wins, and stays.
    ///
    /// # Errors
    /// As [`Handle::command`].
    pub fn put(&self, key: Key, value: Value) -> Result<(), CommandError> {
        self.command(Command::put(key, value))
    }

    /// Deletes a key of the shared map, by [`Command::Delete`].
    ///
    /// # Errors
    /// As [`Handle::command`].
    pub fn delete(&self, key: Key) -> Result<(), CommandError> {
        self.command(Command::Delete { key })
    }

    /// What is read under a key of the shared map, as by [`Node::get`].
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Value> {
        self.read(|node| adapter::get(node, key))
    }

    /// The keys of the shared map that begin with `prefix`, in order, with what is read under each, as
    /// by [`Node::entries`]. All of them are copied; [`Handle::read`] can look at a few.
    #[must_use]
    pub fn entries(&self, prefix: &str) -> Vec<(Key, Value)> {
        self.read(|node| adapter::entries(node, prefix))
    }

    /// From now on, tells of changes of those keys of the shared map only that begin with one of
    /// these, by [`Command::WatchMap`].
    ///
    /// # Errors
    /// [`CommandError::TooManyWatched`]; else as [`Handle::command`].
    pub fn watch_map(&self, prefixes: Vec<Key>) -> Result<(), CommandError> {
        self.command(Command::WatchMap { prefixes })
    }

    /// The address at which the node receives.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.0.0.local
    }

    /// What has failed around the node so far.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.0.0.lock().faults.clone()
    }

    /// Waits until all live members show the same value of an attribute as this node, be it none.
    /// The node watches the attribute from then on, as by [`Command::Watch`].
    ///
    /// # Errors
    /// [`NoAgreement`] tells who shows what when time ran out, or why there was nothing to wait for.
    pub fn wait_agreement(&self, key: &Key, timeout: Duration) -> Result<(), NoAgreement> {
        self.command(Command::Watch { key: key.clone() })?;
        let shared = &self.0.0;
        shared.lock().waiting += 1;
        let leaves = |node: &Node| matches!(node.standing(), Standing::Leaving | Standing::Left);
        let apart = |state: &mut State| {
            state.is_running() && !state.node.has_agreement(key) && !leaves(&state.node)
        };
        let mut state = shared.wait_while(&shared.changed, timeout, apart);
        state.waiting -= 1;
        match (state.is_running(), state.node.has_agreement(key)) {
            (false, _) => Err(CommandError::Stopped.into()),
            (true, true) => Ok(()),
            (true, false) if leaves(&state.node) => Err(CommandError::Left.into()),
            (true, false) => Err(NoAgreement::Yet(state.node.agreement(key))),
        }
    }

    /// Announces departure: [`Command::Leave`]. The node stops by itself once that is done.
    ///
    /// # Errors
    /// [`CommandError::Stopped`] where it has stopped already.
    pub fn leave(&self) -> Result<(), CommandError> {
        self.command(Command::Leave)
    }

    /// Stops the node at once and says nothing to anybody: to its peers it looks like a crash.
    pub fn shutdown(&self) {
        self.0.0.stop();
    }

    /// Waits until the node has stopped. Its socket is closed then.
    ///
    /// # Errors
    /// What the system said when the node stopped because its socket was lost.
    pub fn join(&self) -> io::Result<()> {
        let shared = &self.0.0;
        let going = |state: &mut State| !state.has_ended();
        let ended = shared.wait_while(&shared.phase_changed, Duration::MAX, going);
        match &ended.phase {
            Phase::Ended(Some(lost)) => Err(io::Error::new(lost.kind(), Arc::clone(lost))),
            _ => Ok(()),
        }
    }
}

/// What happens, as an iterator that waits for the next event and ends when the node has stopped.
#[derive(Debug)]
pub struct Events(Arc<Owner>);

impl Events {
    /// The next event, if there is one already.
    ///
    /// # Errors
    /// [`NoEvent`] says whether one may still come.
    pub fn try_next(&mut self) -> Result<Event, NoEvent> {
        self.next_timeout(Duration::ZERO)
    }

    /// The next event, for which it waits at most this long.
    ///
    /// # Errors
    /// [`NoEvent`] says whether one may still come.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Event, NoEvent> {
        let shared = &self.0.0;
        let nothing = |state: &mut State| !state.node.has_event() && !state.has_ended();
        let mut state = shared.wait_while(&shared.changed, timeout, nothing);
        state.node.poll_event().ok_or(match state.has_ended() {
            true => NoEvent::Ended,
            false => NoEvent::Yet,
        })
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.next_timeout(Duration::MAX).ok()
    }
}

/// Why there is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEvent {
    /// None has come yet.
    #[error("no event has come yet")]
    Yet,
    /// The node has stopped, and all its events have been taken.
    #[error("the node has stopped and will raise no more events")]
    Ended,
}

/// Stops the node when the application has dropped all that it held of it.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.stop();
    }
}
