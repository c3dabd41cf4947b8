//! What is left of members that were removed.

use core::time::Duration;

use conformance::sim::network::Delay;
use conformance::sim::{Action, HostId, Time, World};
use gossip_core::{Command, Config, Mode};

fn host(number: u32) -> HostId {
    HostId::new(number)
}

/// Nodes at rest that remove who has been down for 20 s.
fn formed(nodes: usize, max_tombstones: u32, mode: Mode) -> World {
    let millis = Duration::from_millis;
    let mut world = World::new(1, Delay::uniform(millis(1), millis(10)));
    let mut config = Config::lan();
    config.seeds = vec![([10, 0, 0, 1], 7946).into(), ([10, 0, 0, 4], 7946).into()];
    config.remove_after = Duration::from_secs(20);
    config.max_tombstones = max_tombstones;
    config.mode = mode;
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
    let mut world = formed(5, 8, Mode::PushPull);
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

/// One of eighteen is suspended, another dies for good, and by the time the first goes on all others have
/// removed both, and their votes have ended. It shows the dead one neither up nor for ever, and revives
/// nobody.
fn sleeper_meets_the_removal_of(dies: u64, sleeps: u64, wakes: u64) {
    let pairs = [(4, 5), (5, 4), (2, 9), (9, 2), (1, 17), (17, 1)];
    let modes = [Mode::PushPull, Mode::Pull, Mode::Push];
    for ((sleeper, dead), mode) in pairs
        .iter()
        .flat_map(|pair| modes.map(|mode| (*pair, mode)))
    {
        let mut world = formed(18, 1024, mode);
        let mut script = [
            (dies, Action::Crash(host(dead))),
            (sleeps, Action::Pause(host(sleeper))),
            // So that they look at their votes again.
            (wakes - 10, Action::Crash(host(11))),
            (wakes, Action::Resume(host(sleeper))),
        ];
        script.sort_by_key(|(at, _)| *at);
        for (at, action) in script {
            world.run_until(Time::from_secs(at));
            world.perform(action);
        }
        world.run_until(Time::from_secs(wakes + 60));
        let case = format!("{sleeper} slept, {dead} died, {mode:?}");
        assert_eq!(world.check_quiescence(), [], "{case}");
        assert_eq!(world.findings(), [], "{case}");
        let woken = world.host(host(sleeper)).node().expect("it runs");
        assert_eq!(woken.metrics().flaps, 0, "{case}");
    }
}

#[test]
fn who_sleeps_through_the_end_of_votes_revives_nobody() {
    sleeper_meets_the_removal_of(25, 40, 90);
}

#[test]
fn who_sleeps_through_all_of_a_death_learns_of_it() {
    sleeper_meets_the_removal_of(45, 40, 120);
}
