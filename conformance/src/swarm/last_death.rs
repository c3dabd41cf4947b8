//! Whether a death is told in time, whatever came before.
//!
//! Once all is well, one more node dies in a network that is whole, and each other living node must tell that
//! within a bound. So no plan may leave a cluster blind. No plan is exempt, but for those that leave one node alive.

use core::fmt;
use core::time::Duration;

use gossip_core::{Config, Dissemination};

use super::plan::{Episode, What, choose};
use super::sustained::{Sustained, reach};
use crate::sim::network::Links;
use crate::sim::{Host, HostId, Seeds, Stream, World, pick};

/// One more death after a plan, and when it must be told.
#[derive(Clone, Debug, PartialEq)]
pub struct LastDeath {
    /// How long all is quiet before.
    pub quiet: Duration,
    /// Within which time all must tell it, if the member has not flapped.
    pub bound: Duration,
}

/// Intervals within which a death is told where news is pushed: four until its observers find it silent, and one for
/// a member that has to be asked.
const SILENCE: u32 = 5;

/// What the pings to a silent member take, which do not scale with the interval. With an interval of a second, a death
/// is told within six.
const PINGS: Duration = Duration::from_secs(1);

/// Intervals of silence that are forgiven a link on which heartbeats were lost (rule F11), at most.
const FORGIVEN: u32 = 12;

/// Intervals after which no loss of before counts.
const FORGOTTEN: u32 = 130;

/// Draws when a node dies: at once, soon, or so late that no loss of before counts. A cluster was once found blind two
/// minutes after a mass of deaths.
pub(super) fn draw(
    seed: u64,
    config: &Config,
    episodes: &[Episode],
    places: &[usize],
    then: (Option<&Sustained>, Option<Links>),
) -> LastDeath {
    let rng = &mut Seeds::new(seed).rng(Stream::LastDeath);
    let quiet = *choose(rng, &[0, 20, FORGOTTEN]);
    let (sustained, links) = then;
    let loses = episodes.iter().any(loses)
        || sustained.is_some_and(|sustained| sustained.loss > 0.0)
        || links.is_some();
    let forgiven = if loses && quiet < FORGOTTEN {
        FORGIVEN
    } else {
        0
    };
    LastDeath {
        quiet: config.interval * quiet,
        bound: config.interval * (SILENCE + forgiven) + PINGS + votes_travel(config, places),
    }
}

/// Whether heartbeats may be lost, or look lost, in an episode.
const fn loses(episode: &Episode) -> bool {
    matches!(
        episode.what,
        What::Fault(_) | What::Pause(_) | What::Slow(..)
    )
}

/// How long votes are on their way beyond what a push takes. Where they are not pushed, all must have them as soon as
/// any other write.
fn votes_travel(config: &Config, places: &[usize]) -> Duration {
    let datacenters = places.iter().max().map_or(1, |last| last.saturating_add(1));
    match config.dissemination {
        Dissemination::Eager => Duration::ZERO,
        Dissemination::Periodic => reach(config, places.len(), datacenters, 0.0),
    }
}

/// Who dies: one of the living, unless it is the only one.
pub(super) fn victim(world: &World, seed: u64) -> Option<HostId> {
    let truth = world.truth();
    let hosts = world.hosts().iter();
    let living = hosts.filter(|host| truth.lives(host.node_id()));
    let living: Vec<HostId> = living.map(Host::id).collect();
    // When it dies was drawn from the same stream. That makes no difference to anything else.
    let rng = &mut Seeds::new(seed).rng(Stream::LastDeath);
    let drawn = pick(rng, living.len());
    living.get(drawn).copied().filter(|_| living.len() > 1)
}

impl fmt::Display for LastDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "in the end, after {:?}, one more dies, which is told within {:?}",
            self.quiet, self.bound
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Time;

    fn bounds(config: &Config, episodes: &[Episode]) -> Vec<u64> {
        let drawn = (0..30).map(|seed| draw(seed, config, episodes, &[0, 0, 0], (None, None)));
        let mut bounds: Vec<u64> = drawn.map(|death| death.bound.as_secs()).collect();
        bounds.sort_unstable();
        bounds.dedup();
        bounds
    }

    #[test]
    fn with_an_interval_of_a_second_a_death_is_told_within_six_where_nothing_was_lost() {
        let config = Config::lan();
        assert_eq!(bounds(&config, &[]), [6]);
        let paused = Episode {
            number: 1,
            begins: Time::START,
            ends: Time::START,
            what: What::Pause(HostId::new(0)),
        };
        assert_eq!(bounds(&config, &[paused]), [6, 18], "or much later");
    }
}
