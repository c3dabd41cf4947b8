//! What happens next.

use core::cmp::Reverse;
use std::collections::BinaryHeap;

use super::time::Time;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A datagram arrives.
    Arrival(u32),
    /// A host's timer, valid only if this is the host's earliest one.
    Timer(u32),
    /// A scripted action.
    Action(u32),
}

/// An entry of the heap: small and `Copy`, because most of the queue's time goes into moving it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    at: Time,
    /// The order of insertion decides among events of the same time.
    order: u64,
    due: Due,
}

/// A priority queue over virtual time. Events of the same time come out in the order in which they
/// were put in.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<Key>>,
    order: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Time, due: Due) {
        self.order = self.order.wrapping_add(1);
        let order = self.order;
        self.heap.push(Reverse(Key { at, order, due }));
    }

    /// Takes the next event, if it is due by `until`.
    pub(crate) fn pop(&mut self, until: Time) -> Option<(Time, Due)> {
        let Reverse(next) = self.heap.peek()?;
        if next.at > until {
            return None;
        }
        self.heap.pop().map(|Reverse(key)| (key.at, key.due))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_time_and_then_of_insertion() {
        let mut queue = Queue::default();
        for (at, due) in [
            (5, Due::Timer(1)),
            (3, Due::Action(9)),
            (5, Due::Arrival(0)),
        ] {
            queue.push(Time::from_nanos(at), due);
        }
        let end = Time::from_nanos(5);
        assert_eq!(queue.pop(Time::from_nanos(2)), None);
        assert_eq!(queue.pop(end), Some((Time::from_nanos(3), Due::Action(9))));
        assert_eq!(queue.pop(end), Some((Time::from_nanos(5), Due::Timer(1))));
        assert_eq!(queue.pop(end), Some((Time::from_nanos(5), Due::Arrival(0))));
        assert_eq!(queue.pop(end), None);
    }
}
