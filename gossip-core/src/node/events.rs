//! Events that wait for the application: a bounded queue.
//!
//! When the queue is full, all events in it are lost, and one [`Event::Lagged`] takes their place.
//!
//! Invariant: the queue never holds more than its capacity.

use alloc::collections::VecDeque;

use crate::event::Event;

/// Events that the queue keeps room for once it is empty.
const KEPT: usize = 16;

/// The queue.
#[derive(Debug)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    capacity: usize,
    lost: u64,
}

impl Events {
    pub(crate) fn new(capacity: usize) -> Self {
        debug_assert!(capacity >= 2, "one event and word of those lost");
        Self {
            queue: VecDeque::new(),
            capacity,
            lost: 0,
        }
    }

    /// How many events were never delivered.
    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }

    /// Queues an event.
    pub(crate) fn push(&mut self, event: Event) {
        if self.queue.len() >= self.capacity {
            let held = u64::try_from(self.queue.len()).unwrap_or(u64::MAX);
            self.lost = self.lost.saturating_add(held);
            self.queue.clear();
            self.queue.push_back(Event::Lagged);
        }
        self.queue.push_back(event);
        debug_assert!(self.queue.len() <= self.capacity);
    }

    /// Whether no event waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes the next event.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.queue.pop_front();
        if self.queue.is_empty() {
            // A newcomer is told of all members at once, and never of so many again.
            self.queue.shrink_to(KEPT);
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overflow_is_told_once_and_later_events_are_kept() {
        let mut events = Events::new(3);
        for _ in 0..3 {
            events.push(Event::Isolated);
        }
        events.push(Event::Rejoined);
        assert_eq!(events.pop(), Some(Event::Lagged));
        assert_eq!(events.pop(), Some(Event::Rejoined));
        assert!(events.is_empty());
        assert_eq!((events.pop(), events.lost()), (None, 3));
    }

    #[test]
    fn an_empty_queue_gives_its_memory_back() {
        let mut events = Events::new(1000);
        (0..1000).for_each(|_| events.push(Event::Isolated));
        while events.pop().is_some() {}
        assert!(events.queue.capacity() < 64);
    }
}
