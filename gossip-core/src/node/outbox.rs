//! What waits to be sent.
//!
//! Messages are queued as intentions and written when the caller polls, so that a datagram tells
//! the state at the moment it leaves, and news that came in between rides along. The queue is
//! bounded: when it is full, the oldest answer goes, since periodic rounds repair what it would
//! have.

use alloc::collections::VecDeque;

#[cfg(feature = "map")]
use crate::context::MapOutgoing;
use crate::context::Outgoing;
#[cfg(feature = "map")]
use core::net::SocketAddr;

/// The queue.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<Outgoing>,
    capacity: usize,
    dropped: u64,
}

impl Outbox {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            capacity,
            dropped: 0,
        }
    }

    /// Messages dropped because the queue was full.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Queues a message.
    pub(crate) fn push(&mut self, message: Outgoing) {
        if self.queue.len() >= self.capacity {
            self.dropped = self.dropped.saturating_add(1);
            let answer = self.queue.iter().position(Outgoing::is_repair);
            self.queue.remove(answer.unwrap_or(0));
        }
        self.queue.push_back(message);
    }

    /// Whether a table of the shared map, or the rest of one, waits for this address already: it is long.
    #[cfg(feature = "map")]
    pub(crate) fn holds_table_for(&self, address: SocketAddr) -> bool {
        let is_it = |message: &Outgoing| matches!(message, Outgoing::Map(MapOutgoing::Table { to, .. }) if *to == address);
        self.queue.iter().any(is_it)
    }

    /// Takes the next message.
    pub(crate) fn pop(&mut self) -> Option<Outgoing> {
        self.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Answer;
    use crate::wire::message::ModeTag;
    use core::net::SocketAddr;
    use std::vec::Vec;

    #[test]
    fn a_full_queue_drops_the_oldest_answer_first() {
        let to: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let answer = || {
            Outgoing::Answer(Answer {
                to,
                leg: 2,
                mode: ModeTag::Push,
                plan: Vec::new(),
                sent: 0,
                truncated: false,
            })
        };
        let mut outbox = Outbox::new(2);
        outbox.push(Outgoing::Pong { to, token: 1 });
        outbox.push(answer());
        outbox.push(Outgoing::Pong { to, token: 2 });
        assert!(matches!(
            outbox.pop(),
            Some(Outgoing::Pong { token: 1, .. })
        ));
        assert!(matches!(
            outbox.pop(),
            Some(Outgoing::Pong { token: 2, .. })
        ));
        assert_eq!((outbox.pop().is_none(), outbox.dropped()), (true, 1));
    }
}
