//! The simplest adapter that does everything, over a blocking `std::net::UdpSocket`; and what is
//! left of it when it does one thing wrong.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant as Clock, SystemTime};

use conformance::suite::{self, Ability, Adapter, NoEvent, Room, Spec, StartError};
use gossip_core::{Command, CommandError, Event, Identity, Instant, Node, Policy};

use crate::defect::Defect;
use crate::turns;

/// The adapter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blocking {
    pub(crate) defect: Option<Defect>,
}

/// What the loop shares with the application.
pub(crate) struct Shared {
    pub(crate) defect: Option<Defect>,
    state: Mutex<State>,
    told: Condvar,
    origin: Clock,
    local: SocketAddr,
    /// An empty datagram from here wakes the loop.
    waker: UdpSocket,
    /// Whether the socket pretends to be full.
    pub(crate) full: AtomicBool,
}

pub(crate) struct State {
    pub(crate) node: Node,
    pub(crate) phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    Stopping,
    Ended,
}

impl Shared {
    pub(crate) fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_origin(self.origin.elapsed())
    }

    pub(crate) fn wakes_from(&self, from: SocketAddr) -> bool {
        self.waker.local_addr().unwrap() == from
    }

    pub(crate) fn tell(&self) {
        self.told.notify_all();
    }

    fn wake(&self) {
        // A full buffer keeps the loop awake by itself.
        let _ = self.waker.send_to(&[], self.local);
    }

    fn stop(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Running {
            state.phase = Phase::Stopping;
            drop(state);
            self.wake();
        }
    }
}

impl Adapter for Blocking {
    type Handle = Handle;
    type Events = Events;

    fn start(&self, spec: Spec) -> Result<(Handle, Events), StartError> {
        let defect = self.defect;
        let socket = UdpSocket::bind(spec.bind).or_else(|error| match defect {
            Some(Defect::SwallowsTheBindError) => UdpSocket::bind((spec.bind.ip(), 0)),
            _ => Err(std::io::Error::other(format!("{}: {error}", spec.bind))),
        })?;
        let local = socket.local_addr()?;
        let identity = Identity::new(&spec.name, local)?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        let (mut origin, wall) = (Clock::now(), SystemTime::now().into());
        if defect == Some(Defect::StartsItsClockLate) {
            thread::sleep(Duration::from_millis(200));
            origin = Clock::now();
        }
        let node = Node::new(spec.config, identity, seed, Instant::ORIGIN, wall)?;
        let shared = Arc::new(Shared {
            defect,
            state: Mutex::new(State {
                node,
                phase: Phase::Running,
            }),
            told: Condvar::new(),
            origin,
            local,
            waker: UdpSocket::bind("127.0.0.1:0")?,
            full: AtomicBool::new(false),
        });
        let (send, receive) = match defect {
            Some(Defect::BlocksOnItsConsumer) => sync_channel(16),
            Some(Defect::HoardsEvents) => sync_channel(1 << 20),
            _ => sync_channel(0),
        };
        let piped = matches!(
            defect,
            Some(Defect::BlocksOnItsConsumer | Defect::HoardsEvents)
        );
        let pipe = piped.then_some(send);
        let owner = Arc::new(Owner(Arc::clone(&shared)));
        thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                turns::run(&shared, &socket, pipe.as_ref());
                drop(socket);
                shared.lock().phase = Phase::Ended;
                shared.tell();
            }
        });
        let events = Events {
            owner: Arc::clone(&owner),
            piped: piped.then_some(receive),
            held_back: None,
        };
        Ok((Handle(owner), events))
    }

    fn lacks(&self) -> Vec<(Ability, &'static str)> {
        Vec::new()
    }

    fn set_room(&self, handle: &Handle, room: Room) {
        handle.0.0.full.store(room == Room::Full, Ordering::SeqCst);
        handle.0.0.wake();
    }
}

/// Stops the node when nothing holds it any more.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        if !self.0.has(Defect::RunsForEver) {
            self.0.stop();
        }
    }
}

#[derive(Clone)]
pub(crate) struct Handle(Arc<Owner>);

impl suite::Handle for Handle {
    fn command(&self, command: Command) -> Result<(), CommandError> {
        let shared = &self.0.0;
        let mut state = shared.lock();
        if state.phase != Phase::Running {
            return Err(CommandError::Stopped);
        }
        let now = shared.now();
        if shared.has(Defect::LosesCommands) && now.as_nanos().is_multiple_of(4) {
            return Ok(());
        }
        if shared.has(Defect::LosesDeletes) && matches!(command, Command::Delete { .. }) {
            return Ok(());
        }
        let mut command = command;
        if shared.has(Defect::DecidesConflicts)
            && let Command::Put { policy, .. } = &mut command
        {
            *policy = Policy::LastWriteWins;
        }
        let done = state.node.handle_command(now, command);
        drop(state);
        if !shared.has(Defect::SleepsThroughCommands) {
            shared.wake();
        }
        match shared.defect {
            Some(Defect::SwallowsRefusals) => Ok(()),
            _ => done,
        }
    }

    fn read<R: Send + 'static>(&self, view: impl FnOnce(&Node) -> R + Send + 'static) -> R {
        view(&self.0.0.lock().node)
    }

    fn local_addr(&self) -> SocketAddr {
        self.0.0.local
    }

    fn shutdown(&self) {
        let shared = &self.0.0;
        match shared.defect {
            Some(Defect::SaysGoodbyeInACrash) => {
                let now = shared.now();
                let _ = shared.lock().node.handle_command(now, Command::Leave);
                shared.wake();
            }
            Some(Defect::IgnoresShutdown) => {}
            _ => shared.stop(),
        }
    }
}

pub(crate) struct Events {
    owner: Arc<Owner>,
    /// Where events come from in the faulty adapters that send them on.
    piped: Option<Receiver<Event>>,
    held_back: Option<Event>,
}

impl Events {
    fn take(&mut self, timeout: Duration) -> Result<Event, NoEvent> {
        if let Some(pipe) = &self.piped {
            return pipe.recv_timeout(timeout).map_err(|error| match error {
                RecvTimeoutError::Timeout => NoEvent::Yet,
                RecvTimeoutError::Disconnected => NoEvent::Ended,
            });
        }
        let shared = &self.owner.0;
        let deadline = Clock::now() + timeout;
        let mut state = shared.lock();
        loop {
            if let Some(event) = state.node.poll_event() {
                return Ok(event);
            }
            if state.phase == Phase::Ended && !shared.has(Defect::NeverEndsItsEvents) {
                return Err(NoEvent::Ended);
            }
            let left = deadline.saturating_duration_since(Clock::now());
            if left.is_zero() {
                return Err(NoEvent::Yet);
            }
            state = shared.told.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl suite::Events for Events {
    fn next(&mut self, timeout: Duration) -> Result<Event, NoEvent> {
        match self.owner.0.defect {
            Some(Defect::ReordersEvents) => {
                if let Some(event) = self.held_back.take() {
                    return Ok(event);
                }
                let first = self.take(timeout)?;
                match self.take(Duration::from_millis(20)) {
                    Ok(second) => {
                        self.held_back = Some(first);
                        Ok(second)
                    }
                    Err(_) => Ok(first),
                }
            }
            Some(Defect::RepeatsEvents) => match self.held_back.take() {
                Some(event) => Ok(event),
                None => {
                    self.held_back = Some(self.take(timeout)?);
                    Ok(self.held_back.clone().unwrap())
                }
            },
            Some(Defect::ForgetsLagged) => match self.take(timeout) {
                Ok(Event::Lagged) => self.take(timeout),
                other => other,
            },
            Some(Defect::HidesConflicts) => match self.take(timeout) {
                Ok(Event::Conflict { .. }) => self.take(timeout),
                other => other,
            },
            _ => self.take(timeout),
        }
    }
}
