//! Network faults, drawn at random.

use core::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::plan::choose;
use crate::sim::network::{Bursts, Delay, Effect, Fault, Scope, Tail};
use crate::sim::{HostId, HostSet, Seeds, Stream, between, chance, pick};

/// In every fourth plan, paths that drop long datagrams. From a stream of its own, so that the rest of a plan is what it
/// was before there were any.
pub(super) fn draw_narrow(seed: u64, hosts: usize) -> Option<Fault> {
    let rng = &mut Seeds::new(seed).rng(Stream::Narrow);
    let is_drawn = chance(rng, 0.25);
    let fault = Fault {
        scope: draw_scope(rng, hosts),
        effect: Effect::Longer(*choose(rng, &[520, 700, 1000, 1300])),
    };
    is_drawn.then_some(fault)
}

/// A fault that a network of this many hosts may have.
pub(super) fn draw(rng: &mut ChaCha8Rng, hosts: usize, interval: Duration) -> Fault {
    Fault {
        scope: draw_scope(rng, hosts),
        effect: draw_effect(rng, interval),
    }
}

fn draw_scope(rng: &mut ChaCha8Rng, hosts: usize) -> Scope {
    match between(rng, 0, 6) {
        0 => Scope::Everywhere,
        1 => Scope::From(draw_set(rng, hosts)),
        2 => Scope::To(draw_set(rng, hosts)),
        3 => Scope::Around(draw_set(rng, hosts)),
        4 => Scope::Between(draw_set(rng, hosts), draw_set(rng, hosts)),
        _ => Scope::Across(draw_set(rng, hosts)),
    }
}

/// One host, or each with one half.
fn draw_set(rng: &mut ChaCha8Rng, hosts: usize) -> HostSet {
    if chance(rng, 0.5) {
        return HostSet::one(HostId::at(pick(rng, hosts)));
    }
    let all = (0..hosts).map(HostId::at);
    all.filter(|_| chance(rng, 0.5)).collect()
}

fn draw_effect(rng: &mut ChaCha8Rng, interval: Duration) -> Effect {
    match between(rng, 0, 11) {
        0..=3 => Effect::Cut,
        4..=5 => Effect::Loss(*choose(rng, &[0.1, 0.3, 0.5, 0.9])),
        6 => Effect::Bursts(Bursts {
            good: interval * *choose(rng, &[1, 5]),
            bad: interval * *choose(rng, &[1, 3]),
            loss: *choose(rng, &[0.5, 1.0]),
        }),
        7 => Effect::Delay(
            Delay::uniform(Duration::ZERO, interval / 2).with_tail(Tail {
                probability: 0.05,
                least: interval / 2,
                most: interval * 5,
            }),
        ),
        8 => Effect::Reorder {
            share: 0.2,
            by: Delay::uniform(interval / 10, interval),
        },
        9 => Effect::Duplicate(0.3),
        10 => Effect::Corrupt(*choose(rng, &[0.05, 0.5])),
        _ => Effect::Bandwidth {
            bytes_per_s: *choose(rng, &[500, 5000]),
            buffer: interval,
        },
    }
}
