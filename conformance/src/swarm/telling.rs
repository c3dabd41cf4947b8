//! Events in few words.

use gossip_core::{Event, Value};

/// What happened, as seen by the node that tells it.
pub(super) fn event(event: &Event) -> String {
    match event {
        Event::Joined { members, cause } => format!("has joined {members} others ({cause:?})"),
        Event::MemberUp {
            id,
            generation,
            cause,
            ..
        } => format!("{id} is up ({cause:?}, generation {generation})"),
        Event::MemberSuspected {
            id, phi, reason, ..
        } => format!("suspects {id} (phi {phi:.1}, {reason:?})"),
        Event::MemberDown {
            id,
            generation,
            phi,
            votes,
            reason,
        } => {
            let phi = phi.map_or_else(String::new, |phi| format!(", phi {phi:.1}"));
            format!("{id} is down ({reason:?}, {votes} votes{phi}, generation {generation})")
        }
        Event::MemberLeft { id, generation } => format!("{id} has left (generation {generation})"),
        Event::MemberRemoved { id, .. } => format!("{id} is removed"),
        Event::AttributeChanged { id, key, value } => match value {
            None => format!("{id} deleted {key}"),
            Some(value) => {
                let bytes = value.as_bytes();
                let start = bytes.get(..24).unwrap_or(bytes);
                format!("{id} set {key} to \"{}\"", start.escape_ascii())
            }
        },
        Event::MapChanged { key, old, new, .. } => {
            format!("reads {} under {key}, after {}", start(new), start(old))
        }
        other => format!("{other:?}"),
    }
}

/// The beginning of a value.
fn start(value: &Option<Value>) -> String {
    let Some(value) = value else {
        return "nothing".to_owned();
    };
    let bytes = value.as_bytes();
    let start = bytes.get(..8).unwrap_or(bytes);
    format!("\"{}\"", start.escape_ascii())
}
