//! The ranges of settings: which values work, and which are recommended.

use alloc::vec::Vec;
use core::fmt::{self, Display};
use core::time::Duration;

use super::{Config, Setting};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A setting has a value that cannot work.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field} is {value}, which cannot work: set it to {allowed}")]
pub struct ConfigError {
    /// The field of [`Config`].
    pub field: &'static str,
    /// The value that it has.
    pub value: Setting,
    /// The values that work.
    pub allowed: &'static str,
}

/// A setting has a value that works but is not recommended. `Display` says so in one sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigWarning {
    /// The field of [`Config`].
    pub field: &'static str,
    /// The value that it has.
    pub value: Setting,
    /// The values that are recommended.
    pub recommended: &'static str,
}

impl Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {}; recommended is {}",
            self.field, self.value, self.recommended
        )
    }
}

impl Config {
    /// The settings that work but lie outside what is recommended.
    #[must_use]
    pub fn warnings(&self) -> Vec<ConfigWarning> {
        let mut warnings = Vec::new();
        let mut check = |field, value: Setting, low, high, recommended| {
            if !value.lies_within(low, high) {
                warnings.push(ConfigWarning {
                    field,
                    value,
                    recommended,
                });
            }
        };
        let whole = Setting::Whole;
        check(
            "interval",
            Setting::Seconds(self.interval),
            Setting::Seconds(Duration::from_secs(1)),
            Setting::Seconds(Duration::from_secs(3)),
            "1 s to 3 s",
        );
        check(
            "fanout",
            whole(self.fanout.into()),
            whole(3),
            whole(5),
            "3 to 5",
        );
        check(
            "phi_convict",
            Setting::Decimal(self.phi_convict),
            Setting::Decimal(6.0),
            Setting::Decimal(12.0),
            "6 to 12",
        );
        if !self.seeds.is_empty() {
            check(
                "seeds",
                whole(number(self.seeds.len())),
                whole(3),
                whole(5),
                "3 to 5 for each datacenter",
            );
        }
        warnings
    }

    /// Checks every field. The error names the first one that cannot work.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_gossip()?;
        self.check_detection()?;
        self.check_times()?;
        self.check_bounds()
    }

    fn check_gossip(&self) -> Result<(), ConfigError> {
        whole(
            "length of cluster",
            number(self.cluster.len()),
            0,
            255,
            "at most 255 bytes",
        )?;
        time(
            "interval",
            self.interval,
            Duration::from_millis(10),
            Duration::from_secs(60),
            "10 ms to 60 s",
        )?;
        whole("fanout", self.fanout, 1, 16, "1 to 16")?;
        whole("bridges", self.bridges, 2, 8, "2 to 8")?;
        whole("push_fanout", self.push_fanout, 2, 32, "2 to 32")?;
        whole("push_trees", self.push_trees, 1, 4, "1 to 4")
    }

    fn check_detection(&self) -> Result<(), ConfigError> {
        let even = "2 to 16, even";
        whole("neighbours", self.neighbours, 2, 16, even)?;
        if !self.neighbours.is_multiple_of(2) {
            return refuse("neighbours", Setting::Whole(self.neighbours.into()), even);
        }
        decimal("phi_convict", self.phi_convict, 1.0, 16.0, "1 to 16")?;
        decimal(
            "phi_suspect",
            self.phi_suspect,
            1.0,
            self.phi_convict,
            "1 to 16, at most phi_convict",
        )?;
        whole("window", self.window, 4, 64, "4 to 64")?;
        decimal(
            "min_deviation",
            self.min_deviation,
            0.01,
            1.0,
            "0.01 to 1 interval",
        )?;
        decimal(
            "acceptable_pause",
            self.acceptable_pause,
            0.0,
            60.0,
            "0 to 60 intervals",
        )
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        time(
            "max_clock_skew",
            self.max_clock_skew,
            Duration::from_secs(1),
            Duration::from_secs(24 * 3600),
            "1 s to 1 day",
        )?;
        time(
            "remove_after",
            self.remove_after,
            self.interval.saturating_mul(10),
            YEAR,
            "10 intervals to 1 year",
        )?;
        time(
            "gc_grace",
            self.gc_grace,
            Duration::from_secs(60),
            YEAR,
            "1 min to 1 year",
        )?;
        time(
            "forget_after",
            self.forget_after,
            self.gc_grace,
            YEAR.saturating_mul(10),
            "gc_grace to 10 years",
        )?;
        time(
            "broadcast_ttl",
            self.broadcast_ttl,
            Duration::from_secs(1),
            Duration::from_secs(3600),
            "1 s to 1 h",
        )
    }

    fn check_bounds(&self) -> Result<(), ConfigError> {
        whole(
            "max_tombstones",
            self.max_tombstones,
            8,
            1_000_000,
            "8 to 1,000,000",
        )?;
        whole(
            "max_map",
            self.max_map,
            4 << 10,
            u32::MAX.into(),
            "4 KiB to 4 GiB",
        )?;
        whole(
            "max_datagram",
            self.max_datagram,
            512,
            8192,
            "512 to 8192 bytes",
        )?;
        whole(
            "safe_datagram",
            self.safe_datagram,
            512,
            8192,
            "512 to 8192 bytes",
        )?;
        whole(
            "max_members",
            self.max_members,
            2,
            1_000_000,
            "2 to 1,000,000",
        )?;
        whole(
            "max_state",
            self.max_state,
            256,
            1 << 20,
            "256 bytes to 1 MiB",
        )?;
        whole(
            "event_queue",
            self.event_queue,
            16,
            u16::MAX.into(),
            "16 to 65,535",
        )?;
        #[cfg(feature = "encryption")]
        whole(
            "number of keys",
            number(self.keys.len()),
            0,
            number(crate::MAX_KEYS),
            "at most 8",
        )?;
        whole("outbox", self.outbox, 64, u16::MAX.into(), "64 to 65,535")
    }
}

fn whole(
    field: &'static str,
    value: impl Into<u64>,
    low: u64,
    high: u64,
    allowed: &'static str,
) -> Result<(), ConfigError> {
    let [value, low, high] = [value.into(), low, high].map(Setting::Whole);
    refuse_beyond(field, value, low, high, allowed)
}

fn decimal(
    field: &'static str,
    value: f64,
    low: f64,
    high: f64,
    allowed: &'static str,
) -> Result<(), ConfigError> {
    let [value, low, high] = [value, low, high].map(Setting::Decimal);
    refuse_beyond(field, value, low, high, allowed)
}

fn time(
    field: &'static str,
    value: Duration,
    low: Duration,
    high: Duration,
    allowed: &'static str,
) -> Result<(), ConfigError> {
    let [value, low, high] = [value, low, high].map(Setting::Seconds);
    refuse_beyond(field, value, low, high, allowed)
}

/// Refuses a value that is less than `low` or more than `high`, and one that cannot be compared.
fn refuse_beyond(
    field: &'static str,
    value: Setting,
    low: Setting,
    high: Setting,
    allowed: &'static str,
) -> Result<(), ConfigError> {
    if value.lies_within(low, high) {
        Ok(())
    } else {
        refuse(field, value, allowed)
    }
}

const fn refuse(
    field: &'static str,
    value: Setting,
    allowed: &'static str,
) -> Result<(), ConfigError> {
    Err(ConfigError {
        field,
        value,
        allowed,
    })
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn the_presets_work() {
        for config in [Config::lan(), Config::wan(), Config::local()] {
            assert_eq!(config.check(), Ok(()));
        }
        assert_eq!(Config::lan().warnings(), []);
        assert_eq!(Config::wan().warnings(), []);
    }

    #[test]
    fn an_error_names_the_field_the_value_and_the_range() {
        let mut config = Config::lan();
        config.interval = Duration::ZERO;
        let error = config.check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "interval is 0 s, which cannot work: set it to 10 ms to 60 s"
        );
        let mut config = Config::lan();
        config.fanout = 0;
        assert_eq!(config.check().unwrap_err().field, "fanout");
        let mut config = Config::lan();
        config.neighbours = 7;
        assert_eq!(config.check().unwrap_err().field, "neighbours");
        let mut config = Config::lan();
        config.phi_convict = f64::NAN;
        assert_eq!(config.check().unwrap_err().field, "phi_convict");
    }

    #[test]
    fn a_value_that_is_not_recommended_works_and_is_listed() {
        let mut config = Config::lan();
        config.interval = Duration::from_millis(200);
        config.fanout = 1;
        config.seeds.push("127.0.0.1:1".parse().unwrap());
        assert_eq!(config.check(), Ok(()));
        let fields: Vec<_> = config.warnings().into_iter().map(|w| w.field).collect();
        assert_eq!(fields, ["interval", "fanout", "seeds"]);
    }
}
