//! One node alone: its border. More than one node is the simulator's business.

use super::*;
use crate::command::{Key, MAX_WATCHED, Value};
use crate::failure::probes::Sign;
use crate::hlc::Stamp;
use crate::membership::Condition;
use crate::membership::segment::Segment;
use crate::state::attribute::{MAX_BALLOTS, STATUS, VOTES, decode_ballots, encode_ballots};
use crate::sync::staging::Sent;
use crate::wire::frame;
use crate::wire::message::{Datagram, Delta, Encoder, Item, Message, Push, Sender};
use core::net::IpAddr;
use proptest::prelude::*;

const WALL: UnixTime = UnixTime::from_millis(1_767_225_600_000);

fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn node_with(name: &str, port: u16, change: impl FnOnce(&mut Config)) -> Node {
    let mut config = Config::lan();
    config.cluster = "test".into();
    change(&mut config);
    let identity = Identity::new(name, address(port)).unwrap();
    Node::new(config, identity, [1; 32], Instant::ORIGIN, WALL).unwrap()
}

fn node() -> Node {
    node_with("a", 1, |_| {})
}

fn sent(node: &mut Node, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut buffer = [0; 8192];
    let mut all = Vec::new();
    while let Some(Transmit { to, payload }) = node.poll_transmit(now, &mut buffer) {
        assert!(payload.len() <= node.config.max_datagram.into());
        all.push((to, payload.to_vec()));
    }
    all
}

fn set(node: &mut Node, key: &str, value: &[u8]) -> Result<(), CommandError> {
    let command = Command::Set {
        key: Key::new(key).unwrap(),
        value: Value::new(value).unwrap(),
    };
    node.handle_command(at(1), command)
}

#[test]
fn the_first_node_announces_itself_and_the_next_asks_all_its_seeds() {
    let mut first = node();
    assert_eq!(first.standing(), Standing::Up);
    assert_eq!(first.poll_event(), Some(Event::Joined { members: 0 }));
    assert!(sent(&mut first, at(0)).is_empty());

    let mut second = node_with("b", 2, |config| {
        config.seeds = std::vec![address(1), address(2), address(3)];
    });
    assert_eq!(second.standing(), Standing::Joining);
    let to: Vec<_> = sent(&mut second, at(0))
        .into_iter()
        .map(|(to, _)| to)
        .collect();
    assert_eq!(to, [address(1), address(3)], "all but itself");
}

/// Whose seeds have names is not the first of its cluster because those are looked up yet.
#[test]
fn a_node_whose_seeds_are_to_come_waits_for_them() {
    let waiting = || node_with("b", 2, |config| config.seeds_to_come = true);
    let mut node = waiting();
    assert_eq!(node.standing(), Standing::Joining);
    assert!(sent(&mut node, at(0)).is_empty());
    let seeds = std::vec![address(1)];
    let command = Command::SetSeeds { seeds };
    node.handle_command(at(5), command).unwrap();
    let asked: Vec<_> = sent(&mut node, at(5))
        .into_iter()
        .map(|(to, _)| to)
        .collect();
    assert_eq!(asked, [address(1)]);
    assert_eq!(node.standing(), Standing::Joining);
    // In vain.
    let mut node = waiting();
    node.handle_timeout(at(4_000));
    assert_eq!(node.standing(), Standing::Up);
}

#[test]
fn the_same_seeds_again_change_nothing() {
    let mut node = node_with("b", 2, |config| config.seeds = std::vec![address(1)]);
    let mut ask = |ports: &[u16]| {
        sent(&mut node, at(0));
        let seeds = ports.iter().map(|port| address(*port)).collect();
        let command = Command::SetSeeds { seeds };
        node.handle_command(at(1), command).unwrap();
        sent(&mut node, at(1)).len()
    };
    assert_eq!(ask(&[1]), 0);
    assert_eq!(ask(&[3, 1]), 2, "a node that knows nobody asks new ones");
    assert_eq!(ask(&[1, 3, 1]), 0, "in whatever order");
    assert_eq!(ask(&[3]), 1);
}

#[test]
fn the_wall_clock_may_be_told_every_second() {
    let mut node = node();
    sent(&mut node, at(0));
    while node.poll_event().is_some() {}
    let (hash, generation) = (node.table_hash(), node.generation());
    for second in 1..=100 {
        // It runs fast, and is set back every now and then.
        let drift = Duration::from_millis(second * 1_001 - second % 10 * 20);
        let wall = WALL.saturating_add(drift);
        let deadline = node.poll_timeout();
        let now = at(second);
        node.handle_command(now, Command::SetWallClock { wall })
            .unwrap();
        assert_eq!(node.poll_timeout(), deadline);
        assert!(!node.has_event());
        assert!(sent(&mut node, now).is_empty());
    }
    assert_eq!((node.table_hash(), node.generation()), (hash, generation));
}

#[test]
fn what_is_watched_is_bounded_and_told_once() {
    let mut node = node();
    while node.poll_event().is_some() {}
    let key = |number: usize| Key::new(&std::format!("k{number}")).unwrap();
    let mut watch = |number| {
        let command = Command::Watch { key: key(number) };
        let result = node.handle_command(at(1), command);
        (result, core::iter::from_fn(|| node.poll_event()).count())
    };
    for number in 0..MAX_WATCHED {
        assert_eq!(watch(number), (Ok(()), 1));
    }
    assert_eq!(watch(3), (Ok(()), 0), "it is watched already");
    assert_eq!(watch(99), (Err(CommandError::TooManyWatched), 0));
    let unwatch = Command::Unwatch { key: key(3) };
    node.handle_command(at(1), unwatch).unwrap();
    let command = Command::Watch { key: key(99) };
    node.handle_command(at(1), command).unwrap();
    set(&mut node, "k99", b"x").unwrap();
    assert!(node.has_agreement(&key(99)), "a node agrees with itself");
}

#[test]
fn a_node_whose_seeds_are_silent_announces_itself_after_three_rounds() {
    let mut node = node_with("b", 2, |config| config.seeds = std::vec![address(1)]);
    while let Some(due) = node.poll_timeout().filter(|due| *due <= at(3_000)) {
        assert_eq!(node.standing(), Standing::Joining);
        node.handle_timeout(due);
    }
    assert_eq!(node.standing(), Standing::Up);
}

#[test]
fn garbage_changes_nothing_and_is_counted_by_reason() {
    let mut node = node();
    let mut other = node_with("b", 2, |config| config.seeds = std::vec![address(1)]);
    let (_, good) = sent(&mut other, at(0)).remove(0);
    let hash = node.table_hash();
    let mut give = |datagram: &[u8]| {
        let before = node.metrics().dropped;
        node.handle_datagram(at(1), address(9), datagram);
        assert_eq!(node.table_hash(), hash);
        assert_eq!(node.metrics().dropped.total(), before.total() + 1);
        let after = node.metrics().dropped;
        [
            ("length", after.length - before.length),
            ("version", after.version - before.version),
            ("cluster", after.cluster - before.cluster),
            ("checksum", after.checksum - before.checksum),
            ("malformed", after.malformed - before.malformed),
            ("unknown", after.unknown - before.unknown),
            ("own", after.own - before.own),
        ]
        .into_iter()
        .find(|(_, counted)| *counted == 1)
        .unwrap()
        .0
    };
    assert_eq!(give(b""), "length");
    assert_eq!(give(&[1; 9000]), "length");
    assert_eq!(give(&[2; 100]), "version");
    assert_eq!(give(&good[..good.len() - 1]), "checksum");
    let mut flipped = good.clone();
    flipped[20] ^= 4;
    assert_eq!(give(&flipped), "checksum");
    let mut foreign = node_with("c", 3, |config| {
        config.cluster = "other".into();
        config.seeds = std::vec![address(1)];
    });
    assert_eq!(give(&sent(&mut foreign, at(0)).remove(0).1), "cluster");
    let framed = |body: &[u8]| {
        let mut buffer = [0; 64];
        frame::body(&mut buffer)[..body.len()].copy_from_slice(body);
        frame::seal(ClusterTag::of("test"), &mut buffer, body.len())
            .unwrap()
            .to_vec()
    };
    assert_eq!(give(&framed(&[0; 3])), "malformed");
    assert_eq!(give(&framed(&[200; 30])), "unknown");
    let mut own_head = node_with("a", 1, |config| config.seeds = std::vec![address(2)]);
    assert_eq!(give(&sent(&mut own_head, at(0)).remove(0).1), "own");

    node.handle_datagram(at(1), address(2), &good);
    assert_eq!(sent(&mut node, at(1)).len(), 1, "the good one is answered");
}

#[test]
fn writes_over_the_limit_are_refused_with_the_numbers() {
    let mut node = node_with("a", 1, |config| config.max_state = 1500);
    set(&mut node, "first", &[0; 1000]).unwrap();
    let before = node.table_hash();
    let Err(CommandError::StateFull { size, limit: 1500 }) = set(&mut node, "second", &[0; 600])
    else {
        panic!("the state is full")
    };
    assert!(size > 1600);
    assert_eq!(node.table_hash(), before);
    set(&mut node, "first", &[0; 10]).unwrap();
    set(&mut node, "second", &[0; 600]).unwrap();

    let mut small = node_with("a", 1, |config| config.max_datagram = 512);
    let refused = set(&mut small, "k", &[0; 1000]);
    assert!(matches!(
        refused,
        Err(CommandError::EntryTooLarge { size: 1001, .. })
    ));
}

#[test]
fn setting_the_same_value_again_is_no_news() {
    let mut node = node();
    set(&mut node, "k", b"v").unwrap();
    let hash = node.table_hash();
    set(&mut node, "k", b"v").unwrap();
    assert_eq!(node.table_hash(), hash);
    node.handle_command(
        at(2),
        Command::Unset {
            key: Key::new("other").unwrap(),
        },
    )
    .unwrap();
    assert_eq!(node.table_hash(), hash);
    node.handle_command(
        at(2),
        Command::Unset {
            key: Key::new("k").unwrap(),
        },
    )
    .unwrap();
    assert_ne!(node.table_hash(), hash);
    assert_eq!(
        node.member(node.id())
            .unwrap()
            .attribute(&Key::new("k").unwrap()),
        None
    );
}

#[test]
fn leaving_ends_in_silence() {
    let mut node = node();
    node.poll_event();
    node.handle_command(at(1), Command::Leave).unwrap();
    assert_eq!(node.standing(), Standing::Leaving);
    assert_eq!(set(&mut node, "k", b"v"), Err(CommandError::Left));
    while let Some(due) = node.poll_timeout() {
        assert!(due < at(1_100), "it takes one interval");
        node.handle_timeout(due);
    }
    assert_eq!(node.standing(), Standing::Left);
    assert_eq!(node.poll_event(), Some(Event::LeaveCompleted));
    node.handle_command(at(2_000), Command::Leave).unwrap();
    node.handle_timeout(at(3_000));
    assert_eq!(node.poll_timeout(), None);
}

#[test]
fn only_the_gone_can_be_forgotten() {
    let mut node = node();
    let nobody = NodeId::from_u64(1);
    let own = node.id();
    assert_eq!(
        node.handle_command(at(1), Command::Forget { id: nobody }),
        Err(CommandError::UnknownMember(nobody))
    );
    assert_eq!(
        node.handle_command(at(1), Command::Forget { id: own }),
        Err(CommandError::MemberAlive(own))
    );
}

#[test]
fn peers_that_remember_a_later_life_make_a_node_outlive_it() {
    let mut node = node();
    set(&mut node, "k", b"v").unwrap();
    let earlier = node.generation();
    let remembered = Generation::new(Stamp::at(UnixTime::from_millis(WALL.as_millis() + 30_000)));
    node.outlive(at(5), remembered);
    node.settle(at(5));
    assert!(node.generation() > remembered && remembered > earlier);
    let own = node.member(node.id()).unwrap();
    assert_eq!(own.attribute(&Key::new("k").unwrap()), Some(&b"v"[..]));

    let generation = node.generation();
    let absurd = Generation::new(Stamp::at(UnixTime::from_millis(WALL.as_millis() * 2)));
    node.outlive(at(6), absurd);
    node.settle(at(6));
    assert_eq!(
        node.generation(),
        generation,
        "the absurd future is refused"
    );
    assert_eq!(node.metrics().refused_skew, 1);
}

/// A log with one entry that says where its origin is.
fn run_of(port: u16) -> Vec<u8> {
    let mut log = Log::new(Generation::ZERO);
    log.write(0, ADDRESS, Some(&encode_address(address(port))));
    log.write(0, STATUS, Some(Declared::Up.encode()));
    log.after(0).rest().to_vec()
}

fn generation_after(seconds: u64) -> Generation {
    Generation::new(Stamp::at(UnixTime::from_millis(
        WALL.as_millis() + seconds * 1000,
    )))
}

fn delta(origin: u64, generation: Generation, entries: &[u8]) -> Delta<'_> {
    Delta {
        origin: NodeId::from_u64(origin),
        generation,
        after: 0,
        upto: 2,
        frontier: 2,
        floor: 0,
        entries,
    }
}

/// The one that is missing may be small, and all that a datagram has to tell.
#[test]
fn a_newcomer_with_all_its_votes_may_come_alone() {
    let mut node = node();
    let sender = Sender {
        id: NodeId::from_u64(8),
        generation: generation_after(0),
    };
    let segment = Segment::ALL;
    let mut body = [0; 1000];
    let mut encoder =
        Encoder::new(&mut body, sender, Message::Push(Push { tree: 0, segment })).unwrap();
    let ballots: Vec<Ballot> = (1..=32).map(ballot_against).collect();
    let mut log = Log::new(generation_after(0));
    log.write(0, VOTES, Some(&encode_ballots(ballots.iter(), usize::MAX)));
    let all = Delta {
        upto: 1,
        frontier: 1,
        ..delta(7, log.generation(), log.after(0).rest())
    };
    assert!(encoder.item(&Item::Delta(all)));
    let len = encoder.len();
    let mut buffer = [0; 1100];
    frame::body(&mut buffer)[..len].copy_from_slice(&body[..len]);
    let framed = frame::seal(ClusterTag::of("test"), &mut buffer, len).unwrap();
    node.handle_datagram(at(1), address(8), framed);
    assert!(node.member(NodeId::from_u64(7)).is_some());
    assert_eq!(node.votes.subjects().count(), 32);
}

/// As short as votes are: of what a datagram holds, most is votes.
fn ballot_against(subject: u64) -> Ballot {
    Ballot {
        subject: NodeId::from_u64(subject),
        generation: Generation::ZERO,
        frontier: 0,
        age: 0,
        removed: false,
    }
}

/// Members that a node observes, and finds silent.
fn silent(node: &mut Node, ids: core::ops::Range<u64>) {
    for id in ids.map(NodeId::from_u64) {
        let mut log = Log::new(generation_after(0));
        log.write(0, STATUS, Some(Declared::Up.encode()));
        node.table.apply(id, at(0), &log.claim_after(0));
        let window = node.config.window;
        let mut observed = Observation::new(id, log.generation(), window, &node.detector, at(0));
        for second in 1..1000 {
            observed.due(at(second * 1000), 0);
        }
        assert!(observed.is_silent());
        let place = node.observations.partition_point(|o| o.id < id);
        node.observations.insert(place, observed);
    }
}

#[test]
fn a_member_found_silent_is_suspect_until_it_is_down() {
    let mut node = node();
    silent(&mut node, 5..6);
    let status = |node: &Node| node.member(NodeId::from_u64(5)).unwrap().status();
    assert_eq!(status(&node), Status::Suspect);
    node.table
        .set_condition(NodeId::from_u64(5), at(1), Condition::Down);
    assert_eq!(status(&node), Status::Down);
}

/// As a socket of both families tells the address of an IPv4 peer.
#[test]
fn an_address_mapped_into_ipv6_is_the_one_that_it_is() {
    let started = |name, port| node_with(name, port, |config| config.seeds = std::vec![address(1)]);
    let mut nodes = [started("a", 1), started("b", 2)];
    play(&mut nodes, 0, 5000);
    let [a, b] = &mut nodes;
    let challenged = b.metrics.challenges;
    set(a, "key", b"value").unwrap();
    a.ask_all_seeds();
    let to = b.address;
    a.begin_exchange(to);
    let IpAddr::V4(ip) = a.address.ip() else {
        panic!("loopback")
    };
    let mapped = SocketAddr::new(ip.to_ipv6_mapped().into(), a.address.port());
    for (_, datagram) in sent(a, at(5000)) {
        b.handle_datagram(at(5001), mapped, &datagram);
    }
    assert_eq!(b.metrics.challenges, challenged);
    assert!(sent(b, at(5001)).iter().all(|(to, _)| *to == a.address));
}

#[test]
fn nobody_knows_the_key_of_a_table() {
    // Not even who runs a node of the same name with the same settings: it follows from the seed.
    let hash = |seed: u8| {
        let identity = Identity::new("n", address(1)).unwrap();
        let node = Node::new(Config::lan(), identity, [seed; 32], at(0), WALL).unwrap();
        node.table.index_hash(NodeId::from_u64(7))
    };
    assert_ne!(hash(1), hash(2));
}

#[test]
fn an_older_generation_is_refused() {
    let mut node = node();
    node.room = room(0);
    let (old, new) = (run_of(2), run_of(3));
    node.take_in(at(1), &delta(7, generation_after(2), &new), Sent::Alone);
    let earlier = Delta {
        upto: 9,
        frontier: 9,
        ..delta(7, generation_after(1), &old)
    };
    node.take_in(at(2), &earlier, Sent::Alone);
    let known = node.member(NodeId::from_u64(7)).unwrap();
    assert_eq!(known.generation(), generation_after(2));
    assert_eq!(known.address(), address(3));
}

#[test]
fn a_push_is_passed_on_once_in_each_tree() {
    let mut node = node();
    node.room = room(0);
    let run = run_of(2);
    node.take_in(at(1), &delta(7, generation_after(0), &run), Sent::Alone);
    let news = delta(9, generation_after(0), &run);
    node.take_in(at(1), &news, Sent::Alone);
    assert!(node.serves_first(0, &news));
    assert!(!node.serves_first(0, &news), "repeated");
    assert!(node.serves_first(1, &news), "another tree");
    assert!(!node.serves_first(200, &news), "no tree");
    let later = Delta {
        upto: 3,
        frontier: 3,
        ..news
    };
    assert!(!node.serves_first(0, &later), "not held");
    node.take_in(at(2), &later, Sent::Alone);
    assert!(node.serves_first(0, &later));
    assert!(!node.serves_first(1, &news), "no longer news");
}

#[test]
fn a_member_that_is_voted_against_refutes() {
    let mut node = node();
    node.room = room(0);
    let ballot = |node: &Node| Ballot {
        subject: node.own,
        generation: node.generation,
        frontier: node.known(node.own).1,
        age: 0,
        removed: false,
    };
    let cast = ballot(&node);
    let value = encode_ballots([cast].iter(), usize::MAX);
    let mut log = Log::new(Generation::ZERO);
    log.write(0, ADDRESS, Some(&encode_address(address(2))));
    log.write(0, VOTES, Some(&value));
    let run = log.after(0).rest().to_vec();
    node.take_in(at(1), &delta(7, generation_after(0), &run), Sent::Alone);
    assert!(node.known(node.own).1 > cast.frontier, "one entry more");
    let quiet = node.known(node.own);
    node.take_in(at(2), &delta(8, generation_after(0), &run), Sent::Alone);
    assert_eq!(node.known(node.own), quiet, "the same vote is void");
}

#[test]
fn an_earlier_now_is_the_latest_one() {
    let mut node = node();
    node.handle_timeout(at(500));
    let due = node.poll_timeout();
    node.handle_timeout(at(100));
    assert_eq!(node.poll_timeout(), due);
    // What is written is pushed a moment later, not a moment after some earlier one.
    set(&mut node, "k", b"v").unwrap();
    assert!(node.poll_timeout().unwrap() > at(500));
}

/// Plays nodes that reach one another at once, from `from` to `to` milliseconds.
fn play(nodes: &mut [Node], from: u64, to: u64) -> Vec<Vec<Event>> {
    play_and_watch(nodes, from, to, |_| ())
}

/// The same, with a look at every datagram.
fn play_and_watch(
    nodes: &mut [Node],
    from: u64,
    to: u64,
    mut watch: impl FnMut(&[u8]),
) -> Vec<Vec<Event>> {
    let mut events: Vec<Vec<Event>> = nodes.iter().map(|_| Vec::new()).collect();
    for millis in from..to {
        for at_node in 0..nodes.len() {
            if nodes[at_node]
                .poll_timeout()
                .is_some_and(|due| due <= at(millis))
            {
                nodes[at_node].handle_timeout(at(millis));
            }
            for (to, datagram) in sent(&mut nodes[at_node], at(millis)) {
                watch(&datagram);
                let from = nodes[at_node].address;
                for node in nodes.iter_mut().filter(|node| node.address == to) {
                    node.handle_datagram(at(millis), from, &datagram);
                }
            }
            while let Some(event) = nodes[at_node].poll_event() {
                events[at_node].push(event);
            }
        }
    }
    events
}

/// The lengths of all SYNs sent between two moments, in which nothing but SYNs and heartbeats must be
/// sent.
fn syns(nodes: &mut [Node], from: u64, to: u64) -> Vec<usize> {
    let mut lengths = Vec::new();
    play_and_watch(nodes, from, to, |datagram| {
        let body = frame::open(ClusterTag::of("test"), 1400, datagram).unwrap();
        let read = Datagram::decode(body).unwrap();
        match read.message {
            Message::Heartbeat { .. } => {}
            Message::Exchange(head) if head.leg == exchange::FIRST_LEG => {
                lengths.push(datagram.len());
            }
            other => panic!("{other:?}"),
        }
    });
    lengths
}

#[test]
fn at_rest_a_syn_takes_47_bytes_and_51_once_somebody_was_forgotten() {
    for size in [2, 5, 12] {
        let mut nodes: Vec<Node> = (1..=size)
            .map(|port| {
                node_with(&std::format!("n{port}"), port, |config| {
                    config.seeds = std::vec![address(1)];
                    config.remove_after = Duration::from_secs(15);
                    config.gc_grace = Duration::from_secs(60);
                    config.forget_after = Duration::from_secs(60);
                })
            })
            .collect();
        play(&mut nodes, 0, 20_000);
        let lengths = syns(&mut nodes, 20_000, 40_000);
        assert!(lengths.len() >= usize::from(size) * 18, "{}", lengths.len());
        assert!(lengths.iter().all(|len| *len == 47), "{lengths:?}");
        if size == 2 {
            continue; // Nobody is left to talk to.
        }
        // It crashes; it is removed; it is forgotten.
        nodes.pop();
        play(&mut nodes, 40_000, 220_000);
        assert!(nodes.iter().all(|node| node.table.len() == nodes.len()));
        let lengths = syns(&mut nodes, 220_000, 240_000);
        assert!(
            !lengths.is_empty() && lengths.iter().all(|len| *len == 51),
            "{lengths:?}"
        );
    }
}

#[test]
fn of_two_live_nodes_of_one_name_the_elder_keeps_it_and_both_are_told() {
    let started = |name, port, millis: u64| {
        let mut config = Config::lan();
        config.cluster = "test".into();
        config.seeds = std::vec![address(1)];
        let identity = Identity::new(name, address(port)).unwrap();
        let wall = UnixTime::from_millis(WALL.as_millis() + millis);
        let [seed, _] = port.to_le_bytes();
        Node::new(config, identity, [seed; 32], at(millis), wall).unwrap()
    };
    let mut nodes = std::vec![started("a", 1, 0), started("b", 2, 0), started("c", 3, 0)];
    play(&mut nodes, 0, 5_000);
    nodes.push(started("b", 4, 5_000));
    let told = play(&mut nodes, 5_000, 15_000);
    for n in &nodes {
        std::println!(
            "{:?} {:?} {:?} own {} rival {:?} m {:?}",
            n.address,
            n.standing(),
            n.generation(),
            n.own,
            n.rival,
            n.metrics()
        );
        for m in n.members() {
            std::println!(
                "   {:?} {:?} {:?} {:?}",
                m.name(),
                m.address(),
                m.status(),
                m.generation()
            );
        }
    }
    assert!(
        told[1].contains(&Event::NameContested {
            address: address(4)
        }),
        "{:?}",
        told[1]
    );
    assert!(
        told[3].contains(&Event::IdentityConflict {
            address: address(2)
        }),
        "{:?}",
        told[3]
    );
    assert_eq!(
        (nodes[1].standing(), nodes[3].standing()),
        (Standing::Up, Standing::Left)
    );
    for node in &nodes[..3] {
        let b = node.member(nodes[1].id()).unwrap();
        assert_eq!(
            (b.address(), b.status()),
            (address(2), Status::Up),
            "the elder is back"
        );
    }
    let later = play(&mut nodes, 15_000, 25_000);
    assert!(
        later.iter().all(Vec::is_empty),
        "and nobody fights: {later:?}"
    );
}

#[test]
fn an_earlier_life_at_another_address_is_outlived() {
    let mut nodes = std::vec![
        node_with("a", 1, |_| {}),
        node_with("b", 2, |config| {
            config.seeds = std::vec![address(1)];
        })
    ];
    play(&mut nodes, 0, 3_000);
    // It moves, and its clock is half a minute behind.
    let id = nodes.remove(1).id();
    let mut config = Config::lan();
    config.cluster = "test".into();
    config.seeds = std::vec![address(1)];
    let wall = UnixTime::from_millis(WALL.as_millis() - 30_000);
    let identity = Identity::new("b", address(3)).unwrap();
    nodes.push(Node::new(config, identity, [3; 32], at(3_000), wall).unwrap());
    play(&mut nodes, 3_000, 9_000);
    let b = nodes[0].member(id).unwrap();
    assert_eq!((b.address(), b.status()), (address(3), Status::Up));
}

proptest! {
    /// However time is fed, the next deadline lies ahead and nothing overflows.
    #[test]
    fn deadlines_move_forward(steps in proptest::collection::vec(any::<u64>(), 1..60)) {
        let mut node = node_with("a", 1, |config| config.seeds = std::vec![address(2)]);
        for step in steps {
            let now = Instant::from_nanos(step);
            node.handle_timeout(now);
            if now < Instant::from_nanos(u64::MAX) && now >= node.now {
                prop_assert!(node.poll_timeout().unwrap() > now);
            }
            sent(&mut node, now);
            while node.poll_event().is_some() {}
        }
    }

    /// No bytes, framed or not, make a node panic or send more than it should.
    #[test]
    fn no_datagram_panics(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20),
    ) {
        let mut node = node();
        for body in bodies {
            let mut buffer = [0; 256];
            frame::body(&mut buffer)[..body.len()].copy_from_slice(&body);
            let framed = frame::seal(ClusterTag::of("test"), &mut buffer, body.len()).unwrap();
            node.handle_datagram(at(1), address(9), framed);
            node.handle_datagram(at(1), address(9), &body);
            prop_assert!(sent(&mut node, at(1)).len() <= 16);
        }
    }
}
