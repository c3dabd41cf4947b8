//! What was broadcast, and to whom it was told.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use gossip_core::{Event, Generation, Key, NodeId, Value};

use super::Violation;

/// Remembers what every process broadcast, and what every process was told of it since it last
/// removed the writer.
///
/// Times are counted from any origin.
#[derive(Debug, Default)]
pub struct Broadcasts {
    /// Each writer's lives, the present one last.
    sent: BTreeMap<NodeId, Vec<Vec<Sent>>>,
    /// What each reader was told last of each writer: which of its lives, and which number.
    told: BTreeMap<NodeId, BTreeMap<NodeId, (Generation, u64)>>,
    /// Readers that were told that they had missed something.
    lagged: BTreeSet<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    name: Key,
    payload: Value,
    /// Before this time it has not expired.
    until: Duration,
}

impl Broadcasts {
    /// A node has accepted a broadcast, which does not expire before this time.
    pub fn sent(&mut self, writer: NodeId, name: Key, payload: Value, until: Duration) {
        let lives = self.sent.entry(writer).or_insert_with(|| vec![Vec::new()]);
        if let Some(life) = lives.last_mut() {
            life.push(Sent {
                name,
                payload,
                until,
            });
        }
    }

    /// A process has ended: its node's next one numbers anew, and is told everything anew.
    pub fn end(&mut self, node: NodeId) {
        if let Some(lives) = self.sent.get_mut(&node) {
            lives.push(Vec::new());
        }
        self.told.remove(&node);
        self.lagged.remove(&node);
    }

    /// Takes in what a node was told: only what was sent, each once, in the writer's order, and
    /// nothing left out that had not expired.
    pub fn observe(&mut self, reader: NodeId, event: &Event, now: Duration) -> Option<Violation> {
        let (writer, incarnation_start, number) = match event {
            Event::Broadcast {
                from,
                incarnation_start,
                number,
                ..
            } => (*from, *incarnation_start, *number),
            Event::Lagged => {
                // Among what it missed may be that a writer was removed.
                self.told.remove(&reader);
                self.lagged.insert(reader);
                return None;
            }
            // What a node removes, it forgets.
            Event::MemberRemoved { id, .. } => {
                self.told.entry(reader).or_default().remove(id);
                return None;
            }
            _ => return None,
        };
        let told = self.told.entry(reader).or_default();
        let before = match told.insert(writer, (incarnation_start, number)) {
            Some((known, before)) if known == incarnation_start => before,
            _ => 0,
        };
        let lives = self.sent.get(&writer).map_or(&[][..], Vec::as_slice);
        let written = lives.iter().find(|life| is_told(life, event, number));
        let Some(written) = written else {
            return Some(Violation::NeverBroadcast { writer, number });
        };
        if number <= before {
            return Some(Violation::BroadcastAgain {
                writer,
                number,
                before,
            });
        }
        let skipped = numbered(written)
            .find(|(skipped, sent)| *skipped > before && *skipped < number && now < sent.until);
        skipped
            .filter(|_| !self.lagged.contains(&reader))
            .map(|(number, _)| Violation::BroadcastMissing { writer, number })
    }

    /// At quiescence: what a living reader should have been told of a living writer, and was not.
    #[must_use]
    pub fn missing(&self, reader: NodeId, writer: NodeId, now: Duration) -> Option<Violation> {
        if reader == writer || self.lagged.contains(&reader) {
            return None;
        }
        let present = self.sent.get(&writer)?.last()?;
        let told = self.told.get(&reader).and_then(|told| told.get(&writer));
        let kept = numbered(present).filter(|(_, sent)| now < sent.until);
        let (number, _) = kept.last()?;
        let last = told.map_or(0, |told| told.1);
        (last != number).then_some(Violation::BroadcastMissing { writer, number })
    }
}

fn numbered(life: &[Sent]) -> impl Iterator<Item = (u64, &Sent)> {
    (1..).zip(life)
}

/// Whether an event tells what was sent in this life under this number.
fn is_told(life: &[Sent], event: &Event, told: u64) -> bool {
    let Event::Broadcast { name, payload, .. } = event else {
        return false;
    };
    let sent = numbered(life).find(|(number, _)| *number == told);
    sent.is_some_and(|(_, sent)| sent.name == *name && sent.payload == *payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::forge::generation;

    const SECOND: Duration = Duration::from_secs(1);
    const WRITER: NodeId = NodeId::from_u64(1);
    const READER: NodeId = NodeId::from_u64(2);

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    fn event(life: u64, number: u64, payload: &str) -> Event {
        Event::Broadcast {
            from: WRITER,
            incarnation_start: generation(life),
            number,
            name: key("x"),
            payload: Value::new(payload).unwrap(),
        }
    }

    /// Three were sent, which expire after 10, 20 and 30 seconds.
    fn three() -> Broadcasts {
        let mut broadcasts = Broadcasts::default();
        for (payload, until) in [("a", 10), ("b", 20), ("c", 30)] {
            let payload = Value::new(payload).unwrap();
            broadcasts.sent(WRITER, key("x"), payload, until * SECOND);
        }
        broadcasts
    }

    #[test]
    fn what_was_sent_is_told_once_and_in_order() {
        let mut broadcasts = three();
        for (number, payload) in [(1, "a"), (2, "b"), (3, "c")] {
            let event = event(7, number, payload);
            assert_eq!(broadcasts.observe(READER, &event, SECOND), None);
        }
        assert_eq!(broadcasts.missing(READER, WRITER, SECOND), None);
        let again = broadcasts.observe(READER, &event(7, 2, "b"), SECOND);
        assert!(matches!(again, Some(Violation::BroadcastAgain { .. })));
    }

    #[test]
    fn what_nobody_sent_is_caught() {
        for forged in [event(7, 4, "d"), event(7, 1, "b")] {
            let found = three().observe(READER, &forged, SECOND);
            assert!(matches!(found, Some(Violation::NeverBroadcast { .. })));
        }
    }

    #[test]
    fn what_is_left_out_is_caught_unless_it_has_expired_or_the_reader_knows() {
        let second = event(7, 2, "b");
        let found = three().observe(READER, &second, SECOND);
        let missing = Violation::BroadcastMissing {
            writer: WRITER,
            number: 1,
        };
        assert_eq!(found, Some(missing));
        assert_eq!(three().observe(READER, &second, 10 * SECOND), None);
        let mut lagged = three();
        lagged.observe(READER, &Event::Lagged, SECOND);
        assert_eq!(lagged.observe(READER, &second, SECOND), None);
    }

    #[test]
    fn what_is_never_told_is_caught_in_the_end() {
        let mut broadcasts = three();
        assert!(broadcasts.missing(READER, WRITER, SECOND).is_some());
        assert_eq!(broadcasts.missing(READER, WRITER, 30 * SECOND), None);
        broadcasts.observe(READER, &event(7, 1, "a"), SECOND);
        assert!(broadcasts.missing(READER, WRITER, SECOND).is_some());
    }

    #[test]
    fn a_new_process_is_told_anew_and_numbers_anew() {
        let mut broadcasts = three();
        broadcasts.observe(READER, &event(7, 1, "a"), SECOND);
        broadcasts.end(READER);
        let again = broadcasts.observe(READER, &event(7, 1, "a"), SECOND);
        assert_eq!(again, None);
        broadcasts.end(WRITER);
        assert_eq!(broadcasts.missing(READER, WRITER, SECOND), None);
        broadcasts.sent(WRITER, key("x"), Value::new("d").unwrap(), 40 * SECOND);
        let first = broadcasts.observe(READER, &event(8, 1, "d"), SECOND);
        assert_eq!(first, None);
    }
}
