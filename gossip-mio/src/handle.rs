//! What the application holds of a running node, and what it shares with the node's thread.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant as StdInstant, SystemTime};

use gossip_core::{Command, CommandError, Event, Identity, Instant, Node, UnixTime};
use mio::net::UdpSocket;
use mio::{Poll, Waker};

use crate::config::{Config, Seed, SpawnError};
use crate::driver::{self, Driver};
use crate::resolver;

/// Starts a node on a thread of its own. It begins to join at once.
///
/// # Errors
/// [`SpawnError`] says what is wrong and what to do; nothing is left running then.
pub fn spawn(config: Config) -> Result<(Handle, Events), SpawnError> {
    let mut settings = config.node.clone();
    let mut names = Vec::new();
    for seed in &config.seeds {
        match Seed::parse(seed)? {
            Seed::Address(address) => settings.seeds.push(address),
            Seed::Name(name) => names.push(name),
        }
    }
    let fixed = settings.seeds.clone();

    let bind = |source| SpawnError::Bind {
        address: config.bind,
        source,
    };
    let socket = UdpSocket::bind(config.bind).map_err(bind)?;
    let local = socket.local_addr().map_err(bind)?;
    let identity = Identity::new(&config.name, config.advertised(local)?)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|e| SpawnError::System(e.into()))?;
    let wall = UnixTime::from(SystemTime::now());
    let node = Node::new(settings, identity, seed, Instant::ORIGIN, wall)?;

    let poll = Poll::new().map_err(SpawnError::System)?;
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            node,
            arrived: None,
            faults: Faults::default(),
            phase: Phase::Running,
        }),
        event_arrived: Condvar::new(),
        phase_changed: Condvar::new(),
        waker: Waker::new(poll.registry(), driver::WAKE).map_err(SpawnError::System)?,
        origin: StdInstant::now(),
        local,
    });
    // From here on, an early return drops the owner, which stops what runs already.
    let owner = Arc::new(Owner(Arc::clone(&shared)));
    if !names.is_empty() {
        let shared = Arc::clone(&shared);
        start("gossip-resolver", move || {
            resolver::run(&shared, &fixed, &names, config.resolve_every);
        })?;
    }
    let driver =
        Driver::new(Arc::clone(&shared), poll, socket, wall).map_err(SpawnError::System)?;
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
    /// As [`Node::handle_command`]; [`CommandError::Left`] also where the node has stopped for
    /// another reason.
    pub fn command(&self, command: Command) -> Result<(), CommandError> {
        self.0.0.command(command)
    }

    /// Looks at the node as it is now, or as it was when it stopped. The node waits for the closure:
    /// take what is needed and return it. Using this handle or the events inside it would deadlock.
    pub fn read<R>(&self, view: impl FnOnce(&Node) -> R) -> R {
        let mut state = self.0.0.lock();
        if matches!(state.phase, Phase::Running) {
            // Time passes for a view (phi, above all) only when the node is told.
            state.node.handle_timeout(self.0.0.now());
        }
        view(&state.node)
    }

    /// The address at which the node receives.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.0.0.local_addr()
    }

    /// What has failed around the node so far.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.0.0.lock().faults.clone()
    }

    /// Announces departure: [`Command::Leave`]. The node stops by itself once that is done.
    ///
    /// # Errors
    /// [`CommandError::Left`] where it has stopped already.
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
        let going = |state: &mut State| !matches!(state.phase, Phase::Ended(_));
        let ended = shared.phase_changed.wait_while(shared.lock(), going);
        match &ended.unwrap_or_else(PoisonError::into_inner).phase {
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
        let nothing =
            |state: &mut State| !state.has_event() && !matches!(state.phase, Phase::Ended(_));
        let waited = shared
            .event_arrived
            .wait_timeout_while(shared.lock(), timeout, nothing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.arrived.take().ok_or(match state.phase {
            Phase::Ended(_) => NoEvent::Ended,
            Phase::Running | Phase::Stopping => NoEvent::Yet,
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

/// What failed around a node. None of it stops the node, and all of it is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// Datagrams that the system refused to send: no route, a closed port, too long, …
    pub send: u64,
    /// Errors in place of a datagram, such as the news that a peer's port is closed.
    pub receive: u64,
    /// The seeds whose names could not be looked up the last time, each with the reason.
    pub unresolved: Vec<(String, String)>,
}

/// What the application's threads share with the node's.
pub(crate) struct Shared {
    state: Mutex<State>,
    event_arrived: Condvar,
    phase_changed: Condvar,
    waker: Waker,
    origin: StdInstant,
    local: SocketAddr,
}

pub(crate) struct State {
    pub(crate) node: Node,
    /// The oldest event, taken from the node so as to know that there is one.
    arrived: Option<Event>,
    pub(crate) faults: Faults,
    pub(crate) phase: Phase,
}

pub(crate) enum Phase {
    Running,
    Stopping,
    Ended(Option<Arc<io::Error>>),
}

impl Shared {
    /// A panic while the lock was held (in a closure given to `read`, say) spoils it for nobody.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node's time. Read it while holding the lock, so that it does not run backwards.
    pub(crate) fn now(&self) -> Instant {
        Instant::from_origin(self.origin.elapsed())
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn command(&self, command: Command) -> Result<(), CommandError> {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Running) {
            return Err(CommandError::Left);
        }
        state.node.handle_command(self.now(), command)?;
        drop(state);
        self.wake();
        Ok(())
    }

    /// Wakes the consumer where there is something new for it.
    pub(crate) fn announce_events(&self, state: &mut State) {
        if state.arrived.is_none() && state.has_event() {
            self.event_arrived.notify_all();
        }
    }

    /// Waits this long, or until the node is stopping, and returns whether it is.
    pub(crate) fn stops_within(&self, timeout: Duration) -> bool {
        let running = |state: &mut State| matches!(state.phase, Phase::Running);
        let waited = self
            .phase_changed
            .wait_timeout_while(self.lock(), timeout, running);
        !running(&mut waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn stop(&self) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Running) {
            state.phase = Phase::Stopping;
        }
        drop(state);
        self.phase_changed.notify_all();
        self.wake();
    }

    fn end(&self, outcome: io::Result<()>) {
        self.lock().phase = Phase::Ended(outcome.err().map(Arc::new));
        self.phase_changed.notify_all();
        self.event_arrived.notify_all();
    }

    /// Has the loop look at the node again. It can fail only when the loop is gone.
    fn wake(&self) {
        let _ = self.waker.wake();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

impl State {
    fn has_event(&mut self) -> bool {
        if self.arrived.is_none() {
            self.arrived = self.node.poll_event();
        }
        self.arrived.is_some()
    }
}

/// Stops the node when the application has dropped all that it held of it.
#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.stop();
    }
}
