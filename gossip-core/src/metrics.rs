//! Counters and gauges of one node (R20).

/// What a node has counted since it was made. All counters only rise; gauges are named as such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Datagrams received, the dropped ones included.
    pub datagrams_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Payload bytes received.
    pub bytes_in: u64,
    /// Payload bytes sent.
    pub bytes_out: u64,
    /// Payload bytes sent to see who lives: heartbeats, pings and their answers. What else is sent
    /// carries state: exchanges and pushes, votes among what they bring.
    pub liveness_bytes_out: u64,
    /// Datagrams dropped on arrival, by reason.
    pub dropped: Dropped,
    /// Parts of datagrams of a kind that this version does not know. They were skipped, and the rest of
    /// their datagrams was used.
    pub items_skipped: u64,
    /// Exchanges begun: SYNs sent.
    pub exchanges: u64,
    /// SYNs received whose table hash equalled ours: nothing was sent in return.
    pub exchanges_in_agreement: u64,
    /// Entries of other origins that were applied.
    pub entries_applied: u64,
    /// Deltas refused because their origin's state would exceed `max_state`, and writes of the shared map
    /// because it would exceed `max_map`, or one datagram brought more than its length allows.
    pub refused_state: u64,
    /// Deltas refused because the table already holds `max_members`, or for now because one datagram
    /// brought more unknown members or votes than its length allows.
    pub refused_members: u64,
    /// Deltas and generations refused because they lie too far in the future.
    pub refused_skew: u64,
    /// Senders asked to prove that they are where their datagrams come from, before they are answered.
    pub challenges: u64,
    /// Times this node outlived what others knew under its name, of its log or its part in the shared map:
    /// an earlier process of it that a peer remembered, a log that was forgotten in its absence, or a lie.
    pub outlived: u64,
    /// Regions of ids that an exchange divided where their ids differ instead of in the middle, since all
    /// of them begin alike: none, as a rule, where ids come from names.
    pub regions_crowded: u64,
    /// Ids that a new member was compared with in vain, since they lie where it does in the hash index. One
    /// in ten new members meets one; where there are many, somebody knows the secret key of the index.
    pub index_collisions: u64,
    /// Logs of the shared map in which nothing lives that this node took out of the version vector.
    pub map_logs_forgotten: u64,
    /// Deltas received in part and dropped because too many others were.
    pub staging_dropped: u64,
    /// Messages dropped from a full outbox.
    pub outbox_dropped: u64,
    /// Events lost to a full queue.
    pub events_lost: u64,
    /// Times this node began to suspect a neighbour.
    pub suspicions: u64,
    /// Heartbeats whose counter was more than 64 away from the one before: an outage that ended, or a lie.
    pub heartbeats_leapt: u64,
    /// Votes this node cast.
    pub votes_cast: u64,
    /// Votes against itself that this node refuted.
    pub refutations: u64,
    /// Times a member went down in this node's view.
    pub verdicts: u64,
    /// Times a member that was down came up again under the same generation: each is a false
    /// verdict, or a member that was cut off or paused (R9).
    pub flaps: u64,
    /// Times the local clock jumped, so that this node must have been paused.
    pub pauses: u64,
    /// Gauge: members in the table, this node included, in whatever state.
    pub members: u64,
    /// Gauge: members that take part, this node included: joining, up, suspect or leaving.
    pub live: u64,
    /// Gauge: members that are down.
    pub down: u64,
    /// Gauge: bytes of all members' state.
    pub state_bytes: u64,
}

/// Why datagrams were dropped on arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// Shorter than the smallest frame, or longer than `max_datagram`.
    pub length: u64,
    /// Another protocol version.
    pub version: u64,
    /// Flags that this version does not know.
    pub flags: u64,
    /// Another cluster.
    pub cluster: u64,
    /// Damaged: the checksum does not match.
    pub checksum: u64,
    /// Undamaged, but not a message.
    pub malformed: u64,
    /// A message of a kind that this version does not know.
    pub unknown: u64,
    /// Encrypted, and no key of this node opens it: another key, or a forgery.
    pub key: u64,
    /// Not encrypted, as this node requires.
    pub plaintext: u64,
    /// Encrypted, and seen before or very old.
    pub replayed: u64,
    /// Sent under this node's own name: by itself, or by another node that claims the name.
    pub own: u64,
}

impl Dropped {
    /// The sum over all reasons.
    #[must_use]
    pub fn total(&self) -> u64 {
        [
            self.length,
            self.version,
            self.flags,
            self.cluster,
            self.checksum,
            self.malformed,
            self.unknown,
            self.key,
            self.plaintext,
            self.replayed,
            self.own,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}
