//! Events in few words.

use gossip_core::Event;

/// What happened, as seen by the node that tells it.
pub(super) fn event(event: &Event) -> String {
    match event {
        Event::Joined { members } => format!("has joined {members} others"),
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
        other => format!("{other:?}"),
    }
}
