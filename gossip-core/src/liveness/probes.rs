//! Asking members directly: evidence where observation and votes leave a doubt.
//!
//! A member is *in doubt* when votes stand against it that make no majority: half of its observers
//! may have died with it. And a node that misses a quarter of its neighbours may be in a minority
//! that holds no observer of most members: it *sweeps*, asking everybody it has not heard lately.
//! Each member asked gets as many pings as make chance an unlikely explanation at the loss measured.
//! What comes of it is this node's own evidence and is never published.

use core::time::Duration;

use heapless::Vec;

use crate::id::NodeId;
use crate::sorted::SortedMap;
use crate::time::Instant;

/// Between two pings to the same member.
const SPACING: Duration = Duration::from_millis(100);
/// How long after the last ping its answer may still come: longer than a round trip.
const ANSWER: Duration = Duration::from_millis(200);
/// Pings sent at once, every tenth of a second at most: a hundred pings a second.
const AT_ONCE: usize = 10;
/// Between two turns.
pub(crate) const TURN: Duration = Duration::from_millis(100);

/// One member asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// Pings are out.
    Asked { pings: u32, next: Instant },
    /// It did not answer so many.
    Silent { pings: u32, since: Instant },
}

/// The members being asked, and those who did not answer.
#[derive(Debug, Default)]
pub(crate) struct Probes(SortedMap<NodeId, Probe>);

/// What a turn came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Whom to ping now.
    pub(crate) ping: Vec<NodeId, AT_ONCE>,
    /// Whether somebody was found silent.
    pub(crate) found_silent: bool,
}

impl Probes {
    /// Asks a member, unless it is being asked or has been found silent.
    pub(crate) fn ask(&mut self, id: NodeId, now: Instant) {
        let probe = Probe::Asked {
            pings: 0,
            next: now,
        };
        self.0.get_or_insert(id, probe);
    }

    /// Asks a member anew, even if it did not answer before.
    pub(crate) fn ask_again(&mut self, id: NodeId, now: Instant) {
        if !matches!(self.0.get(id), Some(Probe::Asked { .. })) {
            let probe = Probe::Asked {
                pings: 0,
                next: now,
            };
            self.0.insert(id, probe);
        }
    }

    /// Takes a member for silent without asking it, or without asking on.
    pub(crate) fn write_off(&mut self, id: NodeId, now: Instant) {
        if self.is_silent(id) {
            return;
        }
        let silent = Probe::Silent {
            // No loss that turns out to be greater makes it a matter of chance.
            pings: u32::MAX,
            since: now,
        };
        self.0.insert(id, silent);
    }

    /// A member has shown life. Tells whether it had been found silent.
    pub(crate) fn heard(&mut self, id: NodeId) -> bool {
        // Most of the time nobody is asked.
        !self.0.is_empty() && matches!(self.0.remove(id), Some(Probe::Silent { .. }))
    }

    /// Whether a member did not answer.
    pub(crate) fn is_silent(&self, id: NodeId) -> bool {
        matches!(self.0.get(id), Some(Probe::Silent { .. }))
    }

    /// Those who did not answer.
    pub(crate) fn silent(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.0
            .iter()
            .filter(|(_, probe)| matches!(probe, Probe::Silent { .. }))
            .map(|(id, _)| id)
    }

    /// Whether anybody is being asked.
    pub(crate) fn is_asking(&self) -> bool {
        self.0
            .iter()
            .any(|(_, probe)| matches!(probe, Probe::Asked { .. }))
    }

    /// Forgets silences older than `lasting`, so that they are looked at again, and whoever is
    /// `gone`.
    pub(crate) fn forget(
        &mut self,
        now: Instant,
        lasting: Duration,
        gone: impl Fn(NodeId) -> bool,
    ) {
        self.0.retain(|id, probe| {
            let old =
                matches!(probe, Probe::Silent { since, .. } if now.saturating_since(*since) >= lasting);
            !old && !gone(id)
        });
    }

    /// More is being lost than was thought: a silence that fewer than `enough` pings have met may
    /// be chance, and its member is asked on.
    pub(crate) fn doubt(&mut self, now: Instant, enough: Option<u32>) {
        for (_, probe) in self.0.iter_mut() {
            if let Probe::Silent { pings, .. } = *probe
                && enough.is_none_or(|enough| pings < enough)
            {
                *probe = Probe::Asked { pings, next: now };
            }
        }
    }

    /// Sends the pings of one turn: `enough` unanswered ones make a silence. Where no number is
    /// enough, asking waits for better times.
    pub(crate) fn turn(&mut self, now: Instant, enough: Option<u32>) -> Turn {
        let mut turn = Turn::default();
        let Some(enough) = enough else {
            return turn;
        };
        for (id, probe) in self.0.iter_mut() {
            let Probe::Asked { pings, next } = probe else {
                continue;
            };
            if *next > now {
                continue;
            }
            if *pings >= enough {
                let pings = *pings;
                *probe = Probe::Silent { pings, since: now };
                turn.found_silent = true;
            } else if turn.ping.push(id).is_ok() {
                *pings = pings.saturating_add(1);
                let wait = if *pings < enough { SPACING } else { ANSWER };
                *next = now.saturating_add(wait);
            }
        }
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    #[test]
    fn who_answers_none_of_enough_pings_is_silent() {
        let mut probes = Probes::default();
        let id = NodeId::from_u64(1);
        probes.ask(id, at(0));
        for turn in 0..3 {
            assert_eq!(probes.turn(at(turn * 100), Some(3)).ping[..], [id]);
        }
        assert!(!probes.turn(at(399), Some(3)).found_silent);
        assert!(!probes.is_silent(id));
        assert!(probes.turn(at(400), Some(3)).found_silent);
        assert!(probes.is_silent(id) && !probes.is_asking());
        probes.ask(id, at(500));
        assert!(!probes.is_asking(), "it has been asked");
        assert!(probes.heard(id), "until it is heard");
        assert!(!probes.is_silent(id) && !probes.heard(id));
    }

    #[test]
    fn the_silent_may_be_asked_again() {
        let mut probes = Probes::default();
        let id = NodeId::from_u64(1);
        probes.ask(id, at(0));
        probes.turn(at(0), Some(0));
        assert!(probes.is_silent(id));
        probes.ask_again(id, at(100));
        assert!(!probes.is_silent(id));
        assert_eq!(probes.turn(at(100), Some(3)).ping[..], [id]);
        probes.ask_again(id, at(150));
        assert!(
            probes.turn(at(150), Some(3)).ping.is_empty(),
            "not from the beginning"
        );
    }

    #[test]
    fn silence_is_doubted_when_more_turns_out_to_be_lost() {
        let mut probes = Probes::default();
        let id = NodeId::from_u64(1);
        probes.ask(id, at(0));
        probes.turn(at(0), Some(1));
        assert!(probes.turn(at(200), Some(1)).found_silent);
        probes.doubt(at(300), Some(1));
        assert!(probes.is_silent(id));
        probes.doubt(at(300), Some(2));
        assert!(!probes.is_silent(id), "one ping says too little now");
        assert_eq!(probes.turn(at(300), Some(2)).ping[..], [id]);
        assert!(probes.turn(at(500), Some(2)).found_silent);
        probes.doubt(at(600), None);
        assert!(!probes.is_silent(id), "nothing says anything");
        assert_eq!(probes.turn(at(600), None), Turn::default());
        assert!(probes.is_asking());
    }

    #[test]
    fn an_answer_ends_the_asking() {
        let mut probes = Probes::default();
        let id = NodeId::from_u64(1);
        probes.ask(id, at(0));
        probes.turn(at(0), Some(3));
        assert!(!probes.heard(id), "it had not been found silent");
        assert!(probes.turn(at(1000), Some(3)).ping.is_empty());
    }

    #[test]
    fn a_sweep_is_paced_and_everybody_gets_a_turn() {
        let mut probes = Probes::default();
        for n in 0..100 {
            probes.ask(NodeId::from_u64(n), at(0));
        }
        let mut turns = 0;
        while probes.is_asking() {
            assert!(probes.turn(at(turns * 100), Some(3)).ping.len() <= AT_ONCE);
            turns += 1;
        }
        assert!((30..40).contains(&turns), "300 pings, 10 a turn: {turns}");
        assert_eq!(probes.silent().count(), 100);
        probes.forget(at(100_000), Duration::from_secs(10), |_| false);
        assert_eq!(probes.silent().count(), 0);
    }
}
