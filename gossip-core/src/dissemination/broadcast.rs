//! Broadcasts: events of the application, told once by every node, in their writer's order.
//!
//! A broadcast is an entry of its writer's log. So it is pushed, repaired and served like every other entry,
//! and a node that takes over a claim sees each broadcast exactly once. When a broadcast has expired by its
//! writer's clock, the writer ends it ([`state::broadcast`](crate::state::broadcast)), and every replica
//! drops it. A node goes by its own clock only where the writer may be gone.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::command::{CommandError, Key, MAX_BROADCASTS, MAX_VALUE, Value};
use crate::context::Context;
use crate::event::Event;
use crate::identity::{Generation, NodeId};
use crate::local::attributes;
use crate::membership::{Condition, Record};
use crate::state::broadcast::{self, Body, BroadcastNumber};
use crate::state::log::Log;
use crate::time::Instant;

/// The broadcasts of this node that have not expired.
#[derive(Debug, Default)]
pub(crate) struct Broadcasts {
    /// The number of the last one.
    last: u64,
    /// When each of those that have not expired will, oldest first. The last has number `last`.
    expire: VecDeque<Instant>,
}

/// A broadcast that has not expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broadcast<'a> {
    /// The generation in which the writer's process began, whatever the process has raised its
    /// generation to since.
    pub incarnation_start: Generation,
    /// Its number among the broadcasts of that process: 1, 2, 3, …
    pub number: u64,
    /// What it is about.
    pub name: &'a str,
    /// What it says.
    pub payload: &'a [u8],
}

impl Broadcasts {
    /// Writes a broadcast.
    ///
    /// # Errors
    /// [`CommandError`] where there are too many, or this one is too large.
    pub(crate) fn write(
        &mut self,
        context: &mut Context,
        name: &Key,
        payload: &Value,
    ) -> Result<(), CommandError> {
        if self.expire.len() >= MAX_BROADCASTS {
            return Err(CommandError::TooManyBroadcasts);
        }
        let ttl = context.config.broadcast_ttl;
        let wall = context.clock.wall(context.now);
        let body = Body {
            incarnation_start: context.incarnation_start,
            until: wall.saturating_add(ttl).as_millis(),
            name: name.as_str(),
            payload: payload.as_bytes(),
        };
        let value = body.encode();
        if value.len() > MAX_VALUE {
            let said = body.name.len().saturating_add(body.payload.len());
            let excess = value.len().saturating_sub(MAX_VALUE);
            return Err(CommandError::EntryTooLarge {
                size: said,
                limit: said.saturating_sub(excess),
            });
        }
        let number = self.last.saturating_add(1);
        attributes::set(context, &broadcast::key(number), Some(&value))?;
        self.last = number;
        self.expire.push_back(context.now.saturating_add(ttl));
        Ok(())
    }

    /// Ends those that have expired, all with one entry.
    pub(crate) fn end(&mut self, context: &mut Context) {
        let over = self.expire.partition_point(|at| *at <= context.now);
        if over == 0 {
            return;
        }
        self.expire.drain(..over);
        let left = u64::try_from(self.expire.len()).unwrap_or(u64::MAX);
        let over = BroadcastNumber {
            incarnation_start: context.incarnation_start,
            number: self.last.saturating_sub(left),
        };
        context.write(broadcast::OVER, Some(&over.encode()));
    }
}

/// Tells the application what a member's log holds that `old`, the log before, did not: all up
/// to the latest in there has been told.
pub(crate) fn tell(context: &mut Context, from: NodeId, old: &Log) {
    let Some(record) = context.table.get(from) else {
        return;
    };
    let told = broadcast::latest(old.entries());
    // What a live writer has not ended has not expired, whatever the clocks show. A member that
    // is new here may be dead for long.
    let ends_them = record.condition == Condition::Live && old.frontier() > 0;
    // The clocks of writer and reader may differ by what the cluster tolerates.
    let late = context.config.max_clock_skew.as_millis();
    let wall = u128::from(context.clock.wall(context.now).as_millis());
    let news = held(record).filter_map(|(body, broadcast)| {
        let known = broadcast.incarnation_start == told.incarnation_start
            && broadcast.number <= told.number;
        let expired = !ends_them && u128::from(body.until).saturating_add(late) < wall;
        let name = Key::new(broadcast.name).ok()?;
        let payload = Value::new(broadcast.payload).ok()?;
        (!known && !expired).then_some(Event::Broadcast {
            from,
            incarnation_start: broadcast.incarnation_start,
            number: broadcast.number,
            name,
            payload,
        })
    });
    let news: Vec<Event> = news.collect();
    for event in news {
        context.tell(event);
    }
}

/// The broadcasts in a member's log, in their writer's order.
pub(crate) fn held(record: &Record) -> impl Iterator<Item = (Body<'_>, Broadcast<'_>)> {
    record.log.entries().filter_map(|entry| {
        let number = broadcast::number(entry.key)?;
        let body = Body::decode(entry.value?)?;
        let broadcast = Broadcast {
            incarnation_start: body.incarnation_start,
            number,
            name: body.name,
            payload: body.payload,
        };
        Some((body, broadcast))
    })
}
