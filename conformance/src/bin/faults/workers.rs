//! Several copies of the code at work.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::list::{self, Fault};
use crate::tree::Tree;
use crate::trial::{Bench, Outcome};

/// A fault, what came of it, and how long that took.
type Answer = (Fault, Outcome, Duration);

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// One copy of the code for each core, and no more than four: while one compiles, another tests.
pub(crate) fn usual() -> usize {
    cores().clamp(1, 4)
}

/// Puts in one fault after the other, and shows what comes of it. Whether all were caught.
pub(crate) fn run(
    tree: &Tree,
    mut faults: Vec<Fault>,
    workers: usize,
    limit: Duration,
) -> Result<bool, String> {
    let began = Instant::now();
    let (number, width) = (faults.len(), list::width(&faults));
    // The faults of one test binary follow one another, so that little is compiled between them.
    faults.sort_by_key(|fault| fault.target.clone());
    let queue = Mutex::new(faults.into_iter());
    let folder = tree.path("target").join("faults");
    let jobs = cores().div_ceil(workers).max(1);
    let bar = ProgressBar::new(u64::try_from(number).unwrap_or(u64::MAX));
    let style = "{bar:30} {pos} of {len} faults, {elapsed}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).map_err(|error| error.to_string())?);
    bar.enable_steady_tick(Duration::from_secs(1));
    let (tell, told) = channel();
    let caught = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers.min(number))
            .map(|worker| {
                let (folder, tell, queue) = (folder.join(worker.to_string()), tell.clone(), &queue);
                scope.spawn(move || work(tree, folder, jobs, queue, limit, &tell))
            })
            .collect();
        drop(tell);
        let mut caught = 0_usize;
        for (fault, outcome, took) in told {
            caught = caught.saturating_add(usize::from(outcome == Outcome::Caught));
            bar.suspend(|| show(&fault, &outcome, took, width));
            bar.inc(1);
        }
        for worker in workers {
            worker
                .join()
                .map_err(|_| "a worker panicked".to_owned())??;
        }
        Ok::<_, String>(caught)
    })?;
    bar.finish_and_clear();
    let took = began.elapsed().as_secs();
    println!("{caught} of {number} faults caught, in {took} s");
    Ok(caught == number)
}

fn work(
    tree: &Tree,
    folder: PathBuf,
    jobs: usize,
    queue: &Mutex<impl Iterator<Item = Fault>>,
    limit: Duration,
    tell: &Sender<Answer>,
) -> Result<(), String> {
    let failed = |error| format!("{}: {error}", folder.display());
    let bench = Bench::new(tree, &folder, jobs).map_err(failed)?;
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some(fault) = next else {
            return Ok(());
        };
        let began = Instant::now();
        let outcome = bench.ask(&fault, limit).map_err(failed)?;
        if outcome != Outcome::Caught && bench.log().exists() {
            let kept = folder.join(format!("log of {}", fault.number));
            fs::copy(bench.log(), kept).map_err(failed)?;
        }
        // Nobody listens any more only where another worker has failed.
        let _ = tell.send((fault, outcome, began.elapsed()));
    }
}

/// One line of the table.
fn show(fault: &Fault, outcome: &Outcome, took: Duration, width: usize) {
    let Fault {
        number, name, test, ..
    } = fault;
    let (word, seconds) = (outcome.describe(), took.as_secs_f64());
    println!("{number:>3}  {name:<width$}  {word:<16}  {seconds:>5.1} s  {test}");
    if let Outcome::Broken(why) = outcome {
        println!("     {why}");
    }
}
