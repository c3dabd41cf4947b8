//! Who held whom down, and whether that was right.

use gossip_core::{Event, Generation, UpCause};

use crate::sim::{HostId, Step, Time, World};

/// A change of mind of one node about another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When.
    pub at: Time,
    /// Whose mind.
    pub observer: HostId,
    /// About whom.
    pub subject: HostId,
    /// Which life.
    pub generation: Generation,
    /// What it now thinks.
    pub verdict: Verdict,
}

/// What one node thinks of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is down, and that is right: it does not run, or cannot be reached.
    Down,
    /// It is down; but it runs, and each can reach the other.
    WronglyDown,
    /// It is up again.
    UpAgain(UpCause),
}

/// All changes of mind, but for the first acquaintances.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    sightings: Vec<Sighting>,
}

impl Tally {
    /// Takes in the events of a step.
    pub fn note(&mut self, world: &World, step: Step) {
        for event in world.events() {
            let (id, generation, cause) = match event {
                Event::MemberDown { id, generation, .. } => (*id, *generation, None),
                Event::MemberUp {
                    id,
                    generation,
                    cause,
                    ..
                } if *cause != UpCause::Joined => (*id, *generation, Some(*cause)),
                _ => continue,
            };
            let Some(subject) = world.host_of(id) else {
                continue;
            };
            let verdict = match cause {
                Some(cause) => Verdict::UpAgain(cause),
                None if deserves_up(world, step.host, subject, generation) => Verdict::WronglyDown,
                None => Verdict::Down,
            };
            self.sightings.push(Sighting {
                at: step.at,
                observer: step.host,
                subject,
                generation,
                verdict,
            });
        }
    }

    /// All changes of mind, in the order in which they happened.
    #[must_use]
    pub fn sightings(&self) -> &[Sighting] {
        &self.sightings
    }

    /// The verdicts about members that were alive and reachable at that moment.
    pub fn wrong_downs(&self) -> impl Iterator<Item = &Sighting> {
        let wrong = |sighting: &&Sighting| sighting.verdict == Verdict::WronglyDown;
        self.sightings.iter().filter(wrong)
    }

    /// All verdicts, right or wrong.
    pub fn downs(&self) -> impl Iterator<Item = &Sighting> {
        let down = |s: &&Sighting| matches!(s.verdict, Verdict::Down | Verdict::WronglyDown);
        self.sightings.iter().filter(down)
    }

    pub(crate) fn clear(&mut self) {
        self.sightings.clear();
    }
}

/// Whether a member runs in this generation, and both can reach each other directly.
fn deserves_up(world: &World, observer: HostId, subject: HostId, generation: Generation) -> bool {
    let host = world.host(subject);
    host.runs()
        && host
            .node()
            .is_some_and(|node| node.generation() == generation)
        && !world.network().separates(observer, subject)
}
