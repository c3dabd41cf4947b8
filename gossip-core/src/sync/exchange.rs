//! The exchange: two replicas find what differs, and give each other what is newer.
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

use super::peers::sample;
use super::staging::Sent;
use super::{Sync, Taken};
use crate::config::Mode;
use crate::context::recent_changes::CAPACITY;
use crate::context::{Answer, Context, HEAD, Outgoing, Planned, Timer, count};
use crate::identity::{Generation, NodeId};
use crate::membership::region::PARTS;
use crate::membership::{Condition, Region};
use crate::rng::below;
use crate::state::table_hash::{DIGEST, Salt};
use crate::time::Instant;
use crate::wire::frame::MOST_FRAME;
use crate::wire::message::{
    DELTA_HEAD, Delta, ExchangeHead, Extent, Item, ModeTag, Resume, Sender, Summary,
};

/// The SYN.
pub(crate) const FIRST_LEG: u8 = 1;
/// No leg is answered after this one. A difference between two tables of a million members is
/// narrowed down to listed regions in four legs after the SYN; then follow requests and deltas.
pub(crate) const LAST_LEG: u8 = 8;

/// The most members of a region that are listed rather than split further, where few regions
/// differ: about twice the bytes of a split, for a leg less.
const LISTED: usize = 32;
/// Bytes of a summary, mostly.
const SUMMARY_TYPICAL: usize = 8;
/// Time between two exchanges of a node that is far behind: long enough for one to bring what it
/// can.
const CATCH_UP: Duration = Duration::from_millis(50);
/// By how much a datagram may come later than one sent after it.
pub(crate) const OVERTAKING: Duration = Duration::from_millis(50);
/// Intervals for which a change is news.
const FRESH: u32 = 4;
/// Intervals for which a change is news while tables differ.
const LINGERING: u32 = 60;
/// Of so many changes, one may be left to be found by comparing tables, where nobody asks for it.
const MISSED: f64 = 1000.0;
/// The most changes that are given unasked to a peer that does not tell of them, as far as they fit one
/// datagram: the latest, which explain a difference best. Those of a storm that is over stand behind
/// them, and large ones are named, for the peer may know them.
pub(crate) const GIVEN: usize = 12;
/// The most origins whose ids begin alike that are looked at. Two of ten thousand do, by chance,
/// once in a hundred clusters.
const MAX_ALIKE: usize = 4;

/// Datagrams that one leg may take. With 1400 bytes each this is 17 kB: little enough for a socket
/// buffer and for the peer that gives, much enough for a newcomer to catch up within a second or two.
pub(crate) const BUDGET: u32 = 12;

/// The fewest bytes of a delta: its kind, an origin, its generation, five numbers.
const LEAST_DELTA: usize = 1 + 8 + 8 + 5;

/// The most bytes of a summary.
pub(crate) const SUMMARY: usize = 1 + 4 + 2 + 10;

/// What the sender of a leg has told, and what to answer.
#[derive(Debug)]
pub(crate) struct Leg {
    head: ExchangeHead,
    from: SocketAddr,
    sender: Sender,
    /// Whether the sender is no live member under its generation.
    is_stranger: bool,
    /// Under which the sender shortened what it told.
    salt: Salt,
    /// The own table with everything the sender told laid over it.
    overlay: u128,
    /// The origins that it told of.
    named: SmallVec<[NodeId; 16]>,
    /// Those that it asked for as unknown to it. It may go on to tell of another life of them.
    unknown: SmallVec<[NodeId; 8]>,
    /// The regions of which it named all that it holds.
    complete: SmallVec<[Region; 2]>,
    /// Whether it narrows a difference down, or tells of what can only be asked for.
    narrows: bool,
    /// Whether it brought something new.
    progress: bool,
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

/// What a leg means for a node that is joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    /// The whole table.
    All,
    /// The whole table, once datagrams that were overtaken are there.
    AllSoon,
    /// Not the whole table, as far as can be told.
    Part,
}

impl Leg {
    fn new(context: &Context, from: SocketAddr, sender: Sender, head: ExchangeHead) -> Self {
        // The initiator sends the odd legs.
        let i_began = head.leg.is_multiple_of(2);
        let (may_give, may_ask) = match head.mode {
            ModeTag::PushPull => (true, true),
            ModeTag::Push => (i_began, !i_began),
            ModeTag::Pull => (!i_began, i_began),
        };
        Self {
            head,
            from,
            sender,
            is_stranger: !context.table.is_live_under(sender.id, sender.generation),
            salt: Salt::of(&head.hash),
            overlay: context.table.hash(),
            named: SmallVec::new(),
            unknown: SmallVec::new(),
            complete: SmallVec::new(),
            narrows: false,
            progress: false,
            full: false,
            differing: SmallVec::new(),
            compared: 0,
            // What is said of a part leads to no more than that part.
            truncated: head.extent == Extent::Truncated,
            may_give,
            may_ask,
            plan: Vec::new(),
        }
    }

    /// The peer's table hash.
    const fn theirs(&self) -> u128 {
        u128::from_le_bytes(self.head.hash)
    }

    /// Whether other datagrams of the same leg bring more.
    pub(crate) fn sent(&self) -> Sent {
        if self.head.extent == Extent::Whole {
            Sent::Alone
        } else {
            Sent::InParts
        }
    }

    /// Lays what the sender told of an origin over the own table.
    fn name(&mut self, context: &Context, origin: NodeId, generation: Generation, frontier: u64) {
        let theirs = context.table.contribution(origin, generation, frontier);
        let ours = if self.unknown.contains(&origin) {
            0
        } else {
            context.table.own_contribution(origin)
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

    /// A delta is about to be applied. Returns how far its origin is known now, for [`Leg::applied`].
    pub(crate) fn before_delta(
        &mut self,
        context: &Context,
        delta: &Delta<'_>,
    ) -> (Generation, u64) {
        self.name(context, delta.origin, delta.generation, delta.frontier);
        context.known(delta.origin)
    }

    /// A delta has been applied, or not.
    pub(crate) fn applied(
        &mut self,
        context: &Context,
        delta: &Delta<'_>,
        before: (Generation, u64),
        taken: Taken,
    ) {
        let origin = delta.origin;
        let told = (delta.generation, delta.frontier);
        match taken {
            Taken::Waits => self.progress = true,
            Taken::Lacks => self.ask(origin),
            Taken::Full => self.full = true,
            // What only the deltas tell: of two generations, which is the newer.
            Taken::Done if told < before && !self.unknown.contains(&origin) => {
                self.compare(context, origin, told);
            }
            Taken::Done => {}
        }
        self.progress |= context.known(origin) > before;
    }

    /// Gives what the peer lacks of an origin, or asks for what this node lacks.
    fn compare(&mut self, context: &Context, origin: NodeId, theirs: (Generation, u64)) {
        let ours = context.known(origin);
        if origin == context.own && theirs > ours {
            // Whose word that is, the log itself will tell.
            self.plan.push(Planned::Want(origin));
        } else if theirs > ours {
            self.ask(origin);
        } else if ours > theirs {
            let (generation, frontier) = theirs;
            let log = context.table.get(origin).map(|record| &record.log);
            let after = log.map_or(0, |log| log.serve_from(generation, frontier));
            self.give(origin, after);
        }
    }

    fn give_what_begins_with(&mut self, context: &Context, prefix: u32) {
        let region = Region::with_prefix(prefix);
        for record in context.table.region(region).take(MAX_ALIKE) {
            self.name(context, record.id, Generation::ZERO, 0);
            self.unknown.push(record.id);
            self.give(record.id, 0);
        }
    }

    /// The origin that a summary hints at, if it is known under the same generation.
    fn recognise(&self, context: &Context, told: Summary) -> Option<(NodeId, Generation)> {
        let alike = context.table.region(Region::with_prefix(told.prefix));
        let identities = alike.map(|record| (record.id, record.log.generation()));
        identities
            .take(MAX_ALIKE)
            .find(|(id, generation)| self.salt.check(*id, *generation) == told.check)
    }
}

/// Whether a SYN ends an exchange at once: its sender is a member and holds the same table.
pub(crate) fn agrees(context: &Context, sender: Sender, head: &ExchangeHead) -> bool {
    head.leg == FIRST_LEG
        && head.hash == context.table.hash().to_le_bytes()
        && context.table.is_live_under(sender.id, sender.generation)
}

impl Sync {
    /// A leg that does not end the exchange has come in. Its items follow, by [`Sync::on_item`], then
    /// [`Sync::conclude`] and [`Sync::answer`].
    pub(crate) fn begin_leg(
        context: &Context,
        from: SocketAddr,
        sender: Sender,
        head: ExchangeHead,
    ) -> Leg {
        let mut leg = Leg::new(context, from, sender, head);
        if head.leg == FIRST_LEG && is_removed(context, sender) {
            leg.plan.push(Planned::Removed(sender.generation));
        }
        if head.leg == FIRST_LEG && context.known(sender.id).0 > sender.generation {
            // It has forgotten a later life than this: its clock went back. Nobody would take its
            // word, in no mode, until it knows.
            let origin = sender.id;
            leg.plan.push(Planned::Delta { origin, after: 0 });
        }
        leg
    }

    /// An item of a leg that is no delta.
    pub(crate) fn on_item(&self, context: &Context, leg: &mut Leg, item: Item<'_>) {
        match item {
            Item::Summary(told) => {
                match leg.recognise(context, told) {
                    Some((origin, generation)) => {
                        leg.name(context, origin, generation, told.frontier);
                        leg.compare(context, origin, (generation, told.frontier));
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
                let known = leg.recognise(context, told);
                let Some((origin, generation)) = known.filter(|_| told.frontier > 0) else {
                    leg.give_what_begins_with(context, told.prefix);
                    return;
                };
                leg.name(context, origin, generation, told.frontier);
                if let Some(record) = context.table.get(origin)
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
                if let Some((origin, generation)) = leg.recognise(context, told)
                    && let Some(record) = context.table.get(origin)
                {
                    let log = &record.log;
                    leg.resume(
                        origin,
                        log.resume_from(generation, told.frontier, least_frontier),
                    );
                } else {
                    // Another life of it is known here.
                    leg.give_what_begins_with(context, told.prefix);
                }
            }
            Item::Split(split) => {
                leg.narrows = true;
                let (digests, _) = split.digests.as_chunks::<DIGEST>();
                if digests.len() != PARTS {
                    return;
                }
                leg.compared = leg.compared.saturating_add(PARTS);
                for (part, theirs) in split.region.parts().zip(digests) {
                    if leg.salt.digest(context.table.region_hash(part)) != *theirs {
                        leg.differing.push(part);
                    }
                }
            }
            Item::Complete(region) => {
                leg.narrows = true;
                leg.complete.push(region);
            }
            // Deltas and removals go through the node. What is said of the shared map, or of the
            // address, has been heard already.
            Item::Delta(_)
            | Item::Removed(_)
            | Item::MapSummary(_)
            | Item::MapTold(_)
            | Item::MapRun(_)
            | Item::Echo(_) => {}
        }
    }

    /// All items of a leg have been heard: works out the answer, and whether this node has learned the
    /// whole table. `loss` is the share of datagrams that is being lost.
    pub(crate) fn conclude(&mut self, context: &mut Context, leg: &mut Leg, loss: f64) -> Learned {
        for region in core::mem::take(&mut leg.complete) {
            give_what_is_not_named(context, leg, region);
        }
        ask_for_stranger(context, leg);
        if leg.head.extent == Extent::Truncated {
            self.ask_for_what_was_cut_off(context, leg);
        }
        let explained =
            leg.overlay == leg.theirs() || leg.narrows || leg.head.extent != Extent::Whole;
        if !explained {
            self.explain(context, leg, loss);
        }
        narrow_down(context, leg);
        learned(leg)
    }

    /// Answers a leg, and sees to it that what is still missing is asked for.
    pub(crate) fn answer(&self, context: &mut Context, mut leg: Leg) {
        let head = leg.head;
        let greet = leg.is_stranger && head.leg == FIRST_LEG;
        if greet && !leg.may_ask {
            // It only takes. Whoever wants to know it, or to know it better, has to begin.
            context.begin_exchange(leg.from);
        }
        let more = match head.extent {
            Extent::Truncated | Extent::Last => leg.plan.is_empty() || head.leg >= LAST_LEG,
            Extent::Whole => leg.full,
            Extent::Part => false,
        };
        if more && leg.progress && leg.theirs() != context.table.hash() {
            let next = self.caught_up.max(context.now);
            context.timers.advance(Timer::CatchUp, next);
        }
        if head.leg < LAST_LEG && (greet || !leg.plan.is_empty()) {
            leg.plan.reverse();
            context.send(Outgoing::Answer(Answer {
                to: leg.from,
                leg: head.leg.saturating_add(1),
                mode: head.mode,
                plan: leg.plan,
                sent: 0,
                truncated: leg.truncated,
            }));
        }
    }

    /// Asks for the rest of what a leg had no room for: told of it anew, it would end at the same place.
    fn ask_for_what_was_cut_off(&self, context: &Context, leg: &mut Leg) {
        for origin in leg.named.clone() {
            let wanted = Planned::Want(origin);
            if self.resume(context, origin).is_some() && !leg.plan.contains(&wanted) {
                leg.ask(origin);
            }
        }
    }

    /// There is more to learn. Asks somebody else than before, so that no peer bears it all.
    pub(crate) fn on_catch_up_due(&mut self, context: &mut Context) {
        self.caught_up = context.now.saturating_add(CATCH_UP);
        let members = context.table.home(context.own).live();
        let peers = sample(members, context.own, 1, &mut context.rng);
        match peers.first() {
            Some(peer) => context.begin_exchange_with(*peer),
            None => context.ask_all_seeds(),
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

    /// What the peer told does not explain why the hashes differ: tell what is new here, or narrow
    /// the difference down.
    fn explain(&mut self, context: &Context, leg: &mut Leg, loss: f64) {
        self.differed = Some(context.now);
        if leg.head.leg == FIRST_LEG {
            let news = self.news_lasts(context, context.now, loss);
            let recent = context.recent_changes.since(context.now, news);
            let unnamed: SmallVec<[NodeId; 16]> =
                recent.filter(|id| !leg.named.contains(id)).collect();
            let fresh = context.intervals(FRESH);
            let fresh = context.recent_changes.since(context.now, fresh).count();
            // As many as are remembered at all are but a part of what is new.
            if !unnamed.is_empty() && fresh < CAPACITY {
                let mut room = context.max_datagram();
                for (n, origin) in unnamed.into_iter().enumerate() {
                    let after = context.known(origin).1.saturating_sub(1);
                    let rest = room.checked_sub(delta_size(context, origin, after));
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

    /// How long a change is told in SYNs. A round reaches several peers; in four nearly everybody
    /// who missed the push has met somebody who did not. While tables still differ, much is being
    /// lost, and it is told for longer.
    pub(crate) fn news_lasts(&self, context: &Context, now: Instant, loss: f64) -> Duration {
        let lately = now.saturating_sub(context.intervals(2));
        let differ = self.differed.is_some_and(|at| at >= lately);
        match context.config.mode {
            _ if differ => context.intervals(LINGERING),
            Mode::Push => {
                let live = context.table.home(context.own).live().len();
                let fresh = rounds_of_pushing(live, context.config.fanout, loss);
                context.config.interval.mul_f64(fresh)
            }
            Mode::Pull | Mode::PushPull => context.intervals(FRESH),
        }
    }
}

/// The peer named all that it holds in a region: it lacks the rest. Begins anywhere, so that a
/// newcomer that asks several peers gets different parts first.
fn give_what_is_not_named(context: &mut Context, leg: &mut Leg, region: Region) {
    // Nothing would end the walk below.
    if !leg.may_give {
        return;
    }
    leg.named.sort_unstable();
    let records = context.table.region(region);
    let start = below(&mut context.rng, records.len());
    for record in records.clone().skip(start).chain(records.take(start)) {
        // More than a leg can carry will not leave; a peer that says over and over that it
        // knows nobody must not make this node remember all of them each time.
        if leg.plan.len() >= most_planned(context) {
            break;
        }
        if leg.named.binary_search(&record.id).is_err() {
            leg.give(record.id, 0);
        }
    }
}

/// Whoever begins is asked for itself if it is unknown here, or another life of it is known, even
/// where it does not tell of itself: to find that out by comparing tables takes more legs.
fn ask_for_stranger(context: &Context, leg: &mut Leg) {
    let (head, sender) = (leg.head, leg.sender);
    let known = context.known(sender.id).0 >= sender.generation;
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

/// Of the regions that differ, lists the small ones and splits the large ones, as many as fit one
/// datagram, chosen at random: exchanges with several peers bring different things. As much as a leg
/// may carry answers each datagram, so more would let a newcomer take all from one peer.
fn narrow_down(context: &mut Context, leg: &mut Leg) {
    // Where most regions differ, most of their parts would as well.
    let dense = leg.differing.len().saturating_mul(2) > leg.compared;
    let limit = list_limit(context);
    let listed = if dense { limit } else { LISTED.min(limit) };
    let mut room = context.max_datagram();
    let start = below(&mut context.rng, leg.differing.len());
    leg.differing.rotate_left(start);
    for region in &leg.differing {
        let members = context.table.region(*region).len();
        let (planned, size) = if members <= listed {
            (
                Planned::List(*region),
                members.saturating_mul(SUMMARY_TYPICAL),
            )
        } else {
            let around = context.table.crowded(*region);
            if around != *region {
                count(&mut context.metrics.regions_crowded);
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
fn learned(leg: &Leg) -> Learned {
    let answers_me = leg.head.leg.is_multiple_of(2) && leg.head.extent != Extent::Part;
    let asks = leg
        .plan
        .iter()
        .any(|planned| !matches!(planned, Planned::Delta { .. }));
    if !answers_me || leg.head.extent == Extent::Truncated || asks || leg.full {
        Learned::Part
    } else if leg.head.extent == Extent::Last {
        Learned::AllSoon
    } else {
        Learned::All
    }
}

fn is_removed(context: &Context, sender: Sender) -> bool {
    context.table.get(sender.id).is_some_and(|record| {
        record.condition == Condition::Removed && record.log.generation() == sender.generation
    })
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

/// The version from which to serve what was planned: all of it, if the floor has risen since.
pub(crate) fn not_below_the_floor(context: &Context, origin: NodeId, after: u64) -> u64 {
    let record = context.table.get(origin);
    let floor = record.map_or(0, |record| record.log.floor());
    if after < floor { 0 } else { after }
}

/// The most bytes that what lives of an origin above a version takes.
fn delta_size(context: &Context, origin: NodeId, after: u64) -> usize {
    let after = not_below_the_floor(context, origin, after);
    let log = context.table.get(origin).map(|record| &record.log);
    let entries = log.map_or(0, |log| log.after(after).rest().len());
    entries.saturating_add(DELTA_HEAD)
}

/// No leg can carry deltas of more origins than this.
fn most_planned(context: &Context) -> usize {
    let datagrams = usize::try_from(BUDGET).unwrap_or(usize::MAX);
    let bytes = context.max_datagram().saturating_mul(datagrams);
    bytes.div_euclid(LEAST_DELTA)
}

/// The most origins that can be listed: what fits one datagram.
fn list_limit(context: &Context) -> usize {
    let room = context.max_datagram().saturating_sub(MOST_FRAME + HEAD);
    room.div_euclid(SUMMARY).saturating_sub(1)
}
