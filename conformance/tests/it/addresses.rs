//! Peers that say they are somewhere else: nobody gets more bytes than it sends until it has shown where
//! it is.

use conformance::forge::{self, Body, Known};
use conformance::invariant::View;
use conformance::testkit::{Loopback, SECOND, address, echo, liar, stamp};

#[test]
fn a_stranger_gets_no_more_bytes_than_it_sends_until_it_echoes_a_token() {
    let mut cluster = Loopback::formed(3, |_| {});
    let known = |origin| Known {
        origin,
        generation: stamp(1),
        frontier: 1,
    };
    let ahead = |origin| Known {
        frontier: 9,
        ..known(origin)
    };
    let own = cluster.node(0).id().as_u64();
    // A map that changed lately, so that there is much to say of it.
    for number in 0..3 {
        cluster.put(number, "key", "value");
    }
    cluster.pass(1 * SECOND);
    assert_eq!(cluster.node(0).map().logs(), 3);
    let taker = Known::of(cluster.node(0), 0);
    let entry = Body::default().entry(1, 0, b"k", None);
    let gaps = (20..60).fold(liar().push(), |body, origin| {
        body.delta(ahead(origin), 5, 9, 0, &[])
    });
    let namesake = || Body::from(own, stamp(9));
    let member = Known::of(cluster.node(1), 0);
    let syn = Body::from(member.origin, member.generation);
    let syn = syn.exchange(1, cluster.node(0).table_hash());
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
        ("a request of missing writes", liar().map_want(known(6))),
        (
            "missing writes that were not asked for",
            liar().map_runs().run(ahead(6), 5, b"k"),
        ),
        ("a chunk of the map", liar().map_chunk(taker)),
        ("its own name", namesake().heartbeat(1)),
        ("its own name in a SYN", namesake().exchange(1, 7)),
        ("a claim", namesake().claim(u64::MAX)),
        ("a member's SYN that agrees on members alone", syn),
    ];
    for (what, lie) in &lies {
        for _ in 0..50 {
            let received = lie.0.len() + forge::HEADER + forge::TRAILER;
            let malformed = cluster.node(0).metrics().dropped.malformed;
            let sent = cluster.forge_unproven(lie);
            assert_eq!(
                cluster.node(0).metrics().dropped.malformed,
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
    assert!(cluster.node(0).metrics().challenges >= 100);
}

#[test]
fn a_stranger_that_echoes_its_token_gets_the_whole_table() {
    let mut cluster = Loopback::formed(3, |_| {});
    let syn = liar().exchange(1, 7).complete(0, 0);
    let sent = cluster.forge_unproven(&syn);
    cluster.forge_unproven(&liar().pong().byte(7));
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
    let mut cluster = Loopback::formed(3, |_| {});
    let member = Known::of(cluster.node(1), 0);
    let before = View::of(cluster.node(0));
    let agreed = cluster.node(0).metrics().exchanges_in_agreement;
    let syn = |hash| Body::from(member.origin, member.generation).exchange(1, hash);
    let hash = cluster.node(0).table_hash();
    for _ in 0..20 {
        assert!(cluster.forge_unproven(&syn(hash)).is_empty());
    }
    assert_eq!(View::of(cluster.node(0)), before);
    let agrees = cluster.node(0).metrics().exchanges_in_agreement - agreed;
    assert_eq!(agrees, 20);
    // Where they do not, it has to prove where it is, as every stranger.
    let challenges = cluster.node(0).metrics().challenges;
    let sent = cluster.forge_unproven(&syn(hash ^ 1));
    assert_eq!(sent.len(), 1);
    let kind = forge::kind(&sent[0].1);
    assert_eq!(kind, Some(forge::message::PING), "a challenge is a ping");
    assert_eq!(cluster.node(0).metrics().challenges, challenges + 1);
    cluster.pass(10 * SECOND);
    assert!(cluster.is_well());
}

/// A node cannot tell a ping that asks whether it lives from one that asks it to prove its address.
#[test]
fn a_member_that_takes_a_ping_for_a_challenge_is_answered_once() {
    let mut cluster = Loopback::formed(3, |_| {});
    let member = Known::of(cluster.node(1), 0);
    let hash = cluster.node(0).table_hash() ^ 1;
    let sends = |cluster: &mut Loopback, generation, token: &[u8]| {
        let before = cluster.node(0).metrics().datagrams_out;
        let mut syn = Body::from(member.origin, generation).exchange(1, hash);
        syn.0.extend_from_slice(token);
        let datagram = cluster.framed(&syn);
        cluster.deliver(0, address(1), &datagram);
        cluster.settle();
        cluster.node(0).metrics().datagrams_out > before
    };
    let again = [10, 5];
    assert!(sends(&mut cluster, member.generation, &[]));
    assert!(!sends(&mut cluster, member.generation, &again));
    // After a restart it is a stranger.
    assert!(sends(&mut cluster, member.generation + 1, &again));
}

#[test]
fn the_syn_of_a_member_from_elsewhere_is_not_answered_with_the_map_either() {
    let mut cluster = Loopback::formed(3, |_| {});
    cluster.put(2, "key", [7; 1000]);
    cluster.pass(2 * SECOND);
    let member = Known::of(cluster.node(1), 0);
    let hash = cluster.node(0).table_hash();
    // It says nothing of its map, as who has none.
    let syn = Body::from(member.origin, member.generation).exchange(1, hash);
    let sent = cluster.forge_unproven(&syn);
    let bytes: usize = sent.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(
        bytes <= syn.0.len() + forge::HEADER + forge::TRAILER,
        "{bytes}"
    );
}
