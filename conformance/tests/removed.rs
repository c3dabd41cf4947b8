//! Members that some have removed and others have not.

use core::time::Duration;

use conformance::sim::network::{Delay, Effect, Fault, FaultId, Scope};
use conformance::sim::{Action, HostId, HostSet, Time, World};
use gossip_core::Config;

fn host(number: u32) -> HostId {
    HostId::new(number)
}

/// Nodes at rest that remove who has been down for 20 s.
fn formed(seed: u64, nodes: usize) -> World {
    let millis = Duration::from_millis;
    let mut world = World::new(seed, Delay::uniform(millis(1), millis(10)));
    let mut config = Config::lan();
    config.seeds = vec![([10, 0, 0, 1], 7946).into(), ([10, 0, 0, 4], 7946).into()];
    config.remove_after = Duration::from_secs(20);
    config.neighbours = 4;
    for number in 0..nodes {
        let added = world.add(&format!("n{number}"), config.clone());
        world.perform(Action::Start(added.expect("it can be")));
    }
    world.run_until(Time::from_secs(20));
    assert_eq!(world.check_quiescence(), []);
    world
}

fn cut(world: &mut World, number: u32, scope: Scope) -> FaultId {
    let id = FaultId::new(number);
    let effect = Effect::Cut;
    world.perform(Action::Set(id, Fault { scope, effect }));
    id
}

fn side(numbers: &[u32]) -> HostSet {
    numbers.iter().copied().map(host).collect()
}

/// n3 and n4 are cut off from the others for longer than that; n4 dies as the cut ends. Three of its
/// four observers have removed it, and n3 alone finds it silent.
#[test]
fn a_member_that_most_have_removed_and_one_shows_is_down_for_all() {
    for seed in 1..=5 {
        let mut world = formed(seed, 5);
        let split = cut(&mut world, 1, Scope::Across(side(&[3, 4])));
        world.run_until(Time::from_secs(75));
        world.perform(Action::Crash(host(4)));
        world.perform(Action::Mend(split));
        world.run_until(Time::from_secs(105));
        assert_eq!(world.check_quiescence(), [], "seed {seed}");
    }
}

/// n4 is cut off from all, then from n2 and n3 only, and those from everybody: n4 and they have
/// removed each other when the others have not. Nobody calls whom it has removed.
#[test]
fn members_that_removed_each_other_speak_again() {
    for seed in 1..=5 {
        let mut world = formed(seed, 5);
        let alone = cut(&mut world, 1, Scope::Across(side(&[4])));
        world.run_until(Time::from_secs(32));
        let split = cut(&mut world, 2, Scope::Across(side(&[2, 3])));
        world.perform(Action::Mend(alone));
        world.run_until(Time::from_secs(52));
        world.perform(Action::Mend(split));
        world.run_until(Time::from_secs(90));
        assert_eq!(world.check_quiescence(), [], "seed {seed}");
    }
}

/// n4 is dead and removed by all but n7, which was too slow to tell who is silent. When it can tell
/// again, it is the only one that observes n4, and whom it asks for their word have no opinion.
#[test]
fn who_has_removed_a_member_seconds_the_votes_of_those_who_observe_it() {
    for seed in 1..=5 {
        let mut world = formed(seed, 8);
        world.perform(Action::Crash(host(4)));
        world.run_until(Time::from_secs(28));
        world.perform(Action::Slow(host(7), Duration::from_millis(1500)));
        world.run_until(Time::from_secs(90));
        world.perform(Action::Slow(host(7), Duration::ZERO));
        world.run_until(Time::from_secs(130));
        assert_eq!(world.check_quiescence(), [], "seed {seed}");
    }
}
