//! Who is in the cluster.
//!
//! | module | |
//! |---|---|
//! | [`table`] | all members that a replica knows, and the table hash over them |
//! | [`member`] | one record of the table |
//! | [`ring`], [`datacenter`] | which members are neighbours, and which of them are bridges |
//! | [`observers`] | which members observe which |
//! | [`region`], `buckets` | parts of the id space, by which exchanges narrow down a difference |
//! | [`segment`] | parts of the id space, down which pushes travel |
//! | [`removal`], [`removed_addresses`] | what becomes of members that are gone |
//! | [`places`] | how many members the table has room for |
//!
//! [`Table`] is part of the [context](crate::context). The one machine here is
//! [`Removal`](removal::Removal).

mod buckets;
pub(crate) mod datacenter;
pub(crate) mod member;
pub(crate) mod observers;
pub(crate) mod places;
pub(crate) mod region;
pub(crate) mod removal;
pub(crate) mod removed_addresses;
pub(crate) mod ring;
pub(crate) mod segment;
pub(crate) mod table;

pub(crate) use member::{Condition, Record, Told};
pub(crate) use region::Region;
pub(crate) use table::{Table, Tracking};
