//! How events, datagrams and deadlines flow between the queue, the network and the nodes.

use core::net::SocketAddr;

use super::World;
use crate::forge::HEADER;
use crate::num::count;
use crate::sim::arena::Slot;
use crate::sim::drive::{Input, after_timeout, give};
use crate::sim::host::Process;
use crate::sim::hosts::HostId;
use crate::sim::network::{Delivery, Passage};
use crate::sim::parcels::{Leg, Parcel};
use crate::sim::queue::Due;
use crate::sim::time::Time;

impl World {
    /// A host's timer has rung; most often it is the one that the node waits for.
    pub(super) fn ring(&mut self, id: HostId) -> Option<HostId> {
        let now = self.now;
        let host = self.host_mut(id)?;
        if host.timer.queued != now {
            return None;
        }
        host.timer.queued = Time::NEVER;
        if !host.runs() {
            return None;
        }
        if host.reacts(host.timer.deadline) > now {
            // The node has put its deadline off since this entry was queued.
            self.arm(id);
            return None;
        }
        self.timeout(id)
    }

    pub(super) fn timeout(&mut self, id: HostId) -> Option<HostId> {
        let now = self.now;
        let host = self.hosts.get_mut(id.position())?;
        let instant = host.instant(now);
        let Process::Running(node) = &mut host.process else {
            return None;
        };
        host.timer.ring(now);
        let timer = self.meter.start();
        // Only commands can be refused.
        let _ = give(node, instant, Input::Timeout);
        self.meter.stop(timer);
        if let Some(violation) = after_timeout(node, instant) {
            self.inspector.report(now, id, violation);
        }
        self.settle(id);
        Some(id)
    }

    /// A datagram reaches a machine.
    pub(super) fn arrive(&mut self, number: u32) -> Option<HostId> {
        let mut parcel = self.parcels.take(number)?;
        let now = self.now;
        let length = self.parcels.arena().bytes(parcel.slot).len();
        let mut host = self.hosts.get_mut(parcel.to.position());
        let host = host.as_mut().filter(|h| h.moves == parcel.to_moves);
        let Some(host) = host else {
            self.parcels.arena_mut().free(parcel.slot);
            return None;
        };
        match &mut host.process {
            Process::Running(_) if parcel.leg == Leg::Network && !host.lag.is_zero() => {
                parcel.leg = Leg::Inside;
                let at = host.reacts(now);
                let number = self.parcels.insert(parcel);
                self.queue.push(at, Due::Arrival(number));
                None
            }
            Process::Running(_) => self.deliver(
                parcel.to,
                parcel.from.address(parcel.from_moves),
                parcel.slot,
            ),
            Process::Paused(_, buffer) => {
                if !buffer.put((parcel.from, parcel.from_moves, parcel.slot), length) {
                    self.parcels.arena_mut().free(parcel.slot);
                }
                None
            }
            Process::Off => {
                self.parcels.arena_mut().free(parcel.slot);
                None
            }
        }
    }

    /// A process takes a datagram from its socket.
    pub(super) fn deliver(&mut self, id: HostId, from: SocketAddr, slot: Slot) -> Option<HostId> {
        let now = self.now;
        let host = self.hosts.get_mut(id.position())?;
        let instant = host.instant(now);
        if let Process::Running(node) = &mut host.process {
            let bytes = self.parcels.arena().bytes(slot);
            host.traffic.receive(bytes.len());
            let timer = self.meter.start();
            let _ = give(node, instant, Input::Datagram { from, bytes });
            self.meter.stop(timer);
        }
        self.parcels.arena_mut().free(slot);
        self.settle(id);
        Some(id)
    }

    /// Takes a node's outputs and its next deadline.
    pub(super) fn settle(&mut self, id: HostId) {
        self.steps = self.steps.saturating_add(1);
        let now = self.now;
        let Some(host) = self.hosts.get_mut(id.position()) else {
            return;
        };
        let instant = host.instant(now);
        let Process::Running(node) = &mut host.process else {
            return;
        };
        let told = self.outputs.events.len();
        let timer = self.meter.start();
        let arena = self.parcels.arena_mut();
        let wrong = self.outputs.drain(node, instant, &host.limits, arena);
        let deadline = node.poll_timeout();
        self.meter.stop(timer);
        host.timer.deadline = deadline.map_or(Time::NEVER, |at| host.time(at));
        if let Some(violation) = wrong {
            self.inspector.report(now, id, violation);
        }
        for event in self.outputs.events.get(told..).unwrap_or_default() {
            self.trace.event(now, id, event);
            let since = now.since(Time::START);
            if let Some(violation) = self.broadcasts.observe(host.node_id(), event, since) {
                self.inspector.report(now, id, violation);
            }
            self.inspector.told(now, host, event);
        }
        self.inspector.look(now, host);
        self.arm(id);
        self.dispatch(id);
    }

    /// Sees to it that the queue wakes the host at its deadline, or earlier.
    pub(super) fn arm(&mut self, id: HostId) {
        let now = self.now;
        let Some(host) = self.host_mut(id) else {
            return;
        };
        if host.timer.deadline == Time::NEVER {
            return;
        }
        let at = host.reacts(host.timer.wakes(now)).max(now);
        if at < host.timer.queued {
            host.timer.queued = at;
            self.queue.push(at, Due::Timer(id.number()));
        }
    }

    /// Hands the transmits to the network.
    fn dispatch(&mut self, id: HostId) {
        let now = self.now;
        let mut transmits = core::mem::take(&mut self.outputs.transmits);
        for (to, slot) in transmits.drain(..) {
            let Some(host) = self.hosts.get_mut(id.position()) else {
                continue;
            };
            let bytes = self.parcels.arena().bytes(slot);
            let length = bytes.len();
            host.traffic.send(length);
            let (from_moves, site) = (host.moves, host.site);
            self.trace.datagram(now, id, to, bytes);
            self.marker.look(bytes);
            if self.frame.is_empty() {
                self.frame = bytes.get(..HEADER).unwrap_or_default().to_vec();
            }
            let target = HostId::of(to).filter(|(to, _)| to.position() < self.hosts.len());
            let Some((to, to_moves)) = target else {
                self.parcels.arena_mut().free(slot);
                continue;
            };
            if self.host(to).site != site {
                self.crossing.send(length);
            }
            let parcel = Parcel {
                from: id,
                from_moves,
                to,
                to_moves,
                slot,
                leg: Leg::Network,
            };
            match self.network.carry(now, id, to, count(length)) {
                Delivery::Lost => self.parcels.arena_mut().free(slot),
                Delivery::Once(passage) => self.post(parcel, passage),
                Delivery::Twice(first, second) => {
                    let bytes = self.parcels.arena().bytes(slot).to_vec();
                    let slot = self.parcels.arena_mut().store(&bytes);
                    self.post(parcel, first);
                    self.post(Parcel { slot, ..parcel }, second);
                }
            }
        }
        // The empty vector goes back, so that its memory is used again.
        self.outputs.transmits = transmits;
    }

    fn post(&mut self, mut parcel: Parcel, passage: Passage) {
        if let Some(damage) = passage.damage {
            let mut bytes = self.parcels.arena().bytes(parcel.slot).to_vec();
            self.network.damage(damage, &mut bytes);
            let arena = self.parcels.arena_mut();
            arena.free(parcel.slot);
            parcel.slot = arena.store(&bytes);
        }
        let at = Time::from_nanos(self.now.as_nanos().saturating_add(passage.takes));
        let number = self.parcels.insert(parcel);
        self.queue.push(at, Due::Arrival(number));
    }
}
