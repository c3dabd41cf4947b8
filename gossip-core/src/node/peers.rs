//! Whom to talk to in a round.
//!
//! Every round meets `fanout` live members at random, each equally often. With probability
//! `seeds / (live + down)` it also meets a seed, always while nobody else is known, so that islands
//! merge; and with probability `down / (live + 1)` one member that is down, so that partitions heal
//! whatever their length.

use rand_core::Rng;
use smallvec::SmallVec;

use crate::id::NodeId;
use crate::membership::Table;
use crate::rng::{below, chance};

/// The peers of one round.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Peers {
    pub(crate) live: SmallVec<[NodeId; 16]>,
    pub(crate) seeds: Seeds,
    pub(crate) down: Option<NodeId>,
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

/// Draws the peers of one round.
pub(crate) fn choose(
    table: &Table,
    own: NodeId,
    seeds: usize,
    fanout: usize,
    rng: &mut impl Rng,
) -> Peers {
    let live = sample(table, own, fanout, rng);
    let others = table.live_len().saturating_sub(1);
    let down = table.down_len();
    let seed = if live.is_empty() {
        Seeds::All
    } else if chance(rng, seeds, others.saturating_add(down)) {
        Seeds::One(below(rng, seeds))
    } else {
        Seeds::None
    };
    let down = if chance(rng, down, others.saturating_add(1)) {
        table.down_at(below(rng, down)).map(|record| record.id)
    } else {
        None
    };
    Peers {
        live,
        seeds: seed,
        down,
    }
}

/// Up to `count` different live members other than `own`, each equally likely (Floyd's method).
pub(crate) fn sample(
    table: &Table,
    own: NodeId,
    count: usize,
    rng: &mut impl Rng,
) -> SmallVec<[NodeId; 16]> {
    let own_at = table.live_position(own);
    let others = table.live_len().saturating_sub(usize::from(own_at.is_ok()));
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
        .filter_map(|at| table.live_id(skip_own(at)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Condition;
    use crate::state::hash::HashKey;
    use crate::time::Instant;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use siphasher::sip::SipHasher13;
    use std::collections::BTreeMap;

    const OWN: NodeId = NodeId::from_u64(3);

    fn table(live: u64, down: u64) -> Table {
        let mut table = Table::new(HashKey::of("c"), SipHasher13::new());
        for id in 0..live + down {
            table.ensure(NodeId::from_u64(id), Instant::ORIGIN);
        }
        for id in live..live + down {
            table.set_condition(NodeId::from_u64(id), Instant::ORIGIN, Condition::Down);
        }
        table
    }

    #[test]
    fn each_live_peer_is_met_equally_often() {
        let table = table(20, 5);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut met: BTreeMap<NodeId, u32> = BTreeMap::new();
        for _ in 0..19_000 {
            let peers = choose(&table, OWN, 0, 3, &mut rng);
            assert_eq!(peers.live.len(), 3);
            for peer in peers.live {
                *met.entry(peer).or_default() += 1;
            }
        }
        assert_eq!(met.len(), 19);
        assert!(!met.contains_key(&OWN));
        assert!(
            met.values().all(|times| (2_800..3_200).contains(times)),
            "{met:?}"
        );
    }

    #[test]
    fn seeds_and_the_down_are_met_as_often_as_promised() {
        let table = table(20, 5);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut seeds, mut down) = (0, 0);
        for _ in 0..24_000 {
            let peers = choose(&table, OWN, 3, 3, &mut rng);
            seeds += u32::from(peers.seeds != Seeds::None);
            down += u32::from(peers.down.is_some());
        }
        assert!((2_850..3_150).contains(&seeds), "3 of 24: {seeds}");
        assert!((5_800..6_200).contains(&down), "5 of 20: {down}");
    }

    #[test]
    fn who_knows_nobody_asks_all_seeds() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let alone = choose(&table(4, 0), OWN, 3, 3, &mut rng);
        assert_eq!((alone.live.len(), alone.seeds), (3, alone.seeds));
        let mut only_self = Table::new(HashKey::of("c"), SipHasher13::new());
        only_self.ensure(OWN, Instant::ORIGIN);
        let peers = choose(&only_self, OWN, 3, 3, &mut rng);
        assert_eq!(
            peers,
            Peers {
                seeds: Seeds::All,
                ..Peers::default()
            }
        );
    }
}
