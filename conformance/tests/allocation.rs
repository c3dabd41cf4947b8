//! What inputs make a node allocate, counted to the byte. One test after the other, in one thread:
//! the counter tells no threads apart.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use core::net::SocketAddr;
use core::time::Duration;

use cap::Cap;
use conformance::forge::{self, Body, Known, framed};
use gossip_core::{Config, Identity, Instant, Node, UnixTime};
use libtest_mimic::{Arguments, Failed, Trial};

#[global_allocator]
static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

const WALL: UnixTime = UnixTime::from_millis(1_767_225_600_000);
/// A little after [`WALL`], as a stamp.
const STAMP: u64 = (1_767_225_600_000 + 5) << 16;
const DATAGRAM: usize = 1400;
/// Where forged datagrams come from.
const LIAR: ([u8; 4], u16) = ([127, 0, 0, 1], 41);

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let tests: [(&str, fn()); 4] = [
        ("in_steady_state_nothing_is_allocated", steady),
        ("one_datagram_holds_no_more_than_twice_its_length", held),
        ("a_flood_of_members_holds_little_more_than_it_brings", flood),
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

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], u16::try_from(number + 1).unwrap()))
}

fn node(number: usize) -> Node {
    let mut config = Config::lan();
    config.seeds = vec![address(0), address(1)];
    let identity = Identity::new(&format!("n{number}"), address(number)).unwrap();
    let mut seed = [1; 32];
    seed[0] = u8::try_from(number).unwrap();
    Node::new(config, identity, seed, Instant::ORIGIN, WALL).unwrap()
}

/// Lets time pass for nodes that hand one another every datagram at once. Allocates nothing itself.
fn pass(nodes: &mut [Node], now: &mut Instant, time: Duration) {
    let end = now.saturating_add(time);
    let mut buffer = [0; DATAGRAM];
    while *now < end {
        let due = nodes.iter().filter_map(Node::poll_timeout).min();
        *now = due.unwrap_or(end).min(end).max(*now);
        for node in nodes.iter_mut() {
            node.handle_timeout(*now);
        }
        let mut from = 0;
        while from < nodes.len() {
            while nodes[from].poll_event().is_some() {}
            let Some(datagram) = nodes[from].poll_transmit(*now, &mut buffer) else {
                from += 1;
                continue;
            };
            let to = usize::from(datagram.to.port()).wrapping_sub(1);
            if let Some(receiver) = nodes.get_mut(to) {
                receiver.handle_datagram(*now, address(from), datagram.payload);
                from = from.min(to);
            }
        }
    }
}

/// A cluster in which nothing changes: ten minutes of heartbeats and agreeing exchanges.
fn steady() {
    let mut nodes: Vec<Node> = (0..12).map(node).collect();
    let mut now = Instant::ORIGIN;
    pass(&mut nodes, &mut now, Duration::from_secs(120));
    assert!(nodes.iter().all(|node| node.metrics().live == 12));
    let before = ALLOCATOR.total_allocated();
    pass(&mut nodes, &mut now, Duration::from_secs(600));
    let allocated = ALLOCATOR.total_allocated() - before;
    assert_eq!(allocated, 0, "bytes allocated in ten minutes");
}

/// One node that has met nobody, and the head of a datagram that it would read.
struct Victim {
    node: Node,
    now: Instant,
    real: Vec<u8>,
}

impl Victim {
    fn new() -> Self {
        let mut now = Instant::ORIGIN;
        let mut nodes = vec![node(0)];
        pass(&mut nodes, &mut now, Duration::from_secs(10));
        let mut buffer = [0; DATAGRAM];
        let mut other = node(1);
        let real = other.poll_transmit(now, &mut buffer).unwrap();
        let mut victim = Self {
            real: real.payload.to_vec(),
            node: nodes.remove(0),
            now,
        };
        // Strangers are not listened to until they have echoed a token.
        let syn = framed(&victim.real, &leg(1).0);
        victim.node.handle_datagram(now, LIAR.into(), &syn);
        let challenge = victim.node.poll_transmit(now, &mut buffer).unwrap();
        let mut echo = Body::from(5 << 50, STAMP).byte(2);
        echo.0
            .extend_from_slice(&forge::body(challenge.payload)[17..]);
        let echo = framed(&victim.real, &echo.0);
        victim.node.handle_datagram(now, LIAR.into(), &echo);
        victim
    }

    /// Bytes that the node holds more than before once it has handled a datagram, and has not yet
    /// sent anything.
    fn holds_more_after(&mut self, body: &Body) -> usize {
        let datagram = framed(&self.real, &body.0);
        assert!(datagram.len() <= DATAGRAM);
        let dropped = self.node.metrics().dropped;
        let before = ALLOCATOR.allocated();
        self.node.handle_datagram(self.now, LIAR.into(), &datagram);
        // What the application is to be told waits in a queue with a bound of its own.
        while self.node.poll_event().is_some() {}
        let after = ALLOCATOR.allocated();
        assert_eq!(self.node.metrics().dropped, dropped, "it is well-formed");
        after.saturating_sub(before)
    }

    /// Sends, tells, and lets some time pass.
    fn rest(&mut self) {
        let mut buffer = [0; DATAGRAM];
        while self.node.poll_transmit(self.now, &mut buffer).is_some() {}
        while self.node.poll_event().is_some() {}
        self.now = self.now.saturating_add(Duration::from_millis(20));
        self.node.handle_timeout(self.now);
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
    Body::from(5 << 50, STAMP).push()
}

fn leg(number: u8) -> Body {
    Body::from(5 << 50, STAMP).exchange(number, 7)
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

fn limit(body: &Body) -> usize {
    2 * (body.0.len() + forge::HEADER + forge::TRAILER) + 1024
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
    let votes = |round: u64| {
        let ballot = |votes: Body, subject: u64| votes.ballot(known(subject << 58 | round, 3), 0);
        let votes = (0..32).fold(Body::default(), ballot);
        Body::default().entry(1, 0, &[4], Some(&votes.0)).0
    };
    // What comes once, and again when there is room for it already.
    for round in 0..3 {
        let one = |number: u64| number << 50 | round;
        let cases = [
            ("heartbeat", Body::from(5 << 50, STAMP).heartbeat(round)),
            ("ping", Body::from(5 << 50, STAMP).ping(7)),
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
            ("a part", leg(2).delta(known(one(11), 9), 0, 1, 0, &value.0)),
            (
                "gaps",
                filled(leg(2), ids, |b, id| b.delta(known(id, 30), 10, 30, 0, &[])),
            ),
            (
                "a long run of the map",
                filled(pushed(), &mut 0, |b, _| {
                    let version = u64::try_from(b.0.len()).unwrap();
                    b.run(known(one(12), version + 1), version, b"key")
                }),
            ),
            (
                "a request of the map",
                Body::from(5 << 50, STAMP).map_pull(),
            ),
            (
                "a chunk of the map",
                Body::from(5 << 50, STAMP).map_chunk(known(victim.node.id().as_u64(), 0)),
            ),
            (
                "removals",
                filled(leg(2), ids, |b, _| b.removed(STAMP + round)),
            ),
        ];
        for (what, body) in cases {
            let (holds, limit) = (victim.holds_more_after(&body), limit(&body));
            println!("{what}: {holds} bytes of {limit}, round {round}");
            // A vote against somebody unknown takes 48 bytes in a list that grows twofold, and 20 in
            // the datagram. There are no more than 32 in one.
            let limit = if what == "votes" {
                limit + 32 * 2 * 48
            } else {
                limit
            };
            // In the first round the queue of events grows to its size.
            assert!(
                round == 0 || holds <= limit,
                "{what}: {holds} bytes of {limit}"
            );
            victim.rest();
        }
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
        let before = ALLOCATOR.allocated();
        let mut allowed = 0;
        for _ in 0..200 {
            let body = filled(leg(2), ids, |b, id| {
                let log = Body::default().entry(1, 0, &[0], Some(&address_of(id)));
                let log = log
                    .entry(2, 0, &[1], Some(b"name"))
                    .entry(3, 0, &[2], Some(&[1]));
                make(b, id, &log.0)
            });
            allowed += limit(&body);
            victim.holds_more_after(&body);
            victim.rest();
        }
        let holds = ALLOCATOR.allocated().saturating_sub(before);
        println!(
            "{what}: {holds} bytes held of {allowed}, {} members",
            victim.node.metrics().members
        );
        assert!(holds <= allowed, "{what}: {holds} bytes held of {allowed}");
    }
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
    assert!(victim.node.metrics().members > 3000);
    let body = filled(leg(1), ids, |b, _| b.complete(0, 0));
    let holds = victim.holds_more_after(&body);
    let limit = 2 * 16 * DATAGRAM;
    assert!(holds <= limit, "{holds} bytes of {limit}");
}
