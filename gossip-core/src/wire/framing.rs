//! The choice between plaintext and encrypted frames.

#[cfg(feature = "encryption")]
use alloc::vec::Vec;

#[cfg(feature = "encryption")]
use super::encryption::{Keyring, SEALED_HEAD, SEALED_TAIL};
use super::frame::{self, ClusterTag, Refused};
#[cfg(feature = "encryption")]
use super::frame::{HEADER, SEALED, check_header};

/// Puts frames on and takes them off, encrypted or not.
#[derive(Debug)]
pub(crate) struct Framing {
    pub(crate) tag: ClusterTag,
    #[cfg(feature = "encryption")]
    pub(crate) keyring: Keyring,
}

/// A body without its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened<'a> {
    pub(crate) body: &'a [u8],
    /// The sender's number for the datagram, if it was encrypted.
    #[cfg(feature = "encryption")]
    pub(crate) sequence: Option<u64>,
}

impl Framing {
    /// The body of a received frame. A decrypted body is put into `room`.
    #[cfg(feature = "encryption")]
    pub(crate) fn open<'a>(
        &self,
        max: usize,
        datagram: &'a [u8],
        room: &'a mut Vec<u8>,
    ) -> Result<Opened<'a>, Refused> {
        let flags = check_header(self.tag, max, datagram)?;
        if flags == SEALED && !self.keyring.is_empty() {
            let (sequence, body) = self.keyring.open(datagram, room).ok_or(Refused::Key)?;
            let sequence = Some(sequence);
            return Ok(Opened { body, sequence });
        }
        let body = frame::open(self.tag, max, datagram)?;
        if !self.keyring.takes_plaintext() {
            return Err(Refused::Plaintext);
        }
        let sequence = None;
        Ok(Opened { body, sequence })
    }

    /// The body of a received frame.
    #[cfg(not(feature = "encryption"))]
    pub(crate) fn open<'a>(&self, max: usize, datagram: &'a [u8]) -> Result<Opened<'a>, Refused> {
        frame::open(self.tag, max, datagram).map(|body| Opened { body })
    }

    /// The part of `buffer` into which a body may be written: all of it without the frame's share.
    pub(crate) fn body<'b>(&self, buffer: &'b mut [u8]) -> &'b mut [u8] {
        #[cfg(feature = "encryption")]
        if self.keyring.seals() {
            let end = buffer.len().saturating_sub(SEALED_TAIL);
            return buffer.get_mut(SEALED_HEAD..end).unwrap_or_default();
        }
        frame::body(buffer)
    }

    /// Puts the frame around a body of `len` bytes that stands where [`Framing::body`] said. `None` if the
    /// buffer is too small for it.
    pub(crate) fn seal<'b>(&mut self, buffer: &'b mut [u8], len: usize) -> Option<&'b [u8]> {
        #[cfg(feature = "encryption")]
        if self.keyring.seals() {
            *buffer.first_chunk_mut::<HEADER>()? = self.tag.header(SEALED);
            let total = self.keyring.seal(buffer, len)?;
            return buffer.get(..total);
        }
        frame::seal(self.tag, buffer, len)
    }
}
