//! Many writes: steady streams and bursts, drawn at random.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeSet;

use gossip_core::{Command, Config, Key, Policy, Value};
use rand_chacha::ChaCha8Rng;

use super::plan::{Episode, What, choose, within};
use super::sustained::{Sustained, draw_sustained};
use crate::num::{count, position};
use crate::sim::network::Delay;
use crate::sim::{HostId, Seeds, Stream, Time, between, chance, nanos, pick};

/// What nodes write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The shared map, under one policy.
    Map(Policy),
    /// Attributes of their own.
    Attributes,
}

/// Many writes, all of which follow from a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Writes {
    /// What the keys, the values and the moments are drawn from.
    pub seed: u64,
    /// What is written to.
    pub to: Target,
    /// At how many moments somebody writes.
    pub moments: u32,
    /// How many writes its writer makes at each moment.
    pub at_once: u32,
    /// How many keys are written.
    pub keys: u32,
    /// How many bytes a value has at least.
    pub length: usize,
}

impl Writes {
    /// The writes by these hosts within a span: each as the time since its beginning, the writer and what it
    /// is told.
    pub(super) fn within(
        &self,
        span: Duration,
        writers: &[HostId],
    ) -> Vec<(Duration, HostId, Command)> {
        let rng = &mut Seeds::new(self.seed).rng(Stream::Writes);
        let each = nanos(span)
            .checked_div(u64::from(self.moments))
            .unwrap_or(0);
        let mut script = Vec::new();
        for moment in 0..self.moments {
            let begins = each.saturating_mul(u64::from(moment));
            let at = Duration::from_nanos(begins.saturating_add(between(rng, 0, each)));
            let Some(&writer) = writers.get(pick(rng, writers.len())) else {
                break;
            };
            for turn in 0..self.at_once {
                let command = self.draw_command(rng, moment, turn);
                script.push((at, writer, command));
            }
        }
        script
    }

    fn draw_command(&self, rng: &mut ChaCha8Rng, moment: u32, turn: u32) -> Command {
        let key = pick(rng, position(self.keys));
        // Nobody else writes these keys: what is read last is the last write of this stream.
        let key = Key::new(&format!("{:06x}/{key}", self.seed & 0x00ff_ffff)).expect("a legal key");
        // No two writes say the same: what is read tells which write it was.
        let mut value = format!("{:x} {moment} {turn} ", self.seed).into_bytes();
        value.resize(value.len().max(self.length), b'.');
        let value = Value::new(value).expect("a legal value");
        match (self.to, between(rng, 0, 9)) {
            (Target::Attributes, 0) => Command::Unset { key },
            (Target::Attributes, _) => Command::Set { key, value },
            (Target::Map(_), 0) => Command::Delete { key },
            (Target::Map(_), 1) => Command::Resolve {
                key,
                value: chance(rng, 0.5).then_some(value),
            },
            (Target::Map(policy), _) => Command::Put {
                key,
                value,
                policy,
                lifetime: None,
            },
        }
    }

    pub(super) fn draw(rng: &mut ChaCha8Rng, moments: u32, at_once: u32) -> Self {
        // One in four writes attributes.
        let policies = [
            Policy::LastWriteWins,
            Policy::LastWriteWins,
            Policy::KeepSiblings,
        ];
        let to = match pick(rng, 4) {
            0 => Target::Attributes,
            _ => Target::Map(*choose(rng, &policies)),
        };
        Self {
            seed: between(rng, 0, u64::MAX),
            to,
            moments,
            // After each of these, every attribute of every member is looked at.
            at_once: match to {
                Target::Attributes => at_once.min(2),
                Target::Map(_) => at_once,
            },
            // A node's own attributes fit into few datagrams.
            keys: match to {
                Target::Attributes => *choose(rng, &[1, 5]),
                Target::Map(_) => *choose(rng, &[1, 5, 50]),
            },
            length: *choose(rng, &[0, 30, 100]),
        }
    }
}

/// In every fourth plan, many writes: streams and bursts while other things happen, and most often a stream
/// in which replication has to keep up, once all is well again. From a stream of random numbers of its own,
/// and after all others, so that the rest of a plan is what it was before there were any.
pub(super) fn draw(
    seed: u64,
    config: &Config,
    episodes: &mut Vec<Episode>,
    places: &[usize],
    delay: &Delay,
    ends: Time,
) -> Option<Sustained> {
    let rng = &mut Seeds::new(seed).rng(Stream::Many);
    if !chance(rng, 0.25) {
        return None;
    }
    let hosts = places.len();
    let datacenters = places.iter().collect::<BTreeSet<_>>().len();
    let lasts = ends.since(Time::START);
    for _ in 0..pick(rng, 3) {
        let number = episodes.len();
        let begins = within(rng, Time::START, lasts);
        let episode = if chance(rng, 0.5) {
            let at_once = *choose(rng, &[10, 50]);
            let host = HostId::at(pick(rng, hosts));
            Episode {
                number,
                begins,
                ends: begins,
                what: What::Burst(host, Writes::draw(rng, 1, at_once)),
            }
        } else {
            let span = config.interval * *choose(rng, &[5, 20]);
            let span = span.min(ends.since(begins));
            let (moments, at_once) = draw_rate(rng, span, hosts, u64::MAX);
            Episode {
                number,
                begins,
                ends: begins + span,
                what: What::Stream(Writes::draw(rng, moments, at_once)),
            }
        };
        episodes.push(episode);
    }
    draw_sustained(rng, config, hosts, datacenters, delay)
}

/// The most times a stream has somebody write, with how many nodes hear of each.
const MOST: u64 = 500;

/// At how many moments of a span somebody writes, and how many writes are made at each: 5 to 200 in a second, as
/// far as a simulation has time for them.
pub(super) fn draw_rate(
    rng: &mut ChaCha8Rng,
    span: Duration,
    hosts: usize,
    most_writes: u64,
) -> (u32, u32) {
    let rate = *choose(rng, &[5, 20, 50, 200]);
    let writes = nanos(span).saturating_mul(rate).div_euclid(1_000_000_000);
    let writes = writes.min(most_writes);
    let most = MOST.div_euclid(count(hosts).max(1)).max(1);
    let at_once = *choose(rng, &[1, 1, 4]);
    let at_once = writes.div_ceil(most).clamp(at_once, 20);
    let moments = writes.div_euclid(at_once).clamp(1, most);
    (
        u32::try_from(moments).unwrap_or(u32::MAX),
        u32::try_from(at_once).unwrap_or(1),
    )
}

impl fmt::Display for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            moments,
            at_once,
            keys,
            length,
            ..
        } = self;
        let to = match self.to {
            Target::Map(policy) => format!("of the map ({policy:?})"),
            Target::Attributes => "of attributes".to_owned(),
        };
        write!(
            f,
            "{moments} x {at_once} writes of {keys} keys {to}, of {length} bytes or more"
        )
    }
}
