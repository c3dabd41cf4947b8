//! What stands in for the shared map where the feature `map` is off: a node that keeps none, and skips
//! what others say of theirs.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::Node;
use super::transmit::Written;
use crate::command::{CommandError, Key, Policy, Value};
use crate::config::Config;
use crate::identity::{Generation, NodeId};
use crate::time::Instant;
use crate::wire::message::{Encoder, Items, ModeTag, Push, Sender};

/// The node's part in the shared map: none.
#[derive(Debug)]
pub(super) struct Shared;

/// A message about the map. There is none.
#[derive(Debug)]
pub(crate) enum MapOutgoing {}

impl Shared {
    pub(super) const fn new(_: NodeId, _: Generation, _: &Config) -> Self {
        Self
    }
}

#[expect(
    clippy::unused_self,
    clippy::needless_pass_by_value,
    reason = "the words are those of a node that keeps a map"
)]
impl Node {
    pub(super) fn put(
        &self,
        _: Instant,
        _: &Key,
        _: &Value,
        _: Policy,
        _: Option<Duration>,
    ) -> Result<(), CommandError> {
        Err(CommandError::NoMap)
    }

    pub(super) fn delete(&self, _: Instant, _: &Key) -> Result<(), CommandError> {
        Err(CommandError::NoMap)
    }

    pub(super) fn resolve(
        &self,
        _: Instant,
        _: &Key,
        _: Option<&Value>,
    ) -> Result<(), CommandError> {
        Err(CommandError::NoMap)
    }

    pub(super) fn watch_map(&self, _: Vec<Key>) -> Result<(), CommandError> {
        Err(CommandError::NoMap)
    }

    pub(super) fn reopen_map(&self, _: Generation) {}

    pub(super) fn flush_map(&self) {}

    pub(super) fn tend_map(&self, _: Instant) {}

    pub(super) const fn agrees_on_map(&self, _: Items<'_>) -> bool {
        true
    }

    pub(super) fn on_gap_due(&self, _: Instant) {}

    pub(super) fn write_map_summary(&self, _: &mut Encoder<'_>) {}

    pub(super) fn on_map_summary(&self, _: SocketAddr, _: Sender, _: ModeTag, _: Items<'_>) {}

    pub(super) fn on_map_push(&self, _: Instant, _: SocketAddr, _: Sender, _: Push, _: Items<'_>) {}

    pub(super) fn on_map_pull(&self, _: SocketAddr, _: Sender, _: Items<'_>) {}

    pub(super) fn on_map_chunk(&self, _: Instant, _: SocketAddr, _: Sender, _: Items<'_>) {}

    pub(super) fn write_about_map(&self, message: MapOutgoing, _: &mut [u8]) -> Option<Written> {
        match message {}
    }
}
