//! A gossip protocol as a sans-IO state machine: cluster membership, phi-accrual failure detection
//! and versioned state, without a leader, for 2 to 10,000 nodes.
//!
//! The crate does no I/O, reads no clock and starts no thread. A [`Node`] is told what happened and
//! is asked what to do:
//!
//! | in | out |
//! |---|---|
//! | [`handle_datagram`](Node::handle_datagram) | [`poll_transmit`](Node::poll_transmit) |
//! | [`handle_command`](Node::handle_command) | [`poll_event`](Node::poll_event) |
//! | [`handle_timeout`](Node::handle_timeout) | [`poll_timeout`](Node::poll_timeout) |
//!
//! # The contract
//!
//! 1. After each input, drain transmits and events; then sleep until the next datagram, command or
//!    deadline. A needless or late `handle_timeout` does no harm; afterwards the deadline lies in the
//!    future.
//! 2. [`Instant`] counts from an origin of the caller's choice. Time never runs backwards: an
//!    earlier `now` counts as the latest one.
//! 3. The same seed and the same inputs give the same outputs, byte for byte.
//! 4. A datagram is never an error. What cannot be used is dropped and counted in [`Metrics`]. A
//!    panic on any input is a bug.
//! 5. Queues are bounded. A full outbox drops the oldest repair message and counts it; a full event
//!    queue becomes one [`Event::Lagged`], after which the views still tell the truth.
//! 6. While nothing changes in the cluster, no call allocates.
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
//! let seed = [7; 32]; // From the operating system in earnest.
//! let mut node = Node::new(config, identity, seed, now(), wall)?;
//!
//! let mut buffer = [0; 1400];
//! loop {
//!     while let Some(datagram) = node.poll_transmit(now(), &mut buffer) {
//!         let _ = socket.send_to(datagram.payload, datagram.to); // One more lost datagram.
//!     }
//!     while let Some(event) = node.poll_event() {
//!         println!("{event:?}");
//!     }
//!     let Some(deadline) = node.poll_timeout() else { return Ok(()) }; // It has left.
//!     let wait = deadline.saturating_since(now()).max(Duration::from_millis(1));
//!     socket.set_read_timeout(Some(wait))?;
//!     if let Ok((length, from)) = socket.recv_from(&mut buffer) {
//!         node.handle_datagram(now(), from, &buffer[..length]);
//!     }
//!     node.handle_timeout(now());
//! }
//! # }
//! ```
//!
//! `examples/std_udp.rs` is the same as a program. The crates `gossip-mio` and `gossip-async-std` are
//! ready-made loops.
//!
//! # Features
//!
//! - `std`: conversions from the clock types of `std`, and [`adapter`], the words that adapters over
//!   its sockets share. The crate needs `alloc` and nothing else without it.
//! - `map` (on by default, and needed by `std`): the [shared map](map). Without it a node skips what
//!   others say of theirs, [`Command::Put`] and its like are refused, and the core takes 85 KB less of
//!   a microcontroller's flash.
//! - `encryption`: authenticated encryption of all datagrams under keys that the members share
//!   (XChaCha20-Poly1305): `Config::keys`, `SecretKey`, `Encryption`.
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
pub use config::{Config, ConfigError, ConfigWarning, Dissemination, Mode, PhiModel, Setting};
pub use event::{DownReason, Event, SuspicionReason, UpCause};
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
