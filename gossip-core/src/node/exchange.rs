//! The exchange: two replicas find what differs, and give each other what is newer (R3).
//!
//! 1. SYN: the table hash, and the origins that changed lately.
//! 2. ACK: nothing, if the hashes agree. Otherwise what the peer lacks, and a request for what this
//!    node lacks.
//! 3. ACK2: what was asked for.
//!
//! No leg depends on memory of an earlier one: everything in a datagram that tells how far its
//! sender knows an origin (a summary, a request, the head of a delta) is laid over this node's own
//! table, and if the hash of that equals the sender's, the difference is explained. If not, the next
//! leg names this node's own recent changes, and then narrows the difference down by sub-hashes of
//! regions of the id space, until the regions are small enough to list. Each leg is answered by a
//! later one, up to [`LAST_LEG`]; what is still open is left to the next exchange.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use super::intake::Intake;
use super::outbox::{Answer, Outgoing, Planned};
use super::timers::Timer;
use super::{Node, Standing, count, recents};
use crate::config::Mode;
use crate::identity::{Generation, NodeId};
use crate::membership::region::PARTS;
use crate::membership::{Condition, Region};
use crate::rng::below;
use crate::sort::sort;
use crate::state::table_hash::{DIGEST, Salt};
use crate::sync::staging::Sent;
use crate::time::Instant;
use crate::wire::message::{
    Delta, Exchange, Extent, Item, Items, ModeTag, Resume, Sender, Summary,
};

/// The SYN.
pub(super) const FIRST_LEG: u8 = 1;
/// No leg is answered after this one. A difference between two tables of a million members is
/// narrowed down to listed regions in four legs after the SYN; then follow requests and deltas.
pub(super) const LAST_LEG: u8 = 8;

/// The most members of a region that are listed rather than split further, where few regions
/// differ: about twice the bytes of a split, for a leg less.
const LISTED: usize = 32;
/// Bytes of a summary, mostly.
const SUMMARY_TYPICAL: usize = 8;
/// Time between two exchanges of a node that is far behind: long enough for one to bring what it
/// can.
const CATCH_UP: Duration = Duration::from_millis(50);
/// By how much a datagram may come later than one sent after it.
pub(super) const OVERTAKING: Duration = Duration::from_millis(50);
/// Intervals for which a change is news.
const FRESH: u32 = 4;
/// Intervals for which a change is news while tables differ.
const LINGERING: u32 = 60;
/// Of so many changes, one may be left to be found by comparing tables, where nobody asks for it.
const MISSED: f64 = 1000.0;
/// The most changes that are given unasked to a peer that does not tell of them, as far as they fit one
/// datagram: the latest, which explain a difference best. Those of a storm that is over stand behind
/// them, and large ones are named, for the peer may know them.
pub(super) const GIVEN: usize = 12;
/// The most origins whose ids begin alike that are looked at. Two of ten thousand do, by chance,
/// once in a hundred clusters.
const MAX_ALIKE: usize = 4;

/// What the sender of a leg has told, and what to answer.
struct Leg {
    /// Under which the sender shortened what it told.
    salt: Salt,
    /// The own table with everything the sender told laid over it.
    overlay: u128,
    /// The origins that it told of.
    named: SmallVec<[NodeId; 16]>,
    /// Those that it asked for as unknown to it. It may go on to tell of another life of them.
    unknown: SmallVec<[NodeId; 8]>,
    /// Whether it narrows a difference down, or tells of what can only be asked for.
    narrows: bool,
    /// Whether it brought something new.
    progress: bool,
    /// Whether other datagrams of the same leg bring more.
    sent: Sent,
    /// Whether it brought more than is taken from one datagram.
    full: bool,
    /// Regions that differ, and into how many the sender split them all.
    differing: SmallVec<[Region; PARTS]>,
    compared: usize,
    /// Whether the plan leaves out what would be too much.
    truncated: bool,
    may_give: bool,
    may_ask: bool,
    plan: Vec<Planned>,
}

impl Leg {
    fn name(&mut self, node: &Node, origin: NodeId, generation: Generation, frontier: u64) {
        let theirs = node.table.contribution(origin, generation, frontier);
        let ours = if self.unknown.contains(&origin) {
            0
        } else {
            node.table.own_contribution(origin)
        };
        self.overlay = self.overlay.wrapping_sub(ours).wrapping_add(theirs);
        self.named.push(origin);
    }

    fn give(&mut self, origin: NodeId, after: u64) {
        if self.may_give {
            self.plan.push(Planned::Delta { origin, after });
        }
    }

    /// Gives what follows the beginning of a claim, which may lie below the floor.
    fn resume(&mut self, origin: NodeId, after: u64) {
        if self.may_give {
            self.plan.push(Planned::Rest { origin, after });
        }
    }

    fn ask(&mut self, origin: NodeId) {
        if self.may_ask {
            self.plan.push(Planned::Want(origin));
        }
    }
}

impl Node {
    /// A leg has come in.
    pub(super) fn on_exchange(
        &mut self,
        now: Instant,
        from: SocketAddr,
        sender: Sender,
        head: Exchange,
        items: Items<'_>,
    ) {
        self.raise_horizon(now, head.horizon);
        let theirs = u128::from_le_bytes(head.hash);
        let stranger = !self.table.get(sender.id).is_some_and(|record| {
            record.condition == Condition::Live && record.log.generation() == sender.generation
        });
        if head.leg == FIRST_LEG && theirs == self.table.hash() && !stranger {
            count(&mut self.metrics.exchanges_in_agreement);
            // Who agrees with a member knows the table, whoever began.
            return self.announce(now);
        }
        // The initiator sends the odd legs.
        let i_began = head.leg.is_multiple_of(2);
        let (may_give, may_ask) = match head.mode {
            ModeTag::PushPull => (true, true),
            ModeTag::Push => (i_began, !i_began),
            ModeTag::Pull => (!i_began, i_began),
        };
        let mut leg = Leg {
            salt: Salt::of(&head.hash),
            overlay: self.table.hash(),
            named: SmallVec::new(),
            unknown: SmallVec::new(),
            narrows: false,
            progress: false,
            sent: if head.extent == Extent::Whole {
                Sent::Alone
            } else {
                Sent::InParts
            },
            full: false,
            differing: SmallVec::new(),
            compared: 0,
            // What is said of a part leads to no more than that part.
            truncated: head.extent == Extent::Truncated,
            may_give,
            may_ask,
            plan: Vec::new(),
        };
        if head.leg == FIRST_LEG && self.is_removed(sender) {
            leg.plan.push(Planned::Removed(sender.generation));
        }
        if head.leg == FIRST_LEG && self.known(sender.id).0 > sender.generation {
            // It has forgotten a later life than this: its clock went back. Nobody would take its
            // word, in no mode, until it knows.
            let origin = sender.id;
            leg.plan.push(Planned::Delta { origin, after: 0 });
        }
        for item in items {
            self.on_item(now, &mut leg, item);
        }
        for item in items {
            if let Item::Complete(region) = item {
                self.give_what_is_not_named(&mut leg, region);
            }
        }
        self.ask_for_stranger(head, sender, &mut leg);
        if head.extent == Extent::Truncated {
            self.ask_for_what_was_cut_off(&mut leg);
        }
        let explained = leg.overlay == theirs || leg.narrows || head.extent != Extent::Whole;
        if !explained {
            self.explain(now, head.leg, &mut leg);
        }
        self.narrow_down(&mut leg);
        self.learn_from_answer(now, head, &leg);
        let greet = stranger && head.leg == FIRST_LEG;
        if greet && !may_ask {
            // It only takes. Whoever wants to know it, or to know it better, has to begin.
            self.begin_exchange(from);
        }
        let more = match head.extent {
            Extent::Truncated | Extent::Last => leg.plan.is_empty() || head.leg >= LAST_LEG,
            Extent::Whole => leg.full,
            Extent::Part => false,
        };
        if more && leg.progress && theirs != self.table.hash() {
            self.timers.advance(Timer::CatchUp, self.caught_up.max(now));
        }
        if head.leg < LAST_LEG && (greet || !leg.plan.is_empty()) {
            leg.plan.reverse();
            self.outbox.push(Outgoing::Answer(Answer {
                to: from,
                leg: head.leg.saturating_add(1),
                mode: head.mode,
                plan: leg.plan,
                sent: 0,
                truncated: leg.truncated,
            }));
        }
    }

    /// Asks for the rest of what a leg had no room for: told of it anew, it would end at the same place.
    fn ask_for_what_was_cut_off(&self, leg: &mut Leg) {
        for origin in leg.named.clone() {
            let wanted = Planned::Want(origin);
            if self.resume(origin).is_some() && !leg.plan.contains(&wanted) {
                leg.ask(origin);
            }
        }
    }

    /// There is more to learn. Asks somebody else than before, so that no peer bears it all.
    pub(super) fn on_catch_up_due(&mut self, now: Instant) {
        self.caught_up = now.saturating_add(CATCH_UP);
        let members = self.table.home(self.own).live();
        let peers = super::peers::sample(members, self.own, 1, &mut self.rng);
        match peers.first() {
            Some(peer) => self.begin_exchange_with(*peer),
            None => self.ask_all_seeds(),
        }
    }

    fn on_item(&mut self, now: Instant, leg: &mut Leg, item: Item<'_>) {
        match item {
            Item::Summary(told) => {
                match self.recognise(leg.salt, told) {
                    Some((origin, generation)) => {
                        leg.name(self, origin, generation, told.frontier);
                        self.compare(leg, origin, (generation, told.frontier));
                    }
                    // A newcomer, or another life of a known one. What it is, its log will tell.
                    None if leg.may_ask => {
                        leg.narrows = true;
                        let partial = self.recognise_partial(leg.salt, told);
                        leg.plan.push(match partial {
                            Some(origin) => Planned::Want(origin),
                            None => Planned::WantUnknown(told.prefix),
                        });
                    }
                    None => {}
                }
            }
            Item::Want(told) => {
                let known = self.recognise(leg.salt, told);
                let Some((origin, generation)) = known.filter(|_| told.frontier > 0) else {
                    self.give_what_begins_with(leg, told.prefix);
                    return;
                };
                leg.name(self, origin, generation, told.frontier);
                if let Some(record) = self.table.get(origin)
                    && told.frontier < record.log.frontier()
                {
                    let after = record.log.serve_from(generation, told.frontier);
                    leg.give(origin, after);
                }
            }
            Item::Resume(Resume {
                told,
                least_frontier,
            }) => {
                leg.narrows = true;
                if let Some((origin, generation)) = self.recognise(leg.salt, told)
                    && let Some(record) = self.table.get(origin)
                {
                    let log = &record.log;
                    leg.resume(
                        origin,
                        log.resume_from(generation, told.frontier, least_frontier),
                    );
                } else {
                    // Another life of it is known here.
                    self.give_what_begins_with(leg, told.prefix);
                }
            }
            Item::Delta(delta) => {
                let Delta {
                    origin,
                    generation,
                    frontier,
                    ..
                } = delta;
                leg.name(self, origin, generation, frontier);
                let before = self.known(origin);
                match self.take_in(now, &delta, leg.sent) {
                    Intake::Waits => leg.progress = true,
                    Intake::Lacks => leg.ask(origin),
                    Intake::Full => leg.full = true,
                    // What only the deltas tell: of two generations, which is the newer.
                    Intake::Done
                        if (generation, frontier) < before && !leg.unknown.contains(&origin) =>
                    {
                        self.compare(leg, origin, (generation, frontier));
                    }
                    Intake::Done => {}
                }
                leg.progress |= self.known(origin) > before;
            }
            Item::Split(split) => {
                leg.narrows = true;
                let (digests, _) = split.digests.as_chunks::<DIGEST>();
                if digests.len() != PARTS {
                    return;
                }
                leg.compared = leg.compared.saturating_add(PARTS);
                for (part, theirs) in split.region.parts().zip(digests) {
                    if leg.salt.digest(self.table.region_hash(part)) != *theirs {
                        leg.differing.push(part);
                    }
                }
            }
            Item::Complete(_) => leg.narrows = true,
            // Everybody who removed it has to take it back, and a new generation is the clearest
            // word.
            Item::Removed(generation) if generation == self.generation => {
                self.outlive(now, generation);
            }
            // What is said of the shared map, or of the address, has been heard already.
            Item::Removed(_)
            | Item::MapSummary(_)
            | Item::MapTold(_)
            | Item::MapRun(_)
            | Item::Echo(_) => {}
        }
    }

    /// Gives what the peer lacks of an origin, or asks for what this node lacks.
    fn compare(&self, leg: &mut Leg, origin: NodeId, theirs: (Generation, u64)) {
        let ours = self.known(origin);
        if origin == self.own && theirs > ours {
            // Whose word that is, the log itself will tell.
            leg.plan.push(Planned::Want(self.own));
        } else if theirs > ours {
            leg.ask(origin);
        } else if ours > theirs {
            let (generation, frontier) = theirs;
            let log = self.table.get(origin).map(|record| &record.log);
            let after = log.map_or(0, |log| log.serve_from(generation, frontier));
            leg.give(origin, after);
        }
    }

    fn give_what_begins_with(&self, leg: &mut Leg, prefix: u32) {
        let region = Region::with_prefix(prefix);
        for record in self.table.region(region).take(MAX_ALIKE) {
            leg.name(self, record.id, Generation::ZERO, 0);
            leg.unknown.push(record.id);
            leg.give(record.id, 0);
        }
    }

    /// The origin that a summary hints at, if a part of its log has arrived.
    fn recognise_partial(&self, salt: Salt, told: Summary) -> Option<NodeId> {
        let mut partials = self.staging.origins();
        let hinted = |(id, generation): &(NodeId, Generation)| {
            id.prefix() == told.prefix && salt.check(*id, *generation) == told.check
        };
        let (origin, _) = partials.find(hinted)?;
        Some(origin)
    }

    /// The origin that a summary hints at, if it is known under the same generation.
    fn recognise(&self, salt: Salt, told: Summary) -> Option<(NodeId, Generation)> {
        let alike = self.table.region(Region::with_prefix(told.prefix));
        let identities = alike.map(|record| (record.id, record.log.generation()));
        identities
            .take(MAX_ALIKE)
            .find(|(id, generation)| salt.check(*id, *generation) == told.check)
    }

    /// The peer named all that it holds in a region: it lacks the rest. Begins anywhere, so that a
    /// newcomer that asks several peers gets different parts first.
    fn give_what_is_not_named(&mut self, leg: &mut Leg, region: Region) {
        // Nothing would end the walk below.
        if !leg.may_give {
            return;
        }
        sort(&mut leg.named);
        let records = self.table.region(region);
        let start = below(&mut self.rng, records.len());
        for record in records.clone().skip(start).chain(records.take(start)) {
            // More than a leg can carry will not leave; a peer that says over and over that it
            // knows nobody must not make this node remember all of them each time.
            if leg.plan.len() >= self.most_planned() {
                break;
            }
            if leg.named.binary_search(&record.id).is_err() {
                leg.give(record.id, 0);
            }
        }
    }

    /// Whoever begins is asked for itself if it is unknown here, or another life of it is known, even
    /// where it does not tell of itself: to find that out by comparing tables takes more legs.
    fn ask_for_stranger(&self, head: Exchange, sender: Sender, leg: &mut Leg) {
        let known = self.known(sender.id).0 >= sender.generation;
        if known || head.leg != FIRST_LEG || !leg.may_ask {
            return;
        }
        let prefix = sender.id.prefix();
        let asked = leg.plan.iter().any(|planned| match planned {
            Planned::Want(id) => *id == sender.id,
            Planned::WantUnknown(asked) => *asked == prefix,
            _ => false,
        });
        if !asked {
            leg.plan.push(Planned::WantUnknown(prefix));
        }
    }

    /// What the peer told does not explain why the hashes differ: tell what is new here, or narrow
    /// the difference down.
    fn explain(&mut self, now: Instant, arrived: u8, leg: &mut Leg) {
        self.differed = Some(now);
        if arrived == FIRST_LEG {
            let recents = self.recents.since(now, self.news_horizon(now));
            let unnamed: SmallVec<[NodeId; 16]> =
                recents.filter(|id| !leg.named.contains(id)).collect();
            let fresh = self.recents.since(now, self.intervals(FRESH)).count();
            // As many as are remembered at all are but a part of what is new.
            if !unnamed.is_empty() && fresh < recents::CAPACITY {
                let mut room = self.max_datagram();
                for (n, origin) in unnamed.into_iter().enumerate() {
                    let after = self.known(origin).1.saturating_sub(1);
                    let rest = room.checked_sub(self.delta_size(origin, after));
                    if let Some(rest) = rest.filter(|_| leg.may_give && n < GIVEN) {
                        // The peer has not told of it, so it hardly knows: that saves two legs.
                        leg.give(origin, after);
                        room = rest;
                    } else {
                        leg.plan.push(Planned::Summary(origin));
                    }
                }
                return;
            }
        }
        leg.differing.push(Region::ALL);
    }

    /// Of the regions that differ, lists the small ones and splits the large ones, as many as fit one
    /// datagram, chosen at random: exchanges with several peers bring different things. As much as a leg
    /// may carry answers each datagram, so more would let a newcomer take all from one peer.
    fn narrow_down(&mut self, leg: &mut Leg) {
        // Where most regions differ, most of their parts would as well.
        let dense = leg.differing.len().saturating_mul(2) > leg.compared;
        let limit = self.list_limit();
        let listed = if dense { limit } else { LISTED.min(limit) };
        let mut room = self.max_datagram();
        let start = below(&mut self.rng, leg.differing.len());
        leg.differing.rotate_left(start);
        for region in &leg.differing {
            let members = self.table.region(*region).len();
            let (planned, size) = if members <= listed {
                (
                    Planned::List(*region),
                    members.saturating_mul(SUMMARY_TYPICAL),
                )
            } else {
                let around = self.table.crowded(*region);
                if around != *region {
                    count(&mut self.metrics.regions_crowded);
                }
                (Planned::Split(around), DIGEST.saturating_mul(PARTS))
            };
            let Some(rest) = room.checked_sub(size) else {
                leg.truncated = true;
                break;
            };
            room = rest;
            leg.plan.push(planned);
        }
    }

    /// A newcomer has learned the table once an answer leaves it nothing to ask for. Of several
    /// datagrams the last may come first: a newcomer that announced itself then would tell those
    /// alone whom it knows already.
    fn learn_from_answer(&mut self, now: Instant, head: Exchange, leg: &Leg) {
        let answers_me = head.leg.is_multiple_of(2) && head.extent != Extent::Part;
        let asks = leg
            .plan
            .iter()
            .any(|planned| !matches!(planned, Planned::Delta { .. }));
        if self.standing == Standing::Joining
            && answers_me
            && head.extent != Extent::Truncated
            && !asks
            && !leg.full
        {
            if head.extent == Extent::Last {
                let all_here = now.saturating_add(OVERTAKING);
                self.timers.advance(Timer::Announce, all_here);
            } else {
                self.announce(now);
            }
        }
    }

    fn is_removed(&self, sender: Sender) -> bool {
        self.table.get(sender.id).is_some_and(|record| {
            record.condition == Condition::Ghost && record.log.generation() == sender.generation
        })
    }

    /// How long a change is told in SYNs. A round reaches several peers; in four nearly everybody
    /// who missed the push has met somebody who did not. While tables still differ, much is being
    /// lost, and it is told for longer.
    pub(super) fn news_horizon(&self, now: Instant) -> Duration {
        let lately = now.saturating_sub(self.intervals(2));
        let differ = self.differed.is_some_and(|at| at >= lately);
        match self.config.mode {
            _ if differ => self.intervals(LINGERING),
            Mode::Push => {
                let live = self.table.home(self.own).live().len();
                let fresh = rounds_of_pushing(live, self.config.fanout, self.loss.share());
                self.config.interval.mul_f64(fresh)
            }
            Mode::Pull | Mode::PushPull => self.intervals(FRESH),
        }
    }
}

/// How many rounds a change is told where nobody asks: who pushes does not hear who has missed it.
///
/// Once most know, a member is told `fanout * (1 - loss)` times in a round, and misses it in `h` rounds
/// with probability `exp(-h * fanout * (1 - loss))`. As many as leave nobody out but once in
/// [`MISSED`] changes.
fn rounds_of_pushing(members: usize, fanout: u8, loss: f64) -> f64 {
    let members = f64::from(u32::try_from(members).unwrap_or(u32::MAX).max(1));
    let told = f64::from(fanout) * (1.0 - loss);
    let rounds = libm::log(members * MISSED) / told.max(0.1);
    rounds.clamp(f64::from(FRESH), f64::from(LINGERING))
}

#[cfg(test)]
mod tests;
