//! What every adapter must do, asked of this one.

use std::net::SocketAddr;
use std::time::Duration;

use conformance::suite::{self, Adapter, NoEvent, Spec, StartError};
use gossip_mio::gossip_core::{Command, CommandError, Event, Node};

struct Mio;

#[derive(Clone)]
struct Handle(gossip_mio::Handle);

struct Events(gossip_mio::Events);

impl Adapter for Mio {
    type Handle = Handle;
    type Events = Events;

    fn start(&self, spec: Spec) -> Result<(Handle, Events), StartError> {
        let mut config = gossip_mio::Config::new(spec.name, spec.bind);
        config.node = spec.config;
        let (handle, events) = gossip_mio::spawn(config)?;
        Ok((Handle(handle), Events(events)))
    }
}

impl suite::Handle for Handle {
    fn command(&self, command: Command) -> Result<(), CommandError> {
        self.0.command(command)
    }

    fn read<R: Send + 'static>(&self, view: impl FnOnce(&Node) -> R + Send + 'static) -> R {
        self.0.read(view)
    }

    fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }

    fn shutdown(&self) {
        self.0.shutdown();
    }
}

impl suite::Events for Events {
    fn next(&mut self, timeout: Duration) -> Result<Event, NoEvent> {
        self.0.next_timeout(timeout).map_err(|none| match none {
            gossip_mio::NoEvent::Yet => NoEvent::Yet,
            gossip_mio::NoEvent::Ended => NoEvent::Ended,
        })
    }
}

fn main() {
    suite::run(|| Mio);
}
