//! What one node holds while members come and go, counted to the byte, over a day of its time.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use core::time::Duration;

use cap::Cap;
use conformance::testkit::{Loopback, MINUTE, SECOND, key, value};
use gossip_core::{Command, Config};
use libtest_mimic::{Arguments, Failed, Trial};

#[global_allocator]
static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

fn main() {
    let mut arguments = Arguments::from_args();
    // The counter tells no threads apart.
    arguments.test_threads = Some(1);
    let day = Churn {
        staying: 20,
        guests: 40,
        each: MINUTE,
        samples: 24 * 6,
        sample: 10 * MINUTE,
    };
    let hours = Churn {
        staying: 2,
        guests: 4,
        each: MINUTE,
        samples: 18,
        sample: 10 * MINUTE,
    };
    let trial = |name: &str, churn: Churn| {
        Trial::test(name, move || -> Result<(), Failed> {
            churn.play();
            Ok(())
        })
    };
    let trials = vec![
        trial("a_node_holds_no_more_after_hours_of_churn", hours),
        // On demand, with `--release`.
        trial("a_node_holds_no_more_after_a_day_of_churn", day).with_ignored_flag(true),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// Members that stay, and places for others that come and go.
struct Churn {
    /// The first of them is the one that is measured.
    staying: usize,
    guests: usize,
    /// A guest goes, and another comes in its place, or the same one anew, so often.
    each: Duration,
    samples: usize,
    sample: Duration,
}

/// Starts a node of some name, with an attribute, in some place.
fn start(cluster: &mut Loopback, place: usize, name: &str) {
    cluster.start(place, name, |config: &mut Config| {
        // So that what is left of guests comes and goes several times in a day.
        config.remove_after = 10 * MINUTE;
        config.gc_grace = 10 * MINUTE;
        config.forget_after = 30 * MINUTE;
    });
    // The command is made where it is counted.
    let set = cluster.give(place, |node, now| {
        let (key, value) = (key("role"), value(format!("what {name} does")));
        node.handle_command(now, Command::Set { key, value })
    });
    set.unwrap().unwrap();
}

impl Churn {
    fn play(&self) {
        let places = self.staying + self.guests;
        let mut cluster = Loopback::new(places);
        cluster.gauge(0, || ALLOCATOR.allocated());
        start(&mut cluster, 0, "first");
        for place in 1..places {
            start(&mut cluster, place, &format!("n{place}"));
        }
        cluster.pass(MINUTE);
        let live = cluster.node(0).metrics().live;
        assert_eq!(usize::try_from(live).unwrap(), places);

        let mut held = Vec::new();
        let mut turn = 0;
        for sample in 1..=self.samples {
            let end = cluster.now().saturating_add(self.sample);
            while cluster.now() < end {
                self.change(&mut cluster, turn);
                turn += 1;
            }
            let metrics = cluster.node(0).metrics();
            println!(
                "{} min: {} bytes for {} members, {} of them live and {} down",
                sample * 10,
                cluster.held(),
                metrics.members,
                metrics.live,
                metrics.down,
            );
            held.push(cluster.held());
        }
        // The first third is for tables to grow to their size.
        let (early, late) = held[self.samples / 3..].split_at(self.samples / 3);
        let most = |held: &[usize]| held.iter().copied().max().unwrap();
        assert!(
            most(late) <= most(early) + most(early) / 10,
            "{} bytes, and {} later",
            most(early),
            most(late)
        );

        let before = ALLOCATOR.allocated();
        cluster.stop(0);
        let freed = before - ALLOCATOR.allocated();
        assert_eq!(freed, cluster.held(), "all that it held was counted");
    }

    /// A guest goes, with a word or without. In its place comes another, or itself anew.
    fn change(&self, cluster: &mut Loopback, turn: usize) {
        let place = self.staying + turn % self.guests;
        if turn.is_multiple_of(2) {
            cluster.command(place, Command::Leave);
            cluster.pass(3 * SECOND);
        }
        cluster.stop(place);
        cluster.pass(self.each / 2);
        let name = if turn.is_multiple_of(3) {
            format!("guest{turn}")
        } else {
            format!("n{place}")
        };
        start(cluster, place, &name);
        cluster.pass(self.each / 2);
    }
}
