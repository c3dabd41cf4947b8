//! Values have room before tombstones.

use super::*;

/// Bytes of the writes that have a value.
fn living(side: &Side) -> usize {
    side.map.map().bytes() - side.map.map().dead_bytes()
}

/// Keys with short values, until the map is full. Returns how many.
fn fill(side: &mut Side) -> u64 {
    let mut n = 0;
    while side
        .try_put(&format!("key/{n}"), "v", Policy::LastWriteWins)
        .is_ok()
    {
        n += 1;
    }
    n
}

#[test]
fn a_full_map_is_emptied_by_deletes_and_filled_anew_at_once() {
    const MAX: u32 = 65_536;
    let (mut a, mut b) = pair(|config| config.max_map = MAX);
    let max = usize::try_from(MAX).unwrap();
    for _ in 0..3 {
        let n = fill(&mut a);
        for n in 0..n {
            a.map
                .delete(&mut a.context, &key(&format!("key/{n}")))
                .unwrap();
            let bytes = a.map.map().bytes();
            assert!(bytes <= max + max / 16, "{bytes} bytes");
        }
        assert_eq!(living(&a), 0);
        b.hear_summary(&a, ModeTag::PushPull);
        deliver(&mut a, &mut b);
        assert_eq!(living(&b), 0);
        assert!(b.map.map().bytes() <= max + max / 16);
        let again = fill(&mut a);
        // The versions of later writes take a byte more.
        assert!(again * 100 >= n * 95, "{again} fit, and {n} did before");
        for n in 0..again {
            a.map
                .delete(&mut a.context, &key(&format!("key/{n}")))
                .unwrap();
        }
    }
}

#[test]
fn tombstones_stay_for_their_time_while_there_is_room() {
    let (mut a, _) = pair(|config| config.max_map = 65_536);
    for n in 0..100 {
        a.put(&format!("key/{n}"), "v");
        a.map
            .delete(&mut a.context, &key(&format!("key/{n}")))
            .unwrap();
    }
    assert_eq!(a.map.map().writes(), 100);
    assert_eq!(a.map.map().bytes(), a.map.map().dead_bytes());
}
