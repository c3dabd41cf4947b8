//! How late writes are read while many are written.

use core::time::Duration;

use std::collections::BTreeMap;

use gossip_core::map::Origin;
use gossip_core::{Command, Event, Key, Node, Policy, Stamp, Value};

use super::Outcome;
use super::cluster::{Clock, Setup, Subject, Unplayable};
use super::report::{Panel, Report};
use crate::num::{amount, count, position, real};
use crate::sim::{HostId, Metering, Time, between, nanos, pick};
use crate::stats::Sample;

/// Nodes write at random moments, some so many times a second, to keys drawn at random.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// How long the cluster has to come to rest.
    pub warm_up: Duration,
    /// Writes of all nodes together, in a second.
    pub rate: f64,
    /// How many bytes a value has. A number of eight digits stands at its beginning.
    pub value: usize,
    /// How many keys are written.
    pub keys: u32,
    /// Whether a key is written again only when all nodes have read its last write.
    pub one_at_a_time: bool,
    /// What is written.
    pub to: Target,
    /// How long nodes write.
    pub lasts: Duration,
}

/// What nodes write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Attributes of their own.
    Attributes,
    /// The shared map. The latest value of a key wins.
    Map,
    /// The shared map. All concurrent values are kept, and each write resolves those that its writer reads.
    Siblings,
}

/// How long after the last write everything must have been read.
const GRACE: Duration = Duration::from_secs(30);

/// A write that not all nodes have read.
#[derive(Debug)]
struct Written {
    at: Time,
    rank: Rank,
    /// For each node, whether it reads the write, or a later one.
    read: Vec<bool>,
    missing: usize,
}

/// Which of two writes of a key is the later, and how to see that a node knows it.
#[derive(Clone, Copy, Debug)]
enum Rank {
    /// The number in the value.
    Number(u64),
    /// The stamp, and the dot.
    Write(Stamp, Origin, u64),
}

/// What a key is: one of the map, or an attribute of one node.
type Place = (Option<HostId>, Key);

/// What has been written, and who has read it.
#[derive(Debug, Default)]
struct Log {
    unread: BTreeMap<Place, Vec<Written>>,
    /// (when it was written, seconds until the last node read it).
    lateness: Vec<(f64, f64)>,
    refused: u64,
    writes: u64,
}

impl Load {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let nodes = real(u64::from(setup.nodes));
        let mut cluster = setup.cluster(clock)?;
        cluster.form(setup, self.warm_up)?;
        let rest = cluster.traffic();
        let rest_lasts = setup.interval.saturating_mul(5);
        cluster.run(rest_lasts);
        let rest = real(cluster.traffic().since(rest).bytes_out) / rest_lasts.as_secs_f64();

        let mut log = Log::default();
        let began = cluster.world.now();
        let before = cluster.traffic();
        let mut bursts = Bursts::new(&cluster);
        cluster.world.meter().set(Metering::On);
        let end = began + self.lasts;
        let mut next = began;
        while next < end {
            let mean = nanos(Duration::from_secs_f64(1.0 / self.rate.max(1e-3)));
            next =
                next + Duration::from_nanos(between(&mut cluster.rng, 0, mean.saturating_mul(2)));
            while let Some(step) = cluster.step(next) {
                log.look(&cluster, step.host, began);
                bursts.look(&cluster, step.host);
            }
            self.write(&mut cluster, &mut log, began);
        }
        let busy = cluster.traffic().since(before);
        while log.has_unread()
            && let Some(step) = cluster.step(end + GRACE)
        {
            log.look(&cluster, step.host, began);
            bursts.look(&cluster, step.host);
        }
        cluster.world.meter().set(Metering::Off);
        let core = cluster.world.meter().core().as_secs_f64();
        let lasted = cluster.world.now().since(began).as_secs_f64();
        let bytes = real(cluster.traffic().since(before).bytes_out) - rest * lasted;

        let writes = real(log.writes).max(1.0);
        let never: usize = log.unread.values().map(Vec::len).sum();
        let late: Sample = log.lateness.iter().map(|(_, late)| *late).collect();
        let report = Report::default()
            .with("late_p50_s", late.percentile(50))
            .with("late_p99_s", late.percentile(99))
            .with("late_max_s", late.max())
            .with("never", never)
            .with("writes", log.writes)
            .with("refused", log.refused)
            .with(
                "bytes_per_written_byte_and_node",
                bytes / (writes * nodes * amount(self.value).max(1.0)),
            )
            .with(
                "datagrams_per_node_per_s",
                real(busy.datagrams_out) / (nodes * self.lasts.as_secs_f64()),
            )
            .with("cpu_us_per_node_and_write", 1e6 * core / (writes * nodes))
            .with("max_queue_bytes", bursts.largest)
            .with("max_siblings", siblings(&cluster))
            .with("wrong_down", cluster.tally.wrong_downs().count());
        let panel = Panel::new(
            "Lateness",
            "s at which it was written",
            "s until all read it",
        )
        .with(format!("seed {}", setup.seed), log.lateness);
        Ok(Outcome::new(cluster, report, vec![panel]))
    }

    /// A node drawn at random writes to a key drawn at random.
    fn write(&self, cluster: &mut Subject, log: &mut Log, began: Time) {
        let hosts = cluster.world.hosts().len();
        let writer = HostId::at(pick(&mut cluster.rng, hosts));
        let key = pick(&mut cluster.rng, position(self.keys));
        let key = Key::new(&format!("key {key}")).expect("a legal key");
        let place = (
            (self.to == Target::Attributes).then_some(writer),
            key.clone(),
        );
        if self.one_at_a_time && log.unread.contains_key(&place) {
            return;
        }
        let number = log.writes.saturating_add(1);
        let mut bytes = format!("{number:08}").into_bytes();
        bytes.resize(self.value.max(8), b'.');
        let value = Value::new(bytes).expect("a legal value");
        let node = cluster.world.host(writer).node();
        let is_read = node.is_some_and(|node| node.get(&key).is_some());
        let put = |policy| Command::Put {
            key: key.clone(),
            value: value.clone(),
            policy,
            lifetime: None,
        };
        let command = match self.to {
            Target::Attributes => Command::Set {
                key: key.clone(),
                value,
            },
            Target::Map => put(Policy::LastWriteWins),
            Target::Siblings if is_read => Command::Resolve {
                key: key.clone(),
                value: Some(value),
            },
            Target::Siblings => put(Policy::KeepSiblings),
        };
        if !matches!(cluster.world.ask(writer, command), Some(Ok(()))) {
            log.refused = log.refused.saturating_add(1);
            return;
        }
        log.writes = number;
        let rank = match self.to {
            Target::Attributes => Rank::Number(number),
            Target::Map | Target::Siblings => {
                let map = cluster.world.host(writer).node().map(|node| node.map());
                let own = map.map(|map| (map.own(), map.frontier(map.own())));
                let stamp = cluster.world.events().iter().find_map(|event| match event {
                    Event::MapChanged { stamp, .. } => Some(*stamp),
                    _ => None,
                });
                let Some(((origin, version), stamp)) = own.zip(stamp) else {
                    return;
                };
                Rank::Write(stamp, origin, version)
            }
        };
        // A node may read a later write already: one that was made at the same time by a clock that is ahead.
        let reads_later = |node: &Node| match rank {
            Rank::Number(_) => false,
            Rank::Write(stamp, ..) => node.get(&key).is_some_and(|reading| reading.stamp >= stamp),
        };
        let nodes = cluster.world.hosts().iter().map(|host| host.node());
        let read: Vec<bool> = nodes.map(|node| node.is_some_and(reads_later)).collect();
        log.unread.entry(place).or_default().push(Written {
            at: cluster.world.now(),
            rank,
            missing: read.iter().filter(|read| !**read).count(),
            read,
        });
        log.look(cluster, writer, began);
        if self.to == Target::Attributes {
            // A node is not told of what it sets itself.
            log.note_number(
                &(Some(writer), key),
                writer,
                number,
                cluster.world.now(),
                began,
            );
        }
    }
}

impl Log {
    fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// A node has handled an input: notes what it reads now.
    fn look(&mut self, cluster: &Subject, host: HostId, began: Time) {
        let world = &cluster.world;
        for event in world.events() {
            match event {
                Event::MapChanged { key, stamp, .. } => {
                    let Some(node) = world.host(host).node() else {
                        continue;
                    };
                    let reads = |rank| match rank {
                        Rank::Write(at, origin, version) => {
                            at <= *stamp || node.map().frontier(origin) >= version
                        }
                        Rank::Number(_) => false,
                    };
                    self.note(&(None, key.clone()), host, reads, world.now(), began);
                }
                Event::AttributeChanged {
                    id,
                    key,
                    value: Some(value),
                    ..
                } => {
                    let digits = value.as_bytes().get(..8);
                    let number =
                        digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
                    if let (Some(writer), Some(number)) = (world.host_of(*id), number) {
                        let place = (Some(writer), key.clone());
                        self.note_number(&place, host, number, world.now(), began);
                    }
                }
                _ => {}
            }
        }
    }

    fn note_number(&mut self, place: &Place, host: HostId, number: u64, now: Time, began: Time) {
        let reads = |rank| matches!(rank, Rank::Number(written) if written <= number);
        self.note(place, host, reads, now, began);
    }

    /// Notes that a node reads those writes of a key for which `reads` holds.
    fn note(
        &mut self,
        place: &Place,
        host: HostId,
        reads: impl Fn(Rank) -> bool,
        now: Time,
        began: Time,
    ) {
        let Some(unread) = self.unread.get_mut(place) else {
            return;
        };
        for write in &mut *unread {
            if let Some(read) = write.read.get_mut(host.position())
                && !*read
                && reads(write.rank)
            {
                *read = true;
                write.missing = write.missing.saturating_sub(1);
            }
        }
        let lateness = &mut self.lateness;
        unread.retain(|write| {
            if write.missing == 0 {
                let late = now.since(write.at).as_secs_f64();
                lateness.push((write.at.since(began).as_secs_f64(), late));
            }
            write.missing > 0
        });
        if unread.is_empty() {
            self.unread.remove(place);
        }
    }
}

/// The most that a node hands to its socket because of one input.
#[derive(Debug)]
struct Bursts {
    sent: Vec<u64>,
    largest: u64,
}

impl Bursts {
    fn new(cluster: &Subject) -> Self {
        let hosts = cluster.world.hosts().iter();
        Self {
            sent: hosts.map(|host| host.traffic().bytes_out).collect(),
            largest: 0,
        }
    }

    fn look(&mut self, cluster: &Subject, host: HostId) {
        let now = cluster.world.host(host).traffic().bytes_out;
        if let Some(sent) = self.sent.get_mut(host.position()) {
            self.largest = self.largest.max(now.saturating_sub(*sent));
            *sent = now;
        }
    }
}

/// The most values that a key has at any node.
fn siblings(cluster: &Subject) -> u64 {
    let nodes = cluster.world.hosts().iter().filter_map(|host| host.node());
    let most = nodes.flat_map(|node| {
        let held = node.map().held();
        let keys = held.filter_map(|(_, write)| Key::new(write.key_text()).ok());
        keys.map(|key| count(node.siblings(&key).len()))
            .collect::<Vec<_>>()
    });
    most.max().unwrap_or(0)
}
