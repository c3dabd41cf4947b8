//! What members publish: versioned logs, one for each origin.
//!
//! A node writes everything that it tells others about itself as an [entry](entry::Entry) of its
//! [log](log::Log): its address, its status, its attributes, its votes, its broadcasts. Only the origin
//! writes its log and numbers the entries. All other nodes hold replicas of it.
//!
//! Two numbers describe what a replica holds of a log:
//!
//! - the **frontier** (also called max version): the replica knows everything up to this version. What it
//!   knows and does not hold was overwritten or collected;
//! - the **floor** (also called last gc version): tombstones up to this version may have been collected.
//!
//! | module | |
//! |---|---|
//! | [`entry`] | one write, and runs of writes in the bytes in which they travel |
//! | [`log`] | the entries of one origin |
//! | [`attribute`] | what the protocol itself writes, and its encoding |
//! | [`broadcast`] | events of the application as entries |
//! | [`table_hash`] | the hash by which two replicas compare all logs at once |
//! | [`room`] | the memory that one datagram may cost |

pub(crate) mod attribute;
pub(crate) mod broadcast;
pub(crate) mod entry;
pub(crate) mod log;
pub(crate) mod room;
pub(crate) mod table_hash;
