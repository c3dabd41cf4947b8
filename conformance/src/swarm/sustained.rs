//! Whether replication keeps up with a stream of writes.
//!
//! A stream that never ends must be read all the same. So once a plan's faults are over and all is well, nodes
//! write for a while in a network that is whole and loses a little. Each write must be read by all within a
//! bound, while the others go on.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use gossip_core::map::Origin;
use gossip_core::{Config, Dissemination, Key, Node, NodeId, Policy, Stamp};
use rand_chacha::ChaCha8Rng;

use super::plan::choose;
use super::writes::{Target, Writes, draw_rate};
use crate::invariant::{MapViolation, Mark, Violation};
use crate::num::amount;
use crate::sim::network::Delay;
use crate::sim::{Finding, HostId, Time, World, nanos};
use crate::stats::Sample;

/// A stream of writes with which replication has to keep up.
#[derive(Clone, Debug, PartialEq)]
pub struct Sustained {
    /// What is written.
    pub writes: Writes,
    /// For how long.
    pub lasts: Duration,
    /// The share of datagrams that is lost.
    pub loss: f64,
    /// How long after a write all must have read it.
    pub bound: Duration,
    /// How long after nine in ten of the writes all must have read them, where they are pushed.
    pub soon: Option<Duration>,
}

/// The probability with which a write may be later than the bound by chance.
const CHANCE: f64 = 1e-9;

/// The longest stream, so that a simulation has time for it.
const LONGEST: Duration = Duration::from_secs(100);

/// Draws a stream that lasts somewhat longer than its bound: what stops until the writing stops is found.
pub(super) fn draw_sustained(
    rng: &mut ChaCha8Rng,
    config: &Config,
    hosts: usize,
    datacenters: usize,
    delay: &Delay,
) -> Option<Sustained> {
    let loss = *choose(rng, &[0.0, 0.05, 0.1, 0.2]);
    let bound = reach(config, hosts, datacenters, loss);
    let lasts = bound * 5 / 4;
    let (moments, at_once) = draw_rate(rng, lasts, hosts, most(lasts, delay));
    let writes = Writes::draw(rng, moments, at_once);
    let soon = soon(config, &writes, loss, delay);
    (lasts < LONGEST).then_some(Sustained {
        writes,
        lasts,
        loss,
        bound,
        soon,
    })
}

/// How long after a write all must have read it, though pushes may not help at all.
///
/// An exchange brings what a node lacks if four datagrams in a row arrive: the SYN, what differs, the request
/// and the first part of the delta. So of `contacts` exchanges a round, a share of `(1 - loss)^4` succeeds. The
/// nodes that know a write double in as many rounds as one exchange takes to succeed. Then each of the last ones
/// meets one that knows it. It does not for `k` rounds with a probability of
/// `exp(-k * contacts * (1 - loss)^4)`, which shall be less than [`CHANCE`]. Of several datacenters only bridges
/// meet, each one other in a round, so that a write spreads three times: at home, among bridges and at the other
/// end. One round is the time until the first exchange.
pub(super) fn reach(config: &Config, hosts: usize, datacenters: usize, loss: f64) -> Duration {
    let arrives = (1.0 - loss).powi(4);
    let others = hosts.saturating_sub(1).max(1);
    let (contacts, times) = if datacenters > 1 {
        (1, 3.0)
    } else {
        (usize::from(config.fanout).min(others), 1.0)
    };
    let meets = -CHANCE.ln() / (amount(contacts) * arrives);
    let doubles = amount(hosts).log2() / arrives;
    let rounds = (times * (meets + doubles)).ceil() + 1.0;
    config.interval.mul_f64(rounds)
}

/// How long after a write all must mostly have read it, where it is pushed: half an interval, so that few writes
/// wait for an exchange. Where datagrams are lost, it may be as long as repairing once takes, if that is longer: a
/// run goes down one tree, so that somebody lacks more than one in ten of the writes of a large cluster. It is not
/// asked
/// - of attributes, since no node tells of its latest ones when no further ones come,
/// - where so much is lost that repairs are lost, too, or
/// - where writes grow longer than a datagram, since a write that names many others is not pushed then.
fn soon(config: &Config, writes: &Writes, loss: f64, delay: &Delay) -> Option<Duration> {
    let is_pushed = config.dissemination == Dissemination::Eager && config.push_trees > 1;
    let is_short = config.max_datagram >= 1400 && writes.to == Target::Map(Policy::LastWriteWins);
    let repaired = if loss > 0.0 {
        REPAIRED + delay.longest() * HOPS
    } else {
        Duration::ZERO
    };
    (is_pushed && is_short && loss <= 0.05).then_some((config.interval / 2).max(repaired))
}

/// What repairing once takes beside the time on the way: 50 ms without a run until a node tells of its latest, and
/// 15 ms until the one that lacks them asks.
const REPAIRED: Duration = Duration::from_millis(65);

/// How often a datagram is on the way until a run that was lost is everywhere: four times down a tree that crosses
/// to another datacenter, once to tell, twice for a request and its answer, and as often if that is lost.
const HOPS: u32 = 9;

/// The share of writes that must be read soon, in a hundred.
const MOSTLY: usize = 90;

/// How many writes a delta can be relied upon to bring within a span. A request brings 16 datagrams after a round
/// trip. What is lost of them is asked for again after three more, and takes one more. A datagram may have room for
/// a single write, since a write names what it has seen. Half of that is for what was written before.
fn most(span: Duration, delay: &Delay) -> u64 {
    const DATAGRAMS: u64 = 16;
    const TRIPS: u64 = 5;
    let trip = nanos(delay.longest()).saturating_mul(2).max(1);
    let windows = nanos(span).div_euclid(trip.saturating_mul(TRIPS));
    windows.saturating_mul(DATAGRAMS / 2)
}

/// A write that not all have read.
#[derive(Debug)]
struct Unread {
    at: Time,
    dot: Dot,
    by: Vec<HostId>,
}

/// How a write is known at other nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Dot {
    Map(Origin, u64),
    Attribute(NodeId, Mark),
}

impl Dot {
    fn is_known(self, node: &Node) -> bool {
        match self {
            Self::Map(origin, version) => node.map().frontier(origin) >= version,
            Self::Attribute(id, mark) => mark_of(node, id).is_some_and(|known| known >= mark),
        }
    }
}

fn mark_of(node: &Node, id: NodeId) -> Option<Mark> {
    let member = node.member(id)?;
    Some(Mark {
        generation: member.generation(),
        frontier: member.frontier(),
    })
}

/// The last write of a key of the map under last-write-wins.
#[derive(Debug)]
struct Last {
    stamp: Stamp,
    origin: Origin,
    value: Option<Vec<u8>>,
}

/// The writes of a stream, and who has not read them.
#[derive(Debug)]
pub(super) struct Reading {
    bound: Duration,
    readers: Vec<HostId>,
    unread: Vec<Unread>,
    last: BTreeMap<Key, Last>,
    /// Seconds until all had read each write.
    lateness: Vec<f64>,
    pub(super) late: Option<Finding>,
}

impl Reading {
    pub(super) fn new(bound: Duration, readers: Vec<HostId>) -> Self {
        Self {
            bound,
            readers,
            unread: Vec::new(),
            last: BTreeMap::new(),
            lateness: Vec::new(),
            late: None,
        }
    }

    /// How far a node's own log of what is written to has come.
    pub(super) fn own(world: &World, writer: HostId, to: Target) -> Option<Dot> {
        let node = world.host(writer).node()?;
        match to {
            Target::Map(_) => {
                let own = node.map().own();
                Some(Dot::Map(own, node.map().frontier(own)))
            }
            Target::Attributes => {
                let id = node.id();
                Some(Dot::Attribute(id, mark_of(node, id)?))
            }
        }
    }

    /// A node has done what it was told. `before` is how far its own log had come. To delete what is not there
    /// writes nothing.
    pub(super) fn wrote(&mut self, world: &World, writer: HostId, to: Target, before: Option<Dot>) {
        let after = Self::own(world, writer, to);
        let Some((node, dot)) = world.host(writer).node().zip(after) else {
            return;
        };
        if after == before {
            return;
        }
        let by = self.readers.iter().copied();
        self.unread.push(Unread {
            at: world.now(),
            dot,
            by: by.filter(|reader| *reader != writer).collect(),
        });
        if to == Target::Map(Policy::LastWriteWins) {
            self.note_last(node, dot);
        }
    }

    fn note_last(&mut self, node: &Node, dot: Dot) {
        let Dot::Map(own, version) = dot else { return };
        let mut held = node.map().held();
        let Some((origin, write)) =
            held.find(|(origin, write)| *origin == own && write.version == version)
        else {
            return;
        };
        let Ok(key) = Key::new(write.key_text()) else {
            return;
        };
        let later = self
            .last
            .get(&key)
            .is_none_or(|last| (last.stamp, last.origin) < (write.stamp, origin));
        if later {
            let value = write.value.map(<[u8]>::to_vec);
            let stamp = write.stamp;
            self.last.insert(
                key,
                Last {
                    stamp,
                    origin,
                    value,
                },
            );
        }
    }

    /// A node has handled an input: notes what it reads now.
    pub(super) fn look(&mut self, world: &World, reader: HostId) {
        let Some(node) = world.host(reader).node() else {
            return;
        };
        let now = world.now();
        let lateness = &mut self.lateness;
        self.unread.retain_mut(|write| {
            write
                .by
                .retain(|other| *other != reader || !write.dot.is_known(node));
            if write.by.is_empty() {
                lateness.push(now.since(write.at).as_secs_f64());
            }
            !write.by.is_empty()
        });
        let first = self.unread.first();
        if let Some(late) = first.filter(|late| now.since(late.at) > self.bound)
            && let Some(host) = late.by.first()
        {
            self.late.get_or_insert(Finding {
                at: now,
                host: *host,
                violation: Violation::Late {
                    age: now.since(late.at),
                    limit: self.bound,
                },
            });
        }
    }

    pub(super) fn is_all_read(&self) -> bool {
        self.unread.is_empty()
    }

    /// What is wrong once all is read: how late most of the writes were, and which last writes are not read.
    pub(super) fn finish(self, world: &World, sustained: &Sustained) -> Vec<Finding> {
        let mut found: Vec<Finding> = self.late.into_iter().collect();
        let finding = |host, violation| Finding {
            at: world.now(),
            host,
            violation,
        };
        let lateness: Sample = self.lateness.iter().copied().collect();
        let mostly = lateness.percentile(MOSTLY).map(Duration::from_secs_f64);
        if let (Some(late), Some(limit), Some(host)) =
            (mostly, sustained.soon, self.readers.first())
            && late > limit
        {
            found.push(finding(*host, Violation::Slow { late, limit }));
        }
        if !found.is_empty() {
            return found;
        }
        for host in &self.readers {
            let Some(node) = world.host(*host).node() else {
                continue;
            };
            for (key, last) in &self.last {
                let read = node.get(key).map(|reading| reading.value.to_vec());
                if read != last.value {
                    let key = key.as_str().to_owned();
                    let written = last.value.clone();
                    let wrong = MapViolation::NotTheLast { key, written, read };
                    found.push(finding(*host, wrong.into()));
                }
            }
        }
        found
    }
}

impl fmt::Display for Sustained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "then, for {:?} with a loss of {}, {}; all are read within {:?}",
            self.lasts, self.loss, self.writes, self.bound
        )
    }
}
