//! Who a node is: name, id, generation, address.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use crate::hlc::Stamp;

/// The longest [`Name`] in bytes: the DNS label length, which host and pod names keep to.
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

    /// Stands in for the name of a member that published none.
    pub(crate) fn placeholder() -> Self {
        let mut text = heapless::String::new();
        // One byte fits.
        let _ = text.push('?');
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

/// A node's id: 64 bits hashed from its name, uniform over the id ring.
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

    /// How far it is to another id, going up around the ring.
    pub(crate) const fn distance_to(self, other: Self) -> u64 {
        other.0.wrapping_sub(self.0)
    }
}

impl NodeId {
    /// The upper half, by which exchanges hint at it.
    pub(crate) fn prefix(self) -> u32 {
        u32::try_from(self.0.wrapping_shr(32)).unwrap_or(0)
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

/// Which life of a node this is: the [`Stamp`] at which its process started.
///
/// Rises with every restart, without a disk. The greater generation is the newer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Generation(Stamp);

impl Generation {
    /// Older than every generation of a real node.
    pub const ZERO: Self = Self(Stamp::ZERO);

    /// The generation that began at `stamp`.
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

/// What a node starts with: its name and the address at which peers reach it.
///
/// The id follows from the name; the generation from the wall clock at which the node starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: Name,
    address: SocketAddr,
}

impl Identity {
    /// An identity.
    ///
    /// # Errors
    /// [`IdentityError`] where `name` is not a [`Name`], or where `address` is one that nobody can
    /// send to.
    pub fn new(name: &str, address: SocketAddr) -> Result<Self, IdentityError> {
        let name = Name::new(name)?;
        if !is_reachable(&address) {
            return Err(IdentityError::Unreachable(address));
        }
        Ok(Self { name, address })
    }

    /// The identity of a node whose socket is bound to `bound`: it tells peers that address, or
    /// `advertise` where that is given, of which port 0 stands for the port bound.
    ///
    /// # Errors
    /// As [`Identity::new`]: also where `bound` stands for all addresses of the machine and no other
    /// is advertised.
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

/// Whether one can send to an address.
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
    fn an_address_nobody_can_send_to_is_refused() {
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
    fn the_address_bound_is_told_unless_another_is_advertised() {
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
