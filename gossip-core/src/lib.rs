//! Cluster membership, failure detection and shared state without a leader, for 2 to 10,000 nodes, as a
//! state machine without I/O.
//!
//! A [`Node`] finds the other nodes of its cluster through a few seeds. From then on it
//!
//! - knows the **members**, and which of them are up, suspected, down or gone ([`Node::members`]);
//! - tells its application what **changes** ([`Event`]);
//! - spreads its own **attributes** to all members ([`Command::Set`], [`Member::attributes`]);
//! - reads and writes one **map** that all members share, on both sides of any partition
//!   ([`Command::Put`], `Node::get`);
//! - sends **broadcasts** that every member is told once ([`Command::Broadcast`]);
//! - tells when all live members show the same value of an attribute ([`Command::Watch`]).
//!
//! # Without I/O
//!
//! The crate opens no socket, reads no clock and starts no thread. It runs as well in an event loop, in a
//! simulator, in a fuzzer and on a microcontroller. The caller tells the node what has happened, and asks it
//! what to do:
//!
//! | tell it | ask it |
//! |---|---|
//! | a datagram came: [`handle_datagram`](Node::handle_datagram) | what to send: [`poll_transmit`](Node::poll_transmit) |
//! | the application wants something: [`handle_command`](Node::handle_command) | what has changed: [`poll_event`](Node::poll_event) |
//! | time has passed: [`handle_timeout`](Node::handle_timeout) | when to wake up: [`poll_timeout`](Node::poll_timeout) |
//!
//! If you do not want to write the loop yourself, take `gossip-mio`, which runs a node on a thread, or
//! `gossip-async-std`, which runs it as a task.
//!
//! # Two nodes without a network
//!
//! Because time and the network are inputs, a whole cluster can be played in a test:
//!
//! ```
//! use core::time::Duration;
//! use gossip_core::{Command, Config, Identity, Instant, Key, Node, UnixTime, Value};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let wall = UnixTime::from_millis(1_767_225_600_000);
//! let node = |name: &str, address: &str, seed: &[&str], random| {
//!     let mut config = Config::lan();
//!     config.seeds = seed.iter().map(|seed| seed.parse()).collect::<Result<_, _>>()?;
//!     let identity = Identity::new(name, address.parse()?)?;
//!     let node = Node::new(config, identity, [random; 32], Instant::ORIGIN, wall)?;
//!     Ok::<_, Box<dyn std::error::Error>>(node)
//! };
//! let mut nodes = [
//!     node("a", "10.0.0.1:7946", &[], 1)?,
//!     node("b", "10.0.0.2:7946", &["10.0.0.1:7946"], 2)?,
//! ];
//! let addresses = ["10.0.0.1:7946".parse()?, "10.0.0.2:7946".parse()?];
//! let role = Key::new("role")?;
//! let set = Command::Set { key: role.clone(), value: Value::new("database")? };
//! nodes[1].handle_command(Instant::ORIGIN, set)?;
//!
//! // Three seconds, in steps of 10 ms. Every datagram arrives at once.
//! for step in 0..300 {
//!     let now = Instant::from_origin(Duration::from_millis(10 * step));
//!     for from in [0, 1] {
//!         let mut buffer = [0; 1400];
//!         nodes[from].handle_timeout(now);
//!         while let Some(datagram) = nodes[from].poll_transmit(now, &mut buffer) {
//!             let to = addresses.iter().position(|address| *address == datagram.to).unwrap();
//!             nodes[to].handle_datagram(now, addresses[from], datagram.payload);
//!         }
//!     }
//! }
//! let b = nodes[0].member(nodes[1].id()).expect("b has joined");
//! assert_eq!(b.attribute(&role), Some(&b"database"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! # A node over a UDP socket
//!
//! ```no_run
//! use std::net::UdpSocket;
//! use std::time::{Duration, Instant as Clock, UNIX_EPOCH};
//! use gossip_core::{Config, Identity, Instant, Node, UnixTime};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let socket = UdpSocket::bind("127.0.0.1:7946")?;
//! let started = Clock::now();
//! let now = || Instant::from_origin(started.elapsed());
//! let wall = UnixTime::from_millis(UNIX_EPOCH.elapsed()?.as_millis().try_into()?);
//!
//! let mut config = Config::lan();
//! config.seeds = vec!["127.0.0.1:7947".parse()?];
//! let identity = Identity::new("a", socket.local_addr()?)?;
//! let random = [7; 32]; // Take these from the operating system instead.
//! let mut node = Node::new(config, identity, random, now(), wall)?;
//!
//! let mut out = vec![0; node.max_datagram()];
//! // One byte more than a node accepts, so that a longer datagram is seen to be longer.
//! let mut input = vec![0; node.max_datagram() + 1];
//! loop {
//!     // Drain what the last input has led to …
//!     while let Some(datagram) = node.poll_transmit(now(), &mut out) {
//!         let _ = socket.send_to(datagram.payload, datagram.to); // UDP may lose it anyway.
//!     }
//!     while let Some(event) = node.poll_event() {
//!         println!("{event:?}");
//!     }
//!     // … and wait for the next input: a datagram, or the deadline.
//!     let Some(deadline) = node.poll_timeout() else { return Ok(()) }; // The node has left.
//!     let wait = deadline.saturating_since(now()).max(Duration::from_millis(1));
//!     socket.set_read_timeout(Some(wait))?;
//!     if let Ok((length, from)) = socket.recv_from(&mut input) {
//!         node.handle_datagram(now(), from, &input[..length]);
//!     }
//!     node.handle_timeout(now());
//! }
//! # }
//! ```
//!
//! `examples/std_udp.rs` is this loop as a program, and `examples/tokio_udp.rs` is an asynchronous one.
//!
//! # The contract
//!
//! The caller
//!
//! 1. drains transmits and events after each input, and then reads the deadline. It calls
//!    [`handle_timeout`](Node::handle_timeout) at the deadline; an early, late or needless call does no
//!    harm;
//! 2. counts [`Instant`] from one origin of its choice for the life of the node. A `now` that lies before an
//!    earlier one counts as the latest one;
//! 3. gives every process of every node other random numbers: the `seed` of [`Node::new`];
//! 4. gives a wall clock that is right to within [`max_clock_skew`](Config::max_clock_skew), and sends
//!    [`Command::SetWallClock`] about once a second, so the node notices when it is set;
//! 5. gives no two nodes of a cluster the same [name](Identity::new). Of two live nodes of one name, the one
//!    that started later falls silent ([`Event::IdentityConflict`]).
//!
//! The node
//!
//! 1. does the same, byte for byte, if the random numbers and the inputs are the same;
//! 2. treats no datagram as an error. What it cannot use it drops and counts in [`Metrics`]. A panic on any
//!    input is a bug;
//! 3. bounds everything that it holds, mostly by a field of [`Config`]. A full outbox drops the oldest
//!    messages that later rounds repair, and counts them. A full event queue becomes one [`Event::Lagged`];
//!    the views still tell the truth;
//! 4. does not allocate while nothing changes in the cluster.
//!
//! # Words
//!
//! - A **member** is a node that this node knows, whatever its [`Status`]. This node is one, too.
//! - A node's [**id**](NodeId) is a hash of its name. A node that starts again under its name is the same
//!   member.
//! - Its [**generation**](Generation) rises with each start. What it writes replaces all that it wrote under
//!   a smaller generation.
//! - A member is **suspected** when it has been silent for improbably long: when its phi exceeds
//!   [`phi_suspect`](Config::phi_suspect).
//! - A member is **down** when a majority of the members that observe it find it silent, or when it does not
//!   answer this node and no observer can be heard ([`DownReason`]).
//! - A member is **removed** when it has been down, or has left, for
//!   [`remove_after`](Config::remove_after).
//!
//! [`Config`] says for each setting what it does, which values work, and why the default is what it is. The
//! module [`map`] gives the rules of the shared map.
//!
//! # Features
//!
//! - `map`, on by default and needed by `std`: the [shared map](map). A node without it skips what others say
//!   of theirs, and refuses [`Command::Put`] and its like with [`CommandError::NoMap`]. It takes 85 KB less
//!   of a microcontroller's flash.
//! - `std`: conversions from the clock types of `std`, and the module `adapter`, which adapters over sockets
//!   share. Without `std` the crate needs `alloc` and nothing else.
//! - `encryption`: authenticated encryption (XChaCha20-Poly1305) of all datagrams under keys that the
//!   members share: `Config::keys`, `SecretKey`, `Encryption`. Without it, anybody who can send to the port
//!   can speak the protocol.
#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(test),
    warn(
        clippy::std_instead_of_core,
        clippy::std_instead_of_alloc,
        clippy::alloc_instead_of_core,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

#[cfg(feature = "std")]
pub mod adapter;
mod command;
mod config;
mod context;
mod dissemination;
mod event;
mod failure;
mod growth;
mod hlc;
mod identity;
mod local;
mod membership;
mod metrics;
mod node;
mod rng;
mod seed;
mod shared_map;
mod state;
mod sync;
mod time;
mod wire;

pub use command::{
    Command, CommandError, Key, KeyError, MAX_BROADCASTS, MAX_KEY, MAX_VALUE, MAX_WATCHED, Policy,
    Value, ValueError,
};
#[cfg(feature = "encryption")]
pub use config::secret::{Encryption, MAX_KEYS, SecretKey};
pub use config::{
    Config, ConfigError, ConfigWarning, Dissemination, Mode, PhiModel, Setting, SettingsDigest,
};
pub use event::{ClockDeviation, DownReason, Event, JoinCause, SuspicionReason, UpCause};
pub use hlc::Stamp;
pub use identity::{Generation, Identity, IdentityError, MAX_NAME, Name, NameError, NodeId};
pub use metrics::{Dropped, Metrics};
pub use node::{Agreement, Broadcast, Member, Node, Shown, Standing, Status, Transmit, Vote};
pub use seed::{Seed, SeedError, SeedList};
pub use shared_map::replica as map;
pub use time::{Instant, UnixTime};
pub use wire::dissect::{Dissection, Unreadable};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
