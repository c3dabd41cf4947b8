//! Live members that seem to have moved: a log of a later life names another address than the one they live at.
//!
//! A process that starts under the name of a live member must not take that member's address. So a node holds such a log
//! back, and asks at the old address first. Whoever lives there keeps the name and the address; the newcomer is told of
//! it. If nobody answers, the member has moved: the node asks the new address for its log, and takes it.
//!
//! A member that is down moves without a question, and a restart at the same address is none of this.
//!
//! Invariants: each member stands in the list once, and the list is bounded. While it is full, further members are held
//! back without a question.

use core::net::SocketAddr;
use core::time::Duration;

use crate::context::{Context, Timer};
use crate::identity::{NodeId, is_reachable};
use crate::membership::{Condition, Record};
use crate::state::attribute::{ADDRESS, decode_address};
use crate::state::entry::Entries;
use crate::time::Instant;
use crate::wire::message::{Delta, Sender};

/// The most members that are looked at. More of them move only where a network is renumbered.
const MOST: usize = 8;

/// How often the old address is asked: with half of all datagrams lost, one of the answers comes in two of three cases.
const PINGS: u8 = 4;

/// The time between two of these questions.
const STEP: Duration = Duration::from_millis(100);

/// Intervals for which an answer holds: the next log of that kind is held back without a question, or taken.
const HOLDS: u32 = 3;

/// A member that seems to have moved.
#[derive(Clone, Copy, Debug)]
struct Relocation {
    id: NodeId,
    /// The address that the later log names.
    to: SocketAddr,
    state: State,
    /// When the state ends.
    until: Instant,
}

/// What is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The old address has been asked so often, without an answer so far.
    Asked(u8),
    /// Somebody lives there.
    Stays,
    /// Nobody lives there.
    Moves,
}

/// The members that seem to have moved. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Relocations(heapless::Vec<Relocation, MOST>);

impl Relocations {
    /// Whether a log of a later life has to wait, because it moves a live member.
    pub(super) fn holds_back(&mut self, context: &mut Context, delta: &Delta<'_>) -> bool {
        let Some(to) = moves_to(context, delta) else {
            return false;
        };
        let (id, now) = (delta.origin, context.now);
        self.0
            .retain(|known| known.until > now || matches!(known.state, State::Asked(_)));
        if let Some(known) = self.0.iter().find(|known| known.id == id) {
            return known.state != State::Moves || known.to != to;
        }
        let asked = Relocation {
            id,
            to,
            state: State::Asked(1),
            until: now.saturating_add(STEP),
        };
        if self.0.push(asked).is_ok() {
            context.ping(id);
            context.timers.advance(Timer::Relocation, asked.until);
        }
        true
    }

    /// Somebody has been heard: a member that lives where it was stays there.
    pub(super) fn on_life(&mut self, context: &Context, sender: Sender) {
        let Some(known) = self.0.iter_mut().find(|known| known.id == sender.id) else {
            return;
        };
        if context.known(sender.id).0 == sender.generation {
            known.state = State::Stays;
            known.until = context.in_intervals(HOLDS);
        }
    }

    /// Old addresses have had their time to answer. Asks again, or takes the member to have moved.
    pub(super) fn on_due(&mut self, context: &mut Context) {
        let now = context.now;
        let next = now.saturating_add(STEP);
        let mut is_open = false;
        for known in &mut self.0 {
            let State::Asked(pings) = known.state else {
                continue;
            };
            if known.until > now {
                is_open = true;
            } else if pings < PINGS {
                known.state = State::Asked(pings.saturating_add(1));
                known.until = next;
                context.ping(known.id);
                is_open = true;
            } else {
                known.state = State::Moves;
                known.until = context.in_intervals(HOLDS);
                context.begin_exchange(known.to);
            }
        }
        if is_open {
            context.timers.advance(Timer::Relocation, next);
        }
    }
}

/// The address that a log of a later life moves a live member to.
fn moves_to(context: &Context, delta: &Delta<'_>) -> Option<SocketAddr> {
    let record = context.table.get(delta.origin)?;
    let is_later = delta.generation > record.log.generation();
    let lives_at = Some(record)
        .filter(|record| is_later && record.condition == Condition::Live)
        .and_then(Record::address)?;
    let addresses = Entries::new(delta.entries).filter(|entry| entry.key == ADDRESS);
    let to = decode_address(addresses.last()?.value?).filter(is_reachable)?;
    (to != lives_at).then_some(to)
}
