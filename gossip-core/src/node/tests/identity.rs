//! Who a node is: its generation, its name, its secrets, and the votes against it.

use super::*;
use crate::node::{Standing, Status, empty_table};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

#[test]
fn a_node_outlives_a_later_generation_that_peers_remember() {
    let mut node = node();
    let id = node.id().as_u64();
    set(&mut node, "k", b"v").unwrap();
    let earlier = node.generation();
    let remembered = generation_after(30);
    push(&mut node, at(5), delta(id, remembered, &entries_at(1)));
    assert!(node.generation() > remembered && remembered > earlier);
    let key = Key::new("k").unwrap();
    assert_eq!(own(&node).attribute(&key), Some(&b"v"[..]));

    let generation = node.generation();
    let absurd = generation_after(WALL.as_millis().div_euclid(1000));
    push(&mut node, at(6), delta(id, absurd, &entries_at(1)));
    assert_eq!(node.generation(), generation, "it lies too far ahead");
    assert_eq!(node.metrics().refused_skew, 1);
}

/// Others have removed it, so it was away for long.
#[test]
fn a_node_that_begins_another_life_may_have_missed_deaths() {
    let mut node = node();
    push(
        &mut node,
        at(1),
        delta(7, generation_after(0), &entries_at(3)),
    );
    let is_unheard = |node: &Node| {
        let member = node.context.table.get(NodeId::from_u64(7)).unwrap();
        node.failure.is_unheard(member)
    };
    assert!(!is_unheard(&node));
    let (id, remembered) = (node.id().as_u64(), generation_after(30));
    push(&mut node, at(5), delta(id, remembered, &entries_at(1)));
    assert!(node.generation() > remembered);
    assert!(is_unheard(&node));
}

#[test]
fn an_older_generation_is_refused() {
    let mut node = node();
    push(
        &mut node,
        at(1),
        delta(7, generation_after(2), &entries_at(3)),
    );
    let entries = entries_at(2);
    let earlier = Delta {
        upto: 9,
        frontier: 9,
        ..delta(7, generation_after(1), &entries)
    };
    push(&mut node, at(2), earlier);
    let known = node.member(NodeId::from_u64(7)).unwrap();
    assert_eq!(known.generation(), generation_after(2));
    assert_eq!(known.address(), address(3));
}

/// One more entry voids the vote. A second vote of the same kind is void already.
#[test]
fn a_node_refutes_a_vote_against_itself_once() {
    let mut node = node();
    let frontier = own(&node).frontier();
    let vote = PublishedVote {
        frontier,
        ..vote_against(node.id(), node.generation())
    };
    let entries = entries_with_votes(2, &[vote]);
    push(&mut node, at(1), delta(7, generation_after(0), &entries));
    assert_eq!(own(&node).frontier(), frontier + 1);
    push(&mut node, at(2), delta(8, generation_after(0), &entries));
    assert_eq!(own(&node).frontier(), frontier + 1);
    assert_eq!(node.metrics().refutations, 1);
}

/// Another node cannot pick ids that collide there, even under the same name and settings.
#[test]
fn the_key_of_the_table_index_follows_from_the_seed() {
    let hash = |seed: u8| {
        let mut rng = ChaCha8Rng::from_seed([seed; 32]);
        empty_table(&Config::lan(), &mut rng).index_hash(NodeId::from_u64(7))
    };
    assert_eq!(hash(1), hash(1));
    assert_ne!(hash(1), hash(2));
}

#[test]
fn the_elder_of_two_live_nodes_keeps_the_name_and_both_are_told() {
    let started = |name, port: u16, millis: u64| {
        let config = config(|config| config.seeds = [address(1)].into());
        let identity = Identity::new(name, address(port)).unwrap();
        let wall = WALL.saturating_add(Duration::from_millis(millis));
        let [seed, _] = port.to_le_bytes();
        Node::new(config, identity, [seed; 32], at(millis), wall).unwrap()
    };
    let mut nodes = std::vec![started("a", 1, 0), started("b", 2, 0), started("c", 3, 0)];
    play(&mut nodes, 0, 5_000);
    nodes.push(started("b", 4, 5_000));
    let told = play(&mut nodes, 5_000, 15_000);
    let contested = Event::NameContested {
        address: address(4),
    };
    assert!(told[1].contains(&contested), "{:?}", told[1]);
    let lost = Event::IdentityConflict {
        address: address(2),
    };
    assert!(told[3].contains(&lost), "{:?}", told[3]);
    let standings = [nodes[1].standing(), nodes[3].standing()];
    assert_eq!(standings, [Standing::Up, Standing::Left]);
    for node in &nodes[..3] {
        let b = node.member(nodes[1].id()).unwrap();
        let seen = (b.address(), b.status());
        assert_eq!(seen, (address(2), Status::Up), "the elder is back");
    }
    let later = play(&mut nodes, 15_000, 25_000);
    assert!(later.iter().all(Vec::is_empty), "nobody fights: {later:?}");
}

/// A second process of a name is started again and again, and fails each time. Nobody takes it for the first.
#[test]
fn a_twin_takes_neither_the_name_nor_the_address_of_a_live_member() {
    let mut nodes: Vec<Node> = (1..=6)
        .map(|port| node_with_seed(&std::format!("n{port}"), port, 1))
        .collect();
    play(&mut nodes, 0, 10_000);
    let id = nodes[4].id();
    let (mut wrong, mut lost, mut contested) = (0, 0, 0);
    for round in 0..20_u16 {
        let millis = 10_000 + u64::from(round) * 1_000;
        let config = config(|config| config.seeds = [address(1), address(2)].into());
        let identity = Identity::new("n5", address(100 + round)).unwrap();
        let wall = WALL.saturating_add(Duration::from_millis(millis));
        let [seed, _] = round.to_le_bytes();
        nodes.push(Node::new(config, identity, [seed; 32], at(millis), wall).unwrap());
        for step in 0..10 {
            let from = millis + step * 100;
            let told = play(&mut nodes, from, from + 100);
            let events = || told.iter().take(6).flatten();
            wrong += events()
                .filter(|event| matches!(event, Event::MemberUp { .. }))
                .count();
            wrong += events()
                .filter(|event| matches!(event, Event::MemberDown { .. }))
                .count();
            contested += told[4]
                .iter()
                .filter(|event| matches!(event, Event::NameContested { .. }))
                .count();
            lost += told[6..]
                .iter()
                .flatten()
                .filter(|event| matches!(event, Event::IdentityConflict { .. }))
                .count();
            for node in &nodes[..6] {
                let member = node.member(id).unwrap();
                let seen = (member.address(), member.status());
                assert_eq!(seen, (address(5), Status::Up), "{millis}, {step}");
            }
        }
        let twin = nodes.pop().unwrap();
        assert_eq!(twin.standing(), Standing::Left, "round {round}");
    }
    assert_eq!((wrong, lost), (0, 20));
    assert!(contested >= 20, "{contested}");
}

/// It crashed, and is back before anybody has missed it.
#[test]
fn a_member_that_restarts_at_another_address_at_once_is_found_there() {
    for moves in [false, true] {
        let mut nodes: Vec<Node> = (1..=6)
            .map(|port| node_with_seed(&std::format!("n{port}"), port, 1))
            .collect();
        play(&mut nodes, 0, 10_000);
        let id = nodes.remove(4).id();
        let port = if moves { 50 } else { 5 };
        let config = config(|config| config.seeds = [address(1), address(2)].into());
        let identity = Identity::new("n5", address(port)).unwrap();
        let wall = WALL.saturating_add(Duration::from_secs(10));
        nodes.push(Node::new(config, identity, [50; 32], at(10_000), wall).unwrap());
        play(&mut nodes, 10_000, if moves { 12_500 } else { 10_500 });
        for node in &nodes[..5] {
            let member = node.member(id).unwrap();
            assert_eq!(
                (member.address(), member.status()),
                (address(port), Status::Up)
            );
        }
    }
}

/// A claim that nobody stands behind: forged, or recorded of another life.
#[test]
fn a_claim_without_an_echo_silences_nobody() {
    let mut nodes = std::vec![node(), node_with_seed("b", 2, 1)];
    play(&mut nodes, 0, 5_000);
    let sender = Sender {
        id: nodes[1].id(),
        generation: Generation::new(Stamp::from_bits(7)),
    };
    let since = Generation::new(Stamp::from_bits(7));
    let bare = |message| {
        let mut body = [0; 64];
        let len = Encoder::new(Space::all(&mut body), sender, message)
            .unwrap()
            .len();
        framed(&body[..len])
    };
    let claim = bare(Message::Claim { since });
    nodes[1].handle_datagram(at(5_000), address(9), &claim);
    let asked = sent(&mut nodes[1], at(5_000));
    assert!(!asked.is_empty());
    let pong = bare(Message::Pong { token: 77 });
    nodes[1].handle_datagram(at(5_001), address(9), &pong);
    assert_eq!(nodes[1].standing(), Standing::Up);
    play(&mut nodes, 5_100, 10_000);
    assert_eq!(nodes[1].standing(), Standing::Up);
}

/// Neither is older by the clock. They are told apart all the same, and one of them keeps the name.
#[test]
fn two_nodes_of_one_name_that_start_in_the_same_millisecond_do_not_both_stay() {
    for round in 0..20_u8 {
        let started = |name, port: u16| {
            let config = config(|config| config.seeds = [address(1)].into());
            let identity = Identity::new(name, address(port)).unwrap();
            let [own, _] = port.to_le_bytes();
            let mut seed = [round; 32];
            seed[0] = own;
            Node::new(config, identity, seed, at(0), WALL).unwrap()
        };
        let mut nodes = std::vec![started("a", 1), started("b", 2), started("b", 3)];
        assert_ne!(nodes[1].generation(), nodes[2].generation());
        let told = play(&mut nodes, 0, 20_000);
        let lost = |event: &Event| matches!(event, Event::IdentityConflict { .. });
        let told = told.iter().flatten().filter(|event| lost(event)).count();
        let mut standings = [nodes[1].standing(), nodes[2].standing()];
        standings.sort_by_key(|standing| *standing == Standing::Left);
        assert_eq!(standings, [Standing::Up, Standing::Left], "round {round}");
        assert_eq!(told, 1);
    }
}

/// It has moved to another address, and its clock is half a minute behind.
#[test]
fn a_node_outlives_its_own_earlier_life_at_another_address() {
    let mut nodes = std::vec![node(), node_with_seed("b", 2, 1)];
    play(&mut nodes, 0, 3_000);
    let id = nodes.remove(1).id();
    let wall = UnixTime::from_millis(WALL.as_millis() - 30_000);
    let config = config(|config| config.seeds = [address(1)].into());
    let identity = Identity::new("b", address(3)).unwrap();
    nodes.push(Node::new(config, identity, [3; 32], at(3_000), wall).unwrap());
    play(&mut nodes, 3_000, 9_000);
    let b = nodes[0].member(id).unwrap();
    assert_eq!((b.address(), b.status()), (address(3), Status::Up));
}
