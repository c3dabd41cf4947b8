use super::*;

fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

fn take_turn(probes: &mut Probes, now: Instant, enough: Option<u32>) -> Turn {
    probes.turn(now, NodeId::from_u64(0), enough, |_| Hint::None)
}

#[test]
fn a_member_that_answers_none_of_enough_pings_is_silent() {
    let mut probes = Probes::default();
    let id = NodeId::from_u64(1);
    probes.ask(id, at(0));
    for turn in 0..3 {
        assert_eq!(
            take_turn(&mut probes, at(turn * 100), Some(3)).ping[..],
            [id]
        );
    }
    assert!(!take_turn(&mut probes, at(399), Some(3)).found_silent);
    assert!(!probes.is_silent(id));
    assert!(take_turn(&mut probes, at(400), Some(3)).found_silent);
    assert!(probes.is_silent(id) && !probes.is_asking());
    probes.ask(id, at(500));
    assert!(!probes.is_asking(), "it has been probed");
    assert!(probes.heard(id), "until it is heard");
    assert!(!probes.is_silent(id) && !probes.heard(id));
}

#[test]
fn a_silent_member_may_be_probed_again() {
    let mut probes = Probes::default();
    let id = NodeId::from_u64(1);
    probes.ask(id, at(0));
    take_turn(&mut probes, at(0), Some(0));
    assert!(probes.is_silent(id));
    probes.ask_again(id, at(100));
    assert!(!probes.is_silent(id));
    assert_eq!(take_turn(&mut probes, at(100), Some(3)).ping[..], [id]);
    probes.ask_again(id, at(150));
    assert!(
        take_turn(&mut probes, at(150), Some(3)).ping.is_empty(),
        "the probe does not begin anew"
    );
}

#[test]
fn a_silence_is_in_doubt_again_once_the_loss_turns_out_greater() {
    let mut probes = Probes::default();
    let id = NodeId::from_u64(1);
    probes.ask(id, at(0));
    take_turn(&mut probes, at(0), Some(1));
    assert!(take_turn(&mut probes, at(200), Some(1)).found_silent);
    probes.doubt(at(300), Some(1));
    assert!(probes.is_silent(id));
    probes.doubt(at(300), Some(2));
    assert!(!probes.is_silent(id), "one ping says too little now");
    assert_eq!(take_turn(&mut probes, at(300), Some(2)).ping[..], [id]);
    assert!(take_turn(&mut probes, at(500), Some(2)).found_silent);
    probes.doubt(at(600), None);
    assert!(!probes.is_silent(id), "nothing says anything");
    assert_eq!(take_turn(&mut probes, at(600), None), Turn::default());
    assert!(probes.is_asking());
}

#[test]
fn an_answer_ends_the_probe() {
    let mut probes = Probes::default();
    let id = NodeId::from_u64(1);
    probes.ask(id, at(0));
    take_turn(&mut probes, at(0), Some(3));
    assert!(!probes.heard(id), "it had not been found silent");
    assert!(take_turn(&mut probes, at(1000), Some(3)).ping.is_empty());
}

#[test]
fn a_sweep_is_paced_and_reaches_everybody() {
    let mut probes = Probes::default();
    for n in 0..60 {
        probes.ask(NodeId::from_u64(n), at(0));
    }
    let mut turns = 0;
    while probes.is_asking() {
        assert!(take_turn(&mut probes, at(turns * 100), Some(3)).ping.len() <= PINGS_PER_TURN);
        turns += 1;
    }
    assert!((18..28).contains(&turns), "180 pings, 10 a turn: {turns}");
    assert_eq!(probes.silent().count(), 60);
    let long = Duration::from_secs(10);
    let is_settled = |id: NodeId| id.as_u64() >= 40;
    let asked = probes.renew(at(100_000), long, |id| id.as_u64() < 10, is_settled);
    assert_eq!((asked.len(), probes.silent().count()), (30, 30));
    let asked = probes.renew(at(105_000), long, |_| false, |_| true);
    assert_eq!(asked, [], "too soon");
    assert_eq!(probes.silent().count(), 30);
}

/// Takes turns until nobody is being probed any more. Returns how many.
fn turns(probes: &mut Probes, hint: impl Fn(NodeId) -> Hint) -> usize {
    let own = NodeId::from_u64(0);
    let mut turns = 0;
    for n in 0.. {
        if !probes.is_asking() {
            break;
        }
        probes.turn(at(n * 100), own, Some(5), &hint);
        turns += 1;
    }
    turns
}

fn probing(members: core::ops::Range<usize>) -> Probes {
    let mut probes = Probes::default();
    for n in members {
        probes.ask(NodeId::from_u64(n.try_into().unwrap()), at(0));
    }
    probes
}

#[test]
fn after_a_sample_in_vain_one_ping_is_enough_for_each_other_member() {
    let few = SAMPLE * 5 / PINGS_PER_TURN;
    let sampled = turns(&mut probing(0..SAMPLE), |_| Hint::None);
    assert!((few..few + 10).contains(&sampled));
    let mut probes = probing(0..1000);
    let all = turns(&mut probes, |_| Hint::None);
    let others = (1000 - SAMPLE) / PINGS_PER_TURN;
    assert!((few + others..few + others + 10).contains(&all), "{all}");
    assert_eq!(probes.silent().count(), 1000);
}

#[test]
fn after_a_sample_in_vain_members_with_an_unrefuted_vote_are_not_pinged() {
    let few = SAMPLE * 5 / PINGS_PER_TURN;
    let mut probes = probing(0..1000);
    let all = turns(&mut probes, |_| Hint::Unrefuted);
    assert!((few..few + 10).contains(&all), "{all}");
    assert_eq!(probes.silent().count(), 1000);
}

#[test]
fn a_member_that_answers_is_not_silent_by_inference() {
    let mut probes = probing(0..SAMPLE + 20);
    let lives = |id: &NodeId| usize::try_from(id.as_u64()).unwrap() >= SAMPLE;
    for n in 0.. {
        let own = NodeId::from_u64(0);
        let turn = probes.turn(at(n * 100), own, Some(5), |_| Hint::None);
        for id in turn.ping.iter().copied().filter(lives) {
            assert!(!probes.heard(id), "silent before it could answer");
        }
        if !probes.is_asking() {
            break;
        }
    }
    assert_eq!(probes.silent().count(), SAMPLE);
}

#[test]
fn news_of_a_member_ends_an_inferred_silence() {
    let mut probes = probing(0..SAMPLE + 20);
    turns(&mut probes, |_| Hint::Unrefuted);
    let silent: std::vec::Vec<_> = probes.silent().collect();
    assert_eq!(silent.len(), SAMPLE + 20);
    silent.iter().for_each(|id| probes.refuted(*id));
    // Ten at a time are probed to the end.
    let asked = probes.silent().count();
    assert!(
        (SAMPLE..SAMPLE + PINGS_PER_TURN).contains(&asked),
        "{asked}"
    );
}

#[test]
fn a_member_that_is_back_by_the_word_of_others_is_probed_no_further() {
    let mut probes = probing(0..2);
    let (one, other) = (NodeId::from_u64(0), NodeId::from_u64(1));
    probes.stop_asking(one);
    assert_eq!(take_turn(&mut probes, at(0), Some(1)).ping[..], [other]);
    take_turn(&mut probes, at(200), Some(1));
    probes.stop_asking(other);
    assert!(probes.is_silent(other), "it did not answer");
}

#[test]
fn silence_in_one_datacenter_says_nothing_of_another() {
    let here = |id: NodeId| id.as_u64() < 200;
    let hint = |id| {
        if here(id) {
            Hint::Unrefuted
        } else {
            Hint::Elsewhere
        }
    };
    let mut both = probing(0..300);
    let abroad = 100 * 5 / PINGS_PER_TURN;
    let sampled = SAMPLE * 5 / PINGS_PER_TURN;
    let all = turns(&mut both, hint);
    assert!(
        (abroad + sampled..abroad + sampled + 10).contains(&all),
        "{all}"
    );
    let mut abroad_alone = probing(200..300);
    assert!(turns(&mut abroad_alone, hint) >= abroad);
}

/// At the loss that asks for 16 pings, a single one says little.
#[test]
fn under_loss_nobody_is_silent_by_chance_despite_a_sample() {
    let mut probes = probing(0..SAMPLE);
    let own = NodeId::from_u64(0);
    for n in 0..1000 {
        probes.turn(at(n * 100), own, Some(16), |_| Hint::None);
    }
    let (some, accused) = (NodeId::from_u64(100), NodeId::from_u64(101));
    probes.ask(some, at(100_000));
    probes.ask(accused, at(100_000));
    let hint = |id| {
        if id == accused {
            Hint::Unrefuted
        } else {
            Hint::None
        }
    };
    let mut pings = [0; 2];
    for n in 1000..1100 {
        for id in probes.turn(at(n * 100), own, Some(16), hint).ping {
            pings[usize::from(id == accused)] += 1;
        }
    }
    assert_eq!(pings, [12, 11]);
}

#[test]
fn whether_a_member_that_is_down_is_back_is_not_inferred() {
    let down = |id: NodeId| id.as_u64() >= 200;
    let hint = |id| {
        if down(id) {
            Hint::Independent
        } else {
            Hint::Unrefuted
        }
    };
    let mut probes = probing(0..200);
    turns(&mut probes, hint);
    (200..300).for_each(|n| probes.ask_again(NodeId::from_u64(n), at(0)));
    assert!(turns(&mut probes, hint) >= 100 * 5 / PINGS_PER_TURN);
}

#[test]
fn a_node_probes_the_members_after_itself_first_and_to_the_end() {
    let mut probes = probing(0..100);
    let own = NodeId::from_u64(95);
    let mut first = || probes.turn(at(0), own, Some(5), |_| Hint::None).ping;
    let expected = |from: u64| {
        let ids = (from..from + 10).map(|n| NodeId::from_u64(n % 100));
        ids.collect::<std::vec::Vec<_>>()
    };
    assert_eq!(first()[..], expected(95));
    let mut second = || probes.turn(at(100), own, Some(5), |_| Hint::None).ping;
    assert_eq!(second()[..], expected(95));
}
