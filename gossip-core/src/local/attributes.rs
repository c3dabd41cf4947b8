//! What the application says of its node: attributes in the own log.

use crate::command::CommandError;
use crate::context::Context;

/// The share of `max_state` that tombstones may take in a state that is full of attributes.
const LEAST_DEAD: usize = 16;

/// Writes an attribute, or deletes it. Writing the value that stands there already changes nothing.
///
/// # Errors
/// [`CommandError`] where the entry does not fit a datagram, or the state is full. Nothing has changed
/// then.
pub(crate) fn set(
    context: &mut Context,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), CommandError> {
    let Some(own) = context.own_log() else {
        return Ok(());
    };
    let is_unchanged = value.is_some() && own.get(key) == value;
    if is_unchanged {
        return Ok(());
    }
    let size = key.len().saturating_add(value.map_or(0, <[u8]>::len));
    let limit = context.entry_limit();
    if size > limit {
        return Err(CommandError::EntryTooLarge { size, limit });
    }
    // Tombstones make room for what lives, and a deletion takes none.
    let size = own.size_with(key, value).saturating_sub(own.dead_size());
    let limit = usize::try_from(context.config.max_state).unwrap_or(usize::MAX);
    // A write that makes the state smaller is welcome even where the state is over its limit.
    if value.is_some() && size > limit && size > own.size().saturating_sub(own.dead_size()) {
        return Err(CommandError::StateFull { size, limit });
    }
    context.write(key, value);
    collect_early(context, limit);
    Ok(())
}

/// Collects the earliest tombstones of the own log before their time, where they take the room of what lives. The
/// latest stay, a sixteenth of the room at least: a peer that lacks what was collected is sent the whole log.
fn collect_early(context: &mut Context, limit: usize) {
    let Some(own) = context.own_log() else {
        return;
    };
    let least = limit.div_euclid(LEAST_DEAD);
    let (over, dead) = (own.size().checked_sub(limit), own.dead_size());
    if let Some(over) = over.filter(|_| dead > least) {
        // An eighth more than need be, so that many go at a time.
        let bytes = over.saturating_add(limit.div_euclid(8));
        let bytes = bytes.min(dead.saturating_sub(least.div_euclid(2)));
        let own = context.own;
        context
            .table
            .change_log(own, |log| log.collect_earliest(bytes));
    }
}

/// Deletes an attribute. Deleting an attribute that is not there changes nothing.
///
/// # Errors
/// As [`set`].
pub(crate) fn unset(context: &mut Context, key: &[u8]) -> Result<(), CommandError> {
    let is_there = context.own_log().is_some_and(|own| own.get(key).is_some());
    if is_there {
        set(context, key, None)
    } else {
        Ok(())
    }
}
