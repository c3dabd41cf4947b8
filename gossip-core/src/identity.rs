//! What identifies a node: name, id, generation, address.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use crate::hlc::Stamp;

/// The longest [`Name`], in bytes: the longest DNS label, so every host and pod name fits.
pub const MAX_NAME: usize = 63;

/// A short printable name: of a node, or of a datacenter.
///
/// One to [`MAX_NAME`] bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(heapless::String<MAX_NAME>);

impl Name {
    /// Parses a name.
    ///
    /// # Errors
    /// [`NameError`] says which rule the text breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        heapless::String::try_from(text)
            .map(Self)
            .map_err(|_| NameError::TooLong(text.len()))
    }

    /// The name that stands for that of a member which published none.
    pub(crate) fn placeholder() -> Self {
        let mut text = heapless::String::new();
        let pushed = text.push('?');
        debug_assert!(pushed.is_ok(), "one byte fits");
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Why a text is not a [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("the name is empty: give one to {MAX_NAME} bytes")]
    Empty,
    /// The text is too long.
    #[error("the name has {0} bytes: shorten it to at most {MAX_NAME}")]
    TooLong(usize),
    /// The text holds a control character.
    #[error("the name holds a control character: use printable text")]
    Control,
}

/// A node's id: a hash of its name, uniform over the 64-bit id ring.
///
/// The same name gives the same id on every machine and in every version.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(#[serde(with = "postcard::fixint::le")] u64);

impl NodeId {
    /// The id of the node with this name: SipHash-2-4 of its bytes under the all-zero key.
    #[must_use]
    pub fn of(name: &Name) -> Self {
        Self(SipHasher24::new().hash(name.as_str().as_bytes()))
    }

    /// The id with this number.
    #[must_use]
    pub const fn from_u64(id: u64) -> Self {
        Self(id)
    }

    /// The number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The distance to another id, going up around the ring.
    pub(crate) const fn distance_to(self, other: Self) -> u64 {
        other.0.wrapping_sub(self.0)
    }

    /// The upper half, by which exchanges hint at an id.
    pub(crate) const fn prefix(self) -> u32 {
        let [a, b, c, d, ..] = self.0.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The [`Stamp`] under which a node writes. What a node writes under a greater generation replaces
/// everything that it wrote under a smaller one.
///
/// A process begins under the stamp of its start. So every restart raises the generation, without a disk.
///
/// A running process raises its generation, too, when it finds that peers remember more under its name than
/// it has written: for example a greater generation, from a time when its clock was ahead. So a generation
/// orders what a member says, but it does **not** tell when the process started, or how old it is.
/// [`Event::Broadcast`](crate::Event::Broadcast) names the generation in which a process began.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Generation(Stamp);

impl Generation {
    /// Smaller than the generation of every node.
    pub const ZERO: Self = Self(Stamp::ZERO);

    /// The generation that begins at `stamp`.
    #[must_use]
    pub const fn new(stamp: Stamp) -> Self {
        Self(stamp)
    }

    /// When it began.
    #[must_use]
    pub const fn stamp(self) -> Stamp {
        self.0
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a node starts with: its name, and the address at which peers reach it.
///
/// The id follows from the name. The generation follows from the wall clock at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: Name,
    address: SocketAddr,
}

impl Identity {
    /// An identity.
    ///
    /// # Errors
    /// [`IdentityError`] if `name` is not a [`Name`], or if nobody can send to `address`.
    pub fn new(name: &str, address: SocketAddr) -> Result<Self, IdentityError> {
        let name = Name::new(name)?;
        if !is_reachable(&address) {
            return Err(IdentityError::Unreachable(address));
        }
        Ok(Self { name, address })
    }

    /// The identity of a node whose socket is bound to `bound`. It tells peers the address `advertise` if
    /// that is given, with the port of `bound` instead of port 0, and otherwise `bound`.
    ///
    /// # Errors
    /// As [`Identity::new`]. `bound` alone is refused if it stands for all addresses of the machine, as
    /// `0.0.0.0` does.
    pub fn bound(
        name: &str,
        bound: SocketAddr,
        advertise: Option<SocketAddr>,
    ) -> Result<Self, IdentityError> {
        let mut address = advertise.unwrap_or(bound);
        if address.port() == 0 {
            address.set_port(bound.port());
        }
        Self::new(name, address)
    }

    /// The id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId::of(&self.name)
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The address that peers are told.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Whether peers can send to an address.
pub(crate) fn is_reachable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || broadcast || address.port() == 0)
}

/// Why an [`Identity`] was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The name is not usable.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Peers cannot send to this address.
    #[error(
        "peers cannot send to {0}: advertise an address with a real IP and a port other than 0"
    )]
    Unreachable(SocketAddr),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn the_id_of_a_name_is_fixed_for_ever() {
        let id = NodeId::of(&Name::new("a").unwrap());
        assert_eq!(id, NodeId::of(&Name::new("a").unwrap()));
        assert_eq!(
            id.as_u64(),
            0x96c2_0860_cd93_a249,
            "changing it splits every cluster"
        );
    }

    #[test]
    fn names_are_short_and_printable() {
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new("a\nb"), Err(NameError::Control));
        let long = "x".repeat(64);
        assert_eq!(Name::new(&long), Err(NameError::TooLong(64)));
        assert_eq!(Name::new(&long[..63]).unwrap().as_str().len(), 63);
    }

    #[test]
    fn an_address_that_nobody_can_send_to_is_refused() {
        for address in ["0.0.0.0:7946", "[::]:7946", "127.0.0.1:0", "224.0.0.1:7946"] {
            let address = address.parse().unwrap();
            assert_eq!(
                Identity::new("a", address),
                Err(IdentityError::Unreachable(address))
            );
        }
        assert!(Identity::new("a", "127.0.0.1:7946".parse().unwrap()).is_ok());
    }

    #[test]
    fn peers_are_told_the_bound_address_unless_another_is_advertised() {
        let told = |bound: &str, advertise: Option<&str>| {
            let advertise = advertise.map(|text| text.parse().unwrap());
            Identity::bound("a", bound.parse().unwrap(), advertise)
                .map(|identity| identity.address().to_string())
        };
        assert_eq!(told("127.0.0.1:4000", None).unwrap(), "127.0.0.1:4000");
        assert_eq!(
            told("0.0.0.0:4000", Some("10.0.0.1:5000")).unwrap(),
            "10.0.0.1:5000"
        );
        assert_eq!(
            told("0.0.0.0:4000", Some("10.0.0.1:0")).unwrap(),
            "10.0.0.1:4000"
        );
        assert!(told("0.0.0.0:4000", None).is_err());
        assert!(told("127.0.0.1:4000", Some("0.0.0.0:0")).is_err());
    }
}
