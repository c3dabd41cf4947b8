//! What the application's threads share with the node's.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Clock, SystemTime};

use gossip_core::adapter::Faults;
use gossip_core::{Command, CommandError, Instant, Node};
use mio::Waker;

/// A node, with what wakes those who wait for it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// Told when an event has arrived, at the end, and, while somebody waits for what no event
    /// tells, whenever the node may have changed.
    pub(crate) changed: Condvar,
    pub(crate) phase_changed: Condvar,
    pub(crate) waker: Waker,
    pub(crate) origin: Clock,
    pub(crate) local: SocketAddr,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) node: Node,
    pub(crate) faults: Faults,
    pub(crate) phase: Phase,
    /// How many wait for what no event tells.
    pub(crate) waiting: usize,
}

#[derive(Debug)]
pub(crate) enum Phase {
    Running,
    Stopping,
    Ended(Option<Arc<io::Error>>),
}

impl State {
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

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
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
        drop(state);
        self.wake();
        Ok(())
    }

    /// Waits on one of the conditions while `waits` holds, but no longer than this.
    pub(crate) fn wait_while(
        &self,
        condition: &Condvar,
        timeout: Duration,
        waits: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'_, State> {
        let waited = condition.wait_timeout_while(self.lock(), timeout, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits this long, or until the node is stopping, and returns whether it is.
    pub(crate) fn stops_within(&self, timeout: Duration) -> bool {
        let running = |state: &mut State| state.is_running();
        let state = self.wait_while(&self.phase_changed, timeout, running);
        !state.is_running()
    }

    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        if state.is_running() {
            state.phase = Phase::Stopping;
        }
        drop(state);
        self.phase_changed.notify_all();
        self.changed.notify_all();
        self.wake();
    }

    pub(crate) fn end(&self, outcome: io::Result<()>) {
        self.lock().phase = Phase::Ended(outcome.err().map(Arc::new));
        self.phase_changed.notify_all();
        self.changed.notify_all();
    }

    /// Has the loop look at the node again. It can fail only when the loop is gone.
    fn wake(&self) {
        let _ = self.waker.wake();
    }
}
