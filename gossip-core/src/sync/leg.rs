//! A leg: what its sender has told, and what to answer.
//!
//! A [`Leg`] lays everything in a datagram that tells how far its sender knows an origin over this node's
//! own table. If the hash of that overlay equals the sender's table hash, the difference is explained. On
//! the way it collects the plan of the answer.
//!
//! # Invariants
//!
//! - `overlay` is the hash of the own table in which each origin of `named` stands as the sender knows it.
//! - The plan gives only if the mode lets this node give, and asks only if it lets this node ask. Three
//!   things are planned in any mode, because nobody would believe the sender before they are settled: this
//!   node's own log, a later incarnation of the sender, and the removal of the sender.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use smallvec::SmallVec;

use super::Taken;
use super::staging::Sent;
use crate::context::{Context, Planned};
use crate::identity::{Generation, NodeId};
use crate::membership::Region;
use crate::membership::region::PARTS;
use crate::state::table_hash::{DIGEST, Salt};
use crate::wire::message::{
    DELTA_HEAD, Delta, ExchangeHead, Extent, ModeTag, Resume, Sender, Split, Summary,
};

/// The SYN.
pub(crate) const FIRST_LEG: u8 = 1;

/// The last leg, which is not answered. A difference between two tables of a million members is narrowed
/// down to listed regions in four legs after the SYN. Requests and deltas follow.
pub(crate) const LAST_LEG: u8 = 8;

/// Datagrams that one leg may take. With 1400 bytes each this is 17 kB. That is little enough for a socket
/// buffer and for the peer that gives, and enough for a newcomer to catch up within a second or two.
pub(crate) const BUDGET: u32 = 12;

/// The most bytes of a summary.
pub(crate) const SUMMARY: usize = 1 + 4 + 2 + 10;

/// By how much a datagram may come later than one that was sent after it.
pub(crate) const OVERTAKING: Duration = Duration::from_millis(50);

/// The most origins with the same upper half of their ids that are looked at. Of ten thousand origins, two
/// have it in common by chance in one of a hundred clusters.
const MAX_ALIKE: usize = 4;

/// What the sender of a leg has told, and what to answer. See the [module](self).
#[derive(Debug)]
pub(crate) struct Leg {
    pub(super) head: ExchangeHead,
    pub(super) from: SocketAddr,
    pub(super) sender: Sender,
    /// Whether the sender is not a live member under its generation.
    pub(super) is_stranger: bool,
    /// The salt under which the sender shortened what it told.
    pub(super) salt: Salt,
    /// The hash of the own table with everything that the sender told laid over it.
    overlay: u128,
    /// The origins that the sender told of.
    pub(super) named: SmallVec<[NodeId; 16]>,
    /// The origins that the sender asked for as unknown to it. It may go on to tell of another incarnation
    /// of them.
    unknown: SmallVec<[NodeId; 8]>,
    /// The regions of which the sender named everything that it holds.
    pub(super) complete: SmallVec<[Region; 2]>,
    /// Whether the leg narrows a difference down, or tells of something that can only be asked for.
    pub(super) narrows: bool,
    /// Bytes of the deltas that the leg brought, and of those among them that were new.
    pub(super) brought: usize,
    pub(super) brought_new: usize,
    /// Whether the leg brought more than this node takes from one datagram.
    pub(super) full: bool,
    /// The regions that differ.
    pub(super) differing: SmallVec<[Region; PARTS]>,
    /// How many regions the sender compared.
    pub(super) compared: usize,
    /// Whether the plan leaves something out because it would be too much.
    pub(super) truncated: bool,
    pub(super) may_give: bool,
    pub(super) may_ask: bool,
    /// The answer, the first thing first.
    pub(super) plan: Vec<Planned>,
}

/// What a leg means for a node that is joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    /// The node knows the whole table.
    All,
    /// The node will know the whole table once datagrams that were overtaken have arrived, if none is lost.
    AllSoon,
    /// As far as can be told, the node does not know the whole table.
    Part,
}

impl Leg {
    pub(super) fn new(
        context: &Context,
        from: SocketAddr,
        sender: Sender,
        head: ExchangeHead,
    ) -> Self {
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
            brought: 0,
            brought_new: 0,
            full: false,
            differing: SmallVec::new(),
            compared: 0,
            // An answer to a part is itself only a part.
            truncated: head.extent == Extent::Truncated,
            may_give,
            may_ask,
            plan: Vec::new(),
        }
    }

    /// The sender's table hash.
    pub(super) const fn theirs(&self) -> u128 {
        u128::from_le_bytes(self.head.hash)
    }

    /// Whether the sender's table needs no further explanation now.
    pub(super) fn is_explained(&self) -> bool {
        self.overlay == self.theirs() || self.narrows || self.head.extent != Extent::Whole
    }

    /// Has the answer to a SYN tell what the own clock shows, if the sender's is skewed or the sender is a stranger: it may
    /// be one because of its clock.
    pub(crate) fn tell_clock_if(&mut self, is_skewed: bool) {
        if self.head.leg == FIRST_LEG && (is_skewed || self.is_stranger) {
            self.plan.push(Planned::Clock);
        }
    }

    /// Whether the sender has missed something of pushes: it asks for logs that it knows in part, and does nothing
    /// else. A leg that narrows a difference down may have the same number.
    pub(crate) const fn only_asks(&self) -> bool {
        self.head.leg == LAST_LEG.saturating_sub(1) && !self.narrows && self.brought == 0
    }

    /// Whether the leg has brought anything new.
    pub(crate) const fn brings_news(&self) -> bool {
        self.brought_new > 0
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

    /// Plans to give what follows a version of an origin.
    pub(super) fn give(&mut self, origin: NodeId, after: u64) {
        if self.may_give {
            self.plan.push(Planned::Delta { origin, after });
        }
    }

    /// Plans to ask for what follows of an origin.
    pub(super) fn ask(&mut self, origin: NodeId) {
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
            Taken::Lacks => self.ask(origin),
            Taken::Full => self.full = true,
            // Only a delta tells which of two generations is the newer one.
            Taken::Done if told < before && !self.unknown.contains(&origin) => {
                self.compare(context, origin, told);
            }
            Taken::Waits | Taken::Done => {}
        }
        let known = context.known(origin);
        debug_assert!(known >= before, "applying a delta forgets nothing");
        let is_new = known > before || taken == Taken::Waits;
        let size = delta.entries.len().saturating_add(DELTA_HEAD);
        self.brought = self.brought.saturating_add(size);
        self.brought_new = self
            .brought_new
            .saturating_add(if is_new { size } else { 0 });
    }

    /// The sender knows this origin so far.
    pub(super) fn on_known(
        &mut self,
        context: &Context,
        origin: NodeId,
        generation: Generation,
        frontier: u64,
    ) {
        self.name(context, origin, generation, frontier);
        self.compare(context, origin, (generation, frontier));
    }

    /// The sender knows an origin so far, and asks for what follows.
    pub(super) fn on_want(&mut self, context: &Context, told: Summary) {
        let known = self.recognise(context, told);
        let Some((origin, generation)) = known.filter(|_| told.frontier > 0) else {
            return self.give_what_begins_with(context, told.prefix);
        };
        self.name(context, origin, generation, told.frontier);
        if let Some(record) = context.table.get(origin)
            && told.frontier < record.log.frontier()
        {
            let after = record.log.serve_from(generation, told.frontier);
            self.give(origin, after);
        }
    }

    /// The sender holds the beginning of a claim, and asks for the rest.
    pub(super) fn on_resume(&mut self, context: &Context, resume: Resume) {
        self.narrows = true;
        let told = resume.told;
        let Some((origin, generation)) = self.recognise(context, told) else {
            // This node knows another incarnation of the origin, if any.
            return self.give_what_begins_with(context, told.prefix);
        };
        let Some(record) = context.table.get(origin) else {
            debug_assert!(false, "only an origin in the table is recognised");
            return;
        };
        let log = &record.log;
        let after = log.resume_from(generation, told.frontier, resume.least_frontier);
        if self.may_give {
            // The rest of a claim may begin below the floor.
            self.plan.push(Planned::Rest { origin, after });
        }
    }

    /// The sender tells its hashes over the parts of a region.
    pub(super) fn on_split(&mut self, context: &Context, split: Split<'_>) {
        self.narrows = true;
        let (digests, _) = split.digests.as_chunks::<DIGEST>();
        if digests.len() != PARTS {
            return;
        }
        self.compared = self.compared.saturating_add(PARTS);
        for (part, theirs) in split.region.parts().zip(digests) {
            if self.salt.digest(context.table.region_hash(part)) != *theirs {
                self.differing.push(part);
            }
        }
        debug_assert!(self.differing.len() <= self.compared);
    }

    /// The sender has named everything that it holds in a region.
    pub(super) fn on_complete(&mut self, region: Region) {
        self.narrows = true;
        self.complete.push(region);
    }

    /// Plans to give what the sender lacks of an origin, or to ask for what this node lacks.
    fn compare(&mut self, context: &Context, origin: NodeId, theirs: (Generation, u64)) {
        let ours = context.known(origin);
        if origin == context.own && theirs > ours {
            // The log itself will tell who wrote it: this node in an earlier incarnation, or another
            // node of its name.
            self.plan.push(Planned::Want(origin));
        } else if theirs > ours {
            self.ask(origin);
        } else if ours > theirs {
            let (generation, frontier) = theirs;
            let log = context.table.get(origin).map(|record| &record.log);
            debug_assert!(log.is_some(), "something is known of the origin");
            let after = log.map_or(0, |log| log.serve_from(generation, frontier));
            self.give(origin, after);
        }
    }

    /// The sender does not know an origin whose id begins like this. Plans to give all of it.
    fn give_what_begins_with(&mut self, context: &Context, prefix: u32) {
        let region = Region::with_prefix(prefix);
        for record in context.table.region(region).take(MAX_ALIKE) {
            self.name(context, record.id, Generation::ZERO, 0);
            self.unknown.push(record.id);
            self.give(record.id, 0);
        }
    }

    /// The origin that a summary hints at, if this node knows it under the same generation.
    pub(super) fn recognise(
        &self,
        context: &Context,
        told: Summary,
    ) -> Option<(NodeId, Generation)> {
        recognise(context, self.salt, told)
    }

    /// Whether a newcomer has learned the whole table. That is so once a member has the same one, or an answer
    /// explains all that differs and leaves the newcomer nothing to ask for, where the mode lets it ask.
    ///
    /// The last of several datagrams may come first, and others may be lost. A newcomer that announced itself then
    /// would know only a part.
    pub(super) fn learned(&self, context: &Context) -> Learned {
        // The leg itself may have made its sender known.
        let Sender { id, generation } = self.sender;
        if self.theirs() == context.table.hash() && context.table.is_live_under(id, generation) {
            return Learned::All;
        }
        let answers_me = self.head.leg.is_multiple_of(2) && self.head.extent != Extent::Part;
        let asks = self
            .plan
            .iter()
            .any(|planned| !matches!(planned, Planned::Delta { .. }));
        if !answers_me
            || !self.may_ask
            || self.head.extent == Extent::Truncated
            || asks
            || self.full
        {
            Learned::Part
        } else if self.head.extent == Extent::Last {
            Learned::AllSoon
        } else if self.overlay == self.theirs() {
            Learned::All
        } else {
            // It answers one request, or narrows something down.
            Learned::Part
        }
    }
}

/// The origin that a summary hints at, if this node knows it under the same generation.
pub(crate) fn recognise(
    context: &Context,
    salt: Salt,
    told: Summary,
) -> Option<(NodeId, Generation)> {
    let alike = context.table.region(Region::with_prefix(told.prefix));
    let identities = alike.map(|record| (record.id, record.log.generation()));
    identities
        .take(MAX_ALIKE)
        .find(|(id, generation)| salt.check(*id, *generation) == told.check)
}

/// What tests of legs share.
#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::context::testing::address;
    use crate::hlc::Stamp;

    /// The sender of all legs in tests. Nobody knows it.
    pub(in crate::sync) const STRANGER: Sender = Sender {
        id: NodeId::from_u64(77 << 32),
        generation: Generation::new(Stamp::from_bits(1)),
    };

    /// The head of a leg whose sender has this table hash.
    pub(in crate::sync) fn head(leg: u8, mode: ModeTag, hash: u128) -> ExchangeHead {
        ExchangeHead {
            leg,
            mode,
            extent: Extent::Whole,
            hash: hash.to_le_bytes(),
            prune_time: 0,
        }
    }

    /// A leg from a node of this table hash.
    pub(in crate::sync) fn leg(context: &Context, number: u8, mode: ModeTag, hash: u128) -> Leg {
        Leg::new(context, address(9), STRANGER, head(number, mode, hash))
    }

    /// How a sender whose table has this hash tells how far it knows an origin.
    pub(in crate::sync) fn summary(
        hash: u128,
        id: NodeId,
        generation: Generation,
        frontier: u64,
    ) -> Summary {
        Summary {
            prefix: id.prefix(),
            check: Salt::of(&hash.to_le_bytes()).check(id, generation),
            frontier,
        }
    }
}

#[cfg(test)]
mod tests;
