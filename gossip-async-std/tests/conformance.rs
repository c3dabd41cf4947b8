//! What every adapter must do, asked of this one.

use std::net::SocketAddr;
use std::time::Duration;

use async_std::future::timeout;
use async_std::task::block_on;
use conformance::suite::{self, Adapter, NoEvent, Spec, StartError};
use futures_lite::StreamExt;
use gossip_async_std::gossip_core::{Command, CommandError, Event, Node};

struct AsyncStd;

#[derive(Clone)]
struct Handle(gossip_async_std::Handle);

struct Events(gossip_async_std::Events);

impl Adapter for AsyncStd {
    type Handle = Handle;
    type Events = Events;

    fn start(&self, spec: Spec) -> Result<(Handle, Events), StartError> {
        let mut config = gossip_async_std::Config::new(spec.name, spec.bind);
        config.node = spec.config;
        let (handle, events) = block_on(gossip_async_std::spawn(config))?;
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
    fn next(&mut self, patience: Duration) -> Result<Event, NoEvent> {
        match block_on(timeout(patience, self.0.next())) {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err(NoEvent::Ended),
            Err(_) => Err(NoEvent::Yet),
        }
    }
}

fn main() {
    suite::run(|| AsyncStd);
}
