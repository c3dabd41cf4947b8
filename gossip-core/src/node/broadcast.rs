//! Broadcasts: events of the application, told once by every node, in their writer's order.
//!
//! A broadcast is an entry of its writer's log, so it is pushed, repaired and served like all
//! others, and whoever takes over a claim sees each exactly once. When one has expired by its
//! writer's clock, the writer ends it ([`state::broadcast`](crate::state::broadcast)), and every
//! replica drops it. Only where there may be no writer any more to do so, a node goes by its own
//! clock.

use super::{Node, Standing};
use crate::command::{CommandError, Key, MAX_BROADCASTS, MAX_VALUE, Value};
use crate::event::Event;
use crate::identity::{Generation, NodeId};
use crate::membership::{Condition, Record};
use crate::state::broadcast::{self, Body, Place};
use crate::state::log::Log;
use crate::time::Instant;
use alloc::collections::VecDeque;

/// The broadcasts of this node that have not expired.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    /// The number of the last one.
    last: u64,
    /// When each of those that have not expired will, oldest first. The last has number `last`.
    expire: VecDeque<Instant>,
}

/// A broadcast that has not expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Broadcast<'a> {
    /// In which life its writer wrote it: the generation in which that process began.
    pub life: Generation,
    /// Its number among the writer's broadcasts in that life: 1, 2, 3, …
    pub number: u64,
    /// What it is about.
    pub name: &'a str,
    /// What it says.
    pub payload: &'a [u8],
}

impl Node {
    /// Writes a broadcast.
    pub(super) fn broadcast(
        &mut self,
        now: Instant,
        name: &Key,
        payload: &Value,
    ) -> Result<(), CommandError> {
        if self.broadcasts.expire.len() >= MAX_BROADCASTS {
            return Err(CommandError::TooManyBroadcasts);
        }
        let ttl = self.config.broadcast_ttl;
        let body = Body {
            life: self.born,
            until: self.clock.wall(now).saturating_add(ttl).as_millis(),
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
        let number = self.broadcasts.last.saturating_add(1);
        self.set(now, &broadcast::key(number), Some(&value))?;
        self.broadcasts.last = number;
        self.broadcasts.expire.push_back(now.saturating_add(ttl));
        Ok(())
    }

    /// Ends those that have expired, all with one entry.
    pub(super) fn end_broadcasts(&mut self, now: Instant) {
        let expire = &mut self.broadcasts.expire;
        let over = expire.partition_point(|at| *at <= now);
        if over == 0 || self.standing == Standing::Left {
            return;
        }
        expire.drain(..over);
        let left = u64::try_from(expire.len()).unwrap_or(u64::MAX);
        let last = self.broadcasts.last.saturating_sub(left);
        let over = Place {
            life: self.born,
            number: last,
        };
        self.write(now, broadcast::OVER, Some(&over.encode()));
    }

    /// Tells the application what a member's log holds that `old`, the log before, did not: all up
    /// to the latest in there has been told.
    pub(super) fn tell_broadcasts(&mut self, now: Instant, from: NodeId, old: &Log) {
        let Some(record) = self.table.get(from) else {
            return;
        };
        let told = broadcast::latest(old.entries());
        // What a live writer has not ended has not expired, whatever the clocks show. A member that
        // is new here may be dead for long.
        let ends_them = record.condition == Condition::Live && old.frontier() > 0;
        // The clocks of writer and reader may differ by what the cluster tolerates.
        let late = self.config.max_clock_skew.as_millis();
        let wall = u128::from(self.clock.wall(now).as_millis());
        for (body, broadcast) in held(record) {
            let known = broadcast.life == told.life && broadcast.number <= told.number;
            let expired = !ends_them && u128::from(body.until).saturating_add(late) < wall;
            let (Ok(name), Ok(payload)) = (Key::new(broadcast.name), Value::new(broadcast.payload))
            else {
                continue;
            };
            if !known && !expired {
                self.events.push(Event::Broadcast {
                    from,
                    life: broadcast.life,
                    number: broadcast.number,
                    name,
                    payload,
                });
            }
        }
    }
}

/// The broadcasts in a member's log, in their writer's order.
pub(super) fn held(record: &Record) -> impl Iterator<Item = (Body<'_>, Broadcast<'_>)> {
    record.log.entries().filter_map(|entry| {
        let number = broadcast::number(entry.key)?;
        let body = Body::decode(entry.value?)?;
        let broadcast = Broadcast {
            life: body.life,
            number,
            name: body.name,
            payload: body.payload,
        };
        Some((body, broadcast))
    })
}
