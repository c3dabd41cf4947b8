//! The words of the command line. Each error is one sentence that says what to write instead.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use clap::error::{ContextKind, ErrorKind};
use gossip_mio::gossip_core::{Encryption, Key, Value};

/// `IP:PORT`.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "it is not IP:PORT: write it like 127.0.0.1:7946 or [::1]:7946".to_owned())
}

/// A number with a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        "it is not a duration: write a whole number with a unit, like 500ms, 1s or 2m".to_owned()
    })
}

/// A small whole number.
pub(crate) fn count(text: &str) -> Result<u8, String> {
    text.parse()
        .map_err(|_| "it is not a whole number from 1 to 16: write it in digits, like 3".to_owned())
}

/// How strictly keys are used.
pub(crate) fn encryption(text: &str) -> Result<Encryption, String> {
    match text {
        "accept" => Ok(Encryption::Accept),
        "prefer" => Ok(Encryption::Prefer),
        "require" => Ok(Encryption::Require),
        _ => Err("it is none of the levels: write accept, prefer or require".to_owned()),
    }
}

/// Bytes, two hexadecimal digits each.
pub(crate) fn hex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let [high, low] = *pair;
        u8::try_from(digit(high)? << 4 | digit(low)?).ok()
    };
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

/// `key=value`.
pub(crate) fn attribute(text: &str) -> Result<(Key, Value), Box<dyn Error + Send + Sync>> {
    let (key, value) = text
        .split_once('=')
        .ok_or("it has no '=': write key=value, like role=db")?;
    Ok((Key::new(key)?, Value::new(value)?))
}

/// What clap found wrong, in one sentence.
pub(crate) fn sentence(error: &clap::Error) -> String {
    let context = |kind| error.get(kind).map(ToString::to_string);
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    let option = argument.split(' ').next().unwrap_or_default();
    match error.kind() {
        ErrorKind::ValueValidation => {
            let value = context(ContextKind::InvalidValue).unwrap_or_default();
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            format!("{option} {}: {reason}", shorten(&value))
        }
        ErrorKind::UnknownArgument => {
            let remedy = match context(ContextKind::SuggestedArg) {
                Some(similar) => format!("did you mean {similar}?"),
                None => "--help lists what there is".to_owned(),
            };
            format!("there is no option {argument}: {remedy}")
        }
        ErrorKind::InvalidSubcommand => {
            let task = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("there is no command {task}: say agent, demo or dissect, or --help")
        }
        ErrorKind::MissingRequiredArgument => {
            format!("{argument} is missing: add it, or see --help")
        }
        ErrorKind::InvalidValue => {
            format!("{option} needs a value: write {argument}")
        }
        ErrorKind::ArgumentConflict => {
            format!("{option} is given more than once: give it once")
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            format!("{first}: see --help")
        }
    }
}

/// A value as it was given, without what would drown the sentence.
pub(crate) fn shorten(value: &str) -> String {
    const SHOWN: usize = 40;
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", value.get(..end).unwrap_or_default()),
        None => format!("{value:?}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::Cli;

    fn complaint(line: &str) -> String {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        sentence(&error)
    }

    #[test]
    fn an_attribute_is_split_at_the_first_equals_sign() {
        let (key, value) = attribute("a=b=c").unwrap();
        assert_eq!((key.as_str(), value.as_bytes()), ("a", &b"b=c"[..]));
        assert_eq!(attribute("a=").unwrap().1.as_bytes(), b"");
    }

    #[test]
    fn wrong_lines_get_a_sentence_with_the_remedy() {
        let long_key = format!("gossip agent --name a --set {}=v", "k".repeat(65));
        let long_value = format!("gossip agent --name a --set k={}", "v".repeat(1025));
        for (line, expected) in [
            (
                "gossip agent",
                "--name <NAME> is missing: add it, or see --help",
            ),
            (
                "gossip agent --name",
                "--name needs a value: write --name <NAME>",
            ),
            (
                "gossip agent --name a --name b",
                "--name is given more than once: give it once",
            ),
            (
                "gossip agent --name a --bind 127.0.0.1",
                "--bind \"127.0.0.1\": it is not IP:PORT: write it like 127.0.0.1:7946 or [::1]:7946",
            ),
            (
                "gossip agent --name a --set schema",
                "--set \"schema\": it has no '=': write key=value, like role=db",
            ),
            (
                "gossip agent --name a --interval 5",
                "--interval \"5\": it is not a duration: write a whole number with a unit, like 500ms, 1s or 2m",
            ),
            (
                "gossip agent --name a --fanout many",
                "--fanout \"many\": it is not a whole number from 1 to 16: write it in digits, like 3",
            ),
            (
                "gossip agent --fanuot 3",
                "there is no option --fanuot: did you mean --fanout?",
            ),
            (
                "gossip demo --frobnicate",
                "there is no option --frobnicate: --help lists what there is",
            ),
            (
                "gossip agnet",
                "there is no command agnet: say agent, demo or dissect, or --help",
            ),
            (
                &long_key,
                "--set \"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\"…: the key has 65 bytes: shorten it to at most 64",
            ),
            (
                &long_value,
                "--set \"k=vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv\"…: the value has 1025 bytes: keep it to at most 1024, or store a reference to the data",
            ),
        ] {
            assert_eq!(complaint(line), expected, "for: {line}");
        }
    }
}
