//! What a simulated cluster is to be like.

use core::time::Duration;

use gossip_core::{Config, Name};

use super::cluster::{Cluster, host};
use super::{MILLI, SECOND};
use crate::num::{narrow, position};
use crate::sim::World;
use crate::sim::network::{Delay, Effect, Scope};

/// How long a cluster may take to come to rest after its warm-up.
const FORMS: Duration = Duration::from_secs(60);

/// What a simulated cluster is to be like. [`Cluster::of`] begins with these defaults:
///
/// - `Config::lan()`, and the first three nodes as seeds;
/// - delays of 1 to 10 ms, no loss, seed 1;
/// - one datacenter;
/// - a warm-up of 20 seconds.
#[must_use]
#[derive(Clone, Debug)]
pub struct Options {
    common: Config,
    configs: Vec<Config>,
    sites: Vec<u32>,
    spare: usize,
    seed: u64,
    delay: Delay,
    loss: f64,
    warm_up: Duration,
}

impl Options {
    pub(super) fn of(nodes: usize) -> Self {
        let mut common = Config::lan();
        common.max_members = common.max_members.max(narrow(nodes).saturating_mul(2));
        Self {
            configs: vec![common.clone(); nodes],
            common,
            sites: vec![0; nodes],
            spare: 0,
            seed: 1,
            delay: Delay::uniform(MILLI, 10 * MILLI),
            loss: 0.0,
            warm_up: 20 * SECOND,
        }
        .seeds([0, 1, 2])
    }

    /// Changes the configuration of all nodes, those included that are added later.
    pub fn config(mut self, change: impl Fn(&mut Config)) -> Self {
        change(&mut self.common);
        self.configs.iter_mut().for_each(change);
        self
    }

    /// Changes the configuration of each node, by its number.
    pub fn each(mut self, change: impl Fn(usize, &mut Config)) -> Self {
        for (number, config) in self.configs.iter_mut().enumerate() {
            change(number, config);
        }
        self
    }

    /// The nodes that all others know from the beginning.
    pub fn seeds(self, seeds: impl IntoIterator<Item = usize>) -> Self {
        let seeds: Vec<_> = seeds.into_iter().map(|n| host(n).address(0)).collect();
        self.config(|config| config.seeds.clone_from(&seeds))
    }

    /// Spreads the nodes over datacenters of these sizes, one node to each in turn. The first
    /// datacenter has no name, the others are called `dc1`, `dc2` and so on.
    pub fn datacenters(mut self, sizes: &[usize]) -> Self {
        let largest = sizes.iter().copied().max().unwrap_or(0);
        let turns = (0..largest).flat_map(|turn| {
            let open = sizes.iter().zip(0..).filter(move |(size, _)| **size > turn);
            open.map(|(_, site)| site)
        });
        self.sites = turns.take(self.configs.len()).collect();
        let sites = self.sites.clone();
        self.each(|number, config| {
            let site = sites.get(number).copied().unwrap_or(0);
            config.datacenter = datacenter(site);
        })
    }

    /// Adds machines that do not start. Their numbers follow those of the nodes that do.
    pub const fn spare(mut self, machines: usize) -> Self {
        self.spare = machines;
        self
    }

    /// The number that decides everything.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How long datagrams take.
    pub const fn delay(mut self, delay: Delay) -> Self {
        self.delay = delay;
        self
    }

    /// The share of all datagrams that is lost, from the beginning.
    pub const fn loss(mut self, share: f64) -> Self {
        self.loss = share;
        self
    }

    /// How long the nodes know one another before the test begins.
    pub const fn warm_up(mut self, time: Duration) -> Self {
        self.warm_up = time;
        self
    }

    /// The nodes start. They know nobody yet.
    ///
    /// # Panics
    /// If no node can be made of the configuration.
    #[track_caller]
    #[must_use]
    pub fn start(self) -> Cluster {
        let nodes = self.configs.len();
        let mut cluster = Cluster::new(World::new(self.seed, self.delay), self.common.clone());
        let spare = core::iter::repeat_n(self.common, self.spare);
        for (number, config) in self.configs.into_iter().chain(spare).enumerate() {
            let name = host(number).name();
            cluster.add_with(name.as_str(), config);
            let site = self.sites.get(number).copied().unwrap_or(0);
            cluster.world.set_site(host(number), site);
        }
        if self.loss > 0.0 {
            cluster.disturb(Scope::Everywhere, Effect::Loss(self.loss));
        }
        for number in 0..nodes {
            cluster.start(number);
        }
        cluster
    }

    /// The nodes start, meet, and come to rest. What they told meanwhile is forgotten.
    ///
    /// # Panics
    /// If the cluster cannot be made, or does not come to rest within a minute after the warm-up.
    #[track_caller]
    #[must_use]
    pub fn form(self) -> Cluster {
        let warm_up = self.warm_up;
        let mut cluster = self.start();
        cluster.pass(warm_up);
        let latest = cluster.world.now() + FORMS;
        while cluster.world.now() < latest && !cluster.is_at_rest() {
            cluster.pass(SECOND);
        }
        cluster.assert_at_rest();
        cluster.take_told();
        cluster
    }
}

/// The name of a datacenter.
pub(super) fn datacenter(site: u32) -> Option<Name> {
    (position(site) > 0).then(|| Name::new(&format!("dc{site}")).expect("a legal name"))
}
