//! A complete node over `std::net::UdpSocket`: the drive loop, and nothing else.
//!
//! ```text
//! cargo run -p gossip-core --features std --example std_udp -- a 127.0.0.1:7946
//! cargo run -p gossip-core --features std --example std_udp -- b 127.0.0.1:7947 127.0.0.1:7946
//! ```

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::hash::BuildHasher;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::{Duration, Instant as Clock, SystemTime};

use gossip_core::{Config, Identity, Instant, Node};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: std_udp NAME BIND [SEED…]";
    let name = arguments.next().ok_or(usage)?;
    let socket = UdpSocket::bind(arguments.next().ok_or(usage)?)?;
    let mut config = Config::lan();
    config.seeds = arguments
        .map(|seed| seed.parse())
        .collect::<Result<_, _>>()?;

    let identity = Identity::new(&name, socket.local_addr()?)?;
    let started = Clock::now();
    let now = || Instant::from_origin(started.elapsed());
    let mut node = Node::new(config, identity, seed(), now(), SystemTime::now().into())?;
    let mut out = vec![0; node.max_datagram()];
    // One byte more than a node accepts, so that longer datagrams are seen to be longer.
    let mut input = vec![0; node.max_datagram() + 1];

    loop {
        // Drain what the last input has led to …
        while let Some(datagram) = node.poll_transmit(now(), &mut out) {
            // UDP may lose any datagram, so a failed send is one more lost datagram.
            let _ = socket.send_to(datagram.payload, datagram.to);
        }
        while let Some(event) = node.poll_event() {
            println!("{event:?}");
        }
        // … then wait for the next: a datagram, or the deadline.
        let Some(deadline) = node.poll_timeout() else {
            return Ok(());
        };
        let wait = deadline
            .saturating_since(now())
            .max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        match socket.recv_from(&mut input) {
            Ok((length, from)) => {
                node.handle_datagram(now(), from, input.get(..length).unwrap_or_default());
            }
            Err(error) if is_loss_of_the_socket(error.kind()) => return Err(error.into()),
            Err(_) => {}
        }
        node.handle_timeout(now());
    }
}

/// A timeout is no error, nor is an ICMP message about an earlier datagram.
fn is_loss_of_the_socket(kind: ErrorKind) -> bool {
    !matches!(
        kind,
        ErrorKind::WouldBlock
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    )
}

/// Random bytes from the operating system, by way of the standard library's hash keys.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    for chunk in seed.chunks_mut(8) {
        chunk.copy_from_slice(&RandomState::new().hash_one(0).to_le_bytes());
    }
    seed
}
