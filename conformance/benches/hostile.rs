//! What one datagram of the worst kind costs a node that knows ten thousand members, and a shared map of
//! as many writers: its work must follow from the length of the datagram, not from the cluster's.
//!
//! `cargo bench -p conformance --bench hostile`. What a datagram makes a node hold is the business of the
//! test `allocation`, who lies about what of the tests `floods`, `exchange` and `map_lies`.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark may panic, and is no interface"
)]

use core::net::SocketAddr;
use core::time::Duration;
use std::time::Instant as Wall;

use conformance::forge::{self, Body, Known, framed, item, message, told};
use gossip_core::{Command, Config, Identity, Instant, Key, Node, UnixTime, Value};

const WALL: UnixTime = UnixTime::from_millis(1_767_225_600_000);
/// A little after [`WALL`], as a stamp.
const STAMP: u64 = (1_767_225_600_000 + 5) << 16;
const DATAGRAM: usize = 1400;
const ROOM: usize = DATAGRAM - forge::HEADER - forge::TRAILER;
/// Where forged datagrams come from.
const LIAR: ([u8; 4], u16) = ([127, 0, 0, 1], 41);
/// Whose they are.
const LIAR_ID: u64 = 5 << 50;
/// How often each is timed; what is printed is the median.
const ROUNDS: u64 = 21;

struct Victim {
    node: Node,
    now: Instant,
    real: Vec<u8>,
}

impl Victim {
    /// A node that knows so many members, and as many writers of the map.
    fn new(members: u64) -> Self {
        let node = |number: u16| {
            let mut config = Config::lan();
            let at = SocketAddr::from(([127, 0, 0, 1], number));
            config.seeds = vec![SocketAddr::from(([127, 0, 0, 1], 1))];
            config.max_tombstones = 100_000;
            let identity = Identity::new(&format!("n{number}"), at).unwrap();
            Node::new(config, identity, [7; 32], Instant::ORIGIN, WALL).unwrap()
        };
        let mut buffer = [0; DATAGRAM];
        let now = Instant::ORIGIN;
        let real = node(2)
            .poll_transmit(now, &mut buffer)
            .unwrap()
            .payload
            .to_vec();
        let mut victim = Self {
            node: node(1),
            now,
            real,
        };
        // Strangers are not listened to until they have echoed a token.
        victim.give(&leg(1));
        let challenge = victim.node.poll_transmit(now, &mut buffer).unwrap();
        let mut echo = from().pong();
        echo.0
            .extend_from_slice(forge::body(challenge.payload).get(17..).unwrap());
        victim.give(&echo);
        victim.rest();
        // Only members are given deltas of the map.
        let ([a, b, c, d], port) = LIAR;
        let [e, f] = port.to_be_bytes();
        let log = Body::default().entry(1, 0, &[0], Some(&[a, b, c, d, e, f]));
        let log = log.entry(2, 0, &[2], Some(&[1]));
        victim.give(&leg(2).delta(known(LIAR_ID, 2), 0, 2, 0, &log.0));
        let taker = victim.taker();
        for first in (1..=members).step_by(10) {
            let ids = first..(first + 10).min(members + 1);
            victim.give(&ids.clone().fold(leg(2), |b, id| {
                let [.., x, y, z] = id.to_be_bytes();
                let log = Body::default()
                    .entry(1, 0, &[0], Some(&[10, x, y, z, 1, 1]))
                    .entry(2, 0, &[2], Some(&[1]));
                b.delta(known(origin(id), 2), 0, 2, 0, &log.0)
            }));
            victim.give(&ids.fold(from().map_delta(taker), |b, id| {
                b.frontier(known(origin(id), 1))
            }));
            victim.rest();
        }
        for first in (1..=KEYS).step_by(100) {
            victim.give(&large_log(first, 100));
            victim.rest();
        }
        for n in 0..300 {
            let key = Key::new(&format!("attribute/{n}")).unwrap();
            let value = Value::new(*b"of some length").unwrap();
            let set = Command::Set { key, value };
            victim.node.handle_command(victim.now, set).unwrap();
            victim.rest();
        }
        assert_eq!(victim.node.metrics().members, members + 3);
        assert!(u64::try_from(victim.node.map().logs()).unwrap() >= members);
        victim
    }

    fn taker(&self) -> Known {
        Known {
            generation: self.node.generation().stamp().to_bits(),
            ..known(self.node.id().as_u64(), 0)
        }
    }

    fn give(&mut self, body: &Body) {
        let datagram = framed(&self.real, &body.0);
        assert!(datagram.len() <= DATAGRAM);
        self.node.handle_datagram(self.now, LIAR.into(), &datagram);
    }

    /// So many newcomers vote against 32 that they have removed, as this node has.
    fn accuse(&mut self, authors: u64) {
        for author in 1..=authors {
            self.give(&vote(author, 1, &votes(9, 32)));
            self.rest();
        }
        for n in 0..32 {
            let log = Body::default().entry(1, 0, &[7], Some(&[]));
            self.give(
                &from()
                    .push()
                    .delta(known((n + 1) << 40, 1), 0, 1, 0, &log.0),
            );
            self.rest();
        }
    }

    /// Sends, and lets a little time pass. Returns how many bytes were sent.
    fn rest(&mut self) -> usize {
        let sent = self.drain();
        self.now = self.now.saturating_add(Duration::from_millis(1));
        sent
    }

    fn drain(&mut self) -> usize {
        let mut buffer = [0; DATAGRAM];
        let mut sent = 0;
        while let Some(transmit) = self.node.poll_transmit(self.now, &mut buffer) {
            sent += transmit.payload.len();
        }
        while self.node.poll_event().is_some() {}
        sent
    }

    /// The median time that such a datagram takes, its answers included, and how long those are.
    fn time(&mut self, make: &dyn Fn(u64) -> Body) -> (Duration, usize) {
        let mut took = Vec::new();
        let mut sent = 0;
        for round in 0..ROUNDS {
            let datagram = framed(&self.real, &make(round).0);
            let malformed = self.node.metrics().dropped.total();
            let began = Wall::now();
            self.node.handle_datagram(self.now, LIAR.into(), &datagram);
            sent = self.drain();
            took.push(began.elapsed());
            assert_eq!(
                self.node.metrics().dropped.total(),
                malformed,
                "it is well-formed"
            );
            self.now = self.now.saturating_add(Duration::from_millis(1));
        }
        took.sort();
        (took.get(took.len() / 2).copied().unwrap_or_default(), sent)
    }
}

fn from() -> Body {
    Body::from(LIAR_ID, STAMP)
}

fn leg(number: u8) -> Body {
    from().exchange(number, 7)
}

fn known(origin: u64, frontier: u64) -> Known {
    Known {
        origin,
        generation: STAMP,
        frontier,
    }
}

/// Ids spread evenly, as those of real names are.
fn origin(member: u64) -> u64 {
    member.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// As many items as fit.
fn filled(mut body: Body, item: impl Fn(Body, u64) -> Body) -> Body {
    for n in 0.. {
        let longer = item(body.clone(), n);
        if longer.0.len() > ROOM {
            break;
        }
        body = longer;
    }
    body
}

/// Whose log is about as large as logs may be, and how many keys it has.
const LARGE: u64 = 99 << 32;
const KEYS: u64 = 1400;
/// How many short deltas of it a datagram takes.
const PIECES: u64 = 36;

/// So many versions of it.
fn large_log(first: u64, count: u64) -> Body {
    let log = (first..first + count).fold(Body::default(), |mut b, version| {
        b.0.extend(write(version).0);
        b
    });
    let last = first + count - 1;
    from()
        .push()
        .delta(known(LARGE, last), first - 1, last, 0, &log.0)
}

/// A short write of it: first that it is up; once all keys are there, to one of those that were written last.
fn write(version: u64) -> Body {
    if version == 1 {
        return Body::default().entry(1, 0, &[2], Some(&[1]));
    }
    let key = version
        .checked_sub(KEYS)
        .map_or(version, |n| KEYS - n % 150);
    let [.., a, b] = (key + 0x2020).to_be_bytes();
    Body::default().entry(version, 0, &[a, b], Some(&[]))
}

/// A log that goes on with votes.
fn vote(author: u64, version: u64, votes: &Body) -> Body {
    let log = Body::default().entry(version, 0, &[4], Some(&votes.0));
    from().push().delta(
        known(origin(author) ^ 1, version),
        version - 1,
        version,
        0,
        &log.0,
    )
}

/// Votes against members that their author has removed.
fn votes(frontier: u64, against: u64) -> Body {
    (0..against).fold(Body::default(), |b, n| {
        b.known(known((n + 1) << 40, frontier)).varint(0).byte(1)
    })
}

type Make = Box<dyn Fn(u64) -> Body>;

fn kinds(taker: Known) -> Vec<(&'static str, Make)> {
    let summary = |kind: u8, b: Body, id: u64| {
        let mut b = b.byte(kind);
        b.0.extend_from_slice(&(origin(id) >> 32).to_le_bytes()[..4]);
        b.0.extend_from_slice(&[1, 2]);
        b.varint(1)
    };
    let split = |b: Body, prefix: u64, bits: u8| {
        b.byte(item::SPLIT)
            .fixed(prefix)
            .byte(bits)
            .bytes(&[7; 128])
    };
    let each = |n: u64, round: u64| n * 31 + round * 997 + 1;
    vec![
        (
            "summaries",
            Box::new(move |r| filled(leg(1), |b, n| summary(item::SUMMARY, b, each(n, r)))),
        ),
        (
            "wants",
            Box::new(move |r| filled(leg(1), |b, n| summary(item::WANT, b, each(n, r)))),
        ),
        (
            "wants of one",
            Box::new(move |_| filled(leg(1), |b, _| summary(item::WANT, b, 5))),
        ),
        (
            "splits of all",
            Box::new(move |_| filled(leg(1), |b, _| split(b, 0, 0))),
        ),
        (
            "splits of parts",
            Box::new(move |_| filled(leg(1), |b, n| split(b, n << 60, 4))),
        ),
        (
            "'that is all', of all",
            Box::new(move |_| filled(leg(1), |b, _| b.complete(0, 0))),
        ),
        (
            "'that is all', of parts",
            Box::new(move |_| filled(leg(1), |b, n| b.complete((n & 0xff) << 56, 8))),
        ),
        (
            "'that is all', who takes not",
            Box::new(move |_| {
                let push = from()
                    .byte(message::EXCHANGE)
                    .byte(1)
                    .byte(0)
                    .byte(0)
                    .bytes(&[7; 15]);
                filled(push.byte(0), |b, _| b.complete(0, 0))
            }),
        ),
        (
            "lives that the victim outlives",
            Box::new(move |r| {
                filled(from().push(), |b, n| {
                    let later = Known {
                        generation: STAMP + ((40_000 + r * 100 + n) << 16),
                        frontier: 1,
                        ..taker
                    };
                    b.delta(later, 0, 1, 0, &Body::default().entry(1, 0, b"k", None).0)
                })
            }),
        ),
        (
            "a large log, piece by piece",
            Box::new(move |r| {
                let first = KEYS + 1 + r * PIECES;
                (first..first + PIECES).fold(from().push(), |b, version| {
                    let log = known(LARGE, version);
                    b.delta(log, version - 1, version, 0, &write(version).0)
                })
            }),
        ),
        (
            "a large log, all in one",
            Box::new(move |r| large_log(KEYS + 1 + ROUNDS * PIECES + r * 150, 150)),
        ),
        (
            "whole claims",
            Box::new(move |r| {
                filled(leg(2), |b, n| {
                    b.delta(known(origin(each(n, r)), 3 + r), 2, 3 + r, 0, &[])
                })
            }),
        ),
        (
            "removals",
            Box::new(move |r| filled(leg(2), |b, _| b.removed(STAMP + r))),
        ),
        (
            "news that is pushed",
            Box::new(move |r| {
                filled(from().push(), |b, n| {
                    let log = Body::default().entry(100 + r, 0, b"k", Some(b"v"));
                    b.delta(known(origin(each(n, r)), 100 + r), 2, 100 + r, 0, &log.0)
                })
            }),
        ),
        (
            "runs of the map",
            Box::new(move |r| {
                filled(from().push(), |b, n| {
                    let key = format!("{r}/{n}");
                    b.run(known(origin(each(n, r)), 2 + r), 1 + r, key.as_bytes())
                })
            }),
        ),
        ("a request of the map", Box::new(move |_| from().map_pull())),
        (
            "a request, frontiers told",
            Box::new(move |r| {
                filled(from().map_pull(), |b, n| {
                    let mut b = b.byte(told::FRONTIER);
                    b.0.extend_from_slice(&origin(each(n, r)).to_le_bytes());
                    b.fixed(STAMP).varint(1)
                })
            }),
        ),
        (
            "'and nobody else', often",
            Box::new(move |_| {
                filled(from().map_pull(), |b, _| {
                    b.byte(told::COMPLETE).byte(0).byte(0)
                })
            }),
        ),
        (
            "a delta of frontiers",
            Box::new(move |r| {
                (0..10).fold(from().map_delta(taker), |b, n| {
                    b.frontier(known(origin(each(n, r)), 200 + r))
                })
            }),
        ),
        (
            "a delta of graves",
            Box::new(move |r| {
                (0..20).fold(from().map_delta(taker), |b, n| {
                    b.gone(known(n << 30 | r, 1))
                })
            }),
        ),
    ]
}

fn main() {
    println!(
        "{:>30} {:>7} {:>10} {:>10} {:>10} {:>10}",
        "", "bytes", "at 1000", "at 10,000", "ratio", "answered"
    );
    let mut small = Victim::new(1_000);
    let mut large = Victim::new(10_000);
    let of_large = kinds(large.taker());
    for ((what, make), (_, make_large)) in kinds(small.taker()).into_iter().zip(of_large) {
        compare(what, (&mut small, &make), (&mut large, &make_large));
    }
    small.accuse(100);
    large.accuse(1_000);
    let make: Make = Box::new(|r| vote(1, 2 + r, &votes(10 + r, 2)));
    compare(
        "votes against the removed",
        (&mut small, &make),
        (&mut large, &make),
    );
}

/// Prints what a kind of datagram takes at two nodes.
fn compare(what: &str, small: (&mut Victim, &Make), large: (&mut Victim, &Make)) {
    let bytes = small.1(0).0.len() + forge::HEADER + forge::TRAILER;
    let (one, _) = small.0.time(small.1);
    let (other, answered) = large.0.time(large.1);
    let micros = |took: Duration| took.as_secs_f64() * 1e6;
    println!(
        "{what:>30} {bytes:>7} {:>7.1} us {:>7.1} us {:>10.1} {answered:>10}",
        micros(one),
        micros(other),
        micros(other) / micros(one)
    );
}
