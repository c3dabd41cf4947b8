//! Sorting in little code.
//!
//! The sort of `core` is fast for any length, and takes 4 KB of a microcontroller's flash for each
//! type of element. What is sorted here is short.

/// Sorts in place: heapsort (Williams 1964). O(n log n) whatever the order, without recursion;
/// equal elements may change places.
pub(crate) fn sort<T: Copy + Ord>(items: &mut [T]) {
    sort_by_key(items, |item| *item);
}

/// Sorts by what `key` makes of each element.
pub(crate) fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    let len = items.len();
    for root in (0..len.div_euclid(2)).rev() {
        sift(items, root, &key);
    }
    for end in (1..len).rev() {
        items.swap(0, end);
        sift(items.get_mut(..end).unwrap_or_default(), 0, &key);
    }
}

/// Moves an element down until none below it is greater.
fn sift<T, K: Ord>(heap: &mut [T], mut root: usize, key: &impl Fn(&T) -> K) {
    loop {
        let left = root.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        let at = |place| heap.get(place).map(key);
        let greater = if at(right) > at(left) { right } else { left };
        if at(greater) <= at(root) {
            return;
        }
        heap.swap(root, greater);
        root = greater;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_sorts(mut items in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut expected = items.clone();
            expected.sort_unstable();
            sort(&mut items);
            prop_assert_eq!(items, expected);
        }
    }
}
