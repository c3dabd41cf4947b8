//! What the application holds of a running node.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant as Clock, SystemTime};

use async_std::net::UdpSocket;
use futures_core::Stream;
use gossip_core::adapter::{self, Config, Faults, NoAgreement, SpawnError};
use gossip_core::{Command, CommandError, Event, Key, Node, Value};

use crate::shared::{Shared, State};
use crate::task;

/// Starts a node as a task of its own. It begins to join at once.
///
/// # Errors
/// [`SpawnError`] says what is wrong and what to do; nothing is left running then.
pub async fn spawn(config: Config) -> Result<(Handle, Events), SpawnError> {
    let seeds = config.seeds()?;
    let address = config.bind;
    let refused = |source| SpawnError::Bind { address, source };
    let socket = UdpSocket::bind(address).await.map_err(refused)?;
    let local = socket.local_addr().map_err(refused)?;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| SpawnError::System(error.into()))?;
    let (origin, wall) = (Clock::now(), SystemTime::now().into());
    let node = config.node(local, random, wall)?;

    let shared = Arc::new(Shared {
        state: Mutex::new(State::new(node)),
        origin,
        local,
        ended: event_listener::Event::new(),
    });
    task::start(Arc::clone(&shared), socket, seeds, config.resolve_every);
    let owner = Arc::new(Owner(shared));
    Ok((Handle(Arc::clone(&owner)), Events(owner)))
}

/// A hold on a running node, for any task or thread. Clones hold the same node.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Owner>);

impl Handle {
    /// Gives the node a command, and has what follows from it sent at once. Does not wait.
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
    pub async fn wait_agreement(&self, key: &Key, timeout: Duration) -> Result<(), NoAgreement> {
        self.command(Command::Watch { key: key.clone() })?;
        let reached = poll_fn(|cx| self.0.0.lock().poll_agreement(cx, key));
        match task::within(timeout, reached).await {
            Some(outcome) => outcome,
            None => Err(NoAgreement::Yet(self.read(|node| node.agreement(key)))),
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
    pub async fn join(&self) -> io::Result<()> {
        loop {
            let ended = self.0.0.ended.listen();
            if let Some(outcome) = self.0.0.lock().outcome() {
                return outcome;
            }
            ended.await;
        }
    }
}

/// What happens, as a stream that ends when the node has stopped.
#[derive(Debug)]
pub struct Events(Arc<Owner>);

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.0.lock().poll_event(cx)
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
