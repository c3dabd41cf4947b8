//! What is written to the shared map, drawn at random.

use core::time::Duration;

use gossip_core::{Command, Config, Key, Policy, Value};
use rand_chacha::ChaCha8Rng;

use super::plan::{Episode, What, choose, within};
use crate::sim::network::{Effect, Fault, Scope};
use crate::sim::{HostId, Seeds, Stream, Time, between, chance, pick};

/// Few keys, so that they are written again, by others too.
const KEYS: [&str; 3] = ["map/a", "map/b", "map/c"];

/// In every other plan, writes to the shared map; in some of those, it goes on for so long that
/// tombstones are collected, and somebody is cut off meanwhile. From a stream of its own, so that the
/// rest of a plan is what it was before there was a map. Tells when all has ended.
pub(super) fn draw(
    seed: u64,
    config: &mut Config,
    episodes: &mut Vec<Episode>,
    hosts: usize,
    ends: Time,
) -> Time {
    let rng = &mut Seeds::new(seed).rng(Stream::Map);
    if chance(rng, 0.5) {
        return ends;
    }
    let minute = Duration::from_secs(60);
    config.gc_grace = *choose(rng, &[config.gc_grace, minute, minute]);
    config.forget_after = *choose(rng, &[config.forget_after, config.gc_grace]);
    let mut ends = ends;
    if config.gc_grace == minute && chance(rng, 0.4) {
        // With the minute in between, two sides part with one value and meet with none.
        let begins = within(rng, Time::START, ends.since(Time::START));
        let set = (0..hosts).map(HostId::at).filter(|_| chance(rng, 0.3));
        let fault = Fault {
            scope: Scope::Across(set.collect()),
            effect: Effect::Cut,
        };
        episodes.push(Episode {
            number: episodes.len(),
            begins,
            ends: ends + minute * 5 / 3,
            what: What::Fault(fault),
        });
        ends = ends + minute * 2;
    }
    let most = *choose(rng, &[6, 20, 60]);
    for _ in 0..between(rng, 2, most) {
        let number = episodes.len();
        let begins = within(rng, Time::START, ends.since(Time::START));
        let host = HostId::at(pick(rng, hosts));
        let command = draw_command(rng, number, config.interval);
        episodes.push(Episode {
            number,
            begins,
            ends: begins,
            what: What::Map(host, command),
        });
    }
    ends
}

fn draw_command(rng: &mut ChaCha8Rng, number: usize, interval: Duration) -> Command {
    let key = *choose::<&str>(rng, &KEYS);
    let key = Key::new(key).expect("a legal key");
    // No two writes say the same: what is read tells which write it was.
    let mut value = format!("map {number} ").into_bytes();
    let length = *choose(rng, &[0, 0, 300, 1000]);
    value.resize(value.len().max(length), b'.');
    let value = Value::new(value).expect("a legal value");
    match between(rng, 0, 9) {
        0..=4 => Command::Put {
            key,
            value,
            policy: *choose(rng, &[Policy::LastWriteWins, Policy::KeepSiblings]),
            lifetime: chance(rng, 0.2).then(|| interval * *choose(rng, &[3, 20])),
        },
        5..=7 => Command::Delete { key },
        _ => Command::Resolve {
            key,
            value: chance(rng, 0.7).then_some(value),
        },
    }
}

/// A command in words.
pub(super) fn words(command: &Command) -> String {
    let start = |value: &Value| {
        let bytes = value.as_bytes();
        let start = bytes.get(..8).unwrap_or(bytes);
        format!("\"{}\"", start.escape_ascii())
    };
    match command {
        Command::Put {
            key,
            value,
            policy,
            lifetime,
        } => {
            let life = lifetime.map_or_else(String::new, |life| format!(", for {life:?}"));
            format!("puts {} under {key} ({policy:?}{life})", start(value))
        }
        Command::Delete { key } => format!("deletes {key} from the map"),
        Command::Resolve { key, value } => {
            let value = value.as_ref().map_or_else(|| "nothing".to_owned(), start);
            format!("resolves {key} to {value}")
        }
        other => format!("{other:?}"),
    }
}
