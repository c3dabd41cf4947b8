//! Text to the host that debugs the board: words and numbers, without the formatting machinery of
//! `core`, which takes 5 KB of flash.

use cortex_m_semihosting::hio;

/// A part of a line.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    Text(&'static str),
    Number(u32),
}
use Part::{Number, Text};

/// Prints a line. Where nobody listens, it is lost.
pub(crate) fn say(line: &[Part]) {
    let Ok(mut host) = hio::hstdout() else { return };
    for part in line {
        let mut digits = [0; 10];
        let bytes = match *part {
            Text(text) => text.as_bytes(),
            Number(number) => decimal(number, &mut digits),
        };
        let _ = host.write_all(bytes);
    }
    let _ = host.write_all(b"\n");
}

/// A number's digits, written from the end.
fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut first = digits.len();
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        first -= 1;
        if number == 0 {
            break;
        }
    }
    digits.get(first..).unwrap_or_default()
}

/// A number that is small enough to be printed.
pub(crate) fn number(number: impl TryInto<u32>) -> Part {
    Number(number.try_into().unwrap_or(u32::MAX))
}
