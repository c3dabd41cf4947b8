//! Asking members directly: evidence where observation and votes leave a doubt.
//!
//! A member is *in doubt* when votes stand against it that make no majority: half of its observers
//! may have died with it. And a node that misses a quarter of its neighbours may be in a minority
//! that holds no observer of most members: it *sweeps*, asking everybody it has not heard lately.
//! Each member asked gets as many pings as make chance an unlikely explanation at the loss measured.
//! What comes of it is this node's own evidence and is not published, but where a node may have slept
//! through a death: see the votes in `node::ballots`.
//!
//! At a hundred pings a second, half of a large cluster takes longer to ask than a verdict may take. So
//! once a [sample](SAMPLE) has been asked in vain, the others are not asked to the end: where nothing is
//! lost, one who does not answer the first ping either is silent as well, and so is one who has let a vote
//! against itself stand; where much is, as many more are needed as ever. The sample are those that stand after this node on the ring, so that each node asks others.

use alloc::collections::BTreeMap;
use core::time::Duration;

use heapless::Vec;

use super::loss::FEWEST;
use crate::identity::NodeId;
use crate::time::Instant;

/// Between two pings to the same member.
const SPACING: Duration = Duration::from_millis(100);
/// How long after the last ping its answer may still come: longer than a round trip.
const ANSWER: Duration = Duration::from_millis(200);
/// Pings sent at once, every tenth of a second at most: a hundred pings a second.
const AT_ONCE: usize = 10;
/// Between two turns.
pub(crate) const TURN: Duration = Duration::from_millis(100);

/// How many members of a datacenter are asked in vain before the others are taken to be silent as well:
/// as many as do not take longer than the verdict on one, at a hundred pings a second. If one in ten of
/// those asked could be reached, a sample would miss them all once in 800 times.
pub(crate) const SAMPLE: usize = 64;
/// In place of a number of pings: a silence that was inferred from others. No loss that turns out to be
/// greater makes it a matter of chance.
const INFERRED: u32 = u32::MAX;

/// What else is known of a member that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It is in another datacenter: of those who are silent here nothing follows for it.
    Abroad,
    /// Nor does it for this one: it is down and asked whether it is back, or has voted lately itself, so
    /// that it lives on this side of whatever divides them.
    Apart,
    /// Nothing.
    None,
    /// It has let a vote against itself stand.
    Accused,
}

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
pub(crate) struct Probes(BTreeMap<NodeId, Probe>);

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
        self.0.entry(id).or_insert(probe);
    }

    /// Asks a member anew, even if it did not answer before.
    pub(crate) fn ask_again(&mut self, id: NodeId, now: Instant) {
        if !matches!(self.0.get(&id), Some(Probe::Asked { .. })) {
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
            pings: INFERRED,
            since: now,
        };
        self.0.insert(id, silent);
    }

    /// A member has shown life. Tells whether it had been found silent.
    pub(crate) fn heard(&mut self, id: NodeId) -> bool {
        // Most of the time nobody is asked.
        !self.0.is_empty() && matches!(self.0.remove(&id), Some(Probe::Silent { .. }))
    }

    /// A member has written something new. That says more than what was inferred from others.
    pub(crate) fn refuted(&mut self, id: NodeId) {
        let inferred =
            |probe: &Probe| matches!(*probe, Probe::Silent { pings, .. } if pings == INFERRED);
        if self.0.get(&id).is_some_and(inferred) {
            self.0.remove(&id);
        }
    }

    /// Asks a member no further: it has come up by the word of others.
    pub(crate) fn excuse(&mut self, id: NodeId) {
        if matches!(self.0.get(&id), Some(Probe::Asked { .. })) {
            self.0.remove(&id);
        }
    }

    /// Whether a member did not answer.
    pub(crate) fn is_silent(&self, id: NodeId) -> bool {
        matches!(self.0.get(&id), Some(Probe::Silent { .. }))
    }

    /// Those who did not answer.
    pub(crate) fn silent(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.0
            .iter()
            .filter(|(_, probe)| matches!(probe, Probe::Silent { .. }))
            .map(|(id, _)| *id)
    }

    /// Whether nobody is being asked, or did not answer.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
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
            !old && !gone(*id)
        });
    }

    /// More is being lost than was thought: a silence that fewer than `enough` pings have met may
    /// be chance, and its member is asked on.
    pub(crate) fn doubt(&mut self, now: Instant, enough: Option<u32>) {
        for probe in self.0.values_mut() {
            if let Probe::Silent { pings, .. } = *probe
                && enough.is_none_or(|enough| pings < enough)
            {
                *probe = Probe::Asked { pings, next: now };
            }
        }
    }

    /// Sends the pings of one turn: `enough` unanswered ones make a silence. Where no number is
    /// enough, asking waits for better times. Begins with those after `own`, and asks them to the end
    /// before others, until a sample has been asked in vain; then everybody once before anybody twice.
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        own: NodeId,
        enough: Option<u32>,
        sign: impl Fn(NodeId) -> Sign,
    ) -> Turn {
        let mut turn = Turn::default();
        let Some(enough) = enough else {
            return turn;
        };
        let is_here = |id: &NodeId| sign(*id) != Sign::Abroad;
        let sampled = self.in_vain().filter(is_here).nth(SAMPLE.saturating_sub(1));
        let sampled = sampled.is_some();
        // What the sample does not make needless: that all are lost may still be chance.
        let for_loss = enough.saturating_sub(FEWEST);
        for (id, probe) in self.0.iter_mut() {
            let Probe::Asked { pings, next } = *probe else {
                continue;
            };
            let inferred = match sampled.then(|| sign(*id)) {
                Some(Sign::None) => Some(for_loss.saturating_add(1)),
                Some(Sign::Accused) => Some(for_loss),
                _ => None,
            };
            if next <= now && pings >= inferred.unwrap_or(enough) {
                *probe = Probe::Silent {
                    pings: inferred.map_or(pings, |_| INFERRED),
                    since: now,
                };
                turn.found_silent = true;
            }
        }
        for _ in 0..AT_ONCE {
            let due = self.0.iter_mut().filter_map(|(id, probe)| match probe {
                Probe::Asked { pings, next } if *next <= now => Some((*id, pings, next)),
                _ => None,
            });
            let first = due.min_by_key(|(id, pings, _)| {
                let waits = sampled == (**pings > 0);
                (waits, own.distance_to(*id))
            });
            let Some((id, pings, next)) = first else {
                break;
            };
            *pings = pings.saturating_add(1);
            let is_last = *pings >= enough || sampled;
            *next = now.saturating_add(if is_last { ANSWER } else { SPACING });
            // There is room for as many as are taken.
            let _ = turn.ping.push(id);
        }
        turn
    }

    /// Those who were asked to the end and did not answer.
    fn in_vain(&self) -> impl Iterator<Item = NodeId> + '_ {
        let asked =
            |probe: &Probe| matches!(*probe, Probe::Silent { pings, .. } if pings != INFERRED);
        self.0
            .iter()
            .filter(move |(_, probe)| asked(probe))
            .map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    fn take_turn(probes: &mut Probes, now: Instant, enough: Option<u32>) -> Turn {
        probes.turn(now, NodeId::from_u64(0), enough, |_| Sign::None)
    }

    #[test]
    fn who_answers_none_of_enough_pings_is_silent() {
        let mut probes = Probes::default();
        let id = NodeId::from_u64(1);
        probes.ask(id, at(0));
        for turn in 0..3 {
            assert_eq!(
                take_turn(&mut probes, at(turn * 100), Some(3)).ping[..],
                [id]
            );
        }
        assert!(!take_turn(&mut probes, at(399), Some(3)).found_silent);
        assert!(!probes.is_silent(id));
        assert!(take_turn(&mut probes, at(400), Some(3)).found_silent);
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
        take_turn(&mut probes, at(0), Some(0));
        assert!(probes.is_silent(id));
        probes.ask_again(id, at(100));
        assert!(!probes.is_silent(id));
        assert_eq!(take_turn(&mut probes, at(100), Some(3)).ping[..], [id]);
        probes.ask_again(id, at(150));
        assert!(
            take_turn(&mut probes, at(150), Some(3)).ping.is_empty(),
            "not from the beginning"
        );
    }

    #[test]
    fn silence_is_doubted_when_more_turns_out_to_be_lost() {
        let mut probes = Probes::default();
        let id = NodeId::from_u64(1);
        probes.ask(id, at(0));
        take_turn(&mut probes, at(0), Some(1));
        assert!(take_turn(&mut probes, at(200), Some(1)).found_silent);
        probes.doubt(at(300), Some(1));
        assert!(probes.is_silent(id));
        probes.doubt(at(300), Some(2));
        assert!(!probes.is_silent(id), "one ping says too little now");
        assert_eq!(take_turn(&mut probes, at(300), Some(2)).ping[..], [id]);
        assert!(take_turn(&mut probes, at(500), Some(2)).found_silent);
        probes.doubt(at(600), None);
        assert!(!probes.is_silent(id), "nothing says anything");
        assert_eq!(take_turn(&mut probes, at(600), None), Turn::default());
        assert!(probes.is_asking());
    }

    #[test]
    fn an_answer_ends_the_asking() {
        let mut probes = Probes::default();
        let id = NodeId::from_u64(1);
        probes.ask(id, at(0));
        take_turn(&mut probes, at(0), Some(3));
        assert!(!probes.heard(id), "it had not been found silent");
        assert!(take_turn(&mut probes, at(1000), Some(3)).ping.is_empty());
    }

    #[test]
    fn a_sweep_is_paced_and_everybody_gets_a_turn() {
        let mut probes = Probes::default();
        for n in 0..60 {
            probes.ask(NodeId::from_u64(n), at(0));
        }
        let mut turns = 0;
        while probes.is_asking() {
            assert!(take_turn(&mut probes, at(turns * 100), Some(3)).ping.len() <= AT_ONCE);
            turns += 1;
        }
        assert!((18..28).contains(&turns), "180 pings, 10 a turn: {turns}");
        assert_eq!(probes.silent().count(), 60);
        probes.forget(at(100_000), Duration::from_secs(10), |_| false);
        assert_eq!(probes.silent().count(), 0);
    }

    /// Turns until nobody is being asked any more.
    fn turns(probes: &mut Probes, sign: impl Fn(NodeId) -> Sign) -> usize {
        let own = NodeId::from_u64(0);
        let mut turns = 0;
        for n in 0.. {
            if !probes.is_asking() {
                break;
            }
            probes.turn(at(n * 100), own, Some(5), &sign);
            turns += 1;
        }
        turns
    }

    fn asking(members: core::ops::Range<usize>) -> Probes {
        let mut probes = Probes::default();
        for n in members {
            probes.ask(NodeId::from_u64(n.try_into().unwrap()), at(0));
        }
        probes
    }

    #[test]
    fn once_a_sample_was_asked_in_vain_one_ping_does_for_the_others() {
        let few = SAMPLE * 5 / AT_ONCE;
        let sampled = turns(&mut asking(0..SAMPLE), |_| Sign::None);
        assert!((few..few + 10).contains(&sampled));
        let mut probes = asking(0..1000);
        let all = turns(&mut probes, |_| Sign::None);
        let others = (1000 - SAMPLE) / AT_ONCE;
        assert!((few + others..few + others + 10).contains(&all), "{all}");
        assert_eq!(probes.silent().count(), 1000);
    }

    #[test]
    fn once_a_sample_was_asked_in_vain_those_who_let_a_vote_stand_are_not_asked() {
        let few = SAMPLE * 5 / AT_ONCE;
        let mut probes = asking(0..1000);
        let all = turns(&mut probes, |_| Sign::Accused);
        assert!((few..few + 10).contains(&all), "{all}");
        assert_eq!(probes.silent().count(), 1000);
    }

    #[test]
    fn who_answers_is_not_taken_for_silent_by_the_sample() {
        let mut probes = asking(0..SAMPLE + 20);
        let lives = |id: &NodeId| usize::try_from(id.as_u64()).unwrap() >= SAMPLE;
        for n in 0.. {
            let own = NodeId::from_u64(0);
            let turn = probes.turn(at(n * 100), own, Some(5), |_| Sign::None);
            for id in turn.ping.iter().copied().filter(lives) {
                assert!(!probes.heard(id), "found silent before it could answer");
            }
            if !probes.is_asking() {
                break;
            }
        }
        assert_eq!(probes.silent().count(), SAMPLE);
    }

    #[test]
    fn news_of_a_member_ends_a_silence_that_was_inferred() {
        let mut probes = asking(0..SAMPLE + 20);
        turns(&mut probes, |_| Sign::Accused);
        let silent: std::vec::Vec<_> = probes.silent().collect();
        assert_eq!(silent.len(), SAMPLE + 20);
        silent.iter().for_each(|id| probes.refuted(*id));
        // Ten at a time are asked to the end.
        let asked = probes.silent().count();
        assert!((SAMPLE..SAMPLE + AT_ONCE).contains(&asked), "{asked}");
    }

    #[test]
    fn who_is_back_by_the_word_of_others_is_asked_no_further() {
        let mut probes = asking(0..2);
        let (one, other) = (NodeId::from_u64(0), NodeId::from_u64(1));
        probes.excuse(one);
        assert_eq!(take_turn(&mut probes, at(0), Some(1)).ping[..], [other]);
        take_turn(&mut probes, at(200), Some(1));
        probes.excuse(other);
        assert!(probes.is_silent(other), "it did not answer");
    }

    #[test]
    fn the_silence_of_those_here_says_nothing_of_those_elsewhere() {
        let here = |id: NodeId| id.as_u64() < 200;
        let sign = |id| {
            if here(id) {
                Sign::Accused
            } else {
                Sign::Abroad
            }
        };
        let mut both = asking(0..300);
        let abroad = 100 * 5 / AT_ONCE;
        let sampled = SAMPLE * 5 / AT_ONCE;
        let all = turns(&mut both, sign);
        assert!(
            (abroad + sampled..abroad + sampled + 10).contains(&all),
            "{all}"
        );
        let mut abroad_alone = asking(200..300);
        assert!(turns(&mut abroad_alone, sign) >= abroad);
    }

    /// At the loss that asks for 16 pings, a single one says little.
    #[test]
    fn under_loss_a_sample_makes_nobody_silent_by_chance() {
        let mut probes = asking(0..SAMPLE);
        let own = NodeId::from_u64(0);
        for n in 0..1000 {
            probes.turn(at(n * 100), own, Some(16), |_| Sign::None);
        }
        let (some, accused) = (NodeId::from_u64(100), NodeId::from_u64(101));
        probes.ask(some, at(100_000));
        probes.ask(accused, at(100_000));
        let sign = |id| {
            if id == accused {
                Sign::Accused
            } else {
                Sign::None
            }
        };
        let mut pings = [0; 2];
        for n in 1000..1100 {
            for id in probes.turn(at(n * 100), own, Some(16), sign).ping {
                pings[usize::from(id == accused)] += 1;
            }
        }
        assert_eq!(pings, [12, 11]);
    }

    #[test]
    fn whether_the_down_are_back_does_not_follow_from_the_silence_of_others() {
        let down = |id: NodeId| id.as_u64() >= 200;
        let sign = |id| if down(id) { Sign::Apart } else { Sign::Accused };
        let mut probes = asking(0..200);
        turns(&mut probes, sign);
        (200..300).for_each(|n| probes.ask_again(NodeId::from_u64(n), at(0)));
        assert!(turns(&mut probes, sign) >= 100 * 5 / AT_ONCE);
    }

    #[test]
    fn each_node_begins_with_those_after_itself_and_asks_them_to_the_end() {
        let mut probes = asking(0..100);
        let own = NodeId::from_u64(95);
        let mut first = || probes.turn(at(0), own, Some(5), |_| Sign::None).ping;
        let expected = |from: u64| {
            let ids = (from..from + 10).map(|n| NodeId::from_u64(n % 100));
            ids.collect::<std::vec::Vec<_>>()
        };
        assert_eq!(first()[..], expected(95));
        let mut second = || probes.turn(at(100), own, Some(5), |_| Sign::None).ping;
        assert_eq!(second()[..], expected(95));
    }
}
