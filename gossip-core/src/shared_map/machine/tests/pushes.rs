//! Runs on their way down a tree.

use super::*;

#[test]
fn own_writes_are_pushed_applied_and_told() {
    let (mut a, mut b) = pair(|_| ());
    a.put("k", "v");
    assert!(a.context.timers.next().is_some(), "a flush is due");
    a.flush();
    deliver(&mut a, &mut b);
    assert_eq!(b.get("k").unwrap(), b"v");
    let events = b.events();
    let [Event::MapChanged { key, writer, .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((key.as_str(), *writer), ("k", OWN));
}

/// Writes a value. Returns the push that hands the run to a node, to be served to everybody.
fn put_and_push(side: &mut Side, key: &str) -> Vec<u8> {
    side.put(key, "value");
    side.flush();
    let messages = side.messages();
    let [MapOutgoing::Push { runs, .. }, ..] = &messages[..] else {
        panic!("{messages:?}");
    };
    let mut body = vec![0; 500];
    let (tree, segment) = (0, Segment::ALL);
    let head = Message::Push(PushHead { tree, segment });
    let mut encoder = Encoder::new(Space::all(&mut body), side.context.sender(), head).unwrap();
    assert!(encoder.item(&Item::MapRun(runs[0].run())));
    let len = encoder.len();
    body.truncate(len);
    body
}

/// How many runs each push carries.
fn pushed(side: &mut Side) -> Vec<usize> {
    let messages = side.messages();
    let runs = messages.iter().map(|message| match message {
        MapOutgoing::Push { runs, .. } => runs.len(),
        other => panic!("{other:?}"),
    });
    runs.collect()
}

#[test]
fn an_early_run_is_passed_on_once() {
    let (mut a, mut b) = pair(|_| ());
    b.context.learn(3);
    put_and_push(&mut a, "first");
    let second = put_and_push(&mut a, "second");
    b.take(a.peer(), &second);
    assert_eq!(b.get("second"), None, "it cannot be applied");
    assert_eq!(pushed(&mut b), [1, 1]);
    b.take(a.peer(), &second);
    assert!(b.messages().is_empty());
}

#[test]
fn after_a_moment_without_runs_another_node_is_told_of_the_latest() {
    let (mut a, mut b) = pair(|_| ());
    a.put("first", "1");
    a.put("second", "2");
    a.flush();
    assert!(!a.messages().is_empty(), "and they are lost");
    a.wait(50);
    a.map.on_tell_runs_due(&mut a.context);
    deliver(&mut a, &mut b);
    b.wait(70);
    b.map.on_repair_due(&mut b.context);
    deliver(&mut a, &mut b);
    assert_eq!(b.get("second").unwrap(), b"2");
    a.map.on_tell_runs_due(&mut a.context);
    assert!(a.messages().is_empty(), "once");
}

#[test]
fn a_push_tells_of_the_runs_that_went_before_it() {
    let (mut a, mut b) = pair(|_| ());
    let push = put_and_push(&mut b, "before");
    a.take(b.peer(), &push);
    a.messages();
    a.put("after", "value");
    a.flush();
    let [(_, body)] = &a.datagrams()[..] else {
        panic!("one push")
    };
    let told = Datagram::decode(body)
        .unwrap()
        .items
        .filter_map(|item| match item {
            Item::MapTold(VectorItem::Frontier(origin, upto)) => Some((origin, upto)),
            _ => None,
        });
    assert_eq!(told.collect::<Vec<_>>(), [(b.peer().origin, 1)]);
}

#[test]
fn runs_of_one_moment_share_datagrams() {
    let (mut a, mut b) = pair(|_| ());
    b.context.learn(3);
    for (key, goes_on) in [("1", true), ("2", false), ("3", false)] {
        let push = put_and_push(&mut a, key);
        b.take(a.peer(), &push);
        let expected: &[usize] = if goes_on { &[1, 1] } else { &[] };
        assert_eq!(pushed(&mut b), expected, "the first is rare");
    }
    b.flush();
    assert_eq!(pushed(&mut b), [2, 2]);
    assert_eq!(b.datagrams().len(), 0);
}

#[test]
fn a_run_that_had_to_be_asked_for_is_passed_on_while_it_is_new() {
    for is_new in [true, false] {
        let (mut a, mut b) = pair(|config| config.push_fanout = 2);
        for other in 3..40 {
            b.context.learn(other);
        }
        let wait_until_b_serves = |a: &mut Side, b: &mut Side| {
            while served(&b.context, 0).is_none() {
                a.wait(INTERVAL);
                b.wait(INTERVAL);
            }
        };
        wait_until_b_serves(&mut a, &mut b);
        a.put("k", "v");
        a.flush();
        a.messages();
        if !is_new {
            b.wait(2 * INTERVAL);
            wait_until_b_serves(&mut a, &mut b);
        }
        let mut body = [0; 500];
        let mut encoder =
            Encoder::new(Space::all(&mut body), a.context.sender(), Message::MapRuns).unwrap();
        let (origin, upto) = a.map.repair.runs.latest().next().unwrap();
        let run = a.map.repair.runs.get(origin, upto).unwrap();
        assert!(encoder.item(&Item::MapRun(run)));
        let len = encoder.len();
        b.take(a.peer(), &body[..len]);
        assert_eq!(b.get("k").unwrap(), b"v");
        assert_eq!(b.messages().is_empty(), !is_new);
        b.take(a.peer(), &body[..len]);
        assert!(b.messages().is_empty(), "once");
    }
}

#[test]
fn while_runs_do_not_come_down_the_first_tree_own_ones_go_down_all() {
    let (mut a, mut b) = pair(|_| ());
    let trees = |side: &mut Side, key: &str| {
        side.put(key, "value");
        side.flush();
        let messages = side.messages();
        let trees = messages.iter().map(|message| match message {
            MapOutgoing::Push { tree, .. } => *tree,
            other => panic!("{other:?}"),
        });
        trees.collect::<Vec<u8>>()
    };
    assert_eq!(trees(&mut b, "1"), [0]);
    a.put("lost", "value");
    a.flush();
    a.messages();
    a.wait(50);
    a.map.on_tell_runs_due(&mut a.context);
    deliver(&mut a, &mut b);
    b.wait(70);
    b.map.on_repair_due(&mut b.context);
    deliver(&mut a, &mut b);
    assert!(b.get("lost").is_some());
    b.tend(None);
    assert_eq!(trees(&mut b, "2"), [0], "it may yet come");
    b.tend(None);
    for key in ["3", "4", "5", "6"] {
        let mut trees = trees(&mut b, key);
        trees.sort_unstable();
        assert_eq!(trees, [0, 1], "{key}");
        b.tend(None);
    }
    assert_eq!(trees(&mut b, "7"), [0]);
}

#[test]
fn while_an_answer_comes_in_nothing_of_it_is_asked_for_again() {
    let (mut a, mut b) = pair(|_| ());
    for n in 0..40 {
        a.put(&n.to_string(), &"v".repeat(300));
        a.flush();
    }
    a.messages();
    a.wait(50);
    a.map.on_tell_runs_due(&mut a.context);
    deliver(&mut a, &mut b);
    b.wait(15);
    b.map.on_repair_due(&mut b.context);
    for (_, want) in b.datagrams() {
        a.take(b.peer(), &want);
    }
    // A round trip is reckoned with 20 ms. The link takes 30 ms for each datagram.
    let answer = a.datagrams();
    assert!(answer.len() > 10);
    for (_, runs) in &answer[..8] {
        b.wait(30);
        b.take(a.peer(), runs);
        b.map.on_repair_due(&mut b.context);
        assert_eq!(b.context.metrics.map_repairs_asked, 1);
        b.messages();
    }
    b.wait(200);
    b.map.on_repair_due(&mut b.context);
    assert_eq!(b.context.metrics.map_repairs_asked, 2, "the rest is lost");
}

#[test]
fn a_delta_with_a_hole_is_asked_for_again_once_no_part_of_it_comes() {
    let (mut a, mut b) = pair(|_| ());
    for n in 0..60 {
        a.put(&n.to_string(), &"v".repeat(300));
    }
    for _ in 0..10 {
        // So long that no runs are left to answer with.
        a.tend(None);
    }
    a.messages();
    b.hear_summary(&a, ModeTag::PushPull);
    for (_, ask) in b.datagrams() {
        a.take(b.peer(), &ask);
    }
    let chunks = a.datagrams();
    assert!(chunks.len() >= 16);
    let asks = |b: &mut Side| {
        b.map.on_gap_due(&mut b.context);
        b.messages().len()
    };
    // Each takes 50 ms on the link, and the third is lost.
    for (n, (_, chunk)) in chunks[..10].iter().enumerate() {
        b.wait(50);
        if n != 2 {
            b.take(a.peer(), chunk);
        }
        assert_eq!(asks(&mut b), 0, "the others may come, too");
    }
    b.wait(100);
    assert_eq!(asks(&mut b), 0, "it may only be late");
    b.wait(150);
    assert_eq!(asks(&mut b), 1);
}
