use core::time::Duration;

use gossip_core::Status;

use super::*;
use crate::sim::network::{Delay, Effect, Fault, FaultId, Scope};
use crate::sim::{HostSet, WallClock};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const FAULT: FaultId = FaultId::new(0);

/// A world of hosts whose processes have started at once.
fn started(seed: u64, hosts: usize) -> World {
    let mut world = World::new(seed, Delay::uniform(MILLI, 10 * MILLI));
    let mut config = Config::lan();
    config.seeds = vec![HostId::at(0).address(0)];
    for host in 0..hosts {
        let id = world.add(&format!("n{host}"), config.clone()).unwrap();
        world.perform(Action::Start(id));
    }
    world
}

/// The same, ten seconds later: all know one another.
fn formed(seed: u64, hosts: usize) -> World {
    let mut world = started(seed, hosts);
    world.run_until(Time::from_secs(10));
    assert_eq!(world.check_quiescence(), []);
    world
}

fn later(world: &mut World, by: Duration) {
    world.run_until(world.now() + by);
}

fn host(number: usize) -> HostId {
    HostId::at(number)
}

fn status(world: &World, viewer: usize, member: usize) -> Option<Status> {
    let id = world.host(host(member)).node_id();
    let node = world.host(host(viewer)).node()?;
    node.member(id).map(|member| member.status())
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another_one() {
    let trace = |seed| formed(seed, 5).trace_hash();
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

#[test]
fn an_action_changes_the_trace_from_its_time_on_and_not_before() {
    let mut plain = started(1, 4);
    let mut disturbed = started(1, 4);
    disturbed.schedule(Time::from_secs(5), Action::Pause(host(2)));
    for (seconds, same) in [(4, true), (5, true), (9, false)] {
        plain.run_until(Time::from_secs(seconds));
        disturbed.run_until(Time::from_secs(seconds));
        assert_eq!(plain.trace_hash() == disturbed.trace_hash(), same);
    }
}

#[test]
fn monotonic_clocks_differ_and_nodes_do_not_care() {
    let world = formed(1, 3);
    let now = |number| world.host(host(number)).instant(world.now());
    assert_ne!(now(0), now(1));
}

#[test]
fn a_crashed_node_is_silent_and_its_next_life_is_newer() {
    let mut world = formed(1, 3);
    let generation = |world: &World| world.host(host(1)).node().map(Node::generation);
    let first = generation(&world);
    world.perform(Action::Crash(host(1)));
    let before = world.host(host(1)).traffic();
    later(&mut world, 5 * SECOND);
    assert_eq!(world.host(host(1)).traffic(), before);
    assert_eq!(generation(&world), None);
    world.perform(Action::Start(host(1)));
    assert!(generation(&world) > first);
}

#[test]
fn a_restart_with_the_clock_ahead_begins_a_generation_ahead() {
    let mut world = formed(1, 2);
    world.perform(Action::Crash(host(1)));
    world.perform(Action::SetClock(host(1), WallClock { ahead_ms: 9_000 }));
    world.perform(Action::Start(host(1)));
    let node = world.host(host(1)).node().unwrap();
    let truth = WallClock::default().read(world.now());
    let began = node.generation().stamp().time();
    assert_eq!(began.as_millis() - truth.as_millis(), 9_000);
}

#[test]
fn a_paused_process_handles_what_waited_for_it_when_it_goes_on() {
    let mut world = formed(1, 3);
    world.perform(Action::Pause(host(1)));
    let before = world.host(host(1)).traffic();
    later(&mut world, SECOND);
    assert_eq!(
        world.host(host(1)).traffic(),
        before,
        "no time, no datagrams"
    );
    assert!(!world.host(host(1)).runs());
    world.perform(Action::Resume(host(1)));
    let handled = world.host(host(1)).traffic().since(before).datagrams_in;
    assert!(handled >= 2, "{handled}");
}

#[test]
fn the_buffer_of_a_paused_process_is_bounded() {
    let mut world = formed(1, 2);
    world.perform(Action::Pause(host(1)));
    let before = world.host(host(1)).traffic();
    for _ in 0..10_000 {
        world.perform(Action::Forge(host(1), vec![0; 1000]));
    }
    later(&mut world, MILLI);
    world.perform(Action::Resume(host(1)));
    let handled = world.host(host(1)).traffic().since(before).datagrams_in;
    assert!((100..300).contains(&handled), "{handled}");
}

#[test]
fn a_slow_process_handles_datagrams_and_timers_late() {
    let mut world = formed(1, 2);
    let lag = 300 * MILLI;
    world.perform(Action::Slow(host(1), lag));
    let sent = world.now();
    world.perform(Action::Forge(host(1), vec![0; 10]));
    let before = world.host(host(1)).traffic().bytes_in;
    let mut handled = None;
    while let Some(step) = world.step(sent + SECOND) {
        let grown = world.host(host(1)).traffic().bytes_in - before;
        if step.host == host(1) && handled.is_none() && grown > 0 {
            handled = Some(step.at);
        }
        if step.host == host(1) {
            assert!(step.at >= sent + lag || grown == 0);
        }
    }
    assert!(handled.unwrap() >= sent + lag);
}

#[test]
fn a_host_that_moved_is_not_where_it_was() {
    let mut world = formed(1, 2);
    world.perform(Action::Move(host(1)));
    let before = world.host(host(1)).traffic().datagrams_in;
    // A heartbeat is due in that time. Later it asks where they are, and gets an answer.
    later(&mut world, SECOND);
    assert_eq!(world.host(host(1)).traffic().datagrams_in, before);
}

#[test]
fn a_cut_makes_each_side_hold_the_other_down_and_mending_it_brings_all_back() {
    let mut world = formed(1, 4);
    world.perform(Action::Set(
        FAULT,
        Fault {
            scope: Scope::Across(HostSet::one(host(3))),
            effect: Effect::Cut,
        },
    ));
    later(&mut world, 20 * SECOND);
    assert_eq!(status(&world, 0, 3), Some(Status::Down));
    assert_eq!(status(&world, 3, 0), Some(Status::Down));
    assert_eq!(status(&world, 0, 1), Some(Status::Up));
    world.perform(Action::Mend(FAULT));
    later(&mut world, 20 * SECOND);
    assert_eq!(world.check_quiescence(), []);
}

#[test]
fn a_host_that_cannot_be_is_refused_when_it_is_added() {
    let mut world = World::new(1, Delay::constant(MILLI));
    let mut config = Config::lan();
    config.fanout = 0;
    assert!(matches!(world.add("a", config), Err(SetupError::Config(_))));
    assert!(matches!(
        world.add("", Config::lan()),
        Err(SetupError::Identity(_))
    ));
}
