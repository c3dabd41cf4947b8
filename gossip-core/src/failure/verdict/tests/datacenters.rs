//! Verdicts across datacenters. Node 0 is in the datacenter without a name. The first three members
//! of each datacenter are its bridges.

use super::*;
use crate::state::attribute::DATACENTER;
use crate::state::log::Log;

impl Scene {
    /// These members say that they are in another datacenter.
    fn elsewhere(mut self, members: core::ops::Range<u64>) -> Self {
        let mut log = Log::new(generation());
        for _ in 0..3 {
            log.write(0, DATACENTER, Some(b"abroad"));
        }
        for member in members {
            self.table
                .apply(id(member), Instant::ORIGIN, &log.claim_after(0));
        }
        self
    }
}

#[test]
fn the_observers_of_a_member_are_in_its_datacenter() {
    let scene = Scene::new(40).elsewhere(20..40);
    for (subject, home) in [(0, 0..20), (5, 0..20), (20, 20..40), (33, 20..40)] {
        let observers = scene.evidence().observers(id(subject));
        assert_eq!(observers.len(), 8);
        assert!(observers.iter().all(|id| home.contains(&id.as_u64())));
    }
}

#[test]
fn votes_of_foreign_bridges_make_a_member_doubtful_and_not_down() {
    // Whatever they vote, eight observers at home vouch for the member.
    let scene = Scene::new(40).elsewhere(20..40).votes([0], 20);
    assert_eq!(scene.verdict(20), Some(Verdict::Cleared), "one is sick");
    let scene = Scene::new(40).elsewhere(20..40).votes([1, 2], 20);
    assert_eq!(scene.verdict(20), Some(Verdict::Doubtful));
    let scene = Scene::new(40).elsewhere(20..40).votes([1, 2], 20);
    let scene = scene.probes_in_vain(20);
    assert_eq!(
        scene.verdict(20),
        Some(Verdict::Doubtful),
        "one broken link"
    );
}

#[test]
fn votes_of_the_home_datacenter_count_everywhere() {
    let scene = Scene::new(40).elsewhere(20..40).votes(28..33, 30);
    assert_eq!(
        scene.verdict(30),
        Some(Verdict::Doubtful),
        "28, 29, 31, 32 of eight"
    );
    let scene = Scene::new(40).elsewhere(20..40).votes(27..33, 30);
    assert_eq!(scene.verdict(30), Some(Verdict::Down));
}

#[test]
fn members_behind_silent_bridges_are_probed_once_all_bridges_are_silent() {
    let two = Scene::new(40)
        .elsewhere(20..40)
        .probes_in_vain(20)
        .probes_in_vain(21);
    assert_eq!(two.evidence().members_to_probe_behind_silent_bridges(), []);
    let three = two.probes_in_vain(22);
    assert_eq!(
        three.evidence().members_to_probe_behind_silent_bridges(),
        (20..40).map(id).collect::<Vec<_>>()
    );
    // Probed and found silent, they no longer vouch for one another.
    let all = (23..40).fold(three, Scene::probes_in_vain);
    assert!((20..40).all(|n| all.verdict(n) == Some(Verdict::Down)));
    assert!((1..20).all(|n| all.verdict(n).is_none()));
}

#[test]
fn a_large_datacenter_is_out_of_reach_once_a_sample_is_silent() {
    let ids = |range: core::ops::Range<u64>| range.map(id).collect::<Vec<_>>();
    let large = || {
        let bridges = 100..103;
        bridges.fold(Scene::new(300).elsewhere(100..300), Scene::probes_in_vain)
    };
    assert_eq!(
        large().evidence().members_to_probe_behind_silent_bridges(),
        ids(100..164)
    );
    assert_eq!(large().evidence().members_out_of_reach(), []);
    let sampled = (103..163).fold(large(), Scene::probes_in_vain);
    assert_eq!(sampled.evidence().members_out_of_reach(), [], "one is left");
    let sampled = sampled.probes_in_vain(163);
    assert_eq!(sampled.evidence().members_out_of_reach(), ids(100..300));
    assert_eq!(
        sampled.evidence().members_to_probe_behind_silent_bridges(),
        [],
        "nobody else need be probed"
    );
    let heard = sampled.hears(290);
    assert_eq!(heard.evidence().members_out_of_reach(), []);
    assert_eq!(
        heard.evidence().members_to_probe_behind_silent_bridges(),
        ids(100..300),
        "all are probed"
    );
}

#[test]
fn in_a_small_datacenter_the_bridges_of_others_are_observers() {
    // 20 alone is elsewhere. Bridges are 0, 1, 2 and 20.
    let alone = || Scene::new(21).elsewhere(20..21);
    assert_eq!(
        alone().evidence().observers(id(20))[..],
        [id(0), id(1), id(2)]
    );
    let scene = alone().observes_silence(20);
    assert_ne!(scene.verdict(20), Some(Verdict::Down), "one broken link");
    let scene = alone().observes_silence(20).votes([1], 20);
    assert_eq!(scene.verdict(20), Some(Verdict::Down), "0 and 1 of three");
    // Four members there are their own observers.
    let four = Scene::new(24).elsewhere(20..24);
    assert_eq!(
        four.evidence().observers(id(20))[..],
        [id(21), id(22), id(23)]
    );
}

#[test]
fn a_member_elsewhere_that_is_down_without_votes_is_probed_again() {
    let scene = Scene::new(40)
        .elsewhere(20..40)
        .holds_down(30, Instant::ORIGIN);
    assert_eq!(scene.evidence().unvoted_elsewhere(), [id(30)]);
    let voted = scene.votes([31], 30);
    assert_eq!(
        voted.evidence().unvoted_elsewhere(),
        [],
        "somebody there says so"
    );
    let here = Scene::new(40)
        .elsewhere(20..40)
        .holds_down(10, Instant::ORIGIN);
    assert_eq!(here.evidence().unvoted_elsewhere(), []);
    let all = (20..40).fold(Scene::new(40).elsewhere(20..40), |scene, n| {
        scene.holds_down(n, Instant::ORIGIN)
    });
    assert_eq!(all.evidence().unvoted_elsewhere(), [], "out of reach");
}

#[test]
fn the_members_of_a_datacenter_out_of_reach_are_not_removed() {
    let down = |scene: Scene, n| scene.holds_down(n, Instant::ORIGIN);
    let scene = || Scene::new(40).elsewhere(20..40);
    assert!(
        down(scene(), 10).evidence().may_be_removed(id(10)),
        "at home"
    );
    assert!(!down(scene(), 30).evidence().may_be_removed(id(30)));
    let voted = down(scene(), 30).votes([31], 30);
    assert!(voted.evidence().may_be_removed(id(30)));
    let voted_here = down(scene(), 30).votes([1], 30);
    assert!(!voted_here.evidence().may_be_removed(id(30)));
    let asked = down(scene(), 30).probes_in_vain(30);
    assert!(asked.evidence().may_be_removed(id(30)));
    let all = (20..40).fold(scene(), down).probes_in_vain(30);
    assert!(
        !all.evidence().may_be_removed(id(30)),
        "nobody there is heard"
    );
}
