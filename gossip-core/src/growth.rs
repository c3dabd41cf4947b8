//! How lists grow that hold what peers have told.

use alloc::vec::Vec;

/// Makes room for so many more: exactly, or for an eighth of what is there where that is more. Twofold
/// growth would take more memory than is promised.
pub(crate) fn make_room<T>(list: &mut Vec<T>, more: usize) {
    let eighth = list.len().div_euclid(8);
    if list.capacity().saturating_sub(list.len()) < more {
        list.reserve_exact(more.max(eighth));
    }
}
