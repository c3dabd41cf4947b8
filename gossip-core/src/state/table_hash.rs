//! The table hash: two replicas compare it before they compare anything else.
//!
//! Each origin contributes a keyed 128-bit SipHash of (origin, generation, frontier). The table hash is the
//! sum of the contributions modulo 2^128 (Bellare and Micciancio, *A New Paradigm for Collision-Free
//! Hashing*, 1997: AdHash). So
//!
//! - a change costs one subtraction and one addition, whatever the size of the table;
//! - any set of origins has a hash of its own, by which an exchange narrows down a difference.
//!
//! # What an attacker can do
//!
//! An application chooses attributes, but all that is hashed of them is how many writes there were. An
//! attacker in a cluster without encryption knows the key, which follows from the cluster's name. It can
//! forge members by the dozen and find sets of logs whose sums make two different tables look alike
//! (Wagner, *A Generalized Birthday Problem*, 2002). The difference then stays until one of these logs
//! changes at one of the two nodes.
//!
//! The hashes of single origins and of regions are shortened to a few bytes before they travel. Each sender
//! shortens them under its own [`Salt`], which changes with its table. So two things that look alike in one
//! exchange differ in the next, and nobody can construct such things.

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::identity::{Generation, NodeId};

/// The key under which a cluster's nodes hash their tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashKey(SipHasher24);

impl HashKey {
    /// The key that follows from the cluster's name.
    pub(crate) fn of(cluster: &str) -> Self {
        let mut hasher = SipHasher24::new_with_keys(2, 3);
        core::hash::Hasher::write(&mut hasher, cluster.as_bytes());
        let (a, b) = hasher.finish128().as_u64();
        Self(SipHasher24::new_with_keys(a, b))
    }

    /// What an origin that is known up to `frontier` contributes: 0 if nothing is known.
    pub(crate) fn contribution(
        &self,
        origin: NodeId,
        generation: Generation,
        frontier: u64,
    ) -> u128 {
        if frontier == 0 {
            return 0;
        }
        let mut bytes = [0; 24];
        for (part, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip([
            origin.as_u64(),
            generation.stamp().to_bits(),
            frontier,
        ]) {
            *part = number.to_le_bytes();
        }
        self.0.hash(&bytes).as_u128()
    }
}

/// Shortens the hashes that one datagram carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Salt(SipHasher13);

impl Salt {
    /// The salt of a datagram whose sender's table hash is this.
    pub(crate) fn of(hash: &[u8; 16]) -> Self {
        Self(SipHasher13::new_with_key(hash))
    }

    /// The salt of a push, which tells no table hash.
    pub(crate) fn of_sender(id: NodeId, generation: Generation) -> Self {
        let generation = u128::from(generation.stamp().to_bits());
        let both = u128::from(id.as_u64()) | generation << 64;
        Self::of(&both.to_le_bytes())
    }

    /// A check by which a receiver tells apart the generations of an origin, and origins whose ids begin
    /// alike.
    pub(crate) fn check(&self, origin: NodeId, generation: Generation) -> u16 {
        let generation = u128::from(generation.stamp().to_bits());
        let [a, b, ..] = self.shorten(u128::from(origin.as_u64()) | generation << 64);
        u16::from_le_bytes([a, b])
    }

    /// The part of a region's hash that travels.
    pub(crate) fn digest(&self, hash: u128) -> [u8; DIGEST] {
        let [a, b, c, d, ..] = self.shorten(hash);
        [a, b, c, d]
    }

    fn shorten(&self, number: u128) -> [u8; 8] {
        self.0.hash(&number.to_le_bytes()).to_le_bytes()
    }
}

/// Bytes of a region's hash that travel.
pub(crate) const DIGEST: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hlc::Stamp;

    #[test]
    fn the_contribution_depends_on_origin_generation_frontier_and_cluster() {
        let key = HashKey::of("c");
        let generation = |bits| Generation::new(Stamp::from_bits(bits));
        let base = key.contribution(NodeId::from_u64(1), generation(1), 1);
        assert_ne!(
            base,
            key.contribution(NodeId::from_u64(2), generation(1), 1)
        );
        assert_ne!(
            base,
            key.contribution(NodeId::from_u64(1), generation(2), 1)
        );
        assert_ne!(
            base,
            key.contribution(NodeId::from_u64(1), generation(1), 2)
        );
        assert_ne!(
            base,
            HashKey::of("d").contribution(NodeId::from_u64(1), generation(1), 1)
        );
        assert_eq!(0, key.contribution(NodeId::from_u64(1), generation(1), 0));
    }
}
