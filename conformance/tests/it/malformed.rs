//! Datagrams that are damaged, or that no node would write: each is dropped as malformed, or read
//! without harm.

use std::collections::BTreeSet;

use conformance::forge::{self, Body, Known, item, message};
use conformance::invariant::View;
use conformance::testkit::{LIAR, Loopback, SECOND, address, liar, stamp};
use gossip_core::{Dissection, Dissemination, Node, Status};

/// A cluster that has written its shared map, and a real datagram of each kind and length: pushed, and of a
/// cluster that exchanges only, so that of the map there are requests and deltas, too. Lengths count as
/// the same that are so when divided by `grain`.
fn talkative(number: usize, grain: usize) -> (Loopback, Vec<Vec<u8>>) {
    let written = |dissemination| {
        let mut cluster = Loopback::formed(number, |config| config.dissemination = dissemination);
        for n in 0..number {
            cluster.put(n, &format!("key/{n}"), "value");
        }
        cluster.forge(&liar().ping(7));
        cluster.pass(10 * SECOND);
        cluster
    };
    let quiet = written(Dissemination::Periodic);
    let mut cluster = written(Dissemination::Eager);
    let heard = core::mem::take(&mut cluster.heard);
    let mut kinds = [heard, quiet.heard].concat();
    let kind = |bytes: &Vec<u8>| (forge::kind(bytes).unwrap(), bytes.len() / grain);
    kinds.sort_by_key(kind);
    kinds.dedup_by_key(|bytes| kind(bytes));
    let mut seen: BTreeSet<u8> = kinds.iter().map(|bytes| kind(bytes).0).collect();
    // All but the claim of a name that somebody else holds. Nothing is lost here, so writes of the map are
    // asked for only where one overtakes another, and nobody answers with what has come meanwhile.
    seen.remove(&message::MAP_WANT);
    let expected = [
        message::HEARTBEAT,
        message::PING,
        message::PONG,
        message::EXCHANGE,
        message::PUSH,
        message::MAP_PULL,
        message::MAP_CHUNK,
    ];
    assert_eq!(seen, BTreeSet::from(expected));
    (cluster, kinds)
}

#[test]
fn every_bit_flip_and_every_truncation_of_real_datagrams_is_refused() {
    let (mut cluster, kinds) = talkative(4, 1);
    assert!(kinds.len() > 10, "{} kinds", kinds.len());
    let before = View::of(cluster.node(0));
    let dropped = cluster.node(0).metrics().dropped.total();
    let mut given = 0;
    for datagram in kinds {
        for bit in 0..datagram.len() * 8 {
            let mut flipped = datagram.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            cluster.deliver(0, address(1), &flipped);
            given += 1;
        }
        for len in 0..datagram.len() {
            cluster.deliver(0, address(1), &datagram[..len]);
            given += 1;
        }
    }
    let refused = cluster.node(0).metrics().dropped.total() - dropped;
    assert_eq!(refused, given, "each is counted");
    assert_eq!(View::of(cluster.node(0)), before, "and changes nothing");
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
        cluster.pass(1 * SECOND);
    }
    cluster.pass(120 * SECOND);
    let own: Vec<_> = cluster.nodes().map(Node::id).collect();
    for node in cluster.nodes() {
        for id in &own {
            let status = node.member(*id).map(|member| member.status());
            assert_eq!(status, Some(Status::Up), "{id} at {}", node.id());
        }
    }
    let hash = cluster.node(0).table_hash();
    assert!(cluster.nodes().all(|node| node.table_hash() == hash));
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
            let longer = Body(longer);
            let framed = cluster.framed(&longer);
            given += 1;
            // Here and there it is a number of bytes that was changed, and something else was meant.
            if let Ok(other) = Dissection::of(&framed) {
                assert_eq!(other.write(), framed, "byte {at} of {other}");
                read += 1;
            }
            cluster.forge(&longer);
        }
    }
    println!("{given} given, {read} can be read");
    assert!(read < given / 2, "{read} of {given} can be read");
    cluster.pass(120 * SECOND);
    assert!(cluster.is_well());
}

#[test]
fn forged_lengths_senders_and_regions_are_malformed_or_harmless() {
    let mut cluster = Loopback::formed(3, |_| {});
    let malformed = cluster.node(0).metrics().dropped.malformed;
    let known = Known {
        origin: LIAR,
        generation: stamp(2),
        frontier: 9,
    };
    let bad = [
        // More bytes announced than there are.
        liar()
            .exchange(2, 7)
            .byte(item::DELTA)
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
        cluster.node(0).metrics().dropped.malformed - malformed,
        number
    );
    // Under its own name, or nobody's.
    let own = Known::of(cluster.node(0), 0);
    cluster.forge(&Body::from(own.origin, own.generation).exchange(1, 7));
    cluster.forge(&Body::from(0, 0).exchange(1, 7));
    cluster.forge(&Body::from(u64::MAX, u64::MAX).exchange(255, 7));
    cluster.pass(10 * SECOND);
    assert!(cluster.is_well());
}

#[test]
fn an_item_of_a_later_version_is_skipped_and_the_rest_of_its_datagram_is_used() {
    let mut cluster = Loopback::formed(3, |_| {});
    let known = Known {
        origin: LIAR,
        generation: stamp(2),
        frontier: 1,
    };
    let log = Body::default().entry(1, 0, &[1], Some(b"newer"));
    let body = liar()
        .exchange(2, 7)
        .byte(item::UNKNOWN)
        .bytes(b"who knows");
    cluster.forge(&body.delta(known, 0, 1, 0, &log.0));
    let metrics = cluster.node(0).metrics();
    assert_eq!((metrics.items_skipped, metrics.dropped.total()), (1, 0));
    assert!(cluster.node(0).members().any(|m| m.id().as_u64() == LIAR));
}
