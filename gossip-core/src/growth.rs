//! How lists grow that hold what peers have told.
//!
//! They grow by an eighth. The usual twofold growth would take more memory than the bounds promise.

use alloc::vec::Vec;

/// Makes room for this many more items: exactly that, or an eighth of what is there if that is more.
pub(crate) fn make_room<T>(list: &mut Vec<T>, more: usize) {
    let eighth = list.len().div_euclid(8);
    debug_assert!(list.capacity() >= list.len());
    if list.capacity().saturating_sub(list.len()) < more {
        list.reserve_exact(more.max(eighth));
    }
}

/// Makes room for one more item in a list of which there are many: for at least four.
pub(crate) fn grow<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len().div_euclid(8).max(4));
    }
}
