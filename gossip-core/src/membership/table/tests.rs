use super::*;
use crate::hlc::Stamp;
use crate::state::attribute::DATACENTER;
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const NOW: Instant = Instant::ORIGIN;

fn table() -> Table {
    Table::new(HashKey::of("c"), SipHasher13::new_with_keys(1, 2), 3)
}

fn learn(table: &mut Table, id: u64, generation: u64, frontier: u64) {
    let id = NodeId::from_u64(id);
    table.ensure(id, NOW);
    let generation = Generation::new(Stamp::from_bits(generation));
    table.apply(
        id,
        NOW,
        &Claim {
            generation,
            after: 0,
            frontier,
            floor: 0,
            run: &[],
        },
    );
}

/// A member comes to say where it is.
fn live_at(table: &mut Table, id: NodeId, datacenter: u8) {
    let mut log = Log::new(Generation::new(Stamp::from_bits(1)));
    let known = table.get(id).map_or(0, |record| record.log.frontier());
    for _ in 0..=known {
        log.write(
            0,
            DATACENTER,
            (datacenter > 0).then_some(&[b'a' + datacenter]),
        );
    }
    let claim = log.claim_after(0);
    table.apply(id, NOW, &claim);
}

#[test]
fn the_hash_tells_what_is_known_not_how_it_was_learned() {
    let (mut a, mut b) = (table(), table());
    learn(&mut a, 1, 1, 5);
    learn(&mut a, 2, 1, 7);
    learn(&mut b, 2, 1, 3);
    learn(&mut b, 1, 1, 5);
    assert_ne!(a.hash(), b.hash());
    learn(&mut b, 2, 1, 7);
    assert_eq!(a.hash(), b.hash());
    a.set_condition(NodeId::from_u64(1), NOW, Condition::Removed);
    assert_eq!(
        a.hash(),
        b.hash(),
        "a ghost still says how far it was known"
    );
}

#[test]
fn ids_that_collide_under_one_key_do_not_under_another() {
    // As whoever knows the index of its own node might pick them: all in one of 256 places.
    let (known, secret) = (
        SipHasher13::new_with_keys(1, 2),
        SipHasher13::new_with_keys(3, 4),
    );
    let place = |key: &SipHasher13, id| index_hash(key, id) & 0xff;
    let ids = (0..).map(NodeId::from_u64);
    let crafted: Vec<_> = ids
        .filter(|id| place(&known, *id) == 0)
        .take(2_560)
        .collect();
    let mut load = [0; 256];
    for id in &crafted {
        load[position(Slot::try_from(place(&secret, *id)).unwrap())] += 1;
    }
    assert!(load.iter().all(|load| *load < 40), "ten on average");
    // Those that begin or end alike, neither.
    for shift in [0, 32, 48] {
        let mut load = [0; 256];
        for id in (0..2_560_u64).map(|n| NodeId::from_u64(n << shift)) {
            load[position(Slot::try_from(place(&secret, id)).unwrap())] += 1;
        }
        assert!(load.iter().all(|load| *load < 40), "ten on average");
    }
}

#[test]
fn ids_picked_to_collide_are_counted() {
    let picked: Vec<_> = {
        let table = table();
        // The seven bits that the index compares first, and where it begins to look.
        let place = |id: &NodeId| table.index_hash(*id) & (0x7f << 57 | 0xff);
        let ids = (0..).map(NodeId::from_u64);
        ids.filter(|id| place(id) == 0).take(100).collect()
    };
    let count = |mut table: Table| {
        picked.iter().for_each(|id| {
            table.add(*id, NOW);
        });
        table.collisions()
    };
    let met = count(table());
    assert!(met > 4000, "nearly all met nearly all: {met}");
    let other = SipHasher13::new_with_keys(8, 9);
    let met = count(Table::new(HashKey::of("c"), other, 0));
    assert!(met < 100, "a secret key keeps them apart: {met}");
}

#[test]
fn sub_hashes_are_the_same_with_buckets_and_without() {
    let mut table = table();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for n in 0..2_000_u64 {
        learn(&mut table, rng.next_u64(), 1 + n % 3, 1 + n);
        if [1, 31, 400, 511, 512, 600, 1999].contains(&n) {
            let mut regions = std::vec![Region::ALL];
            for _ in 0..3 {
                let sums = regions.iter().map(|r| table.sum(*r));
                let hashes = regions.iter().map(|r| table.region_hash(*r));
                assert!(sums.eq(hashes), "{n}");
                regions = regions[regions.len() / 2].parts().collect();
            }
        }
    }
    assert_eq!(table.region_hash(Region::ALL), table.hash());
}

proptest! {
    #[test]
    fn the_lists_stay_sorted_and_true(
        steps in proptest::collection::vec((any::<u8>(), 0_u8..5, 0_u8..4), 1..200),
    ) {
        let mut table = table();
        for (id, step, datacenter) in steps {
            let id = NodeId::from_u64(u64::from(id) << 56);
            live_at(&mut table, id, datacenter);
            let condition = match step {
                0 => Condition::Down,
                1 => Condition::Left,
                2 => Condition::Removed,
                _ => Condition::Live,
            };
            table.set_condition(id, NOW, condition);
        }
        let count = |c| table.iter().filter(|record| record.condition == c).count();
        prop_assert_eq!(table.live_len(), count(Condition::Live));
        prop_assert_eq!(table.down_len(), count(Condition::Down));
        prop_assert_eq!(table.down().count(), table.down_len());
        for record in table.iter() {
            let ring = table.home(record.id);
            let compatriots = |condition| table.iter().filter(move |other| {
                other.condition == condition && other.datacenter() == record.datacenter()
            });
            if part(record.condition).is_some() {
                prop_assert!(compatriots(Condition::Live).map(|r| r.id).eq(ring.live().iter().copied()));
                prop_assert!(compatriots(Condition::Down).map(|r| r.id).eq(ring.down().iter().copied()));
            }
        }
        prop_assert_eq!(table.iter().count(), table.len());
        let parts: u128 = Region::ALL.parts()
            .map(|part| table.region_hash(part)).fold(0, u128::wrapping_add);
        prop_assert_eq!(parts, table.hash());
    }
}
