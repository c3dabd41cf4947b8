//! What a node does for its map from time to time: it closes the logs that nobody writes any more, and
//! prunes those that have been empty for long.

use smallvec::SmallVec;

use super::replica::{Map, Origin, OwnLog, PruneLimits, VectorItem};
use crate::context::{Context, add, count};
use crate::identity::Generation;
use crate::membership::{Condition, Table};
use crate::rng;

/// The fewest logs that one round looks at.
const LEAST_LOGS: usize = 4;

/// The most rounds until every log has been looked at.
const MOST_ROUNDS: usize = 16;

/// In how many rounds one node of the cluster prunes, on average, while there is room for empty logs.
const PRUNE_ROUNDS: usize = 16;

/// Looks after the logs of the map, a few in each round.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// The log that was looked at last; `None` before a pass over all logs begins.
    last: Option<Origin>,
}

impl Upkeep {
    /// Looks at the next few logs: closes those of nodes that are gone or have a later generation. Then
    /// prunes empty logs, if it is this node's turn.
    pub(super) fn tend_logs(&mut self, context: &mut Context, map: &mut Map) {
        let turn = map.logs().div_ceil(MOST_ROUNDS).max(LEAST_LOGS);
        let (mut met, mut last) = (0_usize, None);
        let closed: SmallVec<[Origin; LEAST_LOGS]> = map
            .frontiers_after(self.last)
            .take(turn)
            .filter_map(|item| match item {
                VectorItem::Frontier(origin, _) => Some(origin),
                VectorItem::Complete(..) => None,
            })
            .inspect(|origin| (met, last) = (met.saturating_add(1), Some(*origin)))
            .filter(|origin| is_closed(&context.table, *origin))
            .collect();
        self.last = last.filter(|_| met == turn);
        for origin in closed {
            map.close(origin);
        }
        prune(context, map);
    }
}

/// Prunes empty logs. Not every node does so in every round: the node that is drawn writes a prune marker,
/// and the others take the change over with its live set.
fn prune(context: &mut Context, map: &mut Map) {
    let max = usize::try_from(context.config.max_tombstones).unwrap_or(usize::MAX);
    let is_crowded = map.empty_logs() > max.saturating_add(max.div_euclid(8));
    let rounds = if is_crowded { 1 } else { PRUNE_ROUNDS };
    let turns = (context.table.live_len().saturating_add(1)).saturating_mul(rounds);
    let is_drawn = map.empty_logs() > 0 && rng::chance(&mut context.rng, 1, turns);
    if is_drawn || map.has_more_pruned_origins_than(max) {
        keep_own_log_open(context, map, OwnLog::Sound);
        let pruned = map.prune(PruneLimits {
            after: context.config.forget_after,
            empty_logs: max,
            pruned_origins: max,
        });
        add(&mut context.metrics.map_logs_forgotten, pruned);
    }
}

/// Opens a new own log if other nodes would refuse the one at hand, or if another process writes it, too.
pub(super) fn keep_own_log_open(context: &mut Context, map: &mut Map, standing: OwnLog) {
    if standing != OwnLog::Sound || map.is_outdated() {
        count(&mut context.metrics.outlived);
        let generation = Generation::new(context.clock.tick(context.now));
        map.reopen(generation, standing);
        context.flush_soon();
    }
}

/// Whether nobody writes a log any more: its node is gone, or has a later generation.
fn is_closed(table: &Table, origin: Origin) -> bool {
    table.get(origin.id).is_none_or(|record| {
        record.condition == Condition::Removed || record.log.generation() > origin.generation
    })
}
