use super::*;
use crate::hlc::Stamp;
use crate::state::attribute::DATACENTER;
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

impl Table {
    /// Asserts the invariants.
    fn check(&self) {
        let len = self.records.len();
        let lens = (self.order.len(), self.slots.len(), self.index.len());
        assert_eq!(lens, (len, len, len));
        assert!(self.order.is_sorted_by(|one, next| one < next));
        for (id, slot) in self.order.iter().zip(&self.slots) {
            assert_eq!((self.at(*slot).id, self.slot(*id)), (*id, Some(*slot)));
        }
        self.datacenters.check();
        let mut on_rings = 0;
        for record in &self.records {
            let liveness = liveness(record.condition);
            on_rings += usize::from(liveness.is_some());
            let ring = self.datacenters.ring(record.place);
            assert!(liveness.is_none_or(|liveness| ring.contains(liveness, record.id)));
        }
        assert_eq!(self.live_len() + self.down_len(), on_rings);
        assert_eq!(self.hash, self.sum(Region::ALL));
        for region in self.buckets.regions() {
            assert_eq!(self.region_hash(region), self.sum(region));
        }
        let bytes: usize = self.records.iter().map(|record| record.log.size()).sum();
        assert_eq!(self.state_bytes, bytes);
    }
}

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

/// A member publishes its datacenter.
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
fn the_hash_depends_on_what_is_known_not_on_how_it_was_learned() {
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
        "a tombstone still says how far its log was known"
    );
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
    table.check();
}

#[test]
fn pruned_tombstones_leave_no_trace() {
    let mut table = table();
    for n in 0..1_000 {
        live_at(
            &mut table,
            NodeId::from_u64(n << 54),
            u8::try_from(n % 3).unwrap(),
        );
    }
    for n in (0..1_000).step_by(3) {
        table.set_condition(NodeId::from_u64(n << 54), NOW, Condition::Removed);
    }
    table.prune(|record| record.id.as_u64().is_multiple_of(2 << 54));
    table.check();
    // The 167 even multiples of three are gone, the 167 odd ones are not over yet.
    assert_eq!(table.len(), 1_000 - 167);
    assert_eq!(
        table.get(NodeId::from_u64(6 << 54)).map(|r| r.condition),
        None
    );
    let kept = table.condition(NodeId::from_u64(3 << 54));
    assert_eq!(kept, Some(Condition::Removed));
}

proptest! {
    #[test]
    fn the_lists_stay_sorted_and_true(
        steps in proptest::collection::vec((any::<u8>(), 0_u8..6, 0_u8..4), 1..200),
    ) {
        let mut table = table();
        for (id, step, datacenter) in steps {
            let id = NodeId::from_u64(u64::from(id) << 56);
            live_at(&mut table, id, datacenter);
            let condition = match step {
                0 => Condition::Down,
                1 => Condition::Left,
                2 | 3 => Condition::Removed,
                _ => Condition::Live,
            };
            table.set_condition(id, NOW, condition);
            if step == 3 {
                table.prune(|record| record.id == id);
            }
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
            if liveness(record.condition).is_some() {
                prop_assert!(compatriots(Condition::Live).map(|r| r.id).eq(ring.live().iter().copied()));
                prop_assert!(compatriots(Condition::Down).map(|r| r.id).eq(ring.down().iter().copied()));
            }
        }
        table.check();
        prop_assert_eq!(table.iter().count(), table.len());
        let parts: u128 = Region::ALL.parts()
            .map(|part| table.region_hash(part)).fold(0, u128::wrapping_add);
        prop_assert_eq!(parts, table.hash());
    }
}
