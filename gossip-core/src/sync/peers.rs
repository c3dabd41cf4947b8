//! Whom a node talks to: the peers of a round, and those to whom it hands a push for other datacenters.
//!
//! In every round a node meets
//! - `fanout` live members of its own datacenter, each equally often;
//! - with probability `down / (live + 1)`, one member of its own datacenter that is down. So a partition heals
//!   however long it lasted;
//! - with probability `seeds / (live + down)`, counted over all datacenters, one seed. While it knows nobody
//!   else, it meets all seeds. So islands merge;
//! - with probability `removed / live`, this node counted, the address of one of the last few members that
//!   were removed while they were down.
//!
//! A bridge also meets one bridge of another datacenter, each equally often. And with probability
//! `down / (live + 1)`, counted over the other datacenters, it meets one member there that is down.
//!
//! A node that is no bridge meets members that are down elsewhere, too, but less often the larger its own
//! datacenter is, because it has mostly heard from a bridge before. It meets none if only members that are named as
//! bridges cross. So what crosses between datacenters in a
//! round grows with the bridges, and not with the members.
//!
//! Here "live" and "down" do not count this node itself.

use rand_core::Rng;
use smallvec::SmallVec;

use crate::identity::NodeId;
use crate::membership::Table;
use crate::membership::ring::Liveness;
use crate::rng::{below, chance};

/// The peers of one round.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Peers {
    /// Of the own datacenter.
    pub(crate) live: SmallVec<[NodeId; 16]>,
    pub(crate) down: Option<NodeId>,
    /// Of others.
    pub(crate) live_abroad: Option<NodeId>,
    pub(crate) down_abroad: Option<NodeId>,
    pub(crate) seeds: Seeds,
    /// Its position among the removed members that are still looked for.
    pub(crate) removed: Option<usize>,
}

/// Which seeds a round meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Seeds {
    /// None.
    #[default]
    None,
    /// The one at this position in the list.
    One(usize),
    /// All of them: directed gossip.
    All,
}

/// The most other datacenters to which a writer hands a push: more than anybody runs. Any further ones learn
/// of it in rounds.
const MOST_HANDED_OVER: usize = 32;

/// Draws the peers of one round. `seeds` is how many seeds there are, and `removed` how many removed members
/// are looked for.
pub(crate) fn choose(
    table: &Table,
    own: NodeId,
    seeds: usize,
    removed: usize,
    fanout: usize,
    rng: &mut impl Rng,
) -> Peers {
    let home = table.home(own);
    let live = sample(home.live(), own, fanout, rng);
    let others = table.live_len().saturating_sub(1);
    let known = others.saturating_add(table.down_len());
    let seeds = if others == 0 {
        Seeds::All
    } else {
        one_of(seeds, known, rng).map_or(Seeds::None, Seeds::One)
    };
    let here = home.live().len().saturating_sub(1);
    let down = one_of(home.down().len(), here.saturating_add(1), rng);
    let (live_abroad, down_abroad) = abroad(table, own, rng);
    Peers {
        live,
        down: down.and_then(|at| home.down().get(at).copied()),
        live_abroad,
        down_abroad,
        seeds,
        removed: if removed == 0 {
            None
        } else {
            one_of(removed, table.live_len(), rng)
        },
    }
}

/// With probability `count / of`, the position of one of `count`, each equally likely.
fn one_of(count: usize, of: usize, rng: &mut impl Rng) -> Option<usize> {
    chance(rng, count, of).then(|| below(rng, count))
}

/// Draws one live member and one that is down, both of other datacenters.
fn abroad(table: &Table, own: NodeId, rng: &mut impl Rng) -> (Option<NodeId>, Option<NodeId>) {
    let datacenters = table.datacenters();
    if datacenters.len() <= 1 || !datacenters.may_cross(table.place(own), own) {
        return (None, None);
    }
    let home = table.home(own);
    let is_bridge = datacenters.bridges().contains(Liveness::Live, own);
    let live_abroad = if is_bridge {
        bridge_abroad(table, own, rng)
    } else {
        None
    };
    let down = table.down_len().saturating_sub(home.down().len());
    let live = table.live_len().saturating_sub(home.live().len());
    let is_due = chance(rng, down, live.saturating_add(1));
    if is_due && (is_bridge || chance(rng, 1, home.live().len())) {
        (live_abroad, down_abroad(table, own, below(rng, down)))
    } else {
        (live_abroad, None)
    }
}

/// Draws up to `count` different members other than `own`, each equally likely (Floyd's method). They come
/// in the order of their ids.
pub(crate) fn sample(
    members: &[NodeId],
    own: NodeId,
    count: usize,
    rng: &mut impl Rng,
) -> SmallVec<[NodeId; 16]> {
    let own_at = members.binary_search(&own);
    let others = members.len().saturating_sub(usize::from(own_at.is_ok()));
    let mut picked: SmallVec<[usize; 16]> = SmallVec::new();
    for top in others.saturating_sub(count)..others {
        let draw = below(rng, top.saturating_add(1));
        picked.push(if picked.contains(&draw) { top } else { draw });
    }
    let skip_own = |at: usize| match own_at {
        Ok(own) if at >= own => at.saturating_add(1),
        _ => at,
    };
    picked
        .into_iter()
        .filter_map(|at| members.get(skip_own(at)).copied())
        .collect()
}

/// One of the bridges of other datacenters, each equally likely.
fn bridge_abroad(table: &Table, own: NodeId, rng: &mut impl Rng) -> Option<NodeId> {
    let bridges = table.datacenters().bridges().live();
    let compatriots = table.datacenters().bridges_of(table.place(own));
    let abroad = bridges.len().checked_sub(compatriots.len())?;
    let mut at = below(rng, abroad);
    // Both lists are in the order of their ids.
    for compatriot in compatriots {
        let place = bridges.binary_search(compatriot).ok()?;
        at = at.saturating_add(usize::from(at >= place));
    }
    bridges.get(at).copied()
}

/// The `nth` member that is down in other datacenters. O(datacenters).
fn down_abroad(table: &Table, own: NodeId, mut nth: usize) -> Option<NodeId> {
    let others = table.datacenters().others(table.place(own), 0);
    for (_, ring) in others {
        if let Some(down) = ring.down().get(nth) {
            return Some(*down);
        }
        nth = nth.saturating_sub(ring.down().len());
    }
    None
}

/// To whom of each other datacenter a push is handed: to a bridge, chosen at random; down another tree
/// to another one. To nobody, if this node is not one of those that alone cross.
pub(crate) fn handovers(
    table: &Table,
    own: NodeId,
    trees: u8,
    rng: &mut impl Rng,
) -> SmallVec<[(u8, NodeId); 4]> {
    let datacenters = table.datacenters();
    let mut found = SmallVec::new();
    if datacenters.len() <= 1 || !datacenters.may_cross(table.place(own), own) {
        return found;
    }
    let start = below(rng, datacenters.len());
    let others = datacenters.others(table.place(own), start);
    let inhabited = others.filter(|(_, ring)| !ring.live().is_empty());
    for (place, _) in inhabited.take(MOST_HANDED_OVER) {
        let bridges = datacenters.bridges_of(place);
        let first = below(rng, bridges.len());
        let picks = bridges.iter().cycle().skip(first);
        found.extend((0..trees).zip(picks.copied()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Stamp;
    use crate::identity::Generation;
    use crate::membership::Condition;
    use crate::membership::datacenter::Place;
    use crate::state::attribute::DATACENTER;
    use crate::state::log::Log;
    use crate::state::table_hash::HashKey;
    use crate::time::Instant;
    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use siphasher::sip::SipHasher13;
    use std::collections::{BTreeMap, BTreeSet};
    use std::vec::Vec;

    const OWN: NodeId = NodeId::from_u64(3);

    /// How many live and how many are down, in each datacenter. Ids count up; the first datacenter has
    /// no name.
    fn table(datacenters: &[(u64, u64)]) -> Table {
        let mut table = Table::new(HashKey::of("c"), SipHasher13::new(), 3);
        let mut ids = (0..).map(NodeId::from_u64);
        for (place, (live, down)) in datacenters.iter().enumerate() {
            let mut log = Log::new(Generation::new(Stamp::from_bits(1)));
            let name = [b'a', u8::try_from(place).unwrap()];
            log.write(0, DATACENTER, (place > 0).then_some(&name));
            for (n, id) in (0..live + down).zip(&mut ids) {
                let claim = log.claim_after(0);
                table.apply(id, Instant::ORIGIN, &claim);
                if n >= *live {
                    table.set_condition(id, Instant::ORIGIN, Condition::Down);
                }
            }
        }
        table
    }

    /// How often somebody was met in so many rounds, by kind.
    #[derive(Default)]
    struct Met {
        live: BTreeMap<NodeId, u32>,
        down: BTreeMap<NodeId, u32>,
        live_abroad: BTreeMap<NodeId, u32>,
        down_abroad: BTreeMap<NodeId, u32>,
        seeds: u32,
        removed: BTreeMap<usize, u32>,
    }

    fn meet(
        table: &Table,
        own: NodeId,
        (seeds, removed): (usize, usize),
        fanout: usize,
        rounds: u32,
    ) -> Met {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut met = Met::default();
        for _ in 0..rounds {
            let peers = choose(table, own, seeds, removed, fanout, &mut rng);
            let distinct: BTreeSet<_> = peers.live.iter().collect();
            assert_eq!(distinct.len(), peers.live.len());
            let note = |who: &mut BTreeMap<NodeId, u32>, id| *who.entry(id).or_default() += 1;
            peers.live.iter().for_each(|id| note(&mut met.live, *id));
            peers.down.iter().for_each(|id| note(&mut met.down, *id));
            peers
                .live_abroad
                .iter()
                .for_each(|id| note(&mut met.live_abroad, *id));
            peers
                .down_abroad
                .iter()
                .for_each(|id| note(&mut met.down_abroad, *id));
            met.seeds += u32::from(peers.seeds != Seeds::None);
            if let Some(removed) = peers.removed {
                *met.removed.entry(removed).or_default() += 1;
            }
        }
        met
    }

    /// Whether so many of so many trials are what a probability leads to expect, within six standard
    /// deviations.
    fn is_expected(times: u32, trials: u32, probability: f64) -> bool {
        let expected = f64::from(trials) * probability;
        let deviation = libm::sqrt(expected * (1.0 - probability).max(0.0));
        libm::fabs(f64::from(times) - expected) <= 6.0 * deviation + 3.0
    }

    fn equally_often(met: &BTreeMap<NodeId, u32>, among: &[NodeId], each: f64, rounds: u32) {
        assert!(met.keys().all(|id| among.contains(id)), "{met:?}");
        for id in among {
            let times = met.get(id).copied().unwrap_or(0);
            assert!(
                is_expected(times, rounds, each),
                "{id} {times} of {rounds} x {each}"
            );
        }
    }

    const ROUNDS: u32 = 10_000;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// All that the module promises, for a member of any datacenter, bridge or not.
        #[test]
        fn everybody_is_met_as_often_as_promised(
            sizes in proptest::collection::vec((0_u64..12, 0_u64..8), 1..4),
            own in 0_usize..12, seeds in 0_usize..5, removed in 0_usize..5, fanout in 1_usize..6,
        ) {
            let mut sizes = sizes;
            sizes[0].0 += 1;
            let table = table(&sizes);
            let home = table.datacenters().ring(Place::UNSAID);
            let own = home.live()[own % home.live().len()];
            let met = meet(&table, own, (seeds, removed), fanout, ROUNDS);
            let others = |ids: &[NodeId]| -> Vec<NodeId> {
                ids.iter().copied().filter(|id| *id != own).collect()
            };
            let share = |part: usize, whole: usize| {
                f64::from(u32::try_from(part).unwrap()) / f64::from(u32::try_from(whole).unwrap())
            };
            let promised = |part: usize, whole: usize| share(part, whole).min(1.0);

            let here = others(home.live());
            if !here.is_empty() {
                equally_often(&met.live, &here, promised(fanout, here.len()), ROUNDS);
            }
            let down = home.down();
            if !down.is_empty() {
                let each = promised(down.len(), here.len() + 1) / share(down.len(), 1);
                equally_often(&met.down, down, each, ROUNDS);
            }
            let known = table.live_len() - 1 + table.down_len();
            let asked = if table.live_len() == 1 { 1.0 } else { promised(seeds, known) };
            prop_assert!(is_expected(met.seeds, ROUNDS, asked), "{} {}", met.seeds, asked);
            for at in 0..removed {
                let each = promised(removed, table.live_len()) / share(removed, 1);
                let times = met.removed.get(&at).copied().unwrap_or(0);
                prop_assert!(is_expected(times, ROUNDS, each), "{times} {each}");
            }
            prop_assert!(met.removed.keys().all(|at| *at < removed));

            let datacenters = table.datacenters();
            let is_bridge = datacenters.bridges_of(Place::UNSAID).contains(&own);
            let abroad: Vec<NodeId> = datacenters.others(Place::UNSAID, 0)
                .flat_map(|(place, _)| datacenters.bridges_of(place)).copied().collect();
            if is_bridge && !abroad.is_empty() {
                equally_often(&met.live_abroad, &abroad, share(1, abroad.len()), ROUNDS);
            } else {
                prop_assert!(met.live_abroad.is_empty());
            }
            let down: Vec<NodeId> = table.down().filter(|id| !home.down().contains(id)).collect();
            let live = table.live_len() - home.live().len();
            if !down.is_empty() {
                let seldom = if is_bridge { 1.0 } else { share(1, home.live().len()) };
                let each = promised(down.len(), live + 1) * seldom / share(down.len(), 1);
                equally_often(&met.down_abroad, &down, each, ROUNDS);
            }
        }

        /// To each other datacenter one copy for each tree, to its bridges, different ones where there
        /// are that many.
        #[test]
        fn a_push_is_handed_to_every_other_datacenter(
            sizes in proptest::collection::vec((0_u64..6, 0_u64..3), 1..6),
            trees in 1_u8..5, seed in any::<u64>(),
        ) {
            let mut sizes = sizes;
            sizes[0].0 += 1;
            let table = table(&sizes);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let home = table.datacenters().ring(Place::UNSAID);
            let handed = handovers(&table, home.live()[0], trees, &mut rng);
            let inhabited = sizes.iter().skip(1).filter(|(live, _)| *live > 0).count();
            prop_assert_eq!(handed.len(), inhabited * usize::from(trees));
            for (place, ring) in table.datacenters().others(Place::UNSAID, 0) {
                let bridges = table.datacenters().bridges_of(place);
                let here: Vec<_> = handed.iter().filter(|(_, to)| table.place(*to) == place).collect();
                let given: BTreeSet<u8> = here.iter().map(|(tree, _)| *tree).collect();
                let takers: BTreeSet<NodeId> = here.iter().map(|(_, to)| *to).collect();
                prop_assert!(here.iter().all(|(_, to)| bridges.contains(to)));
                if !ring.live().is_empty() {
                    prop_assert_eq!(given.len(), usize::from(trees));
                    prop_assert_eq!(takers.len(), usize::from(trees).min(bridges.len()));
                }
            }
        }
    }

    #[test]
    fn who_knows_nobody_asks_all_seeds_and_who_is_alone_in_its_datacenter_does_not() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut only_self = Table::new(HashKey::of("c"), SipHasher13::new(), 3);
        only_self.ensure(OWN, Instant::ORIGIN);
        let peers = choose(&only_self, OWN, 3, 0, 3, &mut rng);
        let expected = Peers {
            seeds: Seeds::All,
            ..Peers::default()
        };
        assert_eq!(peers, expected);
        let alone = table(&[(1, 0), (9, 0)]);
        let own = NodeId::from_u64(0);
        let met = meet(&alone, own, (3, 0), 3, 9_000);
        assert!(met.live.is_empty());
        assert_eq!(met.live_abroad.values().sum::<u32>(), 9_000);
        assert!(is_expected(met.seeds, 9_000, 3.0 / 9.0), "{}", met.seeds);
    }

    #[test]
    fn however_many_datacenters_there_are_a_push_is_handed_to_no_more_than_a_bound() {
        let everywhere: Vec<(u64, u64)> = (0..200).map(|_| (1, 0)).collect();
        let table = table(&everywhere);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let handed = handovers(&table, NodeId::from_u64(0), 2, &mut rng);
        assert_eq!(handed.len(), 2 * MOST_HANDED_OVER);
        let takers: BTreeSet<_> = handed.iter().map(|(_, to)| *to).collect();
        assert_eq!(takers.len(), MOST_HANDED_OVER);
    }
}
