//! Patterns of missing links, on the command line.

use clap::ValueEnum;
use conformance::sim::network::Links;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LinksArg {
    /// One node hears nobody, and all hear it
    Deaf,
    /// One node hears all, and nobody hears it
    Mute,
    /// One node does not hear another one
    OneWay,
    /// Two nodes do not hear each other
    Pair,
    /// Links drawn at random
    Random,
    /// Two halves, joined by one node that is in both
    Joint,
    /// Two datacenters, and some nodes of each that reach the other
    Gateways,
}

impl LinksArg {
    /// The pattern, with what some patterns need beside their name.
    pub(crate) const fn of(self, share: f64, gateways: usize) -> Links {
        match self {
            Self::Deaf => Links::Deaf,
            Self::Mute => Links::Mute,
            Self::OneWay => Links::OneWay,
            Self::Pair => Links::Pair,
            Self::Random => Links::Random(share),
            Self::Joint => Links::Joint,
            Self::Gateways => Links::Gateways(gateways),
        }
    }
}
