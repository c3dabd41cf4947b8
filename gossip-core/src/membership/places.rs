//! Places in the table: those for members that live or are down, and as many for those that are gone.
//!
//! Whoever lives has room before whoever is gone. So members that left or were removed do not take the
//! `max_members` places of the others. They have as many of their own, and are [pruned](super::removal)
//! by all nodes together before these run out.

use super::{Condition, Table};
use crate::config::Config;
use crate::state::attribute::{BURIED, Declared, STATUS};
use crate::state::entry::Entries;

/// Which places a member takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// It takes part, or is down.
    Living,
    /// It left, or was removed.
    Gone,
}

impl Account {
    /// The places of a member of this condition.
    const fn of(condition: Condition) -> Self {
        match condition {
            Condition::Live | Condition::Down => Self::Living,
            Condition::Left | Condition::Removed => Self::Gone,
        }
    }

    /// The places that a member takes once `entries` have been laid upon what is known of it. They are all that
    /// its log says if `is_whole`.
    pub(crate) fn told_by(entries: &[u8], is_whole: bool) -> Self {
        let mut account = if is_whole && !entries.is_empty() {
            Self::Living
        } else {
            Self::Gone
        };
        for entry in Entries::new(entries) {
            if entry.key == BURIED {
                return Self::Gone;
            }
            if entry.key == STATUS {
                account = match Declared::decode(entry.value.unwrap_or_default()) {
                    Declared::Left => Self::Gone,
                    _ => Self::Living,
                };
            }
        }
        account
    }
}

impl Table {
    /// How many members take part or are down.
    pub(crate) const fn living_len(&self) -> usize {
        self.live_len().saturating_add(self.down_len())
    }

    /// How many members left or were removed.
    pub(crate) fn gone_len(&self) -> usize {
        debug_assert!(self.living_len() <= self.len());
        self.len().saturating_sub(self.living_len())
    }

    /// Whether there is a place for a member, known or not: `held` is how it counts so far.
    pub(crate) fn has_place(
        &self,
        config: &Config,
        held: Option<Condition>,
        account: Account,
    ) -> bool {
        let places = usize::try_from(config.max_members).unwrap_or(usize::MAX);
        let is_moving = held.map(Account::of) != Some(account);
        let is_new = held.is_none();
        match account {
            // Whoever goes stays where it is, and makes room among the living.
            Account::Gone => !is_new || self.gone_len() < places,
            Account::Living => {
                let is_bounded = !is_new || self.len() < places.saturating_mul(2);
                !is_moving || self.living_len() < places && is_bounded
            }
        }
    }

    /// Whether more members are down than there are places left for those that live.
    pub(crate) fn is_crowded(&self, config: &Config) -> bool {
        let places = usize::try_from(config.max_members).unwrap_or(usize::MAX);
        self.living_len().saturating_add(self.down_len()) > places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::testing::{at, context, generation, log_of};
    use crate::identity::NodeId;

    #[test]
    fn who_is_gone_takes_no_place_of_who_lives_and_both_are_bounded() {
        let mut context = context(|config| config.max_members = 4);
        let has_place = |context: &crate::context::Context, held, account| {
            context.table.has_place(&context.config, held, account)
        };
        for number in 1..=3 {
            assert!(has_place(&context, None, Account::Living));
            context.learn(number);
        }
        assert!(!has_place(&context, None, Account::Living), "four live");
        for number in 1..=3 {
            let id = NodeId::from_u64(number);
            context.table.set_condition(id, at(0), Condition::Left);
            assert!(has_place(&context, None, Account::Living));
            assert!(has_place(&context, None, Account::Gone));
        }
        for number in 4..=6 {
            context.learn(number);
        }
        assert_eq!(
            (context.table.living_len(), context.table.gone_len()),
            (4, 3)
        );
        let left = Some(Condition::Left);
        assert!(
            !has_place(&context, left, Account::Living),
            "nor to come back"
        );
        assert!(has_place(&context, Some(Condition::Down), Account::Living));
        assert!(has_place(&context, Some(Condition::Live), Account::Gone));
        let id = NodeId::from_u64(4);
        context.table.set_condition(id, at(0), Condition::Removed);
        assert!(!has_place(&context, None, Account::Gone), "four are gone");
        assert!(has_place(&context, left, Account::Gone));
        context.learn(7);
        for id in [5, 6, 7].map(NodeId::from_u64) {
            context.table.set_condition(id, at(0), Condition::Left);
        }
        context.learn(8);
        assert_eq!(context.table.len(), 9, "eight places, and more for nobody");
        assert!(!has_place(&context, None, Account::Living));
    }

    #[test]
    fn a_log_tells_which_places_its_member_takes() {
        let told = |log: &crate::state::log::Log, is_whole| {
            Account::told_by(log.entries().rest(), is_whole)
        };
        let mut log = log_of(generation(), 1, Declared::Up);
        assert_eq!(told(&log, true), Account::Living);
        log.write(0, STATUS, Some(Declared::Left.encode()));
        log.write(0, b"role", None);
        assert_eq!(told(&log, true), Account::Gone);
        log.bury(0);
        assert_eq!(told(&log, true), Account::Gone);
        assert_eq!(
            Account::told_by(&[], true),
            Account::Gone,
            "it says nothing"
        );
    }
}
