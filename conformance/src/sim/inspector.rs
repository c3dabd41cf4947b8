//! Checks what nodes do, step by step.

use core::fmt;
use core::time::Duration;

use super::host::Host;
use super::hosts::HostId;
use super::time::Time;
use crate::invariant::{History, View, Violation, step};

/// How closely nodes are watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scrutiny {
    /// What a step itself tells: sizes, deadlines, the end of its outputs. Costs nearly nothing.
    #[default]
    Steps,
    /// Whatever a node shows after every step that changed it. For small clusters.
    Views,
}

/// A violation, with its place and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// When it was seen.
    pub at: Time,
    /// Whose node is wrong.
    pub host: HostId,
    /// What is wrong.
    pub violation: Violation,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s: {} {}", self.at, self.host, self.violation)
    }
}

/// Violations beyond this many say nothing new.
const MOST_FINDINGS: usize = 100;

/// A node whose table hash stands still is looked at again this often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Inspector {
    scrutiny: Scrutiny,
    history: History,
    looked: Vec<Looked>,
    findings: Vec<Finding>,
}

/// When a node was looked at, and what its table hash was.
#[derive(Clone, Copy, Debug, Default)]
struct Looked {
    again: Time,
    table_hash: Option<u128>,
}

impl Inspector {
    pub(crate) fn set_scrutiny(&mut self, scrutiny: Scrutiny) {
        self.scrutiny = scrutiny;
    }

    pub(crate) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    pub(crate) fn report(&mut self, at: Time, host: HostId, violation: Violation) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding {
                at,
                host,
                violation,
            });
        }
    }

    /// A process has ended; its next life begins from nothing.
    pub(crate) fn forget(&mut self, host: &Host) {
        self.history.forget_shown(host.node_id());
        if let Some(looked) = self.looked.get_mut(host.id().position()) {
            *looked = Looked::default();
        }
    }

    /// A node has come to rest after an input.
    pub(crate) fn look(&mut self, now: Time, host: &Host) {
        let Some(node) = host.node() else { return };
        let position = host.id().position();
        if self.looked.len() <= position {
            self.looked
                .resize(position.saturating_add(1), Looked::default());
        }
        let Some(looked) = self.looked.get_mut(position) else {
            return;
        };
        let table_hash = match self.scrutiny {
            Scrutiny::Steps => None,
            Scrutiny::Views => Some(node.table_hash()),
        };
        if now < looked.again && looked.table_hash == table_hash {
            return;
        }
        *looked = Looked {
            again: now + LOOK_AGAIN,
            table_hash,
        };
        let mut found: Vec<Violation> = host.limits.held(&node.metrics()).into_iter().collect();
        if self.scrutiny == Scrutiny::Views {
            let view = View::of(node);
            found.extend(step::gauge(&view));
            found.extend(self.history.observe(&view));
        }
        for violation in found {
            self.report(now, host.id(), violation);
        }
    }
}
