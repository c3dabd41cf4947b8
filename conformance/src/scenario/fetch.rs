//! How fast a newcomer fetches a large shared map, and whether others suffer from it.

use core::time::Duration;

use gossip_core::{Command, Event, Key, Node, Policy, Value};

use super::Outcome;
use super::cluster::{Clock, LINK, Setup, Subject, Unplayable};
use super::report::{Panel, Report};
use crate::num::{amount, count, position, real};
use crate::sim::network::{Effect, Fault, Scope};
use crate::sim::{Action, HostId, Time, pick};

/// All nodes of a cluster but one have a large map. Then the last one starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fetch {
    /// How long the cluster has before.
    pub warm_up: Duration,
    /// How many keys the map has.
    pub keys: u32,
    /// How many bytes each value has.
    pub value: usize,
    /// Bytes in a second that any node gets through to the newcomer, and it to them. `None`: no limit.
    pub link: Option<u64>,
    /// How long a datagram may wait for its turn on that link.
    pub buffer: Duration,
    /// Writes of all nodes together, in a second, while the newcomer fetches. `None`: none.
    pub rate: Option<f64>,
    /// How long to wait for the newcomer.
    pub limit: Duration,
}

/// How many values are written at a time before the newcomer starts.
const BATCH: u32 = 50;

/// The time from one batch to the next.
const PAUSE: Duration = Duration::from_millis(50);

impl Fetch {
    /// Plays the scenario.
    ///
    /// # Errors
    /// [`Unplayable`].
    pub fn play(&self, setup: &Setup, clock: &Clock) -> Result<Outcome, Unplayable> {
        let mut cluster = setup.cluster(clock)?;
        cluster.form(setup, self.warm_up)?;
        let newcomer = HostId::new(setup.nodes.saturating_sub(1));
        cluster.perform(Action::Crash(newcomer));
        let mut refused = 0_u64;
        for number in 0..self.keys {
            refused += u64::from(!self.put(&mut cluster, HostId::new(0), number));
            if number % BATCH == BATCH - 1 {
                cluster.run(PAUSE);
            }
        }
        let keys = position(self.keys);
        let has_all = |node: &Node| node.map().keys() >= keys;
        let others_have = cluster.run_until_all(self.limit, has_all).is_some();
        cluster.run(setup.interval.saturating_mul(5));
        cluster.tally.clear();

        if let Some(bytes_per_s) = self.link {
            cluster.perform(Action::Set(
                LINK,
                Fault {
                    scope: Scope::Around([newcomer].into_iter().collect()),
                    effect: Effect::Bandwidth {
                        bytes_per_s,
                        buffer: self.buffer,
                    },
                },
            ));
        }
        let began = cluster.world.now();
        let before = totals(&cluster);
        cluster.perform(Action::Start(newcomer));
        let end = began + self.limit;
        let mut progress = vec![(0.0, 0.0)];
        let (mut suspicions, mut fetched) = (0_u64, None);
        let mut next = began;
        while fetched.is_none() && cluster.world.now() < end {
            let gap = self.rate.map_or(0.1, |rate| 1.0 / rate);
            next = (next + Duration::from_secs_f64(gap)).min(end);
            while let Some(step) = cluster.step(next) {
                let told = cluster.world.events().iter();
                let told = told.filter(|event| matches!(event, Event::MemberSuspected { .. }));
                suspicions = suspicions.saturating_add(count(told.count()));
                let node = cluster.world.host(newcomer).node();
                if step.host == newcomer && node.is_some_and(has_all) {
                    fetched = fetched.or(Some(step.at));
                }
            }
            if self.rate.is_some() {
                let others = position(setup.nodes.saturating_sub(1)).max(1);
                let writer = HostId::at(pick(&mut cluster.rng, others));
                let number = pick(&mut cluster.rng, keys.max(1));
                let number = u32::try_from(number).unwrap_or(0);
                refused += u64::from(!self.put(&mut cluster, writer, number));
            }
            let node = cluster.world.host(newcomer).node();
            let share = node.map_or(0.0, |node| amount(node.map().keys()) / amount(keys.max(1)));
            progress.push((cluster.world.now().since(began).as_secs_f64(), share));
        }
        let took = |at: Time| at.since(began).as_secs_f64();
        let sent = totals(&cluster);
        let (bytes_out, bytes_in) = (sent.0 - before.0, sent.1 - before.1);
        let map = real(u64::from(self.keys)) * amount(self.value);
        let report = Report::default()
            .with("fetch_s", fetched.map(took))
            .with(
                "link_share",
                fetched
                    .zip(self.link)
                    .map(|(at, link)| map / took(at) / real(link)),
            )
            .with("lost_share", 1.0 - bytes_in / bytes_out.max(1.0))
            .with("sent_per_map_byte", bytes_out / map.max(1.0))
            .with("suspicions", suspicions)
            .with("wrong_down", cluster.tally.wrong_downs().count())
            .with("refused", refused)
            .with("others_have", u64::from(others_have));
        let panel = Panel::new("Keys that the newcomer has", "s", "share")
            .with(format!("seed {}", setup.seed), progress);
        Ok(Outcome::new(cluster, report, vec![panel]))
    }

    /// Writes a key. Tells whether the node has taken it.
    fn put(&self, cluster: &mut Subject, writer: HostId, number: u32) -> bool {
        let key = Key::new(&format!("key {number}")).expect("a legal key");
        let mut bytes = format!("{number:08}").into_bytes();
        bytes.resize(self.value.max(8), b'.');
        let command = Command::Put {
            key,
            value: Value::new(bytes).expect("a legal value"),
            policy: Policy::LastWriteWins,
            lifetime: None,
        };
        matches!(cluster.world.ask(writer, command), Some(Ok(())))
    }
}

/// Bytes sent and bytes received by all nodes, the earlier lives included.
fn totals(cluster: &Subject) -> (f64, f64) {
    let hosts = cluster.world.hosts().iter();
    let all = hosts.map(|host| (host.traffic().bytes_out, host.traffic().bytes_in));
    all.fold((0.0, 0.0), |(sent, got), (out, into)| {
        (sent + real(out), got + real(into))
    })
}
