//! News on its way through a node: what comes within a few milliseconds for the same segment of the same tree
//! goes on together.
//!
//! News that comes alone goes on at once. Only where news is frequent does it wait for more, so what is saved grows
//! with what there is to save.

use alloc::vec::Vec;
use core::time::Duration;

use crate::membership::segment::Segment;
use crate::time::Instant;

/// The time that frequent news waits for more: less than a hop takes, more than there is between two datagrams in
/// a storm.
const HOLD: Duration = Duration::from_millis(5);

/// The time without news after which the next piece counts as rare.
const QUIET: Duration = Duration::from_millis(50);

/// What waits to go on. See the [module](self).
#[derive(Debug)]
pub(crate) struct Relay<N> {
    waiting: Vec<Batch<N>>,
    /// When what waits goes on.
    due: Option<Instant>,
    /// When news last went on.
    last: Option<Instant>,
}

/// What is to be served to the members of a segment.
#[derive(Debug)]
pub(crate) struct Batch<N> {
    pub(crate) tree: u8,
    pub(crate) segment: Segment,
    pub(crate) news: Vec<N>,
}

impl<N> Default for Relay<N> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            due: None,
            last: None,
        }
    }
}

impl<N> Relay<N> {
    /// Adds news for a segment. Tells how much waits for that now.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        tree: u8,
        segment: Segment,
        news: impl IntoIterator<Item = N>,
    ) -> usize {
        let is_frequent = (self.last).is_some_and(|last| now.saturating_since(last) < QUIET);
        let hold = if is_frequent { HOLD } else { Duration::ZERO };
        self.due.get_or_insert(now.saturating_add(hold));
        let is_same = |batch: &&mut Batch<N>| (batch.tree, batch.segment) == (tree, segment);
        if let Some(batch) = self.waiting.iter_mut().find(is_same) {
            batch.news.extend(news);
            return batch.news.len();
        }
        let news = Vec::from_iter(news);
        let number = news.len();
        self.waiting.push(Batch {
            tree,
            segment,
            news,
        });
        number
    }

    /// When what waits goes on. `None` if nothing waits.
    pub(crate) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes what waits for the widest segment: a part of it may be another's whole. `None` once all has gone on.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Batch<N>> {
        let widths = self.waiting.iter().map(|batch| batch.segment.width());
        let Some((widest, _)) = widths.enumerate().max_by_key(|(_, width)| *width) else {
            if self.due.take().is_some() {
                self.last = Some(now);
            }
            return None;
        };
        Some(self.waiting.swap_remove(widest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::testing::at;
    use crate::identity::NodeId;
    use std::vec::Vec;

    fn drain(relay: &mut Relay<u8>, now: Instant) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| relay.take(now))
            .map(|batch| batch.news)
            .collect()
    }

    #[test]
    fn rare_news_goes_on_at_once_and_frequent_news_waits_for_more() {
        let mut relay = Relay::default();
        assert_eq!(relay.due(), None);
        relay.add(at(0), 0, Segment::ALL, [1]);
        assert_eq!(relay.due(), Some(at(0)), "rare");
        assert_eq!(drain(&mut relay, at(0)), [[1]]);
        assert_eq!(relay.due(), None);
        relay.add(at(10), 0, Segment::ALL, [2]);
        assert_eq!(relay.add(at(12), 0, Segment::ALL, [3]), 2);
        assert_eq!(relay.due(), Some(at(15)), "the first waits for 5 ms");
        assert_eq!(drain(&mut relay, at(15)), [[2, 3]]);
        relay.add(at(65), 0, Segment::ALL, [4]);
        assert_eq!(relay.due(), Some(at(65)), "rare again");
    }

    #[test]
    fn what_a_wide_segment_leaves_goes_on_with_what_waits_for_the_narrow_one() {
        let mut relay = Relay::default();
        let narrow = Segment::only(NodeId::from_u64(7));
        relay.add(at(0), 0, narrow, [1]);
        relay.add(at(0), 1, narrow, [2]);
        relay.add(at(0), 0, Segment::ALL, [3]);
        let widest = relay.take(at(0)).unwrap();
        assert_eq!(
            (widest.segment, widest.news),
            (Segment::ALL, Vec::from([3]))
        );
        relay.add(at(0), 0, narrow, [3]);
        let mut rest = drain(&mut relay, at(0));
        rest.sort();
        assert_eq!(rest, [&[1, 3][..], &[2]]);
    }
}
