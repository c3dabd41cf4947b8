//! Parsing of command-line values.

use std::time::Duration;

use conformance::sim::network::Delay;

/// A duration with its unit: `1500us`, `10ms`, `2s`, `5m`, `48h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("give a number and a unit: us, ms, s, m or h, as in 10ms".to_owned()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "give a number and a unit, as in 10ms".to_owned())?;
    Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())
}

/// A delay: one duration, or two with two points between, as in `1ms..10ms`.
pub(crate) fn delay(text: &str) -> Result<Delay, String> {
    match text.split_once("..") {
        None => duration(text).map(Delay::constant),
        Some((low, high)) => {
            let (low, high) = (duration(low)?, duration(high)?);
            if low > high {
                Err("the first delay must not be above the second".to_owned())
            } else {
                Ok(Delay::uniform(low, high))
            }
        }
    }
}

/// A share between 0 and 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a share between 0 and 1, as in 0.3".to_owned()),
    }
}

/// So many times a second, whole or not.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("give how often in a second, as in 100 or 0.5".to_owned()),
    }
}

/// Seconds, whole or not.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "give a number of seconds, as in 60".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// How many nodes a share of all of them is: at least one, and never all.
pub(crate) fn share_of(nodes: u32, share: f64) -> u32 {
    let wanted = (1..nodes).take_while(|&n| f64::from(n) <= f64::from(nodes) * share);
    wanted.last().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_their_unit() {
        assert_eq!(duration("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("48h"), Ok(Duration::from_secs(172_800)));
        for wrong in ["10", "ms", "-1s", "1 s", "1d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_delay_is_one_duration_or_a_range() {
        let milli = Duration::from_millis(1);
        assert_eq!(delay("1ms"), Ok(Delay::constant(milli)));
        assert_eq!(delay("1ms..10ms"), Ok(Delay::uniform(milli, 10 * milli)));
        assert!(delay("10ms..1ms").is_err());
    }

    #[test]
    fn shares_lie_between_nothing_and_all() {
        assert_eq!(share("0.5"), Ok(0.5));
        assert!(share("1.5").is_err() && share("-1").is_err() && share("x").is_err());
    }
}
