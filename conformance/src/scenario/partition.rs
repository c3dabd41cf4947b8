//! How a cluster that was cut in two grows together again.

use core::time::Duration;

use gossip_core::{Command, Key, Node, NodeId, Value};

use super::Outcome;
use super::cluster::{Clock, Cluster, Failure, SPLIT, Setup};
use super::report::{Panel, Report};
use crate::sim::network::{Effect, Fault, Scope};
use crate::sim::{Action, HostId, HostSet, Time};

/// A cluster at rest is cut in two; each side writes; the cut is mended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Partition {
    /// How long the cluster has before.
    pub warm_up: Duration,
    /// How many nodes are on the smaller side.
    pub smaller: u32,
    /// How long the cut lasts.
    pub lasts: Duration,
    /// How long to wait until all is well again.
    pub limit: Duration,
}

impl Partition {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Failure> {
        let all = u64::from(setup.nodes);
        let mut cluster = setup.cluster(clock)?;
        cluster.form(setup, self.warm_up)?;
        let side = cluster.draw_set(self.smaller.min(setup.nodes));
        let began = cluster.world.now();
        cluster.perform(Action::Set(
            SPLIT,
            Fault {
                scope: Scope::Across(side.clone()),
                effect: Effect::Cut,
            },
        ));
        let mut curve = vec![(0.0, 1.0)];
        let settled = self.settle(&mut cluster, &side, setup, began, &mut curve);
        let written = write_on_both_sides(&mut cluster, &side);
        let left = (began + self.lasts).since(cluster.world.now());
        cluster.run(left);
        let during = cluster.tally.wrong_downs().count();

        cluster.tally.clear();
        cluster.perform(Action::Mend(SPLIT));
        let healed_at = cluster.world.now();
        let (mut healed, mut everywhere) = (None, None);
        while (healed.is_none() || everywhere.is_none())
            && cluster.world.now() < healed_at + self.limit
        {
            let now = cluster.world.now();
            let since = |now: Time| now.since(healed_at).as_secs_f64();
            if healed.is_none() {
                let up = |node: &Node| node.metrics().live == all;
                healed = cluster
                    .run_until_all(SAMPLE, up)
                    .map(|_| since(cluster.world.now()));
            }
            if everywhere.is_none() {
                let within = (now + SAMPLE).since(cluster.world.now());
                let known = |node: &Node| written.iter().all(|write| write.known_to(node));
                everywhere = cluster
                    .run_until_all(within, known)
                    .map(|_| since(cluster.world.now()));
            }
            curve.push((
                cluster.world.now().since(began).as_secs_f64(),
                cluster.live_share(),
            ));
        }
        let report = Report::default()
            .with("smaller_side", side.iter().count())
            .with("settled_s", settled)
            .with("heal_s", healed)
            .with("keys_everywhere_s", everywhere)
            .with("wrong_down_during", during)
            .with("wrong_down_after_heal", cluster.tally.wrong_downs().count())
            .with("live_share_at_end", cluster.live_share());
        let panel = Panel::new(
            "Share of all pairs that hold each other to be alive",
            "s after the cut",
            "share",
        )
        .with(format!("seed {}", setup.seed), curve);
        Ok(Outcome::new(cluster, report, vec![panel]))
    }

    /// Waits until each side holds all of the other side down and none of its own.
    fn settle(
        &self,
        cluster: &mut Cluster,
        side: &HostSet,
        setup: &Setup,
        began: Time,
        curve: &mut Vec<(f64, f64)>,
    ) -> Option<f64> {
        let smaller = crate::num::count(side.iter().count());
        let larger = u64::from(setup.nodes).saturating_sub(smaller);
        let ids: Vec<NodeId> = {
            let hosts = side.iter().map(|host| cluster.world.host(host).node_id());
            let mut ids: Vec<NodeId> = hosts.collect();
            ids.sort();
            ids
        };
        let alone = |node: &Node| {
            let own = if ids.binary_search(&node.id()).is_ok() {
                smaller
            } else {
                larger
            };
            node.metrics().live == own
        };
        while cluster.world.now() < began + self.lasts {
            let settled = cluster.run_until_all(SAMPLE, alone);
            let now = cluster.world.now().since(began).as_secs_f64();
            curve.push((now, cluster.live_share()));
            if settled.is_some() {
                return Some(now);
            }
        }
        None
    }
}

/// How often the curve is sampled.
const SAMPLE: Duration = Duration::from_millis(10);

/// Something written during the cut.
struct Write {
    origin: NodeId,
    key: Key,
    value: Value,
}

impl Write {
    fn known_to(&self, node: &Node) -> bool {
        let member = node.member(self.origin);
        member.is_some_and(|m| m.attribute(&self.key) == Some(self.value.as_bytes()))
    }
}

fn write_on_both_sides(cluster: &mut Cluster, side: &HostSet) -> Vec<Write> {
    let others = side.others(cluster.world.hosts().len());
    let writers: Vec<HostId> = [side, &others]
        .into_iter()
        .filter_map(|side| side.iter().next())
        .collect();
    let write = |writer: HostId| {
        let key = Key::new("written-while-apart").expect("a legal key");
        let value = Value::new(format!("by {writer}").as_bytes()).expect("a legal value");
        let origin = cluster.world.host(writer).node_id();
        let command = Command::Set {
            key: key.clone(),
            value: value.clone(),
        };
        cluster.perform(Action::Command(writer, command));
        Write { origin, key, value }
    };
    writers.into_iter().map(write).collect()
}
