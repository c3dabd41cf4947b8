//! Whether what nodes tell is true.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use gossip_core::{Event, Generation, JoinCause, Metrics, NodeId, Standing, Status};

use super::{View, Violation};

/// Intervals for which all others must have held a dead member down, so that nobody may tell it up: in so
/// many rounds a node learns what the others know.
const EXCHANGED: u32 = 12;

/// What nodes show of themselves and of those that are down.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// The nodes that run.
    run: BTreeSet<NodeId>,
    /// Those of them that have joined and do not leave.
    take_part: BTreeSet<NodeId>,
    /// By viewer and member: under which generation the viewer holds the member down, and since when.
    down: BTreeMap<(NodeId, NodeId), (Generation, Duration)>,
}

impl Words {
    /// A node shows this at this time.
    pub fn observe(&mut self, view: &View, now: Duration) {
        let viewer = view.viewer;
        self.run.insert(viewer);
        if view.standing == Standing::Up {
            self.take_part.insert(viewer);
        } else {
            self.take_part.remove(&viewer);
        }
        // Who is removed is held down no longer.
        self.down
            .retain(|(by, about), _| *by != viewer || view.member(*about).is_some());
        for member in &view.members {
            let about = (viewer, member.id);
            let generation = member.mark.generation;
            if member.status != Status::Down {
                self.down.remove(&about);
            } else if self
                .down
                .get(&about)
                .is_none_or(|held| held.0 != generation)
            {
                self.down.insert(about, (generation, now));
            }
        }
    }

    /// A process has ended.
    pub fn end(&mut self, viewer: NodeId) {
        self.run.remove(&viewer);
        self.take_part.remove(&viewer);
        self.down.retain(|(by, _), _| *by != viewer);
    }

    /// What is wrong with what a node tells, if anything.
    #[must_use]
    pub fn told(&self, by: &Teller, event: &Event, now: Duration) -> Option<Violation> {
        match event {
            Event::MemberUp { id, generation, .. } => self.told_up(by, *id, *generation, now),
            Event::AgreementReached { .. } if by.standing != Standing::Up => {
                let standing = by.standing;
                Some(Violation::AgreedApart { standing })
            }
            Event::Joined {
                cause: JoinCause::NoAnswer,
                ..
            } if by.taken > 0 => Some(Violation::AnswerUntold { taken: by.taken }),
            _ => None,
        }
    }

    fn told_up(
        &self,
        by: &Teller,
        about: NodeId,
        generation: Generation,
        now: Duration,
    ) -> Option<Violation> {
        if self.run.contains(&about) {
            return None;
        }
        let others = self.take_part.iter().filter(|other| **other != by.id);
        let held = others.map(|other| {
            let (held, since) = self.down.get(&(*other, about))?;
            (*held == generation).then(|| now.saturating_sub(*since))
        });
        let shortest = held.min().flatten()?;
        (shortest >= by.interval * EXCHANGED).then_some(Violation::DeadToldUp {
            about,
            held: shortest,
        })
    }
}

/// A node that tells something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Teller {
    /// Its id.
    pub id: NodeId,
    /// How far it has come.
    pub standing: Standing,
    /// How many datagrams of other nodes it has taken.
    pub taken: u64,
    /// Its interval.
    pub interval: Duration,
}

impl Teller {
    /// How many datagrams a node has taken, by its counters.
    #[must_use]
    pub fn taken(metrics: &Metrics) -> u64 {
        metrics.datagrams_in.saturating_sub(metrics.dropped.total())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::forge::{generation, member, view};
    use gossip_core::{Key, Name, UpCause};

    const A: u64 = 1;
    const B: u64 = 2;
    const DEAD: u64 = 3;

    fn id(number: u64) -> NodeId {
        NodeId::from_u64(number)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn teller(standing: Standing, taken: u64) -> Teller {
        Teller {
            id: id(9),
            standing,
            taken,
            interval: seconds(1),
        }
    }

    fn up(number: u64, born: u64) -> Event {
        Event::MemberUp {
            id: id(number),
            name: Name::new("dead").unwrap(),
            address: ([127, 0, 0, 1], 1).into(),
            generation: generation(born),
            cause: UpCause::Joined,
            phi: None,
            votes: 0,
        }
    }

    /// A and B show a dead member so.
    fn shown(words: &mut Words, statuses: [Status; 2], now: u64) {
        for (viewer, status) in [A, B].into_iter().zip(statuses) {
            let mut view = view(viewer, [member(viewer, 1, 1), member(DEAD, 5, 1)]);
            view.members[1].status = status;
            words.observe(&view, seconds(now));
        }
    }

    #[test]
    fn a_dead_member_that_all_others_have_held_down_for_long_is_not_told_up() {
        let teller = teller(Standing::Up, 1);
        let mut words = Words::default();
        shown(&mut words, [Status::Down, Status::Up], 0);
        let found = |words: &Words, now| words.told(&teller, &up(DEAD, 5), seconds(now));
        assert_eq!(found(&words, 60), None, "B does not hold it down");
        shown(&mut words, [Status::Down, Status::Down], 60);
        assert_eq!(found(&words, 70), None, "not for long");
        let held = seconds(12);
        let about = id(DEAD);
        let wrong = Some(Violation::DeadToldUp { about, held });
        assert_eq!(found(&words, 72), wrong);
        let later = words.told(&teller, &up(DEAD, 6), seconds(72));
        assert_eq!(later, None, "it has restarted since");
        words.observe(&view(DEAD, [member(DEAD, 5, 1)]), seconds(72));
        assert_eq!(found(&words, 72), None, "it lives");
        words.end(id(DEAD));
        assert_eq!(found(&words, 72), wrong);
        words.end(id(A));
        words.end(id(B));
        assert_eq!(found(&words, 72), None, "there are no others");
    }

    #[test]
    fn nobody_agrees_before_joining_or_while_leaving() {
        let agreed = Event::AgreementReached {
            key: Key::new("k").unwrap(),
            value: None,
        };
        let words = Words::default();
        for (standing, is_fine) in [
            (Standing::Joining, false),
            (Standing::Up, true),
            (Standing::Leaving, false),
        ] {
            let found = words.told(&teller(standing, 0), &agreed, seconds(1));
            assert_eq!(found.is_none(), is_fine, "{standing:?}");
        }
    }

    #[test]
    fn who_was_answered_does_not_say_that_nobody_answers() {
        let joined = |cause| Event::Joined { members: 0, cause };
        let words = Words::default();
        for (cause, taken, is_fine) in [
            (JoinCause::NoAnswer, 0, true),
            (JoinCause::NoAnswer, 1, false),
            (JoinCause::Incomplete, 1, true),
        ] {
            let teller = teller(Standing::Up, taken);
            let found = words.told(&teller, &joined(cause), seconds(3));
            assert_eq!(found.is_none(), is_fine, "{cause:?}");
        }
    }
}
