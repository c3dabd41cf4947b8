//! What becomes of a datagram between its sender and its receiver.

mod bursts;
mod damage;
mod delay;
mod fault;
mod links;

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;

use super::hosts::HostId;
use super::seeds::{Seeds, Stream, chance};
use super::time::{Time, nanos};
use crate::num::real;
pub use bursts::Bursts;
use bursts::Weather;
pub(crate) use damage::Damage;
pub(crate) use delay::exponential;
pub use delay::{Delay, Tail};
pub use fault::{Effect, Fault, Scope};
pub use links::{Links, PATTERNS};

/// Names a fault while it lasts. Whoever sets it chooses the number; the fault's random numbers
/// follow from it, so that leaving one fault out does not change the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(u32);

impl FaultId {
    /// The fault with this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }
}

/// A network: a delay for every datagram, and faults while they last.
#[derive(Debug)]
pub struct Network {
    seeds: Seeds,
    delay: Delay,
    rng: ChaCha8Rng,
    damage: ChaCha8Rng,
    faults: Vec<Active>,
}

/// A fault that lasts.
#[derive(Debug)]
struct Active {
    id: FaultId,
    fault: Fault,
    rng: ChaCha8Rng,
    /// For bursts: the state of every link used so far.
    weather: BTreeMap<(HostId, HostId), Weather>,
    /// For bandwidth: until when each sender's line is busy.
    busy: BTreeMap<HostId, Time>,
}

/// One copy of a datagram on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    /// Nanoseconds until it arrives.
    pub(crate) takes: u64,
    /// What happens to it on the way.
    pub(crate) damage: Option<Damage>,
}

/// What becomes of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Lost,
    Once(Passage),
    /// The second copy is undamaged.
    Twice(Passage, Passage),
}

/// What a fault does to one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Impact {
    Unharmed,
    Lost,
    Later(u64),
    Twice,
    Damaged(Damage),
}

impl Network {
    /// A network without faults.
    #[must_use]
    pub fn new(seeds: Seeds, delay: Delay) -> Self {
        Self {
            seeds,
            delay,
            rng: seeds.rng(Stream::Network),
            damage: seeds.rng(Stream::Damage),
            faults: Vec::new(),
        }
    }

    /// Sets a fault, in place of an earlier one of the same name. It lasts until it is mended.
    pub fn set(&mut self, id: FaultId, fault: Fault) {
        self.mend(id);
        self.faults.push(Active {
            id,
            fault,
            rng: self.seeds.rng(Stream::Fault(id.0)),
            weather: BTreeMap::new(),
            busy: BTreeMap::new(),
        });
    }

    /// Ends a fault.
    pub fn mend(&mut self, id: FaultId) {
        self.faults.retain(|active| active.id != id);
    }

    /// Ends all faults.
    pub fn mend_all(&mut self) {
        self.faults.clear();
    }

    /// Whether nothing at all gets from one host to another, or nothing back.
    #[must_use]
    pub fn separates(&self, one: HostId, other: HostId) -> bool {
        self.faults.iter().any(|active| {
            let scope = &active.fault.scope;
            active.fault.effect.severs() && (scope.covers(one, other) || scope.covers(other, one))
        })
    }

    /// The longest delay without faults.
    #[must_use]
    pub fn delay(&self) -> Delay {
        self.delay
    }

    /// Decides what becomes of a datagram.
    pub(crate) fn carry(&mut self, now: Time, from: HostId, to: HostId, length: u64) -> Delivery {
        // Drawn for every datagram, so that faults do not shift the delays of the others.
        let mut passage = Passage {
            takes: self.delay.sample(&mut self.rng),
            damage: None,
        };
        let mut twin = None;
        for active in &mut self.faults {
            if !active.fault.scope.covers(from, to) {
                continue;
            }
            match active.strike(now, from, to, length) {
                Impact::Unharmed => {}
                Impact::Lost => return Delivery::Lost,
                Impact::Later(by) => passage.takes = passage.takes.saturating_add(by),
                Impact::Twice => {
                    twin = Some(Passage {
                        takes: self.delay.sample(&mut active.rng),
                        damage: None,
                    });
                }
                Impact::Damaged(damage) => passage.damage = Some(damage),
            }
        }
        match twin {
            Some(twin) => Delivery::Twice(passage, twin),
            None => Delivery::Once(passage),
        }
    }

    /// Damages a datagram.
    pub(crate) fn damage(&mut self, damage: Damage, bytes: &mut Vec<u8>) {
        damage.apply(bytes, &mut self.damage);
    }
}

impl Active {
    fn strike(&mut self, now: Time, from: HostId, to: HostId, length: u64) -> Impact {
        let rng = &mut self.rng;
        match &self.fault.effect {
            Effect::Cut => Impact::Lost,
            Effect::Longer(most) if length > *most => Impact::Lost,
            Effect::Loss(share) if chance(rng, *share) => Impact::Lost,
            Effect::Bursts(bursts) => {
                let weather = self
                    .weather
                    .entry((from, to))
                    .or_insert_with(|| bursts.begin(now, rng));
                if bursts.loses(weather, now, rng) {
                    Impact::Lost
                } else {
                    Impact::Unharmed
                }
            }
            Effect::Delay(delay) => Impact::Later(delay.sample(rng)),
            Effect::Reorder { share, by } if chance(rng, *share) => Impact::Later(by.sample(rng)),
            Effect::Duplicate(share) if chance(rng, *share) => Impact::Twice,
            Effect::Corrupt(share) if chance(rng, *share) => Impact::Damaged(Damage::draw(rng)),
            Effect::Bandwidth {
                bytes_per_s,
                buffer,
            } => {
                let busy = self.busy.entry(from).or_insert(now);
                let waits = busy.since(now);
                if waits > *buffer {
                    return Impact::Lost;
                }
                let takes = real(length) / real((*bytes_per_s).max(1));
                *busy = (*busy).max(now) + core::time::Duration::from_secs_f64(takes);
                Impact::Later(nanos(busy.since(now)))
            }
            Effect::Loss(_)
            | Effect::Longer(_)
            | Effect::Reorder { .. }
            | Effect::Duplicate(_)
            | Effect::Corrupt(_) => Impact::Unharmed,
        }
    }
}

#[cfg(test)]
mod tests;
