//! Counters and gauges of one node.

/// What a node has counted since it was made. Counters only rise. Gauges are marked as such.
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
    /// Payload bytes of heartbeats, pings and their answers. All other bytes sent carry state: exchanges and
    /// pushes, which bring votes, too.
    pub liveness_bytes_out: u64,
    /// Datagrams dropped on arrival, by reason.
    pub dropped: Dropped,
    /// Items in datagrams of a kind that this version does not know. The node skipped them and used the rest
    /// of the datagram.
    pub items_skipped: u64,
    /// Exchanges begun: SYNs sent.
    pub exchanges: u64,
    /// SYNs received whose table hash equals this node's own, so nothing was sent in return.
    pub exchanges_in_agreement: u64,
    /// Entries of other members that were applied.
    pub entries_applied: u64,
    /// State that was refused because
    ///
    /// - a member's log would exceed `max_state`;
    /// - the shared map would exceed `max_map`;
    /// - one datagram brought more writes of the shared map than its length allows.
    pub refused_state: u64,
    /// Deltas that were refused because
    ///
    /// - the table has no place for a member: `max_members` others live or are down, or as many are gone;
    /// - one datagram brought more unknown members or votes than its length allows. The node asks for
    ///   these again.
    pub refused_members: u64,
    /// Deltas, generations and writes that were refused because they lie too far in the future.
    pub refused_skew: u64,
    /// Members that were configured otherwise than this node, in a setting that all members need the same.
    pub settings_differed: u64,
    /// Senders that were asked to prove their address before this node answered them.
    pub challenges: u64,
    /// Times this node raised its generation, or opened a new log of the shared map, because others knew
    /// something under its name that it did not write. They remember an earlier process, they have forgotten
    /// its log while it was away, or somebody forged it.
    pub outlived: u64,
    /// Regions of the id space that an exchange split where their ids differ instead of in equal parts,
    /// because all of the ids begin alike. Ids that are hashes of names hardly ever do.
    pub regions_crowded: u64,
    /// Ids that a new member's id was compared with in vain, because they collide in the hash index. One in ten
    /// new members meets such an id. If there are many, somebody knows the secret key of the index.
    pub index_collisions: u64,
    /// Runs of writes of the shared map that came before something that they build on, and were held back
    /// until it came.
    pub map_runs_held_back: u64,
    /// Deltas of the shared map that were applied. A node that is up and connected gets its writes by runs, so
    /// many of them mean that it was away, or that more is written than it can follow.
    pub map_deltas_applied: u64,
    /// Own writes to the shared map that were not pushed, because 4096 waited already or because one is larger
    /// than a datagram. Exchanges bring them to others, some rounds later.
    pub map_pushes_skipped: u64,
    /// Ranges of missing writes of the shared map that this node has asked others for.
    pub map_repairs_asked: u64,
    /// Requests for missing writes of the shared map that this node has answered.
    pub map_repairs_answered: u64,
    /// Logs of departed writers of the shared map in which nothing lives, and which this node took out of the
    /// version vector.
    pub map_logs_forgotten: u64,
    /// Deltas that were received in part, and dropped because there were too many others.
    pub staging_dropped: u64,
    /// Messages that were dropped because the outbox was full.
    pub outbox_dropped: u64,
    /// Events that were lost because the queue was full.
    pub events_lost: u64,
    /// Times this node began to suspect a neighbour.
    pub suspicions: u64,
    /// Heartbeats whose counter differs by more than 64 from the one before: an outage has ended, or the
    /// heartbeat was forged.
    pub heartbeats_leapt: u64,
    /// Votes that this node cast.
    pub votes_cast: u64,
    /// Votes against itself that this node refuted.
    pub refutations: u64,
    /// Times a member went down in this node's view.
    pub verdicts: u64,
    /// Times a member that was down came up again under the same generation. Either the verdict was wrong, or
    /// the member was cut off or paused.
    pub flaps: u64,
    /// Times a deadline was missed by more than an interval, so this node must have been paused.
    pub pauses: u64,
    /// Gauge: members in the table in any state, this node and tombstones included.
    pub members: u64,
    /// Gauge: members that take part, this node included. They are joining, up, suspected or leaving.
    pub live: u64,
    /// Gauge: members that are down.
    pub down: u64,
    /// Gauge: bytes of the state of all members.
    pub state_bytes: u64,
    /// Gauge: by how many milliseconds this node's wall clock is ahead of those of its peers; negative if it is behind.
    /// Delays of the network make it up to two seconds too great. 0 while no peer has told its clock.
    pub clock_ahead_ms: i64,
    /// Addresses that long datagrams do not reach, as far as this node knows now.
    pub narrow_paths: u64,
}

/// Why datagrams were dropped on arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// The datagram is shorter than the smallest frame, or longer than `max_datagram`.
    pub length: u64,
    /// It has another protocol version.
    pub version: u64,
    /// It has flags that this version does not know.
    pub flags: u64,
    /// It is of another cluster.
    pub cluster: u64,
    /// It is damaged: the checksum does not match.
    pub checksum: u64,
    /// It is undamaged, but not a message.
    pub malformed: u64,
    /// It is a message of a kind that this version does not know.
    pub unknown: u64,
    /// It is encrypted, and no key of this node opens it: it is under another key, or forged.
    pub key: u64,
    /// It is not encrypted, and this node requires encryption.
    pub plaintext: u64,
    /// It is encrypted, and it was received before or is very old.
    pub replayed: u64,
    /// It was sent under this node's own name: by this node, or by another one that claims the name.
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
