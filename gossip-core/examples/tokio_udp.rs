//! A node inside a tokio program: `tokio_udp NAME BIND [SEED…]`. [`run`] is a whole adapter, which
//! passes the suite in `conformance`.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant as Clock, SystemTime};

use gossip_core::{Command, Config, Event, Identity, Instant, Node, Standing};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

/// What the application does with the node between two datagrams: a command, or a look at it.
pub(crate) type Ask = Box<dyn FnOnce(&mut Node, Instant) + Send>;

/// Where asks and events cross between the application and the node's task.
pub(crate) struct Ends {
    pub(crate) asks: mpsc::UnboundedReceiver<Ask>,
    /// Of the least capacity: until the application takes them, events wait in the node's own
    /// queue, which knows what to do when there are too many.
    pub(crate) events: mpsc::Sender<Event>,
}

/// A node of this name that receives on this address, and when its time began. [`run`] may begin
/// later; were that the origin, the node's wall clock would be slow by as much.
pub(crate) async fn bind(
    name: &str,
    address: SocketAddr,
    config: Config,
) -> Result<(Node, UdpSocket, Clock), Box<dyn Error + Send + Sync>> {
    let socket = UdpSocket::bind(address).await;
    let socket = socket.map_err(|error| format!("cannot bind {address}: {error}"))?;
    let identity = Identity::new(name, socket.local_addr()?)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let (started, wall) = (Clock::now(), SystemTime::now().into());
    let node = Node::new(config, identity, seed, Instant::ORIGIN, wall)?;
    Ok((node, socket, started))
}

/// Drives a node until it has left, or until nobody can ask it for anything any more.
pub(crate) async fn run(mut node: Node, socket: UdpSocket, started: Clock, mut ends: Ends) {
    let now = || Instant::from_origin(started.elapsed());
    // Longer than what a node accepts, so that longer datagrams are seen to be longer.
    let (mut input, mut out) = (vec![0; 65_536], vec![0; node.max_datagram()]);
    // What is on its way out. When the socket is full it waits here, and the rest in the node.
    let mut parked = None;
    let mut event = None;
    let mut wall_told = Instant::ORIGIN;
    loop {
        // The wall clock may be set, and goes on while a suspended machine's other clock stands.
        if now().saturating_since(wall_told) >= Duration::from_secs(1) {
            wall_told = now();
            let wall = SystemTime::now().into();
            // Refused by a node that is leaving, which needs no clock.
            let _ = node.handle_command(wall_told, Command::SetWallClock { wall });
        }
        node.handle_timeout(now());
        if parked.is_none() {
            let transmit = node.poll_transmit(now(), &mut out);
            parked = transmit.map(|transmit| (transmit.to, transmit.payload.to_vec()));
        }
        event = event.or_else(|| node.poll_event());
        if node.standing() == Standing::Left && parked.is_none() {
            break;
        }
        let wait = node
            .poll_timeout()
            .map_or(Duration::MAX, |due| due.saturating_since(now()));
        // Every branch may be given up halfway: nothing is lost by that.
        tokio::select! {
            // UDP may lose any datagram, so a failed send is one more lost datagram.
            _ = send(&socket, parked.as_ref()), if parked.is_some() => parked = None,
            // An error is the news of what became of an earlier datagram (ICMP).
            received = socket.recv_from(&mut input) => if let Ok((length, from)) = received {
                node.handle_datagram(now(), from, input.get(..length).unwrap_or_default());
            },
            ask = ends.asks.recv() => match ask {
                Some(ask) => ask(&mut node, now()),
                None => return,
            },
            Ok(room) = ends.events.reserve(), if event.is_some() => if let Some(event) = event.take() {
                room.send(event);
            },
            () = tokio::time::sleep(wait) => {}
        }
    }
    drop((socket, ends.asks));
    while let Some(event) = event.take().or_else(|| node.poll_event()) {
        // Whoever takes no more events wants none.
        let _ = ends.events.send(event).await;
    }
}

async fn send(socket: &UdpSocket, parked: Option<&(SocketAddr, Vec<u8>)>) {
    if let Some((to, payload)) = parked {
        let _ = socket.send_to(payload, to).await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: tokio_udp NAME BIND [SEED…]";
    let (name, address) = arguments.next().zip(arguments.next()).ok_or(usage)?;
    let mut config = Config::lan();
    config.seeds = arguments
        .map(|seed| seed.parse())
        .collect::<Result<_, _>>()?;
    let (node, socket, started) = bind(&name, address.parse()?, config).await?;
    let (ask, asks) = mpsc::unbounded_channel::<Ask>();
    let (events, mut told) = mpsc::channel(1);
    tokio::spawn(run(node, socket, started, Ends { asks, events }));
    loop {
        tokio::select! {
            event = told.recv() => match event {
                Some(event) => println!("{event:?}"),
                None => return Ok(()),
            },
            _ = tokio::signal::ctrl_c() => {
                let leave = |node: &mut Node, now| {
                    let _ = node.handle_command(now, Command::Leave);
                };
                drop(ask.send(Box::new(leave)));
            }
        }
    }
}
