//! A node of a gossip cluster as an [async-std](https://docs.rs/async-std) task, over UDP.
//!
//! The protocol lives in [`gossip_core`], which does no input or output. This crate gives it a
//! socket, a clock and a task. [`spawn`] starts it and returns two things:
//!
//! - a [`Handle`], cloneable, for any task or thread: [`Handle::command`] writes, [`Handle::read`]
//!   looks at the node, [`Handle::leave`] and [`Handle::shutdown`] end it;
//! - the [`Events`], a [`Stream`](futures_core::Stream) of what happens. They are pulled from the
//!   node's own bounded queue: a consumer that stalls never holds up the node, and is told by
//!   `Event::Lagged` when it has missed something.
//!
//! Every future of this crate may be dropped at any time; nothing is lost by it. The node stops
//! when it has left, when [`Handle::shutdown`] is called, or when the last [`Handle`] and the
//! [`Events`] have been dropped.
//!
//! async-std is discontinued; the crate's README says what that means and what to use instead.
//!
//! ```
//! use futures_lite::StreamExt;
//! use gossip_async_std::gossip_core::{Command, Event, Key, Value};
//! use gossip_async_std::{Config, spawn};
//!
//! # async_std::task::block_on(async {
//! let loopback = "127.0.0.1:0".parse()?; // port 0: the system chooses one
//! let (alice, _) = spawn(Config::new("alice", loopback)).await?;
//! alice.command(Command::Set { key: Key::new("role")?, value: Value::new("db")? })?;
//!
//! let mut config = Config::new("bob", loopback);
//! config.seeds = vec![alice.local_addr().to_string()];
//! let (bob, mut events) = spawn(config).await?;
//!
//! let met = events.find_map(|event| match event {
//!     Event::MemberUp { name, .. } => Some(name),
//!     _ => None,
//! });
//! assert_eq!(met.await.unwrap().as_str(), "alice");
//! assert_eq!(bob.read(|node| node.members().count()), 2);
//!
//! bob.leave()?;
//! bob.join().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

mod handle;
mod shared;
mod task;

pub use gossip_core;

pub use gossip_core::adapter::{Config, Faults, NoAgreement, SpawnError};
pub use handle::{Events, Handle, spawn};
