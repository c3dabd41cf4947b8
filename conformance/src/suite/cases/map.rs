//! The shared map: splits, siblings, tombstones, and what each makes of two writes.
//!
//! The two sides of a split are nodes that have not met: N1 and N2, and N3 to N5. They heal as one
//! node of each is told of the other.

use core::time::Duration;
use std::thread;
use std::time::SystemTime;

use gossip_core::{Command, Event, Policy, UnixTime};

use crate::suite::adapter::{Adapter, Handle};
use crate::suite::stage::{Check, Failure, Peer, Stage, ensure, fail, key, value};

/// Between two writes of which the one is to be later: stamps count milliseconds, two of the same one are
/// in the order of their writers' ids, and a thread may lose its processor between two looks at clocks.
const UNEVEN: Duration = Duration::from_millis(50);

impl<A: Adapter> Peer<A> {
    fn puts(&self, name: &str, text: &str, policy: Policy) -> Check {
        self.commands(Command::Put {
            key: key(name)?,
            value: value(text)?,
            policy,
            lifetime: None,
        })
    }

    fn deletes(&self, name: &str) -> Check {
        self.commands(Command::Delete { key: key(name)? })
    }

    /// Everything that is read under a key, the latest first.
    fn reads(&self, name: &str) -> Check<Vec<String>> {
        let key = key(name)?;
        Ok(self.handle.read(move |node| {
            let says = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            let siblings = node.siblings(&key);
            siblings.iter().map(|reading| says(reading.value)).collect()
        }))
    }

    /// Waits until this is what is read under a key.
    fn comes_to_read(&self, stage: &Stage<A>, name: &str, wanted: &[&str]) -> Check {
        let what = format!("{} to read {wanted:?} under {name:?}", self.name);
        let awaited = stage.until(&what, || self.reads(name).is_ok_and(|read| read == wanted));
        awaited.or_else(|Failure(why)| fail(format!("{why}; it reads {:?}", self.reads(name)?)))
    }
}

/// N1 and N2, and N3 to N5, which do not know of each other.
fn split<A: Adapter>(stage: &Stage<A>) -> Check<[Peer<A>; 5]> {
    let n1 = stage.start("N1", &[])?;
    let n2 = stage.start("N2", &[&n1])?;
    let n3 = stage.start("N3", &[])?;
    let n4 = stage.start("N4", &[&n3])?;
    let n5 = stage.start("N5", &[&n3])?;
    let mut nodes = [n1, n2, n3, n4, n5];
    let [one, two, three, four, five] = [0, 1, 2, 3, 4].map(|n| nodes.get(n).map(|n| n.id));
    for (n, node) in nodes.iter_mut().enumerate() {
        let side = if n < 2 {
            [one, two, None]
        } else {
            [three, four, five]
        };
        node.meets(&side.into_iter().flatten().collect::<Vec<_>>())?;
    }
    Ok(nodes)
}

fn heal<A: Adapter>([n1, _, n3, ..]: &[Peer<A>; 5]) -> Check {
    let seeds = vec![n3.address()];
    n1.commands(Command::SetSeeds { seeds })
}

fn all_come_to_read<A: Adapter>(
    stage: &Stage<A>,
    nodes: &[Peer<A>],
    name: &str,
    wanted: &[&str],
) -> Check {
    nodes
        .iter()
        .try_for_each(|node| node.comes_to_read(stage, name, wanted))
}

/// Both sides of a split write; afterwards all read the later write, and the loser is told.
pub(super) fn last_write_wins<A: Adapter>(stage: &Stage<A>) -> Check {
    let mut nodes = split(stage)?;
    let [n1, n2, n3, _, n5] = &nodes;
    n1.puts("X", "10", Policy::LastWriteWins)?;
    n2.comes_to_read(stage, "X", &["10"])?;
    stage.adapter.pass(UNEVEN);
    n3.puts("X", "20", Policy::LastWriteWins)?;
    n5.comes_to_read(stage, "X", &["20"])?;
    heal(&nodes)?;
    all_come_to_read(stage, &nodes, "X", &["20"])?;
    let [n1, ..] = &mut nodes;
    n1.hears("that 10 has lost to 20", |event| {
        let Event::Conflict { standing, lost, .. } = event else {
            return None;
        };
        let says = |versions: &[gossip_core::map::Version], text: &str| {
            versions
                .iter()
                .any(|version| version.value == value(text).ok())
        };
        (says(standing, "20") && says(lost, "10")).then_some(())
    })
}

/// Writes that did not know each other are kept where they ask for it, until the application resolves
/// them; a write that knows the earlier one is no conflict.
pub(super) fn siblings<A: Adapter>(stage: &Stage<A>) -> Check {
    let mut nodes = split(stage)?;
    let [n1, n2, n3, ..] = &nodes;
    n1.puts("X", "10", Policy::KeepSiblings)?;
    n2.comes_to_read(stage, "X", &["10"])?;
    stage.adapter.pass(UNEVEN);
    n3.puts("X", "20", Policy::KeepSiblings)?;
    heal(&nodes)?;
    all_come_to_read(stage, &nodes, "X", &["20", "10"])?;
    let [_, _, _, n4, n5] = &nodes;
    n4.commands(Command::Resolve {
        key: key("X")?,
        value: Some(value("30")?),
    })?;
    all_come_to_read(stage, &nodes, "X", &["30"])?;
    n5.puts("X", "40", Policy::KeepSiblings)?;
    all_come_to_read(stage, &nodes, "X", &["40"])?;
    for node in &mut nodes {
        node.hears("that X is now 40", |event| match event {
            Event::MapChanged { key, new, .. } if key.as_str() == "X" => {
                (*new == value("40").ok()).then_some(())
            }
            _ => None,
        })?;
        let conflicts = node.told.iter().filter(
            |event| matches!(event, Event::Conflict { standing, .. } if standing.len() < 2),
        );
        if let Some(event) = conflicts.into_iter().next() {
            return fail(format!("{} was told of {event:?}", node.name));
        }
    }
    Ok(())
}

/// What decides between writes is when they were made: a node that runs late, or was slow to start,
/// knows the time all the same.
pub(super) fn time_of_day<A: Adapter>(stage: &Stage<A>) -> Check {
    let node = stage.start("a", &[])?;
    let clock = || UnixTime::from(SystemTime::now());
    let began = clock();
    node.puts("X", "10", Policy::LastWriteWins)?;
    let ended = clock();
    let name = key("X")?;
    let written = node.handle.read(move |node| {
        let reading = node.get(&name)?;
        Some(reading.stamp.time())
    });
    let is_right =
        |at: UnixTime| at.saturating_add(UNEVEN) >= began && at <= ended.saturating_add(UNEVEN);
    ensure(written.is_some_and(is_right), || {
        format!("X was written at {written:?}, though between {began:?} and {ended:?}")
    })
}

/// A later delete beats an earlier write, and yields to a later one.
pub(super) fn later_stands<A: Adapter>(stage: &Stage<A>) -> Check {
    let nodes = split(stage)?;
    let [n1, _, n3, n4, _] = &nodes;
    for name in ["at 50", "at 150"] {
        n3.puts(name, "first", Policy::LastWriteWins)?;
        n4.comes_to_read(stage, name, &["first"])?;
    }
    n1.puts("at 50", "data", Policy::LastWriteWins)?;
    stage.adapter.pass(UNEVEN);
    for name in ["at 50", "at 150"] {
        n4.deletes(name)?;
        n3.comes_to_read(stage, name, &[])?;
    }
    stage.adapter.pass(UNEVEN);
    n1.puts("at 150", "data", Policy::LastWriteWins)?;
    heal(&nodes)?;
    all_come_to_read(stage, &nodes, "at 150", &["data"])?;
    all_come_to_read(stage, &nodes, "at 50", &[])
}

/// A node that watches some keys is told of no others.
pub(super) fn watched<A: Adapter>(stage: &Stage<A>) -> Check {
    let [a, mut b, c] = stage.cluster()?;
    b.commands(Command::WatchMap {
        prefixes: vec![key("user/")?, key("end")?],
    })?;
    for (name, text) in [
        ("user/1", "x"),
        ("other/1", "x"),
        ("user/1", "y"),
        ("end", "x"),
    ] {
        a.puts(name, text, Policy::LastWriteWins)?;
        c.comes_to_read(stage, name, &[text])?;
    }
    b.hears("of the end", |event| match event {
        Event::MapChanged { key, .. } if key.as_str() == "end" => Some(()),
        _ => None,
    })?;
    let says = |text: &Option<gossip_core::Value>| {
        let bytes = text.as_ref().map(gossip_core::Value::as_bytes);
        bytes.map_or("nothing".into(), |bytes| {
            String::from_utf8_lossy(bytes).into_owned()
        })
    };
    let told: Vec<String> = b
        .told
        .iter()
        .filter_map(|event| match event {
            Event::MapChanged {
                key,
                old,
                new,
                writer,
                ..
            } if *writer == a.id => {
                Some(format!("{}: {} to {}", key.as_str(), says(old), says(new)))
            }
            _ => None,
        })
        .collect();
    let right = [
        "user/1: nothing to x",
        "user/1: x to y",
        "end: nothing to x",
    ];
    ensure(told == right, || {
        format!("b was told {told:?}, not {right:?}")
    })
}

/// A node that stood still while a key was deleted does not bring it back.
pub(super) fn delete_stays<A: Adapter>(stage: &Stage<A>) -> Check {
    let nodes = stage.cluster::<5>()?;
    let [_, n2, _, n4, _] = &nodes;
    n2.puts("user 123", "old", Policy::LastWriteWins)?;
    all_come_to_read(stage, &nodes, "user 123", &["old"])?;
    let (adapter, handle) = (&stage.adapter, &n4.handle);
    thread::scope(|scope| {
        scope.spawn(move || adapter.hold_up(handle, Duration::from_millis(1500)));
        n2.deletes("user 123")
    })?;
    all_come_to_read(stage, &nodes, "user 123", &[])?;
    // What it writes next goes the same ways as what it held.
    n4.puts("after", "v", Policy::LastWriteWins)?;
    all_come_to_read(stage, &nodes, "after", &["v"])?;
    for node in &nodes {
        ensure(node.reads("user 123")?.is_empty(), || {
            format!("{} reads what was deleted", node.name)
        })?;
    }
    Ok(())
}
