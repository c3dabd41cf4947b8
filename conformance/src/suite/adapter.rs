//! What an adapter must be able to do so that the suite can ask it.

use core::time::Duration;
use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::sync::LazyLock;
use std::thread;
use std::time::Instant;

use gossip_core::{Command, CommandError, Config, Event, Node};

/// What a node is started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its name.
    pub name: String,
    /// Where it receives. Port 0 lets the system choose.
    pub bind: SocketAddr,
    /// The settings of the protocol, the seeds among them.
    pub config: Config,
}

/// Why a node was not started, in the adapter's own words. The suite reads the text.
pub type StartError = Box<dyn Error + Send + Sync>;

/// Something that runs nodes. All methods block until they are done; an adapter that is
/// asynchronous blocks on its runtime.
///
/// The methods with a body are the world around the nodes. Real adapters keep them; a simulator
/// has its own time and network.
pub trait Adapter: Send + Sync + Sized + 'static {
    /// What the application commands and reads a node by.
    type Handle: Handle;
    /// What the application takes events from.
    type Events: Events;

    /// Starts a node, which begins to join at once.
    ///
    /// # Errors
    /// Whatever is wrong with the address, the name or the configuration; nothing runs then.
    fn start(&self, spec: Spec) -> Result<(Self::Handle, Self::Events), StartError>;

    /// What it cannot be asked, each with the reason. Cases that need it are skipped.
    ///
    /// Without a hand in its sockets, no adapter can be asked about full ones: over loopback they
    /// never fill. To watch one by hand, on Linux, slow the loopback of a network namespace down
    /// with a queue that keeps what is sent charged to its sender (`tc qdisc add dev lo root tbf
    /// rate 200kbit burst 3000 limit 20000000`), and have fifty nodes find each other there.
    fn lacks(&self) -> Vec<(Ability, &'static str)> {
        vec![(
            Ability::FullSocket,
            "over loopback the system takes every datagram at once",
        )]
    }

    /// Makes a node's socket full, or free again. Only with [`Ability::FullSocket`].
    fn set_room(&self, _handle: &Self::Handle, _room: Room) {}

    /// Holds a node up for a while, as a machine that is suspended does; returns afterwards.
    fn hold_up(&self, handle: &Self::Handle, time: Duration) {
        handle.read(move |_| thread::sleep(time));
    }

    /// The time, from any origin.
    fn now(&self) -> Duration {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        ORIGIN.elapsed()
    }

    /// Lets time pass, so that what is awaited can happen.
    fn pass(&self, time: Duration) {
        thread::sleep(time);
    }

    /// Sends datagrams to a node from an address that belongs to none.
    ///
    /// # Errors
    /// What the system says.
    fn throw(&self, to: SocketAddr, datagrams: &[Vec<u8>]) -> std::io::Result<()> {
        let socket = UdpSocket::bind((to.ip(), 0))?;
        for datagram in datagrams {
            socket.send_to(datagram, to)?;
        }
        Ok(())
    }

    /// An address at which nobody receives; where there is ICMP, it says so to whoever sends there.
    ///
    /// # Errors
    /// What the system says.
    fn closed_address(&self) -> std::io::Result<SocketAddr> {
        UdpSocket::bind("127.0.0.1:0")?.local_addr()
    }

    /// Whether somebody receives at an address.
    fn is_taken(&self, address: SocketAddr) -> bool {
        UdpSocket::bind(address).is_err()
    }
}

/// A hold on a running node, for any thread.
pub trait Handle: Clone + Send + Sync + 'static {
    /// Gives the node a command.
    ///
    /// # Errors
    /// As [`Node::handle_command`]; [`CommandError::Stopped`] where the node has stopped.
    fn command(&self, command: Command) -> Result<(), CommandError>;

    /// Looks at the node. The node waits meanwhile. Not asked after the node has stopped.
    fn read<R: Send + 'static>(&self, view: impl FnOnce(&Node) -> R + Send + 'static) -> R;

    /// The address at which the node receives.
    fn local_addr(&self) -> SocketAddr;

    /// Stops the node without a word to anybody. May return before it has stopped.
    fn shutdown(&self);
}

/// The events of one node.
pub trait Events: Send + 'static {
    /// The next event, for which it waits at most this long.
    ///
    /// # Errors
    /// [`NoEvent`] says whether one may still come.
    fn next(&mut self, timeout: Duration) -> Result<Event, NoEvent>;
}

/// Why there is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEvent {
    /// None has come yet.
    Yet,
    /// The node has stopped, and all its events have been taken.
    Ended,
}

/// Whether a socket takes another datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It does.
    Free,
    /// Sending would block.
    Full,
}

/// What not every adapter can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// Its nodes have sockets of this machine, each with an address of its own choice.
    Sockets,
    /// Its sockets can be made full.
    FullSocket,
    /// Its time passes by itself, and costs this process whatever its nodes do meanwhile.
    RealTime,
    /// Its events wait in the node until they are taken, and are lost where they are too many.
    Backlog,
    /// Its nodes stop when nothing holds them any more.
    Ownership,
}
