//! Settings, parsed once.
//!
//! [`Config`] is what a user writes down. [`Node::new`](crate::Node::new) checks all of it and keeps a
//! private copy that is known to be valid. Each number has two ranges:
//!
//! - a value outside the range that *works* is refused with a [`ConfigError`];
//! - a value outside the range that is *recommended* is accepted, and [`Config::warnings`] lists it.

mod check;
mod digest;
#[cfg(feature = "encryption")]
pub(crate) mod secret;
mod setting;

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::identity::Name;
pub use check::{ConfigError, ConfigWarning};
pub use digest::SettingsDigest;
pub use setting::Setting;

/// Members that observe a node, by default.
pub(crate) const DEFAULT_NEIGHBOURS: u8 = 8;

/// Who gives news to whom in an exchange. All members need the same mode: a node that only asks learns
/// nothing from a node that only gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The node that begins an exchange gives what it knows.
    Push,
    /// The node that begins an exchange takes what its peer knows.
    Pull,
    /// Both: one exchange brings each side what is new on the other.
    #[default]
    PushPull,
}

/// Whether changes are sent on at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dissemination {
    /// A node pushes each change at once down trees over the id ring. The periodic rounds repair what
    /// the push missed.
    #[default]
    Eager,
    /// Changes travel in the periodic rounds only.
    Periodic,
}

/// The distribution from which phi is computed. Phi is minus the decimal logarithm of the probability
/// that a live neighbour stays silent for so long, given the intervals between its past heartbeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PhiModel {
    /// The predictive Student t distribution. It grows more patient the fewer intervals were observed.
    #[default]
    StudentT,
    /// The normal distribution, with the observed mean and deviation taken for the true ones
    /// (Hayashibara et al., *The φ Accrual Failure Detector*, 2004; Akka).
    Normal,
    /// The exponential distribution, which needs the mean alone (Cassandra).
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
///
/// [`Node::new`](crate::Node::new) refuses a value outside its range. [`Config::warnings`] lists values
/// that work but are not recommended.
///
/// # Settings that all members need the same
///
/// A cluster in which these differ works worse: `cluster`, `bridges`, `interval`, `mode`, `neighbours`,
/// `remove_after`, `max_map`, `max_datagram`, `max_state`, and with encryption the keys. Each node shows a
/// [digest](SettingsDigest) of them, and tells its application of members that show another one
/// ([`Event::SettingsDiffer`](crate::Event::SettingsDiffer)). While `neighbours` or `interval` is changed node by node,
/// deaths are still told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The cluster's name, at most 255 bytes. Nodes of clusters of different names ignore one another.
    /// Default empty.
    pub cluster: String,
    /// This node's datacenter. Gossip stays inside it, with thin traffic to the others. Default `None`:
    /// all nodes that name no datacenter form one.
    pub datacenter: Option<Name>,
    /// How many members of each datacenter also talk to other datacenters. All members need the same.
    /// Works from 2 to 8. Default 3: whichever of them fails, the other two vouch for each other. Traffic
    /// between datacenters grows with it.
    pub bridges: u8,
    /// Whether this node says that it is a bridge of its datacenter. Default `false`. While a member of a
    /// datacenter says so, no other member there is a bridge, and none but these talks to other datacenters.
    /// Set it where only some nodes can: on the gateways. At most `bridges` of them are bridges at a time.
    pub bridge: bool,
    /// Addresses at which to find the cluster: three to five nodes that are usually up. The node skips
    /// its own address among them, so all nodes may share one list. Default empty, which suits the first
    /// node of a cluster.
    pub seeds: Vec<SocketAddr>,
    /// Whether more seeds follow by [`Command::SetSeeds`](crate::Command::SetSeeds), for example since
    /// their names have yet to be looked up. Default `false`. A node without seeds takes itself at once
    /// for the first node of its cluster. A node that still waits for seeds does so only after three
    /// intervals without an answer.
    pub seeds_to_come: bool,
    /// Time between two rounds of exchanges, and between two heartbeats. Works from 10 ms to 1 min;
    /// recommended 1 s to 3 s. Default 1 s: a crash is detected within about three intervals, at
    /// negligible traffic.
    pub interval: Duration,
    /// Random peers that a node meets in each round. Works from 1 to 16; recommended 3 to 5. Default 3:
    /// at 50 % loss a round still reaches more than one of them on average.
    pub fanout: u8,
    /// Who gives news to whom in an exchange. All members need the same. Default [`Mode::PushPull`],
    /// which needs the fewest rounds.
    pub mode: Mode,
    /// Whether changes are sent on at once. Default [`Dissemination::Eager`]: a change takes three hops
    /// instead of about log N rounds.
    pub dissemination: Dissemination,
    /// Children of a node in an eager push tree. Works from 2 to 32. Default 10: a change reaches 1000
    /// nodes in three hops.
    pub push_fanout: u8,
    /// Independent eager push trees for each change of an attribute. Works from 1 to 4. Default 2: the second
    /// tree costs one more payload for each node, and a branch misses a change only if both trees lose it. Writes
    /// of the shared map go down one tree while none are lost.
    pub push_trees: u8,
    /// Members that observe a node on the id ring, and that it observes. All members need the same,
    /// because a verdict counts the votes of those who should observe. Works from 2 to 16, even. Default
    /// 8: a majority of observers survives the loss of several at once.
    pub neighbours: u8,
    /// The distribution from which phi is computed. Default [`PhiModel::StudentT`].
    pub phi_model: PhiModel,
    /// The phi at which a node reports a silent neighbour as suspected and probes it. Works from 1 to 16,
    /// at most `phi_convict`. Default 6: one false suspicion in a million intervals.
    pub phi_suspect: f64,
    /// The phi at which a node votes against a neighbour that does not answer its probes. Works from 1 to
    /// 16; recommended 6 to 12. Default 8: one false vote in a hundred million intervals. Whatever phi
    /// says, a silence of `acceptable_pause`, 2.5 intervals and five deviations together counts as one that
    /// reaches the threshold, before what loss and patience with the member add. The node never votes before
    /// its probes have gone unanswered.
    pub phi_convict: f64,
    /// Intervals between heartbeats that a node remembers of each neighbour. Works from 4 to 64. Default
    /// 64, about a minute: long enough for a stable variance, short enough to follow the link.
    pub window: u8,
    /// The smallest standard deviation that phi is computed with, in intervals. Works from 0.01 to 1.
    /// Default 0.1: on a perfectly regular link, a delay of a millisecond must not look like a death.
    pub min_deviation: f64,
    /// Silence that is forgiven beyond what past heartbeats predict, in intervals. Works from 0 to 60.
    /// Default 1.4: one lost heartbeat with jitter never makes a suspicion, two barely do.
    pub acceptable_pause: f64,
    /// How far ahead of the local wall clock the stamp of another node may lie before it is refused. Works
    /// from 1 s to 1 day. Default 1 min: far beyond the errors of NTP, far below a clock that is set an
    /// hour wrong.
    pub max_clock_skew: Duration,
    /// How long a member that is down or has left stays in the table. All members need the same. Works
    /// from 10 intervals to 1 year. Default 24 h: longer than an outage that people are working on. A
    /// member that is down goes after 300 intervals already if a node observes so many members that are
    /// down that its list of votes is nearly full (24 of 32).
    pub remove_after: Duration,
    /// How long the tombstone of a deleted attribute, or of a deleted key of the shared map, is kept.
    /// Where tombstones take the room of what lives, the eldest go earlier (`max_state`, `max_map`).
    /// Works from 1 min to 1 year. Default 10 days, as Cassandra's.
    pub gc_grace: Duration,
    /// How long the tombstone of a removed member is kept in the table, and how long a departed writer of
    /// the shared map stays in the version vector once nothing that it wrote lives. Works from `gc_grace`
    /// to 10 years. Default 30 days: a member that was away for less need not be sent the list of all that
    /// lives when it returns.
    pub forget_after: Duration,
    /// The most tombstones of each of three kinds. Beyond it, the oldest go first:
    ///
    /// 1. tombstones of removed members in the table, not counting those of the last 64 intervals. See also
    ///    `max_members`;
    /// 2. departed writers of the shared map of which nothing lives, which stay in the version vector;
    /// 3. departed writers that have left the version vector, of which a node remembers up to which version
    ///    they are dead.
    ///
    /// Works from 8 to 1,000,000. Default 1024: all three together take less memory than the members of a
    /// large cluster.
    pub max_tombstones: u32,
    /// The most bytes of the shared map: keys, values, and 20 to 60 bytes for each write. Tombstones take
    /// what values leave, and a sixteenth at least; the eldest make room. All members need the same. Works from 4 KiB to 4 GiB. Default 64 MiB: a hundred thousand keys of half a kilobyte.
    pub max_map: u32,
    /// How long a broadcast of this node is kept for nodes that have not received it yet. Works from 1 s
    /// to 1 h. Default 1 min: longer than most partitions last, short enough that news is news.
    pub broadcast_ttl: Duration,
    /// The largest datagram, in bytes of UDP payload. All members need the same. Works from 512 to 8192.
    /// Default 1400: it fits an Ethernet frame and leaves room for tunnels, and values of a kilobyte fit it.
    pub max_datagram: u16,
    /// The length up to which datagrams are filled, in bytes of UDP payload. Only an attribute or a value that needs more
    /// is sent in a longer datagram, up to `max_datagram`, which also holds if it is smaller. So a path that drops
    /// long datagrams carries everything else. Works from 512 to 8192. Default 1200: with its headers it fits 1280 bytes,
    /// the smallest packet that IPv6 guarantees, and fits most tunnels.
    pub safe_datagram: u16,
    /// The most members in the table that live or are down. Members that left or were removed take no place
    /// of theirs. They have as many places of their own, and are forgotten early, all nodes together, where
    /// half of these are taken. All members need the same. Works from 2 to 1,000,000. Default 20,000: twice
    /// the size that this library is made for.
    pub max_members: u32,
    /// The most bytes of state of one node: its attributes with their keys and versions. Tombstones of deleted
    /// attributes take what these leave, and a sixteenth at least; the eldest make room. All members need the
    /// same. Works from 256 bytes to 1 MiB. Default 10 KiB: at 10,000 nodes the table takes 100 MB at
    /// most.
    pub max_state: u32,
    /// Events that the node holds for the application before [`Event::Lagged`](crate::Event::Lagged)
    /// replaces them. Works from 16 to 65,535. Default 4096: the join of 1000 nodes fits.
    pub event_queue: u16,
    /// Messages that the node holds for the network before it drops repair messages. Most take one
    /// datagram, an answer up to 12, a push of many changes up to 128. Works from 64 to 65,535. Default
    /// 1024: several times what a push tree asks of a node in a large cluster.
    pub outbox: u16,
    /// Keys that the members share. The node encrypts with the first and accepts all of them. At most
    /// [`MAX_KEYS`](crate::MAX_KEYS). Default empty: plaintext.
    #[cfg(feature = "encryption")]
    pub keys: Vec<crate::SecretKey>,
    /// How strictly the keys are used, if there are any. Default
    /// [`Encryption::Require`](crate::Encryption::Require).
    #[cfg(feature = "encryption")]
    pub encryption: crate::Encryption,
}

impl Default for Config {
    fn default() -> Self {
        Self::lan()
    }
}

impl Config {
    /// The defaults, for nodes of one datacenter or region.
    #[must_use]
    pub const fn lan() -> Self {
        Self {
            cluster: String::new(),
            datacenter: None,
            bridges: 3,
            bridge: false,
            seeds: Vec::new(),
            seeds_to_come: false,
            interval: Duration::from_secs(1),
            fanout: 3,
            mode: Mode::PushPull,
            dissemination: Dissemination::Eager,
            push_fanout: 10,
            push_trees: 2,
            neighbours: DEFAULT_NEIGHBOURS,
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
            safe_datagram: 1200,
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

    /// For nodes spread over the internet. It differs from [`Config::lan`] in:
    ///
    /// - `interval` 3 s and `phi_convict` 10: more patient with slow links;
    /// - `fanout` 4: more peers in each of the rarer rounds;
    /// - `max_datagram` 1200: fits the smallest packet that IPv6 guarantees, 1280 bytes.
    #[must_use]
    pub const fn wan() -> Self {
        let mut config = Self::lan();
        config.interval = Duration::from_secs(3);
        config.fanout = 4;
        config.phi_convict = 10.0;
        config.max_datagram = 1200;
        config
    }

    /// For tests on one machine. It differs from [`Config::lan`] in:
    ///
    /// - `interval` 100 ms: ten times as fast as recommended;
    /// - `acceptable_pause` 5 intervals: a busy machine pauses a process for hundreds of milliseconds.
    #[must_use]
    pub const fn local() -> Self {
        let mut config = Self::lan();
        config.interval = Duration::from_millis(100);
        config.acceptable_pause = 5.0;
        config
    }
}
