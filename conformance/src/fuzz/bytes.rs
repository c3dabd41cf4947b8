//! Fuzzer input, taken apart byte by byte. What is no longer there reads as zero, so that every
//! input means something and cutting one short makes it simpler.

use core::time::Duration;

/// The bytes not read yet.
#[derive(Debug)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Bytes<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// A number below `n`, which is at least one.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()).checked_rem(n).unwrap_or(0)
    }

    /// One of several things.
    pub(crate) fn pick<'t, T>(&mut self, things: &'t [T]) -> &'t T {
        let at = self.below(things.len());
        things.get(at).expect("a choice has something to choose")
    }

    /// From nothing to a little over a day, evenly over the orders of magnitude: a byte is an
    /// exponent of five bits over a mantissa of three.
    pub(crate) fn time(&mut self) -> Duration {
        let byte = u32::from(self.byte());
        let mantissa = u64::from(byte & 7);
        Duration::from_micros(((mantissa + 8) << (byte >> 3)).saturating_sub(8))
    }
}
