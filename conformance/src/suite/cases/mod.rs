//! The list of cases.

mod cost;
mod data;
mod ends;
mod map;
mod meeting;
mod telling;
mod trouble;

use super::stage::{Check, Stage};
use super::{Ability, Adapter, Case, Company};

/// All cases, in the order in which it helps to see them fail.
#[must_use]
pub fn cases<A: Adapter>() -> Vec<Case<A>> {
    use Ability::{Backlog, FullSocket, Ownership, RealTime, Sockets};
    vec![
        case("nodes_find_each_other", meeting::find_each_other),
        case("seeds_may_be_replaced", meeting::replace_seeds),
        case(
            "what_cannot_work_is_refused",
            meeting::refuse_what_cannot_work,
        ),
        case(
            "an_address_in_use_is_refused",
            meeting::refuse_an_address_in_use,
        )
        .needs(&[Sockets]),
        case("fifty_nodes_find_each_other", meeting::fifty).alone(),
        case("attributes_spread", data::spread),
        case("agreement_is_told_when_all_have_followed", data::agreement),
        case("broadcasts_are_told_once_and_in_order", data::broadcasts),
        case(
            "the_last_write_wins_on_both_sides_of_a_split",
            map::last_write_wins,
        ),
        case("siblings_are_kept_until_they_are_resolved", map::siblings),
        case("a_write_bears_the_time_of_day", map::time_of_day).needs(&[RealTime]),
        case(
            "a_delete_beats_what_is_earlier_and_no_more",
            map::later_stands,
        ),
        case("a_delete_stays_when_a_node_returns", map::delete_stays),
        case("of_keys_that_are_not_watched_nothing_is_told", map::watched),
        case("a_command_is_sent_at_once", data::at_once),
        case("a_refused_command_is_told", data::refused),
        case("commands_come_from_many_threads", data::many_threads),
        case("events_come_in_order", telling::in_order),
        case("an_event_wakes_a_consumer_that_waits", telling::wakes).needs(&[RealTime]),
        case("a_stalled_consumer_holds_up_nobody", telling::stalled).needs(&[Backlog]),
        case("a_stalled_consumer_is_told_that_it_lagged", telling::lagged).needs(&[Backlog]),
        case("a_crash_is_told_as_down", ends::crash),
        case("a_restart_has_a_newer_generation", ends::restart),
        case("a_leave_is_told_as_left_and_not_as_down", ends::leave),
        case("a_node_that_is_shut_down_while_busy_stops", ends::busy).needs(&[RealTime]),
        case("a_node_runs_as_long_as_it_is_held", ends::held).needs(&[Sockets, Ownership]),
        case(
            "unreachable_seeds_change_nothing",
            trouble::unreachable_seeds,
        ),
        // Alone, so that no stopped node of another case is looked for at the address, and counted.
        case(
            "every_useless_datagram_is_counted_by_reason",
            trouble::useless,
        )
        .alone(),
        case("a_flood_of_garbage_changes_nothing", trouble::flood).alone(),
        case("a_full_socket_loses_nothing", trouble::full_socket).needs(&[FullSocket]),
        case(
            "a_wall_clock_that_is_set_changes_nothing",
            trouble::wall_clock,
        ),
        case("a_node_that_was_held_up_blames_nobody", trouble::held_up),
        case("an_idle_node_sleeps_between_heartbeats", cost::idle)
            .needs(&[RealTime])
            .alone(),
    ]
}

const fn case<A>(name: &'static str, run: fn(&Stage<A>) -> Check) -> Case<A> {
    Case {
        name,
        needs: &[],
        company: Company::Welcome,
        run,
    }
}

impl<A> Case<A> {
    const fn needs(mut self, needs: &'static [Ability]) -> Self {
        self.needs = needs;
        self
    }

    const fn alone(mut self) -> Self {
        self.company = Company::Alone;
        self
    }
}
