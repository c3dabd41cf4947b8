//! What flags can be one of.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ModeArg {
    Push,
    Pull,
    PushPull,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PlaceArg {
    Attribute,
    Map,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PolicyArg {
    /// The latest wins
    Latest,
    /// All are kept, until a writer that reads them resolves them
    Siblings,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CheckArg {
    Steps,
    Views,
}
