//! One fault, put in and asked about.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::list::Fault;
use crate::tree::Tree;

/// What came of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its test fails.
    Caught,
    /// Its test passes.
    Missed,
    /// Its test does not come to an end.
    Endless,
    /// Something fails, but not its test.
    Elsewhere,
    /// There is no such test.
    NoTest,
    /// The lines that it changes are gone.
    Gone,
    /// The code with the fault does not compile: why not.
    Broken(String),
}

impl Outcome {
    pub(crate) fn describe(&self) -> &str {
        match self {
            Self::Caught => "caught",
            Self::Missed => "NOT CAUGHT",
            Self::Endless => "DOES NOT END",
            Self::Elsewhere => "FAILS ELSEWHERE",
            Self::NoTest => "NO SUCH TEST",
            Self::Gone => "LINES ARE GONE",
            Self::Broken(_) => "DOES NOT COMPILE",
        }
    }
}

/// A copy of the code, and what is built of it.
#[derive(Debug)]
pub(crate) struct Bench {
    code: PathBuf,
    built: PathBuf,
    log: PathBuf,
    jobs: usize,
}

impl Bench {
    /// Makes a copy in a folder, or brings the one that is there up to date.
    pub(crate) fn new(tree: &Tree, folder: &Path, jobs: usize) -> io::Result<Self> {
        let bench = Self {
            code: folder.join("code"),
            built: folder.join("built"),
            log: folder.join("log"),
            jobs,
        };
        fs::create_dir_all(&bench.code)?;
        tree.copy_to(&bench.code)?;
        Ok(bench)
    }

    /// Puts a fault in, asks its test, and takes the fault out again.
    pub(crate) fn ask(&self, fault: &Fault, limit: Duration) -> io::Result<Outcome> {
        let file = self.code.join(&fault.file);
        let Ok(sound) = fs::read_to_string(&file) else {
            return Ok(Outcome::Gone);
        };
        let Some(faulty) = fault.put_into(&sound) else {
            return Ok(Outcome::Gone);
        };
        fs::write(&file, faulty)?;
        let outcome = self.test(fault, limit);
        fs::write(&file, sound)?;
        outcome
    }

    fn test(&self, fault: &Fault, limit: Duration) -> io::Result<Outcome> {
        let log = File::create(&self.log)?;
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .arg("test")
            .args(fault.target.arguments())
            .args(["--color", "never", "--", "--include-ignored", &fault.test])
            .current_dir(&self.code)
            .env("CARGO_TARGET_DIR", &self.built)
            .env("CARGO_BUILD_JOBS", self.jobs.to_string())
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_PROFILE_TEST_DEBUG", "0")
            .stderr(log.try_clone()?)
            .stdout(log);
        if std::env::var_os("PROPTEST_CASES").is_none() {
            // Some faults show in one of several hundred cases.
            cargo.env("PROPTEST_CASES", "2000");
        }
        let Some(status) = wait(spawn(&mut cargo)?, limit)? else {
            return Ok(Outcome::Endless);
        };
        let said = String::from_utf8_lossy(&fs::read(&self.log)?).into_owned();
        Ok(read(status.success(), &said, &fault.test))
    }

    /// Where the latest test left what it said.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

/// What a test said of a fault.
fn read(succeeds: bool, said: &str, test: &str) -> Outcome {
    let any = |begin: &str| {
        let mut lines = said.lines();
        lines.any(|line| line.starts_with(begin) && line.contains(test))
    };
    let is_there = any("test ");
    // Each failure has a heading. A test that is ended by a signal has none.
    let fails = any("---- ");
    let dies = is_there && said.contains("(signal: ");
    match (succeeds, is_there) {
        (true, true) => Outcome::Missed,
        (true, false) => Outcome::NoTest,
        (false, _) if fails || dies => Outcome::Caught,
        (false, _) => match said.lines().find(|line| line.starts_with("error")) {
            Some(error) if said.contains("could not compile") => Outcome::Broken(error.to_owned()),
            _ => Outcome::Elsewhere,
        },
    }
}

/// Starts a process in a group of its own, so that those that it starts can be ended with it.
fn spawn(command: &mut Command) -> io::Result<Child> {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    command.spawn()
}

/// How a process ended; `None` if it had to be ended.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    while began.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let group = format!("-{}", child.id());
    if cfg!(unix) {
        Command::new("kill")
            .args(["-KILL", "--", &group])
            .status()?;
    } else {
        child.kill()?;
    }
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_says_is_told_from_what_a_compiler_says() {
        let cases = [
            (true, "test a::it_is_so ... ok", Outcome::Missed),
            (true, "running 0 tests", Outcome::NoTest),
            (
                false,
                "test a::it_is_so ... FAILED\n---- a::it_is_so stdout ----",
                Outcome::Caught,
            ),
            // What prints its own words between the name and the result.
            (
                false,
                "test it_is_so ... why\nFAILED\n---- it_is_so ----",
                Outcome::Caught,
            ),
            (
                false,
                "test it_is_so ...\n(signal: 6, SIGABRT)",
                Outcome::Caught,
            ),
            (
                false,
                "test other ... FAILED\n---- other ----",
                Outcome::Elsewhere,
            ),
            (
                false,
                "error[E0425]: what?\nerror: could not compile",
                Outcome::Broken("error[E0425]: what?".to_owned()),
            ),
        ];
        for (succeeds, said, expected) in cases {
            assert_eq!(read(succeeds, said, "it_is_so"), expected, "{said}");
        }
    }
}
