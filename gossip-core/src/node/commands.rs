//! Inputs of the application: commands.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{Node, Standing};
use crate::command::{Command, CommandError};
use crate::identity::NodeId;
use crate::local::attributes;
use crate::membership::Condition;
use crate::time::Instant;

impl Node {
    /// Does what the application wants.
    ///
    /// # Errors
    /// [`CommandError`] says why that is not possible. Nothing has changed then.
    pub fn handle_command(&mut self, now: Instant, command: Command) -> Result<(), CommandError> {
        self.advance(now);
        let result = self.on_command(command);
        self.settle();
        self.carry_out();
        result
    }

    fn on_command(&mut self, command: Command) -> Result<(), CommandError> {
        if matches!(self.local.standing(), Standing::Leaving | Standing::Left) {
            return match command {
                Command::Leave => Ok(()),
                _ => Err(CommandError::Left),
            };
        }
        let context = &mut self.context;
        match command {
            Command::Set { key, value } => {
                attributes::set(context, key.as_str().as_bytes(), Some(value.as_bytes()))
            }
            Command::Unset { key } => attributes::unset(context, key.as_str().as_bytes()),
            #[cfg(feature = "map")]
            Command::Put {
                key,
                value,
                policy,
                lifetime,
            } => self.shared_map.put(context, &key, &value, policy, lifetime),
            #[cfg(feature = "map")]
            Command::Delete { key } => self.shared_map.delete(context, &key),
            #[cfg(feature = "map")]
            Command::Resolve { key, value } => {
                self.shared_map.resolve(context, &key, value.as_ref())
            }
            #[cfg(feature = "map")]
            Command::WatchMap { prefixes } => self.shared_map.watch(prefixes),
            #[cfg(not(feature = "map"))]
            Command::Put { .. }
            | Command::Delete { .. }
            | Command::Resolve { .. }
            | Command::WatchMap { .. } => Err(CommandError::NoMap),
            Command::Broadcast { name, payload } => self.local.broadcast(context, &name, &payload),
            Command::Watch { key } => self.local.watch(context, key),
            Command::Unwatch { key } => {
                self.local.unwatch(context, &key);
                Ok(())
            }
            Command::Leave => {
                self.leave();
                Ok(())
            }
            Command::Forget { id } => self.forget(id),
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
                self.set_wall_clock(wall);
                Ok(())
            }
        }
    }

    fn leave(&mut self) {
        self.local.leave(&mut self.context);
        let votes = self.failure.votes();
        self.push.push_latest(&mut self.context, votes);
    }

    /// Removes a member that is gone, and looks for it no more.
    fn forget(&mut self, id: NodeId) -> Result<(), CommandError> {
        match self.context.table.condition(id) {
            None | Some(Condition::Removed) => Err(CommandError::UnknownMember(id)),
            Some(Condition::Live) => Err(CommandError::MemberAlive(id)),
            Some(Condition::Down | Condition::Left) => {
                self.remove(id);
                self.removal.forget(id);
                Ok(())
            }
        }
    }

    /// Replaces the seeds. A node that knows nobody asks them at once.
    fn set_seeds(&mut self, seeds: Vec<SocketAddr>) {
        // Name servers rotate their answers, so the order says nothing.
        let sorted = |seeds: &[SocketAddr]| {
            let mut seeds = seeds.to_vec();
            seeds.sort_unstable();
            seeds.dedup();
            seeds
        };
        let context = &mut self.context;
        if sorted(&seeds) == sorted(&context.config.seeds) {
            return;
        }
        context.config.seeds = seeds;
        if context.table.live_len() <= 1 {
            context.ask_all_seeds();
        }
    }
}
