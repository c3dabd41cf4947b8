//! The failures that others are known for: what comes back, what is lost, who never agrees.

use super::*;

#[test]
fn a_node_that_was_away_longer_than_the_grace_time_brings_nothing_back() {
    let (mut a, mut b) = (map(1), map(2));
    put(&mut a, 50, "user/123", "old");
    meet(&mut a, &mut b);
    delete(&mut a, 100, "user/123");
    collect(&mut a, 1_000);
    assert_eq!(a.writes(), 0, "the tombstone is gone");
    meet(&mut a, &mut b);
    assert_eq!((get(&a, "user/123"), get(&b, "user/123")), (None, None));
}

#[test]
fn a_replica_that_drops_a_collected_tombstone_raises_its_floor() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    put(&mut a, 50, "k", "old");
    put(&mut b, 60, "other", "v");
    delete(&mut b, 70, "other");
    learn(&mut c, &a);
    learn(&mut c, &b);
    delete(&mut a, 100, "k");
    learn(&mut b, &a);
    collect(&mut b, 1_000);
    // a is below the floor of b's own log, and its tombstone is not listed any more.
    learn(&mut a, &b);
    assert_eq!(a.writes(), 0);
    meet(&mut a, &mut c);
    assert_eq!(get(&c, "k"), None);
}

#[test]
fn a_write_after_a_collected_delete_does_not_hide_what_the_delete_had_replaced() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    keep(&mut c, 50, "k", "old");
    learn(&mut a, &c);
    delete(&mut a, 100, "k");
    learn(&mut b, &a);
    collect(&mut a, 1_000);
    let mut buffer = Vec::new();
    a.drop_unpushed();
    keep(&mut a, 1_100, "k", "new");
    // It replaces a's delete, and does not tell what that had replaced.
    let run = a.poll_push(1000, 1000, &mut buffer).unwrap();
    assert_eq!(b.apply_push(&run), Pushed::Applied);
    learn(&mut c, &b);
    for replica in [&a, &b, &c] {
        assert_eq!(replica.siblings(b"k").len(), 1);
    }
}

/// A context names an origin up to a version, and a tombstone that stands for others leaves what its own
/// origin keeps beside it.
#[test]
fn a_tombstone_that_takes_the_place_of_another_leaves_what_that_ones_origin_keeps() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    keep(&mut a, 180, "k", "kept");
    put(&mut b, 50, "k", "old");
    delete(&mut c, 110, "k");
    learn(&mut a, &b);
    learn(&mut a, &c);
    collect(&mut a, 1_000);
    assert_eq!(a.frontier(a.own()), 2, "it takes the place of c's");
    // b has written once more without knowing any of that, and before the delete.
    put(&mut b, 100, "k", "older than the delete");
    for _ in 0..2 {
        meet(&mut a, &mut b);
        meet(&mut b, &mut c);
    }
    for time in [2_000, 3_000] {
        for replica in [&mut b, &mut c, &mut a] {
            collect(replica, time);
        }
        meet(&mut a, &mut b);
        meet(&mut b, &mut c);
        meet(&mut a, &mut c);
    }
    for replica in [&a, &b, &c] {
        let read: Vec<_> = replica
            .siblings(b"k")
            .iter()
            .map(|read| read.value)
            .collect();
        assert_eq!(read, [b"kept"]);
    }
}

#[test]
fn replicas_that_knew_different_amounts_of_a_departed_node_agree_when_its_log_is_pruned() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    put(&mut a, 40, "k", "old");
    meet(&mut a, &mut b);
    meet(&mut a, &mut c);
    // c deletes it, which only b hears, and departs. What was left of it is collected.
    delete(&mut c, 50, "k");
    learn(&mut b, &c);
    collect(&mut b, 1_000);
    for replica in [&mut a, &mut b] {
        put(replica, 1_000, "other", "v");
        replica.close(c.own());
        replica.tick(UnixTime::from_millis(1_000));
        replica.prune(PRUNE);
        assert_eq!(replica.frontier(c.own()), 0);
    }
    assert_eq!((get(&a, "k").as_deref(), get(&b, "k")), (Some("old"), None));
    for _ in 0..2 {
        learn(&mut a, &b);
        learn(&mut b, &a);
    }
    assert_eq!(a.summary(), b.summary());
    assert_eq!((get(&a, "k"), get(&b, "k")), (None, None));
}

#[test]
fn a_member_whose_log_was_pruned_by_mistake_loses_nothing_and_brings_nothing_back() {
    let (mut a, mut b) = (map(1), map(2));
    put(&mut b, 40, "deleted", "v");
    meet(&mut a, &mut b);
    delete(&mut a, 50, "deleted");
    collect(&mut a, 1_000);
    a.close(b.own());
    a.prune(PRUNE);
    assert_eq!(a.pruned_origins().collect::<Vec<_>>(), [(b.own(), 1)]);
    put(&mut b, 60, "new", "v");
    for _ in 0..2 {
        learn(&mut a, &b);
        learn(&mut b, &a);
    }
    assert_eq!(a.summary(), b.summary());
    for replica in [&a, &b] {
        assert_eq!(get(replica, "deleted"), None);
        assert_eq!(get(replica, "new").unwrap(), "v");
    }
    assert_eq!(b.own(), origin(2, 1), "it need not begin anew");
}

#[test]
fn a_stale_replica_does_not_infect_a_newcomer_for_good() {
    let (mut a, mut stale, mut newcomer) = (map(1), map(2), map(3));
    put(&mut a, 50, "k", "old");
    meet(&mut a, &mut stale);
    delete(&mut a, 100, "k");
    collect(&mut a, 1_000);
    learn(&mut newcomer, &stale);
    assert_eq!(get(&newcomer, "k").unwrap(), "old");
    meet(&mut a, &mut newcomer);
    assert_eq!(get(&newcomer, "k"), None);
    meet(&mut newcomer, &mut stale);
    assert_eq!(get(&stale, "k"), None);
}

#[test]
fn a_mass_delete_on_twenty_nodes_stays() {
    let mut nodes: Vec<Map> = (0..20).map(map).collect();
    for n in 0..500 {
        put(&mut nodes[0], n, &n.to_string(), "x");
    }
    for n in 1..20 {
        let [first, node] = nodes.get_disjoint_mut([0, n]).unwrap();
        meet(first, node);
    }
    for n in 0..500 {
        delete(&mut nodes[7], 1_000 + n, &n.to_string());
    }
    // Half of them learn of it in time.
    for n in 8..17 {
        let [seventh, node] = nodes.get_disjoint_mut([7, n]).unwrap();
        meet(seventh, node);
    }
    for node in &mut nodes {
        collect(node, 10_000);
    }
    for _ in 0..2 {
        for n in 0..20 {
            for m in 0..20 {
                if let Ok([a, b]) = nodes.get_disjoint_mut([n, m]) {
                    learn(a, b);
                }
            }
        }
    }
    for node in &nodes {
        assert_eq!((node.prefix(b"").count(), node.writes()), (0, 0));
    }
}

#[test]
fn the_later_of_a_delete_and_a_concurrent_write_stands() {
    for (deleted, written, expected) in [(100, 150, Some("new")), (150, 100, None)] {
        let (mut a, mut b) = (map(1), map(2));
        put(&mut a, 50, "k", "old");
        meet(&mut a, &mut b);
        delete(&mut a, deleted, "k");
        put(&mut b, written, "k", "new");
        meet(&mut a, &mut b);
        assert_eq!(get(&a, "k").as_deref(), expected);
        // Also when the tombstone is collected, on one side first.
        for _ in 0..3 {
            collect(&mut a, 1_000_000);
            meet(&mut a, &mut b);
            collect(&mut b, 2_000_000);
            meet(&mut a, &mut b);
        }
        assert_eq!(get(&a, "k").as_deref(), expected);
        assert_eq!(get(&b, "k").as_deref(), expected);
        assert_eq!(a.writes(), usize::from(expected.is_some()));
    }
}

#[test]
fn the_writes_of_a_departed_node_stay() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    put(&mut a, 50, "k", "v");
    meet(&mut a, &mut b);
    b.close(a.own());
    b.tick(UnixTime::from_millis(1_000_000));
    b.prune(PRUNE);
    learn(&mut c, &b);
    assert_eq!(get(&c, "k").unwrap(), "v");
}

#[test]
fn a_member_that_was_away_for_longer_than_others_remember_drops_what_they_dropped() {
    let (mut a, mut b, mut c) = (map(1), map(2), map(3));
    put(&mut c, 40, "of c", "v");
    put(&mut b, 50, "k", "old");
    for _ in 0..2 {
        meet(&mut a, &mut b);
        meet(&mut b, &mut c);
        meet(&mut a, &mut c);
    }
    // c is cut off. b writes and departs; what it wrote is deleted, and b is forgotten.
    delete(&mut a, 100, "k");
    collect(&mut a, 1_000);
    a.close(b.own());
    a.close(c.own());
    a.prune(PRUNE);
    assert_eq!(a.empty_logs(), 0);
    meet(&mut a, &mut c);
    meet(&mut a, &mut c);
    assert_eq!((get(&a, "k"), get(&c, "k")), (None, None));
    assert_eq!(get(&a, "of c").unwrap(), "v", "a live node's writes stay");
}

#[test]
fn the_first_writes_of_a_restarted_node_are_applied() {
    let (mut a, mut b) = (map(1), map(2));
    put(&mut b, 50, "k", "first life");
    put(&mut b, 51, "other", "first life");
    meet(&mut a, &mut b);
    let mut b = Map::new(origin(2, 99), "", 0);
    put(&mut b, 100, "k", "second life");
    meet(&mut a, &mut b);
    assert_eq!(get(&a, "k").unwrap(), "second life");
    assert_eq!(get(&b, "other").unwrap(), "first life");
}

#[test]
fn a_node_whose_log_another_process_has_written_opens_a_new_one() {
    let (mut a, mut b) = (map(1), map(2));
    for n in 0..5 {
        put(&mut b, 50 + n, &n.to_string(), "first life");
    }
    meet(&mut a, &mut b);
    let mut b = map(2);
    put(&mut b, 100, "k", "second life");
    learn(&mut b, &a);
    assert!(b.own() > origin(2, 1));
    for _ in 0..3 {
        learn(&mut a, &b);
        learn(&mut b, &a);
    }
    assert_eq!(get(&a, "k").unwrap(), "second life");
    assert_eq!(get(&b, "3").unwrap(), "first life");
    assert_eq!(a.summary(), b.summary());
}

/// A tombstone that hides a value is replaced when it is old: by one that deletes no more than it did.
#[test]
fn a_write_after_a_delete_outlives_the_collection_of_that_delete() {
    let (mut a, mut b) = (map(1), map(2));
    put(&mut a, 10, "k", "hidden");
    delete(&mut b, 20, "k");
    meet(&mut a, &mut b);
    assert_eq!(get(&b, "k"), None);
    // a writes it again, which b has not heard of when it collects its delete.
    put(&mut a, 900, "k", "news");
    collect(&mut b, 1_000);
    assert_eq!(b.writes(), 1, "a tombstone that has seen what is hidden");
    for _ in 0..2 {
        meet(&mut a, &mut b);
        for replica in [&mut a, &mut b] {
            assert_eq!(get(replica, "k").as_deref(), Some("news"));
            collect(replica, 2_000);
        }
    }
    assert_eq!(get(&a, "k").as_deref(), Some("news"));
}
