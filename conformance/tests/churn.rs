//! What one node holds while members come and go, counted to the byte, over a day of its time.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use core::net::SocketAddr;
use core::time::Duration;

use cap::Cap;
use gossip_core::{Command, Config, Identity, Instant, Key, Node, UnixTime, Value};
use libtest_mimic::{Arguments, Failed, Trial};

#[global_allocator]
static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

const WALL: UnixTime = UnixTime::from_millis(1_767_225_600_000);
const MINUTE: Duration = Duration::from_secs(60);
/// The longest datagram.
const DATAGRAM: usize = 1400;

fn main() {
    let mut arguments = Arguments::from_args();
    // The counter tells no threads apart.
    arguments.test_threads = Some(1);
    let day = Churn {
        staying: 20,
        guests: 40,
        each: Duration::from_secs(60),
        samples: 24 * 6,
        sample: 10 * MINUTE,
    };
    let hours = Churn {
        staying: 2,
        guests: 4,
        each: Duration::from_secs(60),
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

/// The nodes; who is away leaves its place empty.
struct Cluster {
    nodes: Vec<Option<Node>>,
    now: Instant,
    /// Bytes that the first node has allocated and not freed.
    held: usize,
    started: u32,
}

fn address(place: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], u16::try_from(place + 1).unwrap()))
}

impl Cluster {
    /// Does something to the first node, and counts what that makes it hold.
    fn counted<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let before = ALLOCATOR.allocated();
        let result = act(self);
        self.held = self.held + ALLOCATOR.allocated() - before;
        result
    }

    /// Starts a node of some name, with an attribute, in some place.
    fn start(&mut self, place: usize, name: &str) {
        self.started += 1;
        let mut config = Config::lan();
        config.seeds = vec![address(0), address(1)];
        // So that what is left of guests comes and goes several times in a day.
        config.remove_after = 10 * MINUTE;
        config.gc_grace = 10 * MINUTE;
        config.forget_after = 30 * MINUTE;
        let identity = Identity::new(name, address(place)).unwrap();
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&self.started.to_le_bytes());
        let since = Duration::from_nanos(self.now.as_nanos());
        let wall = WALL.saturating_add(since);
        let mut node = Node::new(config, identity, seed, self.now, wall).unwrap();
        let set = Command::Set {
            key: Key::new("role").unwrap(),
            value: Value::new(format!("what {name} does")).unwrap(),
        };
        node.handle_command(self.now, set).unwrap();
        self.nodes[place] = Some(node);
    }

    /// Lets time pass for nodes that hand one another every datagram at once.
    fn pass(&mut self, time: Duration) {
        let end = self.now.saturating_add(time);
        let mut buffer = [0; DATAGRAM];
        while self.now < end {
            let due = self.nodes.iter().flatten().filter_map(Node::poll_timeout);
            self.now = due.min().unwrap_or(end).min(end).max(self.now);
            for place in 0..self.nodes.len() {
                self.at(place, |node, now| node.handle_timeout(now));
            }
            let mut place = 0;
            while place < self.nodes.len() {
                let sent = self.at(place, |node, now| {
                    while node.poll_event().is_some() {}
                    let sent = node.poll_transmit(now, &mut buffer)?;
                    Some((sent.to, sent.payload.len()))
                });
                let Some((to, len)) = sent.flatten() else {
                    place += 1;
                    continue;
                };
                let to = usize::from(to.port()).wrapping_sub(1);
                if to < self.nodes.len() {
                    let (from, datagram) = (address(place), &buffer[..len]);
                    self.at(to, |node, now| node.handle_datagram(now, from, datagram));
                    place = place.min(to);
                }
            }
        }
    }

    /// Does something to the node in a place, if there is one.
    fn at<T>(&mut self, place: usize, act: impl FnOnce(&mut Node, Instant) -> T) -> Option<T> {
        let now = self.now;
        let act = |cluster: &mut Self| cluster.nodes[place].as_mut().map(|node| act(node, now));
        if place == 0 {
            self.counted(act)
        } else {
            act(self)
        }
    }
}

impl Churn {
    fn play(&self) {
        let places = self.staying + self.guests;
        let mut cluster = Cluster {
            nodes: (0..places).map(|_| None).collect(),
            now: Instant::ORIGIN,
            held: 0,
            started: 0,
        };
        cluster.counted(|cluster| cluster.start(0, "first"));
        for place in 1..places {
            cluster.start(place, &format!("n{place}"));
        }
        cluster.pass(MINUTE);
        let live = |cluster: &Cluster| cluster.nodes[0].as_ref().unwrap().metrics().live;
        assert_eq!(usize::try_from(live(&cluster)).unwrap(), places);

        let mut held = Vec::new();
        let mut turn = 0;
        for sample in 1..=self.samples {
            let end = cluster.now.saturating_add(self.sample);
            while cluster.now < end {
                self.change(&mut cluster, turn);
                turn += 1;
            }
            let metrics = cluster.nodes[0].as_ref().unwrap().metrics();
            println!(
                "{} min: {} bytes for {} members, {} of them live and {} down",
                sample * 10,
                cluster.held,
                metrics.members,
                metrics.live,
                metrics.down,
            );
            held.push(cluster.held);
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
        cluster.nodes[0] = None;
        let freed = before - ALLOCATOR.allocated();
        assert_eq!(freed, cluster.held, "all that it held was counted");
    }

    /// A guest goes, with a word or without. In its place comes another, or itself anew.
    fn change(&self, cluster: &mut Cluster, turn: usize) {
        let place = self.staying + turn % self.guests;
        if turn.is_multiple_of(2) {
            cluster.at(place, |node, now| node.handle_command(now, Command::Leave));
            cluster.pass(Duration::from_secs(3));
        }
        cluster.nodes[place] = None;
        cluster.pass(self.each / 2);
        let name = if turn.is_multiple_of(3) {
            format!("guest{turn}")
        } else {
            format!("n{place}")
        };
        cluster.start(place, &name);
        cluster.pass(self.each / 2);
    }
}
