//! What the conformance suite does not ask: names among the seeds, advertised addresses, and waiting
//! with a limit. Every wait is for an event, with a limit far above what it takes.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use gossip_mio::gossip_core::{
    self, Command, CommandError, Event, JoinCause, Key, Node, NodeId, Value,
};
use gossip_mio::{Config, Events, Handle, NoAgreement, NoEvent, SpawnError, spawn};

const LIMIT: Duration = Duration::from_secs(30);

fn config(name: &str, seeds: &[String]) -> Config {
    let mut config = Config::new(name, "127.0.0.1:0".parse().unwrap());
    config.node = gossip_core::Config::local();
    config.seeds = seeds.to_vec();
    config
}

fn start(name: &str, seeds: &[String]) -> (Handle, Events) {
    spawn(config(name, seeds)).unwrap()
}

/// Takes events until `wanted` recognises one.
fn wait_for(events: &mut Events, what: &str, wanted: impl Fn(&Event) -> bool) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match events.next_timeout(left) {
            Ok(event) if wanted(&event) => return,
            Ok(_) => {}
            Err(none) => panic!("{what}: {none}"),
        }
    }
}

fn wait_for_up(events: &mut Events, wanted: NodeId) {
    wait_for(
        events,
        "member up",
        |event| matches!(event, Event::MemberUp { id, .. } if *id == wanted),
    );
}

/// Waits for what no event tells.
fn poll_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        thread::yield_now();
    }
}

#[test]
fn a_taken_address_is_refused_with_advice() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let error = spawn(Config::new("a", address)).unwrap_err();
    assert!(matches!(&error, SpawnError::Bind { address: a, .. } if *a == address));
    let told = error.to_string();
    assert!(told.contains("bind another port"), "{told}");
}

#[test]
fn the_unspecified_address_must_not_be_advertised() {
    let mut config = config("a", &[]);
    config.bind = "0.0.0.0:0".parse().unwrap();
    let refused = spawn(config.clone()).unwrap_err();
    assert!(refused.to_string().contains("advertise"), "{refused}");
    config.advertise = Some("127.0.0.1:0".parse().unwrap());
    let (node, _events) = spawn(config).unwrap();
    assert!(node.local_addr().ip().is_unspecified());
}

#[test]
fn a_seed_that_is_no_host_with_a_port_is_refused() {
    let refused = spawn(config("a", &["nowhere".into()])).unwrap_err();
    assert!(matches!(refused, SpawnError::Seed(_)), "{refused}");
}

#[test]
fn a_seed_may_have_a_name() {
    let (a, _) = start("a", &[]);
    let seed = format!("localhost:{}", a.local_addr().port());
    let (_b, mut events) = start("b", &[seed]);
    // Not as the first of a cluster while the name is being looked up.
    wait_for(&mut events, "joined", |event| {
        let cause = JoinCause::Learned;
        *event == Event::Joined { members: 1, cause }
    });
}

#[test]
fn a_seed_that_cannot_be_looked_up_is_told_and_hinders_nothing() {
    let (a, _) = start("a", &[]);
    let missing = "missing.invalid:7946";
    let (b, mut events) = start("b", &[missing.into(), a.local_addr().to_string()]);
    wait_for_up(&mut events, a.read(Node::id));
    poll_until("the missing name is told", || {
        b.faults()
            .unresolved
            .iter()
            .any(|(seed, _)| seed == missing)
    });
}

#[test]
fn no_event_is_no_end() {
    let (a, mut events) = start("a", &[]);
    wait_for(&mut events, "joined", |event| {
        let cause = JoinCause::NoSeeds;
        *event == Event::Joined { members: 0, cause }
    });
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
        a.read(Node::id),
        NodeId::of(&gossip_core::Name::new("a").unwrap()),
        "it can still be looked at"
    );
}

#[test]
fn a_wait_for_agreement_ends_when_all_show_the_same() {
    let (a, mut a_events) = start("a", &[]);
    let (b, mut b_events) = start("b", &[a.local_addr().to_string()]);
    wait_for_up(&mut a_events, b.read(Node::id));
    wait_for_up(&mut b_events, a.read(Node::id));
    let schema = Key::new("schema").unwrap();
    let set = |node: &Handle| {
        let (key, value) = (schema.clone(), Value::new("v5").unwrap());
        node.command(Command::Set { key, value }).unwrap();
    };
    a.wait_agreement(&schema, Duration::ZERO).unwrap();

    set(&a);
    match a.wait_agreement(&schema, Duration::from_millis(1)) {
        Err(NoAgreement::Yet(agreement)) => {
            let apart: Vec<_> = agreement.differing().collect();
            assert_eq!(apart, [b.read(Node::id)]);
        }
        other => panic!("{other:?}"),
    }
    thread::scope(|scope| {
        // What ends the wait: nobody takes events, and nobody calls a.
        let waiting = scope.spawn(|| a.wait_agreement(&schema, LIMIT));
        set(&b);
        waiting.join().unwrap().unwrap();
    });

    let newer = Command::Unset {
        key: schema.clone(),
    };
    a.command(newer).unwrap();
    let stopped = thread::scope(|scope| {
        let waiting = scope.spawn(|| a.wait_agreement(&schema, LIMIT));
        a.shutdown();
        waiting.join().unwrap()
    });
    assert_eq!(stopped, Err(CommandError::Stopped.into()));
}

#[test]
fn what_is_written_while_a_node_dies_and_returns_is_read_by_all() {
    const WRITES: usize = 600;
    let mut nodes: Vec<(Handle, Events)> = Vec::new();
    let mut seeds: Vec<String> = Vec::new();
    for number in 0..5 {
        let node = start(&format!("n{number}"), &seeds);
        seeds.push(node.0.local_addr().to_string());
        nodes.push(node);
    }
    let key = |number: usize| Key::new(&format!("key {number}")).unwrap();
    let value = |number: usize| Value::new(format!("value {number}")).unwrap();
    for number in 0..WRITES {
        if number == WRITES / 3 {
            let (victim, _) = nodes.pop().unwrap();
            // Nobody else may have its writes yet, and what only it had is lost with it.
            let summary = |handle: &Handle| handle.read(|node| node.map().summary());
            poll_until("all have what the victim has written", || {
                nodes
                    .iter()
                    .all(|(node, _)| summary(node) == summary(&victim))
            });
            victim.shutdown();
            victim.join().unwrap();
        }
        if number == WRITES * 2 / 3 {
            nodes.push(start("n4", &seeds[..4]));
        }
        let (node, _) = &nodes[number % nodes.len()];
        node.put(key(number), value(number)).unwrap();
    }
    for (node, _) in &nodes {
        poll_until("all read all", || {
            (0..WRITES).all(|number| node.get(&key(number)) == Some(value(number)))
        });
    }
}
