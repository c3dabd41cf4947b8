//! Members that leave, are removed and are forgotten, and what is left of them.

use std::collections::BTreeSet;

use super::receive;
use conformance::sim::Action;
use conformance::testkit::{Cluster, MINUTE, SECOND, host};
use gossip_core::{Command, Config, Mode, Status};

/// Nodes at rest that remove a member once it has been down for 20 s.
fn formed(nodes: usize, max_tombstones: u32, mode: Mode) -> Cluster {
    let options = Cluster::of(nodes).seeds([0, 3]).config(|config| {
        config.remove_after = 20 * SECOND;
        config.max_tombstones = max_tombstones;
        config.mode = mode;
    });
    options.form()
}

/// Forty nodes come and go, each under a name of its own. All forget them together, but for a few.
#[test]
fn a_few_traces_are_kept_of_members_that_came_and_went() {
    let mut cluster = formed(5, 8, Mode::PushPull);
    for guest in 0_u32..40 {
        let number = cluster.add(&format!("guest{guest}"));
        cluster.start(number);
        cluster.at((guest * 3 + 23) * SECOND);
        if guest % 2 == 0 {
            cluster.crash(number);
        } else {
            cluster.leave(number);
        }
    }
    let held = |cluster: &Cluster, number| cluster.node(number).metrics().members;
    cluster.at(160 * SECOND);
    assert!(held(&cluster, 0) > 5 + 8, "young ghosts linger");
    cluster.at(300 * SECOND);
    for number in 0..5 {
        let held = held(&cluster, number);
        assert!(held <= 5 + 8, "n{number}: {held}");
    }
    cluster.assert_at_rest();
    // A node that begins now is told of no more than that.
    cluster.restart(4);
    cluster.at(310 * SECOND);
    assert!(held(&cluster, 4) <= 5 + 8);
    cluster.assert_at_rest();
}

/// One of eighteen is suspended, another dies for good, and by the time the first goes on all others have
/// removed both, and their votes have ended. It shows the dead one neither up nor for ever, and revives
/// nobody.
fn sleeper_meets_the_removal_of(dies: u32, sleeps: u32, wakes: u32) {
    let pairs = [(4, 5), (5, 4), (2, 9), (9, 2), (1, 17), (17, 1)];
    let modes = [Mode::PushPull, Mode::Pull, Mode::Push];
    for ((sleeper, dead), mode) in pairs
        .iter()
        .flat_map(|pair| modes.map(|mode| (*pair, mode)))
    {
        println!("{sleeper} slept, {dead} died, {mode:?}");
        let mut cluster = formed(18, 1024, mode);
        let mut script = [
            (dies, Action::Crash(host(dead))),
            (sleeps, Action::Pause(host(sleeper))),
            // So that they look at their votes again.
            (wakes - 10, Action::Crash(host(11))),
            (wakes, Action::Resume(host(sleeper))),
        ];
        script.sort_by_key(|(at, _)| *at);
        for (at, action) in script {
            cluster.at(at * SECOND);
            cluster.act(action);
        }
        cluster.at((wakes + 60) * SECOND);
        cluster.assert_at_rest();
        assert_eq!(cluster.node(sleeper).metrics().flaps, 0);
    }
}

#[test]
fn a_node_that_sleeps_through_the_end_of_votes_revives_nobody() {
    sleeper_meets_the_removal_of(25, 40, 90);
}

#[test]
fn a_node_that_sleeps_through_a_whole_death_learns_of_it() {
    sleeper_meets_the_removal_of(45, 40, 120);
}

/// Of a member that died meanwhile others still keep a trace, but no longer of the one that slept.
#[test]
fn a_node_that_slept_until_it_was_forgotten_learns_of_the_dead() {
    let forgets = |config: &mut Config| {
        config.remove_after = MINUTE;
        config.max_tombstones = 8;
    };
    for (sleeper, dead) in [(4, 5), (5, 4), (1, 17)] {
        println!("{sleeper} slept, {dead} died");
        let mut cluster = Cluster::of(19).seeds([0, 1]).config(forgets).form();
        cluster.leave(18);
        cluster.pass(80 * SECOND);
        cluster.pause(sleeper);
        cluster.pass(50 * SECOND);
        cluster.crash(dead);
        cluster.pass(80 * SECOND);
        receive(&mut cluster, 6, Cluster::leave);
        cluster.pass(100 * SECOND);
        cluster.resume(sleeper);
        cluster.pass(200 * SECOND);
        cluster.assert_at_rest();
    }
}

#[test]
fn leaving_forgetting_and_removal_are_told_apart_from_failure() {
    let remembers = |config: &mut Config| config.remove_after = MINUTE;
    let mut cluster = Cluster::of(6).config(remembers).form();
    cluster.leave(4);
    cluster.pass(10 * SECOND);
    assert_eq!(cluster.status(1, 4), Some(Status::Left));
    assert_eq!(cluster.downs(), BTreeSet::new());
    cluster.crash(5);
    cluster.pass(10 * SECOND);
    assert_eq!(cluster.status(1, 5), Some(Status::Down));
    let id = cluster.id(5);
    cluster.command(1, Command::Forget { id });
    assert_eq!(cluster.status(1, 5), None, "forgotten at once");
    assert_eq!(
        cluster.status(2, 5),
        Some(Status::Down),
        "by this one alone"
    );
    cluster.pass(90 * SECOND);
    for (viewer, gone) in [(1, 4), (2, 4), (2, 5), (0, 5)] {
        assert_eq!(cluster.status(viewer, gone), None);
    }
    // The same node comes back under a newer generation.
    cluster.start(5);
    cluster.pass(5 * SECOND);
    assert_eq!(cluster.status(1, 5), Some(Status::Up));
}
