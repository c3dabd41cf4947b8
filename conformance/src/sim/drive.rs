//! One input to a node, and all its outputs: the contract of the core, kept to the letter.

use core::net::SocketAddr;

use gossip_core::{Command, CommandError, Event, Instant, Node};

use super::arena::{Arena, Slot};
use crate::invariant::step::{Limits, moves_on};
use crate::invariant::{Output, Violation};

/// What a node is given.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    Datagram { from: SocketAddr, bytes: &'a [u8] },
    Command(Command),
    Timeout,
}

/// What nodes have given, and nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// Datagrams to send.
    pub(crate) transmits: Vec<(SocketAddr, Slot)>,
    /// Events told in this step.
    pub(crate) events: Vec<Event>,
    buffer: Box<[u8]>,
}

impl Default for Outputs {
    fn default() -> Self {
        Self {
            transmits: Vec::new(),
            events: Vec::new(),
            buffer: vec![0; Arena::LONGEST].into_boxed_slice(),
        }
    }
}

/// Gives a node one input.
pub(crate) fn give(node: &mut Node, now: Instant, input: Input<'_>) -> Result<(), CommandError> {
    match input {
        Input::Datagram { from, bytes } => node.handle_datagram(now, from, bytes),
        Input::Timeout => node.handle_timeout(now),
        Input::Command(command) => return node.handle_command(now, command),
    }
    Ok(())
}

impl Outputs {
    /// Takes all outputs of a node; gives up where they do not end.
    pub(crate) fn drain(
        &mut self,
        node: &mut Node,
        now: Instant,
        limits: &Limits,
        arena: &mut Arena,
    ) -> Option<Violation> {
        let mut found = None;
        let mut taken = 0_usize;
        while let Some(transmit) = node.poll_transmit(now, &mut self.buffer) {
            found = found.or_else(|| limits.datagram(transmit.payload.len()));
            let slot = arena.store(transmit.payload);
            self.transmits.push((transmit.to, slot));
            taken = taken.saturating_add(1);
            if let Some(violation) = limits.drain(Output::Transmits, taken) {
                return Some(violation);
            }
        }
        let mut taken = 0_usize;
        while let Some(event) = node.poll_event() {
            self.events.push(event);
            taken = taken.saturating_add(1);
            if let Some(violation) = limits.drain(Output::Events, taken) {
                return Some(violation);
            }
        }
        found
    }
}

/// What a handled timeout must have done.
pub(crate) fn after_timeout(node: &Node, now: Instant) -> Option<Violation> {
    moves_on(now, node.poll_timeout())
}
