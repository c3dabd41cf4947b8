//! Peers that lie: whatever they send, each lie has a bound, a counter and a test here.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;

use conformance::forge::{self, Body, Known, framed};
use conformance::invariant::View;
use gossip_core::{
    Command, Config, Dissection, Dissemination, Event, Identity, Instant, Key, Node, Status,
    UnixTime, Value, Vote,
};

const WALL: u64 = 1_767_225_600_000;
const DATAGRAM: usize = 1400;
/// Who sends what no member would: from here, under this id.
const LIAR: u64 = 5 << 50;

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], u16::try_from(number + 1).unwrap()))
}

fn stamp(millis_after_start: u64) -> u64 {
    (WALL + millis_after_start) << 16
}

/// Nodes that hand one another every datagram at once.
struct Cluster {
    nodes: Vec<Node>,
    now: Instant,
    heard: Vec<Vec<u8>>,
    events: Vec<Event>,
    /// Whether the liar has shown that it is where it says it is.
    proven: bool,
    /// Who does and hears nothing any more.
    dead: BTreeSet<usize>,
}

impl Cluster {
    /// Nodes that have met and said something.
    fn of(number: usize, change: impl Fn(&mut Config)) -> Self {
        let node = |number| {
            let mut config = Config::lan();
            config.seeds = vec![address(0), address(1)];
            change(&mut config);
            let identity = Identity::new(&format!("n{number}"), address(number)).unwrap();
            let mut seed = [1; 32];
            seed[0] = u8::try_from(number).unwrap();
            let wall = UnixTime::from_millis(WALL);
            Node::new(config, identity, seed, Instant::ORIGIN, wall).unwrap()
        };
        let mut cluster = Self {
            nodes: (0..number).map(node).collect(),
            now: Instant::ORIGIN,
            heard: Vec::new(),
            events: Vec::new(),
            proven: false,
            dead: BTreeSet::new(),
        };
        cluster.pass(10);
        for n in 0..number {
            let key = Key::new("role").unwrap();
            let value = Value::new(format!("value of {n}")).unwrap();
            let now = cluster.now;
            cluster.nodes[n]
                .handle_command(now, Command::Set { key, value })
                .unwrap();
        }
        cluster.pass(20);
        assert!(cluster.is_well());
        cluster.events.clear();
        cluster
    }

    /// Whether every node holds all of them up, and all know the same.
    fn is_well(&self) -> bool {
        let hash = self.nodes[0].table_hash();
        let own: Vec<_> = self.nodes.iter().map(Node::id).collect();
        self.nodes.iter().all(|node| {
            let up = |id| node.member(id).map(|m| m.status()) == Some(Status::Up);
            node.table_hash() == hash && own.iter().all(|id| up(*id))
        })
    }

    fn pass(&mut self, seconds: u64) {
        self.pass_for(Duration::from_secs(seconds));
    }

    fn pass_for(&mut self, time: Duration) {
        let end = self.now.saturating_add(time);
        while self.now < end {
            let live = |(n, _): &(usize, &Node)| !self.dead.contains(n);
            let live = self.nodes.iter().enumerate().filter(live);
            let due = live.filter_map(|(_, node)| node.poll_timeout()).min();
            self.now = due.unwrap_or(end).min(end).max(self.now);
            for (n, node) in self.nodes.iter_mut().enumerate() {
                if !self.dead.contains(&n) {
                    node.handle_timeout(self.now);
                }
            }
            self.settle();
        }
    }

    /// Hands on what there is to send. Returns what goes to somebody who is no member.
    fn settle(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut buffer = [0; DATAGRAM];
        let mut outside = Vec::new();
        let mut from = 0;
        while from < self.nodes.len() {
            while let Some(event) = self.nodes[from].poll_event() {
                self.events.push(event);
            }
            let Some(datagram) = self.nodes[from].poll_transmit(self.now, &mut buffer) else {
                from += 1;
                continue;
            };
            let bytes = datagram.payload.to_vec();
            let to = usize::from(datagram.to.port()).wrapping_sub(1);
            if self.dead.contains(&to) {
            } else if to < self.nodes.len() {
                self.nodes[to].handle_datagram(self.now, address(from), &bytes);
                from = from.min(to);
            } else {
                outside.push((datagram.to, bytes.clone()));
            }
            self.heard.push(bytes);
        }
        outside
    }

    /// A forged datagram comes to the first node, from an address that has proved itself. Returns
    /// what it sends to the outside.
    fn forge(&mut self, body: &Body) -> Vec<(SocketAddr, Vec<u8>)> {
        if !core::mem::replace(&mut self.proven, true) {
            let sent = self.forge_unproven(&liar().exchange(1, 7));
            self.forge_unproven(&echo(&sent[0].1));
        }
        self.forge_unproven(body)
    }

    fn forge_unproven(&mut self, body: &Body) -> Vec<(SocketAddr, Vec<u8>)> {
        let datagram = framed(&self.heard[0], &body.0);
        self.nodes[0].handle_datagram(self.now, address(90), &datagram);
        self.settle()
    }

    fn told(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }
}

fn quiet(_: &mut Config) {}

/// The echo of a challenge: sender, kind and the token.
fn echo(challenge: &[u8]) -> Body {
    let (head, token) = forge::body(challenge).split_at(17);
    assert_eq!(head[16], 1, "a challenge is a ping");
    let mut pong = liar().byte(2);
    pong.0.extend_from_slice(token);
    pong
}

fn of_node(node: &Node, frontier: u64) -> Known {
    Known {
        origin: node.id().as_u64(),
        generation: node.generation().stamp().to_bits(),
        frontier,
    }
}

fn liar() -> Body {
    Body::from(LIAR, stamp(1))
}

/// A cluster that has written its shared map, and a real datagram of each kind and length: pushed, and of a
/// cluster that exchanges only, so that of the map there are requests and deltas, too. Lengths count as
/// the same that are so when divided by `grain`.
fn talkative(number: usize, grain: usize) -> (Cluster, Vec<Vec<u8>>) {
    let written = |dissemination| {
        let mut cluster = Cluster::of(number, |config| config.dissemination = dissemination);
        for n in 0..number {
            let key = Key::new(&format!("key/{n}")).unwrap();
            let put = Command::put(key, Value::new(*b"value").unwrap());
            let now = cluster.now;
            cluster.nodes[n].handle_command(now, put).unwrap();
        }
        cluster.forge(&liar().ping(7));
        cluster.pass(10);
        cluster
    };
    let quiet = written(Dissemination::Periodic);
    let mut cluster = written(Dissemination::Eager);
    let heard = core::mem::take(&mut cluster.heard);
    cluster.heard.push(heard[0].clone());
    let mut kinds = [heard, quiet.heard].concat();
    let kind = |bytes: &Vec<u8>| (bytes[forge::HEADER + 16], bytes.len() / grain);
    kinds.sort_by_key(kind);
    kinds.dedup_by_key(|bytes| kind(bytes));
    let seen: BTreeSet<u8> = kinds.iter().map(|bytes| kind(bytes).0).collect();
    // All but the claim of a name that somebody else holds.
    assert_eq!(seen, BTreeSet::from([0, 1, 2, 3, 4, 6, 7]));
    (cluster, kinds)
}

#[test]
fn every_bit_flip_and_every_truncation_of_real_datagrams_is_refused() {
    let (mut cluster, kinds) = talkative(4, 1);
    assert!(kinds.len() > 10, "{} kinds", kinds.len());
    let before = View::of(&cluster.nodes[0]);
    let dropped = cluster.nodes[0].metrics().dropped.total();
    let mut given = 0;
    for datagram in kinds {
        for bit in 0..datagram.len() * 8 {
            let mut flipped = datagram.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            cluster.nodes[0].handle_datagram(cluster.now, address(1), &flipped);
            given += 1;
        }
        for len in 0..datagram.len() {
            cluster.nodes[0].handle_datagram(cluster.now, address(1), &datagram[..len]);
            given += 1;
        }
    }
    let refused = cluster.nodes[0].metrics().dropped.total() - dropped;
    assert_eq!(refused, given, "each is counted");
    assert_eq!(View::of(&cluster.nodes[0]), before, "and changes nothing");
    assert!(cluster.settle().is_empty());
}

#[test]
fn every_bit_flip_under_a_right_checksum_ends_well() {
    // Here a flip is a lie. Whatever it says, nobody panics, and those who live find together again.
    let (mut cluster, kinds) = talkative(3, 32);
    for datagram in kinds {
        for bit in 0..forge::body(&datagram).len() * 8 {
            let mut body = forge::body(&datagram).to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            cluster.forge(&Body(body));
        }
        cluster.pass(1);
    }
    cluster.pass(120);
    let own: Vec<_> = cluster.nodes.iter().map(Node::id).collect();
    for node in &cluster.nodes {
        for id in &own {
            let status = node.member(*id).map(|member| member.status());
            assert_eq!(status, Some(Status::Up), "{id} at {}", node.id());
        }
    }
    let hash = cluster.nodes[0].table_hash();
    assert!(cluster.nodes.iter().all(|node| node.table_hash() == hash));
}

#[test]
fn a_number_in_a_longer_form_is_malformed() {
    // Two encodings of one thing would be two things that claim to be the same.
    let (mut cluster, kinds) = talkative(3, 1);
    let (mut given, mut read) = (0, 0);
    for datagram in &kinds {
        let body = forge::body(datagram);
        for at in 0..body.len() {
            let mut longer = body.to_vec();
            longer[at] |= 0x80;
            longer.insert(at + 1, 0);
            let framed = framed(datagram, &longer);
            given += 1;
            // Here and there it is a number of bytes that was changed, and something else was meant.
            if let Ok(other) = Dissection::of(&framed) {
                assert_eq!(other.write(), framed, "byte {at} of {other}");
                read += 1;
            }
            cluster.forge(&Body(longer));
        }
    }
    println!("{given} given, {read} can be read");
    assert!(read < given / 2, "{read} of {given} can be read");
    cluster.pass(120);
    assert!(cluster.is_well());
}

#[test]
fn a_generation_from_the_far_future_is_refused_counted_and_told() {
    let mut cluster = Cluster::of(3, quiet);
    let target = cluster.nodes[1].id().as_u64();
    let log = Body::default().entry(1, 0, &[2], Some(&[3]));
    for generation in [u64::MAX, stamp(3_600_000), stamp(200_000)] {
        let known = Known {
            origin: target,
            generation,
            frontier: 1,
        };
        cluster.forge(&liar().exchange(2, 7).delta(known, 0, 1, 0, &log.0));
    }
    cluster.pass(10);
    assert!(cluster.is_well());
    assert_eq!(cluster.nodes[0].metrics().refused_skew, 3);
    let skew = |event: &Event| matches!(event, Event::ClockSkew { .. });
    assert_eq!(cluster.told(skew), 1);
}

#[test]
fn a_removal_or_claim_from_the_far_future_moves_no_clock() {
    let mut cluster = Cluster::of(3, quiet);
    let generation = cluster.nodes[0].generation();
    cluster.forge(&liar().exchange(2, 7).removed(u64::MAX));
    cluster.forge(&Body::from(cluster.nodes[0].id().as_u64(), u64::MAX).claim(u64::MAX));
    cluster.pass(10);
    assert_eq!(cluster.nodes[0].generation(), generation);
    assert!(cluster.is_well());
}

#[test]
fn who_claims_more_of_a_log_than_was_written_is_outlived_by_its_writer() {
    let mut cluster = Cluster::of(3, quiet);
    let log = Body::default().entry(u64::MAX, 0, b"role", Some(b"forged"));
    let known = of_node(&cluster.nodes[1], u64::MAX);
    cluster.forge(&liar().exchange(2, 7).delta(known, 0, u64::MAX, 0, &log.0));
    cluster.pass(30);
    assert!(cluster.is_well());
    let role = Key::new("role").unwrap();
    for node in &cluster.nodes {
        let member = node.member(cluster.nodes[1].id()).unwrap();
        assert_eq!(member.attribute(&role), Some(&b"value of 1"[..]));
    }
}

#[test]
fn a_peer_that_acknowledges_what_it_does_not_hold_gets_it_anyway() {
    // "I know all of this", under the table hash of those who do: then the others are right about
    // everything but that peer, and whoever asks them gets everything.
    let mut cluster = Cluster::of(3, quiet);
    let hash = cluster.nodes[0].table_hash();
    for _ in 0..20 {
        cluster.forge(&liar().exchange(1, hash));
    }
    let key = Key::new("late").unwrap();
    let value = Value::new("news").unwrap();
    let now = cluster.now;
    cluster.nodes[2]
        .handle_command(now, Command::Set { key, value })
        .unwrap();
    cluster.pass(5);
    assert!(cluster.is_well());
}

#[test]
fn a_heartbeat_counter_near_its_maximum_takes_nobody_down() {
    let mut cluster = Cluster::of(3, quiet);
    let sender = of_node(&cluster.nodes[1], 0);
    for counter in [u64::MAX, u64::MAX - 1, 0, u64::MAX] {
        cluster.forge(&Body::from(sender.origin, sender.generation).heartbeat(counter));
        cluster.pass(20);
    }
    assert!(cluster.is_well());
    let down = |event: &Event| matches!(event, Event::MemberDown { .. });
    assert_eq!(cluster.told(down), 0);
}

#[test]
fn who_dies_is_found_after_a_heartbeat_counter_near_its_maximum() {
    // If the true counts that follow were taken for repetitions, all of them would be missing for ever:
    // so much would seem to be lost that no silence is evidence any more.
    let mut cluster = Cluster::of(60, quiet);
    let phi_of = |cluster: &Cluster, n: usize| cluster.nodes[0].phi(cluster.nodes[n].id());
    let observed: Vec<_> = (1..60).filter(|n| phi_of(&cluster, *n).is_some()).collect();
    for n in &observed {
        let sender = of_node(&cluster.nodes[*n], 0);
        cluster.forge(&Body::from(sender.origin, sender.generation).heartbeat(u64::MAX));
    }
    cluster.pass(60);
    assert!(cluster.is_well());
    // Few are left: who dies takes its observers along, and each has to be asked.
    cluster.dead = (1..60).filter(|n| !observed.contains(n)).collect();
    cluster.pass(40);
    for n in &cluster.dead {
        let dead = cluster.nodes[*n].id();
        assert_eq!(
            cluster.nodes[0].member(dead).unwrap().status(),
            Status::Down
        );
    }
}

#[test]
fn forged_votes_of_one_member_take_nobody_down() {
    let mut cluster = Cluster::of(5, quiet);
    let frontier = |node: &Node, id| node.member(id).unwrap().frontier();
    for round in 0..10 {
        let author = cluster.nodes[1].id();
        let mut votes = Body::default();
        for subject in &cluster.nodes[2..] {
            let known = of_node(
                subject,
                frontier(&cluster.nodes[0], subject.id()) + round % 2,
            );
            votes = votes.ballot(known, 30_000);
        }
        let next = frontier(&cluster.nodes[0], author) + 1;
        let known = of_node(&cluster.nodes[1], next);
        let log = Body::default().entry(next, 30_000, &[4], Some(&votes.0));
        let forged = liar()
            .exchange(2, 7)
            .delta(known, next - 1, next, 0, &log.0);
        cluster.forge(&forged);
        cluster.pass(3);
    }
    cluster.pass(30);
    let down = |event: &Event| matches!(event, Event::MemberDown { .. });
    assert_eq!(cluster.told(down), 0);
    assert!(cluster.is_well());
}

#[test]
fn a_flood_of_members_fills_the_table_to_its_bound_and_no_further() {
    let mut cluster = Cluster::of(3, |config| config.max_members = 100);
    let mut id = LIAR;
    for _ in 0..200 {
        let mut body = liar().exchange(2, 7);
        for _ in 0..20 {
            id = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let address = [10, 0, 0, 1, 0, 9];
            let log = Body::default().entry(1, 0, &[0], Some(&address));
            let log = log.entry(2, 0, &[2], Some(&[1]));
            let known = Known {
                origin: id,
                generation: stamp(2),
                frontier: 2,
            };
            body = body.delta(known, 0, 2, 0, &log.0);
        }
        cluster.forge(&body);
    }
    for node in &cluster.nodes {
        assert!(node.metrics().members <= 100);
    }
    assert!(cluster.nodes[0].metrics().refused_members > 3000);
    let own: Vec<_> = cluster.nodes.iter().map(Node::id).collect();
    cluster.pass(10);
    for id in own {
        let status = cluster.nodes[0].member(id).map(|member| member.status());
        assert_eq!(status, Some(Status::Up), "who was there first stays");
    }
}

#[test]
fn a_flood_of_keys_fills_a_log_to_its_bound_and_no_further() {
    let mut cluster = Cluster::of(3, |config| config.max_state = 1024);
    let mut version = 0_u64;
    for _ in 0..200 {
        let first = version;
        let mut log = Body::default();
        for _ in 0..40 {
            version += 1;
            let key = format!("key {version}");
            log = log.entry(version, 0, key.as_bytes(), Some(b"value"));
        }
        let known = Known {
            origin: LIAR,
            generation: stamp(2),
            frontier: version,
        };
        let forged = liar()
            .exchange(2, 7)
            .delta(known, first, version, 0, &log.0);
        cluster.forge(&forged);
    }
    cluster.pass(5);
    let own: u64 = 3 * 200;
    for node in &cluster.nodes {
        // Twice what a member may write, and what the protocol itself writes: a log and the next.
        assert!(node.metrics().state_bytes < 2 * (1024 + 2048) + own);
    }
    assert!(cluster.nodes[0].metrics().refused_state > 0);
}

#[test]
fn forged_lengths_senders_and_regions_are_malformed_or_harmless() {
    let mut cluster = Cluster::of(3, quiet);
    let malformed = cluster.nodes[0].metrics().dropped.malformed;
    let known = Known {
        origin: LIAR,
        generation: stamp(2),
        frontier: 9,
    };
    let bad = [
        // More bytes announced than there are.
        liar()
            .exchange(2, 7)
            .byte(2)
            .fixed(1)
            .fixed(1)
            .varint(0)
            .varint(1)
            .varint(1)
            .varint(0)
            .varint(u64::MAX),
        // Versions the wrong way round, above the frontier, or a floor above it.
        liar().exchange(2, 7).delta(known, 5, 4, 0, &[]),
        liar().exchange(2, 7).delta(known, 0, 10, 0, &[]),
        liar().exchange(2, 7).delta(known, 0, 9, 10, &[]),
        // Regions of more than 64 bits, or with bits below their prefix.
        liar().exchange(2, 7).complete(0, 65),
        liar().exchange(2, 7).complete(1, 1),
        // A heartbeat with something behind it.
        liar().heartbeat(1).byte(0),
        // Entries without a key, out of order, above their delta.
        liar()
            .exchange(2, 7)
            .delta(known, 0, 9, 0, &Body::default().entry(1, 0, b"", None).0),
        liar().exchange(2, 7).delta(
            known,
            0,
            9,
            0,
            &Body::default()
                .entry(2, 0, b"a", None)
                .entry(2, 0, b"b", None)
                .0,
        ),
        liar()
            .exchange(2, 7)
            .delta(known, 0, 8, 0, &Body::default().entry(9, 0, b"a", None).0),
    ];
    let number = u64::try_from(bad.len()).unwrap();
    for body in &bad {
        assert!(cluster.forge(body).is_empty(), "no answer to {body:?}");
    }
    assert_eq!(
        cluster.nodes[0].metrics().dropped.malformed - malformed,
        number
    );
    // Under its own name, or nobody's.
    let own = of_node(&cluster.nodes[0], 0);
    cluster.forge(&Body::from(own.origin, own.generation).exchange(1, 7));
    cluster.forge(&Body::from(0, 0).exchange(1, 7));
    cluster.forge(&Body::from(u64::MAX, u64::MAX).exchange(255, 7));
    cluster.pass(10);
    assert!(cluster.is_well());
}

#[test]
fn an_item_of_a_later_version_is_skipped_and_the_rest_of_its_datagram_is_used() {
    let mut cluster = Cluster::of(3, quiet);
    let known = Known {
        origin: LIAR,
        generation: stamp(2),
        frontier: 1,
    };
    let log = Body::default().entry(1, 0, &[1], Some(b"newer"));
    let body = liar().exchange(2, 7).byte(11).bytes(b"who knows");
    cluster.forge(&body.delta(known, 0, 1, 0, &log.0));
    let metrics = cluster.nodes[0].metrics();
    assert_eq!((metrics.items_skipped, metrics.dropped.total()), (1, 0));
    assert!(cluster.nodes[0].members().any(|m| m.id().as_u64() == LIAR));
}

#[test]
fn a_stranger_gets_no_more_bytes_than_it_sends_until_it_echoes_a_token() {
    let mut cluster = Cluster::of(3, quiet);
    let known = |origin| Known {
        origin,
        generation: stamp(1),
        frontier: 1,
    };
    let ahead = |origin| Known {
        frontier: 9,
        ..known(origin)
    };
    let own = cluster.nodes[0].id().as_u64();
    // A map that changed lately, so that there is much to say of it.
    for number in 0..3 {
        let put = Command::put(Key::new("key").unwrap(), Value::new(*b"value").unwrap());
        let now = cluster.now;
        cluster.nodes[number].handle_command(now, put).unwrap();
    }
    cluster.pass(1);
    assert_eq!(cluster.nodes[0].map().logs(), 3);
    let taker = of_node(&cluster.nodes[0], 0);
    let entry = Body::default().entry(1, 0, b"k", None);
    let gaps = (20..60).fold(liar().push(), |body, origin| {
        body.delta(ahead(origin), 5, 9, 0, &[])
    });
    let namesake = || Body::from(own, stamp(9));
    let member = of_node(&cluster.nodes[1], 0);
    let syn = Body::from(member.origin, member.generation);
    let syn = syn.exchange(1, cluster.nodes[0].table_hash());
    let lies = [
        ("a SYN", liar().exchange(1, 7)),
        (
            "a SYN that names nobody",
            liar().exchange(1, 7).complete(0, 0),
        ),
        (
            "an answer that was not asked for",
            liar().exchange(2, 7).complete(0, 0),
        ),
        ("a leg of no exchange", liar().exchange(7, 7).complete(0, 0)),
        ("a gap", liar().exchange(2, 7).delta(ahead(9), 5, 9, 0, &[])),
        ("a ping", liar().ping(u32::MAX)),
        ("a heartbeat", liar().heartbeat(1)),
        ("a push", liar().push().delta(known(8), 0, 1, 0, &entry.0)),
        ("a push with a gap", gaps),
        ("a run of the map", liar().push().run(known(6), 0, b"k")),
        (
            "a run of the map with a gap",
            liar().push().run(ahead(6), 5, b"k"),
        ),
        ("a request of the map", liar().map_pull()),
        ("a chunk of the map", liar().map_chunk(taker)),
        ("its own name", namesake().heartbeat(1)),
        ("its own name in a SYN", namesake().exchange(1, 7)),
        ("a claim", namesake().claim(u64::MAX)),
        ("a member's SYN that agrees on members alone", syn),
    ];
    for (what, lie) in &lies {
        for _ in 0..50 {
            let received = lie.0.len() + forge::HEADER + forge::TRAILER;
            let malformed = cluster.nodes[0].metrics().dropped.malformed;
            let sent = cluster.forge_unproven(lie);
            assert_eq!(
                cluster.nodes[0].metrics().dropped.malformed,
                malformed,
                "{what}"
            );
            let answered: usize = sent.iter().map(|(_, bytes)| bytes.len()).sum();
            assert!(
                answered <= received,
                "{what}: {answered} bytes for {received}"
            );
        }
    }
    assert!(cluster.nodes[0].metrics().challenges >= 100);
}

#[test]
fn who_echoes_the_token_of_its_address_gets_the_whole_table() {
    let mut cluster = Cluster::of(3, quiet);
    let syn = liar().exchange(1, 7).complete(0, 0);
    let sent = cluster.forge_unproven(&syn);
    cluster.forge_unproven(&liar().byte(2).byte(7));
    assert_eq!(cluster.forge_unproven(&syn).len(), 1, "a wrong token");
    cluster.forge_unproven(&echo(&sent[0].1));
    let answer = cluster.forge_unproven(&syn);
    let bytes: usize = answer.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes > 200, "three logs: {bytes}");
}

#[test]
fn the_syn_of_a_member_from_elsewhere_is_not_answered_where_tables_agree() {
    // It need not prove its address, for nothing goes there. Whether the address is its own, or it is
    // replayed or forged by somebody else, it tells this node no more than that they agree.
    let mut cluster = Cluster::of(3, quiet);
    let member = of_node(&cluster.nodes[1], 0);
    let before = View::of(&cluster.nodes[0]);
    let agreed = cluster.nodes[0].metrics().exchanges_in_agreement;
    let syn = |hash| Body::from(member.origin, member.generation).exchange(1, hash);
    let hash = cluster.nodes[0].table_hash();
    for _ in 0..20 {
        assert!(cluster.forge_unproven(&syn(hash)).is_empty());
    }
    assert_eq!(View::of(&cluster.nodes[0]), before);
    let agrees = cluster.nodes[0].metrics().exchanges_in_agreement - agreed;
    assert_eq!(agrees, 20);
    // Where they do not, it has to prove where it is, as every stranger.
    let challenges = cluster.nodes[0].metrics().challenges;
    let sent = cluster.forge_unproven(&syn(hash ^ 1));
    assert_eq!(sent.len(), 1);
    let (head, _) = forge::body(&sent[0].1).split_at(17);
    assert_eq!(head[16], 1, "a challenge is a ping");
    assert_eq!(cluster.nodes[0].metrics().challenges, challenges + 1);
    cluster.pass(10);
    assert!(cluster.is_well());
}

#[test]
fn the_syn_of_a_member_from_elsewhere_is_not_answered_with_the_map_either() {
    let mut cluster = Cluster::of(3, quiet);
    let now = cluster.now;
    let put = Command::put(Key::new("key").unwrap(), Value::new([7; 1000]).unwrap());
    cluster.nodes[2].handle_command(now, put).unwrap();
    cluster.pass(2);
    let member = of_node(&cluster.nodes[1], 0);
    let hash = cluster.nodes[0].table_hash();
    // It says nothing of its map, as who has none.
    let syn = Body::from(member.origin, member.generation).exchange(1, hash);
    let sent = cluster.forge_unproven(&syn);
    let bytes: usize = sent.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(
        bytes <= syn.0.len() + forge::HEADER + forge::TRAILER,
        "{bytes}"
    );
}

#[test]
fn ids_that_begin_alike_do_no_harm() {
    // Summaries name only the upper half of an id, and regions are divided by its first bits. (That
    // nobody can pick ids which collide in the hash table: `membership::table`.)
    let mut cluster = Cluster::of(3, quiet);
    let address = [10, 0, 0, 1, 0, 9];
    let log = Body::default().entry(1, 0, &[0], Some(&address));
    let log = log.entry(2, 0, &[2], Some(&[3])).0;
    for id in 0..200 {
        let known = Known {
            origin: LIAR + id,
            generation: stamp(2),
            frontier: 2,
        };
        cluster.forge(&liar().exchange(2, 7).delta(known, 0, 2, 0, &log));
    }
    assert_eq!(cluster.nodes[0].metrics().members, 203);
    let exchanges = |cluster: &Cluster| {
        let sent = |node: &Node| node.metrics().bytes_out;
        cluster.nodes.iter().map(sent).sum::<u64>()
    };
    cluster.pass(60);
    for node in &cluster.nodes {
        assert_eq!(node.metrics().members, 203, "all learn of all of them");
    }
    let crowded = |node: &Node| node.metrics().regions_crowded;
    assert!(cluster.nodes.iter().map(crowded).sum::<u64>() > 0);
    assert!(cluster.nodes[0].metrics().index_collisions < 100);
    assert!(cluster.is_well());
    let before = exchanges(&cluster);
    cluster.pass(60);
    let rest = exchanges(&cluster) - before;
    assert!(
        rest < 60 * 3 * 1000,
        "and are at rest: {rest} bytes in a minute"
    );
}

#[test]
fn a_flood_of_votes_is_bounded_and_passes() {
    // Invented members vote against all who live, and against many whom nobody has heard of; others
    // each time.
    let mut cluster = Cluster::of(5, |config| config.max_members = 60);
    let own: Vec<_> = cluster.nodes.iter().map(Node::id).collect();
    for round in 1..20_u64 {
        for author in 0..10_u64 {
            let held = |id| cluster.nodes[0].member(id).unwrap();
            let against = own.iter().map(|id| Known {
                origin: id.as_u64(),
                generation: held(*id).generation().stamp().to_bits(),
                frontier: held(*id).frontier(),
            });
            let invented = (0..40).map(|n| Known {
                origin: round << 40 | author << 20 | n,
                generation: stamp(1),
                frontier: 1,
            });
            // Of every second author, those that count stand behind the first 32, which are heard.
            let mut ballots: Vec<Known> = against.chain(invented).collect();
            if author % 2 == 1 {
                ballots.reverse();
            }
            let votes = ballots
                .into_iter()
                .fold(Body::default(), |votes, known| votes.ballot(known, 30_000));
            let log = Body::default().entry(round, 30_000, &[4], Some(&votes.0));
            let author = Known {
                origin: LIAR + (author << 30),
                generation: stamp(2),
                frontier: round,
            };
            let forged = liar()
                .exchange(2, 7)
                .delta(author, round - 1, round, 0, &log.0);
            cluster.forge(&forged);
        }
    }
    let node = &cluster.nodes[0];
    assert_eq!(node.metrics().members, 15);
    let against = |id| node.votes(id).count();
    assert!(own.iter().all(|id| against(*id) <= 10));
    let heard: usize = own.iter().map(|id| against(*id)).sum();
    assert!(heard > 5, "they are heard: {heard}");
    let is_odd = |vote: Vote| (vote.observer.as_u64() - LIAR) >> 30 & 1 == 1;
    assert!(!own.iter().any(|id| node.votes(*id).any(is_odd)));
    cluster.pass(240);
    let refutations: u64 = cluster.nodes.iter().map(|n| n.metrics().refutations).sum();
    assert!(refutations >= 5, "whoever lives says so: {refutations}");
    for node in &cluster.nodes {
        for id in &own {
            let status = node.member(*id).map(|member| member.status());
            assert_eq!(status, Some(Status::Up), "{id} at {}", node.id());
        }
    }
}

#[test]
fn a_datagram_full_of_votes_is_taken_in_part_and_counted() {
    let mut cluster = Cluster::of(3, quiet);
    let votes = |author: u64| {
        let ballot = |votes: Body, n: u64| {
            let generation = stamp(1);
            votes.ballot(
                Known {
                    origin: author << 8 | n,
                    generation,
                    frontier: 0,
                },
                0,
            )
        };
        (0..32).fold(Body::default(), ballot)
    };
    let body = (1..3).fold(liar().exchange(2, 7), |body, author| {
        let log = Body::default().entry(1, 0, &[4], Some(&votes(author).0));
        let known = Known {
            origin: LIAR + author,
            generation: stamp(2),
            frontier: 1,
        };
        body.delta(known, 0, 1, 0, &log.0)
    });
    cluster.forge(&body);
    let metrics = cluster.nodes[0].metrics();
    assert_eq!((metrics.members, metrics.refused_members), (4, 1));
    cluster.forge(&body);
    assert_eq!(
        cluster.nodes[0].metrics().members,
        5,
        "the rest comes again"
    );
}

#[test]
fn a_flood_of_broadcasts_is_bounded_and_counted() {
    let mut cluster = Cluster::of(3, |config| {
        config.max_state = 1024;
        config.event_queue = 64;
    });
    let mut version = 0_u64;
    let (mut told, mut lagged) = (0, 0);
    cluster.forge(&liar().heartbeat(1));
    for datagrams in 0..200 {
        let first = version;
        let mut log = Body::default();
        for _ in 0..20 {
            version += 1;
            let mut key = vec![5];
            key.extend_from_slice(&version.to_be_bytes());
            let life = Body::default().fixed(stamp(2)).varint(WALL + 60_000_000);
            let said = life.bytes(b"name").bytes(b"payload");
            log = log.entry(version, 0, &key, Some(&said.0));
        }
        let known = Known {
            origin: LIAR,
            generation: stamp(2),
            frontier: version,
        };
        let body = liar()
            .exchange(2, 7)
            .delta(known, first, version, 0, &log.0);
        // Not `forge`, which takes all events at once.
        let datagram = framed(&cluster.heard[0], &body.0);
        cluster.nodes[0].handle_datagram(cluster.now, address(90), &datagram);
        if datagrams % 4 == 3 {
            let mut waiting = 0;
            while let Some(event) = cluster.nodes[0].poll_event() {
                waiting += 1;
                told += usize::from(matches!(event, Event::Broadcast { .. }));
                lagged += usize::from(event == Event::Lagged);
            }
            assert!(waiting <= 64);
        }
    }
    let metrics = cluster.nodes[0].metrics();
    assert!(told < 200, "as many as a log may hold: {told}");
    assert!(lagged > 0 && metrics.events_lost > 0);
    assert!(metrics.refused_state > 0);
    assert!(metrics.state_bytes < 2 * (1024 + 2048) + 3 * 200);
    cluster.pass(10);
    assert!(cluster.is_well());
}

#[test]
fn a_peer_that_claims_to_know_more_than_there_is_is_asked_in_vain() {
    // Of a member, of a writer of the map, and of somebody whom nobody knows.
    let mut cluster = Cluster::of(3, quiet);
    let now = cluster.now;
    let put = Command::put(Key::new("key").unwrap(), Value::new(*b"value").unwrap());
    cluster.nodes[1].handle_command(now, put).unwrap();
    cluster.pass(2);
    let writer = of_node(&cluster.nodes[1], u64::MAX);
    let stranger = Known {
        origin: 77,
        generation: stamp(1),
        frontier: u64::MAX,
    };
    let summary = |known: Known| {
        let prefix = u32::try_from(known.origin >> 32).unwrap();
        let mut item = Body::default().byte(0);
        item.0.extend_from_slice(&prefix.to_le_bytes());
        item.0.extend_from_slice(&[7, 7]);
        item.varint(known.frontier)
    };
    let mut sent = 0;
    for round in 0..50 {
        let mut syn = liar().exchange(1, 7 + round);
        syn.0.extend(summary(writer).0);
        syn.0.extend(summary(stranger).0);
        let syn = syn
            .byte(7)
            .byte(0)
            .known(writer)
            .byte(7)
            .byte(0)
            .known(stranger);
        sent += cluster.forge(&syn).len();
    }
    assert!(sent > 0 && sent <= 50 * 16, "{sent} datagrams");
    let metrics = cluster.nodes[0].metrics();
    assert_eq!((metrics.dropped.malformed, metrics.members), (0, 3));
    cluster.pass(20);
    assert!(cluster.is_well());
}

#[test]
fn a_writer_of_the_map_outlives_a_claim_to_more_than_it_has_written() {
    let mut cluster = Cluster::of(3, quiet);
    let taker = of_node(&cluster.nodes[0], 0);
    let forged = of_node(&cluster.nodes[1], u64::MAX);
    cluster.forge(&liar().map_delta(taker).frontier(forged));
    assert_eq!(cluster.nodes[0].map().logs(), 1, "it is taken");
    let key = Key::new("key").unwrap();
    let put = Command::put(key.clone(), Value::new(*b"value").unwrap());
    let now = cluster.now;
    cluster.nodes[1].handle_command(now, put).unwrap();
    cluster.pass(30);
    for node in &cluster.nodes {
        assert_eq!(node.get(&key).unwrap().value, b"value");
    }
    assert_eq!(cluster.nodes[1].metrics().outlived, 1);
    assert_eq!(cluster.nodes[2].metrics().outlived, 0);
}

/// Writes a key of the shared map.
fn put(cluster: &mut Cluster, n: usize, key: &str) {
    let put = Command::put(Key::new(key).unwrap(), Value::new(*b"value").unwrap());
    let now = cluster.now;
    cluster.nodes[n].handle_command(now, put).unwrap();
}

/// Which nodes read something under a key.
fn readers(cluster: &Cluster, key: &str) -> Vec<bool> {
    let key = Key::new(key).unwrap();
    let reads = |node: &Node| node.get(&key).is_some();
    cluster.nodes.iter().map(reads).collect()
}

#[test]
fn a_writer_of_the_map_outlives_a_forged_grave_of_its_log() {
    // Told to somebody else, and to itself; there, also that nothing lives of what it has written.
    type Lie = fn(Body, Known) -> Body;
    let lies: [(usize, Lie); 3] = [(1, Body::gone), (0, Body::gone), (0, Body::listed)];
    for (writer, lie) in lies {
        let mut cluster = Cluster::of(3, quiet);
        put(&mut cluster, writer, "a");
        put(&mut cluster, 2, "b");
        cluster.pass(5);
        let taker = of_node(&cluster.nodes[0], 0);
        let forged = of_node(&cluster.nodes[writer], u64::MAX);
        cluster.forge(&lie(liar().map_delta(taker), forged));
        cluster.pass(120);
        assert_eq!(readers(&cluster, "a"), [true; 3], "written anew");
        for key in ["c", "d"] {
            put(&mut cluster, writer, key);
            cluster.pass(5);
            assert_eq!(readers(&cluster, key), [true; 3]);
        }
        assert_eq!(readers(&cluster, "b"), [true; 3]);
        assert!(cluster.nodes[writer].metrics().outlived > 0);
    }
}

#[test]
fn graves_from_the_far_future_refuse_nobody_and_stay_bounded() {
    let mut cluster = Cluster::of(3, |config| config.max_tombstones = 64);
    put(&mut cluster, 1, "a");
    cluster.pass(5);
    let taker = of_node(&cluster.nodes[0], 0);
    let mut id = 0_u64;
    for generation in [u64::MAX, stamp(59_000), stamp(59_000)] {
        for _ in 0..20 {
            let mut body = liar().map_delta(taker);
            for _ in 0..15 {
                id = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
                body = body.gone(Known {
                    origin: id,
                    generation,
                    frontier: 1,
                });
            }
            cluster.forge(&body);
        }
        // Soon: what is forgotten began in the future, and until then the own log is outdated.
        cluster.pass(5);
        let graves = cluster.nodes[0].map().graves().count();
        assert!(graves <= 72, "{graves} graves");
    }
    cluster.pass(60);
    assert!(cluster.nodes[0].metrics().refused_skew >= 20);
    // Logs begin later than what is forgotten.
    for n in [2, 0] {
        let key = format!("of {n}");
        put(&mut cluster, n, &key);
        cluster.pass(60);
        assert_eq!(readers(&cluster, &key), [true; 3], "{key}");
    }
}

#[test]
fn a_conflict_tells_no_more_than_a_few_of_many_siblings() {
    let mut cluster = Cluster::of(1, quiet);
    let mut versions = [0; 2];
    let mut told = 0;
    for round in 0..40 {
        // Values that are kept and replace nothing but what is in their context, as tombstones may.
        let log = usize::from(round == 39);
        let mut writes = Body::default();
        let after = versions[log];
        for _ in 0..24 {
            versions[log] += 1;
            let write = Body::default().bytes(b"k").fixed(stamp(1));
            let write = write.varint(versions[log]).byte(1).byte(1).byte(0);
            let write = write.byte(1).bytes(&[7; 22]).bytes(&[]);
            writes = writes.bytes(&write.0);
        }
        let whose = Known {
            origin: 77 + u64::try_from(log).unwrap(),
            generation: stamp(1),
            frontier: versions[log],
        };
        cluster.events.clear();
        cluster.forge(&liar().push().runs(whose, after, &writes.0));
        let count = |event: &Event| match event {
            Event::Conflict { standing, lost, .. } => standing.len() + lost.len(),
            _ => 0,
        };
        told = cluster.events.iter().map(count).sum();
    }
    assert_eq!(cluster.nodes[0].map().writes(), 40 * 24);
    assert_eq!(told, 24 * 16, "sixteen of each conflict");
}

#[test]
fn a_request_from_the_end_of_time_is_answered_as_any() {
    let mut cluster = Cluster::of(1, quiet);
    put(&mut cluster, 0, "a");
    let here = Body::default().entry(1, 0, &[0], Some(&[127, 0, 0, 1, 0, 91]));
    let member = Known {
        origin: LIAR,
        generation: stamp(1),
        frontier: 1,
    };
    cluster.forge(&liar().exchange(2, 7).delta(member, 0, 1, 0, &here.0));
    for applied in [0, 1, u64::MAX - 1, u64::MAX] {
        let pull = liar().byte(6).varint(0).fixed(0).fixed(applied);
        let mut pull = pull.byte(0).byte(0).byte(0).byte(0);
        pull = pull.fixed(0).fixed(0).fixed(0).byte(1);
        let sent = cluster.forge(&pull.byte(1).byte(0).byte(0));
        assert!(!sent.is_empty(), "{applied}");
    }
}

#[test]
fn a_delta_of_the_map_that_never_gets_on_keeps_nobody_else_from_telling() {
    let mut cluster = Cluster::of(2, |config| {
        config.dissemination = Dissemination::Periodic;
    });
    for n in 0..100 {
        put(&mut cluster, 1, &format!("key/{n}"));
    }
    let taker = of_node(&cluster.nodes[0], 0);
    let chunk = |session: u8| {
        let body = liar().byte(7).byte(session).byte(0).byte(0).byte(0);
        let body = body.fixed(taker.origin).fixed(taker.generation);
        let mut body = body.fixed(0).fixed(0).fixed(0).fixed(0);
        body.0.extend_from_slice(&[0; 8]);
        body.varint(1).fixed(0).byte(0)
    };
    for _ in 0..100 {
        cluster.forge(&chunk(9));
        cluster.pass_for(Duration::from_millis(400));
    }
    let keys = cluster.nodes[0].map().keys();
    assert_eq!(keys, 100);
}

#[test]
fn a_stranger_gives_no_delta_of_the_map() {
    let mut cluster = Cluster::of(3, quiet);
    let taker = of_node(&cluster.nodes[0], 0);
    let log = of_node(&cluster.nodes[1], 9);
    cluster.forge_unproven(&liar().map_delta(taker).frontier(log));
    assert_eq!(cluster.nodes[0].map().logs(), 0);
    cluster.forge(&liar().map_delta(taker).frontier(log));
    assert_eq!(cluster.nodes[0].map().logs(), 1);
}

#[test]
fn the_table_of_the_map_is_told_once_however_often_it_is_asked_for() {
    let mut cluster = Cluster::of(1, |config| config.max_tombstones = 10_000);
    let taker = of_node(&cluster.nodes[0], 0);
    let mut id = 0_u64;
    for _ in 0..100 {
        let body = (0..10).fold(liar().map_delta(taker), |body, _| {
            id = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
            body.frontier(Known {
                origin: id,
                generation: stamp(1),
                frontier: 1,
            })
        });
        cluster.forge(&body);
    }
    assert_eq!(cluster.nodes[0].map().logs(), 1000);
    let mut syn = liar().exchange(1, 7).byte(6);
    syn.0.extend_from_slice(&[200; 16]);
    let datagram = framed(&cluster.heard[0], &syn.fixed(0).0);
    for _ in 0..50 {
        cluster.nodes[0].handle_datagram(cluster.now, address(90), &datagram);
    }
    let sent = cluster.settle();
    let tables = sent
        .iter()
        .filter(|(_, bytes)| bytes[forge::HEADER + 16] == 6);
    let tables = tables.count();
    assert!((1..=30).contains(&tables), "{tables} datagrams of tables");
}

#[test]
fn a_flood_of_the_map_fills_it_to_its_bound_and_no_further() {
    let mut cluster = Cluster::of(3, |config| config.max_map = 64 * 1024);
    let taker = of_node(&cluster.nodes[0], 0);
    for n in 1..500_u64 {
        let whose = Known {
            origin: n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            generation: stamp(1),
            frontier: 1,
        };
        let write = Body::default().write(whose, format!("{n}").as_bytes(), Some(&[7; 1000]));
        let run = liar()
            .push()
            .runs(whose, 0, &Body::default().bytes(&write.0).0);
        cluster.forge(&run);
        let log = Known {
            origin: whose.origin ^ 1,
            ..whose
        };
        let part = Body::default()
            .write(log, format!("x{n}").as_bytes(), Some(&[7; 1000]))
            .0;
        let len = u32::try_from(part.len()).unwrap();
        cluster.forge(
            &liar()
                .map_delta(taker)
                .part(log, len, 0, &part)
                .frontier(log),
        );
    }
    let node = &cluster.nodes[0];
    let bytes = node.map().bytes();
    // Of others as much again as of its own; and a delta has room beside what it may replace.
    assert!(bytes <= 4 * 64 * 1024, "{bytes} bytes");
    assert!(node.metrics().refused_state > 100);
    cluster.pass(10);
    assert!(cluster.is_well());
}

#[test]
fn a_flood_of_empty_logs_of_the_map_is_forgotten_to_a_bound() {
    let mut cluster = Cluster::of(3, |config| config.max_tombstones = 64);
    let taker = of_node(&cluster.nodes[0], 0);
    let mut id = 0_u64;
    let mut most = 0;
    for _ in 0..60 {
        for _ in 0..20 {
            let mut body = liar().map_delta(taker);
            for _ in 0..10 {
                id = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
                body = body.frontier(Known {
                    origin: id,
                    generation: stamp(1),
                    frontier: 1,
                });
            }
            cluster.forge(&body);
        }
        cluster.pass(1);
        let map = cluster.nodes[0].map();
        most = most.max(map.logs() + map.graves().count());
    }
    cluster.pass(120);
    assert!(cluster.nodes[0].metrics().map_logs_forgotten > 100);
    let map = cluster.nodes[0].map();
    println!(
        "at most {most}; {} logs and {} graves in the end",
        map.logs(),
        map.graves().count()
    );
    assert!(map.logs() + map.graves().count() <= 200);
    assert!(cluster.is_well());
}

#[test]
fn however_many_lives_a_datagram_remembers_its_victim_begins_one() {
    let mut cluster = Cluster::of(3, quiet);
    let outlived = |cluster: &Cluster| cluster.nodes[0].metrics().outlived;
    let own = of_node(&cluster.nodes[0], 1);
    // Stamps that are ahead of the clock follow one another without gaps, so they can be foretold.
    let ahead = stamp(60_000);
    let stranger = Known {
        origin: 99 << 32,
        generation: ahead,
        frontier: 1,
    };
    let mut removed = liar()
        .exchange(2, 7)
        .delta(
            stranger,
            0,
            1,
            0,
            &Body::default().entry(1, 0, b"k", None).0,
        )
        .removed(own.generation);
    for n in 1..130 {
        removed = removed.removed(ahead + n);
    }
    cluster.forge(&removed);
    assert_eq!(outlived(&cluster), 1);

    let mut logs = liar().push();
    for n in 0..30 {
        let known = Known {
            generation: ahead + 1000 * (n + 1),
            ..own
        };
        logs = logs.delta(known, 0, 1, 0, &Body::default().entry(1, 0, b"k", None).0);
    }
    cluster.forge(&logs);
    assert_eq!(outlived(&cluster), 2);
    assert!(cluster.nodes[0].generation().stamp().to_bits() > ahead + 30_000);
    cluster.pass(30);
    assert!(cluster.is_well());
}

#[test]
fn of_many_addresses_for_one_name_one_is_asked_at_a_time() {
    let mut cluster = Cluster::of(3, quiet);
    let own = of_node(&cluster.nodes[0], 1);
    let at = |n: u8| SocketAddr::from(([203, 0, 113, n], 53));
    let later = |n: u8, lives: u64| {
        let log = Body::default().entry(1, 0, &[0], Some(&[203, 0, 113, n, 0, 53]));
        let known = Known {
            generation: own.generation + lives,
            ..own
        };
        (known, log.0)
    };
    let mut body = liar().push();
    for n in 0..30 {
        for (known, log) in [later(n, 1), later(0, u64::from(n) + 2)] {
            if body.0.len() < 1340 {
                body = body.delta(known, 0, 1, 0, &log);
            }
        }
    }
    let sent = cluster.forge(&body);
    let asked: Vec<_> = sent.iter().map(|(to, _)| *to).collect();
    assert_eq!(asked, [at(0)]);
    // One that is remembered still when that one has had its time is asked then.
    cluster.pass(5);
    let generation = cluster.nodes[0].generation().stamp().to_bits();
    assert!(generation > own.generation + 10, "the first is outlived");
    let (known, log) = later(7, 0);
    let known = Known {
        generation: generation + 1,
        ..known
    };
    let sent = cluster.forge(&liar().push().delta(known, 0, 1, 0, &log));
    let asked: Vec<_> = sent.iter().map(|(to, _)| *to).collect();
    assert_eq!(asked, [at(7)]);
    cluster.pass(30);
    assert!(cluster.is_well());
}

#[test]
fn many_deltas_of_one_origin_are_passed_on_as_one() {
    let mut cluster = Cluster::of(4, quiet);
    let mut pushed = |first: u64, count: u64| {
        let body = (first..first + count).fold(liar().push(), |body, version| {
            let log = Body::default().entry(version, 0, &version.to_be_bytes(), Some(&[7; 8]));
            let known = Known {
                origin: 99 << 32,
                generation: stamp(1),
                frontier: version,
            };
            body.delta(known, version - 1, version, 0, &log.0)
        });
        // What comes at once after other news waits for more.
        cluster.pass(1);
        let before = cluster.nodes[0].metrics().datagrams_out;
        cluster.forge_unproven(&body);
        cluster.nodes[0].metrics().datagrams_out - before
    };
    let one = pushed(1, 1);
    assert!(one > 0);
    assert_eq!(pushed(2, 20), one);
}
