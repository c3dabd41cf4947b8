//! Faults on purpose: puts one fault after the other into a copy of the code, and asks the test named for
//! it to catch it. The list is `conformance/mutations/faults.toml`.
//!
//! ```sh
//! cargo run -p conformance --bin faults                     # all of them
//! cargo run -p conformance --bin faults -- vote             # those with this word in their name
//! cargo run -p conformance --bin faults -- --lines          # only whether all can be put in
//! cargo run -p conformance --bin faults -- --lines --mend   # and follow code that has moved
//! ```

mod lines;
mod list;
mod tree;
mod trial;
mod workers;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use list::List;
use tree::Tree;

/// Puts faults into a copy of the code, one after the other, and asks the test named for each to catch it.
#[derive(Debug, Parser)]
struct Cli {
    /// Take only the faults whose name contains this word.
    word: Option<String>,
    /// Begin with the fault of this number, as `--list` numbers them.
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: usize,
    /// Show the faults with their numbers, and do nothing else.
    #[arg(long, conflicts_with = "lines")]
    list: bool,
    /// Look whether each fault can be put in and whether its test exists, and do nothing else.
    #[arg(long)]
    lines: bool,
    /// Where the lines of a fault have moved to exactly one other file, name that file in the list.
    #[arg(long, requires = "lines")]
    mend: bool,
    /// How many copies of the code work at the same time. Each compiles everything once.
    #[arg(long, value_name = "N", default_value_t = workers::usual())]
    workers: usize,
    /// A test that takes longer than this many seconds, compilation included, has not caught its fault.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    limit: u64,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn run(cli: &Cli) -> Result<bool, String> {
    let tree = Tree::of_this_repository()?;
    let list = List::read(&tree)?;
    let faults = list.pick(cli.word.as_deref().unwrap_or_default(), cli.from);
    if faults.is_empty() {
        return Err("there is no such fault: see --list".to_owned());
    }
    if cli.list {
        let width = list::width(&faults);
        for fault in faults {
            let (number, name) = (fault.number, &fault.name);
            println!(
                "{number:>3}  {name:<width$}  {}  {}",
                fault.target, fault.test
            );
        }
        return Ok(true);
    }
    if cli.lines {
        return lines::check(&tree, &list, &faults, cli.mend);
    }
    workers::run(
        &tree,
        faults,
        cli.workers.max(1),
        Duration::from_secs(cli.limit),
    )
}
