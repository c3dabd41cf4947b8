//! Probes: pings to members about whom observations and votes leave a doubt.
//!
//! Two kinds of doubt lead to probes:
//!
//! - The votes against a member make no majority. Half of its observers may have died with it.
//! - A node misses a quarter of its neighbours. It may be in a minority that holds no observer of
//!   most other members. So it *sweeps*: it probes every member that it has not heard lately.
//!
//! A probed member gets as many pings as make chance an unlikely explanation of its silence, at the
//! loss measured now. A silence is evidence of this node alone. It is published only if the node
//! may have slept through a death: see the [own votes](super::own_votes).
//!
//! At a hundred pings a second, probing half of a large cluster takes longer than a verdict may
//! take. So once a [sample](SAMPLE) of members has been probed to the end in vain, the silence of
//! others is *inferred*:
//!
//! - If nothing is lost, a member that does not answer its first ping is silent.
//! - If nothing is lost, a member that has let a vote against itself stand is silent without any
//!   ping.
//! - If much is lost, each of these needs as many more pings as the loss always demands.
//!
//! The sample are the members that follow this node on the ring, so that each node probes other
//! members.

use alloc::collections::BTreeMap;
use core::time::Duration;

use heapless::Vec;

use super::loss::{ANSWER_TO_PROBE, FEWEST_PINGS};
use crate::identity::NodeId;
use crate::time::Instant;

/// The time between two pings to the same member.
const SPACING: Duration = Duration::from_millis(100);
/// The most pings in one turn.
const PINGS_PER_TURN: usize = 10;
/// The time between two turns: this makes a hundred pings a second.
pub(super) const TURN: Duration = Duration::from_millis(100);

/// How many members of a datacenter are probed in vain before the others count as silent, too.
///
/// At a hundred pings a second, so many take no longer than the verdict about one member. If one in
/// ten of the members could be reached, a sample would miss all of them once in 800 times.
pub(super) const SAMPLE: usize = 64;
/// Stands in place of a number of pings if the silence was inferred. No loss that turns out to be
/// greater makes such a silence a matter of chance.
const INFERRED: u32 = u32::MAX;

/// What else is known of a member that is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// The member is in another datacenter. Nothing follows for it from members that are silent
    /// here.
    Elsewhere,
    /// Nothing follows for the member from the silence of others, for one of two reasons:
    ///
    /// - It is down, and the question is whether it is back.
    /// - It has voted lately, so it is alive on this side of whatever divides the members.
    Independent,
    /// Nothing else is known.
    None,
    /// The member has not refuted a vote against itself.
    Unrefuted,
}

/// The state of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// The member is being probed: `pings` are sent, and the next step is due at `next`.
    Asked { pings: u32, next: Instant },
    /// The member did not answer so many pings.
    Silent { pings: u32, since: Instant },
}

impl Probe {
    /// A probe that begins now.
    const fn begin(now: Instant) -> Self {
        Self::Asked {
            pings: 0,
            next: now,
        }
    }

    const fn is_asked(&self) -> bool {
        matches!(self, Self::Asked { .. })
    }

    const fn is_silent(&self) -> bool {
        matches!(self, Self::Silent { .. })
    }

    /// Whether the member is silent by inference from others.
    const fn is_inferred(&self) -> bool {
        matches!(self, Self::Silent { pings, .. } if *pings == INFERRED)
    }
}

/// The members that are being probed, and those that did not answer.
#[derive(Debug, Default)]
pub(super) struct Probes(BTreeMap<NodeId, Probe>);

/// What a turn came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// The members to ping now.
    pub(super) ping: Vec<NodeId, PINGS_PER_TURN>,
    /// Whether a member was found silent.
    pub(super) found_silent: bool,
}

impl Probes {
    /// Probes a member, unless it is being probed or is silent already.
    pub(super) fn ask(&mut self, id: NodeId, now: Instant) {
        self.0.entry(id).or_insert(Probe::begin(now));
    }

    /// Probes a member anew even if it is silent. A probe that is under way goes on.
    pub(super) fn ask_again(&mut self, id: NodeId, now: Instant) {
        if !self.0.get(&id).is_some_and(Probe::is_asked) {
            self.0.insert(id, Probe::begin(now));
        }
    }

    /// Takes a member to be silent without probing it to the end.
    pub(super) fn infer_silence(&mut self, id: NodeId, now: Instant) {
        if !self.is_silent(id) {
            let silent = Probe::Silent {
                pings: INFERRED,
                since: now,
            };
            self.0.insert(id, silent);
        }
    }

    /// A member has shown life. Returns whether it was silent before.
    pub(super) fn heard(&mut self, id: NodeId) -> bool {
        // Most of the time no member is probed.
        !self.0.is_empty() && self.0.remove(&id).is_some_and(|probe| probe.is_silent())
    }

    /// A member has written something new. That says more than an inference from others.
    pub(super) fn refuted(&mut self, id: NodeId) {
        if self.0.get(&id).is_some_and(Probe::is_inferred) {
            self.0.remove(&id);
        }
    }

    /// A member runs under another generation. What was found of the earlier life says nothing of this one.
    pub(super) fn restarted(&mut self, id: NodeId) {
        self.0.remove(&id);
    }

    /// Probes a member no further: it has come up by the word of others. If it is silent, it stays
    /// so.
    pub(super) fn stop_asking(&mut self, id: NodeId) {
        if self.0.get(&id).is_some_and(Probe::is_asked) {
            self.0.remove(&id);
        }
    }

    /// Whether a member did not answer.
    pub(super) fn is_silent(&self, id: NodeId) -> bool {
        self.0.get(&id).is_some_and(Probe::is_silent)
    }

    /// The members that did not answer, in the order of their ids.
    pub(super) fn silent(&self) -> impl Iterator<Item = NodeId> + '_ {
        let silent = self.0.iter().filter(|(_, probe)| probe.is_silent());
        silent.map(|(id, _)| *id)
    }

    /// Whether no member is being probed and none is silent.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any member is being probed.
    pub(super) fn is_asking(&self) -> bool {
        self.0.values().any(Probe::is_asked)
    }

    /// Looks again at silences that are older than `lasting`. What is `settled` without them is forgotten. So is
    /// what was inferred from others. Returns the rest, to be asked: a member that is asked stays silent
    /// until it answers. Also forgets the members that are `gone`.
    pub(super) fn renew(
        &mut self,
        now: Instant,
        lasting: Duration,
        gone: impl Fn(NodeId) -> bool,
        settled: impl Fn(NodeId) -> bool,
    ) -> alloc::vec::Vec<NodeId> {
        let mut asked = alloc::vec::Vec::new();
        self.0.retain(|id, probe| {
            if gone(*id) {
                return false;
            }
            match probe {
                Probe::Silent { pings, since } if now.saturating_since(*since) >= lasting => {
                    if *pings == INFERRED || settled(*id) {
                        return false;
                    }
                    *since = now;
                    asked.push(*id);
                    true
                }
                _ => true,
            }
        });
        asked
    }

    /// The loss may be greater than was thought. A silence of fewer than `enough` pings may then be
    /// chance, and its member is probed further.
    pub(super) fn doubt(&mut self, now: Instant, enough: Option<u32>) {
        for probe in self.0.values_mut() {
            if let Probe::Silent { pings, .. } = *probe
                && enough.is_none_or(|enough| pings < enough)
            {
                *probe = Probe::Asked { pings, next: now };
            }
        }
    }

    /// Takes one turn: concludes which members are silent, and chooses the next pings.
    ///
    /// `enough` unanswered pings make a silence. If no number is enough, all probes wait for better
    /// times.
    ///
    /// Members that follow `own` on the ring come first. Until the sample is complete, they are
    /// probed to the end before others are probed. After that, every member gets its first ping
    /// before any gets its second.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        own: NodeId,
        enough: Option<u32>,
        hint: impl Fn(NodeId) -> Hint,
    ) -> Turn {
        let Some(enough) = enough else {
            return Turn::default();
        };
        let is_here = |id: &NodeId| hint(*id) != Hint::Elsewhere;
        let last_of_sample = self.asked_in_vain().filter(is_here).nth(SAMPLE - 1);
        let is_sampled = last_of_sample.is_some();
        Turn {
            found_silent: self.conclude(now, enough, is_sampled, hint),
            ping: self.next_pings(now, own, enough, is_sampled),
        }
    }

    /// Finds members silent that did not answer enough pings. Returns whether there are any.
    fn conclude(
        &mut self,
        now: Instant,
        enough: u32,
        is_sampled: bool,
        hint: impl Fn(NodeId) -> Hint,
    ) -> bool {
        // The sample does not replace these pings: all of them may still be lost by chance.
        let for_loss = enough.saturating_sub(FEWEST_PINGS);
        let mut found_silent = false;
        for (id, probe) in &mut self.0 {
            let Probe::Asked { pings, next } = *probe else {
                continue;
            };
            let inferred = match is_sampled.then(|| hint(*id)) {
                Some(Hint::None) => Some(for_loss.saturating_add(1)),
                Some(Hint::Unrefuted) => Some(for_loss),
                _ => None,
            };
            if next <= now && pings >= inferred.unwrap_or(enough) {
                *probe = Probe::Silent {
                    pings: inferred.map_or(pings, |_| INFERRED),
                    since: now,
                };
                found_silent = true;
            }
        }
        found_silent
    }

    /// Chooses the members that get the next pings, and notes that they got them.
    fn next_pings(
        &mut self,
        now: Instant,
        own: NodeId,
        enough: u32,
        is_sampled: bool,
    ) -> Vec<NodeId, PINGS_PER_TURN> {
        let mut chosen = Vec::new();
        for _ in 0..PINGS_PER_TURN {
            let due = self.0.iter_mut().filter_map(|(id, probe)| match probe {
                Probe::Asked { pings, next } if *next <= now => Some((*id, pings, next)),
                _ => None,
            });
            let first = due.min_by_key(|(id, pings, _)| {
                let waits = is_sampled == (**pings > 0);
                (waits, own.distance_to(*id))
            });
            let Some((id, pings, next)) = first else {
                break;
            };
            debug_assert!(*pings != INFERRED, "a conclusion was due");
            *pings = pings.saturating_add(1);
            let is_last = *pings >= enough || is_sampled;
            *next = now.saturating_add(if is_last { ANSWER_TO_PROBE } else { SPACING });
            let pushed = chosen.push(id);
            debug_assert!(pushed.is_ok(), "there is room for one ping in each pass");
        }
        chosen
    }

    /// The members that were probed to the end and did not answer.
    fn asked_in_vain(&self) -> impl Iterator<Item = NodeId> + '_ {
        let in_vain = |probe: &Probe| probe.is_silent() && !probe.is_inferred();
        let probes = self.0.iter().filter(move |(_, probe)| in_vain(probe));
        probes.map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests;
