//! The event loop: wait, give the node one input, send what it has to send.
//!
//! The lock is taken for one call of the node at a time and never held across a system call, so that
//! handles get their turn even while datagrams pour in.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gossip_core::{Command, Instant, Node, Standing, UnixTime};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use crate::handle::{Phase, Shared};

/// A handle wants the loop's attention.
pub(crate) const WAKE: Token = Token(0);
const SOCKET: Token = Token(1);

/// Datagrams read before timers and commands get their turn.
const BATCH: usize = 64;
/// More than any datagram has, so that none is cut short unnoticed.
const INBOX: usize = 65_536;
/// Receive errors on end that prove the socket lost. Single ones are the news of a peer's closed
/// port (ICMP), or pass.
const LOST: usize = 1024;
/// The wall clock is looked at no more often than this, and told to the node when it is off by more.
const WALL_CLOCK: Duration = Duration::from_secs(1);

pub(crate) struct Driver {
    shared: Arc<Shared>,
    poll: Poll,
    socket: UdpSocket,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// A datagram that met a full socket. Until it is gone, the others wait in the node.
    parked: Option<(SocketAddr, Vec<u8>)>,
    /// Receive errors on end.
    errors: usize,
    /// The wall clock as the node was told it, and when; and when it was last looked at.
    wall: (UnixTime, Instant),
    wall_checked: Instant,
}

/// What is left to do when all that could be sent has been.
enum Next {
    Sleep(Option<Instant>),
    Stop,
}

/// What a turn of reading left in the socket.
#[derive(Clone, Copy)]
enum Inbound {
    Drained,
    More,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        poll: Poll,
        mut socket: UdpSocket,
        wall: UnixTime,
    ) -> io::Result<Self> {
        poll.registry()
            .register(&mut socket, SOCKET, Interest::READABLE)?;
        let outbox = vec![0; shared.lock().node.max_datagram()];
        Ok(Self {
            shared,
            poll,
            socket,
            inbox: vec![0; INBOX],
            outbox,
            parked: None,
            errors: 0,
            wall: (wall, Instant::ORIGIN),
            wall_checked: Instant::ORIGIN,
        })
    }

    /// Runs until the node has left or is told to stop; an error means that the socket is lost.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut ready = Events::with_capacity(4);
        let mut inbound = Inbound::Drained;
        loop {
            self.unpark()?;
            self.handle_timeout();
            let Next::Sleep(deadline) = self.transmit()? else {
                return Ok(());
            };
            let timeout = match inbound {
                Inbound::More => Some(Duration::ZERO),
                Inbound::Drained => deadline.map(|d| d.saturating_since(self.shared.now())),
            };
            // What woke the loop does not matter: it looks at everything, and readiness that is
            // told only once cannot be missed.
            match self.poll.poll(&mut ready, timeout) {
                Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e),
                _ => inbound = self.receive()?,
            }
        }
    }

    fn handle_timeout(&mut self) {
        let mut state = self.shared.lock();
        let now = self.shared.now();
        if state.node.poll_timeout().is_some_and(|due| due <= now) {
            if now.saturating_since(self.wall_checked) >= WALL_CLOCK {
                self.wall_checked = now;
                follow_wall_clock(&mut self.wall, &mut state.node, now);
            }
            state.node.handle_timeout(now);
        }
    }

    /// Sends what the node has to send, then tells the consumer of its events.
    fn transmit(&mut self) -> io::Result<Next> {
        loop {
            let mut state = self.shared.lock();
            if !matches!(state.phase, Phase::Running) {
                return Ok(Next::Stop);
            }
            let now = self.shared.now();
            let transmit = match self.parked {
                Some(_) => None,
                None => state.node.poll_transmit(now, &mut self.outbox),
            };
            let Some(transmit) = transmit else {
                self.shared.announce_events(&mut state);
                let silent = state.node.standing() == Standing::Left && self.parked.is_none();
                return Ok(match silent {
                    true => Next::Stop,
                    false => Next::Sleep(state.node.poll_timeout()),
                });
            };
            drop(state);
            if let Sent::Not = send(&self.shared, &self.socket, transmit.to, transmit.payload) {
                self.parked = Some((transmit.to, transmit.payload.to_vec()));
                self.listen_for(Interest::READABLE | Interest::WRITABLE)?;
            }
        }
    }

    /// Tries the parked datagram again.
    fn unpark(&mut self) -> io::Result<()> {
        let Some((to, payload)) = &self.parked else {
            return Ok(());
        };
        match send(&self.shared, &self.socket, *to, payload) {
            Sent::Not => Ok(()),
            Sent::Gone => {
                self.parked = None;
                // Listening for room all the time would wake the loop after everything it sends.
                self.listen_for(Interest::READABLE)
            }
        }
    }

    fn listen_for(&mut self, interest: Interest) -> io::Result<()> {
        self.poll
            .registry()
            .reregister(&mut self.socket, SOCKET, interest)
    }

    /// Reads datagrams, but not so many that timers and commands would wait long.
    fn receive(&mut self) -> io::Result<Inbound> {
        for _ in 0..BATCH {
            match self.socket.recv_from(&mut self.inbox) {
                Ok((length, from)) => {
                    self.errors = 0;
                    let datagram = self.inbox.get(..length).unwrap_or_default();
                    let mut state = self.shared.lock();
                    let now = self.shared.now();
                    state.node.handle_datagram(now, from, datagram);
                    drop(state);
                    self.transmit()?;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.errors = 0;
                    return Ok(Inbound::Drained);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    self.shared.lock().faults.receive += 1;
                    self.errors += 1;
                    if self.errors == LOST {
                        return Err(e);
                    }
                }
            }
        }
        Ok(Inbound::More)
    }
}

/// Tells the node when somebody has set the wall clock, or the machine was suspended.
fn follow_wall_clock(told: &mut (UnixTime, Instant), node: &mut Node, now: Instant) {
    let wall = UnixTime::from(SystemTime::now());
    let expected = told.0.saturating_add(now.saturating_since(told.1));
    let off = Duration::from_millis(wall.as_millis().abs_diff(expected.as_millis()));
    if off > WALL_CLOCK {
        *told = (wall, now);
        // Refused by a node that has left, which needs no clock.
        let _ = node.handle_command(now, Command::SetWallClock { wall });
    }
}

enum Sent {
    /// Sent, or refused for good: UDP promises nothing, and repair is the node's business.
    Gone,
    /// The socket is full.
    Not,
}

fn send(shared: &Shared, socket: &UdpSocket, to: SocketAddr, payload: &[u8]) -> Sent {
    loop {
        match socket.send_to(payload, to) {
            Ok(_) => return Sent::Gone,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Sent::Not,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) => {
                shared.lock().faults.send += 1;
                return Sent::Gone;
            }
        }
    }
}
