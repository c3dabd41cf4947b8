//! A digest of the settings that all members need the same.

use core::fmt;

use siphasher::sip::SipHasher24;

use super::{Config, Mode};
use crate::time::nanos;

/// A digest of the settings that all members need the same: see [`Config`]. Two members that show different digests are
/// configured differently. The cluster's name and the keys are not part of it: nodes that differ in those do not hear
/// each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SettingsDigest(u32);

impl Default for SettingsDigest {
    /// The digest of the default settings.
    fn default() -> Self {
        Self::of(&Config::default())
    }
}

impl SettingsDigest {
    pub(crate) fn of(config: &Config) -> Self {
        let mode = match config.mode {
            Mode::Push => 0,
            Mode::Pull => 1,
            Mode::PushPull => 2,
        };
        let numbers = [
            u64::from(config.bridges),
            nanos(config.interval),
            mode,
            u64::from(config.neighbours),
            nanos(config.remove_after),
            u64::from(config.max_map),
            u64::from(config.max_datagram),
            u64::from(config.max_state),
        ];
        let mut bytes = [0; 64];
        for (chunk, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *chunk = number.to_le_bytes();
        }
        let [a, b, c, d, ..] = SipHasher24::new().hash(&bytes).to_le_bytes();
        Self(u32::from_le_bytes([a, b, c, d]))
    }

    pub(crate) const fn to_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }

    pub(crate) const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(bytes))
    }
}

impl fmt::Display for SettingsDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn what_all_members_need_the_same_changes_the_digest_and_nothing_else_does() {
        let digest = |change: fn(&mut Config)| {
            let mut config = Config::lan();
            change(&mut config);
            SettingsDigest::of(&config)
        };
        let same = digest(|_| ());
        let changes: [fn(&mut Config); 8] = [
            |config| config.bridges = 2,
            |config| config.interval = Duration::from_secs(2),
            |config| config.mode = Mode::Pull,
            |config| config.neighbours = 4,
            |config| config.remove_after = Duration::from_secs(60),
            |config| config.max_map = 5000,
            |config| config.max_datagram = 600,
            |config| config.max_state = 300,
        ];
        for change in changes {
            assert_ne!(digest(change), same);
        }
        assert_eq!(digest(|config| config.fanout = 5), same);
        assert_eq!(
            digest(|config| config.seeds = [([127, 0, 0, 1], 1).into()].into()),
            same
        );
    }
}
