//! The dots of the writes that died lately.
//!
//! A live set tells what lives at one moment. It takes many datagrams, and writes die meanwhile. So the sender
//! of a delta tells their dots after the live set, and need not make it again. Without that, a delta would not
//! end while writes go on.
//!
//! # Invariant
//!
//! Every write that this replica drops, or knows to be dead when it comes, is noted once. Deaths of which a
//! delta tells in another way are not noted: see [`Map::unnoted`](super::Map).

use alloc::collections::VecDeque;

use super::logs::Origin;

/// The most dots: those of a second at a thousand overwritten keys a second. A live set that was made before
/// them is made anew.
const MOST: usize = 1024;

/// The dots of the writes that died last, in the order of their deaths.
#[derive(Clone, Debug, Default)]
pub(super) struct Died {
    dots: VecDeque<(Origin, u64)>,
    /// How many died before the first of them.
    before: u64,
}

impl Died {
    pub(super) fn note(&mut self, origin: Origin, version: u64) {
        if self.dots.len() >= MOST && self.dots.pop_front().is_some() {
            self.before = self.before.saturating_add(1);
        }
        self.dots.push_back((origin, version));
    }

    /// How many have died.
    pub(super) fn count(&self) -> u64 {
        let kept = u64::try_from(self.dots.len()).unwrap_or(u64::MAX);
        self.before.saturating_add(kept)
    }

    /// The dots of those that died after the first `count`. `None` if not all of them are kept.
    pub(super) fn after(&self, count: u64) -> Option<impl Iterator<Item = (Origin, u64)>> {
        let known = count.checked_sub(self.before)?;
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        Some(self.dots.iter().skip(known).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Stamp;
    use crate::identity::{Generation, NodeId};
    use std::vec::Vec;

    #[test]
    fn what_died_after_a_moment_is_told_while_all_of_it_is_kept() {
        let origin = Origin {
            id: NodeId::from_u64(1),
            generation: Generation::new(Stamp::from_bits(1)),
        };
        let mut died = Died::default();
        let most = u64::try_from(MOST).unwrap();
        for version in 1..=most + 10 {
            died.note(origin, version);
        }
        assert_eq!(died.count(), most + 10);
        assert!(died.after(9).is_none());
        let all = died.after(10).map(Iterator::count);
        assert_eq!(all, Some(MOST));
        let last: Vec<_> = died.after(most + 9).into_iter().flatten().collect();
        assert_eq!(last, [(origin, most + 10)]);
        assert_eq!(died.after(most + 10).map(Iterator::count), Some(0));
    }
}
