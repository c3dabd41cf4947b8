//! What crosses between datacenters, and what becomes of them when it does not.

use core::time::Duration;
use std::collections::BTreeMap;

use super::Outcome;
use super::cluster::{Clock, SPLIT, STAYS, Setup, Subject, Unplayable};
use super::partition::alone;
use super::report::{Panel, Report};
use super::spread::{Place, Spread, Travel};
use super::tally::Verdict;
use crate::num::{count, real};
use crate::sim::network::{Effect, Fault, Scope};
use crate::sim::{Action, HostId, HostSet, Time, Traffic};
use crate::stats::Sample;

/// Several datacenters at rest; then writes, crashes, and one of them cut off. What crosses is compared
/// with what crosses between the same halves, or parts, of a cluster with a single datacenter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Datacenters {
    /// How many.
    pub datacenters: u32,
    /// How long the cluster has before.
    pub warm_up: Duration,
    /// How long it is measured at rest, and how long the cut lasts.
    pub rests: Duration,
    /// How many writes.
    pub writes: u32,
    /// How long anything may take.
    pub limit: Duration,
}

/// How often the curve is sampled.
const SAMPLE: Duration = Duration::from_millis(100);

/// What crossed between the parts of a cluster.
struct Crossing {
    /// In a second of rest.
    rest: f64,
    /// For each write, beyond that.
    write: f64,
    travels: Vec<Travel>,
}

impl Datacenters {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let of = |datacenters| Setup {
            datacenters,
            ..setup.clone()
        };
        let several = of(self.datacenters);
        let (single, trace) = {
            let setup = of(1);
            let mut cluster = setup.cluster(clock)?;
            // The same parts as in the other cluster.
            for number in 0..setup.nodes {
                cluster
                    .world
                    .set_site(HostId::new(number), several.site(number));
            }
            cluster.form(&setup, self.warm_up)?;
            let crossing = self.crossing(&mut cluster, &setup);
            (crossing, cluster.trace_hash())
        };
        let setup = &several;
        let mut cluster = setup.cluster(clock)?;
        cluster.world.join_trace(trace);
        let formed = cluster.form(setup, self.warm_up)?;
        let crossing = self.crossing(&mut cluster, setup);
        let site = |host: HostId| setup.site(host.number());
        let arrivals = |abroad: bool| -> Sample {
            let travels = crossing.travels.iter();
            let arrivals = travels.flat_map(|travel| {
                travel
                    .arrivals
                    .iter()
                    .zip([travel.writer].into_iter().cycle())
            });
            arrivals
                .filter(|((to, _), from)| (site(*to) != site(*from)) == abroad)
                .map(|((_, after), _)| *after)
                .collect()
        };
        let (here, abroad) = (arrivals(false), arrivals(true));
        let report = Report::default()
            .with("datacenters", u64::from(self.datacenters))
            .with("formed_s", formed.as_secs_f64())
            .with("crossing_bytes_per_s", crossing.rest)
            .with("crossing_bytes_per_s_in_one", single.rest)
            .with("rest_ratio", single.rest / crossing.rest.max(1e-9))
            .with("crossing_bytes_per_write", crossing.write)
            .with("crossing_bytes_per_write_in_one", single.write)
            .with("write_ratio", single.write / crossing.write.max(1e-9))
            .with("here_p99_s", here.percentile(99))
            .with("here_max_s", here.max())
            .with("abroad_p50_s", abroad.percentile(50))
            .with("abroad_p99_s", abroad.percentile(99))
            .with("abroad_max_s", abroad.max())
            .with(
                "unfinished",
                crossing.travels.iter().filter(|t| t.last.is_none()).count(),
            );

        let (bridges, ordinary) = bridges(&cluster, 1);
        let one = ordinary.first().copied().into_iter().collect();
        let report = report.and(self.crash(
            &mut cluster,
            setup,
            &one,
            ["crash_seen_here_s", "crash_seen_abroad_s"],
        ));
        let keys = ["bridges_seen_here_s", "bridges_seen_abroad_s"];
        let report = report.and(self.crash(&mut cluster, setup, &bridges, keys));
        let report = report.with("wrong_down_before_cut", cluster.tally.wrong_downs().count());
        let report = report.and(self.cut(&mut cluster, setup));
        let panel = Panel::new(
            "Share of all pairs that hold each other to be alive",
            "s after a datacenter is cut off",
            "share",
        )
        .with(
            format!("seed {}", setup.seed),
            cluster.sampler.live_shares(),
        );
        Ok(Outcome::new(cluster, report, vec![panel]))
    }

    /// At rest, and with writes.
    fn crossing(&self, cluster: &mut Subject, setup: &Setup) -> Crossing {
        let measure = |cluster: &Subject, before: (Time, Traffic)| {
            let lasted = cluster.world.now().since(before.0).as_secs_f64();
            let bytes = cluster.world.crossing().since(before.1).bytes_out;
            (real(bytes), lasted.max(1e-9))
        };
        let mark = |cluster: &Subject| (cluster.world.now(), cluster.world.crossing());
        let before = mark(cluster);
        cluster.run(self.rests);
        let (bytes, lasted) = measure(cluster, before);
        let rest = bytes / lasted;
        let before = mark(cluster);
        let spread = Spread {
            to: Place::Attribute,
            warm_up: Duration::ZERO,
            writes: self.writes,
            limit: self.limit,
        };
        let travels: Vec<Travel> = (0..self.writes)
            .map(|number| spread.write(cluster, setup, number))
            .collect();
        // What is told of a change for a while is over.
        cluster.run(setup.interval.saturating_mul(10));
        let (bytes, lasted) = measure(cluster, before);
        Crossing {
            rest,
            write: (bytes - rest * lasted) / real(u64::from(self.writes.max(1))),
            travels,
        }
    }

    /// Some nodes of one datacenter crash; then they start again.
    fn crash(
        &self,
        cluster: &mut Subject,
        setup: &Setup,
        victims: &HostSet,
        keys: [&'static str; 2],
    ) -> Report {
        let began = cluster.world.now();
        for victim in victims.iter() {
            cluster.perform(Action::Crash(victim));
        }
        let all = u64::from(setup.nodes);
        let survivors = all.saturating_sub(count(victims.iter().count()));
        cluster.run_until_all(self.limit, |node| node.metrics().live <= survivors);
        let mut last: BTreeMap<bool, f64> = BTreeMap::new();
        for sighting in cluster.tally.sightings() {
            if sighting.at >= began
                && sighting.verdict == Verdict::Down
                && victims.contains(sighting.subject)
            {
                let site = |host: HostId| setup.site(host.number());
                let abroad = site(sighting.observer) != site(sighting.subject);
                let after = sighting.at.since(began).as_secs_f64();
                let latest = last.entry(abroad).or_default();
                *latest = latest.max(after);
            }
        }
        for victim in victims.iter() {
            cluster.perform(Action::Start(victim));
        }
        cluster.run_until_all_stay(self.limit, setup.interval.saturating_mul(STAYS), |node| {
            node.metrics().live == all
        });
        let [here, abroad] = keys;
        Report::default()
            .with(here, last.get(&false).copied())
            .with(abroad, last.get(&true).copied())
    }

    /// The first datacenter is cut off, and comes back.
    fn cut(&self, cluster: &mut Subject, setup: &Setup) -> Report {
        let all = u64::from(setup.nodes);
        let stays = setup.interval.saturating_mul(STAYS);
        let hosts = (0..setup.nodes).map(HostId::new);
        let side: HostSet = hosts
            .filter(|host| setup.site(host.number()) == 0)
            .collect();
        cluster.tally.clear();
        let began = cluster.world.now();
        cluster.sampler.start(began, SAMPLE);
        let fault = Fault {
            scope: Scope::Across(side.clone()),
            effect: Effect::Cut,
        };
        cluster.perform(Action::Set(SPLIT, fault));
        let alone = alone(cluster, &side);
        let settled = cluster.run_until_all_stay(self.limit, stays, alone);
        let during = cluster.tally.wrong_downs().count();
        let apart = cluster.live_share();
        cluster.run((began + self.rests).since(cluster.world.now()));
        cluster.tally.clear();
        cluster.perform(Action::Mend(SPLIT));
        let healed =
            cluster.run_until_all_stay(self.limit, stays, |node| node.metrics().live == all);
        Report::default()
            .with("cut_settled_s", settled.map(|after| after.as_secs_f64()))
            .with("live_share_while_cut", apart)
            .with("wrong_down_while_cut", during)
            .with("heal_s", healed.map(|after| after.as_secs_f64()))
            .with("wrong_down_after_heal", cluster.tally.wrong_downs().count())
            .with("live_share_at_end", cluster.live_share())
    }
}

/// The bridges of a datacenter as one of its nodes sees them, and the others.
fn bridges(cluster: &Subject, site: u32) -> (HostSet, Vec<HostId>) {
    let world = &cluster.world;
    let here = || world.hosts().iter().filter(move |host| host.site() == site);
    let view = here().find_map(|host| host.node());
    let is_bridge = |host: HostId| {
        let id = world.host(host).node_id();
        view.and_then(|node| node.member(id))
            .is_some_and(|member| member.is_bridge())
    };
    let hosts = here().map(|host| host.id());
    let (bridges, others): (Vec<HostId>, Vec<HostId>) = hosts.partition(|host| is_bridge(*host));
    (bridges.into_iter().collect(), others)
}
