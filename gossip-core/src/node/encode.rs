//! Writing datagrams: an intention becomes bytes at the moment at which it leaves.
//!
//! A message that does not fit one datagram is written in parts. What is left of it goes back into the
//! outbox.

use core::net::SocketAddr;

use super::{Node, Standing};
use crate::config::Mode;
use crate::context::paths::Probe;
use crate::context::{Answer, Lengths, News, Outgoing, Planned, Receiver, add, count};
use crate::identity::{Generation, NodeId};
use crate::membership::region::PARTS;
use crate::membership::{Condition, Region};
use crate::state::table_hash::{DIGEST, Salt};
use crate::sync::leg::{FIRST_LEG, SUMMARY};
use crate::sync::news::{GIVEN, reach_back};
use crate::time::Instant;
use crate::wire::datagram::{Encoder, Space};
use crate::wire::message::{
    DELTA_HEAD, Delta, ExchangeHead, Extent, Item, Message, ModeTag, PushHead, Resume, Split,
    Summary, write_clock,
};

/// The most recent changes that a SYN names. A SYN is to be short, and the answer names the rest.
const RECENTS_IN_SYN: usize = 16;

/// A datagram to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Transmit<'b> {
    /// Where the datagram goes.
    pub to: SocketAddr,
    /// Its bytes: a part of the buffer that was handed to [`Node::poll_transmit`].
    pub payload: &'b [u8],
}

/// The length of a body, and what is left of its message.
type Written = (usize, Option<Outgoing>);

/// Whether a delta that does not fit the rest of a datagram may be cut there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The datagram has nothing in it yet: whatever does not fit now never will.
    Allowed,
    /// It is left to a datagram of its own.
    Refused,
}

impl Cut {
    /// Deltas are cut only at the beginning of a datagram.
    fn of(encoder: &Encoder<'_>) -> Self {
        if encoder.is_empty() {
            Self::Allowed
        } else {
            Self::Refused
        }
    }
}

/// How much of a planned part has been written.
enum Progress {
    /// All of it, or there is nothing to write.
    All,
    /// Nothing: it does not fit.
    Nothing,
    /// A part. This remains.
    UpTo(Planned),
}

impl Node {
    /// Writes the next datagram to send into `buffer`. `None` means that there is none until the next
    /// input.
    ///
    /// The buffer should have [`Node::max_datagram`] bytes. A message that does not fit it is dropped.
    pub fn poll_transmit<'b>(
        &mut self,
        now: Instant,
        buffer: &'b mut [u8],
    ) -> Option<Transmit<'b>> {
        let now = now.max(self.context.now);
        // A message writes nothing if its receiver is gone, or if it has become pointless.
        let (to, most, len, is_liveness, is_repeated) = loop {
            let message = self.outbox.pop()?;
            let Some(to) = self.address_of(message.receiver()) else {
                continue;
            };
            let Lengths { fill, most } = self.lengths(to, &message);
            let most = most.min(buffer.len());
            let buffer = buffer.get_mut(..most)?;
            let is_liveness = message.is_liveness();
            let is_repeated = message.is_repeated();
            let buffer = self.framing.body(buffer);
            let frame = most.saturating_sub(buffer.len());
            let fill = fill.saturating_sub(frame);
            let space = Space { buffer, fill };
            if let Some((len, rest)) = self.write_message(now, message, space) {
                if let Some(message) = rest {
                    self.outbox.push(message);
                }
                break (to, most, len, is_liveness, is_repeated);
            }
        };
        let payload = self.framing.seal(buffer.get_mut(..most)?, len)?;
        if is_repeated {
            let (now, interval) = (self.context.now, self.context.config.interval);
            self.context
                .paths
                .note_sent(now, interval, to, payload.len());
        }
        let metrics = &mut self.context.metrics;
        count(&mut metrics.datagrams_out);
        add(&mut metrics.bytes_out, payload.len());
        if is_liveness {
            add(&mut metrics.liveness_bytes_out, payload.len());
        }
        Some(Transmit { to, payload })
    }

    /// The largest datagram that this node sends or accepts, in bytes.
    #[must_use]
    pub fn max_datagram(&self) -> usize {
        self.context.max_datagram()
    }

    /// Where the receiver of a message is reached.
    fn address_of(&self, receiver: Receiver) -> Option<SocketAddr> {
        match receiver {
            Receiver::At(address) => Some(address),
            Receiver::Member(id) => self.context.table.get(id)?.address(),
        }
    }

    /// How long a message to this address may be.
    fn lengths(&self, to: SocketAddr, message: &Outgoing) -> Lengths {
        match message {
            Outgoing::Probe(Probe { len, .. }) => Lengths {
                fill: *len,
                most: self.max_datagram(),
            },
            _ => self.context.lengths(to),
        }
    }

    /// Writes as much of a message as one datagram holds.
    fn write_message(
        &mut self,
        now: Instant,
        message: Outgoing,
        space: Space<'_>,
    ) -> Option<Written> {
        let sender = self.context.sender();
        let counter = self.failure.beats();
        let since = self.context.incarnation_start;
        let bare = |message, space| {
            let encoder = Encoder::new(space, sender, message)?;
            Some((encoder.len(), None))
        };
        match message {
            Outgoing::Heartbeat { .. } => bare(Message::Heartbeat { counter }, space),
            Outgoing::Ping { token, .. } | Outgoing::Challenge { token, .. } => {
                bare(Message::Ping { token }, space)
            }
            Outgoing::Probe(Probe { token, .. }) => {
                let mut encoder = Encoder::new(space, sender, Message::Probe { token })?;
                encoder.pad();
                Some((encoder.len(), None))
            }
            Outgoing::Pong { token, .. } => bare(Message::Pong { token }, space),
            Outgoing::Claim { .. } => bare(Message::Claim { since }, space),
            Outgoing::Syn { .. } => Some((self.write_syn(now, None, space)?, None)),
            Outgoing::Introduction { token, .. } => {
                Some((self.write_syn(now, Some(token), space)?, None))
            }
            Outgoing::Answer(answer) => self.write_answer(answer, space),
            #[cfg(feature = "map")]
            Outgoing::Map(message) => {
                let written = self.shared_map.write_message(&self.context, message, space);
                written.map(|(len, rest)| (len, rest.map(Outgoing::Map)))
            }
            Outgoing::Push {
                tree,
                delegation,
                mut news,
            } => {
                let segment = delegation.segment;
                let told = self.push.tell(&self.context);
                let head = PushHead { tree, segment };
                let len = self.write_push(head, &mut news, &told, space)?;
                let rest = if news.is_empty() {
                    None
                } else {
                    Some(Outgoing::Push {
                        tree,
                        delegation,
                        news,
                    })
                };
                Some((len, rest))
            }
        }
    }

    /// The head of a leg.
    fn head(&self, leg: u8, mode: ModeTag, extent: Extent) -> Message {
        let hash = self.context.table.hash().to_le_bytes();
        Message::Exchange(ExchangeHead {
            leg,
            mode,
            extent,
            hash,
            prune_time: self.removal.prune_time(),
        })
    }

    /// The SYN: the table hash, and the recent changes.
    ///
    /// A joining node that knows few members lists them all, so that its seed sees at once what it lacks.
    /// A node that was asked to echo a token is unknown there. So it gives its own log with the token.
    fn write_syn(&self, now: Instant, token: Option<u32>, space: Space<'_>) -> Option<usize> {
        let head = self.head(FIRST_LEG, self.context.config.mode.into(), Extent::Whole);
        let mut encoder = Encoder::new(space, self.context.sender(), head)?;
        if let Some(token) = token {
            encoder.item(&Item::Echo(token));
            self.write_delta(&mut encoder, self.context.own, 0, Cut::Refused);
        }
        #[cfg(feature = "map")]
        self.shared_map.write_summary(&mut encoder);
        let learns = self.local.standing() == Standing::Joining || self.context.table.len() <= 1;
        if learns || self.sync.tells_clock() {
            self.write_clock(&mut encoder);
        }
        if learns && self.list_fits(Region::ALL, &encoder) {
            self.write_list(&mut encoder, Region::ALL);
        } else if self.sync.is_behind() {
            // Recent changes do not explain what a node that is far behind lacks.
            self.write_planned(&mut encoder, Planned::Split(Region::ALL), Cut::Refused);
        } else {
            let loss = self.failure.measured_loss_share();
            let news = self.sync.news_lasts(&self.context, now, loss);
            let recents = self.context.recent_changes.since(now, news);
            let pushes = self.context.config.mode == Mode::Push;
            for (n, id) in recents.take(RECENTS_IN_SYN).enumerate() {
                // In push mode nobody would ask for it.
                if pushes && n < GIVEN {
                    let after = self.context.known(id).1.saturating_sub(1);
                    self.write_delta(&mut encoder, id, after, Cut::Refused);
                } else {
                    encoder.item(&Item::Summary(self.summary(self.salt(), id)));
                }
            }
        }
        Some(encoder.len())
    }

    /// Tells what the own wall clock shows now.
    fn write_clock(&self, encoder: &mut Encoder<'_>) -> bool {
        let wall = self.context.clock.wall(self.context.now);
        encoder.item(&Item::Clock(&write_clock(wall)))
    }

    /// Writes as much of an answer as one datagram holds.
    fn write_answer(&self, mut answer: Answer, space: Space<'_>) -> Option<Written> {
        answer.sent = answer.sent.saturating_add(1);
        let mut encoder = Encoder::new(
            space,
            self.context.sender(),
            self.head(answer.leg, answer.mode, Extent::Whole),
        )?;
        while let Some(planned) = answer.plan.pop() {
            let cut = Cut::of(&encoder);
            match self.write_planned(&mut encoder, planned, cut) {
                Progress::All => {}
                // It will never fit.
                Progress::Nothing if cut == Cut::Allowed => {}
                Progress::Nothing => {
                    answer.plan.push(planned);
                    break;
                }
                Progress::UpTo(rest) => {
                    answer.plan.push(rest);
                    break;
                }
            }
        }
        let (leg, mode) = (answer.leg, answer.mode);
        let (extent, rest) = match (answer.plan.is_empty(), answer.sent) {
            (true, _) if answer.truncated => (Extent::Truncated, None),
            (true, 1) => (Extent::Whole, None),
            (true, _) => (Extent::Last, None),
            (false, sent) if sent >= answer.most => (Extent::Truncated, None),
            (false, _) => (Extent::Part, Some(Outgoing::Answer(answer))),
        };
        encoder.rewrite_head(self.context.sender(), self.head(leg, mode, extent));
        Some((encoder.len(), rest))
    }

    /// Writes one part of an answer.
    fn write_planned(&self, encoder: &mut Encoder<'_>, planned: Planned, cut: Cut) -> Progress {
        let written = |fits| {
            if fits {
                Progress::All
            } else {
                Progress::Nothing
            }
        };
        match planned {
            Planned::Summary(id) => {
                written(encoder.item(&Item::Summary(self.summary(self.salt(), id))))
            }
            Planned::Removed(generation) => written(encoder.item(&Item::Removed(generation))),
            Planned::Clock => written(self.write_clock(encoder)),
            Planned::Full => written(encoder.item(&Item::Full(&[]))),
            Planned::Want(id) => written(encoder.item(&self.wanted(id))),
            Planned::WantUnknown(prefix) => written(encoder.item(&Item::Want(Summary {
                prefix,
                check: 0,
                frontier: 0,
            }))),
            Planned::Delta { origin, after } => {
                let after = reach_back(&self.context, origin, after);
                self.write_delta(encoder, origin, after, cut)
            }
            Planned::Rest { origin, after } => self.write_delta(encoder, origin, after, cut),
            Planned::Split(region) => {
                let mut digests = [0; DIGEST * PARTS];
                let salt = self.salt();
                for (part, digest) in region.parts().zip(digests.as_chunks_mut::<DIGEST>().0) {
                    *digest = salt.digest(self.context.table.region_hash(part));
                }
                written(encoder.item(&Item::Split(Split {
                    region,
                    digests: &digests,
                })))
            }
            Planned::List(region) => {
                let fits = self.list_fits(region, encoder);
                if fits {
                    self.write_list(encoder, region);
                }
                written(fits)
            }
        }
    }

    /// Whether the list of all origins of a region fits.
    fn list_fits(&self, region: Region, encoder: &Encoder<'_>) -> bool {
        let members = self.context.table.region(region).len();
        members.saturating_add(1).saturating_mul(SUMMARY) <= encoder.room()
    }

    /// Names every origin of a region. The caller has checked that the list fits.
    fn write_list(&self, encoder: &mut Encoder<'_>, region: Region) {
        let salt = self.salt();
        for record in self.context.table.region(region) {
            let (generation, frontier) = (record.log.generation(), record.log.frontier());
            let summary = summary(salt, record.id, generation, frontier);
            let fits = encoder.item(&Item::Summary(summary));
            debug_assert!(fits, "the caller has checked that");
        }
        let fits = encoder.item(&Item::Complete(region));
        debug_assert!(fits, "the caller has checked that");
    }

    /// Writes what lives of an origin above a version, or as much of it as fits if it may be cut.
    fn write_delta(
        &self,
        encoder: &mut Encoder<'_>,
        origin: NodeId,
        after: u64,
        cut: Cut,
    ) -> Progress {
        let Some(record) = self.context.table.get(origin) else {
            return Progress::All;
        };
        let log = &record.log;
        if after >= log.frontier() {
            return Progress::All;
        }
        let entries = log.after(after);
        let room = encoder.room().saturating_sub(DELTA_HEAD);
        let most = encoder.room_for_one().saturating_sub(DELTA_HEAD);
        let whole = entries.rest().len() <= room;
        if !whole && cut == Cut::Refused {
            return Progress::Nothing;
        }
        let (part, upto) = if whole {
            (entries.rest(), log.frontier())
        } else {
            match entries.fitting(room) {
                (part, Some(upto)) => (part, upto),
                // A single entry may take more than datagrams are filled with.
                (_, None) => match entries.first() {
                    Some((part, upto)) if part.len() <= most => (part, upto),
                    _ => return Progress::Nothing,
                },
            }
        };
        let whole = part.len() == entries.rest().len();
        let upto = if whole { log.frontier() } else { upto };
        debug_assert!(after < upto && upto <= log.frontier());
        let delta = Delta {
            origin,
            generation: log.generation(),
            after,
            upto,
            frontier: log.frontier(),
            floor: log.floor(),
            entries: part,
        };
        if !encoder.item(&Item::Delta(delta)) {
            debug_assert!(part.is_empty(), "there is room for the entries");
            return Progress::Nothing;
        }
        if whole {
            Progress::All
        } else {
            Progress::UpTo(Planned::Rest {
                origin,
                after: upto,
            })
        }
    }

    /// Writes as much of the news as one datagram holds, and takes that off the list. Then tells how far
    /// some other logs are known.
    fn write_push(
        &self,
        head: PushHead,
        news: &mut News,
        told: &[NodeId],
        space: Space<'_>,
    ) -> Option<usize> {
        let mut encoder = Encoder::new(space, self.context.sender(), Message::Push(head))?;
        while let Some((origin, after)) = news.last() {
            // Of a log larger than a datagram only the beginning is pushed. The receiver pulls the rest.
            let cut = Cut::of(&encoder);
            let after = reach_back(&self.context, *origin, *after);
            let written = self.write_delta(&mut encoder, *origin, after, cut);
            if matches!(written, Progress::Nothing) && cut == Cut::Refused {
                break;
            }
            news.pop();
        }
        if encoder.is_empty() {
            return None;
        }
        let salt = Salt::of_sender(self.context.own, self.context.generation);
        for origin in told {
            encoder.item(&Item::Summary(self.summary(salt, *origin)));
        }
        Some(encoder.len())
    }

    /// The salt with which this datagram shortens hashes.
    fn salt(&self) -> Salt {
        Salt::of(&self.context.table.hash().to_le_bytes())
    }

    /// How far an origin is known.
    fn summary(&self, salt: Salt, origin: NodeId) -> Summary {
        let (generation, frontier) = self.context.known(origin);
        summary(salt, origin, generation, frontier)
    }

    /// What to ask for of an origin:
    ///
    /// - what follows a partial claim, if one has begun;
    /// - everything, if the member was removed here, because then only its frontier is left;
    /// - otherwise what follows the frontier.
    fn wanted(&self, origin: NodeId) -> Item<'static> {
        let is_removed = self.context.table.condition(origin) == Some(Condition::Removed);
        match self.sync.resume(&self.context, origin) {
            Some(begun) => Item::Resume(Resume {
                told: summary(self.salt(), origin, begun.generation, begun.upto),
                least_frontier: begun.least_frontier,
            }),
            None if is_removed => Item::Want(summary(self.salt(), origin, Generation::ZERO, 0)),
            None => Item::Want(self.summary(self.salt(), origin)),
        }
    }
}

/// How far an origin is known, in eight bytes.
fn summary(salt: Salt, origin: NodeId, generation: Generation, frontier: u64) -> Summary {
    Summary {
        prefix: origin.prefix(),
        check: salt.check(origin, generation),
        frontier,
    }
}
