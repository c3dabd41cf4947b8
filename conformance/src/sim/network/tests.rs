use core::time::Duration;

use super::*;
use crate::sim::hosts::HostSet;

const FAULT: FaultId = FaultId::new(0);
const MILLI: Duration = Duration::from_millis(1);

fn network() -> Network {
    Network::new(Seeds::new(1), Delay::uniform(MILLI, 10 * MILLI))
}

fn host(number: u32) -> HostId {
    HostId::new(number)
}

fn set(hosts: &[u32]) -> HostSet {
    hosts.iter().copied().map(HostId::new).collect()
}

/// Sends 10,000 datagrams of 100 bytes, one each millisecond, and tells what became of them.
fn send(network: &mut Network, from: u32, to: u32) -> Vec<Delivery> {
    (0..10_000)
        .map(|ms| {
            let now = Time::from_nanos(ms * 1_000_000);
            network.carry(now, host(from), host(to), 100)
        })
        .collect()
}

fn lost(fates: &[Delivery]) -> usize {
    fates.iter().filter(|&&fate| fate == Delivery::Lost).count()
}

fn takes(fate: &Delivery) -> u64 {
    match fate {
        Delivery::Once(passage) | Delivery::Twice(passage, _) => passage.takes,
        Delivery::Lost => 0,
    }
}

#[test]
fn without_faults_every_datagram_arrives_once_within_the_delay() {
    for fate in send(&mut network(), 0, 1) {
        let Delivery::Once(passage) = fate else {
            panic!("{fate:?}");
        };
        assert!((1_000_000..=10_000_000).contains(&passage.takes));
        assert_eq!(passage.damage, None);
    }
}

#[test]
fn loss_takes_its_share_and_leaves_the_delays_of_the_others_as_they_were() {
    let whole = send(&mut network(), 0, 1);
    let mut network = network();
    network.set(
        FAULT,
        Fault {
            scope: Scope::Everywhere,
            effect: Effect::Loss(0.3),
        },
    );
    let fates = send(&mut network, 0, 1);
    assert!((2_800..3_200).contains(&lost(&fates)));
    for (fate, before) in fates.iter().zip(&whole) {
        assert!(*fate == Delivery::Lost || fate == before);
    }
}

#[test]
fn a_one_way_cut_stops_one_direction_and_separates_the_pair() {
    let mut network = network();
    network.set(
        FAULT,
        Fault {
            scope: Scope::Between(set(&[0, 1]), set(&[2])),
            effect: Effect::Cut,
        },
    );
    assert_eq!(lost(&send(&mut network, 0, 2)), 10_000);
    assert_eq!(lost(&send(&mut network, 2, 0)), 0);
    assert_eq!(lost(&send(&mut network, 0, 1)), 0);
    assert!(network.separates(host(0), host(2)) && network.separates(host(2), host(0)));
    assert!(!network.separates(host(0), host(1)));
    network.mend(FAULT);
    assert_eq!(lost(&send(&mut network, 0, 2)), 0);
}

#[test]
fn a_scope_covers_the_datagrams_that_it_names() {
    let one = || set(&[1]);
    let cases = [
        (Scope::Everywhere, [true, true, true]),
        (Scope::From(one()), [true, false, false]),
        (Scope::To(one()), [false, true, false]),
        (Scope::Around(one()), [true, true, false]),
        (Scope::Across(one()), [true, true, false]),
        (Scope::Across(set(&[0, 1])), [false, false, true]),
        (Scope::Between(one(), set(&[0])), [true, false, false]),
    ];
    for (scope, [from_one, to_one, apart]) in cases {
        assert_eq!(scope.covers(host(1), host(0)), from_one, "{scope:?}");
        assert_eq!(scope.covers(host(0), host(1)), to_one, "{scope:?}");
        assert_eq!(scope.covers(host(0), host(2)), apart, "{scope:?}");
    }
}

#[test]
fn duplicates_damage_and_late_datagrams_come_in_their_share() {
    let mut network = network();
    let effects = [
        Effect::Duplicate(0.1),
        Effect::Corrupt(0.1),
        Effect::Reorder {
            share: 0.1,
            by: Delay::constant(100 * MILLI),
        },
    ];
    for (name, effect) in (0..).map(FaultId::new).zip(effects) {
        network.set(
            name,
            Fault {
                scope: Scope::Everywhere,
                effect,
            },
        );
    }
    let fates = send(&mut network, 0, 1);
    let twice = fates.iter().filter(|f| matches!(f, Delivery::Twice(..)));
    let late = fates.iter().filter(|f| takes(f) > 100_000_000);
    let damaged = fates.iter().filter(|fate| match fate {
        Delivery::Once(passage) | Delivery::Twice(passage, _) => passage.damage.is_some(),
        Delivery::Lost => false,
    });
    for share in [twice.count(), late.count(), damaged.count()] {
        assert!((900..1100).contains(&share), "{share}");
    }
}

#[test]
fn bursts_lose_datagrams_on_one_link_while_another_is_good() {
    let mut network = network();
    network.set(
        FAULT,
        Fault {
            scope: Scope::Everywhere,
            effect: Effect::Bursts(Bursts {
                good: 500 * MILLI,
                bad: 500 * MILLI,
                loss: 1.0,
            }),
        },
    );
    let (mut one, mut both) = (0, 0);
    for ms in 0..10_000 {
        let now = Time::from_nanos(ms * 1_000_000);
        let first = network.carry(now, host(0), host(1), 100) == Delivery::Lost;
        let second = network.carry(now, host(1), host(0), 100) == Delivery::Lost;
        one += u32::from(first != second);
        both += u32::from(first && second);
    }
    assert!(one > 2_000 && both > 500, "{one} {both}");
}

#[test]
fn bandwidth_delays_what_exceeds_it_and_drops_what_waits_too_long() {
    let mut network = network();
    // A tenth of the 100,000 bytes a second that are sent.
    network.set(
        FAULT,
        Fault {
            scope: Scope::From(set(&[0])),
            effect: Effect::Bandwidth {
                bytes_per_s: 10_000,
                buffer: 200 * MILLI,
            },
        },
    );
    let fates = send(&mut network, 0, 1);
    assert!((8_900..9_100).contains(&lost(&fates)), "{}", lost(&fates));
    let longest = fates.iter().map(takes).max().unwrap();
    assert!((200_000_000..240_000_000).contains(&longest), "{longest}");
    assert_eq!(lost(&send(&mut network, 1, 0)), 0);
}
