//! The border of a node: what it does, seen through its inputs, its outputs and its views alone.
//!
//! Most tests feed one node by hand. The few that need peers play them in lock step, without delay
//! or loss; everything beyond that is the simulator's business.

mod border;
mod exchange_cost;
mod identity;
mod joining;
mod leaving;
mod limits;

use core::net::SocketAddr;
use core::time::Duration;
use std::vec::Vec;

use crate::command::{Command, CommandError, Key, Value};
use crate::config::Config;
use crate::event::Event;
use crate::hlc::Stamp;
use crate::identity::{Generation, Identity, NodeId};
use crate::membership::segment::Segment;
use crate::node::{Member, Node, Transmit};
use crate::state::attribute::{
    ADDRESS, Declared, PublishedVote, STATUS, VOTES, encode_address, encode_votes,
};
use crate::state::log::Log;
use crate::time::{Instant, UnixTime};
use crate::wire::datagram::{Encoder, Space};
use crate::wire::frame::{self, ClusterTag};
use crate::wire::message::{Delta, Item, Message, PushHead, Sender};

/// The wall clock when tests begin.
const WALL: UnixTime = UnixTime::from_millis(1_767_225_600_000);

fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The generation of a process that started so many seconds after the beginning.
fn generation_after(seconds: u64) -> Generation {
    let millis = WALL.as_millis() + seconds * 1000;
    Generation::new(Stamp::at(UnixTime::from_millis(millis)))
}

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::lan();
    config.cluster = "test".into();
    change(&mut config);
    config
}

fn node_with(name: &str, port: u16, change: impl FnOnce(&mut Config)) -> Node {
    let identity = Identity::new(name, address(port)).unwrap();
    Node::new(config(change), identity, [1; 32], Instant::ORIGIN, WALL).unwrap()
}

/// A node whose only seed is at this port.
fn node_with_seed(name: &str, port: u16, seed: u16) -> Node {
    node_with(name, port, |config| config.seeds = [address(seed)].into())
}

/// A node that is the first of its cluster.
fn node() -> Node {
    node_with("a", 1, |_| {})
}

fn own(node: &Node) -> Member<'_> {
    node.member(node.id()).unwrap()
}

/// Takes the next datagram that a node sends.
fn next(node: &mut Node, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
    let max = node.max_datagram();
    let mut buffer = [0; 8192];
    let Transmit { to, payload } = node.poll_transmit(now, &mut buffer)?;
    assert!(payload.len() <= max);
    Some((to, payload.to_vec()))
}

/// Takes all datagrams that a node sends.
fn sent(node: &mut Node, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
    core::iter::from_fn(|| next(node, now)).collect()
}

/// Takes all datagrams that a node sends, and tells where they go.
fn receivers(node: &mut Node, now: Instant) -> Vec<SocketAddr> {
    sent(node, now).into_iter().map(|(to, _)| to).collect()
}

/// Takes all events of a node.
fn events(node: &mut Node) -> Vec<Event> {
    core::iter::from_fn(|| node.poll_event()).collect()
}

fn set(node: &mut Node, key: &str, value: &[u8]) -> Result<(), CommandError> {
    let command = Command::Set {
        key: Key::new(key).unwrap(),
        value: Value::new(value).unwrap(),
    };
    node.handle_command(at(1), command)
}

fn set_seeds(node: &mut Node, now: Instant, ports: &[u16]) {
    let seeds = ports.iter().map(|port| address(*port)).collect();
    let command = Command::SetSeeds { seeds };
    node.handle_command(now, command).unwrap();
}

/// The entries of a member that is up, at this port.
fn entries_at(port: u16) -> Vec<u8> {
    let mut log = Log::new(Generation::ZERO);
    log.write(0, ADDRESS, Some(&encode_address(address(port))));
    log.write(0, STATUS, Some(Declared::Up.encode()));
    log.after(0).rest().to_vec()
}

/// The entries of a member at this port that publishes these votes.
fn entries_with_votes(port: u16, votes: &[PublishedVote]) -> Vec<u8> {
    let mut log = Log::new(Generation::ZERO);
    log.write(0, ADDRESS, Some(&encode_address(address(port))));
    log.write(0, VOTES, Some(&encode_votes(votes.iter(), usize::MAX)));
    log.after(0).rest().to_vec()
}

/// A vote against a member of which two entries are known.
const fn vote_against(subject: NodeId, generation: Generation) -> PublishedVote {
    PublishedVote {
        subject,
        generation,
        frontier: 2,
        age: 0,
        removed: false,
    }
}

/// A log of two entries, whole.
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

/// A frame of the test cluster around a body.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut buffer = std::vec![0; body.len() + frame::HEADER + frame::TRAILER];
    frame::body(&mut buffer).copy_from_slice(body);
    frame::seal(ClusterTag::of("test"), &mut buffer, body.len())
        .unwrap()
        .to_vec()
}

/// A datagram in which another member pushes a delta.
fn push_of(delta: Delta<'_>) -> Vec<u8> {
    let sender = Sender {
        id: NodeId::from_u64(u64::MAX),
        generation: generation_after(0),
    };
    let head = Message::Push(PushHead {
        tree: 0,
        segment: Segment::ALL,
    });
    let mut body = [0; 1350];
    let mut encoder = Encoder::new(Space::all(&mut body), sender, head).unwrap();
    assert!(encoder.item(&Item::Delta(delta)));
    let len = encoder.len();
    framed(&body[..len])
}

/// Hands a node a push with one delta.
fn push(node: &mut Node, now: Instant, delta: Delta<'_>) {
    node.handle_datagram(now, address(9), &push_of(delta));
}

/// Plays nodes that reach one another at once, from `from` to `to` milliseconds. Returns the events
/// of each.
fn play(nodes: &mut [Node], from: u64, to: u64) -> Vec<Vec<Event>> {
    play_and_watch(nodes, from, to, |_| ())
}

/// As [`play`], with a look at every datagram.
fn play_and_watch(
    nodes: &mut [Node],
    from: u64,
    to: u64,
    mut watch: impl FnMut(&[u8]),
) -> Vec<Vec<Event>> {
    let mut told: Vec<Vec<Event>> = nodes.iter().map(|_| Vec::new()).collect();
    for now in (from..to).map(at) {
        for turn in 0..nodes.len() {
            let node = &mut nodes[turn];
            if node.poll_timeout().is_some_and(|due| due <= now) {
                node.handle_timeout(now);
            }
            let source = own(node).address();
            for (to, datagram) in sent(node, now) {
                watch(&datagram);
                let receivers = nodes.iter_mut().filter(|node| own(node).address() == to);
                for receiver in receivers {
                    receiver.handle_datagram(now, source, &datagram);
                }
            }
            told[turn].extend(events(&mut nodes[turn]));
        }
    }
    told
}
