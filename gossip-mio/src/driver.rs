//! The event loop: wait, give the node one input, send what it has to send.
//!
//! The lock is taken for one call of the node at a time and never held across a system call, so that
//! handles get their turn even while datagrams pour in.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gossip_core::Standing;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use crate::shared::Shared;

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

pub(crate) struct Driver {
    shared: Arc<Shared>,
    poll: Poll,
    socket: UdpSocket,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// To whom, and how long, the datagram in the outbox is that met a full socket. Until it is
    /// gone, the others wait in the node.
    parked: Option<(SocketAddr, usize)>,
    /// Receive errors on end.
    errors: usize,
}

/// What a turn of reading left in the socket.
#[derive(Clone, Copy)]
enum Inbound {
    Drained,
    More,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, poll: Poll, mut socket: UdpSocket) -> io::Result<Self> {
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
        })
    }

    /// Runs until the node has left or is told to stop; an error means that the socket is lost.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut ready = Events::with_capacity(4);
        let mut inbound = Inbound::Drained;
        loop {
            self.handle_timeout();
            self.transmit()?;
            let deadline = {
                let state = self.shared.lock();
                if state.node.has_event() || state.waiting > 0 {
                    self.shared.changed.notify_all();
                }
                let has_left = state.node.standing() == Standing::Left && self.parked.is_none();
                if has_left || !state.is_running() {
                    return Ok(());
                }
                state.node.poll_timeout()
            };
            let timeout = match inbound {
                Inbound::More => Some(Duration::ZERO),
                Inbound::Drained => deadline.map(|due| due.saturating_since(self.shared.now())),
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
            state.tell_wall(now);
            state.node.handle_timeout(now);
        }
    }

    /// Sends what the node has to send, until there is no more of it or the socket is full.
    fn transmit(&mut self) -> io::Result<()> {
        let was_full = self.parked.is_some();
        while let Some((to, length)) = self.parked.take().or_else(|| self.poll_transmit()) {
            let payload = self.outbox.get(..length).unwrap_or_default();
            match self.socket.send_to(payload, to) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.parked = Some((to, length));
                    break;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => self.parked = Some((to, length)),
                // UDP promises nothing, and repair is the node's business.
                Err(_) => self.shared.lock().faults.send += 1,
            }
        }
        // Listening for room all the time would wake the loop after everything it sends.
        let interest = match (was_full, self.parked) {
            (false, Some(_)) => Interest::READABLE | Interest::WRITABLE,
            (true, None) => Interest::READABLE,
            _ => return Ok(()),
        };
        self.poll
            .registry()
            .reregister(&mut self.socket, SOCKET, interest)
    }

    /// Has the node write its next datagram into the outbox.
    fn poll_transmit(&mut self) -> Option<(SocketAddr, usize)> {
        let mut state = self.shared.lock();
        if !state.is_running() {
            return None;
        }
        let now = self.shared.now();
        let transmit = state.node.poll_transmit(now, &mut self.outbox)?;
        Some((transmit.to, transmit.payload.len()))
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
