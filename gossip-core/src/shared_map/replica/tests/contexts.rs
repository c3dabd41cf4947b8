//! Contexts that leave out what is much, and what stands for it.

use std::collections::BTreeSet;

use super::*;

/// The dots in the context of the only write of a key.
fn context(map: &Map, text: &str) -> Vec<(Origin, u64)> {
    let place = map.key_index.find(&map.slab, text.as_bytes()).unwrap();
    let mut writes = map.writes_of(map.key_index.first(place));
    let (_, write) = writes.next().unwrap();
    assert!(writes.next().is_none(), "one write");
    CausalContext(write.context).into_iter().collect()
}

#[test]
fn a_key_that_hundreds_write_in_turn_stays_small() {
    let mut maps: Vec<Map> = (0..200).map(map).collect();
    for (time, at) in (1..400).zip((0..200).cycle()) {
        let next = (at + 1) % 200;
        put(&mut maps[at], time, "k", "v");
        assert!(context(&maps[at], "k").len() <= put::MAX_CONTEXT);
        let [from, to] = maps.get_disjoint_mut([at, next]).unwrap();
        learn(to, from);
    }
    let mut fresh = maps.remove(199);
    let stale = maps.remove(7);
    assert_eq!(get(&fresh, "k").as_deref(), Some("v"));
    learn(&mut fresh, &stale);
    assert_eq!(fresh.writes(), 1, "nothing that was replaced comes back");
}

#[test]
fn what_a_context_leaves_out_does_not_come_back() {
    // d writes, a replaces it, b that, c that. The context of c names neither d nor a.
    let mut maps: Vec<Map> = (0..5).map(map).collect();
    for map in &mut maps {
        map.limit_contexts(0);
    }
    let [a, b, c, d, taker] = maps.get_disjoint_mut([0, 1, 2, 3, 4]).unwrap();
    put(d, 1, "k", "from d");
    learn(taker, d);
    learn(a, d);
    put(a, 2, "k", "from a");
    learn(b, a);
    put(b, 3, "k", "from b");
    learn(c, b);
    put(c, 4, "k", "from c");
    assert_eq!(context(c, "k"), [(b.own(), 1)]);
    learn(taker, c);
    assert_eq!(
        (taker.writes(), get(taker, "k").as_deref()),
        (1, Some("from c"))
    );
    assert_eq!(taker.summary(), c.summary());
}

#[test]
fn a_replica_whose_writes_a_live_set_has_dropped_tells_live_sets_itself() {
    // As before, but the taker knows what a wrote, and a fourth node lacks that and knows what d wrote.
    let mut maps: Vec<Map> = (0..6).map(map).collect();
    for map in &mut maps {
        map.limit_contexts(0);
    }
    let [a, b, c, d, taker, last] = maps.get_disjoint_mut([0, 1, 2, 3, 4, 5]).unwrap();
    put(d, 1, "k", "from d");
    learn(last, d);
    learn(a, d);
    put(a, 2, "k", "from a");
    learn(taker, a);
    learn(b, a);
    put(b, 3, "k", "from b");
    learn(c, b);
    put(c, 4, "k", "from c");
    learn(taker, c);
    learn(last, taker);
    assert_eq!(
        (last.writes(), get(last, "k").as_deref()),
        (1, Some("from c"))
    );
}

#[test]
fn a_write_replaces_some_of_many_siblings_and_later_ones_the_rest() {
    let mut maps: Vec<Map> = (0..100).map(map).collect();
    for (time, map) in (1..).zip(&mut maps) {
        put(map, time, "k", "at once");
    }
    let mut all = map(200);
    for map in &maps {
        learn(&mut all, map);
    }
    assert_eq!(all.writes(), 100);
    for time in 200..204 {
        put(&mut all, time, "k", "later");
        let text = key("k");
        let (siblings, size) = all.weigh(&text, Some(b"later"));
        assert_eq!(siblings, 1, "the latest is read");
        assert!(size < 1200, "a write fits a datagram: {size}");
        assert_eq!(get(&all, "k").as_deref(), Some("later"));
    }
    assert_eq!(all.writes(), 1);
}

#[test]
fn a_delta_ends_while_its_keys_are_overwritten() {
    let mut maps: Vec<Map> = (0..4).map(map).collect();
    for map in &mut maps {
        map.limit_contexts(0);
    }
    for n in 0..100 {
        put(&mut maps[0], n, &format!("k{n}"), &"v".repeat(50));
    }
    let [first, rest @ ..] = &mut maps[..] else {
        unreachable!()
    };
    for map in &mut *rest {
        learn(map, first);
    }
    let [giver, other, taker] = rest else {
        unreachable!()
    };
    // The taker is away, while the others overwrite one another's writes.
    let mut time = 1000;
    let mut overwrite = |giver: &mut Map, other: &mut Map, n: u64| {
        for by in [0, 1, 2] {
            time += 1;
            let (map, to) = match by {
                1 => (&mut *giver, &mut *other),
                _ => (&mut *other, &mut *giver),
            };
            put(map, time, &format!("k{}", n % 100), &"w".repeat(50));
            let mut buffer = Vec::new();
            while let Some(run) = map.poll_push(1000, 1000, &mut buffer) {
                assert_eq!(to.apply_push(&run), Pushed::Applied);
                buffer = Vec::new();
            }
        }
    };
    while giver.poll_push(1000, 1000, &mut Vec::new()).is_some() {}
    for n in 0..50 {
        overwrite(giver, other, n);
    }
    let (me, it) = (taker.own(), giver.own());
    let (mut sender, mut receiver) = (DeltaSender::default(), DeltaReceiver::default());
    let mut told = vec![VectorItem::Complete(None, None)];
    told.extend(taker.frontiers_after(None));
    let pull = receiver.pull(taker, it);
    let reply = sender.on_pull(giver, me, &pull, told.into_iter());
    let session = (me, reply.serve.unwrap());
    let (mut buffer, mut live_sets) = ([0; 800], BTreeSet::new());
    for n in 0.. {
        assert!(n < 100, "the delta ends");
        overwrite(giver, other, n * 7);
        let (len, end) = sender
            .write_chunk(giver, session, false, &mut buffer)
            .unwrap();
        let (head, pieces) = read_chunk(&buffer[..len]).unwrap();
        live_sets.insert(head.upto.live_set);
        receiver.accept(taker, me, it, &head, pieces, LIMIT);
        if end == ChunkEnd::Complete {
            break;
        }
    }
    assert_eq!(live_sets.len(), 1, "the live set is made once");
    assert_eq!(taker.summary(), giver.summary());
    let held = |map: &Map| -> BTreeSet<(Origin, u64)> {
        map.held()
            .map(|(origin, write)| (origin, write.version))
            .collect()
    };
    assert_eq!(held(taker), held(giver));
    taker.check();
}
