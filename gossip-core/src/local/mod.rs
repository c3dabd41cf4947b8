//! This node itself: how far it has come, what it says of itself, and who else bears its name.
//!
//! [`Local`] is the machine. It owns the standing of the node and what goes with it. What the node says
//! of itself stands in its own log, in the table, like the logs of all others; this machine is the only
//! one that decides to write there, beside the votes that failure detection publishes.

pub(crate) mod agreement;
pub(crate) mod attributes;
mod lifecycle;
mod name_conflict;

use crate::context::Context;
use crate::dissemination::broadcast::Broadcasts;
use crate::state::attribute::Declared;
use agreement::Watches;
pub(crate) use lifecycle::{begin_another_life, outlive, schedule_farewell};
use name_conflict::NameConflict;

/// How far this node itself has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Learning the table from its seeds; not announced yet.
    Joining,
    /// Announced.
    Up,
    /// Announcing its departure.
    Leaving,
    /// Silent: it has left, or has lost its name to another node.
    Left,
}

/// What a node knows of itself beyond its log. See the [module](self).
#[derive(Debug)]
pub(crate) struct Local {
    standing: Standing,
    /// How often departure has been announced.
    farewells: u8,
    /// What is known of another node of this name.
    conflict: Option<NameConflict>,
    pub(crate) broadcasts: Broadcasts,
    pub(crate) watches: Watches,
}

/// What comes of a step of leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// The departure is to be pushed, again or for the first time.
    Push,
    /// It has been told often enough: this node is silent from now on.
    Silent,
}

impl Local {
    pub(crate) fn new() -> Self {
        Self {
            standing: Standing::Joining,
            farewells: 0,
            conflict: None,
            broadcasts: Broadcasts::default(),
            watches: Watches::default(),
        }
    }

    /// How far this node has come.
    pub(crate) const fn standing(&self) -> Standing {
        self.standing
    }

    /// The own status as peers are told it.
    const fn declared(&self) -> Declared {
        match self.standing {
            Standing::Joining => Declared::Joining,
            Standing::Up => Declared::Up,
            Standing::Leaving => Declared::Leaving,
            Standing::Left => Declared::Left,
        }
    }

    /// Brings the watched attributes up to date with the table, and tells what that changes.
    pub(crate) fn review_agreements(&mut self, context: &mut Context) {
        if self.standing != Standing::Left {
            self.watches.review(context);
        }
    }
}
