//! A gossip protocol as a sans-IO state machine.
#![no_std]
#![cfg_attr(
    not(test),
    warn(
        clippy::std_instead_of_core,
        clippy::std_instead_of_alloc,
        clippy::alloc_instead_of_core,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

mod command;
mod config;
mod detector;
mod event;
mod id;
mod liveness;
mod membership;
mod metrics;
mod node;
mod rng;
mod stamp;
mod state;
mod time;
mod wire;

pub use command::{Command, CommandError, Key, KeyError, MAX_KEY, MAX_VALUE, Value, ValueError};
pub use config::{Config, ConfigError, ConfigWarning, Dissemination, Mode, PhiModel};
pub use event::{Event, UpCause};
pub use id::{Generation, Identity, IdentityError, MAX_NAME, Name, NameError, NodeId};
pub use metrics::{Dropped, Metrics};
pub use node::{Agreement, Member, Node, Standing, Status, Transmit, Vote};
pub use stamp::Stamp;
pub use time::{Instant, UnixTime};
