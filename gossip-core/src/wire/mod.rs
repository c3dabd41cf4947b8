//! What travels: frames around messages, messages with items.
//!
//! A datagram is one [frame](frame) around one [`Message`](message::Message), which a list of
//! [`Item`](message::Item)s may follow. Encoding appends items while they fit, so no datagram
//! outgrows its limit; decoding borrows from the datagram and allocates nothing.

pub(crate) mod codec;
pub(crate) mod dissect;
#[cfg(feature = "encryption")]
pub(crate) mod encryption;
pub(crate) mod frame;
pub(crate) mod message;
