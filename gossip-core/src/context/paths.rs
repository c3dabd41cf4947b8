//! Paths: how long a datagram to an address may be.
//!
//! Tunnels and some networks drop long datagrams and say nothing. So datagrams are filled to a length that any path
//! carries ([`Config::safe_datagram`]), and only an entry that needs more takes more. Whether these arrive shows in one
//! way only: the receiver goes on asking for them. So a path is *searched* when long datagrams of repair go to the same
//! address again and again. Each turn sends two probes, a short one and a long one, and both are to be answered by a
//! pong. If only the short ones are answered, the next search goes for a shorter length (RFC 8899, 5.3: packetization
//! layer path MTU discovery). What was found holds until it is found otherwise.
//!
//! Invariants:
//! - One path is searched at a time, with one long probe in a turn. So a node sends no more than one longest datagram an
//!   interval for this, and at rest nothing but to see whether a narrow path carries more again.
//! - No length is below [`LEAST`]. A cluster works over a path that carries as much.
//! - Nothing is concluded while the short probes are not answered either: then the peer is gone. And the long ones have
//!   to be as many as make chance an unlikely explanation, at the loss measured now.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use smallvec::SmallVec;

use crate::config::Config;
use crate::time::Instant;

/// The least length that a search comes to: the least that `max_datagram` may be.
const LEAST: usize = 512;

/// The lengths that are tried, below the longest datagram that was sent: [`Config::safe_datagram`] of the default, and
/// steps of a fifth.
const STEPS: [usize; 5] = [1200, 1000, 800, 650, LEAST];

/// So many answers to the short probes show that the peer is there.
const HEARD: u32 = 3;

/// So many intervals after a search that has found nothing the next one begins at the earliest.
const SPACING: u32 = 10;

/// A path is searched once long datagrams went there in so many intervals, none of which is further than [`AGAIN`]
/// from the one before.
const INTERVALS: u8 = 3;

/// And once they have gone there for so many intervals: where peers have joined or a partition has healed, all is
/// answered by then.
const LASTING: u32 = 10;

/// In a cluster of 1000 nodes two members meet each other about once in 160 intervals.
const AGAIN: u32 = 300;

/// For so many intervals a path that carries all is not searched again, and a narrow one: something may wait for it to
/// carry more.
const SURE: u32 = 300;
const SURE_IF_NARROW: u32 = 60;

/// The most paths that are remembered: of those that may have to be searched, and of those that are narrow.
const SUSPECTS: usize = 32;
const NARROW: usize = 4096;

/// How long datagrams to an address may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    /// So far they are filled with entries.
    pub(crate) fill: usize,
    /// So long they may be for a single entry.
    pub(crate) most: usize,
}

impl Lengths {
    pub(crate) fn of(config: &Config) -> Self {
        let most = usize::from(config.max_datagram);
        let fill = usize::from(config.safe_datagram).min(most);
        Self { fill, most }
    }

    fn within(self, limit: usize) -> Self {
        Self {
            fill: self.fill.min(limit),
            most: self.most.min(limit),
        }
    }
}

/// What is known of the paths to some addresses, and the search that is under way.
#[derive(Debug)]
pub(crate) struct Paths {
    /// The longest datagram that arrives, where longer ones do not.
    limits: BTreeMap<SocketAddr, usize>,
    /// Where long datagrams go, or any over a narrow path.
    suspects: Vec<Suspect>,
    search: Option<Search>,
    /// When the next search may begin.
    next: Instant,
}

/// A path that may have to be searched.
#[derive(Debug)]
struct Suspect {
    to: SocketAddr,
    /// Since when datagrams go there, and in how many intervals. A search begins this anew.
    since: Instant,
    intervals: u8,
    /// When the last of these was counted.
    counted: Instant,
    /// The longest of these datagrams.
    longest: usize,
    /// When the path was searched last, and up to which length nothing is in doubt since.
    searched: Option<(Instant, usize)>,
}

impl Suspect {
    const fn new(now: Instant, to: SocketAddr) -> Self {
        Self {
            to,
            since: now,
            intervals: 0,
            counted: now,
            longest: 0,
            searched: None,
        }
    }
}

/// A probe to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) to: SocketAddr,
    pub(crate) token: u32,
    /// How long the datagram is to be. 0: as short as it can be.
    pub(crate) len: usize,
}

/// What a search has found that was not known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) address: SocketAddr,
    /// The longest datagram that arrives. `None`: all do.
    pub(crate) limit: Option<usize>,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            limits: BTreeMap::new(),
            suspects: Vec::new(),
            search: None,
            next: Instant::ORIGIN,
        }
    }
}

impl Paths {
    /// How long datagrams to this address may be, if a path that carries all of them carries the `usual` ones.
    pub(crate) fn lengths(&self, to: SocketAddr, usual: Lengths) -> Lengths {
        let limit = self.limits.get(&to).copied();
        let tried = self.search.as_ref().filter(|search| search.to == to);
        let tried = tried.and_then(Search::below_what_failed);
        let limits = limit.into_iter().chain(tried);
        limits.fold(usual, Lengths::within)
    }

    /// How many paths are known to drop long datagrams.
    pub(crate) fn narrow(&self) -> usize {
        self.limits.len()
    }

    /// A datagram has gone to an address that asked for it, or is asked by it.
    pub(crate) fn note_sent(
        &mut self,
        now: Instant,
        interval: Duration,
        to: SocketAddr,
        len: usize,
    ) {
        if len <= LEAST && !self.limits.contains_key(&to) {
            return;
        }
        let mut suspect = self.take_suspect(now, to);
        suspect.longest = suspect.longest.max(len);
        let since = now.saturating_since(suspect.counted);
        if suspect.intervals == 0 || since > interval.saturating_mul(AGAIN) {
            (suspect.since, suspect.intervals, suspect.counted) = (now, 1, now);
        } else if since >= interval {
            (suspect.intervals, suspect.counted) = (suspect.intervals.saturating_add(1), now);
        }
        self.suspects.push(suspect);
    }

    /// Takes the suspect at this address off the list. A new one has the place of that which has been quiet for the
    /// longest time.
    fn take_suspect(&mut self, now: Instant, to: SocketAddr) -> Suspect {
        if let Some(at) = self.suspects.iter().position(|suspect| suspect.to == to) {
            return self.suspects.swap_remove(at);
        }
        let quiet = self.suspects.iter().enumerate();
        let quiet = quiet.min_by_key(|(_, suspect)| suspect.counted);
        if let Some((at, _)) = quiet.filter(|_| self.suspects.len() >= SUSPECTS) {
            self.suspects.swap_remove(at);
        }
        Suspect::new(now, to)
    }

    /// A pong has come.
    pub(crate) fn on_pong(&mut self, from: SocketAddr, token: u32) {
        if let Some(search) = self.search.as_mut().filter(|search| search.to == from) {
            search.on_pong(token);
        }
    }

    /// An interval has passed. Tells what a search has found, and what to probe now. `most` is the longest datagram
    /// that this node may send, and `enough` how many pings make a silence. `None`: too much is lost to say anything.
    pub(crate) fn on_round(
        &mut self,
        now: Instant,
        interval: Duration,
        most: usize,
        enough: Option<u32>,
        rng: &mut ChaCha8Rng,
    ) -> (Option<Found>, Option<[Probe; 2]>) {
        let mut found = None;
        if let Some(mut search) = self.search.take() {
            match search.step(enough) {
                Step::GoOn => self.search = Some(search),
                Step::Over => {
                    found = self.conclude(now, &search);
                    if found.is_none() {
                        self.next = now.saturating_add(interval.saturating_mul(SPACING));
                    }
                }
            }
        }
        if self.search.is_none() && self.next <= now {
            self.search = self.begin(now, interval, most, rng);
        }
        (found, self.search.as_mut().map(Search::probe))
    }

    /// Begins to search the path that needs it most.
    fn begin(
        &self,
        now: Instant,
        interval: Duration,
        most: usize,
        rng: &mut ChaCha8Rng,
    ) -> Option<Search> {
        let is_due = |suspect: &&Suspect| {
            let sure = if self.limits.contains_key(&suspect.to) {
                SURE_IF_NARROW
            } else {
                SURE
            };
            let is_in_doubt = suspect.searched.is_none_or(|(at, upto)| {
                let since = now.saturating_since(at);
                since >= interval.saturating_mul(sure) || suspect.longest > upto
            });
            let lasts = now.saturating_since(suspect.since);
            let is_lasting = lasts >= interval.saturating_mul(LASTING);
            suspect.intervals >= INTERVALS && is_lasting && is_in_doubt
        };
        let due = self.suspects.iter().filter(is_due);
        let suspect = due.max_by_key(|suspect| suspect.intervals)?;
        let limit = self.limits.get(&suspect.to).copied();
        // The longest that is sent over a narrow path says nothing.
        let length = match limit {
            Some(_) => most,
            None => suspect.longest.min(most),
        };
        Some(Search {
            to: suspect.to,
            token: rng.next_u32(),
            length,
            limit,
            sent: SmallVec::new(),
            tried: 0,
            heard: 0,
            arrived: None,
        })
    }

    /// A search is over. Tells what it has found, if that is new.
    fn conclude(&mut self, now: Instant, search: &Search) -> Option<Found> {
        let address = search.to;
        let first = search.sent.first().copied();
        // If nothing has arrived, the peer is gone, and what was known before holds.
        let limit = match search.arrived {
            Some(arrived) => Some(arrived).filter(|_| Some(arrived) != first),
            None => search.limit,
        };
        // Longer datagrams than these are not sent over a narrow path.
        let upto = search.arrived.filter(|_| limit.is_none());
        self.take_suspect(now, address);
        self.suspects.push(Suspect {
            searched: Some((now, upto.unwrap_or(usize::MAX))),
            ..Suspect::new(now, address)
        });
        match limit {
            Some(limit) => {
                self.limits.insert(address, limit);
                if self.limits.len() > NARROW {
                    self.limits.pop_first();
                }
            }
            None => {
                self.limits.remove(&address);
            }
        }
        (search.limit != limit).then_some(Found { address, limit })
    }
}

/// A search under way.
#[derive(Debug)]
struct Search {
    to: SocketAddr,
    /// The token of the first probe. The others count up from it: the short one of each turn, then the long one.
    token: u32,
    /// The length that is tried.
    length: usize,
    /// What the last search has found. Longer ones are tried once each.
    limit: Option<usize>,
    /// The length of each long probe so far.
    sent: SmallVec<[usize; 8]>,
    /// In how many turns the present length was tried.
    tried: u32,
    /// How many of the short probes beside these were answered.
    heard: u32,
    /// The longest that has arrived.
    arrived: Option<usize>,
}

/// What follows on a turn of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    GoOn,
    Over,
}

impl Search {
    /// The length that is tried, once a longer one has failed.
    fn below_what_failed(&self) -> Option<usize> {
        let first = self.sent.first()?;
        (self.length < *first).then_some(self.length)
    }

    /// The probes of a turn.
    fn probe(&mut self) -> [Probe; 2] {
        let turn = u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
        let short = self.token.wrapping_add(turn.saturating_mul(2));
        self.sent.push(self.length);
        self.tried = self.tried.saturating_add(1);
        let to = self.to;
        [(short, 0), (short.wrapping_add(1), self.length)].map(|(token, len)| Probe {
            to,
            token,
            len,
        })
    }

    fn on_pong(&mut self, token: u32) {
        let number = token.wrapping_sub(self.token);
        let turn = usize::try_from(number.div_euclid(2)).unwrap_or(usize::MAX);
        let Some(length) = self.sent.get(turn) else {
            return;
        };
        if number.rem_euclid(2) == 1 {
            self.arrived = self.arrived.max(Some(*length));
        } else if *length == self.length {
            self.heard = self.heard.saturating_add(1);
        }
    }

    /// A turn is over.
    fn step(&mut self, enough: Option<u32>) -> Step {
        if self.arrived.is_some() {
            return Step::Over;
        }
        let failed_before = self.limit.is_some_and(|limit| self.length > limit);
        if !failed_before {
            let Some(enough) = enough else {
                return Step::Over;
            };
            if self.tried < enough {
                return Step::GoOn;
            }
            if self.heard < HEARD {
                return Step::Over;
            }
        }
        (self.tried, self.heard) = (0, 0);
        match STEPS.iter().find(|step| **step < self.length) {
            Some(next) => {
                self.length = *next;
                Step::GoOn
            }
            None => {
                // Nothing shorter would help.
                self.arrived = Some(LEAST);
                Step::Over
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::testing::address;
    use proptest::prelude::*;
    use rand_chacha::rand_core::SeedableRng;

    const INTERVAL: Duration = Duration::from_secs(1);
    const USUAL: Lengths = Lengths {
        fill: 1200,
        most: 1400,
    };

    fn at(interval: u32) -> Instant {
        Instant::ORIGIN.saturating_add(INTERVAL.saturating_mul(interval))
    }

    /// Sends a datagram of such a length in each interval. The path carries datagrams up to another length, and of
    /// these what `arrives` says of a number. Returns what was found, and when.
    fn play(
        paths: &mut Paths,
        intervals: core::ops::Range<u32>,
        len: usize,
        carries: usize,
        enough: u32,
        mut arrives: impl FnMut() -> bool,
    ) -> Vec<(u32, Option<usize>)> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut all = Vec::new();
        for n in intervals {
            let lengths = paths.lengths(address(1), USUAL);
            paths.note_sent(at(n), INTERVAL, address(1), len.min(lengths.most));
            let (found, probes) =
                paths.on_round(at(n), INTERVAL, USUAL.most, Some(enough), &mut rng);
            all.extend(found.map(|found| (n, found.limit)));
            for Probe { to, token, len } in probes.into_iter().flatten() {
                assert!(len <= USUAL.most);
                if len <= carries && arrives() {
                    paths.on_pong(to, token);
                }
            }
        }
        all
    }

    #[test]
    fn the_least_length_is_the_least_that_may_be_configured() {
        let mut config = Config::lan();
        config.max_datagram = u16::try_from(LEAST).unwrap();
        assert!(config.check().is_ok());
        config.max_datagram -= 1;
        assert!(config.check().is_err());
    }

    #[test]
    fn a_path_that_carries_everything_is_probed_once() {
        let mut paths = Paths::default();
        assert_eq!(play(&mut paths, 0..200, 1200, 1400, 5, || true), []);
        assert_eq!(paths.lengths(address(1), USUAL), USUAL);
        assert_eq!(paths.suspects[0].searched, Some((at(11), 1200)));
    }

    #[test]
    fn the_longest_length_that_arrives_is_found_and_found_anew_once_the_path_carries_more() {
        let mut paths = Paths::default();
        let found = play(&mut paths, 0..80, 1350, 900, 5, || true);
        assert_eq!(found, [(26, Some(800))]);
        let lengths = paths.lengths(address(1), USUAL);
        assert_eq!((lengths.fill, lengths.most, paths.narrow()), (800, 800, 1));
        assert_eq!(paths.lengths(address(2), USUAL), USUAL);
        let found = play(&mut paths, 80..500, 300, 1400, 5, || true);
        assert_eq!(found, [(87, None)]);
        assert_eq!(
            (paths.lengths(address(1), USUAL), paths.narrow()),
            (USUAL, 0)
        );
    }

    #[test]
    fn what_is_tried_holds_before_anything_is_found() {
        let mut paths = Paths::default();
        play(&mut paths, 0..16, 1200, 600, 5, || true);
        assert_eq!(paths.lengths(address(1), USUAL).most, 1000);
    }

    #[test]
    fn what_is_lost_by_chance_is_probed_again() {
        let mut paths = Paths::default();
        let mut probes = 0;
        // Of each pair the long one is lost, four times.
        let arrives = || {
            probes += 1;
            probes % 2 == 1 || probes > 8
        };
        assert_eq!(play(&mut paths, 0..30, 1200, 1400, 5, arrives), []);
        assert_eq!(paths.lengths(address(1), USUAL), USUAL);
    }

    #[test]
    fn nothing_is_found_of_a_peer_that_is_gone() {
        let mut paths = Paths::default();
        assert_eq!(play(&mut paths, 0..100, 1200, 0, 5, || false), []);
        assert_eq!(paths.lengths(address(1), USUAL), USUAL);
    }

    #[test]
    fn a_pong_that_was_not_asked_for_says_nothing() {
        let mut paths = Paths::default();
        for token in [0, 1, u32::MAX] {
            paths.on_pong(address(1), token);
        }
        play(&mut paths, 0..12, 1200, 0, 5, || false);
        let token = paths.search.as_ref().unwrap().token;
        paths.on_pong(address(2), token.wrapping_add(1));
        paths.on_pong(address(1), token.wrapping_add(100));
        paths.on_pong(address(1), token.wrapping_sub(1));
        let search = paths.search.as_ref().unwrap();
        assert_eq!((search.heard, search.arrived), (0, None));
    }

    #[test]
    fn a_bounded_number_of_paths_is_remembered() {
        let mut paths = Paths::default();
        let to = |n: u32| SocketAddr::from(([10, 0, 0, 1], u16::try_from(n).unwrap()));
        for n in 0..1000 {
            paths.note_sent(at(n), INTERVAL, to(n), 1200);
        }
        assert_eq!(paths.suspects.len(), SUSPECTS);
        let has = |n| paths.suspects.iter().any(|suspect| suspect.to == to(n));
        assert!(has(999) && !has(1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is lost, and however long datagrams are that a path carries: no length is below the least, and
        /// one longer than the path carries does not stay.
        #[test]
        fn lengths_stay_within_their_bounds(
            carries in LEAST..1400, len in LEAST + 1..1400, lost in 0_u32..4, seed in any::<u64>(),
        ) {
            let mut paths = Paths::default();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            play(&mut paths, 0..1000, len, carries, 9 + 4 * lost, || rng.next_u32() % 10 >= lost);
            let lengths = paths.lengths(address(1), USUAL);
            prop_assert!(lengths.fill >= LEAST && lengths.most <= USUAL.most);
            prop_assert!(len <= carries || lengths.most <= carries, "{lengths:?}");
            prop_assert_eq!(paths.narrow(), usize::from(lengths != USUAL));
        }
    }
}
