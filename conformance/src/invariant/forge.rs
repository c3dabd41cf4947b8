//! Forged views, for the tests that show each invariant to be able to fail.

use gossip_core::{Generation, NodeId, Stamp, Standing, Status};

use super::{Attribute, Mark, MemberView, View};
use crate::sim::HostId;

pub(crate) fn generation(number: u64) -> Generation {
    Generation::new(Stamp::from_bits(number))
}

pub(crate) fn member(id: u64, life: u64, frontier: u64) -> MemberView {
    MemberView {
        id: NodeId::from_u64(id),
        address: HostId::new(0).address(0),
        mark: Mark {
            generation: generation(life),
            frontier,
        },
        status: Status::Up,
        attributes: Vec::new(),
        broadcasts: Vec::new(),
    }
}

pub(crate) fn view<const N: usize>(viewer: u64, members: [MemberView; N]) -> View {
    View {
        viewer: NodeId::from_u64(viewer),
        standing: Standing::Up,
        table_hash: 1,
        live: u64::try_from(N).unwrap(),
        members: members.into(),
    }
}

pub(crate) fn attribute(key: &str, value: &str) -> Attribute {
    (key.to_owned(), value.as_bytes().to_owned())
}
