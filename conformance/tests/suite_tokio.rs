//! What every adapter must do, asked of the tokio example of `gossip-core`: the proof that anybody
//! can write an adapter, and check it.

#[path = "../../gossip-core/examples/tokio_udp.rs"]
#[expect(dead_code, reason = "its main is not called here")]
mod tokio_udp;

use std::net::SocketAddr;
use std::sync::{LazyLock, mpsc as blocking};
use std::time::Duration;

use conformance::suite::{self, Adapter, NoEvent, Spec, StartError};
use gossip_core::{Command, CommandError, Event, Node};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_udp::{Ask, Ends};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("this machine has threads to spare"));

struct Tokio;

#[derive(Clone)]
struct Handle {
    ask: mpsc::UnboundedSender<Ask>,
    task: AbortHandle,
    local: SocketAddr,
}

struct Events(mpsc::Receiver<Event>);

impl Adapter for Tokio {
    type Handle = Handle;
    type Events = Events;

    fn start(&self, spec: Spec) -> Result<(Handle, Events), StartError> {
        let bound = tokio_udp::bind(&spec.name, spec.bind, spec.config);
        let (node, socket, started) = RUNTIME.block_on(bound)?;
        let local = socket.local_addr()?;
        let (ask, asks) = mpsc::unbounded_channel();
        let (events, told) = mpsc::channel(1);
        let run = tokio_udp::run(node, socket, started, Ends { asks, events });
        let task = RUNTIME.spawn(run);
        let task = task.abort_handle();
        Ok((Handle { ask, task, local }, Events(told)))
    }
}

impl suite::Handle for Handle {
    fn command(&self, command: Command) -> Result<(), CommandError> {
        let (reply, answer) = blocking::channel();
        let ask = move |node: &mut Node, now| {
            let _ = reply.send(node.handle_command(now, command));
        };
        // Where there is no task that asks could reach, there is no answer.
        let _ = self.ask.send(Box::new(ask));
        answer.recv().unwrap_or(Err(CommandError::Stopped))
    }

    fn read<R: Send + 'static>(&self, view: impl FnOnce(&Node) -> R + Send + 'static) -> R {
        let (reply, answer) = blocking::channel();
        let ask = move |node: &mut Node, _| {
            let _ = reply.send(view(node));
        };
        let _ = self.ask.send(Box::new(ask));
        answer.recv().expect("the node runs")
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn shutdown(&self) {
        self.task.abort();
    }
}

impl suite::Events for Events {
    fn next(&mut self, patience: Duration) -> Result<Event, NoEvent> {
        let next = async { timeout(patience, self.0.recv()).await };
        match RUNTIME.block_on(next) {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err(NoEvent::Ended),
            Err(_) => Err(NoEvent::Yet),
        }
    }
}

fn main() {
    suite::run(|| Tokio);
}
