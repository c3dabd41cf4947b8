//! What can be done to the world, as data: scripts, plans and shrinking are made of it.

use core::fmt;
use core::time::Duration;

use gossip_core::{Command, Value};

use super::host::WallClock;
use super::hosts::HostId;
use super::lie::Lie;
use super::network::{Fault, FaultId};

/// Something that happens to the world from outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A process starts, without memory of earlier lives. Nothing, if it runs.
    Start(HostId),
    /// A process ends without a word.
    Crash(HostId),
    /// A process gets no time; what arrives for it waits in its socket's buffer.
    Pause(HostId),
    /// A paused process goes on.
    Resume(HostId),
    /// A process handles everything this late.
    Slow(HostId, Duration),
    /// A wall clock is set; a running node is told.
    SetClock(HostId, WallClock),
    /// A machine gets another address. A running process does not notice: start it anew.
    Move(HostId),
    /// An application asks its node for something.
    Command(HostId, Command),
    /// A datagram that no node sent arrives.
    Forge(HostId, Vec<u8>),
    /// A well-formed lie about the shared map arrives. Nothing, if nobody has sent anything yet.
    Lie(HostId, Lie),
    /// The network gets worse.
    Set(FaultId, Fault),
    /// The network gets better.
    Mend(FaultId),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(host) => write!(f, "{host} starts"),
            Self::Crash(host) => write!(f, "{host} crashes"),
            Self::Pause(host) => write!(f, "{host} is paused"),
            Self::Resume(host) => write!(f, "{host} goes on"),
            Self::Slow(host, lag) => write!(f, "{host} handles everything {lag:?} late"),
            Self::SetClock(host, wall) => write!(f, "{host}'s clock is {} ms ahead", wall.ahead_ms),
            Self::Move(host) => write!(f, "{host} gets another address"),
            Self::Command(host, Command::Set { key, value }) => {
                write!(f, "{host} sets {key} to {}", Short(value))
            }
            Self::Command(host, Command::Unset { key }) => write!(f, "{host} deletes {key}"),
            Self::Command(host, command) => write!(f, "{host} is told to {command:?}"),
            Self::Forge(host, bytes) => write!(f, "{host} gets {} forged bytes", bytes.len()),
            Self::Lie(host, lie) => write!(f, "{host} gets {lie}"),
            Self::Set(_, fault) => write!(f, "network: {fault}"),
            Self::Mend(id) => write!(f, "network: {id:?} ends"),
        }
    }
}

/// A value, cut to a readable length.
struct Short<'a>(&'a Value);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_bytes();
        match bytes.get(..24) {
            Some(start) => write!(f, "\"{}…\" ({} bytes)", start.escape_ascii(), bytes.len()),
            None => write!(f, "\"{}\"", bytes.escape_ascii()),
        }
    }
}
