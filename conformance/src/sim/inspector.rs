//! Checks what nodes do, step by step.

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::host::Host;
use super::hosts::HostId;
use super::time::Time;
use gossip_core::{Event, Generation, Key, Node, NodeId, Stamp};

use crate::invariant::{HeldWrite, History, MapView, Maps, Teller, View, Violation, Words, step};

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

/// A map of more writes is not looked at after each step, but only so often: a look takes a while.
const LARGE_MAP: usize = 24;
const LOOK_AT_LARGE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Inspector {
    scrutiny: Scrutiny,
    history: History,
    maps: Maps,
    words: Words,
    looked: Vec<Looked>,
    /// Whom each node has told to be suspect, without a later word, where that is watched.
    suspected: BTreeMap<NodeId, BTreeSet<NodeId>>,
    findings: Vec<Finding>,
}

/// When a node was looked at, and what its table hash was; where its map stood.
#[derive(Clone, Copy, Debug, Default)]
struct Looked {
    again: Time,
    table_hash: Option<u128>,
    map: Option<(u64, usize)>,
    map_again: Time,
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
        self.suspected.remove(&host.node_id());
        self.maps.end(host.node_id());
        self.words.end(host.node_id());
        if let Some(looked) = self.looked.get_mut(host.id().position()) {
            *looked = Looked::default();
        }
    }

    /// What was written to the shared map, where that is watched.
    pub(crate) const fn maps(&self) -> &Maps {
        &self.maps
    }

    /// What a node holds of a key before it writes it, where that is watched.
    pub(crate) fn before_write(&self, node: &Node, key: &Key) -> Option<Vec<HeldWrite>> {
        (self.scrutiny == Scrutiny::Views).then(|| HeldWrite::of(node, key))
    }

    /// A node has accepted a write to the shared map.
    pub(crate) fn wrote(&mut self, key: &Key, before: &[HeldWrite], node: &Node) {
        self.maps.wrote(key, before, &HeldWrite::of(node, key));
    }

    /// A node has told something.
    pub(crate) fn told(&mut self, now: Time, host: &Host, event: &Event) {
        if self.scrutiny != Scrutiny::Views {
            return;
        }
        self.note_suspicion(host.node_id(), event);
        if let Some(node) = host.node() {
            let teller = Teller {
                id: host.node_id(),
                standing: node.standing(),
                taken: Teller::taken(&node.metrics()),
                interval: host.config().interval,
            };
            let violation = self.words.told(&teller, event, now.since(Time::START));
            if let Some(violation) = violation {
                self.report(now, host.id(), violation);
            }
        }
        if let Some(violation) = self.maps.told(host.node_id(), event) {
            self.report(now, host.id(), violation);
        }
    }

    fn note_suspicion(&mut self, by: NodeId, event: &Event) {
        let suspected = self.suspected.entry(by).or_default();
        match event {
            Event::MemberSuspected { id, .. } => {
                suspected.insert(*id);
            }
            Event::SuspicionCleared { id }
            | Event::MemberUp { id, .. }
            | Event::MemberDown { id, .. }
            | Event::MemberLeft { id, .. }
            | Event::MemberRemoved { id, .. } => {
                suspected.remove(id);
            }
            // Some of what was told did not arrive.
            Event::Lagged => suspected.clear(),
            _ => {}
        }
    }

    /// Those that a node suspects by what it has told.
    pub(crate) fn suspected_by(&self, by: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.suspected.get(&by).into_iter().flatten().copied()
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
        let now_shown = match self.scrutiny {
            Scrutiny::Steps => Looked::default(),
            Scrutiny::Views => Looked {
                table_hash: Some(node.table_hash()),
                map: Some((node.map().latest_position(), node.map().writes())),
                ..Looked::default()
            },
        };
        let again = now >= looked.again;
        let table = again || looked.table_hash != now_shown.table_hash;
        let is_large = node.map().writes() > LARGE_MAP;
        let map = match is_large {
            true => now >= looked.map_again,
            false => again || looked.map != now_shown.map,
        };
        if is_large && self.scrutiny == Scrutiny::Views {
            // Others may know of it before the next look.
            let own = node.map().own();
            self.maps.note_own(own, node.map().frontier(own));
        }
        *looked = Looked {
            again: if table {
                now + LOOK_AGAIN
            } else {
                looked.again
            },
            map_again: if map {
                now + LOOK_AT_LARGE
            } else {
                looked.map_again
            },
            ..now_shown
        };
        let mut found: Vec<Violation> = Vec::new();
        if table {
            found.extend(host.limits.held(&node.metrics()));
        }
        if table && self.scrutiny == Scrutiny::Views {
            let view = View::of(node);
            found.extend(step::gauge(&view));
            let wall = host.wall.read(now);
            let latest = wall.saturating_add(host.config().max_clock_skew);
            let latest = Generation::new(Stamp::at(latest));
            found.extend(self.history.observe(&view, latest));
            self.words.observe(&view, now.since(Time::START));
        }
        if map && self.scrutiny == Scrutiny::Views {
            found.extend(self.maps.observe(&MapView::of(node)));
        }
        for violation in found {
            self.report(now, host.id(), violation);
        }
    }
}
