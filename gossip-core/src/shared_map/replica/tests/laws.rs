//! The laws of merging, over replicas with random pasts.

use proptest::prelude::*;

use super::*;

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

/// `to` learns all that `from` knows, in datagrams that come in any order, twice or late, as `picks`
/// says. Returns all of them.
fn learn_in_any_order(to: &mut Map, from: &Map, picks: &[usize]) -> Vec<Vec<u8>> {
    let (me, it) = (to.own(), from.own());
    let (mut sender, mut receiver) = (DeltaSender::default(), DeltaReceiver::default());
    let mut picks = picks.iter().cycle();
    let mut sent: Vec<Vec<u8>> = Vec::new();
    for _ in 0..10_000 {
        let pull = receiver.pull(to, it);
        let mut told: Vec<VectorItem> = Vec::new();
        if pull.session == 0 {
            told.push(VectorItem::Complete(None, None));
            told.extend(to.frontiers_after(None));
        }
        let Some(number) = sender.on_pull(from, me, &pull, told.into_iter()).serve else {
            break;
        };
        for n in 1..=4 {
            let mut chunk = vec![0; 300];
            let (len, end) = sender
                .write_chunk(from, (me, number), n == 4, &mut chunk)
                .unwrap();
            chunk.truncate(len);
            sent.push(chunk);
            if end == ChunkEnd::Complete {
                break;
            }
        }
        for _ in 0..6 {
            let pick = picks.next().unwrap();
            let chunk = sent[pick % sent.len()].clone();
            if let Some(OwnLog::Contested | OwnLog::Pruned) = take(to, &mut receiver, it, &chunk) {
                to.reopen(Generation::new(at(1_000_000)), OwnLog::Contested);
            }
        }
    }
    sent
}

/// `to` takes in a datagram; what became of its own log, if a delta was applied.
fn take(to: &mut Map, receiver: &mut DeltaReceiver, from: Origin, chunk: &[u8]) -> Option<OwnLog> {
    let (head, pieces) = read_chunk(chunk).unwrap();
    let me = to.own();
    let outcome = receiver.accept(to, me, from, &head, pieces, LIMIT);
    to.check();
    match outcome {
        ChunkOutcome::Applied { own, .. } => Some(own),
        _ => None,
    }
}

/// A write that lives: whose, which, and what it says.
type Living = (Origin, u64, Option<Vec<u8>>);

/// What lives, and what is known.
fn content(map: &Map) -> (ReplicaSummary, Vec<Living>) {
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
    fn the_order_of_datagrams_does_not_matter(
        maps in pasts(),
        picks in proptest::collection::vec(any::<usize>(), 1..40),
    ) {
        let whole = merged(&[&maps[0], &maps[1]], 1300);
        let mut all = map(9);
        for from in &maps[..2] {
            learn_in_any_order(&mut all, from, &picks);
            // What did not come in the end is asked for again.
            learn(&mut all, from);
        }
        prop_assert_eq!(content(&all), content(&whole));
    }

    #[test]
    fn replay_changes_nothing(
        maps in pasts(),
        picks in proptest::collection::vec(any::<usize>(), 1..40),
    ) {
        let mut all = map(9);
        let sent: Vec<_> = (maps.iter())
            .map(|from| (from.own(), learn_in_any_order(&mut all, from, &picks)))
            .collect();
        maps.iter().for_each(|from| learn(&mut all, from));
        collect(&mut all, 1_000);
        let before = content(&all);
        for (from, chunks) in &sent {
            let mut receiver = DeltaReceiver::default();
            for chunk in chunks.iter().chain(chunks) {
                take(&mut all, &mut receiver, *from, chunk);
                prop_assert_eq!(content(&all), before.clone());
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = read_pull(&bytes);
        if let Some((head, pieces)) = read_chunk(&bytes) {
            let mut map = map(1);
            let me = map.own();
            let head = ChunkHead { receiver: me, ..head };
            DeltaReceiver::default().accept(&mut map, me, origin(2, 2), &head, pieces, LIMIT);
        }
    }
}

#[test]
fn a_delta_goes_on_though_its_taker_tells_of_later_states_meanwhile() {
    for ask in [true, false] {
        let (mut a, mut b) = (map(1), map(2));
        for n in 0..50 {
            put(&mut a, 1 + n, &n.to_string(), "value");
        }
        put(&mut b, 1, "of b", "value");
        let (me, it) = (b.own(), a.own());
        let (mut sender, mut receiver) = (DeltaSender::default(), DeltaReceiver::default());
        let mut pull = receiver.pull(&b, it);
        let mut told = vec![VectorItem::Complete(None, None)];
        told.extend(b.frontiers_after(None));
        let mut buffer = [0; 300];
        for n in 2..100 {
            let reply = sender.on_pull(&a, me, &pull, core::mem::take(&mut told).into_iter());
            let session = (me, reply.serve.unwrap());
            assert!(
                n == 2 || reply.goes_on == Some(true),
                "the session is known"
            );
            // The taker writes, and its summary tells of that before it asks again.
            put(&mut b, n, "of b", "value");
            let summary = b.summary().to_pull(ask);
            sender.on_pull(
                &a,
                me,
                &summary,
                b.frontiers_after(None).collect::<Vec<_>>().into_iter(),
            );
            let (len, _) = sender.write_chunk(&a, session, true, &mut buffer).unwrap();
            let (head, pieces) = read_chunk(&buffer[..len]).unwrap();
            match receiver.accept(&mut b, me, it, &head, pieces, LIMIT) {
                ChunkOutcome::Ask => pull = receiver.pull(&b, it),
                ChunkOutcome::Applied { .. } => break,
                outcome => panic!("{outcome:?}"),
            }
        }
        assert_eq!(b.writes(), 51);
    }
}
