//! What is done to the world from outside.

use gossip_core::{Command, CommandError, Identity, Node};

use super::{World, fate};
use crate::forge;
use crate::invariant::Fate;
use crate::sim::action::Action;
use crate::sim::drive::{Input, give};
use crate::sim::host::{Process, SocketBuffer, Timer};
use crate::sim::hosts::HostId;
use crate::sim::parcels::{Leg, Parcel};
use crate::sim::queue::Due;
use crate::sim::seeds::chance;
use crate::sim::time::Time;

/// Where forged datagrams come from: an address of no host.
const STRANGER: HostId = HostId::new(0x00ff_fffe);

impl World {
    pub(super) fn act(&mut self, action: Action) -> Option<HostId> {
        match action {
            Action::Start(id) => self.start(id),
            Action::Crash(id) => self.crash(id),
            Action::Pause(id) => self.pause(id),
            Action::Resume(id) => self.resume(id),
            Action::Slow(id, lag) => {
                self.host_mut(id)?.lag = lag;
                // The timer that is queued may now be too early, or too late.
                self.arm(id);
                None
            }
            Action::SetClock(id, wall) => {
                let now = self.now;
                self.host_mut(id)?.wall = wall;
                let wall = wall.read(now);
                self.command(id, Command::SetWallClock { wall }).map(|_| id)
            }
            Action::Move(id) => {
                let host = self.host_mut(id)?;
                host.moves = host.moves.saturating_add(1);
                None
            }
            Action::Command(id, command) => self.command(id, command).map(|_| id),
            Action::Forge(id, bytes) => self.forge((STRANGER, 0), id, &bytes),
            Action::Lie(id, lie) => {
                let body = lie.body(&self.hosts, id)?;
                let datagram = forge::framed(&self.frame, &body.0);
                let from = lie
                    .comes_from()
                    .and_then(|from| self.hosts.get(from.position()));
                let from = from.map_or((STRANGER, 0), |host| (host.id(), host.moves));
                self.forge(from, id, &datagram)
            }
            Action::Set(id, fault) => {
                self.network.set(id, fault);
                None
            }
            Action::Mend(id) => {
                self.network.mend(id);
                None
            }
        }
    }

    /// A datagram that no node sent is on its way, from a host that has moved so often.
    fn forge(&mut self, from: (HostId, u16), to: HostId, bytes: &[u8]) -> Option<HostId> {
        let to_moves = self.host_mut(to)?.moves;
        let slot = self.parcels.arena_mut().store(bytes);
        let number = self.parcels.insert(Parcel {
            from: from.0,
            from_moves: from.1,
            to,
            to_moves,
            slot,
            leg: Leg::Network,
        });
        self.queue.push(self.now, Due::Arrival(number));
        None
    }

    fn start(&mut self, id: HostId) -> Option<HostId> {
        let (now, seeds) = (self.now, self.seeds);
        let host = self.host_mut(id)?;
        if host.node().is_some() {
            return None;
        }
        let seed = seeds.node(id.number(), host.lives);
        host.lives = host.lives.saturating_add(1);
        host.started = Some(now);
        let identity = Identity::new(host.name(), id.address(host.moves));
        let node = Node::new(
            host.config().clone(),
            identity.expect("checked when the host was added"),
            seed,
            host.instant(now),
            host.wall.read(now),
        );
        host.process = Process::Running(Box::new(node.expect("checked when the host was added")));
        host.timer = Timer::UNSET;
        self.settle(id);
        Some(id)
    }

    fn crash(&mut self, id: HostId) -> Option<HostId> {
        let host = self.hosts.get_mut(id.position())?;
        host.node()?;
        let node_id = host.node_id();
        host.ended = match fate(host) {
            Some(Fate::Lives(generation)) => Some(Fate::Died(generation)),
            parting => parting,
        };
        if let Process::Paused(_, buffer) = core::mem::replace(&mut host.process, Process::Off) {
            for (_, _, slot) in buffer.datagrams {
                self.parcels.arena_mut().free(slot);
            }
        }
        host.timer = Timer::UNSET;
        self.inspector.forget(host);
        self.broadcasts.end(node_id);
        // What it wrote lives on only in others, and its next life replaces it.
        self.writes.retain(|(origin, _), _| *origin != node_id);
        None
    }

    fn pause(&mut self, id: HostId) -> Option<HostId> {
        let host = self.host_mut(id)?;
        host.process = match core::mem::replace(&mut host.process, Process::Off) {
            Process::Running(node) => Process::Paused(node, SocketBuffer::default()),
            other => other,
        };
        None
    }

    fn resume(&mut self, id: HostId) -> Option<HostId> {
        // A process that wakes up finds datagrams and an expired timer; either may come first.
        let timer_first = chance(&mut self.rng, 0.5);
        let host = self.host_mut(id)?;
        let buffer = match core::mem::replace(&mut host.process, Process::Off) {
            Process::Paused(node, buffer) => {
                host.process = Process::Running(node);
                buffer
            }
            other => {
                host.process = other;
                return None;
            }
        };
        if timer_first {
            self.timeout(id);
        }
        for (from, moves, slot) in buffer.datagrams {
            self.deliver(id, from.address(moves), slot);
        }
        if !timer_first {
            self.timeout(id);
        }
        Some(id)
    }

    /// Gives a node a command. `None` where no node runs that could take it.
    pub(super) fn command(
        &mut self,
        id: HostId,
        command: Command,
    ) -> Option<Result<(), CommandError>> {
        let now = self.now;
        let host = self.hosts.get_mut(id.position())?;
        let instant = host.instant(now);
        let node_id = host.node_id();
        let Process::Running(node) = &mut host.process else {
            return None;
        };
        let write = match &command {
            Command::Set { key, value } => Some((key.clone(), Some(value.clone()))),
            Command::Unset { key } => Some((key.clone(), None)),
            _ => None,
        };
        let broadcast = match &command {
            Command::Broadcast { name, payload } => Some((name.clone(), payload.clone())),
            _ => None,
        };
        let of_map = match &command {
            Command::Put { key, .. } | Command::Delete { key } | Command::Resolve { key, .. } => {
                let before = self.inspector.before_write(node, key);
                before.map(|before| (key.clone(), before))
            }
            _ => None,
        };
        let accepted = give(node, instant, Input::Command(command));
        if let (Ok(()), Some((key, before))) = (accepted, of_map) {
            self.inspector.wrote(&key, &before, node);
        }
        if let (Ok(()), Some((key, value))) = (accepted, write) {
            self.writes.insert((node_id, key), value);
        }
        if let (Ok(()), Some((name, payload))) = (accepted, broadcast) {
            let until = now.since(Time::START) + host.config().broadcast_ttl;
            self.broadcasts.sent(node_id, name, payload, until);
        }
        self.settle(id);
        Some(accepted)
    }
}
