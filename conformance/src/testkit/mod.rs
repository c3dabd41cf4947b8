//! A kit for tests of clusters, in virtual time: no sockets, no threads, no sleeping.
//!
//! There are two kinds of cluster:
//!
//! | | [`Cluster`] | [`Loopback`] |
//! |---|---|---|
//! | network | delays, loss, partitions, damage | every datagram arrives at once |
//! | clocks and processes | start, crash, pause, jump, move | start and stop |
//! | checks | every invariant, all the time | what the test asks for |
//! | forged datagrams | arrive from nowhere | arrive from a peer that can answer and be answered |
//! | use it for | what a cluster does | what one node makes of one datagram |
//!
//! Nodes are numbered from 0. One seed decides everything: a test that fails once fails every time.
//!
//! # A test in four steps
//!
//! 1. Describe the cluster with [`Cluster::of`] and the methods of [`Options`], and call
//!    [`form`](Options::form). The nodes start, meet, and come to rest.
//! 2. Do something to it: [`crash`](Cluster::crash), [`cut_off`](Cluster::cut_off),
//!    [`set`](Cluster::set), [`put`](Cluster::put), or any other [`Action`](crate::sim::Action) with
//!    [`act`](Cluster::act).
//! 3. Let time [`pass`](Cluster::pass), or wait [`until`](Cluster::until) something holds.
//! 4. Look at what nodes show ([`node`](Cluster::node), [`status`](Cluster::status),
//!    [`attribute`](Cluster::attribute)) and at what they have told their applications
//!    ([`told`](Cluster::told)).
//!
//! ```
//! use conformance::testkit::{Cluster, SECOND};
//! use gossip_core::Status;
//!
//! let mut cluster = Cluster::of(5).config(|config| config.max_members = 100).loss(0.05).form();
//! cluster.crash(4);
//! let took = cluster.until(15 * SECOND, |cluster| {
//!     (0..4).all(|viewer| cluster.status(viewer, 4) == Some(Status::Down))
//! });
//! assert!(took > SECOND, "one lost heartbeat is no death");
//!
//! cluster.set(0, "role", "leader");
//! cluster.pass(5 * SECOND);
//! assert_eq!(cluster.attribute(3, 0, "role").as_deref(), Some("leader"));
//! ```
//!
//! While time passes, a `Cluster` checks after every step that the nodes keep the contract of the
//! core, and panics where one does not. [`assert_at_rest`](Cluster::assert_at_rest) checks in addition
//! that all views agree with one another and with the truth. Call it once no fault is left and the news
//! has had time to spread.
//!
//! # Lies
//!
//! A [`Loopback`] hands forged datagrams to a node, byte by byte if need be. [`forge`](crate::forge)
//! writes them.
//!
//! ```
//! use conformance::testkit::{Loopback, liar};
//!
//! let mut loopback = Loopback::formed(3, |_| {});
//! let answers = loopback.forge(&liar().ping(7));
//! assert_eq!(answers.len(), 1, "a ping is answered with a pong");
//! ```

mod cluster;
mod loopback;
mod options;

use core::time::Duration;

use gossip_core::{Key, Value};

pub use cluster::{Cluster, Told, host, hosts};
pub use loopback::{LIAR, LIAR_ADDRESS, Loopback, WALL, address, echo, liar, stamp};
pub use options::Options;

/// A millisecond.
pub const MILLI: Duration = Duration::from_millis(1);
/// A second.
pub const SECOND: Duration = Duration::from_secs(1);
/// A minute.
pub const MINUTE: Duration = Duration::from_secs(60);

/// A key of this text.
///
/// # Panics
/// If no key may be like that.
#[track_caller]
#[must_use]
pub fn key(text: &str) -> Key {
    Key::new(text).expect("a legal key")
}

/// A value of these bytes.
///
/// # Panics
/// If it is longer than values may be.
#[track_caller]
#[must_use]
pub fn value(bytes: impl AsRef<[u8]>) -> Value {
    Value::new(bytes.as_ref()).expect("a legal value")
}

#[cfg(test)]
mod tests;
