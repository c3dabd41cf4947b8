//! Whether a cluster with missing links comes to one steady view.

use core::time::Duration;
use std::collections::BTreeSet;

use gossip_core::{Command, Key, Value};

use super::Outcome;
use super::cluster::{Clock, Setup, Subject, Unplayable};
use super::report::{Panel, Report, steps_up};
use crate::num::narrow;
use crate::sim::network::{FaultId, Links};
use crate::sim::{Action, HostId, Seeds, Time};

/// Links of a cluster at rest go missing, and stay so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MissingLinks {
    /// How long the cluster has before.
    pub warm_up: Duration,
    /// Which links.
    pub links: Links,
    /// Whether the gateways say that they are bridges.
    pub named: bool,
    /// How long views may change.
    pub settles: Duration,
    /// For how long they are then watched.
    pub lasts: Duration,
}

impl MissingLinks {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let (datacenters, gateways) = match self.links {
            Links::Gateways(gateways) => (setup.datacenters.max(2), narrow(gateways)),
            _ => (setup.datacenters, 0),
        };
        let setup = &Setup {
            datacenters,
            named_bridges: if self.named { gateways } else { 0 },
            ..setup.clone()
        };
        let mut cluster = setup.cluster(clock)?;
        cluster.form(setup, self.warm_up)?;
        let hosts = cluster.world.hosts().len();
        let site = |host| setup.site(narrow(host));
        let missing = self.links.faults(hosts, site, Seeds::new(setup.seed));
        // No other fault has such a name.
        for (number, fault) in missing.into_iter().enumerate() {
            let id = FaultId::new(narrow(number).saturating_add(1000));
            cluster.perform(Action::Set(id, fault));
        }
        let began = cluster.world.now();
        cluster.tally.clear();
        self.watch(&mut cluster, setup);
        let settled = began + self.settles;
        let late = |at: Time| at >= settled;
        let sightings = cluster.tally.sightings();
        let changes = sightings.iter().filter(|seen| late(seen.at));
        let views: BTreeSet<_> = changes.clone().map(|s| (s.observer, s.subject)).collect();
        let last = sightings.last().map(|seen| seen.at.since(began));
        let after = |at: Time| at.since(began).as_secs_f64();
        let report = Report::default()
            .with(
                "changes_before",
                sightings.iter().filter(|s| !late(s.at)).count(),
            )
            .with("changes", changes.clone().count())
            .with("views_that_change", views.len())
            .with(
                "about",
                changes.map(|s| s.subject).collect::<BTreeSet<_>>().len(),
            )
            .with("last_change_s", last.map(|last| last.as_secs_f64()))
            .with("live_share_at_end", cluster.live_share());
        let times: Vec<f64> = sightings.iter().map(|s| after(s.at)).collect();
        let all = times.len();
        let panel = Panel::new("Changes of views", "s", "share of all")
            .with(format!("seed {}", setup.seed), steps_up(times, all));
        Ok(Outcome::new(cluster, report, vec![panel]))
    }

    /// Lets time pass. In each interval one node writes: news of members must not change what others hold of them.
    fn watch(&self, cluster: &mut Subject, setup: &Setup) {
        let end = cluster.world.now() + self.settles + self.lasts;
        let key = Key::new("links").expect("a legal key");
        for number in 0.. {
            let left = end.since(cluster.world.now());
            if left.is_zero() {
                return;
            }
            cluster.run(left.min(setup.interval));
            let writer = HostId::new(number % setup.nodes);
            let command = Command::Set {
                key: key.clone(),
                value: Value::new(number.to_string()).expect("a legal value"),
            };
            cluster.perform(Action::Command(writer, command));
        }
    }
}
