//! Loss that comes in bursts: the Gilbert–Elliott model, in time.

use core::time::Duration;

use rand_chacha::ChaCha8Rng;

use super::delay::exponential;
use crate::sim::seeds::chance;
use crate::sim::time::Time;

/// Each link changes between a good state and a bad one, and loses datagrams in the bad one.
///
/// The states last for exponentially distributed times, not for a number of datagrams: a burst on a
/// link that carries one heartbeat a second is over before the next one, as it is in reality.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// How long the good state lasts on average.
    pub good: Duration,
    /// How long the bad state lasts on average.
    pub bad: Duration,
    /// The share of datagrams lost in the bad state.
    pub loss: f64,
}

/// The state of one link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    phase: Phase,
    until: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Good,
    Bad,
}

impl Bursts {
    /// A link that has been running for ever.
    pub(crate) fn begin(&self, now: Time, rng: &mut ChaCha8Rng) -> Weather {
        let total = (self.good + self.bad).as_secs_f64();
        let phase = if chance(rng, self.bad.as_secs_f64() / total) {
            Phase::Bad
        } else {
            Phase::Good
        };
        let until = now + exponential(rng, self.mean(phase));
        Weather { phase, until }
    }

    /// Whether a datagram sent now is lost.
    pub(crate) fn loses(&self, weather: &mut Weather, now: Time, rng: &mut ChaCha8Rng) -> bool {
        while weather.until <= now {
            weather.phase = match weather.phase {
                Phase::Good => Phase::Bad,
                Phase::Bad => Phase::Good,
            };
            // At least a nanosecond, so that this ends.
            let lasts = exponential(rng, self.mean(weather.phase)).max(Duration::from_nanos(1));
            weather.until = weather.until + lasts;
        }
        weather.phase == Phase::Bad && chance(rng, self.loss)
    }

    fn mean(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Good => self.good,
            Phase::Bad => self.bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::amount;
    use crate::sim::seeds::{Seeds, Stream};

    #[test]
    fn losses_come_in_bursts_of_the_given_length_and_share() {
        let bursts = Bursts {
            good: Duration::from_millis(900),
            bad: Duration::from_millis(100),
            loss: 1.0,
        };
        let mut rng = Seeds::new(3).rng(Stream::Fault(0));
        let mut weather = bursts.begin(Time::START, &mut rng);
        let lost: Vec<bool> = (0..1_000_000u64)
            .map(|ms| bursts.loses(&mut weather, Time::from_nanos(ms * 1_000_000), &mut rng))
            .collect();
        let share = amount(lost.iter().filter(|&&l| l).count()) / 1e6;
        let starts = amount(lost.windows(2).filter(|w| !w[0] && w[1]).count());
        assert!((share - 0.1).abs() < 0.01, "{share}");
        let length = share * 1e6 / starts;
        assert!((length - 100.0).abs() < 10.0, "{length} ms");
    }
}
