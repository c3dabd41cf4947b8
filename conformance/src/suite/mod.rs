//! What every adapter must do, whoever wrote it.
//!
//! An adapter is whatever gives a [`Node`](gossip_core::Node) a socket, a clock and a thread or a
//! task. To check one, implement [`Adapter`], [`Handle`] and [`Events`] for it, which is a few
//! lines, and call [`run`] as the `main` of a test without the usual harness:
//!
//! ```toml
//! [[test]]
//! name = "conformance"
//! harness = false
//! ```
//! ```text
//! fn main() {
//!     conformance::suite::run(|| MyAdapter);
//! }
//! ```
//!
//! Each case then shows as a test of its own, and the usual arguments of `cargo test` work. The
//! cases run over real sockets on loopback. Nothing in them sleeps in the hope that something has
//! happened: they wait for it, up to a limit far above what it takes, and a case that fails says
//! what it waited for. The cases that measure this process run alone.

mod adapter;
mod cases;
mod garbage;
mod machine;
mod order;
mod stage;

use core::fmt;
use core::time::Duration;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;

use libtest_mimic::{Arguments, Failed, Trial};

pub use adapter::{Ability, Adapter, Events, Handle, NoEvent, Room, Spec, StartError};
pub use cases::cases;
pub use stage::Failure;
use stage::{Check, Stage};

/// How long anything may take before it counts as not happening: far above what it takes, for a
/// machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A case waits for several things, none of which takes nearly as long as it may.
const WAITS: u32 = 4;

/// Something that every adapter must do.
pub struct Case<A> {
    /// The name, which reads as a sentence.
    pub name: &'static str,
    /// What the adapter must be able to do, so that it can be asked.
    pub needs: &'static [Ability],
    company: Company,
    run: fn(&Stage<A>) -> Check,
}

impl<A> fmt::Debug for Case<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

/// Whether a case may run beside others in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    Welcome,
    /// It measures this process, or needs all of the machine.
    Alone,
}

/// What a case came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The adapter does it.
    Passed,
    /// The adapter cannot be asked, for this reason.
    Skipped(&'static str),
    /// The adapter does not do it.
    Failed(Failure),
}

impl<A: Adapter> Case<A> {
    /// Asks an adapter.
    pub fn ask(&self, adapter: A, patience: Duration) -> Outcome {
        static MACHINE: RwLock<()> = RwLock::new(());
        if let Some(reason) = self.lacking(&adapter) {
            return Outcome::Skipped(reason);
        }
        // A case that panicked while it held the machine has let go of it.
        let (_beside, _alone) = match self.company {
            Company::Welcome => (
                Some(MACHINE.read().unwrap_or_else(PoisonError::into_inner)),
                None,
            ),
            Company::Alone => (
                None,
                Some(MACHINE.write().unwrap_or_else(PoisonError::into_inner)),
            ),
        };
        match self.watched(Arc::new(adapter), patience) {
            Ok(()) => Outcome::Passed,
            Err(Failure(why)) => Outcome::Failed(Failure(format!("{}: {why}", self.name))),
        }
    }

    fn lacking(&self, adapter: &A) -> Option<&'static str> {
        let lacks = adapter.lacks();
        let lacking = lacks
            .iter()
            .find(|(ability, _)| self.needs.contains(ability));
        lacking.map(|(_, reason)| *reason)
    }

    /// Runs it on a thread of its own, because an adapter may fail by never returning.
    fn watched(&self, adapter: Arc<A>, patience: Duration) -> Check {
        let awaited = Arc::new(Mutex::new(String::new()));
        let stage = Stage::new(adapter, patience, Arc::clone(&awaited));
        let (tell, told) = channel();
        let run = self.run;
        thread::spawn(move || tell.send(run(&stage)));
        match told.recv_timeout(patience.saturating_mul(WAITS)) {
            Ok(check) => check,
            Err(RecvTimeoutError::Disconnected) => stage::fail("it panicked"),
            Err(RecvTimeoutError::Timeout) => {
                let awaited = awaited.lock().unwrap_or_else(PoisonError::into_inner);
                stage::fail(format!(
                    "the adapter never returned; last awaited was {awaited}"
                ))
            }
        }
    }
}

/// Asks an adapter one case, by its name. `None` where there is no such case.
pub fn ask<A: Adapter>(case: &str, adapter: A, patience: Duration) -> Option<Outcome> {
    let case = cases().into_iter().find(|known| known.name == case)?;
    Some(case.ask(adapter, patience))
}

/// The `main` of an adapter's test: runs all cases, each with an adapter of its own, prints what
/// they came to, and ends the process. Understands the arguments of `cargo test`.
pub fn run<A: Adapter>(make: fn() -> A) -> ! {
    let mut arguments = Arguments::from_args();
    // Most cases wait for timers, so more of them than there are cores run at a time.
    arguments.test_threads.get_or_insert(8);
    let trials = cases().into_iter().map(|case| {
        let skipped = case.lacking(&make());
        if let (Some(reason), false) = (skipped, arguments.list) {
            println!("{} is skipped: {reason}", case.name);
        }
        let trial = Trial::test(case.name, move || match case.ask(make(), PATIENCE) {
            Outcome::Passed => Ok(()),
            Outcome::Skipped(reason) => Err(Failed::from(format!("cannot be asked: {reason}"))),
            Outcome::Failed(failure) => Err(Failed::from(failure)),
        });
        trial.with_ignored_flag(skipped.is_some())
    });
    let trials = trials.collect();
    libtest_mimic::run(&arguments, trials).exit()
}
