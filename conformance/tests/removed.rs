//! Members that some have removed and others have not, because a partition outlasted
//! `remove_after`.

use core::time::Duration;

use conformance::sim::network::{Delay, Effect, Fault, FaultId, Scope};
use conformance::sim::{Action, HostId, HostSet, Time, World};
use gossip_core::Config;

fn host(number: u32) -> HostId {
    HostId::new(number)
}

/// Five nodes at rest that remove who has been down for 20 s.
fn formed(seed: u64) -> World {
    let millis = Duration::from_millis;
    let mut world = World::new(seed, Delay::uniform(millis(1), millis(10)));
    let mut config = Config::lan();
    config.seeds = vec![([10, 0, 0, 1], 7946).into(), ([10, 0, 0, 4], 7946).into()];
    config.remove_after = Duration::from_secs(20);
    for number in 0..5 {
        let added = world.add(&format!("n{number}"), config.clone());
        world.perform(Action::Start(added.expect("it can be")));
    }
    world.run_until(Time::from_secs(20));
    assert_eq!(world.check_quiescence(), []);
    world
}

/// n3 and n4 are cut off from the others for longer than that; n4 dies as the cut ends. Three of its
/// four observers have removed it, and n3 alone finds it silent.
#[test]
fn who_has_removed_a_member_seconds_the_votes_of_those_who_observe_it() {
    for seed in 1..=5 {
        let mut world = formed(seed);
        let cut = FaultId::new(1);
        let side: HostSet = [host(3), host(4)].into_iter().collect();
        let fault = Fault {
            scope: Scope::Across(side),
            effect: Effect::Cut,
        };
        world.perform(Action::Set(cut, fault));
        world.run_until(Time::from_secs(75));
        world.perform(Action::Crash(host(4)));
        world.perform(Action::Mend(cut));
        world.run_until(Time::from_secs(105));
        assert_eq!(world.check_quiescence(), [], "seed {seed}");
    }
}
