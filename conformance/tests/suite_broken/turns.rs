//! The loop: wait, give the node one input, take what it has to say.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use gossip_core::{Event, Instant, Standing};

use crate::adapter::{Phase, Shared, State};
use crate::defect::Defect;

/// A datagram that met a full socket.
type Parked = Option<(SocketAddr, Vec<u8>)>;

/// Runs until the node has left or is to stop.
pub(crate) fn run(shared: &Shared, socket: &UdpSocket, pipe: Option<&SyncSender<Event>>) {
    let mut inbox = match shared.has(Defect::CutsOversize) {
        true => vec![0; shared.lock().node.max_datagram()],
        false => vec![0; 65_536],
    };
    let mut outbox = vec![0; shared.lock().node.max_datagram()];
    let mut parked = None;
    let mut kept = Vec::new();
    let mut busy = false;
    let mut last = Instant::ORIGIN;
    loop {
        let mut state = shared.lock();
        if state.phase == Phase::Stopping {
            return;
        }
        let mut now = shared.now();
        if shared.has(Defect::HidesItsPauses) {
            // Time goes on evenly, whatever happens: the pause is given out in small pieces.
            let mut hidden = now.saturating_since(last);
            now = last;
            while hidden > Duration::from_millis(40) {
                hidden -= Duration::from_millis(40);
                now = now.saturating_add(Duration::from_millis(40));
                state.node.handle_timeout(now);
            }
            now = now.saturating_add(hidden);
            last = now;
        }
        let due = state.node.poll_timeout().is_some_and(|due| due <= now);
        let starved = match shared.defect {
            Some(Defect::DropsTimeouts) => true,
            Some(Defect::StarvesTimers) => busy,
            _ => false,
        };
        if due && !starved {
            state.node.handle_timeout(now);
        }
        let sent = transmit(shared, socket, &mut state, now, &mut outbox, &mut parked);
        if sent.is_err() && shared.has(Defect::DiesOfAFailedSend) {
            return;
        }
        if let Some(pipe) = pipe {
            while let Some(event) = state.node.poll_event() {
                drop(state);
                // The consumer may be gone.
                let _ = pipe.send(event);
                state = shared.lock();
            }
        } else if !shared.has(Defect::LeavesItsConsumerWaiting) {
            shared.tell();
        }
        let left = state.node.standing() == Standing::Left && parked.is_none();
        if left && !shared.has(Defect::StaysAfterLeaving) {
            return;
        }
        let deadline = state.node.poll_timeout();
        let locked = match shared.has(Defect::LocksWhileItWaits) {
            true => Some(state),
            false => {
                drop(state);
                None
            }
        };
        wait(shared, socket, deadline, &parked, busy);
        let received = socket.recv_from(&mut inbox);
        drop(locked);
        busy = received.is_ok();
        match received {
            Ok((_, from)) if shared.wakes_from(from) => {}
            Ok((0, _)) if shared.has(Defect::EndsAtAnEmptyDatagram) => return,
            Ok((length, from)) => {
                if shared.has(Defect::KeepsDatagrams) {
                    kept.push(inbox[..length].to_vec());
                }
                let mut state = shared.lock();
                let now = match shared.has(Defect::HidesItsPauses) {
                    true => last,
                    false => shared.now(),
                };
                state.node.handle_datagram(now, from, &inbox[..length]);
            }
            // A timeout, or the news of a closed port (ICMP) where the system tells it.
            Err(_) => {}
        }
    }
}

/// Sets how long the socket waits.
fn wait(
    shared: &Shared,
    socket: &UdpSocket,
    deadline: Option<Instant>,
    parked: &Parked,
    busy: bool,
) {
    let left = deadline.map_or(Duration::from_secs(1), |due| {
        due.saturating_since(shared.now())
    });
    let wait = match (shared.defect, parked) {
        (Some(Defect::PollsBusily), _) => Duration::ZERO,
        (Some(Defect::TicksEveryMillisecond), _) => {
            thread::sleep(Duration::from_millis(1));
            Duration::ZERO
        }
        (Some(Defect::StarvesTimers), _) if busy => Duration::from_millis(50),
        (_, Some(_)) => left.min(Duration::from_millis(5)),
        (Some(Defect::DropsTimeouts | Defect::TicksOnceASecond), None) => Duration::from_secs(1),
        _ => left.max(Duration::from_micros(1)),
    };
    socket.set_nonblocking(wait.is_zero()).unwrap();
    if !wait.is_zero() {
        socket.set_read_timeout(Some(wait)).unwrap();
    }
}

/// Sends what there is to send. An error is that of a datagram which the system refused.
fn transmit(
    shared: &Shared,
    socket: &UdpSocket,
    state: &mut State,
    now: Instant,
    outbox: &mut [u8],
    parked: &mut Parked,
) -> io::Result<()> {
    let mut refused = Ok(());
    loop {
        let (to, payload) = match parked.take() {
            Some(parked) => parked,
            None => match state.node.poll_transmit(now, outbox) {
                Some(transmit) => (transmit.to, transmit.payload.to_vec()),
                None => return refused,
            },
        };
        match send(shared, socket, to, &payload) {
            Ok(Sent::Gone) => {}
            Ok(Sent::Not) if shared.has(Defect::DropsWhatWouldBlock) => {}
            Ok(Sent::Not) => {
                *parked = Some((to, payload));
                return refused;
            }
            // UDP may lose any datagram.
            Err(error) => refused = Err(error),
        }
        if shared.has(Defect::SendsOneAtATime) {
            return refused;
        }
    }
}

enum Sent {
    Gone,
    /// The socket is full.
    Not,
}

fn send(shared: &Shared, socket: &UdpSocket, to: SocketAddr, payload: &[u8]) -> io::Result<Sent> {
    while shared.full.load(Ordering::SeqCst) {
        if !shared.has(Defect::StallsWhileItsSocketIsFull) {
            return Ok(Sent::Not);
        }
        thread::sleep(Duration::from_millis(1));
    }
    socket.send_to(payload, to).map(|_| Sent::Gone)
}
