//! Messages that wait to be sent: a bounded queue.
//!
//! Messages are queued as intentions and written when the caller polls. So a datagram tells the state at
//! the moment at which it leaves, and news that came in between rides along. When the queue is full, the
//! oldest message of repair is dropped, since periodic rounds make up for it; if there is none, the
//! oldest message.
//!
//! Invariant: the queue never holds more than its capacity.

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
    pub(crate) fn new(capacity: usize) -> Self {
        debug_assert!(capacity > 0);
        Self {
            queue: VecDeque::new(),
            capacity,
            dropped: 0,
        }
    }

    /// How many messages were dropped because the queue was full.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Queues a message.
    pub(crate) fn push(&mut self, message: Outgoing) {
        if self.queue.len() >= self.capacity {
            self.dropped = self.dropped.saturating_add(1);
            let repair = self.queue.iter().position(Outgoing::is_repair);
            self.queue.remove(repair.unwrap_or(0));
        }
        self.queue.push_back(message);
        debug_assert!(self.queue.len() <= self.capacity);
    }

    /// Whether a version vector of the shared map, or the rest of one, already waits for this address.
    /// Such a message is long.
    #[cfg(feature = "map")]
    pub(crate) fn holds_table_for(&self, address: SocketAddr) -> bool {
        self.queue.iter().any(|message| match message {
            Outgoing::Map(MapOutgoing::Table { to, .. }) => *to == address,
            _ => false,
        })
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
                most: 1,
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
