//! Schedules that a fuzzer chooses: bytes take the place of chance.
//!
//! Replicas keep recent runs here. A schedule can do what a random one does, and it can lie: it tells forged
//! frontiers, asks for forged ranges, and hands over forged runs that nobody can ever apply.

use gossip_core::Key;
use gossip_core::map::{Wanted, write_wanted};

use super::replica::{Datagram, origin};
use super::{Flaw, Flight, Missing, REPAIR, Replicas};
use crate::forge::{Body, Known};
use crate::fuzz::bytes::Bytes;

/// Steps read from one input, at most.
const MOST: usize = 200;
/// Datagrams under way, at most.
const FLYING: usize = 256;
/// The generation of an origin that is none.
const NOBODY: u64 = 3 << 16;

/// Plays the schedule that the bytes stand for. The first one chooses the replicas.
#[must_use]
pub fn play_script(bytes: &[u8]) -> Option<Flaw> {
    let mut bytes = Bytes(bytes);
    let seed = REPAIR | u64::from(bytes.byte());
    let mut world = Replicas::draw(seed, Missing::Nothing);
    for _ in 0..MOST {
        if bytes.is_empty() {
            break;
        }
        world.step_of(&mut bytes);
        let excess = world.flying.len().saturating_sub(FLYING);
        world.flying.drain(..excess);
    }
    world.finish()
}

impl Replicas {
    fn step_of(&mut self, bytes: &mut Bytes<'_>) {
        let act = bytes.below(17);
        let at = bytes.below(self.replicas.len());
        match act {
            0 | 1 => {
                self.values += 1;
                self.write_of(at, Some(self.values), bytes);
            }
            2 => self.write_of(at, None, bytes),
            3 => self.replicas[at].collect(self.time, self.grace, &mut self.truth),
            4 => self.time += u64::from(bytes.byte() % 32),
            5 => {
                let (datagrams, reached) = (self.replicas[at].push(self.room), bytes.byte());
                let others = (0..self.replicas.len()).filter(|to| reached >> to & 1 == 1);
                for to in others.filter(|to| *to != at).collect::<Vec<_>>() {
                    self.fly(at, to, datagrams.clone());
                }
            }
            6 | 7 => {
                for _ in 0..bytes.below(8).saturating_add(1) {
                    self.arrive_at(0);
                }
            }
            8 => self.arrive_at(bytes.below(self.flying.len().max(1))),
            9 if !self.flying.is_empty() => {
                let lost = bytes.below(self.flying.len());
                self.flying.remove(lost);
            }
            10 if !self.flying.is_empty() => {
                let twice = bytes.below(self.flying.len());
                self.flying.push(self.flying[twice].clone());
            }
            11 => self.tell(bytes.below(self.replicas.len()), at),
            12 => {
                let wanted = self.replicas[at].want(self.room);
                self.fly(at, bytes.below(self.replicas.len()), wanted);
            }
            13 => self.replicas[at].begin_round(&mut self.truth),
            14 => self.lie(at, bytes),
            15 => {
                let pull = self.pull_of(at, bytes);
                self.fly(at, pull.0, pull.1);
            }
            _ => self.upset(at, bytes),
        }
    }

    fn write_of(&mut self, at: usize, value: Option<u64>, bytes: &mut Bytes<'_>) {
        if let Ok(key) = Key::new(bytes.pick::<&str>(&["a", "b"])) {
            self.replicas[at].write(self.time, &key, value, &mut self.truth);
        }
    }

    fn pull_of(&self, at: usize, bytes: &mut Bytes<'_>) -> (usize, Vec<Datagram>) {
        let other = bytes.below(self.replicas.len());
        let it = self.replicas[other].id();
        let whole = bytes.below(4) > 0;
        (other, self.replicas[at].pull(it, whole, self.room))
    }

    /// What happens to replicas, and not between them.
    fn upset(&mut self, at: usize, bytes: &mut Bytes<'_>) {
        match bytes.below(4) {
            0 => {
                let side = bytes.byte();
                for (at, group) in self.groups.iter_mut().enumerate() {
                    *group = u32::from(side >> at & 1);
                }
            }
            1 => {
                self.heard.join(self.replicas[at].heard);
                self.replicas[at] = self.birth(at);
            }
            2 => self.replicas[at].drop_staged(),
            _ if self.forgets.is_some() => self.forget(at),
            _ => {}
        }
    }

    /// A replica gets to hear what is not so.
    fn lie(&mut self, at: usize, bytes: &mut Bytes<'_>) {
        let kind = bytes.below(3);
        let whose = match bytes.below(self.replicas.len() + 2) {
            number if number < self.replicas.len() => self.replicas[number].id(),
            number => origin(crate::num::count(number), NOBODY),
        };
        let known = self.replicas[at].map.frontier(whose);
        let after = version(known, bytes);
        let upto = version(after, bytes).max(after.saturating_add(1));
        match kind {
            0 => self.replicas[at].on_told([(whose, upto)].into_iter()),
            1 => {
                let wanted = Wanted {
                    origin: whose,
                    after: after.min(upto.saturating_sub(1)),
                    upto,
                };
                let mut buffer = vec![0; self.room];
                let length = write_wanted(&[wanted], &mut buffer);
                buffer.truncate(length);
                self.fly(
                    bytes.below(self.replicas.len()),
                    at,
                    vec![Datagram::Want(buffer)],
                );
            }
            _ => {
                let run = forged_run(at, bytes);
                self.fly(bytes.below(self.replicas.len()), at, vec![run]);
            }
        }
    }

    /// Datagrams set out.
    fn fly(&mut self, from: usize, to: usize, datagrams: Vec<Datagram>) {
        let sender = self.replicas[from].id();
        let flights = datagrams.into_iter().filter(|_| from != to);
        self.flying.extend(flights.map(|datagram| Flight {
            from,
            sender,
            to,
            datagram,
        }));
    }

    fn arrive_at(&mut self, index: usize) {
        if index < self.flying.len() {
            let flight = self.flying.remove(index);
            if !self.is_cut(&flight) {
                self.arrive(flight);
            }
        }
    }
}

/// A version near one that is known, or near the last there is.
fn version(known: u64, bytes: &mut Bytes<'_>) -> u64 {
    let far = u64::from(bytes.byte());
    match far {
        0..128 => known.saturating_add(far & 7),
        128..192 => u64::MAX - (far & 3),
        _ => 1 << (far & 63),
    }
}

/// A run that is valid, and that nobody can ever apply: it builds on a version of an origin that is none.
fn forged_run(at: usize, bytes: &mut Bytes<'_>) -> Datagram {
    let nobody = |number: usize| Known {
        origin: crate::num::count(number + 100),
        generation: NOBODY,
        frontier: 1,
    };
    let follows = bytes.below(2) == 0;
    let after = if follows {
        version(1, bytes).clamp(1, u64::MAX - 1)
    } else {
        0
    };
    let whose = Known {
        frontier: after + 1,
        ..nobody(at)
    };
    let context = Known {
        frontier: version(1, bytes),
        ..nobody(at + 50)
    };
    let key = *bytes.pick(&[b"a", b"b"]);
    let value = vec![b'f'; usize::from(bytes.byte())];
    let write = Body::default().write_after(whose, key, Some(&value), &[context]);
    Datagram::Run {
        origin: origin(whose.origin, whose.generation),
        after,
        upto: whose.frontier,
        writes: Body::default().bytes(&write.0).0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(replicas: usize) -> Replicas {
        let seeds = (0..).map(|seed| Replicas::draw(REPAIR | seed, Missing::Nothing));
        let mut fitting = seeds.filter(|world| world.replicas.len() == replicas);
        fitting.next().expect("some seed draws as many")
    }

    fn play(world: &mut Replicas, steps: &[u8]) {
        let mut bytes = Bytes(steps);
        while !bytes.is_empty() {
            world.step_of(&mut bytes);
        }
    }

    #[test]
    fn what_a_replica_misses_comes_to_it_once_it_asks() {
        let mut world = world(2);
        // A write, pushed to nobody; another one, pushed to the second replica, where it is early.
        play(&mut world, &[0, 0, 0, 5, 0, 0, 0, 0, 1, 5, 0, 2, 6, 0, 0]);
        let writer = world.replicas[0].id();
        assert_eq!(world.replicas[1].map.frontier(writer), 0);
        // It asks, and is answered.
        play(&mut world, &[12, 1, 0, 6, 0, 7]);
        assert_eq!(world.replicas[1].map.frontier(writer), 2);
    }

    #[test]
    fn what_a_replica_is_told_of_comes_to_it_once_it_asks() {
        let mut world = world(2);
        play(&mut world, &[0, 0, 0, 5, 0, 0, 11, 1, 0, 12, 1, 0, 6, 0, 7]);
        let writer = world.replicas[0].id();
        assert_eq!(world.replicas[1].map.frontier(writer), 1);
    }

    #[test]
    fn no_lie_is_applied_and_each_is_taken_in() {
        let mut world = world(2);
        // Frontiers, ranges and runs, of a replica and of nobody, near the last version there is.
        let lies: [&[u8]; 3] = [&[], &[0], &[0, 128, 129, 0, 3, 0]];
        for (kind, rest) in (0..).zip(lies) {
            for whose in 0..4 {
                let lie = [14, 1, kind, whose, 128, 129];
                play(&mut world, &[&lie, rest, &[6, 0, 7]].concat());
            }
        }
        assert!(!world.replicas[1].want(400).is_empty(), "it asks for more");
        assert_eq!(world.replicas[1].map.writes(), 0);
        assert_eq!(world.finish(), None);
    }
}
