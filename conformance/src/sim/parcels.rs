//! Datagrams on their way.

use super::arena::{Arena, Slot};
use super::hosts::HostId;
use crate::num::{narrow, position};

/// A datagram on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parcel {
    pub(crate) from: HostId,
    /// How often the sender had moved: its address then.
    pub(crate) from_moves: u16,
    pub(crate) to: HostId,
    /// How often the receiver must have moved to be there.
    pub(crate) to_moves: u16,
    pub(crate) slot: Slot,
    pub(crate) leg: Leg,
}

/// Where a datagram is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leg {
    /// In the network.
    Network,
    /// Arrived, and waiting for a slow process.
    Inside,
}

/// All datagrams on their way.
#[derive(Debug, Default)]
pub(crate) struct Parcels {
    arena: Arena,
    parcels: Vec<Parcel>,
    free: Vec<u32>,
}

impl Parcels {
    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    pub(crate) fn arena_mut(&mut self) -> &mut Arena {
        &mut self.arena
    }

    pub(crate) fn insert(&mut self, parcel: Parcel) -> u32 {
        if let Some(number) = self.free.pop()
            && let Some(place) = self.parcels.get_mut(position(number))
        {
            *place = parcel;
            return number;
        }
        self.parcels.push(parcel);
        narrow(self.parcels.len().saturating_sub(1))
    }

    /// Takes a parcel out; its bytes stay until their slot is freed.
    pub(crate) fn take(&mut self, number: u32) -> Option<Parcel> {
        let parcel = self.parcels.get(position(number)).copied()?;
        self.free.push(number);
        Some(parcel)
    }
}
