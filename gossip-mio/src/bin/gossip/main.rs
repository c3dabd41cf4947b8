//! The `gossip` command-line agent.
fn main() {}
