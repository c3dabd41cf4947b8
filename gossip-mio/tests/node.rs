//! Real nodes over loopback. Every wait is for an event, with a limit far above what it takes.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use gossip_mio::gossip_core::{
    self, Command, CommandError, Event, Key, Node, NodeId, Status, UpCause, Value,
};
use gossip_mio::{Config, Events, Handle, NoEvent, SpawnError, spawn};

const LIMIT: Duration = Duration::from_secs(30);

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// The settings of a node that finds its cluster through these others.
fn config(name: &str, seeds: &[&Handle]) -> Config {
    let mut config = Config::new(name, loopback());
    config.node = gossip_core::Config::local();
    config.seeds = seeds
        .iter()
        .map(|seed| seed.local_addr().to_string())
        .collect();
    config
}

fn start(name: &str, seeds: &[&Handle]) -> (Handle, Events) {
    spawn(config(name, seeds)).unwrap()
}

/// Takes events until `wanted` recognises one.
fn wait_for<T>(events: &mut Events, what: &str, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match events.next_timeout(left) {
            Ok(event) => {
                if let Some(found) = wanted(event) {
                    return found;
                }
            }
            Err(none) => panic!("{what}: {none}"),
        }
    }
}

fn wait_for_up(events: &mut Events, wanted: NodeId) -> UpCause {
    wait_for(events, "member up", |event| match event {
        Event::MemberUp { id, cause, .. } if id == wanted => Some(cause),
        _ => None,
    })
}

/// Waits for what no event tells.
fn poll_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn set(handle: &Handle, name: &str, value: &str) -> Result<(), CommandError> {
    handle.command(Command::Set {
        key: key(name),
        value: Value::new(value).unwrap(),
    })
}

fn attribute(handle: &Handle, of: NodeId, name: &str) -> Option<Vec<u8>> {
    handle.read(|node| {
        let value = node.member(of)?.attribute(&key(name))?;
        Some(value.to_vec())
    })
}

fn status(handle: &Handle, of: NodeId) -> Option<Status> {
    handle.read(|node| node.member(of).map(|member| member.status()))
}

#[test]
fn a_taken_address_is_refused_with_advice() {
    let holder = UdpSocket::bind(loopback()).unwrap();
    let address = holder.local_addr().unwrap();
    let error = spawn(Config::new("a", address)).unwrap_err();
    assert!(matches!(&error, SpawnError::Bind { address: a, .. } if *a == address));
    assert_eq!(
        error.to_string(),
        format!(
            "address {address} is in use: stop the program that holds it, or bind another port (0 lets the system choose)"
        )
    );
}

#[test]
fn an_address_that_nobody_can_send_to_must_not_be_advertised() {
    let error = spawn(Config::new("a", "0.0.0.0:0".parse().unwrap())).unwrap_err();
    assert!(error.to_string().contains("advertise"), "{error}");

    let mut config = Config::new("a", "0.0.0.0:0".parse().unwrap());
    config.advertise = Some(loopback());
    let (node, _events) = spawn(config).unwrap();
    assert!(node.local_addr().ip().is_unspecified());
}

#[test]
fn what_cannot_work_is_refused() {
    let mut bad = config("a", &[]);
    bad.node.fanout = 0;
    assert!(matches!(spawn(bad), Err(SpawnError::Config(e)) if e.field == "fanout"));
    assert!(matches!(
        spawn(config("", &[])),
        Err(SpawnError::Identity(_))
    ));
    let mut bad = config("a", &[]);
    bad.seeds.push("nowhere".into());
    assert!(matches!(spawn(bad), Err(SpawnError::Seed(text)) if text == "nowhere"));
}

#[test]
fn two_nodes_find_each_other() {
    let (a, mut a_events) = start("a", &[]);
    let (b, mut b_events) = start("b", &[&a]);
    let (a_id, b_id) = (a.read(Node::id), b.read(Node::id));
    assert_eq!(wait_for_up(&mut a_events, b_id), UpCause::Joined);
    assert_eq!(wait_for_up(&mut b_events, a_id), UpCause::Joined);
    assert_eq!(
        a.read(|node| node.member(b_id).map(|member| member.address())),
        Some(b.local_addr())
    );
}

#[test]
fn an_attribute_spreads_and_is_deleted() {
    let (a, _) = start("a", &[]);
    let (b, mut events) = start("b", &[&a]);
    let a_id = a.read(Node::id);
    let mut wait_for_value = |wanted: Option<&str>| {
        wait_for(&mut events, "attribute", |event| match event {
            Event::AttributeChanged { id, key, value } if id == a_id && key.as_str() == "role" => {
                let wanted = wanted.map(|text| Value::new(text).unwrap());
                (value == wanted).then_some(())
            }
            _ => None,
        });
    };
    set(&a, "role", "db").unwrap();
    wait_for_value(Some("db"));
    assert_eq!(attribute(&b, a_id, "role").as_deref(), Some(&b"db"[..]));
    set(&a, "role", "web").unwrap();
    wait_for_value(Some("web"));
    a.command(Command::Unset { key: key("role") }).unwrap();
    wait_for_value(None);
    assert_eq!(attribute(&b, a_id, "role"), None);
}

#[test]
fn a_seed_may_have_a_name() {
    let (a, _) = start("a", &[]);
    let mut by_name = config("b", &[]);
    by_name.seeds = vec![format!("localhost:{}", a.local_addr().port())];
    let (_b, mut events) = spawn(by_name).unwrap();
    wait_for_up(&mut events, a.read(Node::id));
}

#[test]
fn a_seed_that_cannot_be_looked_up_is_told_and_hinders_nothing() {
    let (a, _) = start("a", &[]);
    let mut mixed = config("b", &[&a]);
    let missing = "missing.invalid:7946";
    mixed.seeds.push(missing.into());
    let (b, mut events) = spawn(mixed).unwrap();
    wait_for_up(&mut events, a.read(Node::id));
    poll_until("the missing name is told", || {
        b.faults()
            .unresolved
            .iter()
            .any(|(seed, _)| seed == missing)
    });
}

#[test]
fn a_node_that_leaves_is_left_and_not_down() {
    let (a, mut a_events) = start("a", &[]);
    let (b, mut b_events) = start("b", &[&a]);
    let b_id = b.read(Node::id);
    wait_for_up(&mut a_events, b_id);
    wait_for_up(&mut b_events, a.read(Node::id));

    b.leave().unwrap();
    wait_for(&mut a_events, "member left", |event| match event {
        Event::MemberLeft { id, .. } if id == b_id => Some(()),
        Event::MemberDown { .. } => panic!("{event:?}"),
        _ => None,
    });
    assert_eq!(status(&a, b_id), Some(Status::Left));

    b.join().unwrap();
    assert_eq!(b_events.by_ref().last(), Some(Event::LeaveCompleted));
    assert_eq!(b_events.try_next(), Err(NoEvent::Ended));
    assert_eq!(set(&b, "too", "late"), Err(CommandError::Left));
    // The socket is closed: its port is free.
    UdpSocket::bind(b.local_addr()).unwrap();
}

#[test]
fn a_killed_node_is_down_and_comes_back_restarted() {
    let (a, mut events) = start("a", &[]);
    let (b, _) = start("b", &[&a]);
    let (c, _) = start("c", &[&a]);
    let c_id = c.read(Node::id);
    let mut expected = HashSet::from([b.read(Node::id), c_id]);
    wait_for(&mut events, "both are up", |event| {
        if let Event::MemberUp { id, .. } = event {
            expected.remove(&id);
        }
        expected.is_empty().then_some(())
    });
    let generation = c.read(Node::generation);

    c.shutdown();
    c.join().unwrap();
    wait_for(&mut events, "member down", |event| match event {
        Event::MemberDown { id, .. } if id == c_id => Some(()),
        _ => None,
    });
    assert_eq!(status(&a, c_id), Some(Status::Down));

    let (c, _) = start("c", &[&a]);
    assert_eq!(wait_for_up(&mut events, c_id), UpCause::Restarted);
    assert!(c.read(Node::generation) > generation);
}

#[test]
fn commands_come_from_many_threads_at_once() {
    let (a, _) = start("a", &[]);
    let (b, mut events) = start("b", &[&a]);
    let a_id = a.read(Node::id);
    wait_for_up(&mut events, a_id);

    let names: Vec<String> = (0..8).map(|thread| format!("thread-{thread}")).collect();
    thread::scope(|scope| {
        for name in &names {
            let a = a.clone();
            scope.spawn(move || {
                for round in 0..100 {
                    set(&a, name, &round.to_string()).unwrap();
                }
            });
        }
    });
    let mut missing: HashSet<_> = names.iter().map(String::as_str).collect();
    while !missing.is_empty() {
        missing.retain(|name| attribute(&b, a_id, name).as_deref() != Some(b"99"));
        if !missing.is_empty() {
            wait_for(&mut events, "the last values", |event| match event {
                Event::AttributeChanged { .. } | Event::Lagged => Some(()),
                _ => None,
            });
        }
    }
}

#[test]
fn a_consumer_that_stalls_holds_up_nobody_and_is_told() {
    let mut small = config("a", &[]);
    small.node.event_queue = 16;
    let (a, mut stalled) = spawn(small).unwrap();
    let (b, mut events) = start("b", &[&a]);
    let (a_id, b_id) = (a.read(Node::id), b.read(Node::id));
    wait_for_up(&mut events, a_id);

    // One at a time, so that each is an event of its own at the other node.
    for round in 0..100 {
        let round = round.to_string();
        set(&b, "round", &round).unwrap();
        poll_until("the node goes on", || {
            attribute(&a, b_id, "round").as_deref() == Some(round.as_bytes())
        });
    }
    wait_for(&mut stalled, "lagged", |event| {
        (event == Event::Lagged).then_some(())
    });
}

#[test]
fn an_event_wakes_a_consumer_that_waits() {
    let (a, mut events) = start("a", &[]);
    let waiting = thread::spawn(move || events.by_ref().count());
    a.shutdown();
    a.join().unwrap();
    waiting.join().unwrap();
}

#[test]
fn no_event_is_no_end() {
    let (a, mut events) = start("a", &[]);
    let members = wait_for(&mut events, "joined", |event| match event {
        Event::Joined { members } => Some(members),
        _ => None,
    });
    assert_eq!(members, 0);
    assert_eq!(events.try_next(), Err(NoEvent::Yet));
    assert_eq!(
        events.next_timeout(Duration::from_millis(1)),
        Err(NoEvent::Yet)
    );
    a.shutdown();
    a.join().unwrap();
    assert_eq!(events.next_timeout(Duration::MAX), Err(NoEvent::Ended));
    assert_eq!(events.next(), None);
    assert_eq!(
        a.read(|node| node.id()),
        NodeId::of(&gossip_core::Name::new("a").unwrap())
    );
}

#[test]
fn a_node_that_nobody_holds_stops() {
    let (a, events) = start("a", &[]);
    let address = a.local_addr();
    drop(a);
    assert!(UdpSocket::bind(address).is_err(), "the events hold it");
    drop(events);
    poll_until("the socket is closed", || UdpSocket::bind(address).is_ok());
}

#[test]
fn garbage_and_closed_ports_change_nothing() {
    let (a, mut events) = start("a", &[]);
    let socket = UdpSocket::bind(loopback()).unwrap();
    let dropped = || a.read(|node| node.metrics().dropped.total());
    for (before, length) in (0_u64..).zip((0..200).chain([60_000])) {
        socket.send_to(&vec![7; length], a.local_addr()).unwrap();
        // One at a time: a full socket would drop them unseen.
        poll_until("garbage is counted", || dropped() > before);
    }
    // A peer that is gone answers with ICMP.
    let (b, _) = start("b", &[&a]);
    wait_for_up(&mut events, b.read(Node::id));
    b.shutdown();
    wait_for(&mut events, "member down", |event| match event {
        Event::MemberDown { .. } => Some(()),
        _ => None,
    });
    assert_eq!(dropped(), 201);
    set(&a, "still", "here").unwrap();
}
