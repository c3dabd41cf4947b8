//! The order in which one node may tell of the others.

use std::collections::BTreeMap;

use gossip_core::{Event, Generation, NodeId, UpCause};

/// What has been told of a member last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Up(Generation),
    Down(Generation),
    Left(Generation),
}

/// What is wrong with the order of these events, which are all that a node has told, if anything.
///
/// A member is told of as long as it is up: first that it is, then what it says of itself, then
/// that it is down or has left. What comes after is a new life.
pub(super) fn broken(events: &[Event]) -> Option<String> {
    let mut members: BTreeMap<NodeId, Last> = BTreeMap::new();
    for event in events {
        let wrong = match event {
            Event::MemberUp {
                id,
                generation,
                cause,
                ..
            } => {
                let before = members.insert(*id, Last::Up(*generation));
                wrong_up(before, *generation, *cause)
            }
            Event::MemberDown { id, generation, .. } => {
                let before = members.insert(*id, Last::Down(*generation));
                wrong_end(before, *generation)
            }
            Event::MemberLeft { id, generation } => {
                let before = members.insert(*id, Last::Left(*generation));
                // A member that was held down may turn out to have left.
                match before {
                    Some(Last::Down(up)) if up == *generation => None,
                    _ => wrong_end(before, *generation),
                }
            }
            Event::AttributeChanged { id, .. } if !members.contains_key(id) => {
                Some("tells of a member before it is up")
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Some(format!("{event:?} {wrong}"));
        }
    }
    None
}

fn wrong_up(before: Option<Last>, new: Generation, cause: UpCause) -> Option<&'static str> {
    match (before, cause) {
        (None, UpCause::Joined) => None,
        (None, _) => Some("comes back, but was never up"),
        (Some(Last::Up(old) | Last::Down(old) | Last::Left(old)), UpCause::Restarted)
            if new > old =>
        {
            None
        }
        (Some(Last::Down(old)), UpCause::Recovered) if new == old => None,
        (Some(_), UpCause::Joined) => Some("joins again, but was there before"),
        (Some(_), _) => Some("does not follow from what was told before"),
    }
}

fn wrong_end(before: Option<Last>, generation: Generation) -> Option<&'static str> {
    match before {
        Some(Last::Up(up)) if up == generation => None,
        Some(Last::Up(_)) => Some("is about another life than the one that was up"),
        _ => Some("ends what was not up"),
    }
}
