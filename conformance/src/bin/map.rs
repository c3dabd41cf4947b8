//! Random schedules over the shared map: see `conformance::map`.
//!
//! ```sh
//! cargo run --release -p conformance --bin map -- --schedules 1000000
//! cargo run --release -p conformance --bin map -- --schedules 50000 --without contexts
//! ```

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use conformance::map::{Budget, Missing, Score, explore, trace};
use serde_json::json;

/// Plays random schedules over replicas of the shared map, and counts what goes wrong.
#[derive(Debug, Parser)]
struct Cli {
    /// How many schedules.
    #[arg(long, default_value_t = 100_000)]
    schedules: u64,
    /// The seed of the first; the others follow. From 1099511627776 (2^40) on, replicas also keep runs that
    /// came by, and ask for what they miss.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Take this rule away: lists, all-origins, contexts, atomic, causal, gaps, names, graves
    /// or deaths.
    #[arg(long, value_parser = rule)]
    without: Option<Missing>,
    /// Instead of random schedules, go through all states that three replicas can come to by so many
    /// writes, deletes, collections, crashes and burials of ended lives, with any number of deltas in
    /// between.
    #[arg(long, num_args = 5, value_names = ["W", "D", "C", "X", "B"])]
    explore: Option<Vec<u8>>,
    /// Stop at the first failure.
    #[arg(long)]
    until_failure: bool,
    /// Instead of counting, tell of each schedule: one JSON object, with a hash over all that its
    /// replicas sent, on a line of its own.
    #[arg(long, conflicts_with_all = ["explore", "until_failure"])]
    json: bool,
}

fn rule(name: &str) -> Result<Missing, String> {
    let known = Missing::ALL.map(Missing::name).join(", ");
    Missing::ALL
        .into_iter()
        .find(|rule| rule.name() == name)
        .ok_or_else(|| format!("there is no rule {name}: take one of {known}"))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let missing = cli.without.unwrap_or(Missing::Nothing);
    let started = Instant::now();
    if let Some([writes, deletes, collections, crashes, burials]) = cli.explore.as_deref() {
        let explored = explore(
            Budget {
                writes: *writes,
                deletes: *deletes,
                collections: *collections,
                crashes: *crashes,
                burials: *burials,
            },
            missing,
        );
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "without {}: {} states, in {seconds:.0} s",
            missing.name(),
            explored.states
        );
        if let Some((failure, path)) = &explored.failure {
            println!("{failure} after {}", path.join(", "));
        }
        return verdict(explored.failure.is_none(), missing);
    }
    if cli.json {
        let mut sound = true;
        for seed in cli.seed..cli.seed.saturating_add(cli.schedules) {
            let (failure, trace) = trace(seed, missing);
            sound &= failure.is_none();
            let failure = failure.map(|failure| failure.to_string());
            let trace = trace.to_string();
            println!(
                "{}",
                json!({"seed": seed, "failure": failure, "trace": trace})
            );
        }
        return verdict(sound, missing);
    }
    let tally = Score::of(cli.seed, cli.schedules, missing, cli.until_failure);
    let seconds = started.elapsed().as_secs_f64();
    println!("without {}: {tally}, in {seconds:.0} s", missing.name());
    verdict(tally.failures.is_empty(), missing)
}

/// With all rules in place nothing may fail; with one missing, something must.
fn verdict(sound: bool, missing: Missing) -> ExitCode {
    if sound == (missing == Missing::Nothing) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
