//! The liveness plane: what this node hears of its neighbours, what others vote, and the verdict
//! that follows.
//!
//! Arrows: an [observation](observation) turns heartbeats into suspicion with the detector's
//! arithmetic; [votes](votes) collect what other observers publish; [probes](probes) ask directly
//! where a doubt remains; the [verdict](verdict) is a pure function of these and of the ring. Nothing
//! in here knows the node, the network or the queues.

pub(crate) mod detector;
pub(crate) mod loss;
pub(crate) mod observation;
mod phi;
pub(crate) mod probes;
pub(crate) mod verdict;
pub(crate) mod votes;
mod window;
