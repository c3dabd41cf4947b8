//! A node of a gossip cluster on a thread of its own, over UDP.
//!
//! The protocol lives in [`gossip_core`], which does no input or output. This crate gives it a
//! socket, a clock and a thread: one blocking [mio](https://docs.rs/mio) event loop for each node.
//! [`spawn`] starts it and returns two things:
//!
//! - a [`Handle`], cloneable, for any thread: [`Handle::command`] writes, [`Handle::read`] looks at
//!   the node, [`Handle::leave`] and [`Handle::shutdown`] end it;
//! - the [`Events`], an iterator over what happens. They are pulled from the node's own bounded
//!   queue: a consumer that stalls never holds up the node, and is told by `Event::Lagged` when it
//!   has missed something.
//!
//! An idle node sleeps until its next deadline. The node stops when it has left, when
//! [`Handle::shutdown`] is called, or when the last [`Handle`] and the [`Events`] have been dropped.
//!
//! Two nodes find each other:
//!
//! ```
//! use gossip_mio::gossip_core::{Command, Event, Key, Value};
//! use gossip_mio::{Config, spawn};
//!
//! let loopback = "127.0.0.1:0".parse()?; // port 0: the system chooses one
//! let (alice, _) = spawn(Config::new("alice", loopback))?;
//! alice.command(Command::Set { key: Key::new("role")?, value: Value::new("db")? })?;
//!
//! let mut config = Config::new("bob", loopback);
//! config.seeds = vec![alice.local_addr().to_string()];
//! let (bob, mut events) = spawn(config)?;
//!
//! let met = events.find_map(|event| match event {
//!     Event::MemberUp { name, .. } => Some(name),
//!     _ => None,
//! });
//! assert_eq!(met.unwrap().as_str(), "alice");
//! assert_eq!(bob.read(|node| node.members().count()), 2);
//!
//! bob.leave()?;
//! bob.join()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! `cli` builds the `gossip` command-line agent. Nothing in it is of use to a library user.

mod driver;
mod handle;
mod resolver;
mod shared;

pub use gossip_core;

pub use gossip_core::adapter::{Config, Faults, NoAgreement, SpawnError};
pub use handle::{Events, Handle, NoEvent, spawn};
