//! A random history of deaths, restarts and splits.

use core::fmt;
use core::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::num::count;
use crate::sim::network::{Effect, Fault, FaultId, Scope};
use crate::sim::{Action, HostId, HostSet, between, chance, nanos, pick};

/// What happens to a cluster, and who is left.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct History {
    /// What is done, and how long after the beginning.
    pub(super) script: Vec<(Duration, Action)>,
    /// When it begins, and what it is.
    pub(super) acts: Vec<(Duration, Act)>,
    /// When all of it is over.
    pub(super) lasts: Duration,
    /// Whose processes run in the end.
    pub(super) living: Vec<HostId>,
}

/// One part of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// So many die at one moment.
    Mass(usize),
    /// Several masses die one after the other.
    Waves(Vec<usize>),
    /// So many of the dead are started again.
    Revival(usize),
    /// So many of the living die, and are started again after this time.
    Restart(usize, Duration),
    /// So many of the living are apart from the others for this long.
    Split(usize, Duration),
}

/// The most acts.
const ACTS: u64 = 6;

/// The most masses of an act of waves.
const WAVES: u64 = 5;

const SECOND: Duration = Duration::from_secs(1);

/// The longest time from one act to the next.
const BETWEEN: Duration = Duration::from_secs(30);

/// The shortest and the longest split.
const APART: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// The longest time for which a process that restarts is away.
const AWAY: Duration = Duration::from_secs(10);

/// The name of the first split: no other fault has it.
const SPLITS: u32 = 1000;

/// How often the next act begins while a split lasts.
const OVERLAPS: f64 = 0.3;

struct Draft<'a> {
    rng: &'a mut ChaCha8Rng,
    now: Duration,
    history: History,
    dead: Vec<HostId>,
    /// How many stay alive at least.
    least: usize,
    splits: u32,
}

impl History {
    /// Draws one for a cluster of so many nodes, all of which live. Two are left after one more death, or one of
    /// three.
    pub(super) fn draw(rng: &mut ChaCha8Rng, nodes: u32) -> Self {
        let mut draft = Draft {
            rng,
            now: Duration::ZERO,
            history: Self {
                script: Vec::new(),
                acts: Vec::new(),
                lasts: Duration::ZERO,
                living: (0..nodes).map(HostId::new).collect(),
            },
            dead: Vec::new(),
            least: if nodes > 3 { 3 } else { 2 },
            splits: 0,
        };
        for _ in 0..between(draft.rng, 1, ACTS) {
            draft.act();
            let pause = draft.time(Duration::ZERO, BETWEEN);
            draft.now += pause;
        }
        draft.history
    }
}

impl Draft<'_> {
    fn act(&mut self) {
        let living = self.history.living.len();
        let mortal = living.saturating_sub(self.least);
        let began = self.now;
        let act = match pick(self.rng, 5) {
            0 if mortal > 0 => {
                let victims = self.some(mortal);
                self.kill(victims);
                Act::Mass(victims)
            }
            1 if mortal > 0 => self.waves(mortal),
            2 if !self.dead.is_empty() => self.revive(),
            3 if mortal > 0 => self.restart(mortal),
            _ => self.split(living),
        };
        self.history.lasts = self.history.lasts.max(self.now);
        self.history.acts.push((began, act));
    }

    fn waves(&mut self, mortal: usize) -> Act {
        let mut left = mortal;
        let mut waves = Vec::new();
        for number in 0..between(self.rng, 2, WAVES) {
            if left == 0 {
                break;
            }
            if number > 0 {
                let pause = self.time(SECOND, SECOND * 10);
                self.now += pause;
            }
            // Mostly not so many that there is nobody left for the next wave.
            let victims = self.some(left.div_ceil(2));
            self.kill(victims);
            left = left.saturating_sub(victims);
            waves.push(victims);
        }
        Act::Waves(waves)
    }

    fn revive(&mut self) -> Act {
        let number = self.some(self.dead.len());
        for _ in 0..number {
            let drawn = pick(self.rng, self.dead.len());
            let host = self.dead.swap_remove(drawn);
            self.perform(Action::Start(host));
            self.history.living.push(host);
        }
        Act::Revival(number)
    }

    fn restart(&mut self, mortal: usize) -> Act {
        let number = self.some(mortal);
        let before = self.dead.len();
        self.kill(number);
        let away = self.time(SECOND / 100, AWAY);
        self.now += away;
        for host in self.dead.split_off(before) {
            self.perform(Action::Start(host));
            self.history.living.push(host);
        }
        Act::Restart(number, away)
    }

    fn split(&mut self, living: usize) -> Act {
        let number = self.some(living.saturating_sub(1).max(1));
        let mut others = self.history.living.clone();
        let side = (0..number.min(living)).map(|_| {
            let drawn = pick(self.rng, others.len());
            others.swap_remove(drawn)
        });
        let side: HostSet = side.collect();
        let id = FaultId::new(SPLITS + self.splits);
        self.splits = self.splits.saturating_add(1);
        let fault = Fault {
            scope: Scope::Across(side),
            effect: Effect::Cut,
        };
        let lasts = self.time(APART.0, APART.1);
        self.perform(Action::Set(id, fault));
        let began = self.now;
        self.now += lasts;
        self.perform(Action::Mend(id));
        self.history.lasts = self.history.lasts.max(self.now);
        if chance(self.rng, OVERLAPS) {
            self.now = began;
        }
        Act::Split(number, lasts)
    }

    fn kill(&mut self, victims: usize) {
        for _ in 0..victims {
            let drawn = pick(self.rng, self.history.living.len());
            let host = self.history.living.swap_remove(drawn);
            self.perform(Action::Crash(host));
            self.dead.push(host);
        }
    }

    fn perform(&mut self, action: Action) {
        self.history.script.push((self.now, action));
    }

    /// Between one and so many: in a third of cases few, in another third all but few.
    fn some(&mut self, most: usize) -> usize {
        const FEW: usize = 3;
        let (low, high) = match pick(self.rng, 3) {
            0 => (1, FEW.min(most)),
            1 => (most.saturating_sub(FEW).max(1), most),
            _ => (1, most),
        };
        let drawn = between(self.rng, count(low), count(high));
        usize::try_from(drawn).unwrap_or(most)
    }

    fn time(&mut self, least: Duration, most: Duration) -> Duration {
        Duration::from_nanos(between(self.rng, nanos(least), nanos(most)))
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (at, act)) in self.acts.iter().enumerate() {
            let comma = if number == 0 { "" } else { "; " };
            write!(f, "{comma}{:.1} s: {act}", at.as_secs_f64())?;
        }
        Ok(())
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mass(victims) => write!(f, "{victims} die"),
            Self::Waves(waves) => {
                let waves: Vec<String> = waves.iter().map(ToString::to_string).collect();
                write!(f, "{} die in waves", waves.join(" + "))
            }
            Self::Revival(number) => write!(f, "{number} dead start again"),
            Self::Restart(number, away) => {
                write!(f, "{number} restart within {:.1} s", away.as_secs_f64())
            }
            Self::Split(number, lasts) => {
                write!(f, "{number} are apart for {:.1} s", lasts.as_secs_f64())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sim::{Seeds, Stream};

    fn drawn(seed: u64, nodes: u32) -> History {
        History::draw(&mut Seeds::new(seed).rng(Stream::Plan), nodes)
    }

    #[test]
    fn a_seed_always_gives_the_same_history_and_seeds_differ() {
        assert_eq!(drawn(1, 50), drawn(1, 50));
        assert_ne!(drawn(1, 50), drawn(2, 50));
    }

    #[test]
    fn enough_live_at_any_moment_and_every_split_heals_by_the_end() {
        for (seed, nodes) in (0..300).flat_map(|seed| [3, 10, 50].map(|nodes| (seed, nodes))) {
            let history = drawn(seed, nodes);
            let mut script = history.script.clone();
            script.sort_by_key(|(at, _)| *at);
            let mut living: BTreeSet<HostId> = (0..nodes).map(HostId::new).collect();
            let mut splits = BTreeSet::new();
            for (at, action) in script {
                assert!(at <= history.lasts, "{history}");
                let is_news = match action {
                    Action::Start(host) => living.insert(host),
                    Action::Crash(host) => living.remove(&host),
                    Action::Set(id, _) => splits.insert(id),
                    Action::Mend(id) => splits.remove(&id),
                    _ => false,
                };
                assert!(is_news, "{history}");
                assert!(living.len() >= if nodes > 3 { 3 } else { 2 }, "{history}");
            }
            assert!(splits.is_empty(), "{history}");
            assert_eq!(
                living,
                history.living.iter().copied().collect(),
                "{history}"
            );
        }
    }

    #[test]
    fn all_kinds_of_acts_are_drawn() {
        let acts = (0..100).flat_map(|seed| drawn(seed, 10).acts);
        let kinds: BTreeSet<u8> = acts
            .map(|(_, act)| match act {
                Act::Mass(_) => 0,
                Act::Waves(_) => 1,
                Act::Revival(_) => 2,
                Act::Restart(..) => 3,
                Act::Split(..) => 4,
            })
            .collect();
        assert_eq!(kinds.len(), 5);
    }
}
