//! What is measured about a run beside what happens in it.

use core::time::Duration;
use std::time::Instant;

use memchr::memmem::Finder;

/// Measures how long nodes take, as against the world around them.
#[derive(Debug, Default)]
pub struct Meter {
    metering: Metering,
    core: Duration,
}

/// Whether time is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Metering {
    /// No.
    #[default]
    Off,
    /// Yes, which costs a few per cent.
    On,
}

impl Meter {
    /// Begins or ends to take the time.
    pub const fn set(&mut self, metering: Metering) {
        self.metering = metering;
    }

    /// The time that nodes have taken so far.
    #[must_use]
    pub const fn core(&self) -> Duration {
        self.core
    }

    pub(crate) fn start(&self) -> Option<Instant> {
        match self.metering {
            Metering::Off => None,
            Metering::On => Some(Instant::now()),
        }
    }

    pub(crate) fn stop(&mut self, started: Option<Instant>) {
        if let Some(started) = started {
            self.core = self.core.saturating_add(started.elapsed());
        }
    }
}

/// Counts the datagrams that carry certain bytes.
#[derive(Debug, Default)]
pub(crate) struct Marker {
    finder: Option<Finder<'static>>,
    datagrams: u64,
}

impl Marker {
    /// Looks for other bytes from now on; the count goes on.
    pub(crate) fn look_for(&mut self, bytes: &[u8]) {
        self.finder = Some(Finder::new(bytes).into_owned());
    }

    pub(crate) fn look(&mut self, datagram: &[u8]) {
        if let Some(finder) = &self.finder
            && finder.find(datagram).is_some()
        {
            self.datagrams = self.datagrams.saturating_add(1);
        }
    }

    pub(crate) const fn datagrams(&self) -> u64 {
        self.datagrams
    }
}
