//! What travels: a frame around a message, and a message with items.
//!
//! A datagram is one [frame] around one body. A body is a [`Message`](message::Message), which a list of
//! [`Item`](message::Item)s may follow.
//!
//! - [message] has the kinds of messages and items.
//! - [datagram] reads and writes bodies.
//! - [frame] is the frame in plaintext, [encryption] the encrypted one. [framing] chooses between them.
//! - [codec] is the encoding of every single part.
//! - [dissect] explains a datagram to people.
//!
//! # Invariants
//!
//! - Encoding appends an item only if all of it fits, so no datagram outgrows its limit.
//! - Decoding borrows from the datagram and allocates nothing.
//! - Every value has one encoding. What decodes, encodes to the same bytes again.

pub(crate) mod codec;
pub(crate) mod datagram;
pub(crate) mod dissect;
#[cfg(feature = "encryption")]
pub(crate) mod encryption;
pub(crate) mod frame;
pub(crate) mod framing;
pub(crate) mod message;
