//! Nodes without a network between them.

use core::net::SocketAddr;
use core::time::Duration;

use gossip_core::{Command, Config, Event, Identity, Instant, Node, Status, UnixTime};

use super::{SECOND, key, value};
use crate::forge::{self, Body, HEADER};

/// What the wall clocks show when a [`Loopback`] begins: 2026-01-01.
pub const WALL: u64 = 1_767_225_600_000;
/// The id of a peer that sends what no member would.
pub const LIAR: u64 = 5 << 50;
/// Where the liar sends from.
pub const LIAR_ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 91);
/// No datagram is longer.
const LONGEST: usize = 8192;
const PORT: u16 = 1;

/// The address of a node.
///
/// # Panics
/// If there cannot be so many.
#[must_use]
pub fn address(number: usize) -> SocketAddr {
    let port = u16::try_from(number).ok().and_then(|n| n.checked_add(PORT));
    SocketAddr::from(([127, 0, 0, 1], port.expect("there are not so many ports")))
}

/// A stamp so long after a [`Loopback`] begins.
#[must_use]
pub const fn stamp(millis: u64) -> u64 {
    WALL.saturating_add(millis) << 16
}

/// The beginning of whatever the liar sends.
#[must_use]
pub fn liar() -> Body {
    Body::from(LIAR, stamp(1))
}

/// The liar's echo of a challenge.
///
/// # Panics
/// If the datagram is not a challenge.
#[track_caller]
#[must_use]
pub fn echo(challenge: &[u8]) -> Body {
    let token = forge::token(challenge).expect("a challenge is a ping");
    let mut pong = liar().pong();
    pong.0.extend_from_slice(token);
    pong
}

/// A body in a frame that nodes of this configuration accept.
pub(super) fn framed(mut config: Config, body: &Body) -> Vec<u8> {
    config.seeds = vec![address(1)];
    forge::framed(&header(config), &body.0)
}

/// The header of datagrams of nodes of this configuration.
fn header(config: Config) -> Vec<u8> {
    let identity = Identity::new("header", address(0)).expect("a legal identity");
    let now = Instant::ORIGIN;
    let node = Node::new(config, identity, [0; 32], now, UnixTime::from_millis(WALL));
    let mut node = node.expect("a legal configuration");
    let mut buffer = vec![0; LONGEST];
    let first = node.poll_transmit(now, &mut buffer);
    let first = first.expect("a node that starts calls on its seeds");
    let header = first.payload.get(..HEADER).unwrap_or_default().to_vec();
    assert_eq!(header.get(1), Some(&0), "nothing is encrypted");
    header
}

/// Nodes that hand one another each datagram at once, and a liar that hands them forged ones.
///
/// Node `n` has the address [`address`]`(n)`, the liar [`LIAR_ADDRESS`]. What nodes send to anybody else
/// comes back to the test.
///
/// Letting time pass allocates nothing, unless the datagrams and events are [kept](Loopback::keeping).
/// With a [gauge](Loopback::gauge) the memory that one node holds can be measured.
#[derive(Debug)]
pub struct Loopback {
    nodes: Vec<Option<Node>>,
    now: Instant,
    header: Vec<u8>,
    /// Every datagram that nodes have sent, where they are kept.
    pub heard: Vec<Vec<u8>>,
    /// Every event that nodes have told, where they are kept.
    pub events: Vec<Event>,
    keeps: bool,
    /// Whether the liar has shown that it is where it says it is.
    proven: bool,
    gauge: Option<Gauge>,
    starts: u32,
}

#[derive(Debug)]
struct Gauge {
    number: usize,
    read: fn() -> usize,
    held: usize,
}

impl Loopback {
    /// So many places for nodes, all of them empty.
    #[must_use]
    pub fn new(places: usize) -> Self {
        let mut config = Config::lan();
        config.seeds = vec![address(1)];
        Self {
            nodes: core::iter::repeat_with(|| None).take(places).collect(),
            now: Instant::ORIGIN,
            header: header(config),
            heard: Vec::new(),
            events: Vec::new(),
            keeps: false,
            proven: false,
            gauge: None,
            starts: 0,
        }
    }

    /// Keeps datagrams and events from now on.
    #[must_use]
    pub const fn keeping(mut self) -> Self {
        self.keeps = true;
        self
    }

    /// Nodes that have met, and each of which has set the attribute `role` to `value of` its number.
    /// Their datagrams are kept, and the events from now on.
    ///
    /// # Panics
    /// If they do not come to agree.
    #[track_caller]
    #[must_use]
    pub fn formed(nodes: usize, change: impl Fn(&mut Config)) -> Self {
        let mut loopback = Self::new(nodes).keeping();
        for number in 0..nodes {
            loopback.start(number, &format!("n{number}"), &change);
        }
        loopback.pass(10 * SECOND);
        for number in 0..nodes {
            loopback.set(number, "role", format!("value of {number}"));
        }
        loopback.pass(20 * SECOND);
        assert!(loopback.is_well(), "nodes that have met agree");
        loopback.events.clear();
        loopback
    }

    /// From now on, counts what a node holds by what inputs to it add to a reading: bytes that the
    /// allocator of the process has given out, say.
    pub const fn gauge(&mut self, number: usize, read: fn() -> usize) {
        let held = 0;
        self.gauge = Some(Gauge { number, read, held });
    }

    /// What the gauge has counted.
    #[must_use]
    pub fn held(&self) -> usize {
        self.gauge.as_ref().map_or(0, |gauge| gauge.held)
    }

    /// A node starts at a place. Its seeds are the first two places.
    ///
    /// # Panics
    /// If there is no such place, or if no node can be made of the name and the configuration.
    #[track_caller]
    pub fn start(&mut self, number: usize, name: &str, change: impl Fn(&mut Config)) {
        let mut config = Config::lan();
        config.seeds = vec![address(0), address(1)];
        change(&mut config);
        self.header = header(config.clone());
        let seed = self.seed();
        let since = Duration::from_nanos(self.now.as_nanos());
        let wall = UnixTime::from_millis(WALL).saturating_add(since);
        let now = self.now;
        self.gauged(number, |loopback| {
            let identity = Identity::new(name, address(number)).expect("a legal identity");
            let node = Node::new(config.clone(), identity, seed, now, wall);
            let place = loopback.nodes.get_mut(number).expect("a place");
            *place = Some(node.expect("a legal configuration"));
        });
    }

    fn seed(&mut self) -> [u8; 32] {
        let mut seed = [1; 32];
        for (byte, from) in seed.iter_mut().zip(self.starts.to_le_bytes()) {
            *byte ^= from;
        }
        self.starts = self.starts.saturating_add(1);
        seed
    }

    /// A node ends without a word, and its place is empty.
    pub fn stop(&mut self, number: usize) {
        if let Some(place) = self.nodes.get_mut(number) {
            *place = None;
        }
    }

    /// Gives a node an input. `None` where the place is empty.
    pub fn give<T>(
        &mut self,
        number: usize,
        act: impl FnOnce(&mut Node, Instant) -> T,
    ) -> Option<T> {
        let now = self.now;
        self.gauged(number, |loopback| {
            let node = loopback.nodes.get_mut(number)?.as_mut()?;
            Some(act(node, now))
        })
    }

    fn gauged<T>(&mut self, number: usize, act: impl FnOnce(&mut Self) -> T) -> T {
        let of_this = |gauge: &&mut Gauge| gauge.number == number;
        let Some(gauge) = self.gauge.as_mut().filter(of_this) else {
            return act(self);
        };
        let read = gauge.read;
        let before = read();
        let result = act(self);
        let after = read();
        if let Some(gauge) = &mut self.gauge {
            gauge.held = gauge.held.saturating_add(after).saturating_sub(before);
        }
        result
    }

    /// Tells a node something that it does not refuse.
    ///
    /// # Panics
    /// If it refuses, or if there is none.
    #[track_caller]
    pub fn command(&mut self, number: usize, command: Command) {
        let answer = self.give(number, |node, now| node.handle_command(now, command));
        answer.expect("a node").expect("the node accepts it");
    }

    /// A node sets an attribute of its own.
    #[track_caller]
    pub fn set(&mut self, number: usize, name: &str, to: impl AsRef<[u8]>) {
        let (key, value) = (key(name), value(to));
        self.command(number, Command::Set { key, value });
    }

    /// A node writes to the shared map. The last write wins.
    #[track_caller]
    pub fn put(&mut self, number: usize, name: &str, says: impl AsRef<[u8]>) {
        self.command(number, Command::put(key(name), value(says)));
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.saturating_add(time);
        while self.now < end {
            let due = self.nodes().filter_map(Node::poll_timeout).min();
            self.now = due.unwrap_or(end).min(end).max(self.now);
            for number in 0..self.nodes.len() {
                self.give(number, Node::handle_timeout);
            }
            self.settle();
        }
    }

    /// Hands on what nodes have to send, until all are silent. Gives what goes to nobody here.
    pub fn settle(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut buffer = [0; LONGEST];
        let mut outside = Vec::new();
        let mut from = 0;
        while from < self.nodes.len() {
            let (keeps, mut told) = (self.keeps, core::mem::take(&mut self.events));
            // Events that are not kept are dropped where they are counted.
            self.give(from, |node, _| {
                while let Some(event) = node.poll_event() {
                    if keeps {
                        told.push(event);
                    }
                }
            });
            self.events = told;
            let sent = self.give(from, |node, now| {
                let sent = node.poll_transmit(now, &mut buffer)?;
                Some((sent.to, sent.payload.len()))
            });
            let Some((to, length)) = sent.flatten() else {
                from = from.saturating_add(1);
                continue;
            };
            let bytes = buffer.get(..length).unwrap_or_default();
            let place = usize::from(to.port().wrapping_sub(PORT));
            if place < self.nodes.len() {
                self.deliver(place, address(from), bytes);
                from = from.min(place);
            } else {
                outside.push((to, bytes.to_vec()));
            }
            if self.keeps {
                self.heard.push(bytes.to_vec());
            }
        }
        outside
    }

    /// A datagram comes to a node. What the node has to say to that waits for [`Loopback::settle`].
    pub fn deliver(&mut self, number: usize, from: SocketAddr, datagram: &[u8]) {
        self.give(number, |node, now| {
            node.handle_datagram(now, from, datagram)
        });
    }

    /// A body in a frame that the nodes accept.
    #[must_use]
    pub fn framed(&self, body: &Body) -> Vec<u8> {
        forge::framed(&self.header, &body.0)
    }

    /// A forged datagram comes to the first node from the liar, which has shown that it is where it says
    /// it is. Gives what the node answers.
    pub fn forge(&mut self, body: &Body) -> Vec<(SocketAddr, Vec<u8>)> {
        self.prove();
        self.forge_unproven(body)
    }

    /// A forged datagram comes to the first node from the liar, which may be anywhere. Gives what the
    /// node answers.
    pub fn forge_unproven(&mut self, body: &Body) -> Vec<(SocketAddr, Vec<u8>)> {
        let datagram = self.framed(body);
        self.deliver(0, LIAR_ADDRESS.into(), &datagram);
        self.settle()
    }

    /// The liar shows the first node once that it is where it says it is.
    ///
    /// # Panics
    /// If the node does not ask for that.
    #[track_caller]
    pub fn prove(&mut self) {
        if !core::mem::replace(&mut self.proven, true) {
            let answer = self.forge_unproven(&liar().exchange(1, 7));
            let (_, challenge) = answer.first().expect("a stranger is asked for a proof");
            self.forge_unproven(&echo(challenge));
        }
    }

    /// A node.
    ///
    /// # Panics
    /// If its place is empty.
    #[track_caller]
    #[must_use]
    pub fn node(&self, number: usize) -> &Node {
        let node = self.nodes.get(number).and_then(Option::as_ref);
        node.expect("a node is at that place")
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Whether each node shows all of them up, and all know the same.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let is_up = |viewer: &Node, about: &Node| {
            let member = viewer.member(about.id());
            member.is_some_and(|member| member.status() == Status::Up)
        };
        let hash = self.nodes().next().map(Node::table_hash);
        self.nodes().all(|viewer| {
            Some(viewer.table_hash()) == hash && self.nodes().all(|about| is_up(viewer, about))
        })
    }

    /// How many such events nodes have told, while they are kept.
    #[must_use]
    pub fn count_told(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }
}
