//! What inputs make a node allocate, counted byte by byte. One test at a time, in one thread: the
//! counter knows no difference.

use core::net::SocketAddr;
use core::time::Duration;

use cap::Cap;
use conformance::forge::{Body, Known, framed};
use gossip_core::{Command, Config, Event, Identity, Instant, Key, Node, UnixTime, Value};
use libtest_mimic::{Arguments, Failed, Trial};

#[global_allocator]
static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

const WALL: UnixTime = UnixTime::from_millis(1_767_225_600_000);

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trial = |name: &str, test: fn()| {
        Trial::test(name, move || -> Result<(), Failed> {
            test();
            Ok(())
        })
    };
    let trials = vec![trial("measure", measure)];
    libtest_mimic::run(&arguments, trials).exit();
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn node(name: &str, port: u16) -> Node {
    let mut config = Config::lan();
    config.seeds = vec![address(1)];
    let identity = Identity::new(name, address(port)).unwrap();
    let [low, high] = port.to_le_bytes();
    let mut seed = [low; 32];
    seed[0] = high;
    Node::new(config, identity, seed, Instant::ORIGIN, WALL).unwrap()
}

fn drain(node: &mut Node, now: Instant) -> Vec<Vec<u8>> {
    let mut buffer = [0; 1400];
    let mut out = Vec::new();
    while let Some(t) = node.poll_transmit(now, &mut buffer) {
        out.push(t.payload.to_vec());
    }
    while node.poll_event().is_some() {}
    out
}

fn measure() {
    let mut a = node("a", 1);
    let mut b = node("b", 2);
    let mut now = Instant::ORIGIN;
    let real = drain(&mut b, now).remove(0);
    for _ in 0..40 {
        now = now.saturating_add(Duration::from_millis(250));
        a.handle_timeout(now);
        drain(&mut a, now);
    }
    let gen0 = (1_767_225_600_000_u64 + 5) << 16;
    let stamp = |n: u64| gen0 + n;
    let own = a.id().as_u64();
    let own_gen = a.generation().stamp().to_bits();
    let mut id = 1u64 << 40;
    let mut cases: Vec<(&str, Vec<u8>)> = Vec::new();
    let b0 = || Body::from(5 << 50, stamp(1));
    let mut fill = |mut body: Body, next: &mut dyn FnMut(Body, u64) -> Body| {
        loop {
            id += (1 << 45) + 12345;
            let longer = next(body.clone(), id);
            if longer.0.len() > 1380 { return body; }
            body = longer;
        }
    };
    for round in 0..3 {
        let _ = round;
        cases.push(("summaries", framed(&real, &fill(b0().exchange(1, 7), &mut |b, id| b.summary(Known { origin: id, generation: stamp(3), frontier: 9 })).0)));
        cases.push(("wants", framed(&real, &fill(b0().exchange(3, 7), &mut |b, id| b.want(Known { origin: id, generation: stamp(3), frontier: 9 })).0)));
        cases.push(("wants of one", framed(&real, &fill(b0().exchange(3, 7), &mut |b, _| b.want(Known { origin: own, generation: 0, frontier: 0 })).0)));
        cases.push(("ghosts", framed(&real, &fill(b0().exchange(2, 7), &mut |b, id| b.delta(Known { origin: id, generation: stamp(3), frontier: 1 }, 0, 1, 0, &[])).0)));
        let small = Body::default().entry(1, 0, &[0], Some(&[10, 0, 0, 1, 1, 1])).entry(2, 0, &[1], Some(b"x")).entry(3, 0, &[2], Some(&[1]));
        cases.push(("members", framed(&real, &fill(b0().exchange(2, 7), &mut |b, id| b.delta(Known { origin: id, generation: stamp(3), frontier: 3 }, 0, 3, 0, &small.0)).0)));
        cases.push(("members by push", framed(&real, &fill(b0().push(0, 1, u64::MAX), &mut |b, id| b.delta(Known { origin: id, generation: stamp(3), frontier: 3 }, 0, 3, 0, &small.0)).0)));
        cases.push(("partials", framed(&real, &fill(b0().exchange(2, 7), &mut |b, id| b.delta(Known { origin: id, generation: stamp(3), frontier: 30 }, 0, 3, 0, &small.0)).0)));
        cases.push(("gaps", framed(&real, &fill(b0().exchange(2, 7), &mut |b, id| b.delta(Known { origin: id, generation: stamp(3), frontier: 30 }, 10, 30, 0, &[])).0)));
        cases.push(("gaps by push", framed(&real, &fill(b0().push(0, 1, u64::MAX), &mut |b, id| b.delta(Known { origin: id, generation: stamp(3), frontier: 30 }, 10, 30, 0, &[])).0)));
        let mut many = Body::default();
        for v in 1..=255u64 { many = many.entry(v, 0, &[33 + (v % 90) as u8], None); }
        let who = 77u64 << 50 | round;
        cases.push(("entries of few keys", framed(&real, &b0().exchange(2, 7).delta(Known { origin: who, generation: stamp(3), frontier: 255 }, 0, 255, 0, &many.0).0)));
        let mut many = Body::default();
        for v in 1..=220u64 { many = many.entry(v, 0, &[33 + (v % 90) as u8, 33 + (v/90) as u8], None); }
        let who = 78u64 << 50 | round;
        cases.push(("entries of many keys", framed(&real, &b0().exchange(2, 7).delta(Known { origin: who, generation: stamp(3), frontier: 255 }, 0, 255, 0, &many.0).0)));
        let mut votes = Body::default();
        for v in 0..32u64 { votes = votes.ballot(Known { origin: (v << 57) + 99 + round, generation: stamp(3), frontier: 3 }, 0); }
        let e = Body::default().entry(1, 0, &[4], Some(&votes.0));
        cases.push(("votes", framed(&real, &b0().exchange(2, 7).delta(Known { origin: 79u64 << 50 | round, generation: stamp(3), frontier: 1 }, 0, 1, 0, &e.0).0)));
        cases.push(("splits", framed(&real, &fill(b0().exchange(2, 7), &mut |b, _| b.split(0, 0, &[1; 256])).0)));
        cases.push(("completes", framed(&real, &fill(b0().exchange(2, 7), &mut |b, _| b.complete(0, 0)).0)));
        cases.push(("removed", framed(&real, &fill(b0().exchange(2, 7), &mut |b, _| b.removed(own_gen)).0)));
        let big = Body::default().entry(1, 0, b"key", Some(&[7; 1000]));
        cases.push(("one value", framed(&real, &b0().exchange(2, 7).delta(Known { origin: 80u64 << 50 | round, generation: stamp(3), frontier: 1 }, 0, 1, 0, &big.0).0)));
        cases.push(("ping", framed(&real, &b0().ping(7).0)));
        cases.push(("heartbeat", framed(&real, &b0().heartbeat(7).0)));
    }
    let mut buffer = [0; 1400];
    for (what, datagram) in &cases {
        let before = (ALLOCATOR.allocated(), ALLOCATOR.total_allocated());
        a.handle_datagram(now, address(9), datagram);
        let mid = ALLOCATOR.total_allocated();
        let (mut out, mut n) = (0, 0);
        while let Some(t) = a.poll_transmit(now, &mut buffer) { out += t.payload.len(); n += 1; }
        let mut events = 0;
        while let Some(e) = a.poll_event() { events += 1; drop(e); }
        let after = (ALLOCATOR.allocated(), ALLOCATOR.total_allocated());
        let limit = datagram.len() * 2 + 1024;
        println!("{what:24} len {:5} limit {limit:5} total {:6} {} kept {:6} | out {n} datagrams {out} bytes, {events} events; drain {}; members {} dropped {}", datagram.len(), mid - before.1, if mid - before.1 > limit {"OVER"} else {"    "}, after.0 as isize - before.0 as isize, after.1 - mid, a.metrics().members, a.metrics().dropped.total());
        now = now.saturating_add(Duration::from_millis(50));
        a.handle_timeout(now);
        drain(&mut a, now);
    }
    let _ = (Command::Leave, Event::Lagged, Key::new("k"), Value::new("v"));
}
