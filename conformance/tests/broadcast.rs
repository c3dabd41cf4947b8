//! Broadcasts in simulated clusters: to all, once, in order, and not for ever. That each is told
//! once and in order is checked in every simulated world; here is when, to whom, and what is left.

use core::time::Duration;

use conformance::sim::network::{Delay, Effect, Fault, FaultId, Scope};
use conformance::sim::{Action, HostId, HostSet, WallClock, World};
use gossip_core::{Command, Config, Dissemination, Event, Generation, Key, Node, Value};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const FAULT: FaultId = FaultId::new(0);

fn host(number: u32) -> HostId {
    HostId::new(number)
}

fn config() -> Config {
    let mut config = Config::lan();
    config.seeds = vec![([10, 0, 0, 1], 7946).into()];
    config.broadcast_ttl = 30 * SECOND;
    config
}

/// Nodes that know one another.
fn formed(nodes: u32, config: &Config) -> World {
    let mut world = World::new(1, Delay::uniform(MILLI, 10 * MILLI));
    for number in 0..nodes {
        add(&mut world, number, config);
    }
    run(&mut world, 20 * SECOND);
    assert_eq!(world.check_quiescence(), []);
    world
}

fn add(world: &mut World, number: u32, config: &Config) {
    let added = world.add(&format!("n{number}"), config.clone());
    world.perform(Action::Start(added.expect("it can be")));
}

fn send(world: &mut World, writer: u32, payload: &str) {
    let command = Command::Broadcast {
        name: Key::new("news").expect("a legal key"),
        payload: Value::new(payload).expect("a legal value"),
    };
    let accepted = world.ask(host(writer), command);
    accepted.expect("it runs").expect("it has room");
}

fn node(world: &World, number: u32) -> &Node {
    world.host(host(number)).node().expect("it runs")
}

/// What was told while time passed: when, to whom, in which life of the writer, and what.
type Told = Vec<(Duration, u32, Generation, String)>;

fn run(world: &mut World, time: Duration) -> Told {
    let begins = world.now();
    let mut told = Told::new();
    while let Some(step) = world.step(begins + time) {
        for event in world.events() {
            if let Event::Broadcast {
                incarnation_start,
                payload,
                ..
            } = event
            {
                let payload = String::from_utf8_lossy(payload.as_bytes()).into_owned();
                let passed = step.at.since(begins);
                told.push((passed, step.host.number(), *incarnation_start, payload));
            }
        }
    }
    assert_eq!(world.findings(), []);
    told
}

fn readers(told: &Told) -> Vec<u32> {
    let mut readers: Vec<u32> = told.iter().map(|(_, reader, ..)| *reader).collect();
    readers.sort_unstable();
    readers
}

fn cut(world: &mut World, number: u32) {
    let scope = Scope::Across(HostSet::one(host(number)));
    let effect = Effect::Cut;
    world.perform(Action::Set(FAULT, Fault { scope, effect }));
}

#[test]
fn all_others_are_told_at_once_or_within_a_few_rounds() {
    for (dissemination, limit) in [
        (Dissemination::Eager, 60 * MILLI),
        (Dissemination::Periodic, 5 * SECOND),
    ] {
        let mut config = config();
        config.dissemination = dissemination;
        let mut world = formed(30, &config);
        send(&mut world, 7, "hello");
        let told = run(&mut world, 10 * SECOND);
        let expected: Vec<u32> = (0..30).filter(|number| *number != 7).collect();
        assert_eq!(readers(&told), expected);
        assert!(told.iter().all(|(after, ..)| *after <= limit), "{told:?}");
    }
}

#[test]
fn who_was_cut_off_is_told_later_unless_it_has_expired() {
    for (seconds, expected) in [(20, vec!["one", "two"]), (50, vec![])] {
        let mut world = formed(5, &config());
        cut(&mut world, 4);
        send(&mut world, 0, "one");
        send(&mut world, 0, "two");
        let told = run(&mut world, seconds * SECOND);
        assert_eq!(readers(&told), [1, 1, 2, 2, 3, 3]);
        world.perform(Action::Mend(FAULT));
        let told = run(&mut world, 30 * SECOND);
        let payloads: Vec<&str> = told.iter().map(|(.., payload)| payload.as_str()).collect();
        assert_eq!(payloads, expected, "after {seconds} s");
    }
}

#[test]
fn a_newcomer_is_told_what_has_not_expired() {
    let mut world = formed(3, &config());
    send(&mut world, 0, "early");
    run(&mut world, 25 * SECOND);
    send(&mut world, 0, "late");
    run(&mut world, 10 * SECOND);
    add(&mut world, 3, &config());
    let told = run(&mut world, 10 * SECOND);
    assert_eq!(readers(&told), [3]);
    assert!(told.iter().all(|(.., payload)| payload == "late"));
}

/// Nobody ends the broadcasts of a dead writer, so a newcomer goes by its own clock.
#[test]
fn a_newcomer_is_told_nothing_old_of_a_dead_writer() {
    for (seconds, expected) in [(10, vec![3]), (120, vec![])] {
        let mut world = formed(3, &config());
        send(&mut world, 2, "last words");
        run(&mut world, SECOND);
        world.perform(Action::Crash(host(2)));
        run(&mut world, seconds * SECOND);
        add(&mut world, 3, &config());
        let told = run(&mut world, 10 * SECOND);
        assert_eq!(readers(&told), expected, "after {seconds} s");
    }
}

#[test]
fn nothing_is_left_of_broadcasts_that_have_expired() {
    let mut world = formed(5, &config());
    let state = |world: &World| node(world, 3).metrics().state_bytes;
    let before = state(&world);
    for batch in 0..20 {
        for number in 0..10 {
            send(&mut world, 0, &format!("number {batch}.{number}"));
        }
        run(&mut world, 5 * SECOND);
    }
    assert!(state(&world) > before + 1000);
    run(&mut world, 40 * SECOND);
    assert!(state(&world) < before + 100, "{} bytes", state(&world));
    assert_eq!(world.check_quiescence(), []);
    for number in 0..5 {
        let held = node(&world, number)
            .members()
            .map(|member| member.broadcasts().count());
        assert_eq!(held.sum::<usize>(), 0);
    }
}

/// A process that starts with its clock behind must raise its generation above that of its earlier
/// life, and writes anew what it has written. Nobody is told anything twice.
#[test]
fn a_raised_generation_tells_nothing_again() {
    let mut world = formed(5, &config());
    let remembered = node(&world, 4).generation();
    cut(&mut world, 4);
    world.perform(Action::Crash(host(4)));
    let behind = WallClock { ahead_ms: -50_000 };
    world.perform(Action::SetClock(host(4), behind));
    world.perform(Action::Start(host(4)));
    let born = node(&world, 4).generation();
    assert!(born < remembered);
    send(&mut world, 4, "early");
    run(&mut world, 5 * SECOND);
    world.perform(Action::Mend(FAULT));
    let told = run(&mut world, 15 * SECOND);
    assert!(node(&world, 4).generation() > remembered);
    assert_eq!(readers(&told), [0, 1, 2, 3]);
    for payload in ["after", "and again"] {
        send(&mut world, 4, payload);
        let told = run(&mut world, 5 * SECOND);
        assert_eq!(readers(&told), [0, 1, 2, 3]);
        assert!(told.iter().all(|(_, _, life, _)| *life == born));
    }
    assert_eq!(world.check_quiescence(), []);
}

/// What is remembered of broadcasts ends with a process. Its application can tell them by their
/// names for ever.
#[test]
fn a_reader_that_restarts_is_told_again_what_has_not_expired() {
    let mut world = formed(3, &config());
    send(&mut world, 0, "hello");
    let first = run(&mut world, 5 * SECOND);
    world.perform(Action::Crash(host(1)));
    world.perform(Action::Start(host(1)));
    let again = run(&mut world, 5 * SECOND);
    assert_eq!((readers(&first), readers(&again)), (vec![1, 2], vec![1]));
    assert_eq!(first[0].2, again[0].2, "the same life of the writer");
}

#[test]
fn a_writer_whose_clock_is_an_hour_behind_is_heard_by_all_who_know_it() {
    let mut world = formed(4, &config());
    let hour_behind = WallClock {
        ahead_ms: -3_600_000,
    };
    world.perform(Action::SetClock(host(2), hour_behind));
    send(&mut world, 2, "hello");
    assert_eq!(readers(&run(&mut world, 5 * SECOND)), [0, 1, 3]);
}

#[test]
fn a_writer_without_room_is_refused_until_some_have_expired() {
    let mut world = formed(2, &config());
    let command = |payload: &str| Command::Broadcast {
        name: Key::new("n").expect("a legal key"),
        payload: Value::new(payload).expect("a legal value"),
    };
    let ask = |world: &mut World, payload: &str| world.ask(host(0), command(payload));
    let mut accepted = 0;
    while ask(&mut world, "x") == Some(Ok(())) {
        accepted += 1;
    }
    assert_eq!(accepted, gossip_core::MAX_BROADCASTS);
    assert_eq!(run(&mut world, 5 * SECOND).len(), accepted);
    run(&mut world, 30 * SECOND);
    assert_eq!(ask(&mut world, "x"), Some(Ok(())));
    let (long, legal) = ("x".repeat(1024), "x".repeat(900));
    let refused = ask(&mut world, &long).expect("it runs").unwrap_err();
    assert!(refused.to_string().contains("shorten"), "{refused}");
    assert_eq!(ask(&mut world, &legal), Some(Ok(())));
    assert_eq!(run(&mut world, 5 * SECOND).len(), 2);
}
