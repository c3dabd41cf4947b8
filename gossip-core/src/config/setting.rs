//! The values of settings, and how they are shown.

use core::fmt::{self, Display, Formatter};
use core::time::Duration;

/// The value of a field of [`Config`](super::Config).
// It is not text: a program that never shows it should not carry the code that would format it.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Setting {
    /// A whole number.
    Whole(u64),
    /// A number.
    Decimal(f64),
    /// A time.
    Seconds(Duration),
}

impl Setting {
    /// Whether it lies from `low` to `high`. NaN lies nowhere.
    pub(super) fn lies_within(self, low: Self, high: Self) -> bool {
        self >= low && self <= high
    }
}

impl Display for Setting {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => Display::fmt(number, f),
            Self::Decimal(number) => Display::fmt(&Decimal(*number), f),
            Self::Seconds(time) => write!(f, "{} s", Decimal(time.as_secs_f64())),
        }
    }
}

/// Shows a number to six decimals. The formatting of `core` can show every digit of every number, and takes a
/// tenth of a microcontroller's flash.
struct Decimal(f64);

impl Display for Decimal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const WIDTH: usize = 6;
        let sign = if self.0 < 0.0 { "-" } else { "" };
        // A duration serves as a fixed-point number.
        let Ok(magnitude) = Duration::try_from_secs_f64(libm::fabs(self.0)) else {
            return f.write_str("not a number of a sensible size");
        };
        write!(f, "{sign}{}", magnitude.as_secs())?;
        let (mut fraction, mut width) = (magnitude.subsec_micros(), WIDTH);
        while fraction.is_multiple_of(10) && width > 0 {
            fraction = fraction.div_euclid(10);
            width = width.saturating_sub(1);
        }
        match width {
            0 => Ok(()),
            _ => write!(f, ".{fraction:0width$}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_decimal_is_shown_to_six_decimals() {
        for (number, shown) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (-1.05, "-1.05"),
            (17.0, "17"),
            (0.000_001, "0.000001"),
            (f64::NAN, "not a number of a sensible size"),
            (f64::INFINITY, "not a number of a sensible size"),
        ] {
            assert_eq!(Decimal(number).to_string(), shown);
        }
    }
}
