//! A cluster that encrypts: what outsiders, eavesdroppers and members with the wrong key achieve, and
//! how keys and levels change while it runs.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use core::net::SocketAddr;
use core::time::Duration;

use gossip_core::{
    Command, CommandError, Config, Encryption, Event, Identity, Instant, Key, Node, SecretKey,
    Status, UnixTime, Value,
};

const WALL: UnixTime = UnixTime::from_millis(1_767_225_600_000);
const STEP: Duration = Duration::from_millis(50);

fn key(n: u8) -> SecretKey {
    SecretKey::new([n; 32])
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], u16::try_from(number + 1).unwrap()))
}

fn config(cluster: &str, keys: &[u8]) -> Config {
    let mut config = Config::lan();
    config.cluster = cluster.to_owned();
    config.seeds = vec![address(0)];
    config.keys = keys.iter().map(|n| key(*n)).collect();
    config
}

fn node(number: usize, config: Config, now: Instant) -> Node {
    let identity = Identity::new(&format!("n{number}"), address(number)).unwrap();
    let mut seed = [9; 32];
    seed[0] = u8::try_from(number).unwrap();
    Node::new(config, identity, seed, now, WALL).unwrap()
}

/// Nodes that hand one another every datagram at once.
struct Cluster {
    nodes: Vec<Option<Node>>,
    now: Instant,
    /// Every datagram sent so far: from, to, bytes.
    heard: Vec<(usize, usize, Vec<u8>)>,
    events: Vec<(usize, Event)>,
}

impl Cluster {
    fn of(configs: impl IntoIterator<Item = Config>) -> Self {
        let nodes = configs.into_iter().enumerate();
        let nodes = nodes.map(|(n, config)| Some(node(n, config, Instant::ORIGIN)));
        Self {
            nodes: nodes.collect(),
            now: Instant::ORIGIN,
            heard: Vec::new(),
            events: Vec::new(),
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.saturating_add(time);
        while self.now < end {
            self.now = self.now.saturating_add(STEP);
            for node in self.nodes.iter_mut().flatten() {
                node.handle_timeout(self.now);
            }
            self.settle();
        }
    }

    fn settle(&mut self) {
        let mut buffer = [0; 1400];
        let mut from = 0;
        while from < self.nodes.len() {
            let Some(node) = &mut self.nodes[from] else {
                from += 1;
                continue;
            };
            while let Some(event) = node.poll_event() {
                self.events.push((from, event));
            }
            let Some(datagram) = node.poll_transmit(self.now, &mut buffer) else {
                from += 1;
                continue;
            };
            let to = usize::from(datagram.to.port()) - 1;
            let bytes = datagram.payload.to_vec();
            if let Some(Some(receiver)) = self.nodes.get_mut(to) {
                receiver.handle_datagram(self.now, address(from), &bytes);
                // What follows from it may be anybody's turn.
                from = from.min(to);
            }
            self.heard.push((from, to, bytes));
        }
    }

    fn tell(&mut self, command: &Command) {
        for node in self.nodes.iter_mut().flatten() {
            node.handle_command(self.now, command.clone()).unwrap();
        }
        self.settle();
    }

    fn node(&mut self, number: usize) -> &mut Node {
        self.nodes[number].as_mut().unwrap()
    }

    /// How many members each node holds up, itself included.
    fn up(&self) -> Vec<usize> {
        let up = |node: &Node| node.members().filter(|m| m.status() == Status::Up).count();
        self.nodes.iter().flatten().map(up).collect()
    }

    fn downs(&self) -> usize {
        let down = |(_, event): &&(usize, Event)| matches!(event, Event::MemberDown { .. });
        self.events.iter().filter(down).count()
    }

    fn mismatches(&self) -> Vec<usize> {
        let told = self.events.iter().filter_map(|(who, event)| {
            matches!(event, Event::EncryptionMismatch { .. }).then_some(*who)
        });
        told.collect()
    }
}

#[test]
fn a_cluster_under_one_key_forms_and_nothing_of_it_is_readable() {
    let mut cluster = Cluster::of((0..3).map(|_| config("c", &[1])));
    let set = Command::Set {
        key: Key::new("passphrase").unwrap(),
        value: Value::new("swordfish").unwrap(),
    };
    cluster
        .node(0)
        .handle_command(Instant::ORIGIN, set)
        .unwrap();
    cluster.pass(Duration::from_secs(5));
    assert_eq!(cluster.up(), [3, 3, 3]);
    let shows = |datagram: &[u8], text: &[u8]| datagram.windows(text.len()).any(|w| w == text);
    for (.., datagram) in &cluster.heard {
        assert_eq!(datagram[1], 1, "the flag says that it is encrypted");
        assert!(datagram.len() <= 1400);
        assert!(!shows(datagram, b"swordfish") && !shows(datagram, b"passphrase"));
    }
}

#[test]
fn a_wrong_or_missing_key_is_counted_told_once_and_never_fatal() {
    let mut cluster = Cluster::of([config("c", &[1]), config("c", &[2]), config("c", &[])]);
    cluster.pass(Duration::from_secs(20));
    assert_eq!(cluster.up(), [1, 1, 1], "each is alone");
    let dropped = |cluster: &mut Cluster, n| cluster.node(n).metrics().dropped;
    let first = dropped(&mut cluster, 0);
    assert!(first.key > 5 && first.plaintext > 5, "{first:?}");
    assert!(dropped(&mut cluster, 2).total() == 0 || dropped(&mut cluster, 2).flags > 0);
    assert_eq!(
        cluster.mismatches(),
        [0],
        "the seed has heard both, and tells once"
    );
    // Set right while they run, they find each other.
    let add = Command::AddKey { key: key(1) };
    for n in [1, 2] {
        let now = cluster.now;
        cluster.node(n).handle_command(now, add.clone()).unwrap();
    }
    let now = cluster.now;
    let use_it = Command::UseKey { key: key(1) };
    cluster.node(1).handle_command(now, use_it).unwrap();
    cluster.pass(Duration::from_secs(20));
    assert_eq!(cluster.up(), [3, 3, 3]);
}

#[test]
fn keys_are_rotated_without_losing_a_node() {
    let mut cluster = Cluster::of((0..4).map(|_| config("c", &[1])));
    cluster.pass(Duration::from_secs(5));
    let steps = [
        Command::AddKey { key: key(2) },
        Command::UseKey { key: key(2) },
        Command::RemoveKey { key: key(1) },
    ];
    for command in steps {
        // One node after the other, as people do it.
        for n in 0..4 {
            let now = cluster.now;
            cluster
                .node(n)
                .handle_command(now, command.clone())
                .unwrap();
            cluster.pass(Duration::from_secs(3));
        }
    }
    assert_eq!((cluster.up(), cluster.downs()), (vec![4; 4], 0));
    assert_eq!(cluster.mismatches(), [0_usize; 0]);
    // The old key opens nothing any more.
    let mut late = config("c", &[1]);
    late.seeds = vec![address(0)];
    let now = cluster.now;
    cluster.nodes.push(Some(node(4, late, now)));
    cluster.pass(Duration::from_secs(10));
    assert_eq!(cluster.up(), [4, 4, 4, 4, 1]);
    let refused = cluster
        .node(0)
        .handle_command(now, Command::RemoveKey { key: key(2) });
    assert_eq!(refused, Err(CommandError::KeyInUse));
}

#[test]
fn a_plaintext_cluster_moves_to_encryption_step_by_step() {
    let mut cluster = Cluster::of((0..3).map(|_| config("c", &[])));
    cluster.pass(Duration::from_secs(5));
    let level = |encryption| Command::SetEncryption { encryption };
    let steps = [
        // Keys first used for nothing but reading.
        level(Encryption::Accept),
        Command::AddKey { key: key(1) },
        level(Encryption::Prefer),
        level(Encryption::Require),
    ];
    for command in steps {
        for n in 0..3 {
            let now = cluster.now;
            cluster
                .node(n)
                .handle_command(now, command.clone())
                .unwrap();
            cluster.pass(Duration::from_secs(3));
        }
    }
    assert_eq!((cluster.up(), cluster.downs()), (vec![3; 3], 0));
    assert_eq!(cluster.mismatches(), [0_usize; 0]);
    cluster.heard.clear();
    cluster.pass(Duration::from_secs(3));
    assert!(cluster.heard.iter().all(|(.., datagram)| datagram[1] == 1));
}

#[test]
fn the_same_key_in_another_cluster_opens_nothing() {
    let mut one = Cluster::of((0..2).map(|_| config("one", &[1])));
    one.pass(Duration::from_secs(5));
    let mut other = node(1, config("other", &[1]), Instant::ORIGIN);
    let tag_of_other = {
        let mut buffer = [0; 1400];
        let datagram = other.poll_transmit(Instant::ORIGIN, &mut buffer).unwrap();
        datagram.payload[2..6].to_vec()
    };
    for (.., datagram) in &one.heard {
        let mut moved = datagram.clone();
        moved[2..6].copy_from_slice(&tag_of_other);
        other.handle_datagram(Instant::ORIGIN, address(0), &moved);
    }
    let dropped = other.metrics().dropped;
    let all = u64::try_from(one.heard.len()).unwrap();
    assert_eq!((dropped.key, dropped.total()), (all, all));
}

#[test]
fn replayed_datagrams_change_nothing_and_keep_nobody_alive() {
    let mut cluster = Cluster::of((0..5).map(|_| config("c", &[1])));
    for value in ["old", "new"] {
        let key = Key::new("k").unwrap();
        let value = Value::new(value).unwrap();
        cluster.pass(Duration::from_secs(3));
        let now = cluster.now;
        let set = Command::Set { key, value };
        cluster.node(4).handle_command(now, set).unwrap();
    }
    cluster.pass(Duration::from_secs(5));
    // The last one dies, and an eavesdropper plays everything that was ever sent, again and again.
    cluster.nodes[4] = None;
    let recorded = cluster.heard.clone();
    let hash = cluster.node(0).table_hash();
    for round in 0..20 {
        for (from, to, datagram) in &recorded {
            let now = cluster.now;
            if let Some(Some(node)) = cluster.nodes.get_mut(*to) {
                node.handle_datagram(now, address(*from), datagram);
            }
        }
        cluster.settle();
        if round == 0 {
            assert_eq!(cluster.node(0).table_hash(), hash, "nothing has changed");
        }
        cluster.pass(Duration::from_secs(1));
    }
    assert_eq!(
        cluster.up(),
        [4; 4],
        "the dead one is down, the others are up"
    );
    assert_eq!(cluster.downs(), 4, "each has told it once");
    let replayed = cluster.node(0).metrics().dropped.replayed;
    assert!(replayed > 100, "{replayed}");
}

#[test]
fn every_bit_flip_and_every_truncation_of_real_datagrams_is_refused() {
    let mut cluster = Cluster::of((0..3).map(|_| config("c", &[1])));
    cluster.pass(Duration::from_secs(3));
    let heard = std::mem::take(&mut cluster.heard);
    let mut victim = node(3, config("c", &[1]), cluster.now);
    let now = cluster.now;
    let mut given = 0;
    for (.., datagram) in heard.iter().step_by(heard.len() / 20) {
        for bit in 0..datagram.len() * 8 {
            let mut flipped = datagram.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            victim.handle_datagram(now, address(0), &flipped);
            given += 1;
        }
        for len in 0..datagram.len() {
            victim.handle_datagram(now, address(0), &datagram[..len]);
            given += 1;
        }
    }
    assert_eq!(victim.metrics().dropped.total(), given);
    assert_eq!(victim.members().count(), 1);
}

#[test]
fn keys_are_never_shown() {
    let config = config("c", &[1]);
    assert_eq!(format!("{:?}", config.keys), "[SecretKey(…)]");
    let tell = Command::UseKey { key: key(1) };
    assert!(!format!("{tell:?}").contains("1, 1, 1"));
    let mut cluster = Cluster::of([config]);
    cluster.tell(&tell);
}
