//! What the application shares with the node's task.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Instant as Clock, SystemTime};

use gossip_core::adapter::{Faults, NoAgreement};
use gossip_core::{Command, CommandError, Event, Instant, Key, Node, Standing};

/// The lock is held for one call of the node at a time, and never while anything is awaited.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    pub(crate) origin: Clock,
    pub(crate) local: SocketAddr,
    /// Notified when the node has ended. Who gives up waiting for that leaves nothing behind.
    pub(crate) ended: event_listener::Event,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) node: Node,
    pub(crate) faults: Faults,
    pub(crate) phase: Phase,
    /// Whether the task has something to look at that it did not do itself.
    call: Call,
    task: Option<Waker>,
    consumer: Option<Waker>,
    /// Those who wait for what no event tells.
    waiting: Vec<Waker>,
}

#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Running,
    Stopping,
    Ended(Option<Arc<io::Error>>),
}

#[derive(Debug, PartialEq, Eq)]
enum Call {
    None,
    Waiting,
}

impl State {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node,
            faults: Faults::default(),
            phase: Phase::Running,
            call: Call::None,
            task: None,
            consumer: None,
            waiting: Vec::new(),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    /// Tells the node what the wall clock shows. It may have been set; and while the machine was suspended it
    /// went on without the node's.
    pub(crate) fn tell_wall(&mut self, now: Instant) {
        let wall = SystemTime::now().into();
        // Refused by a node that is leaving, which needs no clock.
        let _ = self
            .node
            .handle_command(now, Command::SetWallClock { wall });
    }

    /// Wakes those for whom there may be something new.
    pub(crate) fn announce(&mut self) {
        if self.node.has_event() {
            wake(&mut self.consumer);
        }
        self.waiting.drain(..).for_each(Waker::wake);
    }

    pub(crate) fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Option<Event>> {
        match self.node.poll_event() {
            Some(event) => Poll::Ready(Some(event)),
            None if matches!(self.phase, Phase::Ended(_)) => Poll::Ready(None),
            None => {
                self.consumer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Ready once somebody has called the task.
    pub(crate) fn poll_call(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.call == Call::Waiting {
            self.call = Call::None;
            return Poll::Ready(());
        }
        self.task = Some(cx.waker().clone());
        Poll::Pending
    }

    /// How the node ended, if it has.
    pub(crate) fn outcome(&self) -> Option<io::Result<()>> {
        match &self.phase {
            Phase::Ended(None) => Some(Ok(())),
            Phase::Ended(Some(lost)) => Some(Err(io::Error::new(lost.kind(), Arc::clone(lost)))),
            Phase::Running | Phase::Stopping => None,
        }
    }

    pub(crate) fn poll_agreement(
        &mut self,
        cx: &Context<'_>,
        key: &Key,
    ) -> Poll<Result<(), NoAgreement>> {
        if !self.is_running() {
            return Poll::Ready(Err(CommandError::Stopped.into()));
        }
        if matches!(self.node.standing(), Standing::Leaving | Standing::Left) {
            return Poll::Ready(Err(CommandError::Left.into()));
        }
        match self.node.has_agreement(key) {
            true => Poll::Ready(Ok(())),
            false => {
                if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    self.waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn call(&mut self) {
        self.call = Call::Waiting;
        wake(&mut self.task);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Shared {
    /// A panic while the lock was held (in a closure given to `read`, say) spoils it for nobody.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node's time. Read it while holding the lock, so that it does not run backwards.
    pub(crate) fn now(&self) -> Instant {
        Instant::from_origin(self.origin.elapsed())
    }

    pub(crate) fn command(&self, command: Command) -> Result<(), CommandError> {
        let mut state = self.lock();
        if !state.is_running() {
            return Err(CommandError::Stopped);
        }
        let now = self.now();
        state.tell_wall(now);
        state.node.handle_command(now, command)?;
        state.call();
        Ok(())
    }

    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        if state.is_running() {
            state.phase = Phase::Stopping;
            state.call();
        }
    }

    pub(crate) fn end(&self, outcome: io::Result<()>) {
        let mut state = self.lock();
        state.phase = Phase::Ended(outcome.err().map(Arc::new));
        wake(&mut state.consumer);
        state.waiting.drain(..).for_each(Waker::wake);
        self.ended.notify(usize::MAX);
    }
}
