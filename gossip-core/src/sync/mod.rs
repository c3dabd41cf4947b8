//! Anti-entropy: two replicas compare their tables and give each other what is newer.

pub(crate) mod staging;
