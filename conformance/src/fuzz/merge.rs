//! Target `merge`: what replicas make of one origin's log, in whatever order its parts arrive, and of the runs
//! of the shared map.

use core::time::Duration;

use gossip_core::{Command, Config, Identity, Instant, Key, Node, Value};

use super::bytes::Bytes;
use super::{FEW_SAMPLES, WALL, address};
use crate::map::play_script;

/// An input that begins with this byte is a schedule of replicas of the shared map. No input of the corpus
/// began with it before there were such schedules.
const SCHEDULE: u8 = 0xfc;

/// Steps read from one input, at most.
const MOST: usize = 200;
/// Datagrams kept for late delivery.
const HELD: usize = 64;
/// Intervals in which replicas and origin meet in the end.
const ROUNDS: u32 = 12;

/// An origin writes, restarts its log's history with tombstones and collections, and its datagrams
/// reach two replicas late, twice, in any order or never. Neither replica ever shows less than it has
/// shown, or something never written; and once datagrams arrive, both show what the origin shows.
///
/// Or replicas of the shared map write, and ask one another for what they miss: see [`play_script`].
///
/// # Panics
/// Where a node does, or where replicas merge wrongly.
pub fn merge(bytes: &[u8]) {
    match bytes.split_first() {
        Some((&SCHEDULE, schedule)) => {
            let flaw = play_script(schedule);
            assert_eq!(flaw, None, "replicas of the map go wrong");
        }
        _ => merge_logs(Bytes(bytes)),
    }
}

fn merge_logs(mut bytes: Bytes<'_>) {
    let mut nodes = [node(1), node(2), node(3)];
    let mut now = Instant::ORIGIN;
    let mut held: Vec<(usize, usize, Vec<u8>)> = Vec::new();
    let mut shown = [0; 3];
    for _ in 0..MOST {
        if bytes.is_empty() {
            break;
        }
        match bytes.below(8) {
            0 | 1 => write(&mut nodes, now, &mut bytes),
            2 => now = now.saturating_add(bytes.time().min(Duration::from_secs(90))),
            3 if !held.is_empty() => {
                let at = bytes.below(held.len());
                held.swap_remove(at);
            }
            // Delivered and kept: it may come again.
            _ if !held.is_empty() => {
                let at = bytes.below(held.len());
                if let Some((from, to, datagram)) = held.get(at).cloned() {
                    deliver(&mut nodes, now, from, to, &datagram);
                }
            }
            _ => now = now.saturating_add(Duration::from_secs(1)),
        }
        turn(&mut nodes, now, |from, to, datagram| {
            if held.len() < HELD {
                held.push((from, to, datagram.to_vec()));
            }
        });
        check(&nodes, &mut shown);
    }
    for _ in 0..ROUNDS * 4 {
        now = now.saturating_add(Duration::from_millis(250));
        for _ in 0..16 {
            let mut open = Vec::new();
            turn(&mut nodes, now, |from, to, datagram| {
                open.push((from, to, datagram.to_vec()));
            });
            for (from, to, datagram) in &open {
                deliver(&mut nodes, now, *from, *to, datagram);
            }
        }
        check(&nodes, &mut shown);
    }
    let [first, others @ ..] = &nodes;
    for other in others {
        assert_eq!(
            first.table_hash(),
            other.table_hash(),
            "replicas that have met agree"
        );
        assert_eq!(attributes(first), attributes(other), "and show the same");
    }
}

/// Lets every node do what is due, and hands over what it sends.
fn turn(nodes: &mut [Node; 3], now: Instant, mut send: impl FnMut(usize, usize, &[u8])) {
    for (from, node) in nodes.iter_mut().enumerate() {
        node.handle_timeout(now);
        while node.poll_event().is_some() {}
        let mut buffer = [0; 512];
        while let Some(datagram) = node.poll_transmit(now, &mut buffer) {
            let to = usize::from(datagram.to.port()).wrapping_sub(2);
            send(from, to, datagram.payload);
        }
    }
}

fn deliver(nodes: &mut [Node; 3], now: Instant, from: usize, to: usize, datagram: &[u8]) {
    let from = u16::try_from(from).unwrap_or(0).saturating_add(1);
    if let Some(node) = nodes.get_mut(to) {
        node.handle_datagram(now, address(from), datagram);
    }
}

fn write(nodes: &mut [Node; 3], now: Instant, bytes: &mut Bytes<'_>) {
    let which = bytes.below(nodes.len());
    let key = Key::new(bytes.pick::<&str>(&["a", "b", "c", "d"])).expect("a legal key");
    let size = usize::from(bytes.byte());
    let command = if size < 64 {
        Command::Unset { key }
    } else {
        let value = vec![bytes.byte(); size];
        let value = Value::new(value).expect("a legal value");
        Command::Set { key, value }
    };
    if let Some(node) = nodes.get_mut(which) {
        // A full state is refused, and that is all.
        let _ = node.handle_command(now, command);
    }
}

/// No replica knows more of an origin than it has written, and none forgets.
fn check(nodes: &[Node; 3], shown: &mut [u64; 3]) {
    for (node, shown) in nodes.iter().zip(shown) {
        let mut sum = 0_u64;
        for origin in nodes {
            let written = origin.member(origin.id()).expect("itself").frontier();
            let same_life = node
                .member(origin.id())
                .filter(|member| member.generation() == origin.generation());
            let known = same_life.map_or(0, |member| member.frontier());
            assert!(known <= written, "nobody knows more than was written");
            sum = sum.saturating_add(known);
        }
        assert!(*shown <= sum, "nobody forgets");
        *shown = sum;
    }
}

type Written = (gossip_core::NodeId, String, Vec<u8>);

fn attributes(node: &Node) -> Vec<Written> {
    let of = |member: gossip_core::Member<'_>| {
        let id = member.id();
        let owned = |(key, value): (&str, &[u8])| (id, key.to_owned(), value.to_vec());
        member.attributes().map(owned).collect::<Vec<_>>()
    };
    node.members().flat_map(of).collect()
}

fn node(number: u16) -> Node {
    let mut config = Config::lan();
    config.seeds = vec![address(1), address(2), address(3)];
    config.max_datagram = 512;
    config.gc_grace = Duration::from_secs(60);
    // Silence is not what this is about.
    config.acceptable_pause = 60.0;
    config.window = FEW_SAMPLES;
    let identity = Identity::new(&format!("n{number}"), address(number)).expect("a legal identity");
    let mut seed = [3; 32];
    seed[0] = u8::try_from(number).unwrap_or(0);
    Node::new(config, identity, seed, Instant::ORIGIN, WALL).expect("a legal configuration")
}
