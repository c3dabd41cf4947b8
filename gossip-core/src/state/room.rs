//! How much memory one datagram may cost its receiver.
//!
//! A few bytes on the wire can make a node hold many: an unknown member takes a record, and a vote is
//! indexed beside the log that carries it. So each datagram has a budget that follows from its length,
//! and a receiver refuses what exceeds it. Senders compute the same budget and divide what they send.

/// Bytes that every datagram may cost beyond its own length. With it, a newcomer that publishes a full
/// list of votes fits the budget of its own datagram, so nothing is refused for ever.
const ALLOWANCE: usize = 1024;

/// The bytes that a datagram may still make its receiver hold beyond those of the datagram.
#[derive(Debug)]
pub(crate) struct Room(usize);

impl Room {
    /// The room that a datagram of this many bytes gives.
    pub(crate) const fn of(bytes: usize) -> Self {
        Self(bytes.saturating_add(ALLOWANCE))
    }

    /// The bytes that are left.
    pub(crate) const fn left(&self) -> usize {
        self.0
    }

    /// Takes this many bytes, if they are left. Otherwise takes nothing.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::attribute::HELD_VOTE_BYTES;
    use crate::sync::accept::NEWCOMER;

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let mut room = Room::of(0);
        assert!(!room.take(ALLOWANCE + 1));
        assert!(room.take(ALLOWANCE - 1));
        assert!(!room.take(2));
        assert!(room.take(1));
        assert!(!room.take(1));
    }

    #[test]
    fn a_newcomer_with_a_full_list_of_votes_fits_its_own_datagram() {
        // 32 votes, each of at least 19 bytes on the wire: two ids of 8 bytes and three short numbers.
        let (votes, on_the_wire) = (32, 19);
        assert!(Room::of(votes * on_the_wire).take(NEWCOMER + votes * HELD_VOTE_BYTES));
    }
}
