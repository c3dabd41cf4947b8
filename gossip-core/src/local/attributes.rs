//! What the application says of its node: attributes in the own log.

use crate::command::CommandError;
use crate::context::Context;

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
    let size = own.size_with(key, value);
    let limit = usize::try_from(context.config.max_state).unwrap_or(usize::MAX);
    // A write that makes the state smaller is welcome even where the state is over its limit.
    if size > limit && size > own.size() {
        return Err(CommandError::StateFull { size, limit });
    }
    context.write(key, value);
    Ok(())
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
