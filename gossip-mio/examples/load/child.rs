//! One node in a process of its own. It does what each line of standard input says.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gossip_mio::gossip_core::{Event, Key, Node, Value};
use gossip_mio::{Config, Events, Handle, spawn};

/// What the first argument of such a process is. The second is the node's name, perhaps with `@` and the address at
/// which it listens; the others are its seeds.
pub(crate) const ARGUMENT: &str = "--as-node";

/// How many keys are written.
const KEYS: u64 = 2000;

/// Bytes of a value that is written, and of one that fills the map.
const LENGTH: usize = 100;
const LONG: usize = 1000;

#[derive(Default)]
struct Counts {
    written: AtomicU64,
    refused: AtomicU64,
    suspected: AtomicU64,
    down: AtomicU64,
    lagged: AtomicU64,
    /// Microseconds by which each change was late.
    late: Mutex<Vec<u32>>,
}

pub(crate) fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let (name, seeds) = arguments.split_first().ok_or("a node needs a name")?;
    let (name, address) = name.split_once('@').unwrap_or((name, "127.0.0.1:0"));
    let mut config = Config::new(name, address.parse()?);
    config.seeds = seeds.to_vec();
    config.node.max_map = 512 << 20;
    let (handle, events) = spawn(config)?;
    println!("{}", handle.local_addr());
    let counts = Arc::new(Counts::default());
    {
        let counts = Arc::clone(&counts);
        thread::spawn(move || listen(events, &counts));
    }
    for line in io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split(' ');
        let answer = match words.next() {
            Some("write") => {
                let rate: u64 = words.next().ok_or("no rate")?.parse()?;
                let seconds: u64 = words.next().ok_or("no time")?.parse()?;
                let (handle, counts) = (handle.clone(), Arc::clone(&counts));
                thread::spawn(move || write(&handle, rate, seconds, &counts));
                continue;
            }
            Some("fill") => {
                fill(&handle, words.next().ok_or("no count")?.parse()?)?;
                String::from("filled")
            }
            Some("members") => handle.read(|node| node.members().count()).to_string(),
            Some("state") => handle.read(|node| format!("{:?}", node.map().summary())),
            Some("frontiers") => {
                let frontiers = handle.read(frontiers).into_iter();
                let words: Vec<String> = frontiers
                    .map(|(log, upto)| format!("{log}={upto}"))
                    .collect();
                words.join(" ")
            }
            Some("has") => has(&handle, words)?.to_string(),
            Some("seen") => seen(&counts),
            _ => return Err(format!("not an order: {line}").into()),
        };
        println!("{answer}");
        io::stdout().flush()?;
    }
    Ok(())
}

/// How far each log of the map is known.
fn frontiers(node: &Node) -> BTreeMap<String, u64> {
    let logs = node.map().frontiers();
    let named = logs.map(|log| {
        let origin = log.origin;
        (format!("{}@{}", origin.id, origin.generation), log.frontier)
    });
    named.collect()
}

fn has<'a>(handle: &Handle, wanted: impl Iterator<Item = &'a str>) -> Result<bool, Box<dyn Error>> {
    let known = handle.read(frontiers);
    for word in wanted {
        let (log, upto) = word.rsplit_once('=').ok_or("no frontier")?;
        let upto: u64 = upto.parse()?;
        if known.get(log).is_none_or(|known| *known < upto) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn seen(counts: &Counts) -> String {
    let number = |count: &AtomicU64| count.load(Ordering::Relaxed).to_string();
    let mut words = vec![
        number(&counts.written),
        number(&counts.refused),
        number(&counts.suspected),
        number(&counts.down),
        number(&counts.lagged),
    ];
    let late = counts.late.lock().unwrap_or_else(PoisonError::into_inner);
    words.extend(late.iter().map(u32::to_string));
    words.join(" ")
}

/// Microseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

fn write(handle: &Handle, rate: u64, seconds: u64, counts: &Counts) {
    let began = Instant::now();
    let lasts = Duration::from_secs(seconds);
    let mut made = 0_u64;
    // Another node writes other keys at the same time, and all write all keys.
    let mut key = now() % KEYS;
    while began.elapsed() < lasts {
        let due = u128::from(rate) * began.elapsed().as_micros() / 1_000_000;
        while u128::from(made) < due {
            key = (key + 7) % KEYS;
            made += 1;
            let mut value = format!("{:016x}", now()).into_bytes();
            value.resize(LENGTH, b'.');
            let put = Key::new(&format!("key {key}"))
                .ok()
                .zip(Value::new(value).ok())
                .map(|(key, value)| handle.put(key, value));
            let count = match put {
                Some(Ok(())) => &counts.written,
                _ => &counts.refused,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn fill(handle: &Handle, count: u64) -> Result<(), Box<dyn Error>> {
    let own = handle.read(Node::id);
    for number in 0..count {
        let key = Key::new(&format!("fill/{own}/{number}"))?;
        handle.put(key, Value::new(vec![b'.'; LONG])?)?;
    }
    Ok(())
}

fn listen(events: Events, counts: &Counts) {
    let mut joined = None;
    for event in events {
        match event {
            Event::Joined { .. } => joined = joined.or(Some(now())),
            Event::MemberSuspected { .. } => drop(counts.suspected.fetch_add(1, Ordering::Relaxed)),
            Event::MemberDown { .. } => drop(counts.down.fetch_add(1, Ordering::Relaxed)),
            Event::Lagged => drop(counts.lagged.fetch_add(1, Ordering::Relaxed)),
            Event::MapChanged {
                new: Some(value), ..
            } => {
                let digits = value.as_bytes().get(..16);
                let written = digits.and_then(|digits| {
                    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
                });
                let Some(written) =
                    written.filter(|written| joined.is_some_and(|at| at < *written))
                else {
                    continue;
                };
                let late = u32::try_from(now().saturating_sub(written)).unwrap_or(u32::MAX);
                let mut all = counts.late.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(late);
            }
            _ => {}
        }
    }
}
