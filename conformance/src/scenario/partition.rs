//! How a cluster that was cut in two grows together again.

use core::time::Duration;
use std::collections::BTreeSet;

use gossip_core::{Command, Key, Node, NodeId, Value};

use super::Outcome;
use super::cluster::{Clock, SPLIT, STAYS, Setup, Subject, Unplayable};
use super::report::{Panel, Report};
use super::unanimity::Unanimity;
use crate::num::{count, real};
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

/// How often the curve is sampled.
const SAMPLE: Duration = Duration::from_millis(50);

/// How long the traffic of a healing is counted, so that what is put off is counted, too.
const AFTERMATH: Duration = Duration::from_secs(10);

impl Partition {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let all = u64::from(setup.nodes);
        let stays = setup.interval.saturating_mul(STAYS);
        let mut cluster = setup.cluster(clock)?;
        cluster.form(setup, self.warm_up)?;
        let side = cluster.draw_set(self.smaller.min(setup.nodes));
        let began = cluster.world.now();
        cluster.sampler.start(began, SAMPLE);
        cluster.perform(Action::Set(
            SPLIT,
            Fault {
                scope: Scope::Across(side.clone()),
                effect: Effect::Cut,
            },
        ));
        let written = write_on_both_sides(&mut cluster, &side);
        let alone = alone(&cluster, &side);
        let settled = cluster.run_until_all_stay(self.lasts.saturating_sub(stays), stays, alone);
        let left = (began + self.lasts).since(cluster.world.now());
        cluster.run(left);
        let during = cluster.tally.wrong_downs().count();
        let apart = cluster.live_share();

        cluster.tally.clear();
        cluster.perform(Action::Mend(SPLIT));
        let healing = cluster.world.now();
        let end = healing + self.limit;
        let is_whole = |node: &Node| node.metrics().live == all;
        let is_told = |node: &Node| written.iter().all(|write| write.known_to(node));
        let mut whole = Unanimity::new(&cluster.world, &is_whole);
        let mut told = Unanimity::new(&cluster.world, &is_told);
        let lasting = |since: Time, now: Time| now >= since + stays;
        let before = cluster.traffic();
        let (mut at_once, mut in_all) = (before, None);
        while (told.since().is_none()
            || !whole
                .since()
                .is_some_and(|since| lasting(since, cluster.world.now())))
            && let Some(step) = cluster.step(end)
        {
            let whole_since = whole.since();
            whole.look(&cluster.world, step, &is_whole);
            if whole.since() > whole_since {
                at_once = cluster.traffic();
            }
            if in_all.is_none() && step.at >= healing + AFTERMATH {
                in_all = Some(cluster.traffic());
            }
            told.look(&cluster.world, step, &is_told);
        }
        let after = |since: Time| since.since(healing).as_secs_f64();
        let healed = at_once.since(before);
        let aftermath = in_all.map(|traffic| traffic.since(before));
        let report = Report::default()
            .with("smaller_side", side.iter().count())
            .with("settled_s", settled.map(|after| after.as_secs_f64()))
            .with("heal_s", whole.since().map(after))
            .with("bytes_per_node", real(healed.bytes_out) / real(all))
            .with("datagrams_per_node", real(healed.datagrams_out) / real(all))
            .with(
                "bytes_per_node_in_10s",
                aftermath.map(|traffic| real(traffic.bytes_out) / real(all)),
            )
            .with("keys_everywhere_s", told.since().map(after))
            .with("wrong_down_during", during)
            .with("wrong_down_after_heal", cluster.tally.wrong_downs().count())
            .with("live_share_before_heal", apart)
            .with("live_share_at_end", cluster.live_share());
        let panel = Panel::new(
            "Share of all pairs that hold each other to be alive",
            "s after the cut",
            "share",
        )
        .with(
            format!("seed {}", setup.seed),
            cluster.sampler.live_shares(),
        );
        Ok(Outcome::new(cluster, report, vec![panel]))
    }
}

/// Whether a node holds all of its own side up and all of the other side down.
pub(super) fn alone(cluster: &Subject, side: &HostSet) -> impl Fn(&Node) -> bool + use<> {
    let on_side = side.iter().map(|host| cluster.world.host(host).node_id());
    let on_side: BTreeSet<NodeId> = on_side.collect();
    let others = count(cluster.world.hosts().len().saturating_sub(on_side.len()));
    move |node: &Node| {
        let own = if on_side.contains(&node.id()) {
            count(on_side.len())
        } else {
            others
        };
        node.metrics().live == own
    }
}

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

/// One node on either side writes.
fn write_on_both_sides(cluster: &mut Subject, side: &HostSet) -> Vec<Write> {
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
