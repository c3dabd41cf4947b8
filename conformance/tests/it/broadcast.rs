//! Broadcasts: to all, once, in order, and not for ever. That each is told once and in order is checked
//! in every simulated world; here is when, to whom, and what is left.

use core::time::Duration;

use conformance::testkit::{Cluster, MILLI, Options, SECOND, key, value};
use gossip_core::{Command, Config, Dissemination, Event, Generation};

/// A cluster whose broadcasts expire after half a minute.
fn few(nodes: usize) -> Options {
    Cluster::of(nodes).config(|config| config.broadcast_ttl = 30 * SECOND)
}

/// One more node joins.
fn join(cluster: &mut Cluster) {
    let number = cluster.add("newcomer");
    cluster.start(number);
}

/// What was told while time passed: when, to whom, in which life of the writer, and what.
type Told = Vec<(Duration, usize, Generation, String)>;

fn run(cluster: &mut Cluster, time: Duration) -> Told {
    let begins = cluster.world.now();
    cluster.take_told();
    cluster.pass(time);
    let told = cluster.take_told().into_iter();
    let told = told.filter_map(|told| match told.event {
        Event::Broadcast {
            incarnation_start: life,
            payload,
            ..
        } => {
            let payload = String::from_utf8_lossy(payload.as_bytes()).into_owned();
            Some((told.at.since(begins), told.by, life, payload))
        }
        _ => None,
    });
    told.collect()
}

fn readers(told: &Told) -> Vec<usize> {
    let mut readers: Vec<usize> = told.iter().map(|(_, reader, ..)| *reader).collect();
    readers.sort_unstable();
    readers
}

#[test]
fn a_broadcast_reaches_all_others_at_once_or_within_a_few_rounds() {
    for (dissemination, limit) in [
        (Dissemination::Eager, 60 * MILLI),
        (Dissemination::Periodic, 5 * SECOND),
    ] {
        let pushes = |config: &mut Config| config.dissemination = dissemination;
        let mut cluster = few(30).config(pushes).form();
        cluster.broadcast(7, "news", "hello");
        let told = run(&mut cluster, 10 * SECOND);
        let expected: Vec<usize> = (0..30).filter(|number| *number != 7).collect();
        assert_eq!(readers(&told), expected);
        assert!(told.iter().all(|(after, ..)| *after <= limit), "{told:?}");
    }
}

#[test]
fn a_node_that_was_cut_off_is_told_later_unless_the_broadcast_has_expired() {
    for (seconds, expected) in [(20, vec!["one", "two"]), (50, vec![])] {
        let mut cluster = few(5).form();
        cluster.cut_off([4]);
        cluster.broadcast(0, "news", "one");
        cluster.broadcast(0, "news", "two");
        let told = run(&mut cluster, seconds * SECOND);
        assert_eq!(readers(&told), [1, 1, 2, 2, 3, 3]);
        cluster.mend();
        let told = run(&mut cluster, 30 * SECOND);
        let payloads: Vec<&str> = told.iter().map(|(.., payload)| payload.as_str()).collect();
        assert_eq!(payloads, expected, "after {seconds} s");
    }
}

#[test]
fn a_newcomer_is_told_what_has_not_expired() {
    let mut cluster = few(3).form();
    cluster.broadcast(0, "news", "early");
    run(&mut cluster, 25 * SECOND);
    cluster.broadcast(0, "news", "late");
    run(&mut cluster, 10 * SECOND);
    join(&mut cluster);
    let told = run(&mut cluster, 10 * SECOND);
    assert_eq!(readers(&told), [3]);
    assert!(told.iter().all(|(.., payload)| payload == "late"));
}

/// Nobody ends the broadcasts of a dead writer, so a newcomer goes by its own clock.
#[test]
fn a_newcomer_is_told_nothing_old_of_a_dead_writer() {
    for (seconds, expected) in [(10, vec![3]), (120, vec![])] {
        let mut cluster = few(3).form();
        cluster.broadcast(2, "news", "last words");
        run(&mut cluster, SECOND);
        cluster.crash(2);
        run(&mut cluster, seconds * SECOND);
        join(&mut cluster);
        let told = run(&mut cluster, 10 * SECOND);
        assert_eq!(readers(&told), expected, "after {seconds} s");
    }
}

#[test]
fn nothing_is_left_of_broadcasts_that_have_expired() {
    let mut cluster = few(5).form();
    let state = |cluster: &Cluster| cluster.node(3).metrics().state_bytes;
    let before = state(&cluster);
    for batch in 0..20 {
        for number in 0..10 {
            cluster.broadcast(0, "news", format!("number {batch}.{number}"));
        }
        run(&mut cluster, 5 * SECOND);
    }
    assert!(state(&cluster) > before + 1000);
    run(&mut cluster, 40 * SECOND);
    assert!(state(&cluster) < before + 100, "{} bytes", state(&cluster));
    cluster.assert_at_rest();
    for number in 0..5 {
        let held = cluster
            .node(number)
            .members()
            .map(|member| member.broadcasts().count());
        assert_eq!(held.sum::<usize>(), 0);
    }
}

/// A process that starts with its clock behind must raise its generation above that of its earlier
/// life, and writes anew what it has written. Nobody is told anything twice.
#[test]
fn a_raised_generation_tells_nothing_again() {
    let mut cluster = few(5).form();
    let remembered = cluster.node(4).generation();
    cluster.cut_off([4]);
    cluster.crash(4);
    cluster.set_clock(4, -50_000);
    cluster.start(4);
    let born = cluster.node(4).generation();
    assert!(born < remembered);
    cluster.broadcast(4, "news", "early");
    run(&mut cluster, 5 * SECOND);
    cluster.mend();
    let told = run(&mut cluster, 15 * SECOND);
    assert!(cluster.node(4).generation() > remembered);
    assert_eq!(readers(&told), [0, 1, 2, 3]);
    for payload in ["after", "and again"] {
        cluster.broadcast(4, "news", payload);
        let told = run(&mut cluster, 5 * SECOND);
        assert_eq!(readers(&told), [0, 1, 2, 3]);
        assert!(told.iter().all(|(_, _, life, _)| *life == born));
    }
    cluster.assert_at_rest();
}

/// What is remembered of broadcasts ends with a process. Its application can tell them by their
/// names for ever.
#[test]
fn a_reader_that_restarts_is_told_again_what_has_not_expired() {
    let mut cluster = few(3).form();
    cluster.broadcast(0, "news", "hello");
    let first = run(&mut cluster, 5 * SECOND);
    cluster.restart(1);
    let again = run(&mut cluster, 5 * SECOND);
    assert_eq!((readers(&first), readers(&again)), (vec![1, 2], vec![1]));
    assert_eq!(first[0].2, again[0].2, "the same life of the writer");
}

#[test]
fn a_writer_whose_clock_is_an_hour_behind_is_heard_by_all_who_know_it() {
    let mut cluster = few(4).form();
    cluster.set_clock(2, -3_600_000);
    cluster.broadcast(2, "news", "hello");
    assert_eq!(readers(&run(&mut cluster, 5 * SECOND)), [0, 1, 3]);
}

#[test]
fn a_writer_without_room_is_refused_until_some_have_expired() {
    let mut cluster = few(2).form();
    let ask = |cluster: &mut Cluster, payload: &str| {
        let (name, payload) = (key("n"), value(payload));
        cluster.ask(0, Command::Broadcast { name, payload })
    };
    let mut accepted = 0;
    while ask(&mut cluster, "x") == Ok(()) {
        accepted += 1;
    }
    assert_eq!(accepted, gossip_core::MAX_BROADCASTS);
    assert_eq!(run(&mut cluster, 5 * SECOND).len(), accepted);
    run(&mut cluster, 30 * SECOND);
    assert_eq!(ask(&mut cluster, "x"), Ok(()));
    let (long, legal) = ("x".repeat(1024), "x".repeat(900));
    let refused = ask(&mut cluster, &long).unwrap_err();
    assert!(refused.to_string().contains("shorten"), "{refused}");
    assert_eq!(ask(&mut cluster, &legal), Ok(()));
    assert_eq!(run(&mut cluster, 5 * SECOND).len(), 2);
}
