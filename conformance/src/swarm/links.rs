//! Whether views come to rest where links are missing for good.
//!
//! Which members are reached follows from the links alone. So with a constant pattern of links all nodes must
//! come to steady views within a bound, whatever these are, although nodes write meanwhile.

use gossip_core::{Config, Event, NodeId, UpCause};

use super::plan::choose;
use crate::invariant::Violation;
use crate::sim::network::{Links, PATTERNS};
use crate::sim::{Finding, Seeds, Step, Stream, World, between};

/// Intervals within which views must cease to change.
pub(super) const SETTLES: u32 = 300;

/// Intervals for which they are then watched.
pub(super) const WATCHED: u32 = 100;

/// In one of so many plans links go missing.
const ONE_IN: u64 = 5;

/// Draws a pattern, for some of the plans. Not where members are removed within the time that is watched: who
/// removes a member that lives is told so, and takes it back.
pub(super) fn draw(seed: u64, config: &Config) -> Option<Links> {
    let rng = &mut Seeds::new(seed).rng(Stream::Pattern);
    let links = *choose(rng, &PATTERNS);
    let is_drawn = between(rng, 1, ONE_IN) == 1;
    let keeps = config.interval.saturating_mul(SETTLES + WATCHED) < config.remove_after;
    (is_drawn && keeps).then_some(links)
}

/// The changes of views among the events of a step.
pub(super) fn changes(world: &World, step: Step) -> Vec<Finding> {
    let about = world.events().iter().filter_map(|event| {
        let about: NodeId = match event {
            Event::MemberDown { id, .. } => *id,
            Event::MemberUp { id, cause, .. } if *cause == UpCause::Recovered => *id,
            _ => return None,
        };
        Some(about)
    });
    let finding = |about| Finding {
        at: step.at,
        host: step.host,
        violation: Violation::Unsteady { about },
    };
    about.map(finding).collect()
}
