//! What the application holds of a running node.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Instant as Clock, SystemTime};

use async_std::net::UdpSocket;
use futures_core::Stream;
use gossip_core::{Command, CommandError, Event, Identity, Instant, Node};

use crate::config::{Config, SpawnError};
use crate::shared::{Faults, Shared, State};
use crate::task;

/// Starts a node as a task of its own. It begins to join at once.
///
/// # Errors
/// [`SpawnError`] says what is wrong and what to do; nothing is left running then.
pub async fn spawn(config: Config) -> Result<(Handle, Events), SpawnError> {
    let mut settings = config.node.clone();
    let (addresses, names) = config.sorted_seeds()?;
    settings.seeds.clone_from(&addresses);

    let address = config.bind;
    let refused = |source| SpawnError::Bind { address, source };
    let socket = UdpSocket::bind(address).await.map_err(refused)?;
    let local = socket.local_addr().map_err(refused)?;
    let identity = Identity::new(&config.name, config.advertised(local)?)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| SpawnError::System(error.into()))?;
    let wall = SystemTime::now().into();
    let node = Node::new(settings, identity, seed, Instant::ORIGIN, wall)?;

    let shared = Arc::new(Shared {
        state: Mutex::new(State::new(node)),
        origin: Clock::now(),
        local,
    });
    let seeds = task::Seeds {
        addresses,
        names,
        every: config.resolve_every,
    };
    task::start(Arc::clone(&shared), socket, seeds);
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
    /// As [`Node::handle_command`]; [`CommandError::Left`] also where the node has stopped for
    /// another reason.
    pub fn command(&self, command: Command) -> Result<(), CommandError> {
        self.0.0.command(command)
    }

    /// Looks at the node, also after it has stopped. The node waits for the closure: take what is
    /// needed and return it. Using this handle or the events inside the closure would deadlock.
    pub fn read<R>(&self, view: impl FnOnce(&Node) -> R) -> R {
        view(&self.0.0.lock().node)
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

    /// Announces departure: [`Command::Leave`]. The node stops by itself once that is done.
    ///
    /// # Errors
    /// [`CommandError::Left`] where it has stopped.
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
        poll_fn(|cx| self.0.0.lock().poll_end(cx)).await
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
