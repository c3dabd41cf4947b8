//! The `gossip` command-line agent: runs a node, or shows what a cluster does.

mod agent;
mod demo;
mod dissect;
mod keys;
mod lines;
mod map;
mod parse;
mod report;
mod seeds;
mod story;

use std::io;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use gossip_mio::SpawnError;
use gossip_mio::gossip_core::CommandError;

/// Nodes that find each other, agree on who is alive, and spread what each says about itself.
///
/// There is no leader and no server: every node talks to a few others, picked at random, once in
/// each interval.
#[derive(Debug, Parser)]
#[command(name = "gossip", version, arg_required_else_help = true, after_help = FIRST_STEPS)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

const FIRST_STEPS: &str = "\
First steps:
  gossip demo                                                    watch a cluster at work
  gossip agent --name a --bind 127.0.0.1:7946                    start the first node
  gossip agent --name b --bind 127.0.0.1:7947 --seed 127.0.0.1:7946
                                                                 in a second terminal

Exit codes: 0 done, 1 failed while running, 2 wrong command line, 130 interrupted twice.";

#[derive(Debug, Subcommand)]
enum Task {
    Agent(Box<agent::Options>),
    Demo(demo::Options),
    Dissect(dissect::Options),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are errors to clap.
        Err(e) if !e.use_stderr() => e.exit(),
        Err(e) if e.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => e.exit(),
        Err(e) => return fail(&Failure::Usage(parse::sentence(&e))),
    };
    let result = match cli.task {
        Task::Agent(options) => agent::run(*options),
        Task::Demo(options) => demo::run(&options),
        Task::Dissect(options) => dissect::run(&options),
    };
    match result {
        Ok(code) => code,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    let (code, sentence) = match failure {
        Failure::Usage(sentence) => (2, sentence),
        Failure::Runtime(sentence) => (1, sentence),
    };
    report::complain("error", sentence);
    ExitCode::from(code)
}

/// Why the program gives up, each as a sentence that says what to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is at fault: exit code 2.
    Usage(String),
    /// Something outside is at fault: exit code 1.
    Runtime(String),
}

impl From<SpawnError> for Failure {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::Config(_) | SpawnError::Identity(_) | SpawnError::Seed(_) => {
                Self::Usage(error.to_string())
            }
            _ => Self::Runtime(error.to_string()),
        }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<io::Error> for Failure {
    /// Only writing the output fails with one.
    fn from(error: io::Error) -> Self {
        Self::Runtime(format!("cannot write to standard output: {error}"))
    }
}
