//! Conversions between number types, named for what they are used for.
//!
//! The workspace forbids `as`, which truncates in silence; these saturate or are exact.

/// A length or a count, as a 64-bit number.
pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A 32-bit number, as a position in a slice.
pub(crate) fn position(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A position in a slice that is known to be short, as a 32-bit number.
pub(crate) fn narrow(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// A whole number as a real one; exact below 2^53.
pub(crate) fn real(number: u64) -> f64 {
    let high = u32::try_from(number >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}

/// A count as a real number.
pub(crate) fn amount(length: usize) -> f64 {
    real(count(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_become_the_same_real_ones() {
        let pairs = [
            (0, 0.0),
            (4_294_967_295, 4_294_967_295.0),
            (4_294_967_296, 4_294_967_296.0),
            ((1 << 53) - 1, 9_007_199_254_740_991.0),
        ];
        for (whole, expected) in pairs {
            assert_eq!(real(whole), expected);
        }
    }
}
