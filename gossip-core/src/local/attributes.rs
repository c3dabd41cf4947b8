//! What the application says of its node: attributes in the own log.

use crate::command::CommandError;
use crate::context::Context;

/// Writes an attribute, or deletes it. To write what stands there already changes nothing.
///
/// # Errors
/// [`CommandError`] where the entry does not fit a datagram, or the state is full. Nothing has changed
/// then.
pub(crate) fn set(
    context: &mut Context,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), CommandError> {
    let Some(own) = context.table.get(context.own) else {
        debug_assert!(false, "a node is in its own table");
        return Ok(());
    };
    let is_unchanged = value.is_some() && own.log.get(key) == value;
    if is_unchanged {
        return Ok(());
    }
    let size = key.len().saturating_add(value.map_or(0, <[u8]>::len));
    let limit = context.entry_limit();
    if size > limit {
        return Err(CommandError::EntryTooLarge { size, limit });
    }
    let size = own.log.size_with(key, value);
    let limit = usize::try_from(context.config.max_state).unwrap_or(usize::MAX);
    if size > limit && size > own.log.size() {
        return Err(CommandError::StateFull { size, limit });
    }
    context.write(key, value);
    Ok(())
}

/// Deletes an attribute. To delete what is not there changes nothing.
///
/// # Errors
/// As [`set`].
pub(crate) fn unset(context: &mut Context, key: &[u8]) -> Result<(), CommandError> {
    let own = context.table.get(context.own);
    if own.is_none_or(|own| own.log.get(key).is_none()) {
        return Ok(());
    }
    set(context, key, None)
}
