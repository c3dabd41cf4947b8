//! What inputs make a node allocate, counted to the byte. One test after the other, in one thread:
//! the counter tells no threads apart.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use core::time::Duration;

use cap::Cap;
use conformance::forge::{self, Body, Known};
use conformance::testkit::{LIAR, LIAR_ADDRESS, Loopback, MILLI, MINUTE, SECOND, stamp};
use gossip_core::Node;
use libtest_mimic::{Arguments, Failed, Trial};

#[global_allocator]
static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

/// A little after the nodes start.
const STAMP: u64 = stamp(5);
const DATAGRAM: usize = 1400;
/// How often a node is told a thing.
const ROUNDS: usize = 8;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let tests: [(&str, fn()); 6] = [
        ("in_steady_state_nothing_is_allocated", steady),
        ("one_datagram_holds_no_more_than_twice_its_length", held),
        ("a_flood_of_members_holds_little_more_than_it_brings", flood),
        (
            "a_flood_of_the_map_holds_no_more_than_it_may_bring",
            map_flood,
        ),
        (
            "a_flood_of_early_runs_holds_half_a_megabyte_and_passes",
            early_flood,
        ),
        ("an_answer_holds_no_more_than_it_can_send", answers),
    ];
    let trials = tests.map(|(name, test)| {
        Trial::test(name, move || -> Result<(), Failed> {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.into()).exit();
}

/// A cluster in which nothing changes: ten minutes of heartbeats and agreeing exchanges.
fn steady() {
    let mut nodes = Loopback::new(12);
    for number in 0..12 {
        nodes.start(number, &format!("n{number}"), |_| {});
    }
    nodes.pass(2 * MINUTE);
    assert!(nodes.nodes().all(|node| node.metrics().live == 12));
    let before = ALLOCATOR.total_allocated();
    nodes.pass(10 * MINUTE);
    let allocated = ALLOCATOR.total_allocated() - before;
    assert_eq!(allocated, 0, "bytes allocated in ten minutes");
}

/// One node that has met nobody but the liar.
struct Victim(Loopback);

impl Victim {
    fn new() -> Self {
        Self::with(1 * SECOND)
    }

    /// One with rounds of this length.
    fn with(interval: Duration) -> Self {
        let mut alone = Loopback::new(1);
        alone.start(0, "n0", |config| config.interval = interval);
        alone.pass(10 * SECOND);
        // Strangers are not listened to until they have echoed a token.
        alone.prove();
        Self(alone)
    }

    fn node(&self) -> &Node {
        self.0.node(0)
    }

    /// Bytes that the node holds more than before once it has handled a datagram, and has not yet
    /// sent anything.
    fn holds_more_after(&mut self, body: &Body) -> usize {
        let datagram = self.0.framed(body);
        assert!(datagram.len() <= DATAGRAM);
        let dropped = self.node().metrics().dropped;
        let before = ALLOCATOR.allocated();
        self.0.deliver(0, LIAR_ADDRESS.into(), &datagram);
        // What the application is to be told waits in a queue with a bound of its own.
        while self
            .0
            .give(0, |node, _| node.poll_event())
            .flatten()
            .is_some()
        {}
        let after = ALLOCATOR.allocated();
        assert_eq!(self.node().metrics().dropped, dropped, "it is well-formed");
        after.saturating_sub(before)
    }

    /// Sends, tells, and lets some time pass.
    fn rest(&mut self) {
        self.0.settle();
        self.0.pass(20 * MILLI);
    }
}

fn known(origin: u64, frontier: u64) -> Known {
    let generation = STAMP;
    Known {
        origin,
        generation,
        frontier,
    }
}

fn pushed() -> Body {
    Body::from(LIAR, STAMP).push()
}

fn leg(number: u8) -> Body {
    Body::from(LIAR, STAMP).exchange(number, 7)
}

/// As many items as fit, each with an id of its own.
fn filled(mut body: Body, ids: &mut u64, item: impl Fn(Body, u64) -> Body) -> Body {
    let room = DATAGRAM - forge::HEADER - forge::TRAILER;
    loop {
        *ids = ids.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let longer = item(body.clone(), *ids);
        if longer.0.len() > room {
            return body;
        }
        body = longer;
    }
}

/// What a datagram allows. A run of the map is kept once more for a while, for peers that miss it; the
/// table of these runs grows by leaps.
fn limit(body: &Body) -> usize {
    let len = body.0.len() + forge::HEADER + forge::TRAILER;
    let is_push = body.0.get(forge::SENDER) == Some(&forge::message::PUSH);
    let kept = if is_push { len + 1536 } else { 0 };
    2 * len + 1024 + kept
}

/// Whether a node takes all of a datagram.
fn is_taken(body: &Body) -> bool {
    let fits = body.0.len() <= DATAGRAM - forge::HEADER - forge::TRAILER;
    let mut victim = Victim::new();
    fits && {
        victim.holds_more_after(body);
        victim.node().metrics().refused_state == 0
    }
}

/// The longest of such datagrams that is taken whole.
fn most(item: impl Fn(usize) -> Body) -> Body {
    let taken = (1..).map(item).take_while(is_taken).last();
    taken.expect("one of anything is taken")
}

fn held() {
    let mut victim = Victim::new();
    let ids = &mut 1;
    let tombstones = (1..=200).fold(Body::default(), |run, version| {
        let key = [b'a' + u8::try_from(version % 20).unwrap()];
        run.entry(version, 0, &key, None)
    });
    let keys = (1..=150).fold(Body::default(), |run, version| {
        let key = u16::try_from(0x4141 + version).unwrap().to_be_bytes();
        run.entry(version, 0, &key, Some(b"v"))
    });
    let value = Body::default().entry(1, 0, b"key", Some(&[7; 1000]));
    let votes = |generation: u64| {
        let ballot = |votes: Body, subject: u64| {
            let subject = Known {
                generation,
                ..known(subject << 58, 0)
            };
            votes.ballot(subject, 0)
        };
        let votes = (0..32).fold(Body::default(), ballot);
        Body::default().entry(1, 0, &[4], Some(&votes.0)).0
    };
    let taker = Known::of(victim.node(), 0);
    let from = || Body::from(LIAR, STAMP);
    // What comes once, and again when there is room for it already.
    let mut sums: Vec<(&str, usize, usize, usize, usize)> = Vec::new();
    for round in 0..u64::try_from(ROUNDS).unwrap() {
        let one = |number: u64| number << 50 | round;
        let run = |kind: u64, value| {
            move |n: usize| run_of(8 * kind + round, known(one(12 + kind), 0), n, value)
        };
        let writes = |kind: u64, value| {
            move |n: usize| {
                let writes = 1..=u64::try_from(n).unwrap();
                let delta = writes.fold(from().map_delta(taker), |b, version| {
                    let whose = known(one(12 + kind), version);
                    let key = key_of(8 * kind + round, version);
                    let write = Body::default().write(whose, &key, value).0;
                    let total = u32::try_from(write.len()).unwrap();
                    b.part(whose, total, 0, &write)
                });
                delta.frontier(known(one(12 + kind), u64::try_from(n).unwrap()))
            }
        };
        let each = |head: Body, item: fn(Body, Known) -> Body| {
            move |n: usize| {
                let ids = (1..=u64::try_from(n).unwrap()).map(|id| id << 40 | round);
                ids.fold(head.clone(), |b, id| item(b, known(id, 1)))
            }
        };
        let cases = [
            ("heartbeat", from().heartbeat(round)),
            ("ping", from().ping(7)),
            (
                "tombstones",
                leg(2).delta(known(one(7), 200), 0, 200, 0, &tombstones.0),
            ),
            ("keys", leg(2).delta(known(one(8), 150), 0, 150, 0, &keys.0)),
            ("value", leg(2).delta(known(one(9), 1), 0, 1, 0, &value.0)),
            (
                "votes",
                leg(2).delta(known(one(10), 1), 0, 1, 0, &votes(round)),
            ),
            (
                "votes of two",
                (21..23).fold(leg(2), |b, author| {
                    b.delta(known(one(author), 1), 0, 1, 0, &votes(author + round))
                }),
            ),
            ("a part", leg(2).delta(known(one(11), 9), 0, 1, 0, &value.0)),
            (
                "gaps",
                filled(leg(2), ids, |b, id| b.delta(known(id, 30), 10, 30, 0, &[])),
            ),
            (
                "writes of one key",
                filled(pushed(), &mut 0, |b, _| {
                    let version = u64::try_from(b.0.len()).unwrap();
                    b.run(known(one(12), version + 1), version, b"key")
                }),
            ),
            ("a run of writes", most(run(1, Some(&[])))),
            ("a run of tombstones", most(run(2, None))),
            (
                "writes of unknown origins",
                filled(pushed(), ids, |b, id| {
                    b.run(known(id, 1), 0, &id.to_be_bytes().map(|b| b & 31 | 64))
                }),
            ),
            ("a delta of writes", most(writes(3, Some(&[])))),
            ("a delta of tombstones", most(writes(4, None))),
            (
                "a delta of frontiers",
                most(each(from().map_delta(taker), Body::frontier)),
            ),
            (
                "a delta of graves",
                most(each(from().map_delta(taker), Body::gone)),
            ),
            ("a request of the map", from().map_pull()),
            (
                "removals",
                filled(leg(2), ids, |b, _| b.removed(STAMP + round)),
            ),
        ];
        for (at, (what, body)) in cases.into_iter().enumerate() {
            let holds = victim.holds_more_after(&body);
            sums.resize(sums.len().max(at + 1), (what, body.0.len(), 0, 0, 0));
            let (_, _, most, sum, allowed) = &mut sums[at];
            // In the first round the queue of events grows to its size.
            if round > 0 {
                *most = holds.max(*most);
                *sum += holds;
                *allowed += limit(&body);
            }
            victim.rest();
        }
    }
    let lists = |n: usize| {
        let ids = (1..=u64::try_from(n).unwrap()).map(|id| id << 40);
        ids.fold(from().map_chunk(taker), |b, id| b.listed(known(id, 1)))
    };
    let lists = most(lists);
    let holds = Victim::new().holds_more_after(&lists);
    sums.push((
        "a delta of lists",
        lists.0.len(),
        holds,
        holds,
        limit(&lists),
    ));
    for (what, sent, most, sum, allowed) in sums {
        let rounds = if what == "a delta of lists" {
            1
        } else {
            ROUNDS - 1
        };
        let (mean, allowed) = (sum / rounds, allowed / rounds);
        println!("{what}: sent {sent}, holds {mean}, at most {most}, of {allowed}");
        // A table that has no room left grows by an eighth at once, a hash table twofold: what is
        // promised is what datagrams come to together, as the floods check after each. Here tables are
        // small, and no leap large.
        assert!(mean <= allowed, "{what}: {mean} bytes of {allowed}");
        assert!(most <= 2 * allowed, "{what}: {most} bytes of {allowed}");
    }
}

/// A push of the first `n` writes of an origin, each of another key, or deletion of one.
fn run_of(round: u64, whose: Known, n: usize, value: Option<&[u8]>) -> Body {
    let n = u64::try_from(n).unwrap();
    let of = |frontier| Known { frontier, ..whose };
    let writes = (1..=n).fold(Body::default(), |b, version| {
        b.bytes(
            &Body::default()
                .write(of(version), &key_of(round, version), value)
                .0,
        )
    });
    pushed().runs(of(n), 0, &writes.0)
}

/// A short key, another for each number below 90 of each round.
fn key_of(round: u64, number: u64) -> [u8; 2] {
    [round, number].map(|n| b' ' + u8::try_from(n).unwrap())
}

/// What queues of a fixed size take the first time that something is put into them.
const QUEUES: usize = 12 * 1024;

/// What datagrams together allow a node to hold, and what it holds.
struct Budget {
    before: usize,
    holds: usize,
    allowed: usize,
    datagrams: usize,
    /// The most that one datagram took, and what its own length allows: a table grew.
    most: usize,
    alone: usize,
}

impl Budget {
    fn new() -> Self {
        Self {
            before: ALLOCATOR.allocated(),
            holds: 0,
            allowed: 0,
            datagrams: 0,
            most: 0,
            alone: 0,
        }
    }

    /// One more datagram, which made the node hold so much more at once. At no time is more held than
    /// all that came allow together, but for what queues take, once.
    fn spend(&mut self, what: &str, body: &Body, took: usize) {
        self.datagrams += 1;
        self.allowed += limit(body);
        self.holds = ALLOCATOR.allocated().saturating_sub(self.before);
        let (holds, allowed) = (self.holds, self.allowed);
        let queues = if self.datagrams < 100 { QUEUES } else { 0 };
        assert!(
            holds <= allowed + queues,
            "{what}: {holds} bytes held of {allowed} after {}",
            self.datagrams
        );
        if took > self.most {
            (self.most, self.alone) = (took, limit(body));
        }
    }
}

impl core::fmt::Display for Budget {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self {
            holds,
            allowed,
            most,
            alone,
            ..
        } = self;
        write!(
            f,
            "{holds} bytes held of {allowed}, at most {most} for one that alone may take {alone}"
        )
    }
}

/// Tables grow by leaps; over a flood, what they hold is what they were brought.
fn flood() {
    let address_of = |id: u64| {
        let [a, b, c, d, ..] = id.to_le_bytes();
        [10, a, b, c, 1, d]
    };
    type Make = fn(Body, u64, &[u8]) -> Body;
    let member: Make = |b, id, log| b.delta(known(id, 3), 0, 3, 0, log);
    let removed: Make = |b, id, _| b.delta(known(id, 3), 0, 3, 0, &[]);
    let parts: Make = |b, id, log| b.delta(known(id, 9), 0, 3, 0, log);
    // Each in a datacenter of its own.
    let places: Make = |b, id, log| {
        let place = Body::default().entry(4, 0, &[3], Some(&id.to_le_bytes()));
        let log = [log, &place.0].concat();
        b.delta(known(id, 4), 0, 4, 0, &log)
    };
    let cases = [
        ("members", member),
        ("removed", removed),
        ("parts", parts),
        ("places", places),
    ];
    for (what, make) in cases {
        let mut victim = Victim::new();
        let ids = &mut 1;
        let mut budget = Budget::new();
        for _ in 0..200 {
            let body = filled(leg(2), ids, |b, id| {
                let log = Body::default().entry(1, 0, &[0], Some(&address_of(id)));
                let log = log
                    .entry(2, 0, &[1], Some(b"name"))
                    .entry(3, 0, &[2], Some(&[1]));
                make(b, id, &log.0)
            });
            let holds = victim.holds_more_after(&body);
            budget.spend(what, &body, holds);
            victim.rest();
        }
        let members = victim.node().metrics().members;
        println!("{what}: {budget}, {members} members");
    }
}

/// The same of what the shared map holds: as much in each datagram as is taken.
fn map_flood() {
    type Make = fn(Known, u64, usize) -> Body;
    let cases: [(&str, Make); 5] = [
        ("writes", |_, id, n| flooding_run(id, n, Some(&[]))),
        ("tombstones", |_, id, n| flooding_run(id, n, None)),
        ("origins", |_, id, n| {
            (0..n).fold(pushed(), |b, n| {
                let whose = known(spread(id, n), 1);
                b.run(whose, 0, &flooding_key(id, n))
            })
        }),
        ("frontiers", |taker, id, n| {
            let head = Body::from(LIAR, STAMP).map_delta(taker);
            (0..n).fold(head, |b, n| b.frontier(known(spread(id, n), 1)))
        }),
        ("graves", |taker, id, n| {
            let head = Body::from(LIAR, STAMP).map_delta(taker);
            (0..n).fold(head, |b, n| b.gone(known(spread(id, n), 1)))
        }),
    ];
    for (what, make) in cases {
        let mut victim = Victim::new();
        let taker = Known::of(victim.node(), 0);
        let n = (1..).take_while(|n| is_taken(&make(taker, 1, *n))).last();
        let mut budget = Budget::new();
        for id in 1..=200 {
            let body = make(taker, id, n.unwrap());
            let holds = victim.holds_more_after(&body);
            budget.spend(what, &body, holds);
        }
        let map = victim.node().map();
        println!(
            "{what}: {} in each datagram, {budget}; {} logs, {} writes",
            n.unwrap(),
            map.logs(),
            map.writes()
        );
        assert_eq!(victim.node().metrics().refused_state, 0, "all is taken");
    }
}

/// Runs of the map that can never be applied. Short ones take the most beside their bytes.
fn early_flood() {
    for (length, datagrams) in [(1000, 800), (0, 4000)] {
        let mut victim = Victim::with(200 * MILLI);
        // Queues get their size.
        let run = |id, length| {
            let write = Body::default().write(known(id, 8), b"k", Some(&vec![7; length]));
            pushed().runs(known(id, 8), 7, &Body::default().bytes(&write.0).0)
        };
        victim.holds_more_after(&run(1, length));
        victim.0.pass(5 * SECOND);
        let before = ALLOCATOR.allocated();
        let mut most = 0;
        for id in 2..=datagrams {
            victim.holds_more_after(&run(id, length));
            most = most.max(ALLOCATOR.allocated().saturating_sub(before));
            if id % 100 == 0 {
                victim.rest();
            }
        }
        victim.0.pass(5 * SECOND);
        let left = ALLOCATOR.allocated().saturating_sub(before);
        println!("early runs of {length}: at most {most} bytes held, {left} in the end");
        // 512 KB, and what a table takes that has just grown.
        assert!((400_000..600_000).contains(&most), "{most} bytes held");
        assert!(left < QUEUES, "{left} bytes held in the end");
    }
}

fn spread(id: u64, n: usize) -> u64 {
    let n = u64::try_from(n).unwrap();
    (id << 8 | n).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn flooding_key(id: u64, n: usize) -> [u8; 4] {
    let n = u64::try_from(n).unwrap();
    [n, id, id >> 5, n >> 5].map(|n| b'@' | u8::try_from(n & 31).unwrap())
}

fn flooding_run(id: u64, n: usize, value: Option<&[u8]>) -> Body {
    let of = |frontier| known(spread(id, 0), frontier);
    let writes = (0..n).fold(Body::default(), |b, at| {
        let version = u64::try_from(at).unwrap() + 1;
        b.bytes(
            &Body::default()
                .write(of(version), &flooding_key(id, at), value)
                .0,
        )
    });
    pushed().runs(of(u64::try_from(n).unwrap()), 0, &writes.0)
}

/// A peer that says it knows nobody, over and over in one datagram, is given no more at a time than
/// one leg can carry.
fn answers() {
    let mut victim = Victim::new();
    let ids = &mut 1;
    for _ in 0..150 {
        let body = filled(leg(2), ids, |b, id| b.delta(known(id, 3), 0, 3, 0, &[]));
        victim.holds_more_after(&body);
        victim.rest();
    }
    assert!(victim.node().metrics().members > 3000);
    let body = filled(leg(1), ids, |b, _| b.complete(0, 0));
    let holds = victim.holds_more_after(&body);
    let limit = 2 * 16 * DATAGRAM;
    assert!(holds <= limit, "{holds} bytes of {limit}");
}
