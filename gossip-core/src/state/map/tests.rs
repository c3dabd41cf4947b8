//! The map as a whole: the failures that others are known for, and the laws of merging.
//! `conformance` plays random schedules over the same code.

use super::*;
use crate::id::{Generation, NodeId};
use core::time::Duration;
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec;

const LIMIT: Limit = Limit {
    stamp: Stamp::from_bits(u64::MAX),
    bytes: usize::MAX,
};

/// Everything that can be forgotten.
const FORGET: Memory = Memory {
    after: Duration::ZERO,
    ghosts: 0,
    graves: 32,
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
    map.collect(Duration::ZERO, at(time));
}

/// `to` learns all that `from` knows, in datagrams of `room` bytes. Returns how many it took.
fn learn_in(to: &mut Map, from: &Map, room: usize) -> usize {
    let (me, it) = (to.own(), from.own());
    let (mut serving, mut staging) = (Serving::default(), Staging::default());
    let mut buffer = vec![0; room];
    let mut pull = staging.pull(to, it);
    let mut told: Vec<Told> = vec![Told::Complete(None, None)];
    told.extend(to.tell_after(None));
    let mut chunks = 0;
    loop {
        let verdict = serving.on_pull(from, me, &pull, core::mem::take(&mut told).into_iter());
        if !verdict.serve {
            return chunks;
        }
        let (len, _) = serving.write_chunk(from, me, true, &mut buffer).unwrap();
        chunks += 1;
        let (head, pieces) = read_chunk(&buffer[..len]).unwrap();
        match staging.accept(to, me, it, &head, pieces, LIMIT) {
            Outcome::Ask => pull = staging.pull(to, it),
            Outcome::Applied { own, .. } => {
                if own != Own::Sound {
                    to.reopen(Generation::new(at(1_000_000)), own);
                }
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
        let mut conflicts = core::iter::from_fn(|| replica.poll_notice()).filter_map(|n| match n {
            Notice::Conflict(conflict) => Some(*conflict),
            _ => None,
        });
        let conflict = conflicts.next().unwrap();
        let value = |version: &Version| version.value.clone().unwrap().as_bytes().to_vec();
        assert_eq!(value(&conflict.standing[0]), b"20");
        assert_eq!(value(&conflict.lost[0]), b"10");
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
    let notices: Vec<_> = core::iter::from_fn(|| a.poll_notice()).collect();
    assert!(!notices.iter().any(|n| matches!(n, Notice::Conflict(_))));
}

#[test]
fn a_node_that_was_away_longer_than_the_grace_time_brings_nothing_back() {
    let (mut a, mut b) = (map(1), map(2));
    put(&mut a, 50, "user/123", "old");
    meet(&mut a, &mut b);
    delete(&mut a, 100, "user/123");
    collect(&mut a, 1_000);
    assert_eq!(a.writes(), 0, "the tombstone is gone");
    meet(&mut a, &mut b);
    assert_eq!((get(&a, "user/123"), get(&b, "user/123")), (None, None));
}

#[test]
fn who_drops_a_tombstone_that_another_has_collected_remembers_that_there_was_one() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    put(&mut a, 50, "k", "old");
    put(&mut b, 60, "other", "v");
    delete(&mut b, 70, "other");
    learn(&mut c, &a);
    learn(&mut c, &b);
    delete(&mut a, 100, "k");
    learn(&mut b, &a);
    collect(&mut b, 1_000);
    // a is below the floor of b's own log, and its tombstone is not listed any more.
    learn(&mut a, &b);
    assert_eq!(a.writes(), 0);
    meet(&mut a, &mut c);
    assert_eq!(get(&c, "k"), None);
}

#[test]
fn a_write_after_a_collected_delete_does_not_hide_what_the_delete_had_replaced() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    keep(&mut c, 50, "k", "old");
    learn(&mut a, &c);
    delete(&mut a, 100, "k");
    learn(&mut b, &a);
    collect(&mut a, 1_000);
    let mut buffer = Vec::new();
    a.forget_unpushed();
    keep(&mut a, 1_100, "k", "new");
    // It replaces a's delete, and does not tell what that had replaced.
    let run = a.poll_push(1000, &mut buffer).unwrap();
    assert_eq!(b.apply_push(&run), Pushed::Applied);
    learn(&mut c, &b);
    for replica in [&a, &b, &c] {
        assert_eq!(replica.siblings(b"k").len(), 1);
    }
}

#[test]
fn two_that_knew_different_amounts_of_a_departed_node_agree_when_it_is_forgotten() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    put(&mut a, 40, "k", "old");
    meet(&mut a, &mut b);
    meet(&mut a, &mut c);
    // c deletes it, which only b hears, and departs. What was left of it is collected.
    delete(&mut c, 50, "k");
    learn(&mut b, &c);
    collect(&mut b, 1_000);
    for replica in [&mut a, &mut b] {
        put(replica, 1_000, "other", "v");
        replica.close(c.own());
        replica.tick(UnixTime::from_millis(1_000));
        replica.forget(FORGET);
        assert_eq!(replica.frontier(c.own()), 0);
    }
    assert_eq!((get(&a, "k").as_deref(), get(&b, "k")), (Some("old"), None));
    for _ in 0..2 {
        learn(&mut a, &b);
        learn(&mut b, &a);
    }
    assert_eq!(a.summary(), b.summary());
    assert_eq!((get(&a, "k"), get(&b, "k")), (None, None));
}

#[test]
fn a_member_that_was_taken_for_gone_for_long_loses_nothing_and_brings_nothing_back() {
    let (mut a, mut b) = (map(1), map(2));
    put(&mut b, 40, "deleted", "v");
    meet(&mut a, &mut b);
    delete(&mut a, 50, "deleted");
    collect(&mut a, 1_000);
    a.close(b.own());
    a.forget(FORGET);
    assert_eq!(a.graves().collect::<Vec<_>>(), [(b.own(), 1)]);
    put(&mut b, 60, "new", "v");
    for _ in 0..2 {
        learn(&mut a, &b);
        learn(&mut b, &a);
    }
    assert_eq!(a.summary(), b.summary());
    for replica in [&a, &b] {
        assert_eq!(get(replica, "deleted"), None);
        assert_eq!(get(replica, "new").unwrap(), "v");
    }
    assert_eq!(b.own(), origin(2, 1), "it need not begin anew");
}

#[test]
fn a_stale_replica_does_not_infect_a_newcomer_for_good() {
    let (mut a, mut stale, mut newcomer) = (map(1), map(2), map(3));
    put(&mut a, 50, "k", "old");
    meet(&mut a, &mut stale);
    delete(&mut a, 100, "k");
    collect(&mut a, 1_000);
    learn(&mut newcomer, &stale);
    assert_eq!(get(&newcomer, "k").unwrap(), "old");
    meet(&mut a, &mut newcomer);
    assert_eq!(get(&newcomer, "k"), None);
    meet(&mut newcomer, &mut stale);
    assert_eq!(get(&stale, "k"), None);
}

#[test]
fn a_mass_delete_on_twenty_nodes_stays() {
    let mut nodes: Vec<Map> = (0..20).map(map).collect();
    for n in 0..500 {
        put(&mut nodes[0], n, &n.to_string(), "x");
    }
    for n in 1..20 {
        let [first, node] = nodes.get_disjoint_mut([0, n]).unwrap();
        meet(first, node);
    }
    for n in 0..500 {
        delete(&mut nodes[7], 1_000 + n, &n.to_string());
    }
    // Half of them learn of it in time.
    for n in 8..17 {
        let [seventh, node] = nodes.get_disjoint_mut([7, n]).unwrap();
        meet(seventh, node);
    }
    for node in &mut nodes {
        collect(node, 10_000);
    }
    for _ in 0..2 {
        for n in 0..20 {
            for m in 0..20 {
                if let Ok([a, b]) = nodes.get_disjoint_mut([n, m]) {
                    learn(a, b);
                }
            }
        }
    }
    for node in &nodes {
        assert_eq!((node.prefix(b"").count(), node.writes()), (0, 0));
    }
}

#[test]
fn of_a_delete_and_a_write_that_did_not_know_each_other_the_later_stands() {
    for (deleted, written, expected) in [(100, 150, Some("new")), (150, 100, None)] {
        let (mut a, mut b) = (map(1), map(2));
        put(&mut a, 50, "k", "old");
        meet(&mut a, &mut b);
        delete(&mut a, deleted, "k");
        put(&mut b, written, "k", "new");
        meet(&mut a, &mut b);
        assert_eq!(get(&a, "k").as_deref(), expected);
        // Also when the tombstone is collected, on one side first.
        for _ in 0..3 {
            collect(&mut a, 1_000_000);
            meet(&mut a, &mut b);
            collect(&mut b, 2_000_000);
            meet(&mut a, &mut b);
        }
        assert_eq!(get(&a, "k").as_deref(), expected);
        assert_eq!(get(&b, "k").as_deref(), expected);
        assert_eq!(a.writes(), usize::from(expected.is_some()));
    }
}

#[test]
fn the_writes_of_a_departed_node_stay() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    put(&mut a, 50, "k", "v");
    meet(&mut a, &mut b);
    b.close(a.own());
    b.tick(UnixTime::from_millis(1_000_000));
    b.forget(FORGET);
    learn(&mut c, &b);
    assert_eq!(get(&c, "k").unwrap(), "v");
}

#[test]
fn a_member_that_was_away_for_longer_than_others_remember_takes_their_word() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    put(&mut c, 40, "of c", "v");
    put(&mut b, 50, "k", "old");
    for _ in 0..2 {
        meet(&mut a, &mut b);
        meet(&mut b, &mut c);
        meet(&mut a, &mut c);
    }
    // c is cut off. b writes and departs; what it wrote is deleted, and b is forgotten.
    delete(&mut a, 100, "k");
    collect(&mut a, 1_000);
    a.close(b.own());
    a.close(c.own());
    a.forget(FORGET);
    assert_eq!(a.ghosts(), 0);
    meet(&mut a, &mut c);
    meet(&mut a, &mut c);
    assert_eq!((get(&a, "k"), get(&c, "k")), (None, None));
    assert_eq!(get(&a, "of c").unwrap(), "v", "a live node's writes stay");
}

#[test]
fn a_restarted_node_that_forgot_everything_and_writes_at_once_is_heard() {
    let (mut a, mut b) = (map(1), map(2));
    put(&mut b, 50, "k", "first life");
    put(&mut b, 51, "other", "first life");
    meet(&mut a, &mut b);
    let mut b = Map::new(origin(2, 99), "", 0);
    put(&mut b, 100, "k", "second life");
    meet(&mut a, &mut b);
    assert_eq!(get(&a, "k").unwrap(), "second life");
    assert_eq!(get(&b, "other").unwrap(), "first life");
}

#[test]
fn a_node_that_finds_its_log_written_by_another_life_writes_anew() {
    let (mut a, mut b) = (map(1), map(2));
    for n in 0..5 {
        put(&mut b, 50 + n, &n.to_string(), "first life");
    }
    meet(&mut a, &mut b);
    let mut b = map(2);
    put(&mut b, 100, "k", "second life");
    learn(&mut b, &a);
    assert!(b.own() > origin(2, 1));
    for _ in 0..3 {
        learn(&mut a, &b);
        learn(&mut b, &a);
    }
    assert_eq!(get(&a, "k").unwrap(), "second life");
    assert_eq!(get(&b, "3").unwrap(), "first life");
    assert_eq!(a.summary(), b.summary());
}

#[test]
fn values_die_by_themselves_and_stay_dead() {
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
    b.collect(Duration::ZERO, at(1_100));
    assert_eq!(b.writes(), 0);
    meet(&mut a, &mut b);
    // Every replica knows by itself when it dies.
    a.tick(UnixTime::from_millis(1_100));
    meet(&mut a, &mut b);
    assert_eq!((get(&a, "session"), get(&b, "session")), (None, None));
}

#[test]
fn a_write_that_no_datagram_holds_travels_in_parts() {
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
fn a_push_is_applied_where_it_follows_and_only_there() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    let mut buffer = Vec::new();
    put(&mut a, 1, "x", "1");
    put(&mut a, 2, "x", "2");
    put(&mut a, 3, "y", "3");
    let run = a.poll_push(1000, &mut buffer).unwrap();
    assert_eq!((run.after, run.upto, run.writes().count()), (0, 3, 2));
    assert_eq!(b.apply_push(&run), Pushed::Applied);
    assert_eq!(b.apply_push(&run), Pushed::Known);
    assert_eq!(a.summary(), b.summary());
    // b replaces what c does not know.
    put(&mut b, 4, "y", "4");
    let run = b.poll_push(1000, &mut buffer).unwrap();
    assert_eq!(
        c.apply_push(&run),
        Pushed::Gap,
        "c does not know its context"
    );
    assert_eq!(a.apply_push(&run), Pushed::Applied);
    assert_eq!(get(&a, "y").unwrap(), "4");
    assert!(b.poll_push(1000, &mut buffer).is_none());
}

/// Members come, write some keys each, and go; what they wrote is deleted.
fn churn(members: u64, keys: u64) -> Map {
    let mut a = map(0);
    for n in 1..=members {
        let mut guest = Map::new(origin(n, n), "", 0);
        for m in 0..keys {
            let text = (n * keys + m).to_string();
            guest.put(at(n), &key(&text), Put::value(b"v", Policy::LastWriteWins));
        }
        learn(&mut a, &guest);
        for m in 0..keys {
            delete(&mut a, n, &(n * keys + m).to_string());
        }
        a.tick(UnixTime::from_millis(n));
        a.collect(Duration::from_millis(50), at(n));
        let logs: Vec<Origin> = a.frontiers().map(|log| log.origin).collect();
        for origin in logs {
            a.close(origin);
        }
        a.forget(Memory {
            after: Duration::from_millis(1_000),
            ghosts: 32,
            graves: 32,
        });
        assert!(a.ghosts() <= 36, "{}", a.ghosts());
        assert!(a.graves().count() <= 37, "{}", a.graves().count());
        assert!(a.logs() <= 36 + 60, "{}", a.logs());
        let living = usize::try_from(60 * keys).unwrap();
        assert!(a.writes() <= living, "{}", a.writes());
        assert!(a.bytes() < living * 100, "{}", a.bytes());
    }
    a
}

#[test]
fn memory_follows_what_lives_whatever_comes_and_goes() {
    churn(2_000, 2);
}

/// On demand, and best with `--release`: 10,000 members and 100,000 keys.
#[test]
#[ignore = "a while: cargo test --release -p gossip-core --lib memory_follows -- --include-ignored"]
fn memory_follows_what_lives_with_ten_thousand_members_and_a_hundred_thousand_keys() {
    let a = churn(10_000, 10);
    std::println!(
        "logs {}, ghosts {}, graves {}, writes {}, bytes {}",
        a.logs(),
        a.ghosts(),
        a.graves().count(),
        a.writes(),
        a.bytes()
    );
}

#[test]
fn what_is_too_much_or_from_too_far_ahead_is_refused_and_changes_nothing() {
    let (mut a, mut b) = (map(1), map(2));
    put(&mut a, 1_000, "k", "v");
    let mut serving = Serving::default();
    let mut staging = Staging::default();
    let pull = staging.pull(&b, a.own());
    assert!(
        serving
            .on_pull(&a, b.own(), &pull, core::iter::empty())
            .serve
    );
    let mut buffer = [0; 500];
    let (len, _) = serving.write_chunk(&a, b.own(), true, &mut buffer).unwrap();
    let (head, pieces) = read_chunk(&buffer[..len]).unwrap();
    let own = b.own();
    for (limit, refused) in [
        (
            Limit {
                stamp: at(999),
                ..LIMIT
            },
            Outcome::TooFarAhead(a.own(), at(1_000)),
        ),
        (Limit { bytes: 10, ..LIMIT }, Outcome::TooLarge),
    ] {
        let outcome = staging.accept(&mut b, own, a.own(), &head, pieces.clone(), limit);
        assert_eq!(outcome, refused);
        assert_eq!((b.logs(), staging.bytes()), (0, 0));
    }
}

/// Some replicas with a random past: writes and deletes, some of which they learned of each other.
fn pasts() -> impl Strategy<Value = Vec<Map>> {
    let step = (0..4_usize, 0..4_usize, 0..3_u8, any::<bool>(), 0..6_u8);
    proptest::collection::vec(step, 0..40).prop_map(|steps| {
        let mut maps: Vec<Map> = (0..4).map(map).collect();
        for (time, (who, other, text, keeps, act)) in (1..).zip(steps) {
            let policy = if keeps {
                Policy::KeepSiblings
            } else {
                Policy::LastWriteWins
            };
            let value = time.to_string();
            let text = key(&text.to_string());
            match act {
                0..2 => {
                    maps[who].put(at(time), &text, Put::value(value.as_bytes(), policy));
                }
                2 => {
                    maps[who].put(at(time), &text, Put::delete(policy));
                }
                3 => collect(&mut maps[who], time),
                _ => {
                    if let Ok([to, from]) = maps.get_disjoint_mut([who, other]) {
                        learn(to, from);
                    }
                }
            }
        }
        maps
    })
}

/// A replica that knows what each of these knows, learned in their order.
fn merged(maps: &[&Map], room: usize) -> Map {
    let mut all = map(9);
    for map in maps {
        learn_in(&mut all, map, room);
    }
    all
}

/// A write that lives: whose, which, and what it says.
type Living = (Origin, u64, Option<Vec<u8>>);

/// What lives, and what is known.
fn content(map: &Map) -> (Summary, Vec<Living>) {
    let mut held: Vec<_> = map
        .held()
        .filter(|(_, write)| write.value.is_some())
        .map(|(origin, write)| (origin, write.version, write.value.map(<[u8]>::to_vec)))
        .collect();
    held.sort();
    (map.summary(), held)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn merging_is_commutative(maps in pasts()) {
        let (a, b) = (&maps[0], &maps[1]);
        prop_assert_eq!(content(&merged(&[a, b], 1300)), content(&merged(&[b, a], 1300)));
    }

    #[test]
    fn merging_is_associative(maps in pasts()) {
        let (a, b, c) = (&maps[0], &maps[1], &maps[2]);
        let left = merged(&[&merged(&[a, b], 1300), c], 1300);
        let right = merged(&[a, &merged(&[b, c], 1300)], 1300);
        prop_assert_eq!(content(&left), content(&right));
    }

    #[test]
    fn merging_is_idempotent(maps in pasts()) {
        let once = merged(&[&maps[0]], 1300);
        prop_assert_eq!(content(&once), content(&merged(&[&maps[0], &maps[0], &once], 1300)));
    }

    #[test]
    fn a_delta_brings_what_the_whole_would_bring(mut maps in pasts()) {
        let whole = merged(&[&maps[0], &maps[1]], 1300);
        let [to, from] = maps.get_disjoint_mut([0, 1]).unwrap();
        learn(to, from);
        prop_assert_eq!(content(to), content(&whole));
    }

    #[test]
    fn the_size_of_datagrams_does_not_matter(maps in pasts(), room in 300..700_usize) {
        let all: Vec<&Map> = maps.iter().collect();
        prop_assert_eq!(content(&merged(&all, room)), content(&merged(&all, 8000)));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = read_pull(&bytes);
        if let Some((head, pieces)) = read_chunk(&bytes) {
            let mut map = map(1);
            let me = map.own();
            let head = Head { taker: me, ..head };
            Staging::default().accept(&mut map, me, origin(2, 2), &head, pieces, LIMIT);
        }
    }
}
