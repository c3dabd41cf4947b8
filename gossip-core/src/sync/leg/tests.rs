use super::testing::{head, leg, summary};
use super::*;
use crate::context::testing::{address, context, generation};

const HASH: u128 = 5;

/// The plan after a sender has told that it knows member 1, whose log has two entries, so far.
fn plan_after_summary(mode: ModeTag, number: u8, frontier: u64) -> Vec<Planned> {
    let mut context = context(|_| ());
    let id = context.learn(1);
    let mut leg = leg(&context, number, mode, HASH);
    let told = summary(HASH, id, generation(), frontier);
    assert_eq!(leg.recognise(&context, told), Some((id, generation())));
    leg.on_known(&context, id, generation(), frontier);
    leg.plan
}

#[test]
fn the_one_that_knows_less_is_given_what_follows() {
    let id = NodeId::from_u64(1);
    let give = [Planned::Delta {
        origin: id,
        after: 1,
    }];
    let ask = [Planned::Want(id)];
    let both = ModeTag::PushPull;
    assert_eq!(plan_after_summary(both, 1, 1), give);
    assert_eq!(plan_after_summary(both, 1, 2), []);
    assert_eq!(plan_after_summary(both, 1, 3), ask);
}

#[test]
fn the_mode_says_who_gives_and_who_asks() {
    let (push, pull) = (ModeTag::Push, ModeTag::Pull);
    // This node answers the first leg, and began an exchange whose second leg comes in.
    for (mode, number, gives, asks) in [
        (push, 1, false, true),
        (push, 2, true, false),
        (pull, 1, true, false),
        (pull, 2, false, true),
    ] {
        let given = plan_after_summary(mode, number, 1);
        assert_eq!(!given.is_empty(), gives, "{mode:?}, leg {number}");
        let asked = plan_after_summary(mode, number, 3);
        assert_eq!(!asked.is_empty(), asks, "{mode:?}, leg {number}");
    }
}

#[test]
fn a_difference_is_explained_once_everything_that_differs_is_named() {
    let mut ours = context(|_| ());
    let mut theirs = context(|_| ());
    for member in [1, 2] {
        ours.learn(member);
        theirs.learn(member);
    }
    let id = NodeId::from_u64(2);
    theirs.table.change_log(id, |log| {
        log.write(0, b"a", None);
    });
    let hash = theirs.table.hash();
    let mut leg = leg(&ours, 1, ModeTag::PushPull, hash);
    assert!(!leg.is_explained());
    leg.on_known(&ours, id, generation(), 3);
    assert!(leg.is_explained());
    assert_eq!(leg.overlay, hash);
}

#[test]
fn an_origin_that_the_sender_does_not_know_is_given_whole() {
    let mut context = context(|_| ());
    let id = context.learn(1);
    let mut leg = leg(&context, 2, ModeTag::PushPull, HASH);
    let unknown = Summary {
        prefix: id.prefix(),
        check: 0,
        frontier: 0,
    };
    leg.on_want(&context, unknown);
    // The own id begins with zeros as well, and all that begin alike are given.
    let given = [id, context.own].map(|origin| Planned::Delta { origin, after: 0 });
    assert_eq!(leg.plan, given);
}

#[test]
fn the_rest_of_a_claim_is_given_unless_what_it_rests_on_was_collected() {
    let mut context = context(|_| ());
    let id = context.learn(1);
    context.table.change_log(id, |log| {
        log.write(0, b"a", Some(b"1"));
        log.write(0, b"a", None);
        log.collect(0);
        log.write(0, b"b", Some(b"1"));
    });
    let resume = |least_frontier| Resume {
        told: summary(HASH, id, generation(), 1),
        least_frontier,
    };
    for (least_frontier, after) in [(4, 1), (3, 0)] {
        let mut leg = leg(&context, 2, ModeTag::PushPull, HASH);
        leg.on_resume(&context, resume(least_frontier));
        assert_eq!(leg.plan, [Planned::Rest { origin: id, after }]);
    }
}

#[test]
fn hashes_show_which_regions_differ() {
    let mut context = context(|_| ());
    context.learn(1);
    let salt = Salt::of(&HASH.to_le_bytes());
    let mut digests = Vec::new();
    for part in Region::ALL.parts() {
        digests.extend(salt.digest(context.table.region_hash(part)));
    }
    let region = Region::ALL;
    let mut same = leg(&context, 3, ModeTag::PushPull, HASH);
    let equal = Split {
        region,
        digests: &digests,
    };
    same.on_split(&context, equal);
    assert!(same.differing.is_empty() && same.compared == PARTS);
    digests[DIGEST] ^= 1;
    let mut other = leg(&context, 3, ModeTag::PushPull, HASH);
    let different = Split {
        region,
        digests: &digests,
    };
    other.on_split(&context, different);
    assert_eq!(other.differing[..], [Region::ALL.parts().nth(1).unwrap()]);
    let mut short = leg(&context, 3, ModeTag::PushPull, HASH);
    let cut = Split {
        region,
        digests: &digests[1..],
    };
    short.on_split(&context, cut);
    assert_eq!(short.compared, 0, "what has another length is ignored");
}

#[test]
fn a_newcomer_has_learned_the_table_when_an_answer_leaves_nothing_to_ask() {
    let context = context(|_| ());
    let learned = |number, extent, planned: Option<Planned>| {
        let mut leg = leg(&context, number, ModeTag::PushPull, HASH);
        leg.head.extent = extent;
        leg.plan.extend(planned);
        leg.overlay = HASH;
        leg.learned(&context)
    };
    let own = context.own;
    let give = Planned::Delta {
        origin: own,
        after: 0,
    };
    assert_eq!(learned(2, Extent::Whole, Some(give)), Learned::All);
    assert_eq!(learned(2, Extent::Last, None), Learned::AllSoon);
    assert_eq!(learned(2, Extent::Part, None), Learned::Part);
    assert_eq!(learned(2, Extent::Truncated, None), Learned::Part);
    assert_eq!(learned(1, Extent::Whole, None), Learned::Part, "a question");
    let want = Some(Planned::Want(own));
    assert_eq!(learned(2, Extent::Whole, want), Learned::Part);
    let one_answer = leg(&context, 8, ModeTag::PushPull, HASH);
    assert_eq!(
        one_answer.learned(&context),
        Learned::Part,
        "it explains nothing"
    );
    let push = leg(
        &context,
        2,
        ModeTag::Push,
        context.table.hash().wrapping_add(1),
    );
    assert_eq!(push.learned(&context), Learned::Part, "it may not ask");
}

#[test]
fn a_newcomer_has_learned_the_table_when_a_member_has_the_same() {
    let mut context = context(|_| ());
    let id = context.learn(1);
    let head = head(4, ModeTag::PushPull, context.table.hash());
    let generation = generation();
    let learned = |context: &Context, id| {
        let sender = Sender { id, generation };
        let mut leg = Leg::new(context, address(1), sender, head);
        leg.head.extent = Extent::Truncated;
        leg.learned(context)
    };
    assert_eq!(learned(&context, id), Learned::All);
    let stranger = NodeId::from_u64(2);
    assert_eq!(learned(&context, stranger), Learned::Part);
    context.learn(3);
    assert_eq!(learned(&context, id), Learned::Part, "another table");
}

#[test]
fn a_stranger_is_told_the_time_and_so_is_a_member_whose_clock_is_wrong() {
    let mut context = context(|_| ());
    context.learn(1);
    for (number, is_stranger, is_skewed, expected) in [
        (1, true, false, true),
        (1, false, true, true),
        (1, false, false, false),
        (2, true, true, false),
    ] {
        let mut leg = leg(&context, number, ModeTag::PushPull, HASH);
        leg.is_stranger = is_stranger;
        leg.tell_clock_if(is_skewed);
        let tells = leg.plan.contains(&Planned::Clock);
        assert_eq!(tells, expected, "leg {number}, {is_stranger}, {is_skewed}");
    }
}
