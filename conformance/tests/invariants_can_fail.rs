//! The checks of a whole world, each seen to fail where something is broken and nobody is told.
//!
//! Violations in forged views are shown next to the invariants themselves; here real nodes are
//! brought into states that would be wrong if the network were whole.

use core::time::Duration;

use conformance::invariant::Violation;
use conformance::sim::network::{Delay, Effect, Fault, FaultId, Scope};
use conformance::sim::{Action, HostId, HostSet, Time, World};
use gossip_core::{Command, Config, Key, Value};

const FAULT: FaultId = FaultId::new(0);
const NODES: u32 = 5;

/// Five nodes that know one another.
fn formed() -> World {
    let milli = Duration::from_millis(1);
    let mut world = World::new(1, Delay::uniform(milli, 10 * milli));
    let mut config = Config::lan();
    config.seeds = vec![([10, 0, 0, 1], 7946).into()];
    for number in 0..NODES {
        let added = world.add(&format!("n{number}"), config.clone());
        let host = added.expect("a configuration that works");
        world.perform(Action::Start(host));
    }
    later(&mut world, 10);
    assert_eq!(world.check_quiescence(), []);
    world
}

fn later(world: &mut World, seconds: u64) {
    world.run_until(world.now() + Duration::from_secs(seconds));
}

fn cut(world: &mut World, host: u32) {
    let scope = Scope::Across(HostSet::one(HostId::new(host)));
    let effect = Effect::Cut;
    world.perform(Action::Set(FAULT, Fault { scope, effect }));
}

fn set(world: &mut World, host: u32, value: &str) {
    let command = Command::Set {
        key: Key::new("k").expect("a legal key"),
        value: Value::new(value).expect("a legal value"),
    };
    world.perform(Action::Command(HostId::new(host), command));
}

fn found(world: &World, wanted: fn(&Violation) -> bool) -> bool {
    world
        .check_quiescence()
        .iter()
        .any(|finding| wanted(&finding.violation))
}

#[test]
fn members_that_hold_each_other_down_are_caught() {
    let mut world = formed();
    cut(&mut world, 4);
    later(&mut world, 20);
    assert!(found(&world, |v| matches!(
        v,
        Violation::WrongVerdict { .. }
    )));
    assert!(found(&world, |v| matches!(
        v,
        Violation::ViewsDiffer { .. }
    )));
}

#[test]
fn a_write_that_does_not_get_through_is_caught() {
    let mut world = formed();
    cut(&mut world, 4);
    set(&mut world, 0, "new");
    assert!(found(&world, |v| matches!(v, Violation::LostWrite { .. })));
    assert!(found(&world, |v| matches!(
        v,
        Violation::HashesDiffer { .. }
    )));
}

#[test]
fn a_delete_that_does_not_get_through_is_caught() {
    let mut world = formed();
    set(&mut world, 0, "old");
    later(&mut world, 5);
    assert_eq!(world.check_quiescence(), []);
    cut(&mut world, 4);
    let key = Key::new("k").expect("a legal key");
    world.perform(Action::Command(HostId::new(0), Command::Unset { key }));
    later(&mut world, 5);
    assert!(found(&world, |v| matches!(
        v,
        Violation::Resurrected { .. }
    )));
}

#[test]
fn a_death_that_nobody_has_noticed_is_caught() {
    let mut world = formed();
    world.perform(Action::Crash(HostId::new(4)));
    assert!(found(&world, |v| matches!(
        v,
        Violation::MissedVerdict { .. }
    )));
    later(&mut world, 20);
    assert_eq!(world.check_quiescence(), []);
}

#[test]
fn a_new_life_that_nobody_has_heard_of_is_caught() {
    let mut world = formed();
    world.perform(Action::Crash(HostId::new(4)));
    later(&mut world, 20);
    cut(&mut world, 4);
    world.perform(Action::Start(HostId::new(4)));
    assert!(found(&world, |v| matches!(v, Violation::OldLife { .. })));
    assert!(found(&world, |v| matches!(v, Violation::Missing { .. })));
}

#[test]
fn a_farewell_that_nobody_has_heard_is_caught() {
    let mut world = formed();
    cut(&mut world, 4);
    world.perform(Action::Command(HostId::new(4), Command::Leave));
    world.run_until(world.now() + Duration::from_millis(1500));
    assert!(found(&world, |v| matches!(
        v,
        Violation::MissedFarewell { .. }
    )));
}

#[test]
fn nothing_is_wrong_with_an_empty_world() {
    let mut world = World::new(1, Delay::constant(Duration::ZERO));
    world.run_until(Time::from_secs(1));
    assert_eq!(world.check_quiescence(), []);
    assert_eq!(world.findings(), []);
}
