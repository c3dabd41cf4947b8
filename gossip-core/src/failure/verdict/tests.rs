use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use proptest::prelude::*;
use siphasher::sip::SipHasher13;

use super::*;
use crate::config::PhiModel;
use crate::failure::detector::Detector;
use crate::failure::observation::Due;
use crate::failure::probes::Hint;
use crate::hlc::Stamp;
use crate::identity::Generation;
use crate::state::attribute::{MAX_VOTES, PublishedVote};
use crate::state::log::Claim;
use crate::state::table_hash::HashKey;

mod datacenters;

const SECOND: Duration = Duration::from_secs(1);
/// When the verdicts are drawn: long after everything else in a scene.
const NOW: Instant = Instant::from_nanos(1_000_000_000_000);

const fn id(n: u64) -> NodeId {
    NodeId::from_u64(n)
}

fn generation() -> Generation {
    Generation::new(Stamp::from_bits(7))
}

/// What node 0 knows of a ring of members 0, 1, 2, … All logs are known up to entry 3.
struct Scene {
    table: Table,
    votes: Votes,
    observations: Vec<Observation>,
    probes: Probes,
    /// The votes that each member publishes.
    published: BTreeMap<u64, Vec<PublishedVote>>,
}

impl Scene {
    fn new(members: u64) -> Self {
        let mut table = Table::new(HashKey::of("c"), SipHasher13::new(), 3);
        for n in 0..members {
            table.ensure(id(n), Instant::ORIGIN);
        }
        let mut scene = Self {
            table,
            votes: Votes::default(),
            observations: Vec::new(),
            probes: Probes::default(),
            published: BTreeMap::new(),
        };
        (0..members).for_each(|n| scene.shows(n, 3));
        scene
    }

    /// The log of a member becomes known up to this entry.
    fn shows(&mut self, member: u64, frontier: u64) {
        let claim = Claim {
            generation: generation(),
            after: 0,
            frontier,
            floor: 0,
            run: &[],
        };
        self.table.apply(id(member), Instant::ORIGIN, &claim);
    }

    fn vote(&mut self, observer: u64, subject: u64) {
        self.vote_from(observer, subject, Instant::ORIGIN);
    }

    /// A vote of an observer that knows the member's log up to this entry.
    fn vote_at(&mut self, observer: u64, subject: u64, frontier: u64) {
        self.vote_with(observer, subject, frontier, Instant::ORIGIN);
    }

    fn vote_from(&mut self, observer: u64, subject: u64, counts_from: Instant) {
        self.vote_with(observer, subject, 3, counts_from);
    }

    fn vote_with(&mut self, observer: u64, subject: u64, frontier: u64, counts_from: Instant) {
        let old = self.published.get(&observer).cloned().unwrap_or_default();
        let mut new = old.clone();
        new.push(PublishedVote {
            subject: id(subject),
            generation: generation(),
            frontier,
            age: 0,
            removed: false,
        });
        let votes = new.iter().copied();
        self.votes
            .replace(NOW, id(observer), old.into_iter(), votes, |_| counts_from);
        self.published.insert(observer, new);
    }

    fn votes(mut self, observers: impl IntoIterator<Item = u64>, subject: u64) -> Self {
        observers
            .into_iter()
            .for_each(|observer| self.vote(observer, subject));
        self
    }

    /// Node 0 observes a member and finds it silent.
    fn observes_silence(mut self, of: u64) -> Self {
        let detector = Detector::new(PhiModel::StudentT, 64, 6.0, 8.0, SECOND, 0.1, 1.4);
        let mut observation =
            Observation::new(id(of), generation(), 64, &detector, Instant::ORIGIN);
        while let Some(at) = observation.deadline() {
            if observation.take_step(at, 5) == Due::Silent {
                break;
            }
        }
        assert!(observation.is_silent());
        self.observations.push(observation);
        self.observations.sort_by_key(|o| o.id);
        self
    }

    /// Node 0 has probed a member in vain.
    fn probes_in_vain(mut self, whom: u64) -> Self {
        self.probes.ask(id(whom), Instant::ORIGIN);
        self.probes
            .turn(Instant::ORIGIN, NodeId::from_u64(0), Some(0), |_| {
                Hint::None
            });
        assert!(self.probes.is_silent(id(whom)));
        self
    }

    fn hears(mut self, whom: u64) -> Self {
        self.table.get_mut(id(whom)).unwrap().heard = Some(NOW);
        self
    }

    fn holds_down(mut self, whom: u64, since: Instant) -> Self {
        self.table.set_condition(id(whom), since, Condition::Down);
        self
    }

    fn evidence(&self) -> Evidence<'_> {
        Evidence {
            own: id(0),
            table: &self.table,
            votes: &self.votes,
            observations: &self.observations,
            probes: &self.probes,
            neighbours: 8,
            most_votes: MAX_VOTES,
            now: NOW,
            settled_before: Instant::from_nanos(500),
            heard_after: Instant::from_nanos(500),
        }
    }

    fn verdict(&self, about: u64) -> Option<Verdict> {
        let verdicts = self.evidence().verdicts();
        let at = verdicts.binary_search_by_key(&id(about), |(subject, _)| *subject);
        Some(verdicts[at.ok()?].1)
    }
}

// On a ring of 40, the observers of member 20 are 16 to 19 and 21 to 24. Node 0 is none of them.

#[test]
fn a_strict_majority_of_the_observers_takes_a_member_down() {
    let four = Scene::new(40).votes(16..20, 20);
    assert_eq!(four.verdict(20), Some(Verdict::Doubtful));
    let five = four.votes([21], 20);
    assert_eq!(five.verdict(20), Some(Verdict::Down));
    assert_eq!(
        five.verdict(16),
        None,
        "nobody says anything against a voter"
    );
}

#[test]
fn votes_of_members_that_are_not_observers_do_not_count() {
    let scene = Scene::new(40).votes(1..15, 20);
    assert_eq!(scene.verdict(20), Some(Verdict::Cleared));
}

#[test]
fn two_votes_make_a_member_doubtful_and_one_does_not() {
    let one = Scene::new(40).votes([16], 20);
    assert_eq!(one.verdict(20), Some(Verdict::Cleared));
    let two = one.votes([17], 20);
    assert_eq!(two.verdict(20), Some(Verdict::Doubtful));
}

#[test]
fn own_evidence_adds_one_witness_for_or_against() {
    let asked = Scene::new(40).votes(16..20, 20).probes_in_vain(20);
    assert_eq!(asked.verdict(20), Some(Verdict::Down), "5 of 9");
    let heard = Scene::new(40).votes(16..20, 20).hears(20);
    assert_eq!(heard.verdict(20), Some(Verdict::Doubtful), "4 of 9");
    let outvoted = heard.votes([21], 20);
    assert_eq!(outvoted.verdict(20), Some(Verdict::Down), "5 of 9");
}

#[test]
fn a_silent_observer_is_no_witness() {
    let scene = Scene::new(40).votes(16..20, 20).probes_in_vain(24);
    assert_eq!(scene.verdict(20), Some(Verdict::Down), "4 of 7");
}

#[test]
fn a_member_that_is_down_is_no_witness() {
    let scene = Scene::new(40).votes(16..20, 20);
    let lately = scene.holds_down(24, Instant::from_nanos(501));
    assert_eq!(lately.verdict(20), Some(Verdict::Down), "4 of 7");
    // Once it has been down for long, another member has its place on the ring.
    let long_ago = Scene::new(40)
        .votes(16..20, 20)
        .holds_down(24, Instant::from_nanos(500));
    assert_eq!(long_ago.verdict(20), Some(Verdict::Doubtful), "4 of 8");
}

#[test]
fn the_clearest_case_is_decided_first() {
    // Two sick members vote against 20. With them there is a majority against it, and without them
    // there is none.
    let scene = Scene::new(40).votes([16, 17, 18, 21, 22], 20);
    assert_eq!(scene.verdict(20), Some(Verdict::Down), "5 of 8");
    let scene = scene.votes([12, 13, 14, 15, 17, 18, 19, 20], 16);
    let scene = scene.votes([13, 14, 15, 16, 18, 19, 20, 21], 17);
    assert_eq!(scene.verdict(16), Some(Verdict::Down));
    assert_eq!(scene.verdict(17), Some(Verdict::Down));
    assert_eq!(scene.verdict(20), Some(Verdict::Doubtful), "3 of 6");
}

#[test]
fn one_sick_node_takes_nobody_down_whatever_it_votes() {
    let around = [16, 17, 18, 19, 21, 22, 23, 24];
    let mut scene = Scene::new(40);
    for subject in around {
        scene.vote(20, subject);
    }
    for subject in around {
        assert_eq!(scene.verdict(subject), Some(Verdict::Cleared));
    }
}

#[test]
fn without_a_witness_nobody_is_down() {
    // This node finds all observers silent, and has not probed the member yet.
    let scene = Scene::new(3).votes([1], 2).probes_in_vain(1);
    assert_eq!(
        scene.verdict(1),
        Some(Verdict::Doubtful),
        "1 is contested itself, and 2 vouches"
    );
    assert_eq!(scene.verdict(2), Some(Verdict::Doubtful), "0 of 0");
    let scene = scene.probes_in_vain(2);
    assert_eq!(scene.verdict(1), Some(Verdict::Down));
    assert_eq!(scene.verdict(2), Some(Verdict::Down));
}

#[test]
fn in_a_cluster_of_two_each_is_the_only_witness_of_the_other() {
    let scene = Scene::new(2).observes_silence(1);
    assert_eq!(scene.verdict(1), Some(Verdict::Down));
}

#[test]
fn in_a_cluster_of_three_both_others_must_agree() {
    let alone = Scene::new(3).observes_silence(2);
    assert_eq!(alone.verdict(2), Some(Verdict::Doubtful), "1 of 2");
    let agreed = alone.votes([1], 2);
    assert_eq!(agreed.verdict(2), Some(Verdict::Down));
}

#[test]
fn with_few_members_everybody_is_a_witness() {
    let unheard = Scene::new(5).votes([1, 2], 4);
    assert_eq!(unheard.verdict(4), Some(Verdict::Down), "2 of 3");
    let heard = Scene::new(5).votes([1, 2], 4).hears(4);
    assert_eq!(heard.verdict(4), Some(Verdict::Doubtful), "2 of 4");
    let silent = Scene::new(5).votes([1, 2], 4).observes_silence(4);
    assert_eq!(silent.verdict(4), Some(Verdict::Down), "3 of 4");
}

#[test]
fn a_vote_does_not_count_before_its_time() {
    let mut scene = Scene::new(40).votes(16..20, 20);
    scene.vote_from(21, 20, NOW.saturating_add(SECOND));
    assert_eq!(scene.verdict(20), Some(Verdict::Doubtful));
    let mut later = scene.evidence();
    later.now = NOW.saturating_add(SECOND);
    assert_eq!(later.verdicts(), [(id(20), Verdict::Down)]);
}

#[test]
fn refuted_votes_are_void() {
    let mut scene = Scene::new(40).votes(16..20, 20).votes(21..25, 20);
    assert_eq!(scene.verdict(20), Some(Verdict::Down));
    scene.shows(20, 4);
    assert_eq!(scene.verdict(20), Some(Verdict::Doubtful));
}

#[test]
fn who_lets_a_refuted_vote_stand_does_not_vouch() {
    let mut scene = Scene::new(40).votes(16..20, 20);
    scene.shows(20, 4);
    assert_eq!(
        scene.verdict(20),
        Some(Verdict::Doubtful),
        "half cannot vouch"
    );
    // Of the others each one hears the member, until it does not.
    scene.vote_at(21, 20, 4);
    scene.vote_at(22, 20, 4);
    assert_eq!(scene.verdict(20), Some(Verdict::Doubtful));
    scene.vote_at(23, 20, 4);
    assert_eq!(scene.verdict(20), Some(Verdict::Down));
}

#[test]
fn a_member_that_has_lost_half_of_its_observers_is_to_be_probed() {
    let scene = (16..19).fold(Scene::new(40), |scene, n| {
        scene.holds_down(n, Instant::from_nanos(501))
    });
    assert_eq!(scene.evidence().members_that_lost_observers(), []);
    let scene = scene.probes_in_vain(19);
    // 20 has lost 16 to 19, and 15 has lost them on the other side.
    assert_eq!(
        scene.evidence().members_that_lost_observers(),
        [id(15), id(20)]
    );
}

/// The members that are down by the rule as it is written: everything is counted anew after each
/// decision.
fn down_by_the_rule(evidence: &Evidence<'_>, contested: &[NodeId]) -> BTreeSet<NodeId> {
    let mut down: BTreeSet<NodeId> = BTreeSet::new();
    let tally = |subject: NodeId, down: &BTreeSet<NodeId>| {
        let record = evidence.table.get(subject).unwrap();
        let (mut against, mut witnesses) = (0, 0);
        for observer in evidence.observers(subject) {
            let holds_down = if contested.contains(&observer) {
                down.contains(&observer)
            } else {
                evidence.table.get(observer).unwrap().condition != Condition::Live
            };
            if observer == evidence.own || holds_down || evidence.finds_silent(observer) {
                continue;
            }
            witnesses += 1;
            let held = evidence.votes.against(subject);
            against += usize::from(
                held.iter()
                    .any(|c| c.observer == observer && c.is_valid(&record.log, evidence.now)),
            );
        }
        if evidence.finds_silent(subject) {
            (against, witnesses) = (against + 1, witnesses + 1);
        } else if evidence.hears(subject) {
            witnesses += 1;
        }
        (against, witnesses)
    };
    loop {
        let open = contested.iter().filter(|subject| !down.contains(subject));
        let majorities: Vec<_> = open
            .map(|subject| (*subject, tally(*subject, &down)))
            .filter(|(_, (against, witnesses))| 2 * against > *witnesses)
            .collect();
        let clearer = |a: &(usize, usize), b: &(usize, usize)| (a.0 * b.1).cmp(&(b.0 * a.1));
        let Some(best) = majorities.iter().map(|(_, t)| *t).max_by(clearer) else {
            return down;
        };
        let clearest = majorities
            .iter()
            .filter(|(_, t)| clearer(t, &best).is_eq())
            .map(|(subject, _)| *subject);
        down.extend(clearest.collect::<Vec<_>>());
    }
}

proptest! {
    #[test]
    fn counting_each_case_once_gives_the_same_verdicts(
        members in 2_u64..24,
        votes in proptest::collection::vec((1_u64..24, 1_u64..24), 0..120),
        asked in proptest::collection::vec(1_u64..24, 0..6),
        heard in proptest::collection::vec(1_u64..24, 0..6),
        down in proptest::collection::vec((1_u64..24, 400_u64..600), 0..6),
    ) {
        let mut scene = Scene::new(members);
        for (observer, subject) in votes {
            if observer < members && subject < members && observer != subject {
                scene.vote(observer, subject);
            }
        }
        let known = |n: &u64| *n < members;
        let scene = asked.into_iter().filter(known).fold(scene, Scene::probes_in_vain);
        let scene = heard.into_iter().filter(known).fold(scene, Scene::hears);
        let scene = down.into_iter().filter(|(n, _)| known(n)).fold(scene, |scene, (n, since)| {
            scene.holds_down(n, Instant::from_nanos(since))
        });
        let evidence = scene.evidence();
        let verdicts = evidence.verdicts();
        let contested: Vec<NodeId> = verdicts.iter().map(|(subject, _)| *subject).collect();
        let found = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Down);
        let found: BTreeSet<NodeId> = found.map(|(subject, _)| *subject).collect();
        prop_assert_eq!(found, down_by_the_rule(&evidence, &contested));
    }
}
