//! What has bounds (lists of votes, places in the table, datagrams of a leg) does not end what it bounds.

use core::time::Duration;

use conformance::sim::network::Delay;
use conformance::sim::{Action, HostId, WallClock, World};
use gossip_core::{Command, Config, Key, Mode, Value};

fn host(number: u32) -> HostId {
    HostId::new(number)
}

fn config() -> Config {
    let mut config = Config::lan();
    config.seeds = vec![([10, 0, 0, 1], 7946).into(), ([10, 0, 0, 2], 7946).into()];
    config
}

fn pass(world: &mut World, seconds: u64) {
    world.run_until(world.now() + Duration::from_secs(seconds));
}

/// So many nodes at rest, and one more host that has not been started.
fn formed(nodes: u32, config: &Config) -> World {
    let millis = Duration::from_millis;
    let mut world = World::new(1, Delay::uniform(millis(1), millis(10)));
    for number in 0..=nodes {
        let added = world.add(&format!("n{number}"), config.clone());
        let id = added.expect("it can be");
        if number < nodes {
            world.perform(Action::Start(id));
        }
    }
    pass(&mut world, 20);
    assert_eq!(world.check_quiescence(), []);
    world
}

/// Guests under names of their own come, and go in this way.
fn receive(world: &mut World, guests: u32, config: &Config, go: impl Fn(HostId) -> Action) {
    for guest in 0..guests {
        let added = world.add(&format!("guest{guest}"), config.clone());
        let id = added.expect("it can be");
        world.perform(Action::Start(id));
        pass(world, 20);
        world.perform(go(id));
        pass(world, 20);
    }
}

/// A vote against each of them would stand for a day, and a list takes 32.
#[test]
fn however_many_have_crashed_the_next_is_seen() {
    for (stay, guests) in [(5, 36), (9, 50)] {
        let config = config();
        let mut world = formed(stay, &config);
        receive(&mut world, guests, &config, Action::Crash);
        world.perform(Action::Crash(host(stay - 1)));
        pass(&mut world, 600);
        assert_eq!(world.check_quiescence(), [], "{stay} stay");
    }
}

/// What is left of those who went takes places, but not all.
#[test]
fn who_left_makes_room_for_who_comes() {
    let mut config = config();
    config.max_members = 30;
    config.remove_after = Duration::from_secs(20);
    let goes: [fn(HostId) -> Action; 2] = [Action::Crash, |id| Action::Command(id, Command::Leave)];
    for go in goes {
        let mut world = formed(5, &config);
        receive(&mut world, 40, &config, go);
        pass(&mut world, 300);
        world.perform(Action::Start(host(5)));
        pass(&mut world, 60);
        assert_eq!(world.check_quiescence(), []);
    }
}

/// A leg is twelve datagrams, and each log here is longer.
#[test]
fn a_newcomer_learns_logs_that_are_longer_than_a_leg() {
    for (mode, datagram, filled) in [
        (Mode::PushPull, 512, 9_500),
        (Mode::Pull, 512, 9_500),
        (Mode::PushPull, 1400, 50_000),
    ] {
        let mut config = config();
        config.mode = mode;
        config.max_datagram = datagram;
        config.max_state = 1 << 16;
        let nodes = 7;
        let mut world = formed(nodes, &config);
        let value = Value::new(vec![b'.'; 250]).expect("a legal value");
        for (number, key) in (0..nodes).flat_map(|n| (0..filled / 270).map(move |key| (n, key))) {
            let key = Key::new(&format!("key{key}")).expect("a legal key");
            let value = value.clone();
            let set = Command::Set { key, value };
            assert_eq!(world.ask(host(number), set), Some(Ok(())));
        }
        pass(&mut world, 60);
        assert_eq!(world.check_quiescence(), [], "{mode:?} {datagram}");
        world.perform(Action::Start(host(nodes)));
        pass(&mut world, 60);
        assert_eq!(world.check_quiescence(), [], "{mode:?} {datagram}");
    }
}

/// It cannot outlive what it wrote in the future, and must say why nobody hears it.
#[test]
fn a_restart_whose_clock_went_far_back_is_told() {
    let mut world = formed(5, &config());
    world.perform(Action::Crash(host(4)));
    let ahead_ms = -180_000;
    world.perform(Action::SetClock(host(4), WallClock { ahead_ms }));
    world.perform(Action::Start(host(4)));
    let until = world.now() + Duration::from_secs(30);
    let mut told = false;
    while let Some(step) = world.step(until) {
        let is_skew = |event: &gossip_core::Event| matches!(event, gossip_core::Event::ClockSkew { id, .. } if *id == host(4).node_id());
        told |= step.host == host(4) && world.events().iter().any(is_skew);
    }
    let node = world.host(host(4)).node().expect("it runs");
    assert!(node.metrics().refused_skew > 0);
    assert!(told);
}

/// Of a member that died meanwhile others still keep a trace, but no longer of the one that slept.
#[test]
fn who_slept_through_its_own_forgetting_learns_of_the_dead() {
    let mut config = config();
    config.remove_after = Duration::from_secs(60);
    config.max_tombstones = 8;
    for (sleeper, dead) in [(4, 5), (5, 4), (1, 17)] {
        let mut world = formed(19, &config);
        let leave = |number| Action::Command(host(number), Command::Leave);
        world.perform(leave(18));
        pass(&mut world, 80);
        world.perform(Action::Pause(host(sleeper)));
        pass(&mut world, 50);
        world.perform(Action::Crash(host(dead)));
        pass(&mut world, 80);
        receive(&mut world, 6, &config, |id| {
            Action::Command(id, Command::Leave)
        });
        pass(&mut world, 100);
        world.perform(Action::Resume(host(sleeper)));
        pass(&mut world, 200);
        assert_eq!(world.check_quiescence(), [], "{sleeper} slept, {dead} died");
    }
}

/// A list of votes is one entry, and takes as many as fit a datagram: nobody could learn what its author
/// writes after it otherwise.
#[test]
fn however_many_die_at_once_what_the_others_write_is_learned() {
    let mut config = config();
    config.max_datagram = 512;
    config.neighbours = 16;
    let mut world = formed(40, &config);
    for wave in [30..40, 20..30, 10..20] {
        for number in wave {
            world.perform(Action::Crash(host(number)));
        }
        pass(&mut world, 60);
    }
    let key = Key::new("k").expect("a legal key");
    let value = Value::new("after").expect("a legal value");
    for number in 0..10 {
        let (key, value) = (key.clone(), value.clone());
        world.perform(Action::Command(host(number), Command::Set { key, value }));
    }
    pass(&mut world, 60);
    for (one, other) in (0..10).flat_map(|one| (0..10).map(move |other| (one, other))) {
        let node = world.host(host(one)).node().expect("it runs");
        let shown = node.member(host(other).node_id());
        let shown = shown.and_then(|member| member.attribute(&key).map(<[u8]>::to_vec));
        assert_eq!(shown.as_deref(), Some(&b"after"[..]), "{one} of {other}");
    }
}
