//! Peers that lie in an exchange about what they know.

use conformance::forge::{self, Body, Known};
use conformance::testkit::{Loopback, SECOND, liar, stamp};

#[test]
fn a_peer_that_acknowledges_what_it_does_not_hold_gets_it_anyway() {
    // "I know all of this", under the table hash of those who do: then the others are right about
    // everything but that peer, and whoever asks them gets everything.
    let mut cluster = Loopback::formed(3, |_| {});
    let hash = cluster.node(0).table_hash();
    for _ in 0..20 {
        cluster.forge(&liar().exchange(1, hash));
    }
    cluster.set(2, "late", "news");
    cluster.pass(5 * SECOND);
    assert!(cluster.is_well());
}

#[test]
fn a_peer_that_claims_to_know_more_than_there_is_is_asked_in_vain() {
    // Of a member, of a writer of the map, and of somebody whom nobody knows.
    let mut cluster = Loopback::formed(3, |_| {});
    cluster.put(1, "key", "value");
    cluster.pass(2 * SECOND);
    let writer = Known::of(cluster.node(1), u64::MAX);
    let stranger = Known {
        origin: 77,
        generation: stamp(1),
        frontier: u64::MAX,
    };
    let summary = |known: Known| {
        let prefix = u32::try_from(known.origin >> 32).unwrap();
        let mut item = Body::default().byte(forge::item::SUMMARY);
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
            .byte(forge::item::MAP_TOLD)
            .byte(forge::told::FRONTIER)
            .known(writer)
            .byte(forge::item::MAP_TOLD)
            .byte(forge::told::FRONTIER)
            .known(stranger);
        sent += cluster.forge(&syn).len();
    }
    assert!(sent > 0 && sent <= 50 * 16, "{sent} datagrams");
    let metrics = cluster.node(0).metrics();
    assert_eq!((metrics.dropped.malformed, metrics.members), (0, 3));
    cluster.pass(20 * SECOND);
    assert!(cluster.is_well());
}

#[test]
fn many_deltas_of_one_origin_are_passed_on_as_one() {
    let mut cluster = Loopback::formed(4, |_| {});
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
        cluster.pass(1 * SECOND);
        let before = cluster.node(0).metrics().datagrams_out;
        cluster.forge_unproven(&body);
        cluster.node(0).metrics().datagrams_out - before
    };
    let one = pushed(1, 1);
    assert!(one > 0);
    assert_eq!(pushed(2, 20), one);
}
