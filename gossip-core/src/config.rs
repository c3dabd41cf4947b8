//! Settings, parsed once.
//!
//! [`Config`] is what a user writes down; [`Node::new`](crate::Node::new) checks all of it and keeps
//! a private copy that is known to be valid. Two kinds of limits apply to each number: outside what
//! *works* it is refused with a [`ConfigError`]; outside what is *recommended* it is accepted and
//! listed by [`Config::warnings`] (R2).

#[cfg(feature = "encryption")]
pub(crate) mod secret;
mod setting;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Display;
use core::net::SocketAddr;
use core::time::Duration;

use crate::identity::Name;
pub use setting::Setting;

/// Who sends news to whom in an exchange (R10). All members should use the same mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The node that starts an exchange gives the news that it has.
    Push,
    /// The node that starts an exchange takes the news that its peer has.
    Pull,
    /// Both: what is new on either side crosses in one exchange.
    #[default]
    PushPull,
}

/// Whether news is sent on at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dissemination {
    /// A change is pushed at once down a tree over the id ring; the periodic rounds repair.
    #[default]
    Eager,
    /// News travels in the periodic rounds only.
    Periodic,
}

/// How phi is computed from the intervals observed (design 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PhiModel {
    /// The predictive Student-t distribution: honest about how few samples there are.
    #[default]
    StudentT,
    /// Normal, with mean and deviation taken as known (Hayashibara et al. 2004; Akka).
    Normal,
    /// Exponential, with the mean alone (Cassandra).
    Exponential,
}

/// The settings of a node. Start from a preset and change what differs:
///
/// ```
/// # use core::time::Duration;
/// let mut config = gossip_core::Config::lan();
/// config.cluster = "orders".into();
/// config.seeds = vec!["10.0.0.1:7946".parse().unwrap()];
/// config.interval = Duration::from_secs(2);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The cluster's name. Nodes of different names ignore one another. Default empty.
    pub cluster: String,
    /// This node's datacenter. Gossip stays inside it, with thin traffic between. Default none: all
    /// nodes without one form a single datacenter.
    pub datacenter: Option<Name>,
    /// Members of each datacenter that also talk to other datacenters. Works from 2 to 8; all members
    /// need the same. Default 3: two that vouch for each other whatever becomes of the third, and
    /// traffic between datacenters grows with it.
    pub bridges: u8,
    /// Where to find the cluster: three to five nodes that are usually up (R4). Empty for the first
    /// node. This node's own address among them is skipped, so that all may share one list.
    pub seeds: Vec<SocketAddr>,
    /// Whether more seeds follow by [`Command::SetSeeds`](crate::Command::SetSeeds), as when their names
    /// have to be looked up. Default false. A node without seeds takes itself for the first of its
    /// cluster at once; one that still waits for them, only after three intervals without an answer.
    pub seeds_to_come: bool,
    /// Time between rounds and between heartbeats. Works from 10 ms to 1 min; recommended 1 s to
    /// 3 s. Default 1 s: detection within about three intervals, at negligible traffic.
    pub interval: Duration,
    /// Random peers met in each round. Works from 1 to 16; recommended 3 to 5. Default 3: at 50 %
    /// loss a round still informs more than one peer.
    pub fanout: u8,
    /// Who sends news to whom, the same on all nodes: who only asks learns nothing from who only gives.
    /// Default push-pull, which needs the fewest rounds.
    pub mode: Mode,
    /// Whether news is sent on at once. Default eager: three hops instead of log N rounds.
    pub dissemination: Dissemination,
    /// Children of a node in an eager push tree. Works from 2 to 32. Default 10: 1000 nodes in
    /// three hops.
    pub push_fanout: u8,
    /// Independent eager push trees for each change. Works from 1 to 4. Default 2: one payload more
    /// for each node, and a lost datagram cuts off a branch only where both trees lose it.
    pub push_trees: u8,
    /// Ring neighbours that observe a node and are observed by it, the same number on all nodes: a verdict
    /// counts the votes of those who should observe. Works from 2 to 16, even. Default 8: a majority
    /// survives the loss of several observers at once.
    pub neighbours: u8,
    /// How phi is computed. Default [`PhiModel::StudentT`].
    pub phi_model: PhiModel,
    /// Phi at which a silent neighbour is reported and probed. Works from 1 to 16, at
    /// most `phi_convict`. Default 6: one false alarm in a million intervals.
    pub phi_suspect: f64,
    /// Phi at which, its probes unanswered, a neighbour is voted dead. Works from 1 to 16;
    /// recommended 6 to 12 (R7). Default 8. Whatever the model grants, a silence
    /// longer than `acceptable_pause`, 2.5 intervals and five deviations is enough.
    pub phi_convict: f64,
    /// Intervals remembered for each neighbour. Works from 4 to 64. Default 64: about a minute, long
    /// enough for a stable variance, short enough to follow the link.
    pub window: u8,
    /// Floor of the standard deviation, in intervals. Works from 0.01 to 1. Default 0.1: a perfectly
    /// regular link must not make a millisecond's delay a death.
    pub min_deviation: f64,
    /// Silence forgiven on top of what the statistics predict, in intervals. Works from 0 to 60.
    /// Default 1.4: one lost heartbeat plus jitter never makes a suspicion, two barely do.
    pub acceptable_pause: f64,
    /// How far ahead of the local wall clock a stamp may lie. Works from 1 s to 1 day. Default 1 min:
    /// far beyond NTP's errors, far below an hour set wrong.
    pub max_clock_skew: Duration,
    /// How long a member that is down or has left stays in the table, the same on all nodes. One that is down
    /// goes after 300 intervals already where a node observes so many that its list of votes is nearly full
    /// (24 of 32). Works from 10 intervals to 1 year. Default 24 h: longer than an outage that somebody is
    /// working on.
    pub remove_after: Duration,
    /// How long a tombstone is kept, of an attribute or of a key of the shared map. Works from 1 min
    /// to 1 year. Default 10 days, as Cassandra's.
    pub gc_grace: Duration,
    /// How long the trace of a removed member is kept in the table, and how long a departed writer of
    /// the shared map stays in the version vector once nothing of it
    /// lives. Works from `gc_grace` to 10 years. Default 30 days: as long as members may be away
    /// without being told the lists of what lives.
    pub forget_after: Duration,
    /// The most traces of removed members in the table, but for those of the last 64 intervals; the
    /// most departed writers that stay in the vector so, and the most others of which it is
    /// remembered up to where they are dead; the eldest go first. Works from 8 to 1,000,000. Default
    /// 1024: with it, they take less memory than the members of a large cluster. Traces take at most half of
    /// the places of `max_members` that members leave.
    pub max_tombstones: u32,
    /// The most bytes of the shared map: keys, values and 20 to 60 bytes for each write; all members
    /// need the same. Works from 4 KiB to 4 GiB. Default 64 MiB: a hundred thousand keys of half a
    /// kilobyte.
    pub max_map: u32,
    /// How long a broadcast of this node is kept for those who have not got it. Works from 1 s to
    /// 1 h. Default 1 min: longer than most partitions last, short enough that news is news.
    pub broadcast_ttl: Duration,
    /// The largest datagram, in bytes of UDP payload. Works from 512 to 8192; all members need the
    /// same. Default 1400: fits an Ethernet frame with room for tunnels.
    pub max_datagram: u16,
    /// The most members in the table. Works from 2 to 1,000,000. Default 20,000: twice the size that
    /// this library is made for.
    pub max_members: u32,
    /// The most bytes of state of one node, its attributes with their keys and versions. Works from
    /// 256 to 1 MiB; all members need the same. Default 10 KiB (R12).
    pub max_state: u32,
    /// Events held for the application before [`Event::Lagged`](crate::Event::Lagged). Works from 16
    /// to 65,535. Default 4096: a join of 1000 nodes fits.
    pub event_queue: u16,
    /// Messages held for the network before repair messages are dropped. One takes one datagram,
    /// an answer up to 12, a push of many news up to 128. Works from 64 to 65,535.
    /// Default 1024: about one for each member of a large cluster's push tree several times over.
    pub outbox: u16,
    /// Keys that the members share: it encrypts with the first, and accepts all. At most
    /// [`MAX_KEYS`](crate::MAX_KEYS). Default none: plaintext.
    #[cfg(feature = "encryption")]
    pub keys: Vec<crate::SecretKey>,
    /// How strictly keys are used, where there are any. Default [`Encryption::Require`](crate::Encryption::Require).
    #[cfg(feature = "encryption")]
    pub encryption: crate::Encryption,
}

impl Default for Config {
    fn default() -> Self {
        Self::lan()
    }
}

impl Config {
    /// For nodes of one datacenter or region: the defaults.
    #[must_use]
    pub const fn lan() -> Self {
        Self {
            cluster: String::new(),
            datacenter: None,
            bridges: 3,
            seeds: Vec::new(),
            seeds_to_come: false,
            interval: Duration::from_secs(1),
            fanout: 3,
            mode: Mode::PushPull,
            dissemination: Dissemination::Eager,
            push_fanout: 10,
            push_trees: 2,
            neighbours: 8,
            phi_model: PhiModel::StudentT,
            phi_suspect: 6.0,
            phi_convict: 8.0,
            window: 64,
            min_deviation: 0.1,
            acceptable_pause: 1.4,
            max_clock_skew: Duration::from_secs(60),
            remove_after: Duration::from_secs(24 * 3600),
            gc_grace: Duration::from_secs(10 * 24 * 3600),
            forget_after: Duration::from_secs(30 * 24 * 3600),
            max_tombstones: 1024,
            max_map: 64 << 20,
            broadcast_ttl: Duration::from_secs(60),
            max_datagram: 1400,
            max_members: 20_000,
            max_state: 10 * 1024,
            event_queue: 4096,
            outbox: 1024,
            #[cfg(feature = "encryption")]
            keys: Vec::new(),
            #[cfg(feature = "encryption")]
            encryption: crate::Encryption::Require,
        }
    }

    /// For nodes spread over the internet: slower, more patient, smaller datagrams.
    #[must_use]
    pub const fn wan() -> Self {
        let mut config = Self::lan();
        config.interval = Duration::from_secs(3);
        config.fanout = 4;
        config.phi_convict = 10.0;
        config.max_datagram = 1200;
        config
    }

    /// For tests on one machine: rounds ten times as fast as the recommended ones.
    #[must_use]
    pub const fn local() -> Self {
        let mut config = Self::lan();
        config.interval = Duration::from_millis(100);
        // A busy test machine pauses a process longer than a tenth of a second's share.
        config.acceptable_pause = 5.0;
        config
    }

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

    /// Checks every field.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        let range = |field, value: u64, low, high, allowed| {
            let [value, low, high] = [value, low, high].map(Setting::Whole);
            refuse_beyond(field, value, low, high, allowed)
        };
        let decimals = |field, value, low, high, allowed| {
            let [value, low, high] = [value, low, high].map(Setting::Decimal);
            refuse_beyond(field, value, low, high, allowed)
        };
        let seconds = |field, value, low, high, allowed| {
            let [value, low, high] = [value, low, high].map(Setting::Seconds);
            refuse_beyond(field, value, low, high, allowed)
        };
        range(
            "length of cluster",
            number(self.cluster.len()),
            0,
            255,
            "at most 255 bytes",
        )?;
        seconds(
            "interval",
            self.interval,
            Duration::from_millis(10),
            Duration::from_secs(60),
            "10 ms to 60 s",
        )?;
        range("fanout", self.fanout.into(), 1, 16, "1 to 16")?;
        range("bridges", self.bridges.into(), 2, 8, "2 to 8")?;
        range("push_fanout", self.push_fanout.into(), 2, 32, "2 to 32")?;
        range("push_trees", self.push_trees.into(), 1, 4, "1 to 4")?;
        range("neighbours", self.neighbours.into(), 2, 16, "2 to 16, even")?;
        if !self.neighbours.is_multiple_of(2) {
            range("neighbours", self.neighbours.into(), 0, 0, "2 to 16, even")?;
        }
        decimals("phi_convict", self.phi_convict, 1.0, 16.0, "1 to 16")?;
        decimals(
            "phi_suspect",
            self.phi_suspect,
            1.0,
            self.phi_convict,
            "1 to 16, at most phi_convict",
        )?;
        range("window", self.window.into(), 4, 64, "4 to 64")?;
        decimals(
            "min_deviation",
            self.min_deviation,
            0.01,
            1.0,
            "0.01 to 1 interval",
        )?;
        decimals(
            "acceptable_pause",
            self.acceptable_pause,
            0.0,
            60.0,
            "0 to 60 intervals",
        )?;
        seconds(
            "max_clock_skew",
            self.max_clock_skew,
            Duration::from_secs(1),
            Duration::from_secs(24 * 3600),
            "1 s to 1 day",
        )?;
        seconds(
            "remove_after",
            self.remove_after,
            self.interval.saturating_mul(10),
            YEAR,
            "10 intervals to 1 year",
        )?;
        seconds(
            "gc_grace",
            self.gc_grace,
            Duration::from_secs(60),
            YEAR,
            "1 min to 1 year",
        )?;
        seconds(
            "forget_after",
            self.forget_after,
            self.gc_grace,
            YEAR.saturating_mul(10),
            "gc_grace to 10 years",
        )?;
        range(
            "max_tombstones",
            self.max_tombstones.into(),
            8,
            1_000_000,
            "8 to 1,000,000",
        )?;
        range(
            "max_map",
            self.max_map.into(),
            4 << 10,
            u32::MAX.into(),
            "4 KiB to 4 GiB",
        )?;
        seconds(
            "broadcast_ttl",
            self.broadcast_ttl,
            Duration::from_secs(1),
            Duration::from_secs(3600),
            "1 s to 1 h",
        )?;
        range(
            "max_datagram",
            self.max_datagram.into(),
            512,
            8192,
            "512 to 8192 bytes",
        )?;
        range(
            "max_members",
            self.max_members.into(),
            2,
            1_000_000,
            "2 to 1,000,000",
        )?;
        range(
            "max_state",
            self.max_state.into(),
            256,
            1 << 20,
            "256 bytes to 1 MiB",
        )?;
        range(
            "event_queue",
            self.event_queue.into(),
            16,
            u16::MAX.into(),
            "16 to 65,535",
        )?;
        #[cfg(feature = "encryption")]
        range(
            "number of keys",
            number(self.keys.len()),
            0,
            number(crate::MAX_KEYS),
            "at most 8",
        )?;
        range(
            "outbox",
            self.outbox.into(),
            64,
            u16::MAX.into(),
            "64 to 65,535",
        )?;
        Ok(())
    }
}

/// Refuses a setting that is less than `low` or more than `high`.
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
        Err(ConfigError {
            field,
            value,
            allowed,
        })
    }
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A setting that cannot work.
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

/// A setting that works but is not recommended. `Display` tells it in one sentence.
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
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{} is {}; recommended is {}",
            self.field, self.value, self.recommended
        )
    }
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
    fn what_is_not_recommended_is_told_but_works() {
        let mut config = Config::lan();
        config.interval = Duration::from_millis(200);
        config.fanout = 1;
        config.seeds.push("127.0.0.1:1".parse().unwrap());
        assert_eq!(config.check(), Ok(()));
        let fields: Vec<_> = config.warnings().into_iter().map(|w| w.field).collect();
        assert_eq!(fields, ["interval", "fanout", "seeds"]);
    }
}
