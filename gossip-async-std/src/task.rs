//! The node's task: wait, give the node one input, send what it has to send. Here, and where the
//! socket is bound, is all that knows the runtime.

use std::future::{pending, poll_fn};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_std::future::timeout;
use async_std::net::{ToSocketAddrs, UdpSocket};
use async_std::task::{self, sleep, yield_now};
use futures_lite::future::or;
use gossip_core::{Command, SeedList, Standing};

use crate::shared::{Phase, Shared};

/// More than any datagram has, so that none is cut short unnoticed.
const INBOX: usize = 65_536;
/// Turns after which other tasks get theirs, even while datagrams pour in.
const BATCH: u32 = 64;
/// Receive errors on end that prove the socket lost. Single ones are the news of a peer's closed
/// port (ICMP), or pass.
const LOST: u32 = 1024;

/// Starts the task.
pub(crate) fn start(shared: Arc<Shared>, socket: UdpSocket, seeds: SeedList, every: Duration) {
    let ending = Ending(shared);
    task::spawn(async move {
        let shared = &ending.0;
        let outcome = or(run(shared, &socket), resolve(shared, seeds, every)).await;
        drop(socket);
        shared.end(outcome);
    });
}

/// Ends the node when its task is dropped, be it by a panic, which is a bug of this library, or by
/// the runtime: nobody must be left waiting for ever.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        if !matches!(self.0.lock().phase, Phase::Ended(_)) {
            self.0
                .end(Err(io::Error::other("the node's task was dropped")));
        }
    }
}

/// Waits for a future no longer than this.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    timeout(limit, future).await.ok()
}

/// What a turn begins with.
enum Input {
    Sent(io::Result<usize>),
    Received(io::Result<(usize, SocketAddr)>),
    /// The deadline has come, or the application has done something.
    Look,
}

/// Runs until the node has left or is told to stop; an error means that the socket is lost.
async fn run(shared: &Shared, socket: &UdpSocket) -> io::Result<()> {
    let (mut inbox, mut outbox) = (vec![0; INBOX], vec![0; shared.lock().node.max_datagram()]);
    // What is on its way out. When the socket is full it waits here, and the others in the node.
    let mut parked: Option<(SocketAddr, usize)> = None;
    let (mut turns, mut errors) = (0_u32, 0_u32);
    loop {
        let deadline = {
            let mut state = shared.lock();
            if !state.is_running() {
                return Ok(());
            }
            let now = shared.now();
            if state.node.poll_timeout().is_some_and(|due| due <= now) {
                state.tell_wall(now);
                state.node.handle_timeout(now);
            }
            parked = parked.or_else(|| {
                let transmit = state.node.poll_transmit(now, &mut outbox)?;
                Some((transmit.to, transmit.payload.len()))
            });
            state.announce();
            if state.node.standing() == Standing::Left && parked.is_none() {
                return Ok(());
            }
            state.node.poll_timeout()
        };
        let wait = deadline.map_or(Duration::MAX, |due| due.saturating_since(shared.now()));
        let send = async {
            match parked {
                Some((to, len)) => {
                    let payload = outbox.get(..len).unwrap_or_default();
                    Input::Sent(socket.send_to(payload, to).await)
                }
                None => pending().await,
            }
        };
        let call = poll_fn(|cx| shared.lock().poll_call(cx).map(|()| Input::Look));
        let receive = async { Input::Received(socket.recv_from(&mut inbox).await) };
        let input = timeout(wait, or(send, or(call, receive))).await;
        match input.unwrap_or(Input::Look) {
            Input::Look => {}
            Input::Sent(sent) => {
                parked = None;
                if sent.is_err() {
                    // UDP promises nothing, and repair is the node's business.
                    shared.lock().faults.send += 1;
                }
            }
            Input::Received(Ok((len, from))) => {
                errors = 0;
                let mut state = shared.lock();
                let now = shared.now();
                let datagram = inbox.get(..len).unwrap_or_default();
                state.node.handle_datagram(now, from, datagram);
            }
            Input::Received(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
            Input::Received(Err(error)) => {
                shared.lock().faults.receive += 1;
                errors += 1;
                if errors == LOST {
                    return Err(error);
                }
            }
        }
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(BATCH) {
            yield_now().await;
        }
    }
}

/// Looks the names up `every` so often and gives the node what they stand for. Never ends.
async fn resolve(shared: &Shared, mut seeds: SeedList, every: Duration) -> io::Result<()> {
    while !seeds.names().is_empty() {
        for name in seeds.names() {
            match name.to_socket_addrs().await {
                Ok(found) => seeds.found(&name, found, shared.local),
                Err(reason) => seeds.missed(&name, reason),
            }
        }
        shared.lock().faults.unresolved = seeds.unresolved();
        // Refused by a node that is leaving, which needs none.
        let _ = shared.command(Command::SetSeeds {
            seeds: seeds.addresses(),
        });
        sleep(seeds.pause(every)).await;
    }
    pending().await
}
