//! What this node says of itself: joining, attributes, leaving, and a new generation where it must.

use super::timers::Timer;
use super::{Node, Standing, count};
use crate::command::{Command, CommandError, MAX_VALUE};
use crate::event::Event;
use crate::identity::{Generation, NodeId};
use crate::membership::Condition;
use crate::sort::sort;
use crate::state::attribute::{Ballot, Declared, STATUS};
use crate::time::{Instant, part};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Writes made within this time share datagrams.
const BATCH: Duration = Duration::from_millis(2);

/// Rounds after which a node that hears nothing from its seeds announces itself all the same: it
/// may be the first.
const JOINING_ROUNDS: u32 = 3;

/// How often a departure is pushed. With 30 % loss, a third time makes it certain enough.
const FAREWELLS: u8 = 3;

/// What peers accept of a node beyond `max_state`, for what the protocol itself writes.
pub(super) const PROTOCOL_RESERVE: usize = 2 * MAX_VALUE;

impl Node {
    /// Begins to learn the table from the seeds; without any, and with none to come, announces itself.
    pub(super) fn begin_joining(&mut self, now: Instant) {
        if self.config.seeds.is_empty() && !self.config.seeds_to_come {
            self.announce(now);
        } else {
            let patience = self.intervals(JOINING_ROUNDS);
            self.timers
                .set(Timer::Announce, Some(now.saturating_add(patience)));
        }
        self.on_round(now);
        self.settle(now);
    }

    /// The table is learned, or nobody answers: takes part from now on.
    pub(super) fn announce(&mut self, now: Instant) {
        if self.standing != Standing::Joining {
            return;
        }
        self.standing = Standing::Up;
        self.timers.set(Timer::Announce, None);
        self.declare(now, Declared::Up);
        let members = self.table.live_len().saturating_sub(1);
        self.events.push(Event::Joined { members });
    }

    pub(super) fn on_command(
        &mut self,
        now: Instant,
        command: Command,
    ) -> Result<(), CommandError> {
        if matches!(self.standing, Standing::Leaving | Standing::Left) {
            return match command {
                Command::Leave => Ok(()),
                _ => Err(CommandError::Left),
            };
        }
        match command {
            Command::Set { key, value } => {
                self.set(now, key.as_str().as_bytes(), Some(value.as_bytes()))
            }
            Command::Unset { key } => {
                let key = key.as_str().as_bytes();
                let held = self
                    .table
                    .get(self.own)
                    .is_some_and(|own| own.log.get(key).is_some());
                if held {
                    self.set(now, key, None)
                } else {
                    Ok(())
                }
            }
            Command::Put {
                key,
                value,
                policy,
                lifetime,
            } => self.put(now, &key, &value, policy, lifetime),
            Command::Delete { key } => self.delete(now, &key),
            Command::Resolve { key, value } => self.resolve(now, &key, value.as_ref()),
            Command::Broadcast { name, payload } => self.broadcast(now, &name, &payload),
            Command::Watch { key } => self.watch(key),
            Command::Unwatch { key } => {
                self.unwatch(&key);
                Ok(())
            }
            Command::WatchMap { prefixes } => self.watch_map(prefixes),
            Command::Leave => {
                self.leave(now);
                Ok(())
            }
            Command::Forget { id } => self.forget(now, id),
            Command::SetSeeds { seeds } => {
                self.set_seeds(seeds);
                Ok(())
            }
            #[cfg(feature = "encryption")]
            Command::AddKey { key } => self.add_key(key),
            #[cfg(feature = "encryption")]
            Command::UseKey { key } => self.use_key(&key),
            #[cfg(feature = "encryption")]
            Command::RemoveKey { key } => self.remove_key(&key),
            #[cfg(feature = "encryption")]
            Command::SetEncryption { encryption } => {
                self.set_encryption(encryption);
                Ok(())
            }
            Command::SetWallClock { wall } => {
                let known = self.clock.wall(now).as_millis();
                let ahead = wall.as_millis().saturating_sub(known);
                self.note_sleep(now, Duration::from_millis(ahead));
                self.clock.set(now, wall);
                Ok(())
            }
        }
    }

    /// Replaces the seeds; a node that knows nobody asks them at once.
    fn set_seeds(&mut self, seeds: Vec<SocketAddr>) {
        // Name servers rotate their answers: order says nothing.
        let sorted = |seeds: &[SocketAddr]| {
            let mut seeds = seeds.to_vec();
            sort(&mut seeds);
            seeds.dedup();
            seeds
        };
        if sorted(&seeds) == sorted(&self.config.seeds) {
            return;
        }
        self.config.seeds = seeds;
        if self.table.live_len() <= 1 {
            self.ask_all_seeds();
        }
    }

    pub(super) fn set(
        &mut self,
        now: Instant,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), CommandError> {
        let Some(own) = self.table.get(self.own) else {
            return Ok(());
        };
        let unchanged = value.is_some() && own.log.get(key) == value;
        if unchanged {
            return Ok(());
        }
        let size = key.len().saturating_add(value.map_or(0, <[u8]>::len));
        let limit = self.entry_limit();
        if size > limit {
            return Err(CommandError::EntryTooLarge { size, limit });
        }
        let size = own.log.size_with(key, value);
        let limit = usize::try_from(self.config.max_state).unwrap_or(usize::MAX);
        if size > limit && size > own.log.size() {
            return Err(CommandError::StateFull { size, limit });
        }
        self.write(now, key, value);
        Ok(())
    }

    /// The most bytes that the key and the value of an entry may have: it has to fit a datagram.
    pub(super) fn entry_limit(&self) -> usize {
        usize::from(self.config.max_datagram).saturating_sub(super::transmit::OVERHEAD)
    }

    /// One more entry in the own log; pushed with others of the same moment.
    pub(super) fn write(&mut self, now: Instant, key: &[u8], value: Option<&[u8]>) {
        let age = self.age(now);
        self.table
            .change_log(self.own, |log| log.write(age, key, value));
        self.recents.note(self.own, now);
        self.flush_soon(now);
    }

    /// What this node has written is pushed with what it writes in the same moment.
    pub(super) fn flush_soon(&mut self, now: Instant) {
        self.timers.advance(Timer::Flush, now.saturating_add(BATCH));
    }

    /// Writes the own status, be it new or the same again: the one more entry that refutes a vote.
    pub(super) fn declare(&mut self, now: Instant, status: Declared) {
        self.write(now, STATUS, Some(status.encode()));
    }

    /// Somebody votes against this node. One more entry voids it.
    pub(super) fn refute(&mut self, now: Instant, ballot: &Ballot) {
        let Some(own) = self.table.get(self.own) else {
            return;
        };
        let stands =
            ballot.generation == own.log.generation() && ballot.frontier >= own.log.frontier();
        if !stands {
            return;
        }
        if ballot.frontier > own.log.frontier() {
            // Nobody can know more of this log than its writer: a forgery, which a write could
            // never reach, or the memory of an earlier life under the same generation.
            return self.outlive(now, ballot.generation);
        }
        count(&mut self.metrics.refutations);
        self.declare(now, self.declared());
    }

    /// The own status as peers are told it.
    fn declared(&self) -> Declared {
        match self.standing {
            Standing::Joining => Declared::Joining,
            Standing::Up => Declared::Up,
            Standing::Leaving => Declared::Leaving,
            Standing::Left => Declared::Left,
        }
    }

    /// Peers remember this id under `generation`, which this node did not write: an earlier life
    /// whose clock was ahead. Begins another life once the input is done with, however many such
    /// generations it names.
    pub(super) fn outlive(&mut self, now: Instant, generation: Generation) {
        if let Err(refused) = self.clock.observe(now, generation.stamp()) {
            count(&mut self.metrics.refused_skew);
            return self.tell_skew(now, self.own, refused.ahead);
        }
        self.outlives = true;
    }

    /// Raises the own generation above all that the clock has seen, and writes everything anew.
    pub(super) fn begin_another_life(&mut self, now: Instant) {
        count(&mut self.metrics.outlived);
        let generation = Generation::new(self.clock.tick(now));
        self.generation = generation;
        self.note_absence(now);
        self.table
            .change_log(self.own, |log| log.reissue(generation, 0));
        self.pushed = 0;
        self.reopen_map(generation);
        self.stale.ballots = true;
        self.recents.note(self.own, now);
        self.timers.advance(Timer::Flush, now.saturating_add(BATCH));
    }

    fn leave(&mut self, now: Instant) {
        self.standing = Standing::Leaving;
        self.timers.set(Timer::Announce, None);
        self.declare(now, Declared::Leaving);
        self.push_latest(now);
        self.timers
            .set(Timer::Leave, Some(now.saturating_add(self.leave_step())));
    }

    /// Time between the steps of leaving: enough for the news to cross the cluster while this node
    /// still answers.
    fn leave_step(&self) -> Duration {
        part(self.config.interval, 4)
    }

    /// Leaving, left, told again, silent. Departure is pushed whatever the mode: in rounds alone it
    /// would come too late, and nobody can repair it afterwards.
    pub(super) fn on_leave_due(&mut self, now: Instant) {
        self.farewells = self.farewells.saturating_add(1);
        if self.farewells > FAREWELLS {
            self.standing = Standing::Left;
            self.timers.clear();
            self.events.push(Event::LeaveCompleted);
            return;
        }
        if self.farewells == 1 {
            self.declare(now, Declared::Left);
            self.table.set_condition(self.own, now, Condition::Left);
        }
        self.push_latest(now);
        self.on_round(now);
        self.timers
            .set(Timer::Leave, Some(now.saturating_add(self.leave_step())));
    }

    fn forget(&mut self, now: Instant, id: NodeId) -> Result<(), CommandError> {
        match self.table.condition(id) {
            None | Some(Condition::Ghost) => Err(CommandError::UnknownMember(id)),
            Some(Condition::Live) => Err(CommandError::MemberAlive(id)),
            Some(Condition::Down | Condition::Left) => {
                self.remove(now, id);
                self.lost.forget(id);
                Ok(())
            }
        }
    }
}
