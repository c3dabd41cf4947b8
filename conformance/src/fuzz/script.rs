//! Target `script`: what happens to a small cluster, read from bytes.
//!
//! The bytes become a plan of the swarm, so that all its checks apply: nothing shown goes back or is
//! made up, and once the faults have ended the cluster comes to rest and agrees with the truth. Some scripts
//! lie about the shared map, too, in ways that change nothing of that.

use core::ops::RangeInclusive;
use core::time::Duration;

use gossip_core::{Command, Config, Dissemination, Key, Mode, Policy, Value};

use super::FEW_SAMPLES;
use super::bytes::Bytes;
use crate::num::narrow;
use crate::sim::network::{Bursts, Delay, Effect, Fault, Scope};
use crate::sim::{Claimed, HostId, HostSet, Lie, Number, Said, Time, WallClock};
use crate::swarm::{Episode, Plan, Recording, What, explore};

/// Episodes read from one input, at most.
const MOST: usize = 24;
/// Intervals from one episode's beginning to the next one's, and from its beginning to its end.
const SPANS: [u32; 8] = [0, 1, 2, 3, 5, 8, 20, 60];

/// With these numbers for the hosts, a script can lie. No input of the corpus had one of them before there
/// were lies.
const LIARS: RangeInclusive<u8> = 248..=253;
/// Episodes of these kinds are lies then.
const LIES: RangeInclusive<u8> = 208..=255;

/// Plays the plan that the bytes stand for.
///
/// # Panics
/// Where a node does, or where an invariant does not hold.
pub fn script(bytes: &[u8]) {
    let plan = read(&mut Bytes(bytes));
    if let Some(failure) = explore(&plan, Recording::Off).failure {
        panic!("{plan}\n{}", failure.describe(&plan));
    }
}

fn read(bytes: &mut Bytes<'_>) -> Plan {
    let seed = u64::from(bytes.byte());
    let number = bytes.byte();
    let hosts = usize::from(number % 3).saturating_add(2);
    let lies = LIARS.contains(&number);
    let config = read_config(bytes, hosts);
    let interval = config.interval;
    let mut now = Time::START;
    let mut starts = vec![now];
    starts.resize_with(hosts, || Time::START + interval * *bytes.pick(&SPANS));
    let mut episodes = Vec::new();
    while !bytes.is_empty() && episodes.len() < MOST {
        now = now + interval * *bytes.pick(&SPANS);
        let what = match bytes.0.first() {
            Some(kind) if lies && LIES.contains(kind) => read_lie(bytes, hosts),
            _ => read_what(bytes, hosts, interval, episodes.len()),
        };
        let number = episodes.len();
        // Two lives of a process never begin in the same millisecond: they could not be told apart.
        let apart = Duration::from_millis(10 + u64::from(narrow(number)));
        let ends = now + interval * *bytes.pick(&SPANS) + apart;
        episodes.push(Episode {
            number,
            begins: now,
            ends,
            what,
        });
    }
    let latest = episodes.iter().map(|episode| episode.ends);
    let ends = latest.chain(starts.iter().copied()).max();
    Plan {
        places: Vec::new(),
        seed,
        hosts,
        config,
        delay: Delay::uniform(interval / 1000, interval / 20),
        starts,
        episodes,
        sustained: None,
        links: None,
        last_death: None,
        ends: ends.unwrap_or(now),
    }
}

fn read_config(bytes: &mut Bytes<'_>, hosts: usize) -> Config {
    let mut config = Config::lan();
    config.cluster = "script".to_owned();
    // Full within few intervals; quantiles for each number of samples take time with every start.
    config.window = FEW_SAMPLES * 2;
    config.seeds = (0..hosts).map(|host| HostId::at(host).address(0)).collect();
    config.mode = *bytes.pick(&[Mode::PushPull, Mode::Push, Mode::Pull]);
    config.dissemination = *bytes.pick(&[Dissemination::Eager, Dissemination::Periodic]);
    config.max_datagram = *bytes.pick(&[1400, 512]);
    config.remove_after = *bytes.pick(&[config.remove_after, config.interval * 30]);
    config.gc_grace = *bytes.pick(&[config.gc_grace, Duration::from_secs(60)]);
    config
}

fn read_what(bytes: &mut Bytes<'_>, hosts: usize, interval: Duration, number: usize) -> What {
    let kind = bytes.below(13);
    let host = HostId::at(bytes.below(hosts));
    // The first host stays: a seed that is there in the end is what joining takes.
    let mortal = HostId::at(host.position().max(1));
    let of = bytes.byte();
    match kind {
        0..=2 => What::Fault(read_fault(bytes, hosts, interval, of)),
        3 => What::Restart(host),
        4 => What::Crash(mortal),
        5 => What::LeaveAndReturn(mortal),
        6 => What::Leave(mortal),
        7 => What::Pause(host),
        8 => What::Slow(host, interval * u32::from(of % 7) / 2),
        // Within what the default `max_clock_skew` allows between any two nodes.
        9 => What::Clock(
            host,
            WallClock {
                ahead_ms: (i64::from(of) - 128) * 200,
            },
        ),
        10 if of >= 128 => What::Map(host, Command::Delete { key: key(of) }),
        10 => What::Delete(host, key(of)),
        11 => What::Garbage(host, vec![of; usize::from(bytes.byte())]),
        _ if of >= 128 => What::Map(host, read_put(bytes, interval, of, number)),
        _ => What::Write(host, key(of), value(of, number)),
    }
}

/// A write to the shared map, long ones and mortal ones among them.
fn read_put(bytes: &mut Bytes<'_>, interval: Duration, of: u8, number: usize) -> Command {
    let how = bytes.byte();
    let (key, value) = (key(of), value(how, number));
    if of & 2 == 2 {
        let value = Some(value);
        return Command::Resolve { key, value };
    }
    let policies = [Policy::LastWriteWins, Policy::KeepSiblings];
    Command::Put {
        key,
        value,
        policy: *bytes.pick(&policies),
        lifetime: (of & 12 == 12).then(|| interval * *bytes.pick(&[3, 20])),
    }
}

/// A lie about the shared map, told once or many times.
fn read_lie(bytes: &mut Bytes<'_>, hosts: usize) -> What {
    let kind = bytes.byte();
    let to = HostId::at(bytes.below(hosts));
    let said = *bytes.pick(&[Said::Want, Said::Runs, Said::Push, Said::Told, Said::Syn]);
    let mut host = || {
        let number = bytes.below(hosts.saturating_add(1));
        (number < hosts).then(|| HostId::at(number))
    };
    let (sender, of) = (host(), host());
    let mut number = || match bytes.byte() {
        near @ 0..128 => Number::Ahead(near % 8),
        last @ 128..192 => Number::BeforeLast(last % 4),
        power => Number::Power(power % 64),
    };
    let claimed = Claimed {
        of,
        after: number(),
        upto: number(),
    };
    let lie = Lie {
        said,
        sender,
        is_elsewhere: kind & 1 == 1,
        claimed,
    };
    What::Lie(to, lie, *bytes.pick(&[1, 1, 4, 40]))
}

fn read_fault(bytes: &mut Bytes<'_>, hosts: usize, interval: Duration, of: u8) -> Fault {
    let mut set = || -> HostSet {
        let bits = bytes.byte();
        let chosen = (0..hosts).filter(|host| bits >> host & 1 == 1);
        chosen.map(HostId::at).collect()
    };
    let scope = match of & 7 {
        0 => Scope::From(set()),
        1 => Scope::To(set()),
        2 => Scope::Around(set()),
        3 => Scope::Between(set(), set()),
        4 | 5 => Scope::Across(set()),
        _ => Scope::Everywhere,
    };
    let share = [0.1, 0.3, 0.5, 0.9];
    let share = *share.get(usize::from(of >> 6)).unwrap_or(&0.5);
    let effect = match of >> 3 & 7 {
        0 | 1 => Effect::Cut,
        2 => Effect::Loss(share),
        3 => Effect::Bursts(Bursts {
            good: interval,
            bad: interval * 2,
            loss: share,
        }),
        4 => Effect::Reorder {
            share,
            by: Delay::uniform(interval / 10, interval),
        },
        5 => Effect::Duplicate(share),
        6 => Effect::Corrupt(share),
        _ => Effect::Delay(Delay::uniform(Duration::ZERO, interval * 2)),
    };
    Fault { scope, effect }
}

/// Few keys, so that they are written again.
fn key(of: u8) -> Key {
    let name = if of & 1 == 0 { "a" } else { "b" };
    Key::new(name).expect("a legal key")
}

fn value(of: u8, number: usize) -> Value {
    let mut value = format!("value {number} ").into_bytes();
    value.resize(value.len() + usize::from(of >> 1) * 8 % 900, b'.');
    Value::new(value).expect("a legal value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::corpus;
    use std::collections::BTreeSet;
    use std::fs;

    #[test]
    fn the_corpus_has_a_lie_of_each_kind() {
        let text = fs::read_to_string(corpus::file("script")).expect("a corpus of the repository");
        let inputs = corpus::parse(&text).expect("a corpus in the right form");
        let plans = inputs.iter().map(|input| read(&mut Bytes(&input.bytes)));
        let lies: BTreeSet<String> = plans
            .flat_map(|plan| plan.episodes)
            .filter_map(|episode| match episode.what {
                What::Lie(_, lie, _) => Some(lie),
                _ => None,
            })
            .map(|lie| {
                let who = match lie.sender {
                    Some(_) if lie.is_elsewhere => "a member from elsewhere",
                    Some(_) => "a member",
                    None => "a stranger",
                };
                let whose = lie.claimed.of.map_or("nobody", |_| "a member");
                format!("{:?} by {who} of {whose}", lie.said)
            })
            .collect();
        assert_eq!(lies.len(), 5 * 3 * 2, "{lies:#?}");
    }
}
