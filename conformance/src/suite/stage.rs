//! What a case has at hand: nodes to start, and ways to wait for something with a limit.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use gossip_core::{
    Command, CommandError, Config, Event, Generation, Key, Node, NodeId, Status, Value,
};

use super::adapter::{Adapter, Events, Handle, NoEvent, Spec, StartError};

/// How a case ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub(super) String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Failure {}

/// What a case, or a part of one, comes to.
pub(super) type Check<T = ()> = Result<T, Failure>;

/// Fails with a sentence.
pub(super) fn fail<T>(sentence: impl Into<String>) -> Check<T> {
    Err(Failure(sentence.into()))
}

/// Fails with a sentence, unless something holds.
pub(super) fn ensure(holds: bool, sentence: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { fail(sentence()) }
}

/// How often a condition is looked at that no event tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// An interval longer than any case takes.
pub(super) const SLOW: Duration = Duration::from_secs(30);

/// What a case has at hand.
pub(super) struct Stage<A> {
    pub(super) adapter: Arc<A>,
    /// How long anything may take before it counts as not happening.
    pub(super) patience: Duration,
    /// The name of the cluster, which is this case's alone: the system may give a node the address of
    /// one that was stopped in another case, whose peers look for it there.
    pub(super) cluster_name: String,
    awaited: Arc<Mutex<String>>,
}

impl<A: Adapter> Stage<A> {
    pub(super) fn new(adapter: Arc<A>, patience: Duration, awaited: Arc<Mutex<String>>) -> Self {
        static STAGES: AtomicU64 = AtomicU64::new(0);
        let stage = STAGES.fetch_add(1, Ordering::Relaxed);
        Self {
            adapter,
            patience,
            cluster_name: format!("case {stage} of process {}", process::id()),
            awaited,
        }
    }

    /// A node that is to find its cluster through these others.
    pub(super) fn spec(&self, name: &str, seeds: &[&Peer<A>]) -> Spec {
        let mut config = Config::local();
        config.cluster.clone_from(&self.cluster_name);
        config.seeds = seeds.iter().map(|seed| seed.address()).collect();
        Spec {
            name: name.to_owned(),
            bind: ([127, 0, 0, 1], 0).into(),
            config,
        }
    }

    /// The same, for one that does by timers what it does so rarely that a case does not see it.
    pub(super) fn slow_spec(&self, name: &str, seeds: &[&Peer<A>]) -> Spec {
        let mut spec = self.spec(name, seeds);
        spec.config.interval = SLOW;
        spec
    }

    pub(super) fn start(&self, name: &str, seeds: &[&Peer<A>]) -> Check<Peer<A>> {
        self.start_as(self.spec(name, seeds))
    }

    pub(super) fn start_as(&self, spec: Spec) -> Check<Peer<A>> {
        let name = spec.name.clone();
        self.note(&format!("{name} to start"));
        match self.adapter.start(spec) {
            Ok((handle, events)) => {
                let id = handle.read(Node::id);
                Ok(Peer {
                    adapter: Arc::clone(&self.adapter),
                    awaited: Arc::clone(&self.awaited),
                    patience: self.patience,
                    name,
                    id,
                    handle,
                    events,
                    told: Vec::new(),
                })
            }
            Err(error) => fail(format!("{name} did not start: {error}")),
        }
    }

    /// A node that must not start, and what the adapter says about it.
    pub(super) fn refused(&self, spec: Spec, why: &str) -> Check<StartError> {
        match self.adapter.start(spec) {
            Err(error) => Ok(error),
            Ok(_) => fail(format!("a node started although {why}")),
        }
    }

    /// Nodes `a`, `b`, … that all know each other; all join through the first.
    pub(super) fn cluster<const N: usize>(&self) -> Check<[Peer<A>; N]> {
        let mut peers: Vec<Peer<A>> = Vec::new();
        for name in ["a", "b", "c", "d", "e"].into_iter().take(N) {
            let seeds: Vec<_> = peers.first().into_iter().collect();
            peers.push(self.start(name, &seeds)?);
        }
        let everybody: Vec<NodeId> = peers.iter().map(|peer| peer.id).collect();
        for peer in &mut peers {
            peer.meets(&everybody)?;
        }
        match peers.try_into() {
            Ok(peers) => Ok(peers),
            Err(_) => fail("the suite has no names for so many nodes"),
        }
    }

    pub(super) fn closed_address(&self) -> Check<SocketAddr> {
        self.adapter.closed_address().map_err(refused_by_the_system)
    }

    /// Sends a node datagrams that come from no node.
    pub(super) fn throw(&self, to: &Peer<A>, datagrams: &[Vec<u8>]) -> Check {
        let thrown = self.adapter.throw(to.address(), datagrams);
        thrown.map_err(refused_by_the_system)
    }

    /// Waits for what no event tells of.
    pub(super) fn until(&self, what: &str, done: impl FnMut() -> bool) -> Check {
        self.look(what, LOOK_AGAIN, done)
    }

    /// The same for what happens often and takes next to no time.
    pub(super) fn until_soon(&self, what: &str, done: impl FnMut() -> bool) -> Check {
        self.look(what, LOOK_AGAIN / 50, done)
    }

    fn look(&self, what: &str, every: Duration, mut done: impl FnMut() -> bool) -> Check {
        self.note(what);
        let start = self.adapter.now();
        while !done() {
            if self.adapter.now().saturating_sub(start) > self.patience {
                return fail(format!("awaited {what}, in vain for {:?}", self.patience));
            }
            self.adapter.pass(every);
        }
        Ok(())
    }

    /// Remembers what is being waited for, for the case that it never returns.
    fn note(&self, what: &str) {
        what.clone_into(&mut self.awaited.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A node under test, with all that the application holds of it.
pub(super) struct Peer<A: Adapter> {
    adapter: Arc<A>,
    awaited: Arc<Mutex<String>>,
    patience: Duration,
    pub(super) name: String,
    pub(super) id: NodeId,
    pub(super) handle: A::Handle,
    pub(super) events: A::Events,
    /// The events taken so far.
    pub(super) told: Vec<Event>,
}

impl<A: Adapter> Peer<A> {
    pub(super) fn address(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    /// Takes events until `wanted` recognises one.
    pub(super) fn hears<T>(
        &mut self,
        what: &str,
        wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Check<T> {
        self.hears_within(self.patience, what, wanted)
    }

    pub(super) fn hears_within<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Check<T> {
        let note = format!("{} to be told {what}", self.name);
        note.clone_into(&mut self.awaited.lock().unwrap_or_else(PoisonError::into_inner));
        let start = self.adapter.now();
        loop {
            let passed = self.adapter.now().saturating_sub(start);
            match self.events.next(limit.saturating_sub(passed)) {
                Ok(event) => {
                    let found = wanted(&event);
                    self.told.push(event);
                    if let Some(found) = found {
                        return Ok(found);
                    }
                }
                Err(NoEvent::Yet) if passed < limit => {}
                Err(NoEvent::Yet) => {
                    return fail(format!(
                        "awaited {note}, in vain for {limit:?}; {}",
                        self.last_told()
                    ));
                }
                Err(NoEvent::Ended) => {
                    return fail(format!(
                        "awaited {note}, but its events ended; {}",
                        self.last_told()
                    ));
                }
            }
        }
    }

    /// The latest events, in a sentence.
    fn last_told(&self) -> String {
        let from = self.told.len().saturating_sub(8);
        let last = self.told.get(from..).unwrap_or_default();
        format!("the last events were {last:?}")
    }

    /// Waits until this node's events have ended, and returns what was still told.
    pub(super) fn hears_the_end(&mut self) -> Check<Vec<Event>> {
        let note = format!("{}'s events to end", self.name);
        note.clone_into(&mut self.awaited.lock().unwrap_or_else(PoisonError::into_inner));
        let start = self.adapter.now();
        let mut rest = Vec::new();
        loop {
            let passed = self.adapter.now().saturating_sub(start);
            match self.events.next(self.patience.saturating_sub(passed)) {
                Ok(event) => rest.push(event),
                Err(NoEvent::Ended) => return Ok(rest),
                Err(NoEvent::Yet) if passed < self.patience => {}
                Err(NoEvent::Yet) => {
                    return fail(format!("awaited {note}, in vain for {:?}", self.patience));
                }
            }
        }
    }

    /// Takes events until this node has been told that each of these, apart from itself, is up.
    pub(super) fn meets(&mut self, everybody: &[NodeId]) -> Check {
        let met = |told: &[Event], id| {
            told.iter()
                .any(|event| matches!(event, Event::MemberUp { id: up, .. } if *up == id))
        };
        for id in everybody {
            if *id != self.id && !met(&self.told, *id) {
                self.hears(&format!("that {id} is up"), |event| match event {
                    Event::MemberUp { id: up, .. } if up == id => Some(()),
                    _ => None,
                })?;
            }
        }
        Ok(())
    }

    /// Takes events until this node has been told of a value.
    pub(super) fn hears_value(&mut self, of: NodeId, name: &str, wanted: Option<&str>) -> Check {
        self.hears_value_within(self.patience, of, name, wanted)
    }

    pub(super) fn hears_value_within(
        &mut self,
        limit: Duration,
        of: NodeId,
        name: &str,
        wanted: Option<&str>,
    ) -> Check {
        let what = format!("that {name} of {of} is {wanted:?}");
        self.hears_within(limit, &what, |event| match event {
            Event::AttributeChanged { id, key, value } if *id == of && key.as_str() == name => {
                let value = value.as_ref().map(Value::as_bytes);
                (value == wanted.map(str::as_bytes)).then_some(())
            }
            _ => None,
        })
    }

    pub(super) fn sets(&self, name: &str, text: &str) -> Check {
        set(&self.handle, name, text)
    }

    /// A command that must be accepted.
    pub(super) fn commands(&self, command: Command) -> Check {
        let what = format!("{command:?}");
        self.handle
            .command(command)
            .map_err(|error| Failure(format!("{} refused {what}: {error}", self.name)))
    }

    /// What this node holds of an attribute.
    pub(super) fn value(&self, of: NodeId, name: &str) -> Check<Option<Vec<u8>>> {
        value_held(&self.handle, of, name)
    }

    /// Whether this node holds this value of an attribute.
    pub(super) fn holds(&self, of: NodeId, name: &str, text: &str) -> bool {
        holds(&self.handle, of, name, text)
    }

    pub(super) fn status(&self, of: NodeId) -> Option<Status> {
        self.handle
            .read(move |node| node.member(of).map(|member| member.status()))
    }

    pub(super) fn generation(&self) -> Generation {
        self.handle.read(Node::generation)
    }

    /// Fails if this node sent fewer than half of the heartbeats that were due since it had sent
    /// `before` of them.
    pub(super) fn kept_its_rhythm(&self, before: u64, passed: Duration) -> Check {
        let (every, sent) = (Config::local().interval, self.heartbeats() - before);
        let due = passed.as_nanos() / every.as_nanos();
        ensure(u128::from(sent) * 2 >= due, || {
            format!(
                "{} sent {sent} heartbeats in {passed:?}, and {due} were due",
                self.name
            )
        })
    }

    /// How many heartbeats this node has sent.
    pub(super) fn heartbeats(&self) -> u64 {
        let own = |node: &Node| node.member(node.id())?.heartbeat();
        self.handle.read(own).unwrap_or_default()
    }

    /// Fails if this node has been told, so far, that any of these went down.
    pub(super) fn was_told_of_no_failure(&self) -> Check {
        let down = |event: &&Event| matches!(event, Event::MemberDown { .. } | Event::Isolated);
        match self.told.iter().find(down) {
            None => Ok(()),
            Some(event) => fail(format!("{} was told {event:?}", self.name)),
        }
    }
}

/// Has a node set an attribute.
pub(super) fn set(handle: &impl Handle, name: &str, text: &str) -> Check {
    let (key, value) = (key(name)?, value(text)?);
    let done = handle.command(Command::Set { key, value });
    done.map_err(|error| Failure(format!("a node refused to set {name} to {text:?}: {error}")))
}

fn value_held(handle: &impl Handle, of: NodeId, name: &str) -> Check<Option<Vec<u8>>> {
    let key = key(name)?;
    Ok(handle.read(move |node| {
        let value = node.member(of)?.attribute(&key)?;
        Some(value.to_vec())
    }))
}

/// Whether a node holds this value of an attribute.
pub(super) fn holds(handle: &impl Handle, of: NodeId, name: &str, text: &str) -> bool {
    value_held(handle, of, name).is_ok_and(|value| value.as_deref() == Some(text.as_bytes()))
}

/// Fails unless a command was refused because the node has stopped.
pub(super) fn is_over(result: Result<(), CommandError>) -> Check {
    match result {
        Err(CommandError::Stopped) => Ok(()),
        other => fail(format!(
            "a command to a node that has stopped came to {other:?} instead of Stopped"
        )),
    }
}

fn refused_by_the_system(error: std::io::Error) -> Failure {
    Failure(format!("the system refuses what the case needs: {error}"))
}

pub(super) fn key(text: &str) -> Check<Key> {
    Key::new(text).map_err(|error| Failure(error.to_string()))
}

pub(super) fn value(text: &str) -> Check<Value> {
    Value::new(text).map_err(|error| Failure(error.to_string()))
}
