//! `gossip dissect`: tells what datagrams say.

use std::io::{self, BufRead, ErrorKind, Write};
use std::process::ExitCode;

use clap::Args;
use gossip_mio::gossip_core::Dissection;

use crate::report::complain;
use crate::{Failure, parse};

/// Tell what datagrams say, such as a packet capture has recorded.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The payload of one UDP datagram in hexadecimal digits; without it, one a line of standard input
    #[arg(value_name = "HEX")]
    datagram: Option<String>,
}

const EXAMPLES: &str = "\
Spaces and colons between the digits say nothing. Encrypted datagrams cannot be read.

  tshark -i lo -f 'udp port 7946' -l -T fields -e udp.payload | gossip dissect

Exit codes: 0 all were read, 1 some were not, 2 wrong command line.";

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    if let Some(digits) = &options.datagram {
        writeln!(out, "{}", tell(digits).map_err(Failure::Usage)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut all_read = ExitCode::SUCCESS;
    for (number, line) in (1_u64..).zip(io::stdin().lock().lines()) {
        let told = match line {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => tell(&line),
            Err(e) if e.kind() == ErrorKind::InvalidData => Err("it is no text".to_owned()),
            Err(e) => return Err(Failure::Runtime(format!("cannot read standard input: {e}"))),
        };
        match told {
            Ok(text) => match writeln!(out, "{text}") {
                // As when it is piped into `head`.
                Err(e) if e.kind() == ErrorKind::BrokenPipe => return Ok(all_read),
                result => result?,
            },
            Err(sentence) => {
                complain("warning", &format!("line {number}: {sentence}"));
                all_read = ExitCode::FAILURE;
            }
        }
    }
    Ok(all_read)
}

/// What the datagram with these digits says, or why it cannot be told.
fn tell(digits: &str) -> Result<String, String> {
    let is_digit = |byte: &u8| !byte.is_ascii_whitespace() && *byte != b':';
    let digits: Vec<u8> = digits.bytes().filter(is_digit).collect();
    let datagram = parse::hex(&digits)
        .ok_or("it is not hexadecimal: write two digits for each byte, as `xxd -p` does")?;
    match Dissection::of(&datagram) {
        Ok(read) => Ok(read.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
