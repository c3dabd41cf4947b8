//! The suite itself. A blocking adapter passes all of it; each adapter that does one thing wrong fails
//! the case that is named here, and for the reason that is named here.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod adapter;
mod defect;
mod turns;

use std::time::Duration;

use adapter::Blocking;
use conformance::suite::{self, Outcome};
use defect::Defect;
use libtest_mimic::{Arguments, Failed, Trial};

/// What a broken adapter fails, and a part of what is then said.
const CAUGHT: &[(Defect, &str, &str)] = &[
    (Defect::DropsTimeouts, "nodes_find_each_other", "is up"),
    (
        Defect::StarvesTimers,
        "a_flood_of_garbage_changes_nothing",
        "heartbeats",
    ),
    (
        Defect::TicksOnceASecond,
        "an_idle_node_sleeps_between_heartbeats",
        "heartbeats",
    ),
    (
        Defect::TicksEveryMillisecond,
        "an_idle_node_sleeps_between_heartbeats",
        "wake-ups",
    ),
    (
        Defect::SendsOneAtATime,
        "a_command_is_sent_at_once",
        "is up",
    ),
    (
        Defect::SleepsThroughCommands,
        "a_command_is_sent_at_once",
        "that round of",
    ),
    (
        Defect::LosesCommands,
        "commands_come_from_many_threads",
        "does not hold it",
    ),
    (
        Defect::LosesDeletes,
        "a_delete_stays_when_a_node_returns",
        "to read [] under",
    ),
    (
        Defect::LosesDeletes,
        "a_delete_beats_what_is_earlier_and_no_more",
        "to read [] under",
    ),
    (
        Defect::StartsItsClockLate,
        "a_write_bears_the_time_of_day",
        "was written at",
    ),
    (
        Defect::DecidesConflicts,
        "siblings_are_kept_until_they_are_resolved",
        r#"to read ["20", "10"]"#,
    ),
    (
        Defect::RepeatsEvents,
        "of_keys_that_are_not_watched_nothing_is_told",
        "b was told",
    ),
    (
        Defect::HidesConflicts,
        "the_last_write_wins_on_both_sides_of_a_split",
        "that 10 has lost to 20",
    ),
    (
        Defect::SwallowsRefusals,
        "a_refused_command_is_told",
        "beyond max_state came to Ok",
    ),
    (
        Defect::LocksWhileItWaits,
        "a_command_is_sent_at_once",
        "never returned",
    ),
    (Defect::ReordersEvents, "events_come_in_order", "order"),
    (
        Defect::RepeatsEvents,
        "nodes_find_each_other",
        "was told of",
    ),
    (
        Defect::ForgetsLagged,
        "a_stalled_consumer_is_told_that_it_lagged",
        "that it has lagged",
    ),
    (
        Defect::BlocksOnItsConsumer,
        "a_stalled_consumer_holds_up_nobody",
        "a to go on with change",
    ),
    (
        Defect::HoardsEvents,
        "a_stalled_consumer_is_told_that_it_lagged",
        "where are they",
    ),
    (
        Defect::LeavesItsConsumerWaiting,
        "an_event_wakes_a_consumer_that_waits",
        "late",
    ),
    (
        Defect::NeverEndsItsEvents,
        "a_leave_is_told_as_left_and_not_as_down",
        "c's events to end",
    ),
    (
        Defect::DropsWhatWouldBlock,
        "a_full_socket_loses_nothing",
        "that said of",
    ),
    (
        Defect::StallsWhileItsSocketIsFull,
        "a_full_socket_loses_nothing",
        "never returned",
    ),
    (
        Defect::CutsOversize,
        "every_useless_datagram_is_counted_by_reason",
        "oversize to be counted",
    ),
    (
        Defect::EndsAtAnEmptyDatagram,
        "every_useless_datagram_is_counted_by_reason",
        "empty to be counted",
    ),
    (
        Defect::DiesOfAFailedSend,
        "unreachable_seeds_change_nothing",
        "its events ended",
    ),
    (
        Defect::KeepsDatagrams,
        "a_flood_of_garbage_changes_nothing",
        "bytes larger",
    ),
    (
        Defect::PollsBusily,
        "an_idle_node_sleeps_between_heartbeats",
        "does not sleep",
    ),
    (
        Defect::SwallowsTheBindError,
        "an_address_in_use_is_refused",
        "its address was in use",
    ),
    (
        Defect::HidesItsPauses,
        "a_node_that_was_held_up_blames_nobody",
        "held others down",
    ),
    (
        Defect::SaysGoodbyeInACrash,
        "a_crash_is_told_as_down",
        "that c is down",
    ),
    (
        Defect::IgnoresShutdown,
        "a_node_that_is_shut_down_while_busy_stops",
        "never returned",
    ),
    (
        Defect::StaysAfterLeaving,
        "a_leave_is_told_as_left_and_not_as_down",
        "c's events to end",
    ),
    (
        Defect::RunsForEver,
        "a_node_runs_as_long_as_it_is_held",
        "that nobody holds to stop",
    ),
];

/// Less than what an adapter of good health gets, because most of the time nothing happens here.
const PATIENCE: Duration = Duration::from_secs(3);

fn main() {
    let sound = suite::cases().into_iter().map(|case| {
        let name = format!("the blocking adapter: {}", case.name);
        Trial::test(name, move || {
            match case.ask(Blocking::default(), suite::PATIENCE) {
                Outcome::Passed => Ok(()),
                other => Err(format!("{other:?}").into()),
            }
        })
    });
    let broken = CAUGHT.iter().map(|&(defect, case, reason)| {
        let name = format!("{defect:?} is caught by {case}");
        Trial::test(name, move || is_caught(defect, case, reason))
    });
    let mut arguments = Arguments::from_args();
    // They wait, most of the time.
    arguments.test_threads.get_or_insert(8);
    libtest_mimic::run(&arguments, sound.chain(broken).collect()).exit()
}

fn is_caught(defect: Defect, case: &str, reason: &str) -> Result<(), Failed> {
    let broken = Blocking {
        defect: Some(defect),
    };
    match suite::ask(case, broken, PATIENCE) {
        None => Err(format!("there is no case {case}").into()),
        Some(Outcome::Failed(failure)) if failure.to_string().contains(reason) => Ok(()),
        Some(other) => Err(format!("{case} came to {other:?}").into()),
    }
}
