//! What all must show in the end.

use std::collections::BTreeMap;

use gossip_core::{Generation, Key, NodeId, Status, Value};

use super::{Facet, MemberView, View, Violation};

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs, in this generation, and every other running node can be reached from it.
    Lives(Generation),
    /// Its process ended without a word, in this generation.
    Died(Generation),
    /// It has announced its departure, and is not done yet.
    Parts,
    /// It has announced its departure and fallen silent.
    Left,
}

/// What is true of the cluster, whatever its nodes believe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// What became of every node that there ever was.
    pub nodes: BTreeMap<NodeId, Fate>,
    /// The last write of every living origin to each key; `None` is a delete.
    pub writes: BTreeMap<(NodeId, Key), Option<Value>>,
}

impl Truth {
    /// Whether this node runs.
    #[must_use]
    pub fn lives(&self, id: NodeId) -> bool {
        matches!(self.nodes.get(&id), Some(Fate::Lives(_)))
    }

    /// Compares what a living node shows with the truth.
    #[must_use]
    pub fn check(&self, view: &View) -> Vec<Violation> {
        let mut found = Vec::new();
        for (&id, &fate) in &self.nodes {
            found.extend(check_member(id, fate, view.member(id)));
        }
        for ((origin, key), written) in &self.writes {
            // Where the member itself is missing, that has been told.
            if let Some(member) = view.member(*origin) {
                found.extend(check_write(member, key, written.as_ref()));
            }
        }
        found
    }

    /// Compares what two living nodes show.
    #[must_use]
    pub fn compare(one: &View, other: &View) -> Vec<Violation> {
        let mut found = Vec::new();
        if one.table_hash != other.table_hash {
            found.push(Violation::HashesDiffer {
                other: other.viewer,
            });
        }
        let differ = |member, differs| Violation::ViewsDiffer {
            other: other.viewer,
            member,
            differs,
        };
        for ours in &one.members {
            match other.member(ours.id) {
                None => found.push(differ(ours.id, Facet::Presence)),
                Some(theirs) => {
                    found.extend(facets(ours, theirs).map(|facet| differ(ours.id, facet)));
                }
            }
        }
        for theirs in &other.members {
            if one.member(theirs.id).is_none() {
                found.push(differ(theirs.id, Facet::Presence));
            }
        }
        found
    }
}

fn facets(ours: &MemberView, theirs: &MemberView) -> impl Iterator<Item = Facet> {
    let sorted = |member: &MemberView| {
        let mut attributes = member.attributes.clone();
        attributes.sort();
        attributes
    };
    [
        (Facet::Mark, ours.mark == theirs.mark),
        (Facet::Status, ours.status == theirs.status),
        (Facet::Address, ours.address == theirs.address),
        (Facet::Attributes, sorted(ours) == sorted(theirs)),
    ]
    .into_iter()
    .filter_map(|(facet, equal)| (!equal).then_some(facet))
}

fn check_member(id: NodeId, fate: Fate, shown: Option<&MemberView>) -> Option<Violation> {
    let member = id;
    match (fate, shown) {
        (Fate::Lives(_), None) => Some(Violation::Missing { member }),
        (Fate::Lives(lives), Some(shown)) if shown.mark.generation != lives => {
            Some(Violation::OldLife {
                member,
                shown: shown.mark.generation,
                lives,
            })
        }
        (Fate::Lives(_), Some(shown)) if shown.status != Status::Up => {
            let status = shown.status;
            Some(Violation::WrongVerdict { member, status })
        }
        (Fate::Died(generation), Some(shown)) => {
            let status = shown.status;
            // Of an earlier life, the farewell may be the last that was heard.
            let earlier = shown.mark.generation < generation && status == Status::Left;
            let seen = status == Status::Down || earlier;
            (!seen).then_some(Violation::MissedVerdict { member, status })
        }
        (Fate::Left, Some(shown)) => {
            let status = shown.status;
            // A farewell that nobody could hear is a silence like any other.
            let seen = matches!(status, Status::Left | Status::Down);
            (!seen).then_some(Violation::MissedFarewell { member, status })
        }
        // Whoever is gone may have been removed, or never have been heard of.
        _ => None,
    }
}

fn check_write(member: &MemberView, key: &Key, written: Option<&Value>) -> Option<Violation> {
    let shown = member.attribute(key.as_str());
    let key = key.as_str().to_owned();
    match (written, shown) {
        (Some(written), shown) if shown != Some(written.as_bytes()) => Some(Violation::LostWrite {
            origin: member.id,
            key,
            written: written.as_bytes().to_owned(),
            shown: shown.map(<[u8]>::to_vec),
        }),
        (None, Some(shown)) => Some(Violation::Resurrected {
            origin: member.id,
            key,
            shown: shown.to_owned(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::forge::{attribute, generation, member, view};

    const A: u64 = 1;
    const B: u64 = 2;

    fn id(number: u64) -> NodeId {
        NodeId::from_u64(number)
    }

    /// A and B live; A has written x and deleted y.
    fn truth() -> Truth {
        let key = |text| (id(A), Key::new(text).unwrap());
        Truth {
            nodes: [A, B].map(|n| (id(n), Fate::Lives(generation(n)))).into(),
            writes: [(key("x"), Some(Value::new("1").unwrap())), (key("y"), None)].into(),
        }
    }

    /// B's view, as it should be.
    fn right() -> View {
        let mut view = view(B, [member(A, A, 3), member(B, B, 1)]);
        view.members[0].attributes.push(attribute("x", "1"));
        view
    }

    #[test]
    fn the_truth_is_accepted() {
        assert_eq!(truth().check(&right()), []);
        assert_eq!(Truth::compare(&right(), &right()), []);
    }

    #[test]
    fn a_live_member_that_is_missing_down_or_suspected_is_caught() {
        let mut view = right();
        view.members[0].status = Status::Down;
        assert!(matches!(
            truth().check(&view)[..],
            [Violation::WrongVerdict { .. }]
        ));
        view.members[0].status = Status::Suspect;
        assert!(matches!(
            truth().check(&view)[..],
            [Violation::WrongVerdict { .. }]
        ));
        view.members.remove(0);
        assert!(matches!(
            truth().check(&view)[..],
            [Violation::Missing { .. }]
        ));
    }

    #[test]
    fn an_old_life_of_a_member_is_caught() {
        let mut view = right();
        view.members[0].mark.generation = generation(0);
        assert!(matches!(
            truth().check(&view)[..],
            [Violation::OldLife { .. }]
        ));
    }

    #[test]
    fn a_member_that_is_gone_and_shown_as_up_is_caught() {
        let mut truth = truth();
        truth.nodes.insert(id(A), Fate::Died(generation(A)));
        assert!(matches!(
            truth.check(&right())[..],
            [Violation::MissedVerdict { .. }]
        ));
        truth.nodes.insert(id(A), Fate::Left);
        assert!(matches!(
            truth.check(&right())[..],
            [Violation::MissedFarewell { .. }]
        ));
    }

    #[test]
    fn a_farewell_is_no_excuse_for_a_later_life_that_died() {
        let mut truth = truth();
        truth.nodes.insert(id(A), Fate::Died(generation(A)));
        let mut view = right();
        view.members[0].status = Status::Left;
        assert!(matches!(
            truth.check(&view)[..],
            [Violation::MissedVerdict { .. }]
        ));
    }

    #[test]
    fn a_lost_write_and_a_resurrected_delete_are_caught() {
        let mut view = right();
        view.members[0].attributes[0] = attribute("x", "0");
        assert!(matches!(
            truth().check(&view)[..],
            [Violation::LostWrite { .. }]
        ));
        let mut view = right();
        view.members[0].attributes.push(attribute("y", "2"));
        assert!(matches!(
            truth().check(&view)[..],
            [Violation::Resurrected { .. }]
        ));
    }

    #[test]
    fn any_difference_between_two_views_is_caught() {
        let differ = |change: fn(&mut View), facet: Facet| {
            let mut view = right();
            change(&mut view);
            let found = Truth::compare(&right(), &view);
            assert!(
                matches!(found[..], [Violation::ViewsDiffer { differs, .. }] if differs == facet),
                "{found:?}"
            );
        };
        differ(|view| view.members[0].mark.frontier = 2, Facet::Mark);
        differ(|view| view.members[0].status = Status::Down, Facet::Status);
        differ(|view| view.members[0].address.set_port(1), Facet::Address);
        differ(|view| view.members[0].attributes.clear(), Facet::Attributes);
        differ(|view| view.members.truncate(1), Facet::Presence);
        differ(|view| view.members.push(member(9, 9, 9)), Facet::Presence);
        let mut view = right();
        view.table_hash = 2;
        assert!(matches!(
            Truth::compare(&right(), &view)[..],
            [Violation::HashesDiffer { .. }]
        ));
    }
}
