//! Who is in the cluster: the member table, and the id ring on which members are neighbours.

mod buckets;
pub(crate) mod member;
pub(crate) mod region;
pub(crate) mod ring;
pub(crate) mod table;

pub(crate) use member::{Condition, Record};
pub(crate) use region::Region;
pub(crate) use table::{Table, Tracking};
