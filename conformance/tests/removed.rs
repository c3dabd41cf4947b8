//! What is left of members that were removed.

use core::time::Duration;

use conformance::sim::network::Delay;
use conformance::sim::{Action, HostId, Time, World};
use gossip_core::{Command, Config};

fn host(number: u32) -> HostId {
    HostId::new(number)
}

/// Nodes at rest that remove who has been down for 20 s.
fn formed(nodes: usize, max_ghosts: u32) -> World {
    let millis = Duration::from_millis;
    let mut world = World::new(1, Delay::uniform(millis(1), millis(10)));
    let mut config = Config::lan();
    config.seeds = vec![([10, 0, 0, 1], 7946).into(), ([10, 0, 0, 4], 7946).into()];
    config.remove_after = Duration::from_secs(20);
    config.max_ghosts = max_ghosts;
    for number in 0..nodes {
        let added = world.add(&format!("n{number}"), config.clone());
        world.perform(Action::Start(added.expect("it can be")));
    }
    world.run_until(Time::from_secs(20));
    assert_eq!(world.check_quiescence(), []);
    world
}

/// Forty nodes come and go, each under a name of its own. All forget them together, but for a few.
#[test]
fn of_those_who_came_and_went_a_few_traces_are_kept() {
    let mut world = formed(5, 8);
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
