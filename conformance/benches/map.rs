//! How fast a replica of the shared map writes, serves and merges with 100,000 keys, and what a key
//! takes of memory:
//!
//! ```sh
//! cargo bench -p conformance --bench map
//! ```
//!
//! CPU time, so that a busy machine disturbs little. Every figure is taken for keys that differ at once, and for keys with a long common beginning.

#![expect(
    clippy::unwrap_used,
    reason = "a figure that cannot be had is no figure"
)]

use core::hint::black_box;

use cap::Cap;
use std::time::Duration;

use cpu_time::ProcessTime;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gossip_core::map::{
    ApplyLimits, ChunkEnd, ChunkOutcome, DeltaReceiver, DeltaSender, Map, Origin, Put, read_chunk,
};
use gossip_core::{
    Command, Config, Generation, Identity, Instant, Key, Node, NodeId, Policy, Stamp, UnixTime,
    Value,
};

#[global_allocator]
static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

const KEYS: u64 = 100_000;

/// The beginning of the keys, their length, and that of the values.
const SHAPES: [(&str, usize, usize); 2] = [("", 16, 32), ("a/common/beginning/", 34, 100)];

fn origin(id: u64) -> Origin {
    Origin {
        id: NodeId::from_u64(id),
        generation: Generation::new(Stamp::from_bits(1)),
    }
}

fn keys(prefix: &str) -> Vec<Key> {
    (0..KEYS)
        .map(|n| {
            let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Key::new(
                format!("{prefix}{mixed:016x}")
                    .get(..prefix.len() + 15)
                    .unwrap_or(prefix),
            )
        })
        .map(|key| key.or_else(|_| Key::new("k")).unwrap())
        .collect()
}

/// A map of these keys, each written `times` times.
fn filled(keys: &[Key], value: &[u8], times: u64) -> Map {
    let mut map = Map::new(origin(1), "", 1000);
    let put = Put::value(value, Policy::LastWriteWins);
    for time in 1..=times {
        for key in keys {
            map.put(Stamp::at(UnixTime::from_millis(time)), key, put);
        }
    }
    map
}

fn chunks(map: &Map) -> Vec<Vec<u8>> {
    let (mut serving, staging) = (DeltaSender::default(), DeltaReceiver::default());
    let other = Map::new(origin(2), "", 1000);
    let pull = staging.pull(&other, origin(1));
    let reply = serving.on_pull(map, origin(2), &pull, core::iter::empty());
    let session = (origin(2), reply.serve.unwrap());
    let mut chunks = Vec::new();
    loop {
        let mut buffer = vec![0; 1350];
        let written = serving.write_chunk(map, session, false, &mut buffer);
        let (len, extent) = written.unwrap();
        buffer.truncate(len);
        chunks.push(buffer);
        if extent == ChunkEnd::Complete {
            return chunks;
        }
    }
}

fn merged(chunks: &[Vec<u8>]) -> Map {
    let mut map = Map::new(origin(2), "", 1000);
    let mut staging = DeltaReceiver::default();
    let limit = ApplyLimits {
        stamp: Stamp::from_bits(u64::MAX),
        bytes: usize::MAX,
        room: usize::MAX,
    };
    for chunk in chunks {
        let (head, pieces) = read_chunk(chunk).unwrap();
        let outcome = staging.accept(&mut map, origin(2), origin(1), &head, pieces, limit);
        assert!(matches!(
            outcome,
            ChunkOutcome::Kept | ChunkOutcome::Applied { .. }
        ));
    }
    map
}

/// A node that holds these keys, and knows nobody.
fn node(keys: &[Key], value: &Value) -> Node {
    let identity = Identity::new("n", "10.0.0.1:7946".parse().unwrap()).unwrap();
    let wall = UnixTime::from_millis(1_700_000_000_000);
    let mut node = Node::new(Config::lan(), identity, [7; 32], Instant::ORIGIN, wall).unwrap();
    put_all(&mut node, keys, value);
    node
}

fn put_all(node: &mut Node, keys: &[Key], value: &Value) {
    for key in keys {
        let put = Command::put(key.clone(), value.clone());
        node.handle_command(Instant::ORIGIN, put).unwrap();
        while node.poll_event().is_some() {}
    }
}

/// The time for which this process has run.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = ProcessTime;
    type Value = Duration;

    fn start(&self) -> ProcessTime {
        ProcessTime::now()
    }

    fn end(&self, start: ProcessTime) -> Duration {
        start.elapsed()
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn rates(criterion: &mut Criterion<CpuTime>) {
    for (prefix, key, value) in SHAPES {
        let keys = keys(prefix);
        let bytes = vec![b'v'; value];
        let before = ALLOCATOR.allocated();
        let map = filled(&keys, &bytes, 3);
        let memory = (ALLOCATOR.allocated() - before) / map.keys();
        let bound = 2 * (key - 1 + value) + 100;
        println!(
            "memory/{}+{value}: {memory} bytes a key, of {bound}",
            key - 1
        );

        let mut group = criterion.benchmark_group("map");
        group.throughput(Throughput::Elements(KEYS)).sample_size(10);
        let shape = format!("{}+{value}", key - 1);
        let text = Value::new(bytes.as_slice()).unwrap();
        let mut at_node = node(&keys, &text);
        group.bench_function(BenchmarkId::new("put into a node", &shape), |bencher| {
            bencher.iter(|| put_all(&mut at_node, &keys, &text));
        });
        group.bench_function(BenchmarkId::new("first put", &shape), |bencher| {
            bencher.iter_with_large_drop(|| filled(&keys, &bytes, 1));
        });
        group.bench_function(BenchmarkId::new("get", &shape), |bencher| {
            bencher.iter(|| {
                for key in &keys {
                    black_box(map.get(key.as_str().as_bytes()));
                }
            });
        });
        group.bench_function(BenchmarkId::new("serve", &shape), |bencher| {
            bencher.iter_with_large_drop(|| chunks(&map));
        });
        let chunks = chunks(&map);
        assert_eq!(merged(&chunks).summary(), map.summary());
        group.bench_function(BenchmarkId::new("merge", &shape), |bencher| {
            bencher.iter_batched(|| (), |()| merged(&chunks), BatchSize::PerIteration);
        });
        group.finish();
    }
}

criterion_group!(
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = rates
);
criterion_main!(benches);
