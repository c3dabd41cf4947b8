//! What was written, and what was shown before.

use std::collections::BTreeMap;

use gossip_core::{Generation, NodeId};
use xxhash_rust::xxh3::xxh3_64;

use super::{Attribute, Mark, MemberView, View, Violation};

/// Remembers what every origin wrote and what every node showed last.
///
/// Feed it with the view of each node after each of its steps.
#[derive(Debug, Default)]
pub struct History {
    logs: BTreeMap<(NodeId, Generation), Log>,
    shown: BTreeMap<NodeId, BTreeMap<NodeId, Mark>>,
}

/// What an origin wrote in one life.
#[derive(Debug, Default)]
struct Log {
    frontier: u64,
    /// A digest of the attributes and broadcasts after each version at which its node came to rest.
    contents: BTreeMap<u64, u64>,
}

impl History {
    /// Takes in what a node shows after a step, and tells what is wrong with it. `latest` is the greatest generation that
    /// the node takes by its wall clock.
    pub fn observe(&mut self, view: &View, latest: Generation) -> Vec<Violation> {
        self.record_own(view);
        let mut found = self.check_claims(view);
        found.extend(self.check_progress(view, latest));
        found
    }

    /// The process of this node has ended: its next life may show less.
    pub fn forget_shown(&mut self, viewer: NodeId) {
        self.shown.remove(&viewer);
    }

    /// What a node shows of itself is the truth about what it wrote.
    fn record_own(&mut self, view: &View) {
        if let Some(own) = view.member(view.viewer) {
            let Mark {
                generation,
                frontier,
            } = own.mark;
            let log = self.logs.entry((own.id, generation)).or_default();
            log.frontier = log.frontier.max(frontier);
            log.contents.entry(frontier).or_insert_with(|| digest(own));
        }
    }

    /// Nobody claims what it does not hold, or what nobody wrote.
    fn check_claims(&self, view: &View) -> Vec<Violation> {
        let mut found = Vec::new();
        for member in &view.members {
            let claimed = member.mark;
            let Some(log) = self.logs.get(&(member.id, claimed.generation)) else {
                found.push(Violation::NeverLived {
                    member: member.id,
                    generation: claimed.generation,
                });
                continue;
            };
            if claimed.frontier > log.frontier {
                found.push(Violation::ClaimedTooMuch {
                    member: member.id,
                    claimed,
                    written: log.frontier,
                });
            }
            // Versions written within one step have no digest; what they left is checked later.
            if let Some(&written) = log.contents.get(&claimed.frontier)
                && written != digest(member)
            {
                found.push(Violation::HoldsOtherThanWritten {
                    member: member.id,
                    claimed,
                });
            }
        }
        found
    }

    /// Generations and frontiers never go back while the viewer lives. A generation may that turns out to lie in the
    /// future: the viewer's clock was wrong, and has been set right.
    fn check_progress(&mut self, view: &View, latest: Generation) -> Vec<Violation> {
        let shown = self.shown.entry(view.viewer).or_default();
        let mut found = Vec::new();
        for member in &view.members {
            if let Some(&before) = shown.get(&member.id)
                && member.mark < before
                && before.generation <= latest
            {
                found.push(Violation::WentBack {
                    member: member.id,
                    before,
                    now: member.mark,
                });
            }
        }
        // A member that was dropped from the table may come back with less: its log was dropped too.
        *shown = view.members.iter().map(|m| (m.id, m.mark)).collect();
        found
    }
}

fn digest(member: &MemberView) -> u64 {
    let mut sorted: Vec<&Attribute> = member.attributes.iter().collect();
    sorted.sort();
    let mut bytes = Vec::new();
    let mut take = |part: &[u8]| {
        bytes.extend(part.len().to_le_bytes());
        bytes.extend(part);
    };
    for (key, value) in sorted {
        take(key.as_bytes());
        take(value);
    }
    for (number, payload) in &member.broadcasts {
        take(&number.to_le_bytes());
        take(payload);
    }
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::forge::{attribute, member, view};
    use gossip_core::Stamp;

    const A: u64 = 1;
    const B: u64 = 2;
    const LATEST: Generation = Generation::new(Stamp::from_bits(1000));

    #[test]
    fn progress_within_what_was_written_is_fine() {
        let mut history = History::default();
        let own = |frontier| view(A, [member(A, 10, frontier)]);
        assert_eq!(history.observe(&own(1), LATEST), []);
        assert_eq!(history.observe(&own(3), LATEST), []);
        for frontier in [1, 2, 3] {
            let mut seen = view(B, [member(A, 10, frontier), member(B, 11, 0)]);
            seen.members[1].mark.frontier = frontier;
            assert_eq!(history.observe(&seen, LATEST), []);
        }
    }

    #[test]
    fn a_frontier_that_goes_back_is_caught() {
        let mut history = History::default();
        history.observe(&view(A, [member(A, 10, 5)]), LATEST);
        history.observe(&view(B, [member(A, 10, 5)]), LATEST);
        let found = history.observe(&view(B, [member(A, 10, 4)]), LATEST);
        assert!(
            matches!(found[..], [Violation::WentBack { .. }]),
            "{found:?}"
        );
    }

    #[test]
    fn a_generation_that_goes_back_is_caught() {
        let mut history = History::default();
        history.observe(&view(A, [member(A, 10, 9)]), LATEST);
        history.observe(&view(A, [member(A, 20, 1)]), LATEST);
        assert_eq!(history.observe(&view(B, [member(A, 10, 9)]), LATEST), []);
        assert_eq!(history.observe(&view(B, [member(A, 20, 1)]), LATEST), []);
        let found = history.observe(&view(B, [member(A, 10, 9)]), LATEST);
        assert!(
            matches!(found[..], [Violation::WentBack { .. }]),
            "{found:?}"
        );
    }

    #[test]
    fn a_process_that_ended_may_show_less_in_its_next_life() {
        let mut history = History::default();
        history.observe(&view(A, [member(A, 10, 5)]), LATEST);
        history.observe(&view(B, [member(A, 10, 5)]), LATEST);
        history.forget_shown(view(B, []).viewer);
        assert_eq!(history.observe(&view(B, [member(A, 10, 4)]), LATEST), []);
    }

    #[test]
    fn a_claim_beyond_what_the_origin_wrote_is_caught() {
        let mut history = History::default();
        history.observe(&view(A, [member(A, 10, 5)]), LATEST);
        let found = history.observe(&view(B, [member(A, 10, 6)]), LATEST);
        assert!(
            matches!(found[..], [Violation::ClaimedTooMuch { written: 5, .. }]),
            "{found:?}"
        );
    }

    #[test]
    fn a_life_that_never_was_is_caught() {
        let mut history = History::default();
        history.observe(&view(A, [member(A, 10, 5)]), LATEST);
        let found = history.observe(&view(B, [member(A, 11, 1)]), LATEST);
        assert!(
            matches!(found[..], [Violation::NeverLived { .. }]),
            "{found:?}"
        );
    }

    #[test]
    fn a_claim_without_the_content_is_caught() {
        let mut history = History::default();
        let mut own = view(A, [member(A, 10, 5)]);
        own.members[0].attributes = vec![attribute("x", "1"), attribute("y", "2")];
        history.observe(&own, LATEST);
        let mut seen = view(B, [member(A, 10, 5)]);
        seen.members[0].attributes = vec![attribute("y", "2"), attribute("x", "1")];
        assert_eq!(
            history.observe(&seen, LATEST),
            [],
            "the order is no content"
        );
        let whole = seen.clone();
        seen.members[0].attributes = vec![attribute("y", "2")];
        let found = history.observe(&seen, LATEST);
        assert!(
            matches!(found[..], [Violation::HoldsOtherThanWritten { .. }]),
            "{found:?}"
        );
        let mut seen = whole;
        seen.members[0].broadcasts.push((1, b"never sent".to_vec()));
        let found = history.observe(&seen, LATEST);
        assert!(
            matches!(found[..], [Violation::HoldsOtherThanWritten { .. }]),
            "{found:?}"
        );
    }

    #[test]
    fn a_generation_that_lay_in_the_future_may_be_taken_back() {
        let mut history = History::default();
        let own = |generation| view(A, [member(A, generation, 1)]);
        history.observe(&own(1001), LATEST);
        assert_eq!(history.observe(&own(900), LATEST), []);
        let found = history.observe(&own(800), LATEST);
        assert!(
            matches!(found[..], [Violation::WentBack { .. }]),
            "{found:?}"
        );
    }
}
