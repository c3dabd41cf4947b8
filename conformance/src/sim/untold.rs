//! Who has yet to tell its application of a death.

use core::time::Duration;

use gossip_core::{Event, NodeId, Standing, Status};

use super::hosts::HostId;
use super::world::{Step, World};

/// The nodes that hold a member up which dies, and have not told yet that it is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    about: NodeId,
    by: Vec<HostId>,
}

impl Untold {
    /// Looks at every node at the moment of a death, or just before it. Those count that
    ///
    /// - run, and were started at least `settled` ago: who has just started may not know the member yet;
    /// - have joined and do not leave;
    /// - show the member as up, suspected or not.
    #[must_use]
    pub fn of(world: &World, victim: HostId, settled: Duration) -> Self {
        let about = world.host(victim).node_id();
        let now = world.now();
        let others = world.hosts().iter().filter(|host| host.id() != victim);
        let holds_up = others.filter(|host| {
            let is_settled = host.started().is_some_and(|at| now.since(at) >= settled);
            let node = host.node().filter(|_| host.runs() && is_settled);
            let node = node.filter(|node| node.standing() == Standing::Up);
            let shown = node.and_then(|node| node.member(about));
            shown.is_some_and(|member| matches!(member.status(), Status::Up | Status::Suspect))
        });
        Self {
            about,
            by: holds_up.map(super::Host::id).collect(),
        }
    }

    /// Takes in the events of a step. Returns whether they tell of the death, for the first time.
    pub fn look(&mut self, world: &World, step: Step) -> bool {
        let Some(at) = self.by.iter().position(|host| *host == step.host) else {
            return false;
        };
        let about = self.about;
        // What was told may be among what the queue of events has lost. Then the view counts.
        let is_down = || {
            let node = world.host(step.host).node();
            let member = node.and_then(|node| node.member(about));
            member.is_some_and(|member| member.status() == Status::Down)
        };
        let tells = world.events().iter().any(|event| match event {
            Event::MemberDown { id, .. } => *id == about,
            Event::Lagged => is_down(),
            _ => false,
        });
        if tells {
            self.by.remove(at);
        }
        tells
    }

    /// Those that have not told it yet.
    #[must_use]
    pub fn by(&self) -> &[HostId] {
        &self.by
    }

    /// How many times the usual patience those who have not told it yet may have with the member: each flap after
    /// the first doubles it, twice at most (rule F43).
    #[must_use]
    pub fn patience(&self, world: &World) -> u32 {
        match self.flaps(world) {
            0 | 1 => 1,
            2 => 2,
            _ => 4,
        }
    }

    /// How often the member has gone down and come up again, in the view of the one that has seen it most often.
    #[must_use]
    pub fn flaps(&self, world: &World) -> u16 {
        let nodes = self.by.iter().filter_map(|host| world.host(*host).node());
        let flaps = nodes.filter_map(|node| Some(node.member(self.about)?.flaps()));
        flaps.max().unwrap_or(0)
    }

    /// The member that is dead.
    #[must_use]
    pub const fn about(&self) -> NodeId {
        self.about
    }
}
