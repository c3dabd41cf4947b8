//! What the fuzz targets do, as plain functions: the targets themselves are a line each, and
//! `cargo test` replays their corpus through the same code.

pub(crate) mod bytes;
pub mod corpus;
mod merge;
mod phi;
mod script;

use core::net::SocketAddr;
use core::time::Duration;

use gossip_core::{Command, Config, Dissection, Identity, Instant, Key, Node, UnixTime, Value};

use crate::forge;
pub use merge::merge;
pub use phi::phi;
pub use script::script;

/// When nodes of a fuzzer start: 2026-01-01.
const WALL: UnixTime = UnixTime::from_millis(1_767_225_600_000);

/// A few nodes that hand one another every datagram at once.
#[derive(Debug)]
pub struct Trio {
    nodes: Vec<Node>,
    now: Instant,
    /// Every datagram sent so far, up to a bound.
    heard: Vec<Vec<u8>>,
}

/// Datagrams remembered for mutation.
const HEARD: usize = 256;
/// A node answers one input with no more datagrams than this, however the input was chosen: a full
/// outbox of legs.
const MOST_ANSWERS: usize = 1024 * 16;
/// Three nodes find together, and tell one another something, within this. Every input pays for it.
const FORMS: Duration = Duration::from_millis(1500);
/// Samples in the windows of nodes whose silence is not what a target is about: a node works out
/// quantiles for each number of them when it is made, which would take most of a target's time.
const FEW_SAMPLES: u8 = 8;

impl Trio {
    /// Three nodes that know one another and have a few attributes.
    ///
    /// # Panics
    /// If such a cluster cannot form, which is a bug of the core.
    #[must_use]
    pub fn formed() -> Self {
        let nodes = (0..3).map(node).collect();
        let mut cluster = Self {
            nodes,
            now: Instant::ORIGIN,
            heard: Vec::new(),
        };
        cluster.pass(FORMS);
        let key = Key::new("role").expect("a legal key");
        let value = Value::new("db").expect("a legal value");
        let now = cluster.now;
        for node in &mut cluster.nodes {
            assert_eq!(node.metrics().live, 3, "the cluster has formed");
            let set = Command::Set {
                key: key.clone(),
                value: value.clone(),
            };
            node.handle_command(now, set).expect("there is room");
        }
        cluster.pass(FORMS);
        (0..3).for_each(|number| cluster.introduce(number));
        cluster
    }

    /// Shows a node that there is somebody at the address that datagrams out of the blue come from.
    fn introduce(&mut self, number: usize) {
        let stranger = || forge::Body::from(1, 1);
        let syn = self.framed(&stranger().exchange(1, 0).0);
        let Some(node) = self.nodes.get_mut(number) else {
            return;
        };
        node.handle_datagram(self.now, address(200), &syn);
        let mut buffer = vec![0; node.max_datagram()];
        let challenge = node.poll_transmit(self.now, &mut buffer);
        let challenge = challenge.expect("strangers are asked for a proof").payload;
        let token = forge::body(challenge)
            .get(17..)
            .unwrap_or_default()
            .to_vec();
        let mut echo = stranger().pong();
        echo.0.extend(token);
        let echo = self.framed(&echo.0);
        if let Some(node) = self.nodes.get_mut(number) {
            node.handle_datagram(self.now, address(200), &echo);
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.saturating_add(time);
        while let Some(due) = self.nodes.iter().filter_map(Node::poll_timeout).min() {
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            for number in 0..self.nodes.len() {
                if let Some(node) = self.nodes.get_mut(number) {
                    node.handle_timeout(self.now);
                    let next = node.poll_timeout();
                    assert!(
                        next.is_none_or(|next| next > self.now),
                        "deadlines move forward"
                    );
                }
                self.settle(number);
            }
        }
        self.now = end;
    }

    /// A body in a frame of the cluster, whose head is read off a real datagram.
    fn framed(&self, body: &[u8]) -> Vec<u8> {
        forge::framed(self.heard.first().map_or(&[], Vec::as_slice), body)
    }

    /// A datagram comes to a node out of the blue, and everything that follows from it is played.
    ///
    /// # Panics
    /// If it can be read, and is not written the same again.
    pub fn deliver(&mut self, number: usize, datagram: &[u8]) {
        if let Ok(read) = Dissection::of(datagram) {
            assert_eq!(read.write(), datagram, "{read}");
        }
        let number = number.checked_rem(self.nodes.len()).unwrap_or(0);
        if let Some(node) = self.nodes.get_mut(number) {
            node.handle_datagram(self.now, address(200), datagram);
        }
        self.settle(number);
    }

    /// Datagrams that the first node has dropped.
    fn dropped(&self) -> u64 {
        let first = self.nodes.first();
        first.map_or(0, |node| node.metrics().dropped.total())
    }

    /// Hands on what a node has to send, until all are silent.
    fn settle(&mut self, number: usize) {
        let mut open = vec![number];
        let mut sent = 0_usize;
        while let Some(number) = open.pop() {
            let Some(node) = self.nodes.get_mut(number) else {
                continue;
            };
            while node.poll_event().is_some() {}
            // There is room for more than may come.
            let mut buffer = [0; 2048];
            let mut out = Vec::new();
            let limit = node.max_datagram();
            while let Some(datagram) = node.poll_transmit(self.now, &mut buffer) {
                assert!(
                    datagram.payload.len() <= limit,
                    "no datagram outgrows its limit"
                );
                out.push((datagram.to, datagram.payload.to_vec()));
            }
            sent = sent.saturating_add(out.len());
            assert!(
                sent <= MOST_ANSWERS,
                "one input ends in a bounded number of datagrams"
            );
            for (to, payload) in out {
                let port = usize::from(to.port());
                if let Some(node) = self.nodes.get_mut(port.wrapping_sub(1)) {
                    node.handle_datagram(self.now, address(narrow(number)), &payload);
                    open.push(port.wrapping_sub(1));
                }
                if self.heard.len() < HEARD {
                    self.heard.push(payload);
                }
            }
        }
    }
}

/// Target `decode`: any bytes, as they are and as the body of a valid frame.
///
/// # Panics
/// Where a node does, or where it breaks its contract.
pub fn decode(bytes: &[u8]) {
    let mut cluster = Trio::formed();
    let before = cluster.dropped();
    cluster.deliver(0, bytes);
    let framed = cluster.framed(bytes);
    cluster.deliver(0, &framed);
    // What was dropped has no consequences to wait for.
    if cluster.dropped() < before.saturating_add(2) {
        cluster.pass(Duration::from_secs(3));
    }
}

/// Target `datagrams`: real datagrams, damaged or not, in any order, into nodes among others.
/// Each step takes four bytes: which datagram, where to change it, how, and what happens.
///
/// # Panics
/// Where a node does, or where it breaks its contract.
pub fn datagrams(script: &[u8]) {
    let mut cluster = Trio::formed();
    for step in script.chunks_exact(4).take(64) {
        let &[which, place, change, act] = step else {
            continue;
        };
        let pick = usize::from(which)
            .checked_rem(cluster.heard.len())
            .unwrap_or(0);
        let mut datagram = cluster.heard.get(pick).cloned().unwrap_or_default();
        let place = usize::from(place)
            .checked_rem(datagram.len().max(1))
            .unwrap_or(0);
        if let Some(byte) = datagram.get_mut(place) {
            *byte ^= change;
        }
        match act % 4 {
            // Damaged on the way.
            0 => cluster.deliver(usize::from(act / 4), &datagram),
            // Forged: the checksum is right.
            1 | 2 => {
                let framed = cluster.framed(forge::body(&datagram));
                cluster.deliver(usize::from(act / 4), &framed);
            }
            _ => cluster.pass(Duration::from_millis(u64::from(change) * 20)),
        }
    }
    cluster.pass(Duration::from_secs(10));
}

fn node(number: u16) -> Node {
    let mut config = Config::lan();
    config.cluster = "fuzz".to_owned();
    config.seeds = vec![address(0)];
    config.window = FEW_SAMPLES;
    let identity = Identity::new(&format!("n{number}"), address(number)).expect("a legal identity");
    let [low, high] = number.to_le_bytes();
    let mut seed = [low; 32];
    seed[0] = high;
    Node::new(config, identity, seed, Instant::ORIGIN, WALL).expect("a legal configuration")
}

/// Ports count from one, since nobody can send to port 0.
fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], number.saturating_add(1)))
}

fn narrow(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Plays a whole corpus. The last line printed before a failure tells the input that fails.
    fn replay(target: &str, play: fn(&[u8])) {
        let text = fs::read_to_string(corpus::file(target)).expect("a corpus of the repository");
        let inputs = corpus::parse(&text).expect("a corpus in the right form");
        assert!(!inputs.is_empty(), "there is something to replay");
        for (index, input) in inputs.iter().enumerate() {
            let name = input.name.as_deref().unwrap_or_default();
            println!("fuzz/corpus/{target}.txt:{} {name}", index + 1);
            play(&input.bytes);
        }
    }

    #[test]
    fn the_corpus_of_decode_holds() {
        replay("decode", decode);
    }

    #[test]
    fn the_corpus_of_datagrams_holds() {
        replay("datagrams", datagrams);
    }

    #[test]
    fn the_corpus_of_script_holds() {
        replay("script", script);
    }

    #[test]
    fn the_corpus_of_phi_holds() {
        replay("phi", phi);
    }

    #[test]
    fn the_corpus_of_merge_holds() {
        replay("merge", merge);
    }

    #[test]
    fn a_framed_body_is_let_through_to_the_decoder() {
        let mut cluster = Trio::formed();
        let framed = cluster.framed(b"not a message");
        cluster.deliver(0, &framed);
        let dropped = cluster.nodes[0].metrics().dropped;
        assert_eq!((dropped.malformed, dropped.total()), (1, 1));
    }
}
