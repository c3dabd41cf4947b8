//! Members that some have removed and others have not.

use core::time::Duration;

use conformance::sim::network::{Delay, Effect, Fault, FaultId, Scope};
use conformance::sim::{Action, HostId, HostSet, Time, World};
use gossip_core::{Command, Config, Mode};

fn host(number: u32) -> HostId {
    HostId::new(number)
}

/// Nodes at rest that remove who has been down for 20 s.
fn formed(seed: u64, nodes: usize) -> World {
    formed_in(Mode::PushPull, seed, nodes)
}

fn formed_in(mode: Mode, seed: u64, nodes: usize) -> World {
    formed_with(mode, seed, nodes, |_| {})
}

fn formed_with(mode: Mode, seed: u64, nodes: usize, change: impl Fn(&mut Config)) -> World {
    let millis = Duration::from_millis;
    let mut world = World::new(seed, Delay::uniform(millis(1), millis(10)));
    let mut config = Config::lan();
    config.seeds = vec![([10, 0, 0, 1], 7946).into(), ([10, 0, 0, 4], 7946).into()];
    config.remove_after = Duration::from_secs(20);
    config.neighbours = 4;
    config.mode = mode;
    change(&mut config);
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

/// What is left of a removed member is a handful of bytes, and sometimes all that a datagram brings.
#[test]
fn who_restarts_learns_of_the_removed_in_every_mode() {
    for mode in [Mode::Push, Mode::Pull, Mode::PushPull] {
        let mut world = formed_in(mode, 1, 3);
        world.perform(Action::Crash(host(2)));
        world.run_until(Time::from_secs(60));
        world.perform(Action::Crash(host(0)));
        world.run_until(Time::from_secs(110));
        world.perform(Action::Start(host(0)));
        world.run_until(Time::from_secs(150));
        assert_eq!(world.check_quiescence(), [], "{mode:?}");
    }
}

/// Forty nodes come and go, each under a name of its own. All forget them together, but for a few.
#[test]
fn of_those_who_came_and_went_a_few_traces_are_kept() {
    let mut world = formed_with(Mode::PushPull, 1, 5, |config| config.max_ghosts = 8);
    let config = world.host(host(0)).config().clone();
    for guest in 0_u32..40 {
        let added = world.add(&format!("guest{guest}"), config.clone());
        let id = added.expect("it can be");
        world.perform(Action::Start(id));
        world.run_until(Time::from_secs(u64::from(guest) * 3 + 23));
        if guest % 2 == 0 {
            world.perform(Action::Crash(id));
        } else {
            world.perform(Action::Command(id, Command::Leave));
        }
    }
    let held = |world: &World, number| {
        let node = world.host(host(number)).node().expect("it runs");
        node.metrics().members
    };
    world.run_until(Time::from_secs(160));
    assert!(held(&world, 0) > 5 + 8, "young ghosts linger");
    world.run_until(Time::from_secs(300));
    for number in 0..5 {
        assert!(
            held(&world, number) <= 5 + 8,
            "n{number}: {}",
            held(&world, number)
        );
    }
    assert_eq!(world.check_quiescence(), []);
    // Who begins now is told of no more than that.
    world.perform(Action::Crash(host(4)));
    world.perform(Action::Start(host(4)));
    world.run_until(Time::from_secs(310));
    assert!(held(&world, 4) <= 5 + 8);
    assert_eq!(world.check_quiescence(), []);
}
