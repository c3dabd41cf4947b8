//! The map as a whole: what is read, what is told, how it travels. `conformance` plays random schedules
//! over the same code.

mod contexts;
mod failures;
mod laws;
mod memory;
mod recent_runs;

use super::*;
use crate::command::{Key, Policy, Value};
use crate::hlc::Stamp;
use crate::identity::{Generation, NodeId};
use crate::state::room::Room;
use alloc::vec::Vec;
use core::time::Duration;
use std::format;
use std::string::{String, ToString};
use std::vec;

const LIMIT: ApplyLimits = ApplyLimits {
    stamp: Stamp::from_bits(u64::MAX),
    bytes: usize::MAX,
    room: usize::MAX,
};

/// Prunes every empty log.
const PRUNE: PruneLimits = PruneLimits {
    after: Duration::ZERO,
    empty_logs: 0,
    pruned_origins: 32,
};

fn origin(id: u64, generation: u64) -> Origin {
    Origin {
        id: NodeId::from_u64(id),
        generation: Generation::new(at(generation)),
    }
}

fn at(millis: u64) -> Stamp {
    Stamp::at(UnixTime::from_millis(millis))
}

fn map(id: u64) -> Map {
    Map::new(origin(id, 1), "", 1000)
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn put(map: &mut Map, time: u64, text: &str, value: &str) {
    let put = Put::value(value.as_bytes(), Policy::LastWriteWins);
    map.put(at(time), &key(text), put);
}

fn keep(map: &mut Map, time: u64, text: &str, value: &str) {
    let put = Put::value(value.as_bytes(), Policy::KeepSiblings);
    map.put(at(time), &key(text), put);
}

fn delete(map: &mut Map, time: u64, text: &str) {
    map.put(at(time), &key(text), Put::delete(Policy::LastWriteWins));
}

fn get(map: &Map, text: &str) -> Option<String> {
    let reading = map.get(text.as_bytes())?;
    Some(String::from_utf8_lossy(reading.value).into_owned())
}

/// Collects everything that is dead at `time`.
fn collect(map: &mut Map, time: u64) {
    map.tick(UnixTime::from_millis(time));
    map.collect(Duration::ZERO);
    map.check();
}

/// `to` learns all that `from` knows, in datagrams of `room` bytes. Returns how many that took.
fn learn_in(to: &mut Map, from: &Map, room: usize) -> usize {
    let (me, it) = (to.own(), from.own());
    let (mut sender, mut receiver) = (DeltaSender::default(), DeltaReceiver::default());
    let mut buffer = vec![0; room];
    let mut pull = receiver.pull(to, it);
    let mut told: Vec<VectorItem> = vec![VectorItem::Complete(None, None)];
    told.extend(to.frontiers_after(None));
    let mut chunks = 0;
    loop {
        let reply = sender.on_pull(from, me, &pull, core::mem::take(&mut told).into_iter());
        let Some(number) = reply.serve else {
            return chunks;
        };
        let session = (me, number);
        let (len, _) = sender
            .write_chunk(from, session, true, &mut buffer)
            .unwrap();
        chunks += 1;
        let (head, pieces) = read_chunk(&buffer[..len]).unwrap();
        let limit = ApplyLimits {
            room: Room::of(len).left(),
            ..LIMIT
        };
        match receiver.accept(to, me, it, &head, pieces, limit) {
            ChunkOutcome::Ask => pull = receiver.pull(to, it),
            ChunkOutcome::Applied { own, .. } => {
                if own != OwnLog::Sound {
                    to.reopen(Generation::new(at(1_000_000)), own);
                }
                to.check();
                return chunks;
            }
            outcome => panic!("{outcome:?}"),
        }
    }
}

fn learn(to: &mut Map, from: &Map) {
    learn_in(to, from, 1300);
}

fn meet(a: &mut Map, b: &mut Map) {
    learn(a, b);
    learn(b, a);
    assert_eq!(a.summary(), b.summary());
}

#[test]
fn the_latest_write_wins_and_the_loser_is_told() {
    let (mut a, mut b) = (map(1), map(2));
    put(&mut a, 100, "X", "10");
    put(&mut b, 105, "X", "20");
    meet(&mut a, &mut b);
    for replica in [&mut a, &mut b] {
        assert_eq!(get(replica, "X").unwrap(), "20");
        let mut conflicts = core::iter::from_fn(|| replica.poll_change()).filter_map(|n| match n {
            MapChange::Conflict(conflict) => Some(*conflict),
            _ => None,
        });
        let conflict = conflicts.next().unwrap();
        let value = |version: &Version| version.value.clone().unwrap().as_bytes().to_vec();
        assert_eq!(value(&conflict.standing[0]), b"20");
        assert_eq!(value(&conflict.lost[0]), b"10");
    }
}

#[test]
fn replicas_read_the_same_one_of_writes_with_equal_stamps() {
    let (mut a, mut b) = (map(1), map(2));
    put(&mut a, 100, "X", "10");
    put(&mut b, 100, "X", "20");
    meet(&mut a, &mut b);
    for replica in [&a, &b] {
        assert_eq!(get(replica, "X").unwrap(), "20", "the later origin's");
    }
}

#[test]
fn siblings_are_kept_until_a_write_has_seen_them() {
    let (mut a, mut b) = (map(1), map(2));
    keep(&mut a, 100, "X", "10");
    keep(&mut b, 105, "X", "20");
    meet(&mut a, &mut b);
    let read = |map: &Map| {
        map.siblings(b"X")
            .iter()
            .map(|reading| reading.value.to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(read(&a), [b"20", b"10"]);
    assert_eq!(read(&a), read(&b));
    keep(&mut a, 110, "X", "30");
    meet(&mut a, &mut b);
    assert_eq!(read(&b), [b"30"], "what has seen both replaces both");
}

#[test]
fn a_later_write_that_has_seen_the_earlier_is_no_conflict() {
    let (mut a, mut b) = (map(1), map(2));
    put(&mut a, 100, "X", "10");
    meet(&mut a, &mut b);
    put(&mut b, 105, "X", "20");
    meet(&mut a, &mut b);
    assert_eq!(get(&a, "X").unwrap(), "20");
    let changes: Vec<_> = core::iter::from_fn(|| a.poll_change()).collect();
    assert!(!changes.iter().any(|n| matches!(n, MapChange::Conflict(_))));
}

#[test]
fn values_expire_on_every_replica_and_stay_dead() {
    let (mut a, mut b) = (map(1), map(2));
    let session = Put {
        lifetime: Some(100),
        ..Put::value(b"v", Policy::LastWriteWins)
    };
    a.put(at(1_000), &key("session"), session);
    meet(&mut a, &mut b);
    assert_eq!(b.next_death(), Some(UnixTime::from_millis(1_100)));
    b.tick(UnixTime::from_millis(1_099));
    assert_eq!(get(&b, "session").unwrap(), "v");
    b.tick(UnixTime::from_millis(1_100));
    assert_eq!((get(&b, "session"), b.next_death()), (None, None));
    b.collect(Duration::ZERO);
    assert_eq!(b.writes(), 0);
    meet(&mut a, &mut b);
    // Every replica knows by itself when it dies.
    a.tick(UnixTime::from_millis(1_100));
    meet(&mut a, &mut b);
    assert_eq!((get(&a, "session"), get(&b, "session")), (None, None));
}

#[test]
fn siblings_that_expire_together_are_told_as_one_change_each() {
    let (mut a, mut b) = (map(1), map(2));
    for (map, time, value) in [(&mut a, 1_000, b"1"), (&mut b, 1_010, b"2")] {
        let session = Put {
            lifetime: Some(100),
            ..Put::value(value, Policy::KeepSiblings)
        };
        map.put(at(time), &key("session"), session);
    }
    meet(&mut a, &mut b);
    while a.poll_change().is_some() {}
    a.tick(UnixTime::from_millis(2_000));
    let told: Vec<_> = core::iter::from_fn(|| a.poll_change())
        .map(|notice| match notice {
            MapChange::Value(changed) => (changed.old, changed.new),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(Some(Value::new("2").unwrap()), None)]);
}

#[test]
fn a_write_larger_than_a_datagram_travels_in_fragments() {
    let mut writers: Vec<Map> = (0..60).map(map).collect();
    let mut first = map(100);
    for (n, writer) in writers.iter_mut().enumerate() {
        put(
            writer,
            100 + u64::try_from(n).unwrap(),
            "k",
            &"v".repeat(1000),
        );
        learn(&mut first, writer);
    }
    put(&mut first, 1_000, "k", &"w".repeat(1024));
    assert!(first.bytes() > 2_000, "it knows sixty writers");
    let mut second = map(101);
    assert!(learn_in(&mut second, &first, 500) > 5);
    assert_eq!(second.summary(), first.summary());
    assert_eq!(get(&second, "k"), get(&first, "k"));
    learn(&mut writers[7], &second);
    assert_eq!(get(&writers[7], "k"), get(&first, "k"));
}

#[test]
fn a_chunk_from_before_a_write_does_not_end_a_delta_from_after_it() {
    let mut ended = 0;
    for room in 300..700 {
        let (mut a, mut b) = (map(1), map(2));
        let (me, it) = (b.own(), a.own());
        put(&mut a, 1, "x", &"1".repeat(1000));
        put(&mut a, 2, "y", &"2".repeat(1000));
        let (mut sender, mut receiver) = (DeltaSender::default(), DeltaReceiver::default());
        let mut ask = |a: &Map, b: &Map, receiver: &DeltaReceiver, told: Vec<VectorItem>| {
            let pull = receiver.pull(b, it);
            let reply = sender.on_pull(a, me, &pull, told.into_iter());
            let session = (me, reply.serve.unwrap());
            let mut chunks = Vec::new();
            loop {
                let mut chunk = vec![0; room];
                let (len, end) = sender.write_chunk(a, session, false, &mut chunk).unwrap();
                chunk.truncate(len);
                chunks.push(chunk);
                if end == ChunkEnd::Complete {
                    return chunks;
                }
            }
        };
        let take = |b: &mut Map, receiver: &mut DeltaReceiver, chunk: &[u8]| {
            let (head, pieces) = read_chunk(chunk).unwrap();
            receiver.accept(b, me, it, &head, pieces, LIMIT)
        };
        let late = ask(&a, &b, &receiver, vec![VectorItem::Complete(None, None)]);
        take(&mut b, &mut receiver, &late[0]);
        // What the first chunk began is replaced before the rest arrives, and is asked for again.
        put(&mut a, 3, "x", "3");
        let again = ask(&a, &b, &receiver, Vec::new());
        take(&mut b, &mut receiver, &again[0]);
        for chunk in &late {
            take(&mut b, &mut receiver, chunk);
        }
        assert_eq!(
            b.frontier(it),
            0,
            "at {room}: x is not there, in either state"
        );
        for chunk in &again {
            if matches!(
                take(&mut b, &mut receiver, chunk),
                ChunkOutcome::Applied { .. }
            ) {
                ended += 1;
            }
        }
    }
    assert_eq!(ended, 400, "what is asked for last arrives");
}

#[test]
fn the_parts_of_a_table_are_understood_in_any_order() {
    let (mut a, mut b) = (map(1), map(2));
    for id in 3..60 {
        let mut writer = map(id);
        put(&mut writer, id, &id.to_string(), "v");
        learn(if id % 3 == 0 { &mut a } else { &mut b }, &writer);
    }
    let pull = b.summary().to_pull(true);
    let (mut parts, mut after) = (Vec::new(), None);
    loop {
        let mut part = vec![0; 400];
        let (len, next) = b.write_table(&pull, after, &mut part).unwrap();
        part.truncate(len);
        parts.push(part);
        after = next;
        if next.is_none() {
            break;
        }
    }
    assert!(parts.len() > 3);
    for turn in 0..parts.len() {
        parts.rotate_left(1);
        let mut sender = DeltaSender::default();
        for (n, part) in parts.iter().rev().enumerate() {
            let (pull, told) = read_pull(part).unwrap();
            let reply = sender.on_pull(&a, b.own(), &pull, told);
            let all = n + 1 == parts.len();
            let (serve, asks) = (reply.serve.is_some(), reply.ask.is_some());
            assert_eq!((serve, asks), (all, all), "turn {turn}, part {n}");
        }
    }
}

#[test]
fn a_live_set_that_is_made_anew_goes_on_where_the_delta_has_come_to() {
    let (mut a, mut b) = (map(1), map(2));
    for n in 0..40 {
        put(&mut a, n, &format!("k{n}"), &"v".repeat(100));
    }
    learn(&mut b, &a);
    let forget = |a: &mut Map, key: &str, time| {
        delete(a, time, key);
        collect(a, time + 1_000);
    };
    forget(&mut a, "k0", 100);
    for n in 40..60 {
        put(&mut a, 2_000, &format!("k{n}"), &"w".repeat(100));
    }
    let (me, it) = (b.own(), a.own());
    let (mut sender, mut receiver) = (DeltaSender::default(), DeltaReceiver::default());
    let pull = receiver.pull(&b, it);
    let mut told = vec![VectorItem::Complete(None, None)];
    told.extend(b.frontiers_after(None));
    let reply = sender.on_pull(&a, me, &pull, told.into_iter());
    let session = (me, reply.serve.unwrap());
    let (mut buffer, mut live_sets) = ([0; 500], Vec::new());
    for n in 0.. {
        if n == 2 {
            // So much dies that not all of it is kept.
            for time in 3_000..4_100 {
                forget(&mut a, "k1", time);
                put(&mut a, time, "k1", "x");
            }
        }
        let (len, end) = sender.write_chunk(&a, session, false, &mut buffer).unwrap();
        let (head, pieces) = read_chunk(&buffer[..len]).unwrap();
        live_sets.push(head.upto.live_set);
        assert!(n == 0 || receiver.goes_on_with(&head));
        assert!(!receiver.is_ahead(it, &head), "chunk {n}");
        receiver.accept(&mut b, me, it, &head, pieces, LIMIT);
        if end == ChunkEnd::Complete {
            break;
        }
    }
    assert_eq!(live_sets[..3], [1, 1, 2]);
    assert_eq!((b.summary(), b.writes()), (a.summary(), a.writes()));
}

#[test]
fn a_push_is_applied_only_where_it_follows_on_what_is_known() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    let mut buffer = Vec::new();
    put(&mut a, 1, "x", "1");
    put(&mut a, 2, "x", "2");
    put(&mut a, 3, "y", "3");
    let run = a.poll_push(1000, 1000, &mut buffer).unwrap();
    assert_eq!((run.after, run.upto, run.writes().count()), (0, 3, 3));
    assert_eq!(b.apply_push(&run), Pushed::Applied);
    assert_eq!(b.apply_push(&run), Pushed::Known);
    assert_eq!(a.summary(), b.summary());
    // b replaces what c does not know.
    put(&mut b, 4, "y", "4");
    let run = b.poll_push(1000, 1000, &mut buffer).unwrap();
    assert_eq!(
        c.apply_push(&run),
        Pushed::Early(a.own(), 3),
        "c does not know its context"
    );
    assert_eq!(a.apply_push(&run), Pushed::Applied);
    assert_eq!(get(&a, "y").unwrap(), "4");
    assert!(b.poll_push(1000, 1000, &mut buffer).is_none());
}

#[test]
fn a_run_whose_writes_build_on_one_another_needs_nothing_else() {
    let (mut a, mut b) = (map(1), map(2));
    keep(&mut a, 1, "k", "first");
    // Two writes that the collected tombstone of another replica takes the place of, in one run.
    put(&mut b, 2, "k", "second");
    learn(&mut a, &b);
    let text = key("k");
    let place = a.key_index.find(&a.slab, b"k").unwrap();
    let dots = a.context_of(a.key_index.first(place), Replaces::Context, |_| true);
    assert!(
        dots.contains(&(a.own(), 1)),
        "the context names the own log"
    );
    let put = Put::delete(Policy::LastWriteWins);
    a.append(
        at(3),
        (text.as_str().as_bytes(), Ok(place)),
        put,
        Replaces::Context,
        &dots,
    );
    let mut buffer = Vec::new();
    let run = a.poll_push(1000, 1000, &mut buffer).unwrap();
    assert_eq!((run.after, run.upto), (0, 2));
    assert_eq!(b.apply_push(&run), Pushed::Applied);
    assert_eq!(b.summary(), a.summary());
}

#[test]
fn a_delta_beyond_the_limits_is_refused_and_changes_nothing() {
    let (mut a, mut b) = (map(1), map(2));
    put(&mut a, 1_000, "k", "v");
    let mut sender = DeltaSender::default();
    let mut receiver = DeltaReceiver::default();
    let pull = receiver.pull(&b, a.own());
    let reply = sender.on_pull(&a, b.own(), &pull, core::iter::empty());
    let session = (b.own(), reply.serve.unwrap());
    let mut buffer = [0; 500];
    let (len, _) = sender.write_chunk(&a, session, true, &mut buffer).unwrap();
    let (head, pieces) = read_chunk(&buffer[..len]).unwrap();
    let own = b.own();
    for (limit, refused) in [
        (
            ApplyLimits {
                stamp: at(999),
                ..LIMIT
            },
            ChunkOutcome::TooFarAhead(a.own(), at(1_000)),
        ),
        (ApplyLimits { bytes: 10, ..LIMIT }, ChunkOutcome::TooLarge),
    ] {
        let outcome = receiver.accept(&mut b, own, a.own(), &head, pieces.clone(), limit);
        assert_eq!(outcome, refused);
        assert_eq!((b.logs(), receiver.bytes()), (0, 0));
    }
}

#[test]
fn a_sender_puts_no_more_into_a_datagram_than_a_receiver_accepts() {
    let mut a = map(1);
    for id in 2..60 {
        let mut other = map(id);
        put(&mut other, id, "one", "");
        put(&mut other, id, &format!("{id}"), "");
        delete(&mut other, id, &format!("{id}"));
        learn(&mut a, &other);
    }
    for n in 0..100 {
        put(&mut a, 100 + n, &format!("k{n}"), "");
        delete(&mut a, 300 + n, &format!("k{n}"));
    }
    let mut buffer = Vec::new();
    let mut b = map(1000);
    while let Some(run) = a.poll_push(1300, 1300, &mut buffer) {
        let (takes, room) = (run.overhead(), Room::of(run.writes.len()).left());
        assert!(takes <= room, "{takes} bytes beside it, of {room}");
        assert_eq!(b.apply_push(&run), Pushed::Applied);
    }
    // `learn` fails where a taker refuses.
    let mut c = map(1001);
    learn(&mut c, &a);
    assert_eq!(a.summary(), c.summary());
    collect(&mut a, 1_000);
    learn(&mut b, &a);
    assert_eq!(a.summary(), b.summary());
}

#[test]
fn a_chunk_that_brings_more_than_its_length_allows_is_refused() {
    let (mut a, mut b) = (map(1), map(2));
    put(&mut a, 1, "k", "v");
    delete(&mut a, 2, "gone");
    let mut sender = DeltaSender::default();
    let mut receiver = DeltaReceiver::default();
    let pull = receiver.pull(&b, a.own());
    let reply = sender.on_pull(&a, b.own(), &pull, core::iter::empty());
    let session = (b.own(), reply.serve.unwrap());
    let mut buffer = [0; 500];
    let (len, _) = sender.write_chunk(&a, session, true, &mut buffer).unwrap();
    let (head, pieces) = read_chunk(&buffer[..len]).unwrap();
    // A log, a write, and a tombstone.
    for (room, expected) in [(112 + 80 + 80 + 47, 0), (112 + 80 + 80 + 48, 1)] {
        let limit = ApplyLimits { room, ..LIMIT };
        let own = b.own();
        let outcome = receiver.accept(&mut b, own, a.own(), &head, pieces.clone(), limit);
        assert_eq!(outcome == ChunkOutcome::TooLarge, expected == 0);
        assert_eq!((b.logs(), receiver.bytes()), (expected, 0));
    }
}

#[test]
fn fragments_of_a_write_without_end_are_refused() {
    let mut b = map(2);
    let mut receiver = DeltaReceiver::default();
    let limit = ApplyLimits {
        bytes: 10_000,
        ..LIMIT
    };
    let bytes = [0; 1000];
    let mut at = Cursor::default();
    let mut outcomes = Vec::new();
    for n in 0..20 {
        let upto = Cursor {
            offset: at.offset + 1000,
            ..at
        };
        let head = ChunkHead {
            session: 1,
            receiver: b.own(),
            after: at,
            upto,
            as_of: 1,
            prune_stamp: Generation::ZERO,
            end: ChunkEnd::More,
        };
        let part = DeltaPiece::Write {
            origin: origin(1, 1),
            total: u32::MAX,
            offset: n * 1000,
            bytes: &bytes,
        };
        let own = b.own();
        let pieces = core::iter::once(part);
        outcomes.push(receiver.accept(&mut b, own, origin(1, 1), &head, pieces, limit));
        assert!(receiver.bytes() <= 10_000);
        at = upto;
    }
    assert!(outcomes.contains(&ChunkOutcome::TooLarge));
}
