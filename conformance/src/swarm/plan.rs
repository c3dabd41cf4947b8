//! What happens to a cluster in one exploration, drawn from a seed.

use core::fmt;
use core::time::Duration;

use gossip_core::{Command, Config, Dissemination, Key, Mode, Name, Value};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::last_death::{self, LastDeath};
use super::sustained::Sustained;
use super::writes::{self, Writes};
use super::{faults, links, shared_map};
use crate::num::{count, narrow};
use crate::sim::network::{Delay, Effect, Fault, FaultId, Links, Scope};
use crate::sim::{
    Action, HostId, Lie, Seeds, Stream, Time, WallClock, between, chance, nanos, pick,
};

/// A cluster and what happens to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    /// How many hosts.
    pub hosts: usize,
    /// What their nodes are started with.
    pub config: Config,
    /// In which datacenter each host is.
    pub places: Vec<usize>,
    /// The network without faults.
    pub delay: Delay,
    /// When each host's process starts.
    pub starts: Vec<Time>,
    /// What happens, in no particular order.
    pub episodes: Vec<Episode>,
    /// When all faults have ended.
    pub ends: Time,
    /// With what replication has to keep up once all is well again.
    pub sustained: Option<Sustained>,
    /// Which links go missing for long, once all is well.
    pub links: Option<Links>,
    /// When one more node dies in the end, and when that must be told.
    pub last_death: Option<LastDeath>,
}

/// One thing that happens, and ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Its place in the plan as it was drawn: its name when others are left out.
    pub number: usize,
    /// When it begins.
    pub begins: Time,
    /// When it ends; what has no end ends where it begins.
    pub ends: Time,
    /// What happens.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Something is wrong with the network.
    Fault(Fault),
    /// A process crashes, and starts again at the end.
    Restart(HostId),
    /// A process crashes for good.
    Crash(HostId),
    /// A node leaves; its process starts again at the end.
    LeaveAndReturn(HostId),
    /// A node leaves for good.
    Leave(HostId),
    /// A process stops, and goes on at the end.
    Pause(HostId),
    /// A process handles everything late.
    Slow(HostId, Duration),
    /// A wall clock is set, and set right at the end.
    Clock(HostId, WallClock),
    /// A node writes.
    Write(HostId, Key, Value),
    /// A node deletes.
    Delete(HostId, Key),
    /// A node broadcasts, this many times on end.
    Broadcast(HostId, u64),
    /// A datagram that no node sent arrives.
    Garbage(HostId, Vec<u8>),
    /// A node gets a lie about the shared map, this many times on end.
    Lie(HostId, Lie, u64),
    /// A node is told to forget another, which it does if that one is gone.
    Forget(HostId, HostId),
    /// A node writes to the shared map: [`Command::Put`], [`Command::Delete`] or
    /// [`Command::Resolve`].
    Map(HostId, Command),
    /// A node makes many writes at once.
    Burst(HostId, Writes),
    /// Nodes drawn at random write, until the end.
    Stream(Writes),
}

impl Plan {
    /// Draws a plan.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let rng = &mut Seeds::new(seed).rng(Stream::Plan);
        // Small clusters more often: most of what can go wrong goes wrong with few.
        let largest = *choose(rng, &[4, 8, 16, 30]);
        let hosts = usize::try_from(between(rng, 2, largest)).unwrap_or(2);
        let mut config = draw_config(rng, hosts);
        let interval = config.interval;
        let delay = draw_delay(rng, interval);
        let starts = (0..hosts).map(|_| within(rng, Time::START, interval * 5));
        let starts: Vec<Time> = starts.collect();
        // Some plans begin while the cluster forms, others when it has come to rest.
        let calm = interval * *choose(rng, &[0, 10, 40]);
        let lasts = interval * *choose(rng, &[20, 60]);
        let begins = Time::START + calm;
        let number = between(rng, 1, 14);
        let mut episodes: Vec<Episode> = (0..number)
            .filter_map(|number| {
                let number = usize::try_from(number).ok()?;
                Some(draw_episode(rng, number, hosts, &config, begins, lasts))
            })
            .collect();
        let late = starts.iter().copied().max().unwrap_or(Time::START);
        let latest = episodes.iter().map(|episode| episode.ends).max();
        let ends = latest.map_or(late, |latest| latest.max(late));
        let places = draw_datacenters(seed, &mut config, &mut episodes, hosts, ends);
        let ends = shared_map::draw(seed, &mut config, &mut episodes, hosts, ends);
        if let Some(fault) = faults::draw_narrow(seed, hosts) {
            episodes.push(Episode {
                number: episodes.len(),
                begins: Time::START,
                ends,
                what: What::Fault(fault),
            });
        }
        let sustained = writes::draw(seed, &config, &mut episodes, &places, &delay, ends);
        let links = links::draw(seed, &config);
        let last_death = Some(last_death::draw(
            seed,
            &config,
            &episodes,
            &places,
            (sustained.as_ref(), links),
        ));
        episodes.sort_by_key(|episode| (episode.begins, episode.number));
        Self {
            seed,
            hosts,
            config,
            places,
            delay,
            starts,
            episodes,
            ends,
            sustained,
            links,
            last_death,
        }
    }

    /// What the node of a host is started with.
    #[must_use]
    pub fn config_of(&self, host: usize) -> Config {
        let mut config = self.config.clone();
        let place = self.places.get(host).copied().unwrap_or(0);
        // Who is in the first one does not say.
        let name = (place > 0).then(|| Name::new(&format!("dc{place}")));
        config.datacenter = name.and_then(Result::ok);
        config
    }

    /// The same plan with only these of its episodes. It ends when it did.
    #[must_use]
    pub fn only(&self, numbers: &[usize]) -> Self {
        let mut plan = self.clone();
        plan.episodes
            .retain(|episode| numbers.contains(&episode.number));
        plan
    }

    /// The same plan without streams and bursts of writes, and without missing links: what a seed gave before
    /// there were any.
    #[must_use]
    pub fn without_many_writes(&self) -> Self {
        let mut plan = self.clone();
        plan.episodes
            .retain(|episode| !matches!(episode.what, What::Burst(..) | What::Stream(_)));
        plan.sustained = None;
        plan.links = None;
        plan
    }

    /// The numbers of its episodes.
    #[must_use]
    pub fn numbers(&self) -> Vec<usize> {
        self.episodes.iter().map(|episode| episode.number).collect()
    }

    /// Everything that is done to the world, in order.
    #[must_use]
    pub fn script(&self) -> Vec<(Time, Action)> {
        let starts = self.starts.iter().enumerate();
        let mut script: Vec<(Time, Action)> = starts
            .map(|(host, &at)| (at, Action::Start(HostId::at(host))))
            .collect();
        for episode in &self.episodes {
            episode.act(self.hosts, &mut script);
        }
        script.sort_by_key(|(at, _)| *at);
        script
    }
}

impl Episode {
    fn act(&self, hosts: usize, script: &mut Vec<(Time, Action)>) {
        let mut begin = |action| script.push((self.begins, action));
        let mut end = None;
        match self.what.clone() {
            What::Fault(fault) => {
                let id = FaultId::new(narrow(self.number));
                begin(Action::Set(id, fault));
                end = Some(Action::Mend(id));
            }
            What::Restart(host) => {
                begin(Action::Crash(host));
                end = Some(Action::Start(host));
            }
            What::Crash(host) => begin(Action::Crash(host)),
            What::LeaveAndReturn(host) => {
                begin(Action::Command(host, Command::Leave));
                script.push((self.ends, Action::Crash(host)));
                end = Some(Action::Start(host));
            }
            What::Leave(host) => begin(Action::Command(host, Command::Leave)),
            What::Pause(host) => {
                begin(Action::Pause(host));
                end = Some(Action::Resume(host));
            }
            What::Slow(host, lag) => {
                begin(Action::Slow(host, lag));
                end = Some(Action::Slow(host, Duration::ZERO));
            }
            What::Clock(host, wall) => {
                begin(Action::SetClock(host, wall));
                end = Some(Action::SetClock(host, WallClock::default()));
            }
            What::Write(host, key, value) => {
                begin(Action::Command(host, Command::Set { key, value }));
            }
            What::Delete(host, key) => begin(Action::Command(host, Command::Unset { key })),
            What::Broadcast(host, times) => {
                for time in 0..times {
                    let payload = format!("{} {time}", self.number);
                    begin(Action::Command(
                        host,
                        Command::Broadcast {
                            name: Key::new("swarm").expect("a legal key"),
                            payload: Value::new(payload).expect("a legal value"),
                        },
                    ));
                }
            }
            What::Garbage(host, bytes) => begin(Action::Forge(host, bytes)),
            What::Lie(host, lie, times) => {
                for _ in 0..times {
                    begin(Action::Lie(host, lie));
                }
            }
            What::Forget(host, other) => {
                let id = other.node_id();
                begin(Action::Command(host, Command::Forget { id }));
            }
            What::Map(host, command) => begin(Action::Command(host, command)),
            What::Burst(host, writes) => self.write(&writes, &[host], script),
            What::Stream(writes) => {
                let hosts: Vec<HostId> = (0..hosts).map(HostId::at).collect();
                self.write(&writes, &hosts, script);
            }
        }
        script.extend(end.map(|action| (self.ends, action)));
    }

    fn write(&self, writes: &Writes, writers: &[HostId], script: &mut Vec<(Time, Action)>) {
        let writes = writes.within(self.ends.since(self.begins), writers);
        script.extend(writes.into_iter().map(|(after, writer, command)| {
            (self.begins + after, Action::Command(writer, command))
        }));
    }
}

/// One of several things, each as likely as the others.
pub(super) fn choose<'a, T>(rng: &mut ChaCha8Rng, things: &'a [T]) -> &'a T {
    let drawn = pick(rng, things.len());
    things.get(drawn).expect("a choice has something to choose")
}

pub(super) fn within(rng: &mut ChaCha8Rng, from: Time, span: Duration) -> Time {
    from + Duration::from_nanos(between(rng, 0, nanos(span)))
}

fn draw_config(rng: &mut ChaCha8Rng, hosts: usize) -> Config {
    let mut config = Config::lan();
    config.cluster = "swarm".to_owned();
    let seeds = (0..hosts.min(3)).map(|host| HostId::at(host).address(0));
    config.seeds = seeds.collect();
    config.interval = Duration::from_millis(*choose(rng, &[200, 1000, 1000, 3000]));
    config.fanout = *choose(rng, &[1, 2, 3, 3, 5]);
    config.mode = *choose(
        rng,
        &[Mode::PushPull, Mode::PushPull, Mode::Push, Mode::Pull],
    );
    config.dissemination = *choose(rng, &[Dissemination::Eager, Dissemination::Periodic]);
    config.push_fanout = *choose(rng, &[2, 4, 10]);
    config.push_trees = *choose(rng, &[1, 2, 3]);
    config.neighbours = *choose(rng, &[2, 4, 8, 8]);
    // Few samples and a high threshold together mean minutes of patience: nothing to wait for here.
    (config.window, config.phi_convict) = *choose(rng, &[(64, 8.0), (64, 12.0), (16, 8.0)]);
    // Within the time that the cluster gets to come to rest.
    config.remove_after = *choose(
        rng,
        &[
            config.remove_after,
            config.remove_after,
            config.interval * 30,
        ],
    );
    // For as long as a plan takes, or so short that some expire before all have them.
    let hour = Duration::from_secs(3600);
    config.broadcast_ttl = *choose(rng, &[hour, hour, Duration::from_secs(5)]);
    config.max_datagram = *choose(rng, &[512, 1400, 1400]);
    config.outbox = *choose(rng, &[64, 1024]);
    config.event_queue = *choose(rng, &[16, 4096]);
    config
}

/// In every other plan, several datacenters; in some of those, one of them is cut off for a while. From
/// a stream of its own, so that the rest of a plan is what it was before there were any.
fn draw_datacenters(
    seed: u64,
    config: &mut Config,
    episodes: &mut Vec<Episode>,
    hosts: usize,
    ends: Time,
) -> Vec<usize> {
    let rng = &mut Seeds::new(seed).rng(Stream::Datacenters);
    let datacenters = *choose(rng, &[1, 1, 1, 2, 2, 3, hosts]);
    config.bridges = *choose(rng, &[2, 3, 3]);
    let places: Vec<usize> = (0..hosts).map(|_| pick(rng, datacenters)).collect();
    if datacenters > 1 && chance(rng, 0.5) {
        let side = (0..hosts).filter(|host| places.get(*host) == Some(&0));
        let begins = within(rng, Time::START, ends.since(Time::START));
        let fault = Fault {
            scope: Scope::Across(side.map(HostId::at).collect()),
            effect: Effect::Cut,
        };
        episodes.push(Episode {
            number: episodes.len(),
            begins,
            ends: within(rng, begins, ends.since(begins)),
            what: What::Fault(fault),
        });
    }
    places
}

fn draw_delay(rng: &mut ChaCha8Rng, interval: Duration) -> Delay {
    // Up to a tenth of an interval: that is no fault yet.
    let longest = interval / *choose(rng, &[10, 20, 100, 1000]);
    Delay::uniform(longest / *choose(rng, &[1, 10]), longest)
}

fn draw_episode(
    rng: &mut ChaCha8Rng,
    number: usize,
    hosts: usize,
    config: &Config,
    begins: Time,
    lasts: Duration,
) -> Episode {
    let begins = within(rng, begins, lasts);
    let span = config.interval * *choose(rng, &[1, 5, 20, 60]);
    let ends = within(rng, begins, span);
    let host = HostId::at(pick(rng, hosts));
    // The first host stays: a seed that is there in the end is what joining takes.
    let mortal = HostId::at(pick(rng, hosts.saturating_sub(1)).saturating_add(1));
    let (ends, what) = match between(rng, 0, 99) {
        0..=34 => (ends, What::Fault(faults::draw(rng, hosts, config.interval))),
        35..=44 => (ends, What::Restart(host)),
        45..=49 => (begins, What::Crash(mortal)),
        50..=52 => (ends, What::LeaveAndReturn(mortal)),
        53..=54 => (begins, What::Leave(mortal)),
        55..=64 => (ends, What::Pause(host)),
        65..=69 => {
            let lag = config.interval * *choose(rng, &[1, 3, 6]) / 2;
            (ends, What::Slow(host, lag))
        }
        70..=74 => (ends, What::Clock(host, draw_clock(rng))),
        75..=80 => (begins, What::Broadcast(host, *choose(rng, &[1, 3, 40]))),
        81..=91 => (
            begins,
            What::Write(host, draw_key(rng), draw_value(rng, number)),
        ),
        92..=95 => (begins, What::Delete(host, draw_key(rng))),
        // Forgetting is local; all agree again once all have removed the member.
        96..=97 if config.remove_after < lasts * 4 => (begins, What::Forget(host, mortal)),
        _ => (begins, What::Garbage(host, draw_garbage(rng))),
    };
    Episode {
        number,
        begins,
        ends,
        what,
    }
}

/// Mostly within what the default `max_clock_skew` allows between any two nodes; else up to two hours wrong.
fn draw_clock(rng: &mut ChaCha8Rng) -> WallClock {
    let most = if chance(rng, 0.3) { 7_200_000 } else { 25_000 };
    let ahead = i64::try_from(between(rng, 0, most)).unwrap_or(0);
    WallClock {
        ahead_ms: if chance(rng, 0.5) { ahead } else { -ahead },
    }
}

fn draw_key(rng: &mut ChaCha8Rng) -> Key {
    // Few keys, so that they are written again.
    let key = choose(rng, &["a", "b", "c"]);
    Key::new(key).expect("a legal key")
}

fn draw_value(rng: &mut ChaCha8Rng, number: usize) -> Value {
    let mut value = format!("value {number} ").into_bytes();
    let length = *choose(rng, &[0, 10, 300, 1000]);
    value.resize(value.len().max(length), b'.');
    Value::new(value).expect("a legal value")
}

fn draw_garbage(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = vec![0; pick(rng, 1500)];
    rng.fill_bytes(&mut bytes);
    bytes
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        writeln!(
            f,
            "seed {}: {} hosts, interval {:?}, fanout {}, {:?}, {:?}, push {} x {}, {} neighbours, \
             window {}, convict {}, datagram {}, outbox {}, events {}, remove {:?}, grace {:?}, forget {:?}, delay {}, \
             datacenters {:?} with {} bridges",
            self.seed,
            self.hosts,
            config.interval,
            config.fanout,
            config.mode,
            config.dissemination,
            config.push_trees,
            config.push_fanout,
            config.neighbours,
            config.window,
            config.phi_convict,
            config.max_datagram,
            config.outbox,
            config.event_queue,
            config.remove_after,
            config.gc_grace,
            config.forget_after,
            self.delay,
            self.places,
            config.bridges
        )?;
        for episode in &self.episodes {
            writeln!(
                f,
                "  {:>2}: {:>11} to {:>11}  {}",
                episode.number, episode.begins, episode.ends, episode.what
            )?;
        }
        write!(f, "      all ends at {:>11}", self.ends)?;
        if let Some(sustained) = &self.sustained {
            write!(f, "\n      {sustained}")?;
        }
        if let Some(links) = self.links {
            write!(f, "\n      then {links}")?;
        }
        match &self.last_death {
            Some(death) => write!(f, "\n      {death}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => write!(f, "network: {fault}"),
            Self::Restart(host) => write!(f, "{host} crashes and starts again"),
            Self::Crash(host) => write!(f, "{host} crashes for good"),
            Self::LeaveAndReturn(host) => write!(f, "{host} leaves and starts again"),
            Self::Leave(host) => write!(f, "{host} leaves for good"),
            Self::Pause(host) => write!(f, "{host} is paused"),
            Self::Slow(host, lag) => write!(f, "{host} handles everything {lag:?} late"),
            Self::Clock(host, wall) => write!(f, "{host}'s clock is {} ms ahead", wall.ahead_ms),
            Self::Write(host, key, value) => {
                let length = count(value.as_bytes().len());
                write!(f, "{host} writes {key} ({length} bytes)")
            }
            Self::Delete(host, key) => write!(f, "{host} deletes {key}"),
            Self::Broadcast(host, times) => write!(f, "{host} broadcasts {times} times"),
            Self::Forget(host, other) => write!(f, "{host} is told to forget {other}"),
            Self::Garbage(host, bytes) => write!(f, "{host} gets {} random bytes", bytes.len()),
            Self::Lie(host, lie, times) => write!(f, "{host} gets {lie}, {times} times"),
            Self::Map(host, command) => write!(f, "{host} {}", shared_map::words(command)),
            Self::Burst(host, writes) => write!(f, "{host} makes {writes}"),
            Self::Stream(writes) => write!(f, "all make {writes}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_plan_and_seeds_differ() {
        assert_eq!(Plan::draw(5), Plan::draw(5));
        assert_ne!(Plan::draw(5).episodes, Plan::draw(6).episodes);
    }

    #[test]
    fn whatever_a_plan_begins_it_ends_by_its_end() {
        for seed in 0..500 {
            let plan = Plan::draw(seed);
            let script = plan.script();
            assert!(script.iter().all(|(at, _)| *at <= plan.ends));
            let count =
                |wanted: fn(&Action) -> bool| script.iter().filter(|(_, a)| wanted(a)).count();
            let sets = count(|a| matches!(a, Action::Set(..)));
            assert_eq!(sets, count(|a| matches!(a, Action::Mend(_))));
            let pauses = count(|a| matches!(a, Action::Pause(_)));
            assert_eq!(pauses, count(|a| matches!(a, Action::Resume(_))));
        }
    }

    #[test]
    fn leaving_an_episode_out_leaves_the_others_as_they_were() {
        let plan = Plan::draw(11);
        let numbers = plan.numbers();
        let most: Vec<usize> = numbers.iter().copied().skip(1).collect();
        assert_eq!(plan.only(&most).episodes[..], plan.episodes[1..]);
        assert_eq!(plan.only(&most).ends, plan.ends);
    }
}
