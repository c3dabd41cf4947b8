//! A map in one vector, sorted by key.
//!
//! Iterates in the order of its keys, as a `BTreeMap` does, and takes a microcontroller a few hundred
//! bytes of code for each pair of types where that takes five thousand. Looks up in O(log n). To add or
//! remove in the middle moves what follows, which for ten thousand members takes a few microseconds;
//! who adds in the order of the keys moves nothing.

use alloc::vec::Vec;

/// Makes room for so many more: exactly, or for an eighth of what is there where that is more. Twofold
/// growth would take more memory than is promised.
pub(crate) fn make_room<T>(list: &mut Vec<T>, more: usize) {
    let eighth = list.len().div_euclid(8);
    if list.capacity().saturating_sub(list.len()) < more {
        list.reserve_exact(more.max(eighth));
    }
}

/// A map from `K` to `V`.
#[derive(Clone, Debug)]
pub(crate) struct SortedMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Copy + Ord, V> SortedMap<K, V> {
    /// Where a key is, or would be.
    fn find(&self, key: K) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| held.cmp(&key))
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, key: K) -> Option<&V> {
        let at = self.find(key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// The value under a key. Where there is none, `value` is put there first.
    pub(crate) fn get_or_insert(&mut self, key: K, value: V) -> Option<&mut V> {
        let at = match self.find(key) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (key, value));
                at
            }
        };
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Puts a value under a key, and returns the one that was there.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(key) {
            Ok(at) => {
                let (_, held) = self.0.get_mut(at)?;
                Some(core::mem::replace(held, value))
            }
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let at = self.find(key).ok()?;
        Some(self.0.remove(at).1)
    }

    pub(crate) fn retain(&mut self, keeps: impl Fn(K, &V) -> bool) {
        self.0.retain(|(key, value)| keeps(*key, value));
    }

    /// In the order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    /// In the order of the keys.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (*key, value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    proptest::proptest! {
        #[test]
        fn it_is_the_map_of_the_standard_library(
            acts in proptest::collection::vec((0..5_u8, 0..20_u8, 0..9_u32), 0..60),
        ) {
            let (mut ours, mut theirs) = (SortedMap::default(), BTreeMap::new());
            for (act, key, value) in acts {
                match act {
                    0 | 1 => assert_eq!(ours.insert(key, value), theirs.insert(key, value)),
                    2 => assert_eq!(ours.remove(key), theirs.remove(&key)),
                    3 => {
                        let held = ours.get_or_insert(key, value).unwrap();
                        *held += 1;
                        *theirs.entry(key).or_insert(value) += 1;
                    }
                    _ => {
                        ours.retain(|k, v| k != key && *v != value);
                        theirs.retain(|k, v| *k != key && *v != value);
                    }
                }
                assert_eq!(ours.get(key), theirs.get(&key));
                assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
                assert!(ours.iter().eq(theirs.iter().map(|(k, v)| (*k, v))));
                assert!(ours.iter_mut().eq(theirs.iter_mut().map(|(k, v)| (*k, v))));
            }
        }
    }
}
