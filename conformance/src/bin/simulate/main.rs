//! Questions put to a simulated cluster, from the command line. See `simulate --help`.

mod args;
mod choices;
mod explore;
mod help;
mod links;
mod parse;
mod plot;
mod runs;
mod table;

use std::process::ExitCode;

use args::Cli;
use cap::Cap;
use clap::Parser;
use conformance::scenario::{Gauges, Memory};

/// The exit code for a command line that asks for what cannot be.
const USAGE: u8 = 2;

/// Counts what is allocated, for the figures of memory.
#[global_allocator]
static ALLOCATOR: Cap<std::alloc::System> = Cap::new(std::alloc::System, usize::MAX);

fn memory() -> Memory {
    let bytes = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    Memory {
        in_use: bytes(ALLOCATOR.allocated()),
        peak: bytes(ALLOCATOR.max_allocated()),
        allocated: bytes(ALLOCATOR.total_allocated()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let well = match cli.command.scenario() {
        Ok((scenario, common)) => {
            if let Err(error) = common.setup().check() {
                eprintln!("error: {error}");
                return ExitCode::from(USAGE);
            }
            let gauges = Gauges {
                memory: Some(memory),
            };
            runs::play(&scenario, common, gauges)
        }
        Err(swarm) => explore::explore(swarm),
    };
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
