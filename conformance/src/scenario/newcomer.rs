//! How soon a newcomer knows all that the others hold, and what that costs any one of them.

use core::time::Duration;
use std::collections::VecDeque;

use gossip_core::{Command, Event, Key, Node, Value};

use super::Outcome;
use super::cluster::{Clock, Setup, Subject, Unplayable};
use super::report::Report;
use crate::num::{position, real};
use crate::sim::{Action, HostId, Time};

/// One node joins a cluster at rest in which each node has attributes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Newcomer {
    /// How long the cluster has to come to rest, once attributes are written.
    pub warm_up: Duration,
    /// Bytes of the attributes of each node.
    pub state: u32,
    /// How long the newcomer may take.
    pub limit: Duration,
}

/// Bytes of each attribute.
const VALUE: u32 = 1000;

/// How often traffic is looked at.
const SAMPLE: Duration = Duration::from_millis(10);

/// Samples in the time over which the rate of one peer is taken: a second.
const WINDOW: usize = 100;

impl Newcomer {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let mut cluster = setup.cluster(clock)?;
        cluster.form(setup, Duration::ZERO)?;
        self.fill(&mut cluster, setup);
        cluster.run(self.warm_up);
        cluster.tally.clear();
        let all = held(&cluster, HostId::new(0));
        let newcomer = cluster
            .world
            .add(HostId::new(setup.nodes).name().as_str(), setup.config())?;

        let began = cluster.world.now();
        let mut rates = Rates::new(&cluster, setup);
        let (mut joined, mut complete) = (None, None);
        cluster.perform(Action::Start(newcomer));
        while complete.is_none() && cluster.world.now() < began + self.limit {
            let until = cluster.world.now() + SAMPLE;
            while let Some(step) = cluster.step(until) {
                let is_joined = |event: &&Event| matches!(event, Event::Joined { .. });
                if step.host == newcomer && cluster.world.events().iter().find(is_joined).is_some()
                {
                    joined = joined.or(Some(step.at));
                }
            }
            rates.look(&cluster);
            if joined.is_some() && held(&cluster, newcomer) >= all {
                complete = Some(cluster.world.now());
            }
        }
        let after = |at: Option<Time>| at.map(|at| at.since(began).as_secs_f64());
        let taken = cluster.world.host(newcomer).traffic().bytes_in;
        let asked = cluster.world.host(newcomer).traffic().bytes_out;
        let report = Report::default()
            .with("joined_s", after(joined))
            .with("complete_s", after(complete))
            .with("state_kb", real(all) / 1000.0)
            .with("taken_kb", real(taken) / 1000.0)
            .with("sent_kb", real(asked) / 1000.0)
            .with("max_kb_per_peer", real(rates.most) / 1000.0)
            .with("max_kb_per_peer_and_s", real(rates.fastest) / 1000.0)
            .with("wrong_down", cluster.tally.wrong_downs().count());
        Ok(Outcome::new(cluster, report, vec![]))
    }

    /// Each node writes its attributes, a part of them at a time.
    fn fill(&self, cluster: &mut Subject, setup: &Setup) {
        for part in 0..self.state.div_ceil(VALUE) {
            let size = self.state.saturating_sub(part.saturating_mul(VALUE));
            let value = vec![b'.'; position(size.min(VALUE))];
            for number in 0..setup.nodes {
                let command = Command::Set {
                    key: Key::new(&format!("state{part}")).expect("a legal key"),
                    value: Value::new(value.clone()).expect("a legal value"),
                };
                cluster.perform(Action::Command(HostId::new(number), command));
            }
            cluster.run(setup.interval);
        }
    }
}

/// How many bytes of state a node holds.
fn held(cluster: &Subject, host: HostId) -> u64 {
    let node = cluster.world.host(host).node();
    node.map_or(0, |node: &Node| node.metrics().state_bytes)
}

/// What each peer sends, the traffic at rest included.
struct Rates {
    peers: usize,
    /// What each peer had sent at the last so many samples.
    sent: VecDeque<Vec<u64>>,
    first: Vec<u64>,
    /// The most that one peer has sent in all, and within a second.
    most: u64,
    fastest: u64,
}

impl Rates {
    fn new(cluster: &Subject, setup: &Setup) -> Self {
        let peers = position(setup.nodes);
        let first = sent(cluster, peers);
        Self {
            peers,
            sent: VecDeque::from([first.clone()]),
            first,
            most: 0,
            fastest: 0,
        }
    }

    fn look(&mut self, cluster: &Subject) {
        let now = sent(cluster, self.peers);
        if let Some(before) = self.sent.front() {
            self.fastest = self.fastest.max(most(&now, before));
        }
        self.most = self.most.max(most(&now, &self.first));
        if self.sent.len() >= WINDOW {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
    }
}

fn sent(cluster: &Subject, peers: usize) -> Vec<u64> {
    let hosts = cluster.world.hosts().iter().take(peers);
    hosts.map(|host| host.traffic().bytes_out).collect()
}

/// The most by which one has grown.
fn most(now: &[u64], before: &[u64]) -> u64 {
    let grown = now.iter().zip(before);
    let grown = grown.map(|(now, before)| now.saturating_sub(*before));
    grown.max().unwrap_or(0)
}
