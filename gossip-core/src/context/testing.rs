//! A context for tests of a machine alone.

use core::net::SocketAddr;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use siphasher::sip::SipHasher13;

use super::{Context, Parts};
use crate::config::Config;
use crate::hlc::{Clock, Stamp};
use crate::identity::{Generation, NodeId};
use crate::membership::{Table, Told};
use crate::state::attribute::{ADDRESS, Declared, STATUS, encode_address};
use crate::state::log::Log;
use crate::state::table_hash::HashKey;
use crate::time::{Instant, UnixTime};

/// The wall clock at the beginning of a test.
pub(crate) const WALL: UnixTime = UnixTime::from_millis(1_800_000_000_000);

/// This node's id in tests.
pub(crate) const OWN: NodeId = NodeId::from_u64(60_000);

/// The time so many milliseconds after the beginning.
pub(crate) const fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

/// The address of the member of this number.
pub(crate) fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], number))
}

/// The context of a node that is up and knows nobody.
pub(crate) fn context(change: impl FnOnce(&mut Config)) -> Context {
    let mut config = Config::lan();
    change(&mut config);
    let mut clock = Clock::new(Instant::ORIGIN, WALL, config.max_clock_skew);
    let generation = Generation::new(clock.tick(Instant::ORIGIN));
    let index = SipHasher13::new_with_keys(1, 2);
    let mut table = Table::new(HashKey::of("test"), index, usize::from(config.bridges));
    table.ensure(OWN, Instant::ORIGIN);
    table.change_log(OWN, |log| *log = log_of(generation, 1, Declared::Up));
    Context::new(Parts {
        config,
        own: OWN,
        generation,
        address: address(1),
        now: Instant::ORIGIN,
        clock,
        rng: ChaCha8Rng::seed_from_u64(1),
        table,
    })
}

/// The log of a member with the address of this number.
pub(crate) fn log_of(generation: Generation, number: u16, status: Declared) -> Log {
    let mut log = Log::new(generation);
    log.write(0, ADDRESS, Some(&encode_address(address(number))));
    log.write(0, STATUS, Some(status.encode()));
    log
}

/// The generation of all members that [`Context::learn`] makes.
pub(crate) fn generation() -> Generation {
    Generation::new(Stamp::at(WALL))
}

impl Context {
    /// Adds a member that is up and has been told. The number becomes its id and the port of its address.
    pub(crate) fn learn(&mut self, number: u16) -> NodeId {
        let id = NodeId::from_u64(u64::from(number));
        let log = log_of(generation(), number, Declared::Up);
        self.table.apply(id, self.now, &log.claim_after(0));
        self.table.get_mut(id).expect("it is known now").told = Told::Up;
        id
    }
}
