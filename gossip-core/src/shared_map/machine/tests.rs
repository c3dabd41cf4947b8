//! The machine alone: two shared maps that talk to each other, without nodes.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use std::format;
use std::vec;

use super::*;
use crate::context::Receiver;
use crate::context::testing::{OWN, WALL, address, at, context, log_of};
use crate::hlc::Clock;
use crate::membership::Record;
use crate::membership::segment::Segment;
use crate::state::attribute::Declared;
use crate::time::Instant;
use crate::wire::datagram::{Datagram, Space};
use crate::wire::message::Message;

mod pushes;
mod room;

/// The number of the other node, which is its id and the port of its address.
const OTHER: u16 = 2;

/// Milliseconds of an interval.
const INTERVAL: u64 = 1000;

/// One of two nodes, reduced to its map.
struct Side {
    context: Context,
    map: SharedMap,
}

/// The two nodes. Each knows that the other is up.
fn pair(change: impl Fn(&mut Config)) -> (Side, Side) {
    let change = |config: &mut Config| {
        config.interval = Duration::from_millis(INTERVAL);
        change(config);
    };
    let mut first = context(change);
    first.learn(OTHER);
    let mut second = context(change);
    second.own = second.learn(OTHER);
    second.address = address(OTHER);
    (Side::new(first), Side::new(second))
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn value(text: &str) -> Value {
    Value::new(text).unwrap()
}

impl Side {
    fn new(context: Context) -> Self {
        let map = SharedMap::new(context.own, context.generation, &context.config);
        Self { context, map }
    }

    fn put(&mut self, text: &str, says: &str) {
        let written = self.try_put(text, says, Policy::LastWriteWins);
        written.unwrap();
    }

    fn try_put(&mut self, text: &str, says: &str, policy: Policy) -> Result<(), CommandError> {
        let Self { context, map } = self;
        map.put(context, &key(text), &value(says), policy, None)
    }

    fn get(&self, text: &str) -> Option<Vec<u8>> {
        let reading = self.map.map().get(text.as_bytes())?;
        Some(reading.value.to_vec())
    }

    fn flush(&mut self) {
        self.map.flush(&mut self.context, &Votes::default());
    }

    fn tend(&mut self, enough: Option<u32>) {
        self.map.tend(&mut self.context, enough);
    }

    /// As a peer of the other side, known to be at its address.
    fn peer(&self) -> Peer {
        Peer {
            origin: self.context.sender().into(),
            address: self.context.address,
            is_where_it_says: true,
            awaits_table: false,
        }
    }

    fn messages(&mut self) -> Vec<MapOutgoing> {
        let messages = self.context.drain_messages();
        let of_map = |message| match message {
            Outgoing::Map(message) => message,
            other => panic!("{other:?}"),
        };
        messages.map(of_map).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        self.context.drain_events().collect()
    }

    /// The datagrams of everything that this side wants sent.
    fn datagrams(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut datagrams = Vec::new();
        for message in self.messages() {
            let mut next = Some(message);
            while let Some(message) = next {
                let mut body = vec![0; 500];
                let to = match message.receiver() {
                    Receiver::At(to) => Some(to),
                    Receiver::Member(id) => self.context.table.get(id).and_then(Record::address),
                };
                let Some(to) = to else { break };
                let written = self
                    .map
                    .write_message(&self.context, message, Space::all(&mut body));
                let Some((len, rest)) = written else {
                    break;
                };
                body.truncate(len);
                datagrams.push((to, body));
                next = rest;
            }
        }
        datagrams
    }

    /// Takes in a datagram of a peer.
    fn take(&mut self, peer: Peer, body: &[u8]) {
        let Self { context, map } = self;
        let datagram = Datagram::decode(body).unwrap();
        let items = datagram.items;
        match datagram.message {
            Message::MapPull => map.on_pull(context, peer, items),
            Message::MapChunk => map.on_chunk(context, peer, items),
            Message::Push(head) => {
                let mut room = Room::of(body.len());
                map.on_push(context, &Votes::default(), peer, head, items, &mut room);
            }
            Message::MapWant => map.on_want(context, peer, items),
            Message::MapRuns => {
                let mut room = Room::of(body.len());
                map.on_runs(context, &Votes::default(), peer, items, &mut room);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Takes in what a SYN of `other` says of its map.
    fn hear_summary(&mut self, other: &Self, mode: ModeTag) {
        let mut body = [0; 500];
        // Which message carries the items does not matter.
        let (tree, segment) = (0, Segment::ALL);
        let head = Message::Push(PushHead { tree, segment });
        let mut encoder =
            Encoder::new(Space::all(&mut body), other.context.sender(), head).unwrap();
        other.map.write_summary(&mut encoder);
        let len = encoder.len();
        let datagram = Datagram::decode(&body[..len]).unwrap();
        let told = datagram.found.map;
        let Self { context, map } = self;
        map.on_summary(context, other.peer(), mode, told, datagram.items);
    }

    /// Has time pass.
    fn wait(&mut self, millis: u64) {
        self.context.now = self
            .context
            .now
            .saturating_add(Duration::from_millis(millis));
    }
}

/// Delivers everything that the two sides want sent, until neither says any more.
fn deliver(a: &mut Side, b: &mut Side) {
    for _ in 0..100 {
        let (from_a, from_b) = (a.datagrams(), b.datagrams());
        if from_a.is_empty() && from_b.is_empty() {
            return;
        }
        for (to, body) in from_a {
            assert_eq!(to, b.context.address);
            b.take(a.peer(), &body);
        }
        for (to, body) in from_b {
            assert_eq!(to, a.context.address);
            a.take(b.peer(), &body);
        }
    }
    panic!("they go on for ever");
}

/// `b` has the first chunk of a delta of `a`. Returns the other chunks.
fn begin_delta(a: &mut Side, b: &mut Side) -> Vec<Vec<u8>> {
    for n in 0..20 {
        a.put(&format!("k{n}"), &"v".repeat(100));
    }
    b.hear_summary(a, ModeTag::PushPull);
    for (_, body) in b.datagrams() {
        a.take(b.peer(), &body);
    }
    let mut chunks: Vec<_> = a.datagrams().into_iter().map(|(_, body)| body).collect();
    assert!(chunks.len() > 3);
    b.take(a.peer(), &chunks.remove(0));
    assert!(b.map.receiving.is_busy());
    chunks
}

#[test]
fn maps_that_differ_are_equal_after_one_conversation() {
    let (mut a, mut b) = pair(|_| ());
    a.put("of a", "1");
    b.put("of b", "2");
    b.hear_summary(&a, ModeTag::PushPull);
    deliver(&mut a, &mut b);
    for side in [&a, &b] {
        assert_eq!(side.get("of a").unwrap(), b"1");
        assert_eq!(side.get("of b").unwrap(), b"2");
    }
    assert_eq!(a.map.map().summary(), b.map.map().summary());
    b.hear_summary(&a, ModeTag::PushPull);
    assert!(b.messages().is_empty(), "equal maps need no words");
}

#[test]
fn the_mode_of_a_syn_decides_who_gives() {
    for (mode, a_learns, b_learns) in [
        (Mode::PushPull, true, true),
        (Mode::Push, false, true),
        (Mode::Pull, true, false),
    ] {
        let (mut a, mut b) = pair(|config| config.mode = mode);
        a.put("of a", "1");
        b.put("of b", "2");
        b.hear_summary(&a, mode.into());
        deliver(&mut a, &mut b);
        let learned = (a.get("of b").is_some(), b.get("of a").is_some());
        assert_eq!(learned, (a_learns, b_learns), "{mode:?}");
    }
}

#[test]
fn what_is_missing_before_a_run_is_asked_for_and_answered() {
    let (mut a, mut b) = pair(|_| ());
    a.put("first", "1");
    a.flush();
    assert!(!a.messages().is_empty(), "and they are lost");
    a.put("second", "2");
    a.flush();
    for (_, body) in a.datagrams() {
        b.take(a.peer(), &body);
    }
    assert_eq!(b.get("second"), None);
    assert!(b.messages().is_empty(), "it may only be late");
    b.wait(20);
    b.map.on_repair_due(&mut b.context);
    assert_eq!(b.context.metrics.map_repairs_asked, 1);
    deliver(&mut a, &mut b);
    assert_eq!(a.context.metrics.map_repairs_answered, 1);
    assert_eq!(b.get("second").unwrap(), b"2");
    assert_eq!(a.map.map().summary(), b.map.map().summary());
}

#[test]
fn what_nobody_has_among_its_recent_runs_is_brought_by_a_delta() {
    let (mut a, mut b) = pair(|_| ());
    a.put("first", "1");
    a.flush();
    assert!(!a.messages().is_empty(), "and they are lost");
    for _ in 0..10 {
        // So long that nobody remembers.
        a.tend(None);
    }
    a.messages();
    a.put("second", "2");
    a.flush();
    for (_, body) in a.datagrams() {
        b.take(a.peer(), &body);
    }
    let mut asked = 0;
    for _ in 0..200 {
        b.wait(50);
        b.map.on_repair_due(&mut b.context);
        let messages = b.messages();
        match &messages[..] {
            [] => {}
            [MapOutgoing::Want { .. }] => asked += 1,
            [MapOutgoing::Want { .. }, MapOutgoing::Pull { .. }] => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(asked, 23, "the next request goes together with the delta's");
}

#[test]
fn a_peer_that_has_missed_the_latest_is_sent_runs_and_no_delta() {
    let (mut a, mut b) = pair(|_| ());
    a.put("first", "1");
    a.flush();
    assert!(!a.messages().is_empty(), "and they are lost");
    b.hear_summary(&a, ModeTag::PushPull);
    for (_, body) in b.datagrams() {
        a.take(b.peer(), &body);
    }
    let messages = a.messages();
    let [MapOutgoing::Runs { runs, .. }] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert_eq!(runs.len(), 1);
    b.wait(600);
    b.hear_summary(&a, ModeTag::PushPull);
    deliver(&mut a, &mut b);
    assert_eq!(b.get("first").unwrap(), b"1");
    // What is not among the recent runs needs a delta.
    a.put("second", "2");
    b.wait(600);
    b.hear_summary(&a, ModeTag::PushPull);
    for (_, body) in b.datagrams() {
        a.take(b.peer(), &body);
    }
    let messages = a.messages();
    assert!(
        matches!(messages[..], [MapOutgoing::Chunks { .. }]),
        "{messages:?}"
    );
}

#[test]
fn a_run_from_too_far_ahead_is_refused_and_told() {
    let (mut a, mut b) = pair(|_| ());
    let ahead = b.context.config.max_clock_skew + Duration::from_secs(60);
    let wall = WALL.saturating_add(ahead);
    a.context.clock = Clock::new(Instant::ORIGIN, wall, a.context.config.max_clock_skew);
    a.put("k", "v");
    a.flush();
    deliver(&mut a, &mut b);
    assert_eq!((b.get("k"), b.context.metrics.refused_skew), (None, 1));
    let events = b.events();
    assert!(matches!(events[..], [Event::ClockSkew { id: OWN, .. }]));
}

#[test]
fn a_run_under_the_own_origin_opens_a_new_own_log() {
    // Two processes of the same name and generation.
    let (mut a, mut b) = pair(|_| ());
    let (mut twin, _) = pair(|_| ());
    let before = a.map.map().own();
    twin.put("k", "of the twin");
    twin.flush();
    let datagrams = twin.datagrams();
    let from = b.peer();
    datagrams.iter().for_each(|(_, body)| a.take(from, body));
    assert!(a.map.map().own().generation > before.generation);
    assert_eq!(a.context.metrics.outlived, 1);
    a.put("k", "of a");
    a.flush();
    deliver(&mut a, &mut b);
    assert_eq!(b.get("k").unwrap(), b"of a");
}

#[test]
fn a_write_is_refused_where_the_map_is_full_but_a_delete_is_not() {
    let (mut a, _) = pair(|config| config.max_map = 300);
    a.put("k", &"v".repeat(100));
    let refused = a.try_put("other", &"v".repeat(200), Policy::LastWriteWins);
    assert!(matches!(
        refused,
        Err(CommandError::MapFull { limit: 300, .. })
    ));
    assert_eq!(a.get("other"), None);
    a.map.delete(&mut a.context, &key("k")).unwrap();
    assert_eq!(a.get("k"), None);
}

#[test]
fn siblings_have_to_be_resolved_before_they_are_overwritten() {
    let (mut a, mut b) = pair(|_| ());
    a.try_put("k", "1", Policy::KeepSiblings).unwrap();
    b.try_put("k", "2", Policy::KeepSiblings).unwrap();
    b.hear_summary(&a, ModeTag::PushPull);
    deliver(&mut a, &mut b);
    let refused = a.try_put("k", "3", Policy::KeepSiblings);
    assert_eq!(refused, Err(CommandError::Unresolved { siblings: 2 }));
    let resolved = value("3");
    a.map
        .resolve(&mut a.context, &key("k"), Some(&resolved))
        .unwrap();
    assert_eq!(a.map.map().siblings(b"k").len(), 1);
    assert_eq!(a.get("k").unwrap(), b"3");
}

#[test]
fn only_changes_of_watched_keys_are_told() {
    let (mut a, _) = pair(|_| ());
    a.map.watch(vec![key("user/")]).unwrap();
    a.put("user/1", "v");
    a.put("other", "v");
    let told: Vec<_> = a
        .events()
        .into_iter()
        .map(|event| match event {
            Event::MapChanged { key, .. } => key.as_str().to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["user/1"]);
}

#[test]
fn chunks_that_overtake_others_wait_for_them() {
    let (mut a, mut b) = pair(|_| ());
    let chunks = begin_delta(&mut a, &mut b);
    for chunk in chunks.iter().rev() {
        assert!(b.map.receiving.is_busy());
        b.take(a.peer(), chunk);
    }
    assert!(!b.map.receiving.is_busy());
    assert_eq!(a.map.map().summary(), b.map.map().summary());
    assert_eq!(b.context.metrics.entries_applied, 20);
}

#[test]
fn a_lost_chunk_is_asked_for_again_once_it_must_be_lost() {
    let (mut a, mut b) = pair(|_| ());
    let chunks = begin_delta(&mut a, &mut b);
    for chunk in &chunks[1..] {
        b.take(a.peer(), chunk);
    }
    assert!(b.context.timers.take_due(Timer::Gap, at(60)));
    b.map.on_gap_due(&mut b.context);
    assert!(b.messages().is_empty(), "it may only be late");
    b.wait(60);
    b.map.on_gap_due(&mut b.context);
    deliver(&mut a, &mut b);
    assert_eq!(a.map.map().summary(), b.map.map().summary());
}

#[test]
fn a_halted_delta_is_asked_for_again_and_given_up_after_enough_silence() {
    let (mut a, mut b) = pair(|_| ());
    begin_delta(&mut a, &mut b);
    b.tend(Some(1));
    assert!(b.messages().is_empty(), "it has only just begun");
    b.wait(INTERVAL / 2);
    b.tend(Some(1));
    assert!(matches!(b.messages()[..], [MapOutgoing::Pull { .. }]));
    assert!(b.map.receiving.is_busy());
    b.tend(Some(1));
    assert!(!b.map.receiving.is_busy() && b.messages().is_empty());
}

#[test]
fn one_delta_is_asked_for_at_a_time() {
    let (mut a, mut b) = pair(|_| ());
    begin_delta(&mut a, &mut b);
    let (mut c, _) = pair(|_| ());
    c.context.own = c.context.learn(3);
    c.context.address = address(3);
    b.context.learn(3);
    let mut c = Side::new(c.context);
    c.put("of c", "3");
    b.hear_summary(&c, ModeTag::PushPull);
    let asks = |message: &MapOutgoing| matches!(message, MapOutgoing::Pull { .. });
    assert!(!b.messages().iter().any(asks));
}

#[test]
fn a_request_is_answered_by_a_request_once_in_half_an_interval() {
    let (mut a, mut b) = pair(|_| ());
    a.put("k", "v");
    let asks = |b: &mut Side| {
        b.hear_summary(&a, ModeTag::Push);
        b.messages().len()
    };
    assert_eq!((asks(&mut b), asks(&mut b)), (1, 0));
    b.wait(INTERVAL / 2);
    assert_eq!((asks(&mut b), asks(&mut b)), (1, 0));
}

#[test]
fn a_request_from_an_address_that_the_table_does_not_know_is_not_answered() {
    let (mut a, mut b) = pair(|_| ());
    a.put("k", "v");
    b.hear_summary(&a, ModeTag::Push);
    let elsewhere = Peer {
        address: address(77),
        ..b.peer()
    };
    for (_, body) in b.datagrams() {
        a.take(elsewhere, &body);
    }
    assert!(a.messages().is_empty());
}

#[test]
fn the_log_of_a_node_that_is_gone_is_pruned_when_it_holds_nothing() {
    let (mut a, mut b) = pair(|config| {
        config.max_tombstones = 0;
        config.gc_grace = Duration::from_secs(60);
    });
    b.put("k", "v");
    b.map.delete(&mut b.context, &key("k")).unwrap();
    a.hear_summary(&b, ModeTag::PushPull);
    deliver(&mut a, &mut b);
    let log = b.map.map().own();
    assert_eq!(a.map.map().frontier(log), 2);
    a.tend(None);
    assert_eq!(a.map.map().empty_logs(), 0, "its node lives");
    // The same node starts again, so that nobody writes its earlier log.
    a.wait(120_000);
    let later = Generation::new(a.context.clock.tick(a.context.now));
    let up = log_of(later, OTHER, Declared::Up);
    a.context.table.change_log(log.id, |log| *log = up);
    for _ in 0..100 {
        a.tend(None);
    }
    assert_eq!((a.map.map().logs(), a.map.map().writes()), (1, 0));
    assert_eq!(a.map.map().frontier(log), 0);
    assert_eq!(a.context.metrics.map_logs_forgotten, 1);
}
