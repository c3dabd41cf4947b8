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

use smallvec::SmallVec;

use super::liveness::Life;
use super::outbox::{Answer, Outgoing, Planned};
use super::own::PROTOCOL_RESERVE;
use super::{Node, Standing, count};
use crate::command::{Key, Value};
use crate::event::{Event, UpCause};
use crate::id::{Generation, NodeId};
use crate::membership::region::PARTS;
use crate::membership::{Condition, Region};
use crate::rng::below;
use crate::sort::sort;
use crate::state::attribute::{ADDRESS, Declared, STATUS, VOTES};
use crate::state::entry::Entries;
use crate::state::log::{Claim, Log};
use crate::state::staging::Outcome;
use crate::time::Instant;
use crate::wire::message::{Delta, Exchange, Extent, Item, Items, ModeTag, Sender, Summary};

/// The SYN.
pub(super) const FIRST_LEG: u8 = 1;
/// No leg is answered after this one. A difference between two tables of a million members is
/// narrowed down to listed regions in four legs after the SYN; then follow requests and deltas.
pub(super) const LAST_LEG: u8 = 8;

/// What the sender of a leg has told, and what to answer.
struct Leg {
    /// The own table with everything the sender told laid over it.
    overlay: u128,
    /// The origins that it told of.
    named: SmallVec<[NodeId; 32]>,
    /// Whether it narrows a difference down.
    narrows: bool,
    /// Whether it brought something new.
    progress: bool,
    may_give: bool,
    may_ask: bool,
    plan: Vec<Planned>,
}

impl Leg {
    fn name(&mut self, node: &Node, told: Summary) {
        let theirs = node
            .table
            .contribution(told.origin, told.generation, told.frontier);
        let ours = node.table.own_contribution(told.origin);
        self.overlay = self.overlay.wrapping_sub(ours).wrapping_add(theirs);
        self.named.push(told.origin);
    }

    fn give(&mut self, origin: NodeId, after: u64) {
        if self.may_give {
            self.plan.push(Planned::Delta { origin, after });
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
            overlay: self.table.hash(),
            named: SmallVec::new(),
            narrows: false,
            progress: false,
            may_give,
            may_ask,
            plan: Vec::new(),
        };
        if head.leg == FIRST_LEG && self.is_removed(sender) {
            leg.plan.push(Planned::Removed(sender.generation));
        }
        for item in items {
            self.on_item(now, &mut leg, item);
        }
        for item in items {
            if let Item::Complete(region) = item {
                self.give_what_is_not_named(&mut leg, region);
            }
        }
        let explained = leg.overlay == theirs || leg.narrows || head.extent != Extent::Whole;
        if !explained {
            self.explain(now, head.leg, &mut leg);
        }
        self.learn_from_answer(now, head, &leg);
        let greet = stranger && head.leg == FIRST_LEG;
        if greet && !may_ask {
            // It only takes. Whoever wants to know it, or to know it better, has to begin.
            self.begin_exchange(from);
        }
        if head.leg < LAST_LEG && (greet || !leg.plan.is_empty()) {
            leg.plan.reverse();
            self.outbox.push(Outgoing::Answer(Answer {
                to: from,
                leg: head.leg.saturating_add(1),
                mode: head.mode,
                plan: leg.plan,
                sent: 0,
            }));
        } else if leg.progress
            && matches!(head.extent, Extent::Truncated | Extent::Last)
            && theirs != self.table.hash()
        {
            // There is more where this came from. Ask elsewhere, so that no peer bears it all.
            let peers = super::peers::sample(&self.table, self.own, 1, &mut self.rng);
            match peers.first() {
                Some(peer) => self.begin_exchange_with(*peer),
                None => self.begin_exchange(from),
            }
        }
    }

    fn on_item(&mut self, now: Instant, leg: &mut Leg, item: Item<'_>) {
        match item {
            Item::Summary(told) => {
                leg.name(self, told);
                if self.bury_further(told.origin, told.generation, told.frontier) {
                    return;
                }
                self.compare(leg, told);
            }
            Item::Want(told) => {
                leg.name(self, told);
                if let Some(record) = self.table.get(told.origin) {
                    let log = &record.log;
                    let after = log.serve_from(told.generation, told.frontier);
                    if (told.generation, told.frontier) < (log.generation(), log.frontier()) {
                        leg.give(told.origin, after);
                    }
                }
            }
            Item::Delta(delta) => {
                let Delta {
                    origin,
                    generation,
                    frontier,
                    ..
                } = delta;
                leg.name(
                    self,
                    Summary {
                        origin,
                        generation,
                        frontier,
                    },
                );
                let before = self.known(origin);
                if self.take_in(now, &delta) {
                    leg.ask(origin);
                }
                leg.progress |= self.known(origin) > before;
            }
            Item::Split(split) => {
                leg.narrows = true;
                let (hashes, _) = split.hashes.as_chunks::<8>();
                if hashes.len() != PARTS {
                    return;
                }
                for (part, theirs) in split.region.parts().zip(hashes) {
                    if short(self.table.region_hash(part)) != *theirs {
                        self.narrow(leg, part);
                    }
                }
            }
            Item::Complete(_) => leg.narrows = true,
            // Only another generation brings it back: what others keep of the removed one is how
            // far it was known, and no more.
            Item::Removed(generation) if generation == self.generation => {
                self.outlive(now, generation);
            }
            Item::Removed(_) => {}
        }
    }

    /// Gives what the peer lacks of an origin, or asks for what this node lacks.
    fn compare(&self, leg: &mut Leg, told: Summary) {
        let theirs = (told.generation, told.frontier);
        let ours = self.known(told.origin);
        if told.origin == self.own && theirs > ours {
            // Whose word that is, the log itself will tell.
            leg.plan.push(Planned::Want(self.own));
        } else if theirs > ours {
            leg.ask(told.origin);
        } else if ours > theirs {
            let log = self.table.get(told.origin).map(|record| &record.log);
            let after = log.map_or(0, |log| log.serve_from(told.generation, told.frontier));
            leg.give(told.origin, after);
        }
    }

    /// The peer named all that it holds in a region: it lacks the rest. Begins anywhere, so that a
    /// newcomer that asks several peers gets different parts first.
    fn give_what_is_not_named(&mut self, leg: &mut Leg, region: Region) {
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

    /// What the peer told does not explain why the hashes differ: tell what is new here, or narrow
    /// the difference down.
    fn explain(&mut self, now: Instant, arrived: u8, leg: &mut Leg) {
        if arrived == FIRST_LEG {
            let recents = self.recents.since(now, self.news_horizon());
            let unnamed: SmallVec<[NodeId; 32]> =
                recents.filter(|id| !leg.named.contains(id)).collect();
            if !unnamed.is_empty() {
                leg.plan.extend(unnamed.into_iter().map(Planned::Summary));
                return;
            }
        }
        self.narrow(leg, Region::ALL);
    }

    /// A region differs: list it, or split it where it is too large.
    fn narrow(&self, leg: &mut Leg, region: Region) {
        let members = self.table.region(region).len();
        let plan = if members <= self.list_limit() {
            Planned::List(region)
        } else {
            Planned::Split(region)
        };
        leg.plan.push(plan);
    }

    /// A newcomer has learned the table once an answer leaves it nothing to ask for.
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
        {
            self.announce(now);
        }
    }

    fn is_removed(&self, sender: Sender) -> bool {
        self.table.get(sender.id).is_some_and(|record| {
            record.condition == Condition::Ghost && record.log.generation() == sender.generation
        })
    }

    /// There is more of a member that was removed under this generation. It stays removed; how far
    /// it was known is all that is kept. Tells whether that is so.
    fn bury_further(&mut self, origin: NodeId, generation: Generation, frontier: u64) -> bool {
        let removed = self.is_removed(Sender {
            id: origin,
            generation,
        });
        if removed && frontier > self.known(origin).1 {
            self.table.change_log(origin, |log| log.bury_at(frontier));
        }
        removed
    }

    /// Generation and frontier up to which an origin is known.
    pub(super) fn known(&self, origin: NodeId) -> (Generation, u64) {
        self.table
            .get(origin)
            .map_or((Generation::ZERO, 0), |record| {
                (record.log.generation(), record.log.frontier())
            })
    }

    /// Takes in a delta. Tells whether what lies before it is missing and should be asked for.
    pub(super) fn take_in(&mut self, now: Instant, delta: &Delta<'_>) -> bool {
        let ours = self.known(delta.origin);
        if (delta.generation, delta.frontier) <= ours {
            return false;
        }
        if delta.origin == self.own {
            self.on_own_delta(now, delta);
            return false;
        }
        if delta.generation > ours.0
            && let Err(refused) = self.clock.observe(now, delta.generation.stamp())
        {
            count(&mut self.metrics.refused_skew);
            self.tell_skew(now, delta.origin, refused.ahead);
            return false;
        }
        let unknown = ours.1 == 0;
        if unknown && delta.entries.is_empty() {
            // The next exchange brings the rest.
            let Some(room) = self.room_for_ghosts.checked_sub(1) else {
                count(&mut self.metrics.refused_members);
                return false;
            };
            self.room_for_ghosts = room;
        }
        if unknown && length(self.table.len()) >= u64::from(self.config.max_members) {
            count(&mut self.metrics.refused_members);
            return false;
        }
        if self.bury_further(delta.origin, delta.generation, delta.frontier) {
            return false;
        }
        let held = self.table.get(delta.origin).map(|record| &record.log);
        let max_state = usize::try_from(self.config.max_state)
            .unwrap_or(usize::MAX)
            .saturating_add(PROTOCOL_RESERVE);
        match self.staging.accept(held, delta, max_state) {
            Outcome::Whole(claim) => self.apply(now, delta.origin, &claim),
            Outcome::Completed(staged) => self.apply(now, delta.origin, &staged.claim()),
            Outcome::Kept | Outcome::Stale => {}
            Outcome::Gap => return true,
            Outcome::TooLarge => {
                count(&mut self.metrics.refused_state);
                self.staging.discard(delta.origin);
            }
        }
        false
    }

    /// A whole claim about another member: makes it known, and everything that follows from it.
    fn apply(&mut self, now: Instant, origin: NodeId, claim: &Claim<'_>) {
        self.table.ensure(origin, now);
        let Some(record) = self.table.get(origin) else {
            return;
        };
        let old = record.log.clone();
        let was = record.condition;
        self.table.apply(origin, claim);
        self.recents.note(origin, now);
        let Some(record) = self.table.get(origin) else {
            return;
        };
        let new = &record.log;
        let entries =
            Entries::new(claim.run).after(if claim.after == 0 { 0 } else { old.frontier() });
        let applied = Entries::new(entries).count();
        self.metrics.entries_applied = self.metrics.entries_applied.saturating_add(length(applied));

        let restarted = old.frontier() > 0 && new.generation() > old.generation();
        let declared = record.declared();
        let buried = new.size() == 0;
        let condition = if buried {
            Condition::Ghost
        } else if declared == Declared::Left {
            Condition::Left
        } else if was == Condition::Down && !restarted {
            Condition::Down
        } else {
            Condition::Live
        };
        self.stale.neighbours |= old.get(ADDRESS) != new.get(ADDRESS);
        let changes = changes(&old, new);
        let ballots: Vec<u8> = new.get(VOTES).unwrap_or_default().to_vec();
        let generation = new.generation();

        let is_new = old.frontier() == 0;
        if self.table.set_condition(origin, now, condition) || is_new {
            self.stale.neighbours = true;
            self.stale.verdicts = true;
        }
        if restarted {
            self.on_restart(now, origin, generation);
        }
        let life = if restarted { Life::Another } else { Life::Same };
        self.on_votes(
            now,
            origin,
            life,
            old.get(VOTES).unwrap_or_default(),
            &ballots,
        );
        self.on_progress(now, origin);
        let before = old
            .get(STATUS)
            .map(Declared::decode)
            .filter(|_| was != Condition::Ghost);
        self.tell_status(origin, before, was, restarted);
        for (key, value) in changes {
            self.events.push(Event::AttributeChanged {
                id: origin,
                key,
                value,
            });
        }
        self.tell_broadcasts(now, origin, &old);
    }

    /// Tells the application what a member's new log means for its status.
    fn tell_status(
        &mut self,
        id: NodeId,
        before: Option<Declared>,
        was: Condition,
        restarted: bool,
    ) {
        let Some(record) = self.table.get(id) else {
            return;
        };
        let generation = record.log.generation();
        let took_part = matches!(before, Some(Declared::Up | Declared::Leaving));
        let returns = record.returns || restarted && before != Some(Declared::Joining);
        let is_up = record.declared() != Declared::Joining;
        match record.condition {
            Condition::Left if took_part && was != Condition::Left => {
                self.events.push(Event::MemberLeft { id, generation });
            }
            Condition::Live if is_up && (restarted || !took_part) => {
                let known = before.is_some() && returns;
                self.tell_up(
                    id,
                    if known {
                        UpCause::Restarted
                    } else {
                        UpCause::Joined
                    },
                );
            }
            _ => {}
        }
        if let Some(record) = self.table.get_mut(id) {
            // It may declare itself joining first, and be told as up only later.
            record.returns = returns && !is_up;
        }
    }

    fn tell_skew(&mut self, now: Instant, id: NodeId, ahead: core::time::Duration) {
        let quiet = self.intervals(60);
        let told = self
            .skew_told
            .is_some_and(|(of, at)| of == id && now.saturating_since(at) < quiet);
        if !told {
            self.skew_told = Some((id, now));
            self.events.push(Event::ClockSkew { id, ahead });
        }
    }

    /// How long a change is told in SYNs. A round reaches several peers; in four nearly everybody
    /// who missed the push has met somebody who did not.
    pub(super) fn news_horizon(&self) -> core::time::Duration {
        self.intervals(4)
    }
}

/// The application's keys whose values differ between two states of a log, with the new value.
fn changes(old: &Log, new: &Log) -> SmallVec<[(Key, Option<Value>); 2]> {
    let same_life = old.generation() == new.generation();
    let mut changes = SmallVec::new();
    let mut note = |key: &[u8], value: Option<&[u8]>| {
        let Some(Ok(key)) = crate::state::attribute::user_key(key).map(Key::new) else {
            return;
        };
        if let Ok(value) = value.map(Value::new).transpose() {
            changes.push((key, value));
        }
    };
    for entry in new.entries() {
        let known = same_life && entry.version <= old.frontier();
        if !known && old.get(entry.key) != entry.value {
            note(entry.key, entry.value);
        }
    }
    let complete = same_life && new.floor() <= old.frontier();
    if !complete {
        for entry in old.entries().filter(|entry| entry.value.is_some()) {
            if new.entries().all(|other| other.key != entry.key) {
                note(entry.key, None);
            }
        }
    }
    changes
}

/// The part of a region's hash that travels.
pub(super) fn short(hash: u128) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = hash.to_le_bytes();
    [a, b, c, d, e, f, g, h]
}

fn length(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
