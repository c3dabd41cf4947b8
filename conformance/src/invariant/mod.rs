//! What must hold, written once: for tests, for the simulator and for the fuzzer.
//!
//! Every check is a function over plain data: a [`View`], a number. So a test can forge the data
//! and see the check fail. A violation is a value that says what is wrong; nothing here panics.
//!
//! - [`step`]: what each input and its outputs must keep to, whatever the input was.
//! - [`Broadcasts`]: each is told once, in its writer's order, to all.
//! - [`History`]: what a node shows must never go back, and never claim what nobody wrote.
//! - [`Maps`]: of the shared map, nothing is lost, comes back, or is told wrongly.
//! - [`Words`]: what nodes tell their applications must be true.
//! - [`Truth`]: what all must show once the faults have ended and news has had time to spread.

mod broadcasts;
#[cfg(test)]
mod forge;
mod history;
mod maps;
mod quiescence;
pub mod step;
mod view;
mod words;

use core::fmt;
use core::time::Duration;

use gossip_core::{Generation, Instant, NodeId, Standing, Status};

pub use broadcasts::Broadcasts;
pub use history::History;
pub use maps::{Held as HeldWrite, MapView, MapViolation, Maps};
pub use quiescence::{Fate, Truth};
pub use view::{Attribute, Mark, MemberView, View};
pub use words::{Teller, Words};

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A datagram exceeds `max_datagram`.
    DatagramTooLong {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// After `handle_timeout`, the next deadline is not later than the time just handled.
    TimeStandsStill {
        /// The time handled.
        now: Instant,
        /// The next deadline.
        deadline: Instant,
    },
    /// A node has told that it suspects a member, and nothing of it since.
    SuspicionWithoutEnd {
        /// The member.
        about: NodeId,
    },
    /// A node tells that a member is up which is dead, and which all others have held down for long.
    DeadToldUp {
        /// The member.
        about: NodeId,
        /// For how long the last of the others has held it down.
        held: Duration,
    },
    /// A member has died long ago that a node held up, and the node has not told that it is down, or has told it late.
    DeathUntold {
        /// The member.
        about: NodeId,
        /// For how long it has been dead, or was until the node told it.
        ago: Duration,
    },
    /// A node tells of an agreement although it has not joined yet, or is leaving.
    AgreedApart {
        /// How far it has come.
        standing: Standing,
    },
    /// A node tells that nobody has answered it, after others have.
    AnswerUntold {
        /// How many datagrams of others it has taken.
        taken: u64,
    },
    /// A view has changed although the links have been the same for long.
    Unsteady {
        /// The member.
        about: NodeId,
    },
    /// Nodes answer one another without end, or nearly so.
    Storm {
        /// How many inputs all nodes together were given within an interval.
        inputs: u64,
        /// The limit.
        limit: u64,
    },
    /// One input has more outputs than the queues may hold.
    DrainTooLong {
        /// Which outputs.
        output: Output,
        /// How many were taken before giving up.
        taken: usize,
        /// The limit.
        limit: usize,
    },
    /// A table or a store exceeds its limit.
    TooMuchHeld {
        /// What is held.
        what: Held,
        /// How much.
        held: u64,
        /// The limit.
        limit: u64,
    },
    /// A member's generation or frontier went back in a view.
    WentBack {
        /// The member.
        member: NodeId,
        /// What was shown before.
        before: Mark,
        /// What is shown now.
        now: Mark,
    },
    /// A view shows a life of a member that there never was.
    NeverLived {
        /// The member.
        member: NodeId,
        /// The generation shown.
        generation: Generation,
    },
    /// A view claims more of a log than its origin has written.
    ClaimedTooMuch {
        /// The origin.
        member: NodeId,
        /// What is claimed.
        claimed: Mark,
        /// The last version that the origin wrote.
        written: u64,
    },
    /// A view claims the same of a log as its origin did, and holds something else.
    HoldsOtherThanWritten {
        /// The origin.
        member: NodeId,
        /// What is claimed.
        claimed: Mark,
    },
    /// The gauge of live members is not what the members show.
    GaugeWrong {
        /// What the gauge says.
        gauge: u64,
        /// How many the view shows.
        shown: u64,
    },
    /// At quiescence, two nodes have different table hashes.
    HashesDiffer {
        /// The other one.
        other: NodeId,
    },
    /// At quiescence, two nodes show different things of a member.
    ViewsDiffer {
        /// The other viewer.
        other: NodeId,
        /// The member.
        member: NodeId,
        /// What differs.
        differs: Facet,
    },
    /// At quiescence, a live member is missing.
    Missing {
        /// The member.
        member: NodeId,
    },
    /// At quiescence, a live and reachable member is not up.
    WrongVerdict {
        /// The member.
        member: NodeId,
        /// What is shown.
        status: Status,
    },
    /// At quiescence, a dead member is not down.
    MissedVerdict {
        /// The member.
        member: NodeId,
        /// What is shown.
        status: Status,
    },
    /// At quiescence, a member that left is shown as something else.
    MissedFarewell {
        /// The member.
        member: NodeId,
        /// What is shown.
        status: Status,
    },
    /// At quiescence, an earlier life of a member is shown.
    OldLife {
        /// The member.
        member: NodeId,
        /// The generation shown.
        shown: Generation,
        /// The generation that lives.
        lives: Generation,
    },
    /// At quiescence, the last value written is not shown.
    LostWrite {
        /// Who wrote it.
        origin: NodeId,
        /// Its key.
        key: String,
        /// What was written.
        written: Vec<u8>,
        /// What is shown.
        shown: Option<Vec<u8>>,
    },
    /// A broadcast is told that nobody sent.
    NeverBroadcast {
        /// Who is said to have written it.
        writer: NodeId,
        /// Its number.
        number: u64,
    },
    /// A broadcast is told again, or out of its writer's order.
    BroadcastAgain {
        /// Who wrote it.
        writer: NodeId,
        /// Its number.
        number: u64,
        /// The number told before.
        before: u64,
    },
    /// A broadcast that has not expired is not told: a later one is, or all is at rest.
    BroadcastMissing {
        /// Who wrote it.
        writer: NodeId,
        /// Its number.
        number: u64,
    },
    /// At quiescence, what was deleted is shown.
    Resurrected {
        /// Who deleted it.
        origin: NodeId,
        /// Its key.
        key: String,
        /// What is shown.
        shown: Vec<u8>,
    },
    /// Something is wrong with the shared map.
    Map(MapViolation),
    /// A write is not read though it was made long ago.
    Late {
        /// How long ago it was made.
        age: Duration,
        /// The limit.
        limit: Duration,
    },
    /// Too many writes are read late.
    Slow {
        /// How late one in ten is read at least.
        late: Duration,
        /// The limit.
        limit: Duration,
    },
}

/// An output of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Datagrams.
    Transmits,
    /// Events.
    Events,
}

/// Something that a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Members in the table.
    Members,
    /// Bytes of state.
    State,
}

/// A part of what is shown of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facet {
    /// Whether it is shown at all.
    Presence,
    /// Generation and frontier.
    Mark,
    /// Status.
    Status,
    /// Address.
    Address,
    /// Attributes.
    Attributes,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DatagramTooLong { length, limit } => {
                write!(
                    f,
                    "sends a datagram of {length} bytes; the limit is {limit}"
                )
            }
            Self::TimeStandsStill { now, deadline } => write!(
                f,
                "wants its next timeout at {} ns, after having handled the one at {} ns",
                deadline.as_nanos(),
                now.as_nanos()
            ),
            Self::SuspicionWithoutEnd { about } => {
                write!(
                    f,
                    "has told that it suspects {about}, and nothing of it since"
                )
            }
            Self::DeadToldUp { about, held } => write!(
                f,
                "tells that {about} is up, which is dead, and which all others have held down for {held:?}"
            ),
            Self::DeathUntold { about, ago } => write!(
                f,
                "has not told for {ago:?} that {about} is down, which is dead"
            ),
            Self::AgreedApart { standing } => {
                write!(f, "tells of an agreement while it is {standing:?}")
            }
            Self::AnswerUntold { taken } => write!(
                f,
                "tells that nobody has answered, after {taken} datagrams of others"
            ),
            Self::Unsteady { about } => write!(
                f,
                "changes its mind about {about}, although the links have long been the same"
            ),
            Self::Storm { inputs, limit } => write!(
                f,
                "is the last of {inputs} inputs within an interval; the limit is {limit}"
            ),
            Self::DrainTooLong {
                output,
                taken,
                limit,
            } => write!(
                f,
                "gives {taken} {} for one input; its queue allows {limit}",
                match output {
                    Output::Transmits => "datagrams",
                    Output::Events => "events",
                }
            ),
            Self::TooMuchHeld { what, held, limit } => write!(
                f,
                "holds {held} {}; the limit is {limit}",
                match what {
                    Held::Members => "members",
                    Held::State => "bytes of state",
                }
            ),
            Self::WentBack {
                member,
                before,
                now,
            } => write!(f, "goes back from {before} of {member} to {now}"),
            Self::NeverLived { member, generation } => {
                write!(
                    f,
                    "shows generation {generation} of {member}, which never lived"
                )
            }
            Self::ClaimedTooMuch {
                member,
                claimed,
                written,
            } => write!(
                f,
                "claims {claimed} of {member}, who has written up to {written}"
            ),
            Self::HoldsOtherThanWritten { member, claimed } => write!(
                f,
                "claims {claimed} of {member}, and holds other attributes than it wrote"
            ),
            Self::GaugeWrong { gauge, shown } => {
                write!(f, "counts {gauge} live members and shows {shown}")
            }
            Self::HashesDiffer { other } => write!(f, "has another table hash than {other}"),
            Self::ViewsDiffer {
                other,
                member,
                differs,
            } => write!(
                f,
                "shows another {} of {member} than {other} does",
                match differs {
                    Facet::Presence => "presence",
                    Facet::Mark => "frontier",
                    Facet::Status => "status",
                    Facet::Address => "address",
                    Facet::Attributes => "set of attributes",
                }
            ),
            Self::Missing { member } => write!(f, "does not show {member}, which lives"),
            Self::WrongVerdict { member, status } => {
                write!(
                    f,
                    "shows {member} as {status:?}, which lives and is reachable"
                )
            }
            Self::MissedVerdict { member, status } => {
                write!(f, "shows {member} as {status:?}, which is dead")
            }
            Self::MissedFarewell { member, status } => {
                write!(f, "shows {member} as {status:?}, which has left")
            }
            Self::OldLife {
                member,
                shown,
                lives,
            } => write!(
                f,
                "shows generation {shown} of {member}, which lives in generation {lives}"
            ),
            Self::LostWrite {
                origin,
                key,
                written,
                shown,
            } => write!(
                f,
                "shows {} for {key} of {origin}, who wrote \"{}\"",
                shown.as_ref().map_or_else(
                    || "nothing".to_owned(),
                    |shown| format!("\"{}\"", shown.escape_ascii())
                ),
                written.escape_ascii()
            ),
            Self::NeverBroadcast { writer, number } => {
                write!(f, "tells broadcast {number} of {writer}, who never sent it")
            }
            Self::BroadcastAgain {
                writer,
                number,
                before,
            } => write!(f, "tells broadcast {number} of {writer} after {before}"),
            Self::BroadcastMissing { writer, number } => {
                write!(f, "does not tell broadcast {number} of {writer}")
            }
            Self::Resurrected { origin, key, shown } => write!(
                f,
                "shows \"{}\" for {key} of {origin}, who deleted it",
                shown.escape_ascii()
            ),
            Self::Map(wrong) => wrong.fmt(f),
            Self::Late { age, limit } => write!(
                f,
                "has not read a write after {age:?}; the limit is {limit:?}"
            ),
            Self::Slow { late, limit } => write!(
                f,
                "sees one in ten writes of a stream read by all after {late:?} or more; the limit is {limit:?}"
            ),
        }
    }
}
