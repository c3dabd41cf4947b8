//! What the lines of standard input ask for, and the answers.

use std::error::Error;
use std::io;
use std::sync::{Mutex, PoisonError};

use gossip_mio::Handle;
use gossip_mio::gossip_core::{Command, CommandError, Key, Policy, Value};

use crate::parse;
use crate::report::{Line, Report, complain};

/// The words that a line may begin with.
pub(crate) const LINES: &str = "\
With --stdin, each line is one of
  TOPIC=TEXT           broadcast it (or broadcast TOPIC=TEXT)
  put KEY=VALUE        write a key of the shared map; of two that do not know each other, the last wins
  keep KEY=VALUE       the same, but both are kept until somebody resolves them
  get KEY              print what is read under it, every value that was kept
  resolve KEY=VALUE    replace all of them
  delete KEY
  watch PREFIX...      print changes of these keys only; of all keys without a prefix";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Command(Command),
    Get(Key),
}

type Refusal = Box<dyn Error + Send + Sync>;

impl Asked {
    /// Reads a line.
    pub(crate) fn by(line: &str) -> Result<Self, Refusal> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let pair = |usage: &str| pair(rest, usage);
        let key = |usage: &str| named(rest, usage);
        let put = |(key, value), policy| Command::Put {
            key,
            value,
            policy,
            lifetime: None,
        };
        Ok(Self::Command(match word {
            "get" => return Ok(Self::Get(key("get KEY")?)),
            "put" => put(pair("put KEY=VALUE")?, Policy::LastWriteWins),
            "keep" => put(pair("keep KEY=VALUE")?, Policy::KeepSiblings),
            "resolve" => {
                let (key, value) = pair("resolve KEY=VALUE")?;
                let value = Some(value);
                Command::Resolve { key, value }
            }
            "delete" => Command::Delete {
                key: key("delete KEY")?,
            },
            "watch" => Command::WatchMap {
                prefixes: rest
                    .split_whitespace()
                    .map(Key::new)
                    .collect::<Result<_, _>>()?,
            },
            "broadcast" => broadcast(pair("broadcast TOPIC=TEXT")?),
            _ => broadcast(self::pair(
                line,
                "TOPIC=TEXT to broadcast it, or begin with put, keep, get, resolve, delete or watch",
            )?),
        }))
    }

    /// Does it. What is asked for is printed.
    fn act(self, handle: &Handle, agent: &str, report: &Mutex<Report>) -> Result<(), Refusal> {
        let key = match self {
            Self::Command(command) => return Ok(handle.command(command)?),
            Self::Get(key) => key,
        };
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
        for line in handle.read(|node| Line::values(node, &key)) {
            report.line(agent, &line)?;
        }
        Ok(())
    }
}

fn broadcast((name, payload): (Key, Value)) -> Command {
    Command::Broadcast { name, payload }
}

fn pair(text: &str, usage: &str) -> Result<(Key, Value), Refusal> {
    if !text.contains('=') {
        return Err(format!("it has no '=': write {usage}").into());
    }
    parse::attribute(text)
}

fn named(text: &str, usage: &str) -> Result<Key, Refusal> {
    if text.is_empty() {
        return Err(format!("it names no key: write {usage}").into());
    }
    Ok(Key::new(text)?)
}

/// Does what each line of standard input asks for, until it ends.
pub(crate) fn obey(handle: &Handle, agent: &str, report: &Mutex<Report>) {
    for line in io::stdin().lines() {
        let line = match line {
            Ok(line) => line,
            Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                complain("warning", "not done: a line is no UTF-8 text");
                continue;
            }
            Err(e) => {
                return complain("warning", &format!("standard input cannot be read: {e}"));
            }
        };
        let done = Asked::by(&line).and_then(|asked| asked.act(handle, agent, report));
        if let Err(error) = done {
            let unresolved = error.downcast_ref::<CommandError>();
            let remedy = match unresolved {
                Some(CommandError::Unresolved { siblings }) => format!(
                    "{siblings} values stand under this key: get KEY prints them, resolve KEY=VALUE replaces them"
                ),
                _ => error.to_string(),
            };
            complain(
                "warning",
                &format!("not done: {}: {remedy}", parse::shorten(&line)),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    #[test]
    fn a_line_begins_with_a_word_or_is_broadcast() {
        let value = Value::new("b=c").unwrap();
        let put = Command::put(key("a"), value.clone());
        assert_eq!(Asked::by("put a=b=c").unwrap(), Asked::Command(put));
        assert_eq!(Asked::by("get a b").unwrap(), Asked::Get(key("a b")));
        let prefixes = vec![key("a"), key("b")];
        let watch = Command::WatchMap { prefixes };
        assert_eq!(Asked::by("watch a b").unwrap(), Asked::Command(watch));
        for line in ["put=b=c", "broadcast put=b=c"] {
            let (name, payload) = (key("put"), value.clone());
            let broadcast = Command::Broadcast { name, payload };
            assert_eq!(Asked::by(line).unwrap(), Asked::Command(broadcast));
        }
    }

    #[test]
    fn a_line_that_asks_for_nothing_is_told_what_to_write() {
        for (line, expected) in [
            ("put a", "it has no '=': write put KEY=VALUE"),
            ("resolve", "it has no '=': write resolve KEY=VALUE"),
            ("get", "it names no key: write get KEY"),
            ("delete ", "it names no key: write delete KEY"),
            (
                "hello",
                "it has no '=': write TOPIC=TEXT to broadcast it, or begin with put, keep, get, resolve, delete or watch",
            ),
        ] {
            assert_eq!(Asked::by(line).unwrap_err().to_string(), expected, "{line}");
        }
    }
}
