//! What has bounds (lists of votes, places in the table) does not end what it bounds.

use super::receive;
use conformance::testkit::{Cluster, MINUTE, SECOND};
use gossip_core::Config;

/// A vote against each of them would stand for a day, and a list takes 32.
#[test]
fn a_crash_is_seen_however_many_have_crashed_before() {
    for (stay, guests) in [(5, 36), (9, 50)] {
        println!("{stay} stay");
        let mut cluster = Cluster::of(stay).seeds([0, 1]).form();
        receive(&mut cluster, guests, Cluster::crash);
        cluster.crash(stay - 1);
        cluster.pass(10 * MINUTE);
        cluster.assert_at_rest();
    }
}

/// What is left of those who went takes places, but not all.
#[test]
fn members_that_left_make_room_for_newcomers() {
    let goes: [fn(&mut Cluster, usize); 2] = [Cluster::crash, Cluster::leave];
    for go in goes {
        let few = |config: &mut Config| {
            config.max_members = 30;
            config.remove_after = 20 * SECOND;
        };
        let mut cluster = Cluster::of(5).seeds([0, 1]).config(few).spare(1).form();
        receive(&mut cluster, 40, go);
        cluster.pass(5 * MINUTE);
        cluster.start(5);
        cluster.pass(MINUTE);
        cluster.assert_at_rest();
    }
}

/// A list of votes is one entry, and takes as many as fit a datagram: nobody could learn what its author
/// writes after it otherwise.
#[test]
fn writes_are_learned_however_many_members_die_at_once() {
    let many = |config: &mut Config| {
        config.max_datagram = 512;
        config.neighbours = 16;
    };
    let mut cluster = Cluster::of(40).seeds([0, 1]).config(many).form();
    for wave in [30..40, 20..30, 10..20] {
        wave.for_each(|number| cluster.crash(number));
        cluster.pass(MINUTE);
    }
    for number in 0..10 {
        cluster.set(number, "k", "after");
    }
    cluster.pass(MINUTE);
    for (one, other) in (0..10).flat_map(|one| (0..10).map(move |other| (one, other))) {
        let shown = cluster.attribute(one, other, "k");
        assert_eq!(shown.as_deref(), Some("after"), "n{other} at n{one}");
    }
}
