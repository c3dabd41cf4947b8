//! Narrowing a difference down, where what the peers told does not explain it.
//!
//! A region is compared by sub-hashes of its parts, those that differ again, and so on, until a region is
//! small enough to list. A peer that lists a region lacks everything that it does not name.

use super::leg::{BUDGET, Leg, SUMMARY};
use crate::context::{Context, HEAD, Planned, count};
use crate::membership::Region;
use crate::membership::region::PARTS;
use crate::rng::below;
use crate::state::table_hash::DIGEST;
use crate::wire::frame::MOST_FRAME;

/// The most members of a region that is listed rather than split further, where few regions differ. A list
/// of so many takes about twice the bytes of a split, and saves a leg.
const LISTED: usize = 32;

/// Bytes that most summaries take.
const SUMMARY_TYPICAL: usize = 8;

/// The fewest bytes of a delta: its kind, an origin, its generation, five numbers.
const LEAST_DELTA: usize = 1 + 8 + 8 + 5;

/// The peer named everything that it holds in a region, so it lacks the rest. Begins anywhere in the region,
/// so that a newcomer that asks several peers gets different parts first.
pub(super) fn give_what_is_not_named(context: &mut Context, leg: &mut Leg, region: Region) {
    // Without a plan that fills, nothing would end the walk below.
    if !leg.may_give {
        return;
    }
    leg.named.sort_unstable();
    let records = context.table.region(region);
    let start = below(&mut context.rng, records.len());
    for record in records.clone().skip(start).chain(records.take(start)) {
        // More than a leg can carry would never leave. A peer that says over and over that it knows
        // nobody must not make this node remember all of it each time.
        if leg.plan.len() >= most_planned(context) {
            break;
        }
        if leg.named.binary_search(&record.id).is_err() {
            leg.give(record.id, 0);
        }
    }
}

/// Of the regions that differ, lists the small ones and splits the large ones.
///
/// It takes as many as fit one datagram, chosen at random, so that exchanges with several peers bring
/// different things. Each datagram is answered by as much as a leg may carry, so more than one would let a
/// newcomer take everything from one peer.
pub(super) fn narrow_down(context: &mut Context, leg: &mut Leg) {
    // Where most regions differ, most of their parts would differ as well.
    let dense = leg.differing.len().saturating_mul(2) > leg.compared;
    let fill = context.fill_to(leg.from);
    let limit = list_limit(fill);
    let listed = if dense { limit } else { LISTED.min(limit) };
    let mut room = fill;
    let start = below(&mut context.rng, leg.differing.len());
    leg.differing.rotate_left(start);
    for region in &leg.differing {
        let members = context.table.region(*region).len();
        let (planned, size) = if members <= listed {
            (
                Planned::List(*region),
                members.saturating_mul(SUMMARY_TYPICAL),
            )
        } else {
            let around = context.table.crowded(*region);
            if around != *region {
                count(&mut context.metrics.regions_crowded);
            }
            (Planned::Split(around), DIGEST.saturating_mul(PARTS))
        };
        let Some(rest) = room.checked_sub(size) else {
            leg.truncated = true;
            break;
        };
        room = rest;
        leg.plan.push(planned);
    }
}

/// No leg can carry deltas of more origins than this.
pub(super) fn most_planned(context: &Context) -> usize {
    let datagrams = usize::try_from(BUDGET).unwrap_or(usize::MAX);
    let bytes = context.fill().saturating_mul(datagrams);
    bytes.div_euclid(LEAST_DELTA)
}

/// The most origins that can be listed: as many as fit one datagram of this length.
fn list_limit(fill: usize) -> usize {
    let room = fill.saturating_sub(MOST_FRAME + HEAD);
    room.div_euclid(SUMMARY).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::super::leg::testing::leg;
    use super::*;
    use crate::context::testing::context;
    use crate::identity::NodeId;
    use crate::wire::message::ModeTag;
    use std::collections::BTreeSet;

    const MODE: ModeTag = ModeTag::PushPull;

    #[test]
    fn what_a_peer_does_not_name_it_is_given() {
        let mut context = context(|_| ());
        for member in 1..=5 {
            context.learn(member);
        }
        let mut leg = leg(&context, 2, MODE, 5);
        leg.named.extend([5, 2].map(NodeId::from_u64));
        give_what_is_not_named(&mut context, &mut leg, Region::ALL);
        let given: BTreeSet<NodeId> = leg
            .plan
            .iter()
            .map(|planned| match planned {
                Planned::Delta { origin, after: 0 } => *origin,
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [1, 3, 4].map(NodeId::from_u64).into_iter();
        assert_eq!(given, expected.chain([context.own]).collect());
        assert_eq!(leg.plan.len(), 4, "each once");
    }

    #[test]
    fn a_node_plans_no_more_than_a_leg_can_carry() {
        let mut context = context(|config| config.max_datagram = 512);
        let most = most_planned(&context);
        for member in 1..=u16::try_from(most).unwrap() + 50 {
            context.learn(member);
        }
        let mut leg = leg(&context, 2, MODE, 5);
        give_what_is_not_named(&mut context, &mut leg, Region::ALL);
        assert_eq!(leg.plan.len(), most);
    }

    #[test]
    fn a_small_region_is_listed_and_a_large_one_is_split() {
        let mut context = context(|_| ());
        context.learn(1);
        let mut small = leg(&context, 3, MODE, 5);
        small.differing.push(Region::ALL);
        small.compared = PARTS;
        narrow_down(&mut context, &mut small);
        assert_eq!(small.plan, [Planned::List(Region::ALL)]);
        for member in 2..=40 {
            context.learn(member);
        }
        let mut large = leg(&context, 3, MODE, 5);
        large.differing.push(Region::ALL);
        large.compared = PARTS;
        narrow_down(&mut context, &mut large);
        assert!(matches!(large.plan[..], [Planned::Split(_)]));
        // All ids of this test begin alike, so a smaller region around them is split.
        assert_eq!(context.metrics.regions_crowded, 1);
        let mut dense = leg(&context, 3, MODE, 5);
        dense.differing.push(Region::ALL);
        dense.compared = 1;
        narrow_down(&mut context, &mut dense);
        assert_eq!(dense.plan, [Planned::List(Region::ALL)]);
    }

    #[test]
    fn what_has_no_room_is_left_out_and_the_peer_is_told() {
        let mut context = context(|config| config.max_datagram = 512);
        for member in 1..=40 {
            context.learn(member);
        }
        let mut leg = leg(&context, 3, MODE, 5);
        leg.differing.extend([Region::ALL; 10]);
        leg.compared = PARTS;
        narrow_down(&mut context, &mut leg);
        assert_eq!(leg.plan.len(), 512 / (DIGEST * PARTS));
        assert!(leg.truncated);
    }
}
