//! Writing datagrams: intentions become bytes at the moment they leave.

use core::net::SocketAddr;

use super::exchange::{FIRST_LEG, GIVEN};
use super::outbox::{Answer, News, Outgoing, Planned};
use super::{Node, Standing, count, length};
use crate::config::Mode;
use crate::identity::{Generation, NodeId};
use crate::membership::region::PARTS;
use crate::membership::{Condition, Region};
use crate::state::table_hash::{DIGEST, Salt};
use crate::time::Instant;
use crate::wire::frame::MOST_FRAME;
use crate::wire::message::{
    DELTA_HEAD, Delta, Encoder, Exchange, Extent, Item, Message, ModeTag, Push, Resume, Split,
    Summary,
};

/// The most bytes of a datagram that are not the keys and values of one entry.
pub(super) const OVERHEAD: usize = MOST_FRAME + HEAD + DELTA_HEAD + 40;

/// The most bytes of sender and message.
const HEAD: usize = 16 + 40;

/// The fewest bytes of a delta: its kind, an origin, its generation, five numbers.
const LEAST_DELTA: usize = 1 + 8 + 8 + 5;

/// The most bytes of a summary.
const SUMMARY: usize = 1 + 4 + 2 + 10;

/// Datagrams that one leg may take. With 1400 bytes each this is 17 kB: little enough for a socket
/// buffer and for the peer that gives, much enough for a newcomer to catch up within a second or two.
const BUDGET: u32 = 12;

/// Recent changes told in a SYN. More would crowd out what a SYN is for; the answer tells the rest.
const RECENTS_IN_SYN: usize = 16;

/// A datagram to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Transmit<'b> {
    /// Where to.
    pub to: SocketAddr,
    /// What: a part of the buffer that was handed to [`Node::poll_transmit`].
    pub payload: &'b [u8],
}

/// Whether a message is done with after the datagram just written.
pub(super) enum Rest {
    Done,
    More(Outgoing),
}

/// Where a datagram goes, how long it is, and what is left of its message.
pub(super) type Written = (SocketAddr, usize, Rest);

impl Node {
    /// The next datagram to send, written into `buffer`, which should have
    /// [`Node::max_datagram`] bytes; what does not fit is dropped. `None` when nothing is left to
    /// send until the next input.
    pub fn poll_transmit<'b>(
        &mut self,
        now: Instant,
        buffer: &'b mut [u8],
    ) -> Option<Transmit<'b>> {
        let now = now.max(self.now);
        let limit = self.max_datagram().min(buffer.len());
        let buffer = buffer.get_mut(..limit)?;
        // A message whose receiver is gone, or that has become pointless, writes nothing.
        let (to, len, is_liveness) = loop {
            let message = self.outbox.pop()?;
            let is_liveness = message.is_liveness();
            let body = self.framing.body(buffer);
            let written = match message {
                Outgoing::Map(message) => self.write_about_map(message, body),
                message => self.write_message(now, message, body),
            };
            if let Some((to, len, rest)) = written {
                if let Rest::More(message) = rest {
                    self.outbox.push(message);
                }
                break (to, len, is_liveness);
            }
        };
        let payload = self.framing.seal(buffer, len)?;
        count(&mut self.metrics.datagrams_out);
        let bytes = length(payload);
        self.metrics.bytes_out = self.metrics.bytes_out.saturating_add(bytes);
        if is_liveness {
            let sent = &mut self.metrics.liveness_bytes_out;
            *sent = sent.saturating_add(bytes);
        }
        Some(Transmit { to, payload })
    }

    /// The largest datagram that this node sends or accepts, in bytes.
    #[must_use]
    pub fn max_datagram(&self) -> usize {
        usize::from(self.config.max_datagram)
    }

    fn address_of(&self, id: NodeId) -> Option<SocketAddr> {
        self.table.get(id)?.address()
    }

    fn write_message(
        &self,
        now: Instant,
        message: Outgoing,
        body: &mut [u8],
    ) -> Option<(SocketAddr, usize, Rest)> {
        let bare = |to, message, body| {
            let encoder = Encoder::new(body, self.sender(), message)?;
            Some((to, encoder.len(), Rest::Done))
        };
        match message {
            Outgoing::Heartbeat { to } => bare(
                to,
                Message::Heartbeat {
                    counter: self.beats,
                },
                body,
            ),
            Outgoing::Ping { to, token } => {
                bare(self.address_of(to)?, Message::Ping { token }, body)
            }
            Outgoing::Challenge { to, token } => bare(to, Message::Ping { token }, body),
            Outgoing::Pong { to, token } => bare(to, Message::Pong { token }, body),
            Outgoing::Claim { to } => bare(to, Message::Claim { born: self.born }, body),
            Outgoing::Syn { to } => Some((to, self.write_syn(now, None, body)?, Rest::Done)),
            Outgoing::Introduction { to, token } => {
                Some((to, self.write_syn(now, Some(token), body)?, Rest::Done))
            }
            Outgoing::Map(_) => None,
            Outgoing::Answer(answer) => self.write_answer(answer, body),
            Outgoing::Push {
                tree,
                delegation,
                mut news,
            } => {
                let to = self.address_of(delegation.to)?;
                let segment = delegation.segment;
                let len = self.write_push(Push { tree, segment }, &mut news, body)?;
                let rest = if news.is_empty() {
                    Rest::Done
                } else {
                    Rest::More(Outgoing::Push {
                        tree,
                        delegation,
                        news,
                    })
                };
                Some((to, len, rest))
            }
        }
    }

    fn head(&self, leg: u8, mode: ModeTag, extent: Extent) -> Message {
        let hash = self.table.hash().to_le_bytes();
        Message::Exchange(Exchange {
            leg,
            mode,
            extent,
            hash,
            horizon: self.horizon,
        })
    }

    /// The SYN: the hash, and what is news. A newcomer that knows few lists them all, so that its
    /// seed sees at once what it lacks. Whoever has been asked for a `token` is not known there, and
    /// tells of itself.
    fn write_syn(&self, now: Instant, token: Option<u32>, body: &mut [u8]) -> Option<usize> {
        let head = self.head(FIRST_LEG, self.config.mode.into(), Extent::Whole);
        let mut encoder = Encoder::new(body, self.sender(), head)?;
        if let Some(token) = token {
            encoder.item(&Item::Echo(token));
            self.write_delta(&mut encoder, self.own, 0, false);
        }
        self.write_map_summary(&mut encoder);
        let learns = self.standing == Standing::Joining || self.table.len() <= 1;
        if learns && self.list_fits(Region::ALL, &encoder) {
            self.write_list(&mut encoder, Region::ALL);
        } else {
            let recents = self.recents.since(now, self.news_horizon(now));
            let pushes = self.config.mode == Mode::Push;
            for (n, id) in recents.take(RECENTS_IN_SYN).enumerate() {
                // Who only pushes does not wait to be asked.
                if pushes && n < GIVEN {
                    let after = self.known(id).1.saturating_sub(1);
                    self.write_delta(&mut encoder, id, after, false);
                } else {
                    encoder.item(&Item::Summary(self.summary(self.salt(), id)));
                }
            }
        }
        Some(encoder.len())
    }

    /// As much of an answer as one datagram holds.
    fn write_answer(
        &self,
        mut answer: Answer,
        body: &mut [u8],
    ) -> Option<(SocketAddr, usize, Rest)> {
        answer.sent = answer.sent.saturating_add(1);
        let mut encoder = Encoder::new(
            body,
            self.sender(),
            self.head(answer.leg, answer.mode, Extent::Whole),
        )?;
        let empty = encoder.len();
        while let Some(planned) = answer.plan.pop() {
            let fresh = encoder.len() == empty;
            match self.write_planned(&mut encoder, planned, fresh) {
                Part::All => {}
                Part::Nothing if fresh => {} // Will never fit, or is no longer there.
                Part::Nothing => {
                    answer.plan.push(planned);
                    break;
                }
                Part::UpTo(rest) => {
                    answer.plan.push(rest);
                    break;
                }
            }
        }
        let (to, leg, mode) = (answer.to, answer.leg, answer.mode);
        let (extent, rest) = match (answer.plan.is_empty(), answer.sent) {
            (true, _) if answer.truncated => (Extent::Truncated, Rest::Done),
            (true, 1) => (Extent::Whole, Rest::Done),
            (true, _) => (Extent::Last, Rest::Done),
            (false, BUDGET..) => (Extent::Truncated, Rest::Done),
            (false, _) => (Extent::Part, Rest::More(Outgoing::Answer(answer))),
        };
        encoder.rewrite_head(self.sender(), self.head(leg, mode, extent));
        Some((to, encoder.len(), rest))
    }

    fn write_planned(&self, encoder: &mut Encoder<'_>, planned: Planned, fresh: bool) -> Part {
        let written = |fits| if fits { Part::All } else { Part::Nothing };
        match planned {
            Planned::Summary(id) => {
                written(encoder.item(&Item::Summary(self.summary(self.salt(), id))))
            }
            Planned::Removed(generation) => written(encoder.item(&Item::Removed(generation))),
            Planned::Want(id) => written(encoder.item(&self.wanted(id))),
            Planned::WantUnknown(prefix) => written(encoder.item(&Item::Want(Summary {
                prefix,
                check: 0,
                frontier: 0,
            }))),
            Planned::Delta { origin, after } => {
                let after = self.not_below_the_floor(origin, after);
                self.write_delta(encoder, origin, after, fresh)
            }
            Planned::Rest { origin, after } => self.write_delta(encoder, origin, after, fresh),
            Planned::Split(region) => {
                let mut digests = [0; DIGEST * PARTS];
                let salt = self.salt();
                for (part, digest) in region.parts().zip(digests.as_chunks_mut::<DIGEST>().0) {
                    *digest = salt.digest(self.table.region_hash(part));
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

    fn list_fits(&self, region: Region, encoder: &Encoder<'_>) -> bool {
        let members = self.table.region(region).len();
        members.saturating_add(1).saturating_mul(SUMMARY) <= encoder.room()
    }

    /// Names every origin of a region.
    fn write_list(&self, encoder: &mut Encoder<'_>, region: Region) {
        let salt = self.salt();
        for record in self.table.region(region) {
            let (generation, frontier) = (record.log.generation(), record.log.frontier());
            let summary = summary(salt, record.id, generation, frontier);
            encoder.item(&Item::Summary(summary));
        }
        encoder.item(&Item::Complete(region));
    }

    /// The version from which to serve what was planned: all of it, if the floor has risen since.
    fn not_below_the_floor(&self, origin: NodeId, after: u64) -> u64 {
        let floor = self
            .table
            .get(origin)
            .map_or(0, |record| record.log.floor());
        if after < floor { 0 } else { after }
    }

    /// The most bytes that what lives of an origin above a version takes.
    pub(super) fn delta_size(&self, origin: NodeId, after: u64) -> usize {
        let after = self.not_below_the_floor(origin, after);
        let log = self.table.get(origin).map(|record| &record.log);
        let entries = log.map_or(0, |log| log.after(after).rest().len());
        entries.saturating_add(DELTA_HEAD)
    }

    /// What lives of an origin above a version, or as much of it as fits.
    fn write_delta(
        &self,
        encoder: &mut Encoder<'_>,
        origin: NodeId,
        after: u64,
        fresh: bool,
    ) -> Part {
        let Some(record) = self.table.get(origin) else {
            return Part::All;
        };
        let log = &record.log;
        if after >= log.frontier() {
            return Part::All;
        }
        let entries = log.after(after);
        let room = encoder.room().saturating_sub(DELTA_HEAD);
        let whole = entries.rest().len() <= room;
        if !whole && !fresh {
            return Part::Nothing;
        }
        let (entries, upto) = if whole {
            (entries.rest(), log.frontier())
        } else {
            match entries.fitting(room) {
                (entries, Some(upto)) => (entries, upto),
                (_, None) => return Part::Nothing,
            }
        };
        let delta = Delta {
            origin,
            generation: log.generation(),
            after,
            upto,
            frontier: log.frontier(),
            floor: log.floor(),
            entries,
        };
        if !encoder.item(&Item::Delta(delta)) {
            return Part::Nothing;
        }
        if whole {
            Part::All
        } else {
            Part::UpTo(Planned::Rest {
                origin,
                after: upto,
            })
        }
    }

    /// As much of the news as one datagram holds; what is written is taken off the list.
    fn write_push(&self, head: Push, news: &mut News, body: &mut [u8]) -> Option<usize> {
        let mut encoder = Encoder::new(body, self.sender(), Message::Push(head))?;
        let empty = encoder.len();
        while let Some((origin, after)) = news.last() {
            // A state larger than a datagram is told by its beginning: the receiver pulls the rest.
            let fresh = encoder.len() == empty;
            let after = self.not_below_the_floor(*origin, *after);
            let written = self.write_delta(&mut encoder, *origin, after, fresh);
            if matches!(written, Part::Nothing) && !fresh {
                break;
            }
            news.pop();
        }
        (encoder.len() > empty).then_some(encoder.len())
    }

    /// Under which this datagram shortens what it tells.
    fn salt(&self) -> Salt {
        Salt::of(&self.table.hash().to_le_bytes())
    }

    fn summary(&self, salt: Salt, origin: NodeId) -> Summary {
        let (generation, frontier) = self.known(origin);
        summary(salt, origin, generation, frontier)
    }

    /// What to ask for: what follows a partial claim, or the frontier; all of it where the member
    /// was removed and nothing but the frontier is left.
    fn wanted(&self, origin: NodeId) -> Item<'static> {
        let ghost = self
            .table
            .get(origin)
            .is_some_and(|record| record.condition == Condition::Ghost);
        match self.resume(origin) {
            Some(begun) => Item::Resume(Resume {
                told: summary(self.salt(), origin, begun.generation, begun.upto),
                least_frontier: begun.least_frontier,
            }),
            None if ghost => Item::Want(summary(self.salt(), origin, Generation::ZERO, 0)),
            None => Item::Want(self.summary(self.salt(), origin)),
        }
    }

    /// No leg can carry deltas of more origins than this.
    pub(super) fn most_planned(&self) -> usize {
        let datagrams = usize::try_from(BUDGET).unwrap_or(usize::MAX);
        let bytes = self.max_datagram().saturating_mul(datagrams);
        bytes.div_euclid(LEAST_DELTA)
    }

    /// The most origins that can be listed: what fits one datagram.
    pub(super) fn list_limit(&self) -> usize {
        let room = self.max_datagram().saturating_sub(MOST_FRAME + HEAD);
        room.div_euclid(SUMMARY).saturating_sub(1)
    }
}

fn summary(salt: Salt, origin: NodeId, generation: Generation, frontier: u64) -> Summary {
    Summary {
        prefix: origin.prefix(),
        check: salt.check(origin, generation),
        frontier,
    }
}

/// What became of a planned part.
enum Part {
    /// It is written, or there is nothing to write.
    All,
    /// It does not fit.
    Nothing,
    /// A part is written; this remains.
    UpTo(Planned),
}
