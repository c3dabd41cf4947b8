//! What a cluster makes of members that fall silent, and of those that others call silent.

use core::time::Duration;
use std::collections::BTreeSet;

use conformance::forge::{Body, Known};
use conformance::scenario::{Loss, Scenario, Setup, Soak, Whose};
use conformance::sim::Action;
use conformance::sim::network::{Effect, Scope};
use conformance::testkit::{Cluster, Loopback, MILLI, SECOND, Told, host, hosts, liar};
use gossip_core::{DownReason, Event, Node, Status, SuspicionReason, UpCause};

use super::{figure, play};

#[test]
fn a_sick_node_takes_nobody_else_down() {
    let mut cluster = Cluster::of(20).form();
    cluster.disturb(Scope::Around(hosts([5])), Effect::Loss(0.8));
    cluster.pass(180 * SECOND);
    let wrong: BTreeSet<_> = cluster
        .downs()
        .into_iter()
        .filter(|(_, s)| *s != 5)
        .collect();
    assert_eq!(wrong, BTreeSet::new());
}

/// At the first seed it took seven healthy members down in its own eyes, at the others five and six:
/// it asked everybody, and took what was lost by chance for their silence.
#[test]
fn a_sick_node_does_not_take_its_own_loss_for_the_silence_of_others() {
    for seed in [7, 36, 51] {
        let loss = Loss {
            warm_up: 70 * SECOND,
            share: 0.8,
            whose: Whose::Sick(1),
            lasts: 40 * SECOND,
            limit: 20 * SECOND,
        };
        let setup = Setup {
            seed,
            ..Setup::default()
        };
        let outcome = play(Scenario::Loss(loss), &setup);
        assert_eq!(
            figure(&outcome, "wrong_down_about_others"),
            0.0,
            "seed {seed}"
        );
    }
}

#[test]
fn a_deaf_node_takes_nobody_down_but_in_its_own_eyes() {
    let mut cluster = Cluster::of(20).form();
    cluster.disturb(Scope::To(hosts([5])), Effect::Cut);
    cluster.pass(60 * SECOND);
    let wrong: BTreeSet<_> = cluster
        .downs()
        .into_iter()
        .filter(|(by, about)| *by != 5 && *about != 5)
        .collect();
    assert_eq!(wrong, BTreeSet::new());
    assert!(cluster.tells(5, |event| *event == Event::Isolated));
    cluster.mend();
    let all: Vec<usize> = cluster.numbers().collect();
    cluster.until(3 * SECOND, |cluster| cluster.is_whole(&all));
}

#[test]
fn a_mute_node_is_down_for_all_and_takes_nobody_down_but_in_its_own_eyes() {
    let mut cluster = Cluster::of(20).form();
    cluster.disturb(Scope::From(hosts([5])), Effect::Cut);
    cluster.pass(60 * SECOND);
    let expected: BTreeSet<_> = cluster
        .numbers()
        .filter(|n| *n != 5)
        .map(|n| (n, 5))
        .collect();
    let others = cluster.downs().into_iter().filter(|(by, _)| *by != 5);
    assert_eq!(others.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn half_of_the_cluster_may_crash_at_once() {
    let mut cluster = Cluster::of(40).form();
    for dead in 0..20 {
        cluster.crash(2 * dead);
    }
    let survivors: Vec<usize> = (0..20).map(|n| 2 * n + 1).collect();
    cluster.until(10 * SECOND, |cluster| cluster.is_whole(&survivors));
    let wrong = |(_, about): &(usize, usize)| about % 2 == 1;
    assert!(!cluster.downs().iter().any(wrong));
}

/// Two that cannot hear each other stay up, because the third one vouches for both. So no verdict ends the suspicion.
#[test]
fn a_suspicion_that_becomes_no_verdict_ends_with_a_word() {
    let mut cluster = Cluster::of(3).form();
    cluster.disturb(Scope::Between(hosts([0]), hosts([1])), Effect::Cut);
    cluster.disturb(Scope::Between(hosts([1]), hosts([0])), Effect::Cut);
    cluster.pass(45 * SECOND);
    cluster.mend();
    cluster.pass(10 * SECOND);
    assert_eq!(cluster.downs(), BTreeSet::new());
    for (by, about) in [(0, 1), (1, 0)] {
        let about = cluster.id(about);
        let told = cluster.told().iter().filter(|told| told.by == by);
        let words: Vec<bool> = told
            .filter_map(|told| match told.event {
                Event::MemberSuspected { id, .. } if id == about => Some(true),
                Event::SuspicionCleared { id } if id == about => Some(false),
                _ => None,
            })
            .collect();
        let begins = words.iter().filter(|begins| **begins).count();
        assert!(begins > 0 && words.len() == 2 * begins, "{words:?}");
        assert!(
            words.chunks(2).all(|pair| pair == [true, false]),
            "{words:?}"
        );
    }
}

/// The lists of votes of those that are left are full, and who has no place for a vote does not vouch.
#[test]
fn after_the_death_of_most_a_further_death_is_told_in_time() {
    for (nodes, left) in [(100, 5), (100, 6), (40, 3), (60, 8)] {
        let mut cluster = Cluster::of(nodes)
            .seed(u64::try_from(nodes + left).unwrap())
            .form();
        (left..nodes).for_each(|number| cluster.crash(number));
        cluster.pass(120 * SECOND);
        cluster.crash(0);
        let survivors: Vec<usize> = (1..left).collect();
        cluster.until(5 * SECOND, |cluster| cluster.is_whole(&survivors));
    }
}

#[test]
fn a_member_may_die_with_all_its_observers() {
    let mut cluster = Cluster::of(40).form();
    let dead: BTreeSet<usize> = cluster.ring()[10..19].iter().copied().collect();
    for dead in &dead {
        cluster.crash(*dead);
    }
    let survivors: Vec<usize> = cluster.numbers().filter(|n| !dead.contains(n)).collect();
    cluster.until(10 * SECOND, |cluster| cluster.is_whole(&survivors));
    assert!(
        cluster
            .downs()
            .iter()
            .all(|(_, about)| dead.contains(about))
    );
}

#[test]
fn a_node_that_stood_still_takes_nobody_down_when_it_goes_on() {
    let mut cluster = Cluster::of(12).form();
    cluster.pause(3);
    cluster.pass(30 * SECOND);
    cluster.resume(3);
    cluster.pass(30 * SECOND);
    let by_it = |(by, _): &(usize, usize)| *by == 3;
    assert!(!cluster.downs().iter().any(by_it));
    let all: Vec<usize> = cluster.numbers().collect();
    assert!(cluster.is_whole(&all));
}

#[test]
fn wall_clocks_may_jump() {
    let mut cluster = Cluster::of(8).form();
    for (host, ahead_ms) in [(1, 86_400_000), (2, -86_400_000), (3, 3_600_000)] {
        cluster.set_clock(host, ahead_ms);
        cluster.pass(20 * SECOND);
    }
    assert_eq!(cluster.downs(), BTreeSet::new());
    // Nor does that keep anybody from seeing a crash.
    cluster.crash(5);
    let rest = [0, 1, 2, 3, 4, 6, 7];
    cluster.until(6 * SECOND, |cluster| cluster.is_whole(&rest));
}

#[test]
fn a_node_that_does_everything_three_seconds_late_takes_nobody_else_down() {
    let mut cluster = Cluster::of(20).form();
    cluster.act(Action::Slow(host(6), 3 * SECOND));
    cluster.pass(120 * SECOND);
    assert!(cluster.downs().iter().all(|(_, about)| *about == 6));
}

#[test]
fn a_node_under_a_flood_takes_nobody_down() {
    let mut cluster = Cluster::of(12).form();
    // What its full socket buffer drops, and what it wades through.
    cluster.disturb(Scope::To(hosts([2])), Effect::Loss(0.6));
    for _ in 0..300 {
        for n in 0..100_u8 {
            let garbage = vec![n; usize::from(n) * 10];
            cluster.act(Action::Forge(host(2), garbage));
        }
        cluster.pass(100 * MILLI);
    }
    assert_eq!(cluster.downs(), BTreeSet::new());
}

#[test]
fn a_flapping_member_is_convicted_more_slowly_and_counted() {
    let mut cluster = Cluster::of(8).form();
    let pauses = |cluster: &mut Cluster, times| {
        cluster.take_told();
        for _ in 0..times {
            cluster.pause(6);
            cluster.pass(5 * SECOND);
            cluster.resume(6);
            cluster.pass(15 * SECOND);
        }
        let is_down = |told: &&Told| matches!(told.event, Event::MemberDown { .. });
        let told = cluster.told().iter().filter(is_down);
        told.filter(|told| told.by == 1).count()
    };
    assert_eq!(pauses(&mut cluster, 2), 2);
    assert_eq!(pauses(&mut cluster, 3), 0, "it gets more time now");
    let viewer = cluster.node(1);
    let member = viewer.member(cluster.id(6)).unwrap();
    assert_eq!(member.flaps(), 2);
    assert_eq!(viewer.metrics().flaps, 2);
    // A crash is still seen, if later; the back-off is bounded.
    cluster.crash(6);
    cluster.until(15 * SECOND, |cluster| {
        cluster.is_whole(&[0, 1, 2, 3, 4, 5, 7])
    });
    // After a long calm all is forgiven.
    cluster.start(6);
    cluster.pass(320 * SECOND);
    cluster.crash(6);
    cluster.until(4 * SECOND, |cluster| {
        cluster.is_whole(&[0, 1, 2, 3, 4, 5, 7])
    });
}

#[test]
fn suspicions_and_verdicts_say_why() {
    let mut cluster = Cluster::of(20).form();
    cluster.crash(6);
    cluster.pass(10 * SECOND);
    let id = cluster.id(6);
    let suspected = cluster.told().iter().filter_map(|told| match told.event {
        Event::MemberSuspected {
            id: about,
            phi,
            reason,
            ..
        } if about == id => Some((told.by, phi, reason)),
        _ => None,
    });
    let suspected: Vec<_> = suspected.collect();
    // Each of its eight observers, but for those that heard of the verdict first.
    assert!((5..=8).contains(&suspected.len()));
    for (by, phi, reason) in suspected {
        let reached = phi >= 5.99;
        assert_eq!(reason == SuspicionReason::Phi, reached, "{by}: {phi}");
    }
    let down = |cluster: &Cluster, wanted: DownReason| {
        cluster.count_told(|event| {
            matches!(event, Event::MemberDown { reason, votes, .. }
                if *reason == wanted && (*votes > 0 || wanted == DownReason::Silence))
        })
    };
    assert_eq!(down(&cluster, DownReason::Votes), 19);
    // Who is cut off alone has nobody's word but its own.
    cluster.take_told();
    cluster.isolate([4]);
    cluster.pass(15 * SECOND);
    let by_itself = cluster.told().iter().filter(|told| {
        let silence = DownReason::Silence;
        told.by == 4 && matches!(told.event, Event::MemberDown { reason, .. } if reason == silence)
    });
    assert_eq!(by_itself.count(), 18);
    cluster.mend();
    cluster.pass(5 * SECOND);
    assert!(cluster.told().iter().any(|told| {
        told.by != 4
            && matches!(told.event, Event::MemberUp { cause: UpCause::Recovered, phi, .. }
            if phi.is_some_and(|phi| phi < 1.0))
    }));
}

/// Found by `simulate soak`: a process stood still for up to two seconds just after heartbeats of its
/// had been lost, and half of its observers took both together for its death.
#[test]
fn a_pause_right_after_lost_heartbeats_is_no_death() {
    for (seed, seconds) in [(1034, 130), (2228, 200), (2242, 200)] {
        let soak = Soak {
            warm_up: 20 * SECOND,
            lasts: seconds * SECOND,
            loss: 0.3,
            delay: Duration::from_millis(100),
            pause: 2 * SECOND,
        };
        let setup = Setup {
            nodes: 100,
            seed,
            ..Setup::default()
        };
        let outcome = play(Scenario::Soak(soak), &setup);
        assert_eq!(figure(&outcome, "wrong_down"), 0.0, "seed {seed}");
    }
}

#[test]
fn the_votes_against_a_member_are_seen_with_their_authors() {
    let mut cluster = Cluster::of(20).form();
    cluster.crash(6);
    cluster.pass(10 * SECOND);
    let ring = cluster.ring();
    let at = ring.iter().position(|n| *n == 6).unwrap();
    let observers = (1..=4).flat_map(|by| [ring[(at + by) % 20], ring[(at + 20 - by) % 20]]);
    let observers: BTreeSet<usize> = observers.collect();
    let id = cluster.id(6);
    for number in cluster.numbers().filter(|number| *number != 6) {
        let node = cluster.node(number);
        let votes = node.votes(id).map(|vote| cluster.number(vote.observer));
        assert_eq!(votes.collect::<BTreeSet<_>>(), observers);
        let observes = observers.contains(&number);
        assert_eq!(node.phi(id).is_some_and(|phi| phi >= 8.0), observes);
    }
}

#[test]
fn a_heartbeat_counter_near_its_maximum_takes_nobody_down() {
    let mut cluster = Loopback::formed(3, |_| {});
    let sender = Known::of(cluster.node(1), 0);
    for counter in [u64::MAX, u64::MAX - 1, 0, u64::MAX] {
        cluster.forge(&Body::from(sender.origin, sender.generation).heartbeat(counter));
        cluster.pass(20 * SECOND);
    }
    assert!(cluster.is_well());
    let down = |event: &Event| matches!(event, Event::MemberDown { .. });
    assert_eq!(cluster.count_told(down), 0);
}

#[test]
fn a_dead_member_is_found_after_a_heartbeat_counter_near_its_maximum() {
    // If the true counts that follow were taken for repetitions, all of them would be missing for ever:
    // so much would seem to be lost that no silence is evidence any more.
    let mut cluster = Loopback::formed(60, |_| {});
    let phi_of = |cluster: &Loopback, n: usize| cluster.node(0).phi(cluster.node(n).id());
    let observed: Vec<_> = (1..60).filter(|n| phi_of(&cluster, *n).is_some()).collect();
    for n in &observed {
        let sender = Known::of(cluster.node(*n), 0);
        cluster.forge(&Body::from(sender.origin, sender.generation).heartbeat(u64::MAX));
    }
    cluster.pass(60 * SECOND);
    assert!(cluster.is_well());
    // Few are left: who dies takes its observers along, and each has to be asked.
    let dead: Vec<_> = (1..60).filter(|n| !observed.contains(n)).collect();
    let ids: Vec<_> = dead.iter().map(|n| cluster.node(*n).id()).collect();
    for n in dead {
        cluster.stop(n);
    }
    cluster.pass(40 * SECOND);
    for id in ids {
        let member = cluster.node(0).member(id).unwrap();
        assert_eq!(member.status(), Status::Down);
    }
}

#[test]
fn forged_votes_of_one_member_take_nobody_down() {
    let mut cluster = Loopback::formed(5, |_| {});
    let frontier = |node: &Node, id| node.member(id).unwrap().frontier();
    for round in 0..10 {
        let author = cluster.node(1).id();
        let mut votes = Body::default();
        for subject in cluster.nodes().skip(2) {
            let known = Known::of(subject, frontier(cluster.node(0), subject.id()) + round % 2);
            votes = votes.ballot(known, 30_000);
        }
        let next = frontier(cluster.node(0), author) + 1;
        let known = Known::of(cluster.node(1), next);
        let log = Body::default().entry(next, 30_000, &[4], Some(&votes.0));
        let forged = liar()
            .exchange(2, 7)
            .delta(known, next - 1, next, 0, &log.0);
        cluster.forge(&forged);
        cluster.pass(3 * SECOND);
    }
    cluster.pass(30 * SECOND);
    let down = |event: &Event| matches!(event, Event::MemberDown { .. });
    assert_eq!(cluster.count_told(down), 0);
    assert!(cluster.is_well());
}
