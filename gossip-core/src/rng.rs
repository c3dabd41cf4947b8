//! Random choices. All of them come from one generator that the caller seeds.

use core::time::Duration;

use rand_core::Rng;

use crate::time::{nanos, part};

/// A uniform choice out of `0..n`, or 0 if `n` is 0. It draws one number in any case.
pub(crate) fn below(rng: &mut impl Rng, n: usize) -> usize {
    let wide = u64::try_from(n);
    debug_assert!(wide.is_ok(), "a length has at most 64 bits");
    usize::try_from(below_u64(rng, wide.unwrap_or(u64::MAX))).unwrap_or(0)
}

/// A uniform choice out of `0..n`, or 0 if `n` is 0.
///
/// This is the multiply-and-shift of Lemire (*Fast Random Integer Generation in an Interval*, 2019)
/// without its rejection step: the bias is below n / 2^64.
fn below_u64(rng: &mut impl Rng, n: u64) -> u64 {
    let product = u128::from(rng.next_u64()).saturating_mul(u128::from(n));
    let chosen = u64::try_from(product >> 64).unwrap_or(0);
    debug_assert!(chosen < n.max(1));
    chosen
}

/// True with the probability `numerator / denominator`. False if the denominator is 0.
pub(crate) fn chance(rng: &mut impl Rng, numerator: usize, denominator: usize) -> bool {
    denominator > 0 && below(rng, denominator) < numerator
}

/// A uniform duration below `limit`.
pub(crate) fn duration_below(rng: &mut impl Rng, limit: Duration) -> Duration {
    Duration::from_nanos(below_u64(rng, nanos(limit)))
}

/// `base`, lengthened or shortened by less than one of its `parts` equal parts.
pub(crate) fn jitter(rng: &mut impl Rng, base: Duration, parts: u32) -> Duration {
    let spread = part(base, parts);
    let shift = duration_below(rng, spread.saturating_mul(2));
    base.saturating_sub(spread).saturating_add(shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn every_choice_is_taken_about_equally_often() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut taken = [0; 7];
        for _ in 0..70_000 {
            taken[below(&mut rng, 7)] += 1;
        }
        assert!(
            taken.iter().all(|n| (9_500..10_500).contains(n)),
            "{taken:?}"
        );
        assert_eq!(below(&mut rng, 0), 0);
        assert!(!chance(&mut rng, 1, 0));
    }

    #[test]
    fn jitter_stays_within_one_part() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..1000 {
            let drawn = jitter(&mut rng, Duration::from_millis(1000), 50);
            assert!((980..=1020).contains(&drawn.as_millis()));
        }
        assert_eq!(jitter(&mut rng, Duration::ZERO, 50), Duration::ZERO);
    }
}
