//! Links between the nodes of one image: a datagram arrives at once, or never.

use alloc::boxed::Box;

use gossip_core::{Instant, Node};

use crate::{MAX_DATAGRAM, address};

/// The links, and the clock that all nodes share.
pub(crate) struct Links {
    now: Instant,
    loses_one_in: u32,
    /// State of the generator that draws what is lost.
    drawn: u32,
    buffer: [u8; MAX_DATAGRAM],
    pub(crate) sent: u32,
    pub(crate) lost: u32,
}

impl Links {
    /// Links that lose a datagram in so many.
    pub(crate) fn losing_one_in(n: u32) -> Self {
        let buffer = [0; MAX_DATAGRAM];
        Self {
            now: Instant::ORIGIN,
            loses_one_in: n,
            drawn: 1,
            buffer,
            sent: 0,
            lost: 0,
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Hands on what the nodes have to send, then lets time pass until one of them has something to
    /// do. Returns the time.
    pub(crate) fn step(&mut self, nodes: &mut [Box<Node>]) -> Instant {
        while (0..nodes.len()).any(|n| self.carry(n, nodes)) {}
        let due = nodes.iter().filter_map(|node| node.poll_timeout()).min();
        self.now = due.unwrap_or(self.now).max(self.now);
        for node in nodes {
            node.handle_timeout(self.now);
        }
        self.now
    }

    /// Carries one datagram of a node, if it has one.
    fn carry(&mut self, from: usize, nodes: &mut [Box<Node>]) -> bool {
        while nodes[from].poll_event().is_some() {}
        let Some(datagram) = nodes[from].poll_transmit(self.now, &mut self.buffer) else {
            return false;
        };
        self.sent += 1;
        // Numbers of a linear congruential generator (Numerical Recipes).
        self.drawn = self
            .drawn
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        if (self.drawn >> 8).is_multiple_of(self.loses_one_in) {
            self.lost += 1;
            return true;
        }
        let to = usize::from(datagram.to.port()).wrapping_sub(1);
        if let Some(node) = nodes.get_mut(to) {
            let from = u8::try_from(from + 1).unwrap_or_default();
            node.handle_datagram(self.now, address(from), datagram.payload);
        }
        true
    }
}
