//! Writing datagrams: intentions become bytes at the moment they leave.

use core::net::SocketAddr;

use super::{Node, Standing};
use crate::config::Mode;
#[cfg(feature = "map")]
use crate::context::MapOutgoing;
use crate::context::{Answer, News, Outgoing, Planned, add, count};
use crate::identity::{Generation, NodeId};
use crate::membership::region::PARTS;
use crate::membership::{Condition, Region};
use crate::state::table_hash::{DIGEST, Salt};
use crate::sync::leg::{BUDGET, FIRST_LEG, SUMMARY};
use crate::sync::news::{GIVEN, not_below_the_floor};
use crate::time::Instant;
use crate::wire::datagram::Encoder;
use crate::wire::message::{
    DELTA_HEAD, Delta, ExchangeHead, Extent, Item, Message, ModeTag, PushHead, Resume, Split,
    Summary,
};

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

/// Where a datagram goes, how long it is, and what is left of its message.
type Written = (SocketAddr, usize, Option<Outgoing>);

impl Node {
    /// The next datagram to send, written into `buffer`, which should have
    /// [`Node::max_datagram`] bytes; what does not fit is dropped. `None` when nothing is left to
    /// send until the next input.
    pub fn poll_transmit<'b>(
        &mut self,
        now: Instant,
        buffer: &'b mut [u8],
    ) -> Option<Transmit<'b>> {
        let now = now.max(self.context.now);
        let limit = self.max_datagram().min(buffer.len());
        let buffer = buffer.get_mut(..limit)?;
        // A message whose receiver is gone, or that has become pointless, writes nothing.
        let (to, len, is_liveness) = loop {
            let message = self.outbox.pop()?;
            let is_liveness = message.is_liveness();
            let body = self.framing.body(buffer);
            let written = match message {
                #[cfg(feature = "map")]
                Outgoing::Map(message) => self.write_about_map(message, body),
                message => self.write_message(now, message, body),
            };
            if let Some((to, len, rest)) = written {
                if let Some(message) = rest {
                    self.outbox.push(message);
                }
                break (to, len, is_liveness);
            }
        };
        let payload = self.framing.seal(buffer, len)?;
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

    fn address_of(&self, id: NodeId) -> Option<SocketAddr> {
        self.context.table.get(id)?.address()
    }

    fn write_message(&self, now: Instant, message: Outgoing, body: &mut [u8]) -> Option<Written> {
        let bare = |to, message, body| {
            let encoder = Encoder::new(body, self.context.sender(), message)?;
            Some((to, encoder.len(), None))
        };
        let since = self.context.incarnation_start;
        match message {
            Outgoing::Heartbeat { to } => bare(
                to,
                Message::Heartbeat {
                    counter: self.failure.beats(),
                },
                body,
            ),
            Outgoing::Ping { to, token } => {
                bare(self.address_of(to)?, Message::Ping { token }, body)
            }
            Outgoing::Challenge { to, token } => bare(to, Message::Ping { token }, body),
            Outgoing::Pong { to, token } => bare(to, Message::Pong { token }, body),
            Outgoing::Claim { to } => bare(to, Message::Claim { since }, body),
            Outgoing::Syn { to } => Some((to, self.write_syn(now, None, body)?, None)),
            Outgoing::Introduction { to, token } => {
                Some((to, self.write_syn(now, Some(token), body)?, None))
            }
            #[cfg(feature = "map")]
            Outgoing::Map(_) => None,
            Outgoing::Answer(answer) => self.write_answer(answer, body),
            Outgoing::Push {
                tree,
                delegation,
                mut news,
            } => {
                let to = self.address_of(delegation.to)?;
                let segment = delegation.segment;
                let len = self.write_push(PushHead { tree, segment }, &mut news, body)?;
                let rest = if news.is_empty() {
                    None
                } else {
                    Some(Outgoing::Push {
                        tree,
                        delegation,
                        news,
                    })
                };
                Some((to, len, rest))
            }
        }
    }

    #[cfg(feature = "map")]
    fn write_about_map(&mut self, message: MapOutgoing, body: &mut [u8]) -> Option<Written> {
        let written = self.shared_map.write_message(&self.context, message, body);
        written.map(|(to, len, rest)| (to, len, rest.map(Outgoing::Map)))
    }

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

    /// The SYN: the hash, and what is news. A newcomer that knows few lists them all, so that its
    /// seed sees at once what it lacks. Whoever has been asked for a `token` is not known there, and
    /// tells of itself.
    fn write_syn(&self, now: Instant, token: Option<u32>, body: &mut [u8]) -> Option<usize> {
        let head = self.head(FIRST_LEG, self.context.config.mode.into(), Extent::Whole);
        let mut encoder = Encoder::new(body, self.context.sender(), head)?;
        if let Some(token) = token {
            encoder.item(&Item::Echo(token));
            self.write_delta(&mut encoder, self.context.own, 0, false);
        }
        #[cfg(feature = "map")]
        self.shared_map.write_summary(&mut encoder);
        let learns = self.local.standing() == Standing::Joining || self.context.table.len() <= 1;
        if learns && self.list_fits(Region::ALL, &encoder) {
            self.write_list(&mut encoder, Region::ALL);
        } else {
            let loss = self.failure.loss_share();
            let news = self.sync.news_lasts(&self.context, now, loss);
            let recents = self.context.recent_changes.since(now, news);
            let pushes = self.context.config.mode == Mode::Push;
            for (n, id) in recents.take(RECENTS_IN_SYN).enumerate() {
                // Who only pushes does not wait to be asked.
                if pushes && n < GIVEN {
                    let after = self.context.known(id).1.saturating_sub(1);
                    self.write_delta(&mut encoder, id, after, false);
                } else {
                    encoder.item(&Item::Summary(self.summary(self.salt(), id)));
                }
            }
        }
        Some(encoder.len())
    }

    /// As much of an answer as one datagram holds.
    fn write_answer(&self, mut answer: Answer, body: &mut [u8]) -> Option<Written> {
        answer.sent = answer.sent.saturating_add(1);
        let mut encoder = Encoder::new(
            body,
            self.context.sender(),
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
            (true, _) if answer.truncated => (Extent::Truncated, None),
            (true, 1) => (Extent::Whole, None),
            (true, _) => (Extent::Last, None),
            (false, BUDGET..) => (Extent::Truncated, None),
            (false, _) => (Extent::Part, Some(Outgoing::Answer(answer))),
        };
        encoder.rewrite_head(self.context.sender(), self.head(leg, mode, extent));
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
                let after = not_below_the_floor(&self.context, origin, after);
                self.write_delta(encoder, origin, after, fresh)
            }
            Planned::Rest { origin, after } => self.write_delta(encoder, origin, after, fresh),
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

    fn list_fits(&self, region: Region, encoder: &Encoder<'_>) -> bool {
        let members = self.context.table.region(region).len();
        members.saturating_add(1).saturating_mul(SUMMARY) <= encoder.room()
    }

    /// Names every origin of a region.
    fn write_list(&self, encoder: &mut Encoder<'_>, region: Region) {
        let salt = self.salt();
        for record in self.context.table.region(region) {
            let (generation, frontier) = (record.log.generation(), record.log.frontier());
            let summary = summary(salt, record.id, generation, frontier);
            encoder.item(&Item::Summary(summary));
        }
        encoder.item(&Item::Complete(region));
    }

    /// What lives of an origin above a version, or as much of it as fits.
    fn write_delta(
        &self,
        encoder: &mut Encoder<'_>,
        origin: NodeId,
        after: u64,
        fresh: bool,
    ) -> Part {
        let Some(record) = self.context.table.get(origin) else {
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
    fn write_push(&self, head: PushHead, news: &mut News, body: &mut [u8]) -> Option<usize> {
        let mut encoder = Encoder::new(body, self.context.sender(), Message::Push(head))?;
        let empty = encoder.len();
        while let Some((origin, after)) = news.last() {
            // A state larger than a datagram is told by its beginning: the receiver pulls the rest.
            let fresh = encoder.len() == empty;
            let after = not_below_the_floor(&self.context, *origin, *after);
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
        Salt::of(&self.context.table.hash().to_le_bytes())
    }

    fn summary(&self, salt: Salt, origin: NodeId) -> Summary {
        let (generation, frontier) = self.context.known(origin);
        summary(salt, origin, generation, frontier)
    }

    /// What to ask for: what follows a partial claim, or the frontier; all of it where the member
    /// was removed and nothing but the frontier is left.
    fn wanted(&self, origin: NodeId) -> Item<'static> {
        let ghost = self
            .context
            .table
            .get(origin)
            .is_some_and(|record| record.condition == Condition::Removed);
        match self.sync.resume(&self.context, origin) {
            Some(begun) => Item::Resume(Resume {
                told: summary(self.salt(), origin, begun.generation, begun.upto),
                least_frontier: begun.least_frontier,
            }),
            None if ghost => Item::Want(summary(self.salt(), origin, Generation::ZERO, 0)),
            None => Item::Want(self.summary(self.salt(), origin)),
        }
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
