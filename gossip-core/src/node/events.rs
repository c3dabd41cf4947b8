//! Events that wait for the application: a bounded queue that coalesces to one
//! [`Event::Lagged`] when it overflows.

use alloc::collections::VecDeque;

use crate::event::Event;

#[derive(Debug)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    capacity: usize,
    lost: u64,
}

impl Events {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            capacity,
            lost: 0,
        }
    }

    /// Events that were never delivered.
    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }

    pub(crate) fn push(&mut self, event: Event) {
        if self.queue.len() >= self.capacity {
            let held = u64::try_from(self.queue.len()).unwrap_or(u64::MAX);
            self.lost = self.lost.saturating_add(held);
            self.queue.clear();
            self.queue.push_back(Event::Lagged);
        }
        self.queue.push_back(event);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_told_once_and_what_follows_is_kept() {
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
}
