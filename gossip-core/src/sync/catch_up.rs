//! How a node that is far behind catches up: it asks several peers at a time, each for another part.
//!
//! What is under way is bounded, and what comes back decides how much that is. A node has one more exchange
//! under way once all that were brought much, and one less for each one that did not. A peer that has brought
//! so many bytes rests for as long as these may take, so no peer bears it all.
//!
//! # Invariants
//!
//! - At most [`MOST`] exchanges are under way for this purpose.
//! - Each peer stands in the list once. It goes once it is neither under way nor at rest.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::context::{Context, Timer};
use crate::identity::NodeId;
use crate::membership::Record;
use crate::rng::below;
use crate::sync::leg::OVERTAKING;
use crate::sync::peers::sample;
use crate::time::{Instant, part};

/// The most exchanges under way. A leg takes 17 kB, and a socket mostly has room for so many legs.
const MOST: usize = 8;

/// The time that a peer rests for each kilobyte that it has brought, and at least: 125 kB in a second.
const REST: Duration = Duration::from_millis(8);

/// The time that an exchange takes, before any has been measured.
const FIRST_TRIP: Duration = Duration::from_millis(100);

/// After so many exchanges that brought nothing the rest is left to rounds.
const SILENT: u32 = 8;

/// The catching up of a node. See the [module](self).
#[derive(Debug)]
pub(super) struct CatchUp {
    /// How many exchanges may be under way. None: there is nothing to catch up with.
    window: usize,
    /// How many have brought much since one more may be under way.
    credit: usize,
    /// Before this nobody is asked, since others have just brought the same.
    ready: Instant,
    /// How many have brought nothing since one brought something.
    silent: u32,
    peers: Vec<Peer>,
    /// The usual time that an exchange takes.
    trip: Duration,
}

/// A peer that has been asked, or has brought something.
#[derive(Debug)]
struct Peer {
    address: SocketAddr,
    since: Instant,
    is_under_way: bool,
    /// Bytes since then.
    brought: usize,
    /// Those of them that were new.
    new: usize,
}

/// What a leg has brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brought {
    pub(super) bytes: usize,
    /// Those of them that were new.
    pub(super) new: usize,
    /// Whether the exchange ends with it.
    pub(super) ends: bool,
    /// Whether the peer may have more than it has brought.
    pub(super) leaves_more: bool,
}

impl Default for CatchUp {
    fn default() -> Self {
        Self {
            window: 0,
            credit: 0,
            ready: Instant::ORIGIN,
            silent: 0,
            peers: Vec::new(),
            trip: FIRST_TRIP,
        }
    }
}

impl CatchUp {
    /// Whether this node is far behind.
    pub(super) const fn is_behind(&self) -> bool {
        self.window > 0
    }

    /// A leg has come in.
    pub(super) fn on_leg(&mut self, context: &mut Context, from: SocketAddr, brought: Brought) {
        let now = context.now;
        let at = match self.peers.iter().position(|peer| peer.address == from) {
            Some(at) => at,
            None if brought.bytes == 0 => return,
            None => {
                self.forget_rested(now);
                self.peers.push(Peer {
                    address: from,
                    since: now,
                    is_under_way: false,
                    brought: 0,
                    new: 0,
                });
                self.peers.len().saturating_sub(1)
            }
        };
        let Some(peer) = self.peers.get_mut(at) else {
            return;
        };
        peer.brought = peer.brought.saturating_add(brought.bytes);
        peer.new = peer.new.saturating_add(brought.new);
        if !brought.ends {
            return;
        }
        let was_under_way = core::mem::take(&mut peer.is_under_way);
        if was_under_way {
            let trip = now.saturating_since(peer.since);
            self.trip = part(self.trip.saturating_mul(7).saturating_add(trip), 8);
        }
        let (brings, brings_much) = (peer.new > 0, peer.brings_much());
        if brings {
            self.silent = 0;
        }
        let goes_on = brings && brought.leaves_more;
        if brings_much && brought.leaves_more {
            self.widen();
        } else if was_under_way || goes_on && !self.is_behind() {
            self.window = self.window.saturating_sub(1).max(usize::from(goes_on));
            self.ready = now.saturating_add(OVERTAKING);
        }
        self.ask(context);
    }

    /// Has as many exchanges under way as may be. To be called, too, when the timer tells that exchanges have taken
    /// too long, or that peers have rested.
    pub(super) fn ask(&mut self, context: &mut Context) {
        let now = context.now;
        let patience = self.trip.saturating_mul(3);
        let mut brought_much = 0_usize;
        for peer in &mut self.peers {
            if !peer.is_under_way || peer.since.saturating_add(patience) > now {
                continue;
            }
            peer.is_under_way = false;
            if peer.new > 0 {
                // Its last datagram was lost.
                self.silent = 0;
            } else {
                self.silent = self.silent.saturating_add(1);
            }
            if peer.brings_much() {
                brought_much = brought_much.saturating_add(1);
            } else {
                self.window = self.window.saturating_sub(1).max(1);
            }
        }
        for _ in 0..brought_much {
            self.widen();
        }
        if self.silent >= SILENT {
            self.window = 0;
        }
        self.forget_rested(now);
        while self.ready <= now && self.under_way() < self.window && self.ask_another(context) {}
        let is_full = self.is_behind() && self.under_way() >= self.window;
        let next = self.peers.iter().filter_map(|peer| {
            if peer.is_under_way {
                Some(peer.since.saturating_add(patience))
            } else {
                Some(peer.rests_until()).filter(|_| !is_full)
            }
        });
        let pause = Some(self.ready).filter(|ready| *ready > now && self.under_way() < self.window);
        context.timers.set(Timer::CatchUp, next.chain(pause).min());
    }

    /// An exchange has brought much: once as many have as may be under way, one more may.
    fn widen(&mut self) {
        self.credit = self.credit.saturating_add(1);
        if self.credit >= self.window {
            self.credit = 0;
            self.window = self.window.saturating_add(1).min(MOST);
        }
    }

    fn under_way(&self) -> usize {
        self.peers.iter().filter(|peer| peer.is_under_way).count()
    }

    fn forget_rested(&mut self, now: Instant) {
        self.peers
            .retain(|peer| peer.is_under_way || peer.rests_until() > now);
        if self.peers.is_empty() {
            // Few nodes are ever far behind, so the list keeps no room.
            self.peers = Vec::new();
        }
    }

    /// Begins an exchange with a peer that is neither under way nor at rest, each as likely as any other. A node that
    /// knows no live member asks its seeds.
    fn ask_another(&mut self, context: &mut Context) -> bool {
        let members = context.table.home(context.own).live();
        let enough = self.peers.len().saturating_add(1);
        let drawn = sample(members, context.own, enough, &mut context.rng);
        let address = |id: &NodeId| context.table.get(*id).and_then(Record::address);
        let mut candidates: Vec<SocketAddr> = drawn.iter().filter_map(address).collect();
        if candidates.is_empty() {
            candidates.clone_from(&context.config.seeds);
        }
        let is_free = |to: &SocketAddr| self.peers.iter().all(|peer| peer.address != *to);
        let start = below(&mut context.rng, candidates.len().max(1));
        let turned = candidates.iter().cycle().skip(start).take(candidates.len());
        let Some(to) = turned.copied().find(is_free) else {
            return false;
        };
        self.peers.push(Peer {
            address: to,
            since: context.now,
            is_under_way: true,
            brought: 0,
            new: 0,
        });
        context.begin_exchange(to);
        true
    }
}

impl Peer {
    /// Whether three quarters of what it has brought were new. If not, others bring the same.
    const fn brings_much(&self) -> bool {
        let old = self.brought.saturating_sub(self.new);
        self.new > old.saturating_mul(3)
    }

    fn rests_until(&self) -> Instant {
        let kilobytes = self.brought.div_ceil(1000).max(1);
        let kilobytes = u32::try_from(kilobytes).unwrap_or(u32::MAX);
        self.since.saturating_add(REST.saturating_mul(kilobytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Outgoing;
    use crate::context::testing::{address, at, context};

    /// A node that knows so many peers.
    fn behind(peers: u16) -> (Context, CatchUp) {
        let mut context = context(|_| ());
        for peer in 2..peers + 2 {
            context.learn(peer);
        }
        (context, CatchUp::default())
    }

    /// Whom the node asks.
    fn asked(context: &mut Context) -> Vec<SocketAddr> {
        let asked = context
            .drain_messages()
            .filter_map(|message| match message {
                Outgoing::Syn { to } => Some(to),
                _ => None,
            });
        asked.collect()
    }

    const MUCH: Brought = Brought {
        bytes: 10_000,
        new: 10_000,
        ends: true,
        leaves_more: true,
    };
    const NOTHING: Brought = Brought {
        bytes: 0,
        new: 0,
        ..MUCH
    };

    #[test]
    fn what_peers_bring_decides_how_many_are_asked() {
        let (mut context, mut catch_up) = behind(200);
        catch_up.on_leg(&mut context, address(2), NOTHING);
        assert!(!catch_up.is_behind() && asked(&mut context).is_empty());
        catch_up.on_leg(&mut context, address(2), MUCH);
        let mut under_way = asked(&mut context);
        assert_eq!(under_way.len(), 1);
        for expected in [2, 3, 4, 5, 6, 7, 8, 8, 8] {
            for _ in 0..under_way.len() {
                let first = under_way.remove(0);
                catch_up.on_leg(&mut context, first, MUCH);
                under_way.extend(asked(&mut context));
            }
            assert_eq!(under_way.len(), expected);
        }
        for expected in (0..8).rev() {
            let first = under_way.remove(0);
            catch_up.on_leg(&mut context, first, NOTHING);
            under_way.extend(asked(&mut context));
            assert_eq!(under_way.len(), expected);
        }
        assert!(!catch_up.is_behind());
    }

    #[test]
    fn peers_that_bring_the_same_are_asked_one_at_a_time() {
        let (mut context, mut catch_up) = behind(200);
        catch_up.on_leg(&mut context, address(2), MUCH);
        let mut under_way = asked(&mut context);
        let little = Brought { new: 1000, ..MUCH };
        for (brought, expected) in [
            (MUCH, 2),
            (MUCH, 2),
            (MUCH, 3),
            (little, 2),
            (little, 1),
            (little, 0),
        ] {
            let first = under_way.remove(0);
            catch_up.on_leg(&mut context, first, brought);
            under_way.extend(asked(&mut context));
            assert_eq!(under_way.len(), expected);
        }
        // What was overtaken may still bring it.
        context.now = at(50);
        catch_up.ask(&mut context);
        assert_eq!(asked(&mut context).len(), 1);
    }

    #[test]
    fn a_peer_rests_for_as_long_as_what_it_has_brought_may_take() {
        let (mut context, mut catch_up) = behind(1);
        catch_up.on_leg(&mut context, address(2), MUCH);
        assert!(asked(&mut context).is_empty(), "it rests");
        context.now = at(79);
        catch_up.ask(&mut context);
        assert!(asked(&mut context).is_empty());
        context.now = at(80);
        catch_up.ask(&mut context);
        assert_eq!(asked(&mut context), [address(2)]);
    }

    #[test]
    fn a_node_that_knows_nobody_asks_each_seed_once_at_a_time() {
        let seeds = [address(100), address(101)];
        let mut context = context(|config| config.seeds = seeds.to_vec());
        let mut catch_up = CatchUp::default();
        catch_up.on_leg(&mut context, seeds[0], MUCH);
        assert_eq!(asked(&mut context), [seeds[1]], "the first one rests");
        for _ in 0..3 {
            let more = Brought {
                ends: false,
                ..MUCH
            };
            catch_up.on_leg(&mut context, seeds[1], more);
            catch_up.ask(&mut context);
            assert!(asked(&mut context).is_empty());
        }
    }

    #[test]
    fn a_node_that_hears_nothing_stops_asking() {
        let (mut context, mut catch_up) = behind(100);
        catch_up.on_leg(&mut context, address(2), MUCH);
        let mut number = 0;
        for step in 1..100 {
            number += asked(&mut context).len();
            context.now = at(step * 1000);
            catch_up.ask(&mut context);
        }
        assert_eq!(number, 8);
        assert!(!catch_up.is_behind() && catch_up.peers.is_empty());
    }
}
