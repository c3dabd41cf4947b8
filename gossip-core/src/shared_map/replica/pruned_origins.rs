//! What is remembered of logs that are no part of the version vector any more.
//!
//! A ghost that has been one for long leaves the vector and becomes a **grave**: nothing of it lives
//! up to here. What lies beyond is news all the same, and takes the log back into the vector. Graves
//! are many and at last forgotten, the eldest first, which raises the stamp **D**: an origin that is
//! unknown, has no grave, and began at D or before may have been one of them, and is refused.
//!
//! Two replicas that knew different amounts of what has left their vectors must not look the same:
//! what a log had killed is dead at one of them and may live at the other. So whoever takes a log out
//! of its vector gives what it knows of it a **name**: a version of its own log that holds nothing and
//! raises the floor. Whoever does not know that version is told the lists; whoever claims it has
//! dropped what they do not name.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::logs::Origin;
use crate::identity::Generation;

/// The graves, and D.
#[derive(Clone, Debug)]
pub(super) struct Forgotten {
    /// The stamp D: unknown origins at or below it are refused.
    upto: Generation,
    /// A forgotten origin: how far it was known when nothing of it lived.
    graves: BTreeMap<Origin, u64>,
}

impl Forgotten {
    pub(super) const fn new() -> Self {
        Self {
            upto: Generation::ZERO,
            graves: BTreeMap::new(),
        }
    }

    /// The stamp D.
    pub(super) const fn upto(&self) -> Generation {
        self.upto
    }

    /// Whether an origin without a grave may have had one.
    pub(super) fn may_include(&self, origin: Origin) -> bool {
        origin.generation <= self.upto && !self.graves.contains_key(&origin)
    }

    /// Raises D. Tells whether it rose.
    pub(super) fn raise(&mut self, upto: Generation) -> bool {
        let rises = upto > self.upto;
        self.upto = self.upto.max(upto);
        rises
    }

    /// Nothing of this origin lives up to here.
    pub(super) fn bury(&mut self, origin: Origin, upto: u64) {
        let grave = self.graves.entry(origin).or_default();
        *grave = upto.max(*grave);
    }

    /// Up to where nothing of an origin lives, if that is remembered; else 0.
    pub(super) fn grave(&self, origin: Origin) -> u64 {
        self.graves.get(&origin).copied().unwrap_or(0)
    }

    /// All graves, in the order of their origins.
    pub(super) fn graves(&self) -> impl Iterator<Item = (Origin, u64)> {
        self.graves.iter().map(|(origin, upto)| (*origin, *upto))
    }

    /// An origin has news: it has no grave any more. Returns up to where nothing of it lives.
    pub(super) fn exhume(&mut self, origin: Origin) -> u64 {
        self.graves.remove(&origin).unwrap_or(0)
    }

    /// Whether there are more than this by an eighth: so many go at a time.
    pub(super) fn has_more_than(&self, max: usize) -> bool {
        self.graves.len() > max.saturating_add(max.div_euclid(8))
    }

    /// Keeps the graves of the latest generations, about `max` of them. Tells whether D rose.
    pub(super) fn limit(&mut self, max: usize) -> bool {
        if !self.has_more_than(max) {
            return false;
        }
        let mut generations: Vec<Generation> =
            self.graves.keys().map(|origin| origin.generation).collect();
        generations.sort_unstable();
        let beyond = generations.len().saturating_sub(max);
        let Some(last) = beyond.checked_sub(1).and_then(|at| generations.get(at)) else {
            return false;
        };
        self.graves.retain(|origin, _| origin.generation > *last);
        self.raise(*last)
    }
}
