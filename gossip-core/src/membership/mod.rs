//! Who is in the cluster: the member table, the datacenters with the rings on which members are
//! neighbours, and the segments of the id space down which news is pushed.

mod buckets;
pub(crate) mod datacenter;
pub(crate) mod member;
pub(crate) mod observers;
pub(crate) mod region;
pub(crate) mod removal;
pub(crate) mod removed_addresses;
pub(crate) mod ring;
pub(crate) mod segment;
pub(crate) mod table;

pub(crate) use member::{Condition, Record};
pub(crate) use region::Region;
pub(crate) use table::{Table, Tracking};
