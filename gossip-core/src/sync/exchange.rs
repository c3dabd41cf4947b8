//! The exchange: two replicas find what differs, and give each other what is newer.
//!
//! 1. SYN: the table hash, and the origins that changed lately.
//! 2. ACK: nothing if the hashes agree. Otherwise what the peer lacks, and a request for what this node
//!    lacks.
//! 3. ACK2: what was asked for.
//!
//! A leg does not depend on memory of an earlier one: the [`Leg`] shows whether what the sender told
//! explains the difference between the tables. If not, the next leg names this node's own [recent
//! changes](super::news). After that the legs [narrow the difference down](super::narrowing) by sub-hashes
//! of regions of the id space, until the regions are small enough to list. Each leg is answered by the next
//! one, up to [`LAST_LEG`]. What is still open then is left to the next exchange.

use core::net::SocketAddr;

use smallvec::SmallVec;

use super::Sync;
use super::accept::has_place;
use super::catch_up::Brought;
use super::leg::{BUDGET, FIRST_LEG, LAST_LEG, Learned, Leg};
use super::narrowing::{give_what_is_not_named, narrow_down};
use super::news::delta_size;
use crate::context::{Answer, Context, Outgoing, Planned};
use crate::identity::{Generation, Name, NodeId};
use crate::membership::Condition;
use crate::membership::places::Account;
use crate::rng::below;
use crate::state::table_hash::Salt;
use crate::wire::message::{ExchangeHead, Extent, Item, Sender, Summary};

/// After so many bytes of first answers to strangers between two rounds, each further one takes one datagram. A
/// newcomer goes on with the members of which it learns. So seeds do not bear it all when many join at once.
const GREETED: usize = 700_000;

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
        // The sender's clock went back, and it has forgotten a later incarnation than this. Or another node of its name
        // lives. Until it knows that, nobody takes its word. So it is told in any mode.
        let is_behind = context.known(sender.id).0 > sender.generation;
        if head.leg == FIRST_LEG && (is_behind || lives_elsewhere(context, from, sender)) {
            let origin = sender.id;
            leg.plan.push(Planned::Delta { origin, after: 0 });
        }
        leg
    }

    /// An item of a leg that is not a delta.
    pub(crate) fn on_item(&self, context: &Context, leg: &mut Leg, item: Item<'_>) {
        match item {
            Item::Summary(told) => match leg.recognise(context, told) {
                Some((origin, generation)) => {
                    leg.on_known(context, origin, generation, told.frontier);
                }
                None => self.on_unrecognised(leg, told),
            },
            Item::Want(told) => leg.on_want(context, told),
            Item::Resume(resume) => leg.on_resume(context, resume),
            Item::Split(split) => leg.on_split(context, split),
            Item::Complete(region) => leg.on_complete(region),
            // The node handles deltas and removals. It has also read already what the leg says of the
            // shared map, of the address and of the sender's clock.
            Item::Delta(_)
            | Item::Removed(_)
            | Item::MapSummary(_)
            | Item::MapTold(_)
            | Item::MapRun(_)
            | Item::Full(_)
            | Item::Echo(_)
            | Item::Clock(_) => {}
        }
    }

    /// The sender knows a newcomer, or another incarnation of a known origin. Its log will tell which.
    fn on_unrecognised(&self, leg: &mut Leg, told: Summary) {
        if !leg.may_ask {
            return;
        }
        leg.narrows = true;
        let partial = self.recognise_partial(leg.salt, told);
        leg.plan.push(match partial {
            Some(origin) => Planned::Want(origin),
            None => Planned::WantUnknown(told.prefix),
        });
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

    /// All items of a leg have been read. Works out the answer, and whether this node has learned the whole
    /// table. `loss` is the share of datagrams that is being lost.
    pub(crate) fn conclude(&mut self, context: &mut Context, leg: &mut Leg, loss: f64) -> Learned {
        for region in core::mem::take(&mut leg.complete) {
            give_what_is_not_named(context, leg, region);
        }
        if !has_place(context, leg.sender.id, Account::Living) {
            tell_no_place(context, leg);
        } else {
            ask_for_stranger(context, leg);
        }
        if leg.head.extent == Extent::Truncated {
            self.ask_for_what_was_cut_off(context, leg);
        }
        if !leg.is_explained() {
            self.explain(context, leg, loss);
        }
        // Nobody answers the last leg.
        if leg.head.leg.saturating_add(1) < LAST_LEG {
            narrow_down(context, leg);
        }
        leg.learned(context)
    }

    /// Answers a leg, and sees to it that what is still missing is asked for.
    pub(crate) fn answer(&mut self, context: &mut Context, mut leg: Leg) {
        let head = leg.head;
        let greet = leg.is_stranger && head.leg == FIRST_LEG;
        if greet && !leg.may_ask {
            self.meet_stranger(context, leg.from);
        }
        let more = match head.extent {
            Extent::Truncated | Extent::Last => leg.plan.is_empty() || head.leg >= LAST_LEG,
            Extent::Whole => leg.full,
            Extent::Part => false,
        };
        let answers = head.leg < LAST_LEG && (greet || !leg.plan.is_empty());
        let brought = Brought {
            bytes: leg.brought,
            new: leg.brought_new,
            ends: !answers && head.extent != Extent::Part,
            leaves_more: more && leg.theirs() != context.table.hash(),
        };
        self.catch_up.on_leg(context, leg.from, brought);
        let most = if greet {
            self.greet(context, &leg)
        } else {
            BUDGET
        };
        if answers {
            // An answer takes what it says next off the end of its plan.
            leg.plan.reverse();
            if self.catch_up.is_behind() {
                // Each peer that is asked at the same time is to bring something else.
                let start = below(&mut context.rng, leg.plan.len());
                leg.plan.rotate_left(start);
            }
            context.send(Outgoing::Answer(Answer {
                to: leg.from,
                leg: head.leg.saturating_add(1),
                mode: head.mode,
                plan: leg.plan,
                sent: 0,
                most,
                truncated: leg.truncated,
            }));
        }
    }

    /// How many datagrams the first answer to a stranger may take.
    fn greet(&mut self, context: &Context, leg: &Leg) -> u32 {
        if self.greeted >= GREETED {
            return 1;
        }
        let sizes = leg.plan.iter().map(|planned| match planned {
            Planned::Delta { origin, after } => delta_size(context, *origin, *after),
            _ => 0,
        });
        let size = sizes.fold(0, usize::saturating_add);
        let whole = usize::try_from(BUDGET).unwrap_or(usize::MAX);
        let whole = whole.saturating_mul(context.fill());
        self.greeted = self.greeted.saturating_add(size.min(whole));
        BUDGET
    }

    /// Asks for the rest of what a leg had no room for. If the leg were asked for anew, it would end at the
    /// same place.
    fn ask_for_what_was_cut_off(&self, context: &Context, leg: &mut Leg) {
        let is_partial = |origin: &NodeId| self.resume(context, *origin).is_some();
        let named = leg.named.iter().copied();
        let partial: SmallVec<[NodeId; 4]> = named.filter(is_partial).collect();
        for origin in partial {
            if !leg.plan.contains(&Planned::Want(origin)) {
                leg.ask(origin);
            }
        }
    }

    /// Exchanges of a node that is far behind have taken too long, or peers have rested.
    pub(crate) fn on_catch_up_due(&mut self, context: &mut Context) {
        self.catch_up.ask(context);
    }
}

/// Tells the sender of a SYN that the table has no place for it. It would be asked for itself in vain.
fn tell_no_place(context: &mut Context, leg: &mut Leg) {
    if leg.head.leg == FIRST_LEG {
        leg.plan.push(Planned::Full);
        context.tell_full(leg.sender.id, Name::placeholder());
    }
}

/// Asks the sender of a SYN for itself if this node does not know it, or knows an earlier incarnation of
/// it. The sender need not tell of itself for that: to find it by comparing tables takes more legs.
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

/// Whether a live member has the sender's id, under another generation and at another address.
fn lives_elsewhere(context: &Context, from: SocketAddr, sender: Sender) -> bool {
    context.table.get(sender.id).is_some_and(|record| {
        record.condition == Condition::Live
            && record.log.generation() != sender.generation
            && record.address().is_some_and(|address| address != from)
    })
}

/// Whether this node has removed the sender under the generation that it has.
fn is_removed(context: &Context, sender: Sender) -> bool {
    context.table.get(sender.id).is_some_and(|record| {
        record.condition == Condition::Removed && record.log.generation() == sender.generation
    })
}

#[cfg(test)]
mod tests {
    use super::super::leg::testing::{STRANGER, head, leg, summary};
    use super::*;
    use crate::context::testing::{OWN, address, context, generation, log_of};
    use crate::membership::Region;
    use crate::state::attribute::Declared;
    use crate::sync::staging::Sent;
    use crate::wire::message::{Delta, ModeTag};
    use alloc::vec::Vec;

    const BOTH: ModeTag = ModeTag::PushPull;
    const HASH: u128 = 5;

    fn sync() -> Sync {
        Sync::new()
    }

    /// The answers that were noted: leg and plan, in the order in which it is carried out.
    fn answers(context: &mut Context) -> Vec<(u8, Vec<Planned>)> {
        let answers = context
            .drain_messages()
            .filter_map(|message| match message {
                Outgoing::Answer(answer) => {
                    Some((answer.leg, answer.plan.into_iter().rev().collect()))
                }
                _ => None,
            });
        answers.collect()
    }

    fn member(context: &mut Context) -> Sender {
        let id = context.learn(1);
        let generation = generation();
        Sender { id, generation }
    }

    #[test]
    fn a_syn_of_a_member_with_the_same_table_needs_no_answer() {
        let mut context = context(|_| ());
        let sender = member(&mut context);
        let hash = context.table.hash();
        assert!(agrees(&context, sender, &head(1, BOTH, hash)));
        assert!(!agrees(&context, sender, &head(2, BOTH, hash)), "no SYN");
        assert!(!agrees(&context, sender, &head(1, BOTH, hash + 1)));
        assert!(!agrees(&context, STRANGER, &head(1, BOTH, hash)));
    }

    #[test]
    fn only_a_leg_that_does_nothing_else_asks_for_what_was_missed() {
        let mut context = context(|_| ());
        let (sync, id) = (sync(), context.learn(1));
        let asks = |number, item: Item<'_>| {
            let mut leg = leg(&context, number, BOTH, HASH);
            sync.on_item(&context, &mut leg, item);
            leg.only_asks()
        };
        let want = || Item::Want(summary(HASH, id, generation(), 1));
        assert!(asks(LAST_LEG - 1, want()));
        assert!(!asks(LAST_LEG - 3, want()), "the end of an exchange");
        assert!(!asks(LAST_LEG - 1, Item::Complete(Region::ALL)));
    }

    #[test]
    fn when_many_join_at_once_each_takes_little_of_a_node_until_its_next_round() {
        let mut context = context(|_| ());
        for member in 1..=400 {
            context.learn(member);
        }
        let mut sync = sync();
        let mut joins = || {
            let mut leg = leg(&context, 1, BOTH, HASH);
            sync.on_item(&context, &mut leg, Item::Complete(Region::ALL));
            sync.conclude(&mut context, &mut leg, 0.0);
            sync.answer(&mut context, leg);
            let most = context.drain_messages().find_map(|message| match message {
                Outgoing::Answer(answer) => Some(answer.most),
                _ => None,
            });
            most.unwrap()
        };
        let most: Vec<u32> = (0..100).map(|_| joins()).collect();
        let full = most.iter().take_while(|most| **most == BUDGET).count();
        assert!((20..90).contains(&full), "{full}");
        assert!(most[full..].iter().all(|most| *most == 1));
        sync.begin_round();
        let mut leg = leg(&context, 1, BOTH, HASH);
        sync.conclude(&mut context, &mut leg, 0.0);
        assert_eq!(sync.greet(&context, &leg), BUDGET);
    }

    #[test]
    fn a_stranger_is_asked_for_itself_once_and_answered_in_any_case() {
        let mut context = context(|_| ());
        let (mut sync, hash) = (sync(), context.table.hash());
        let ask = Planned::WantUnknown(STRANGER.id.prefix());
        for tells_of_itself in [false, true] {
            let mut leg = leg(&context, 1, BOTH, hash);
            if tells_of_itself {
                let told = summary(hash, STRANGER.id, STRANGER.generation, 1);
                sync.on_item(&context, &mut leg, Item::Summary(told));
            }
            sync.conclude(&mut context, &mut leg, 0.0);
            sync.answer(&mut context, leg);
            assert_eq!(answers(&mut context), [(2, Vec::from([ask]))]);
        }
    }

    #[test]
    fn a_stranger_that_only_takes_is_met_by_one_exchange_in_each_interval() {
        let mut context = context(|_| ());
        let (mut sync, hash) = (sync(), context.table.hash());
        let mut met = |is_round| {
            if is_round {
                sync.begin_round();
            }
            let leg = leg(&context, 1, ModeTag::Pull, hash);
            sync.answer(&mut context, leg);
            let messages = context.drain_messages();
            let is_syn = |message| match message {
                Outgoing::Syn { to } => {
                    assert_eq!(to, address(9));
                    Some(true)
                }
                Outgoing::Answer(_) => Some(false),
                _ => None,
            };
            messages.filter_map(is_syn).collect::<Vec<_>>()
        };
        assert_eq!(met(false), [true, false]);
        assert_eq!(met(false), [false]);
        assert_eq!(met(true), [true, false]);
    }

    #[test]
    fn a_removed_member_is_told_so_and_a_forgotten_incarnation_is_given_back() {
        let mut context = context(|_| ());
        let sender = member(&mut context);
        let begin = |context: &Context, sender| {
            Sync::begin_leg(context, address(1), sender, head(1, BOTH, HASH)).plan
        };
        assert_eq!(begin(&context, sender), []);
        let earlier = Sender {
            generation: STRANGER.generation,
            ..sender
        };
        let origin = sender.id;
        let all = Planned::Delta { origin, after: 0 };
        assert_eq!(begin(&context, earlier), [all]);
        let now = context.now;
        context
            .table
            .set_condition(sender.id, now, Condition::Removed);
        let removed = Planned::Removed(sender.generation);
        assert_eq!(begin(&context, sender), [removed]);
    }

    #[test]
    fn the_last_leg_is_not_answered() {
        let mut context = context(|_| ());
        for number in 2..=LAST_LEG {
            let mut leg = leg(&context, number, BOTH, HASH);
            leg.plan.push(Planned::Want(OWN));
            sync().answer(&mut context, leg);
        }
        let legs: Vec<u8> = answers(&mut context).iter().map(|(leg, _)| *leg).collect();
        assert_eq!(legs, (3..=LAST_LEG).collect::<Vec<_>>());
    }

    #[test]
    fn the_rest_of_a_log_that_was_cut_off_is_asked_for() {
        let mut context = context(|_| ());
        let mut sync = sync();
        let id = NodeId::from_u64(1);
        let log = log_of(generation(), 1, Declared::Up);
        let mut entries = log.entries();
        entries.next();
        let first = log.size() - entries.rest().len();
        let delta = Delta {
            origin: id,
            generation: log.generation(),
            after: 0,
            upto: 1,
            frontier: log.frontier(),
            floor: 0,
            entries: &log.entries().rest()[..first],
        };
        let mut leg = leg(&context, 2, BOTH, HASH);
        leg.head.extent = Extent::Truncated;
        let before = leg.before_delta(&context, &delta);
        let mut room = crate::sync::Room::of(1400);
        let (taken, _) = sync.accept(&mut context, &delta, Sent::InParts, false, &mut room);
        leg.applied(&context, &delta, before, taken);
        assert!(leg.brought_new > 0);
        assert_eq!(sync.conclude(&mut context, &mut leg, 0.0), Learned::Part);
        assert_eq!(leg.plan, [Planned::Want(id)]);
    }

    #[test]
    fn a_node_that_is_behind_asks_another_peer_at_once() {
        let mut context = context(|_| ());
        let mut sync = sync();
        context.learn(2);
        let mut leg = leg(&context, 2, BOTH, HASH);
        leg.head.extent = Extent::Last;
        (leg.brought, leg.brought_new) = (1000, 1000);
        sync.answer(&mut context, leg);
        assert!(sync.is_behind());
        let asked = context.drain_messages().last();
        assert!(matches!(asked, Some(Outgoing::Syn { to }) if to == address(2)));
    }
}
