//! The shared map of a node.

pub mod replica;
