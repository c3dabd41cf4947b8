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
