//! The laws that every storage keeps, each of them a test.
//!
//! For those who write a storage of their own: give [`storage_conformance!`](crate::storage_conformance) a name and a
//! function that makes an empty storage on a clock, and each law becomes one `#[test]`.
//!
//! ```
//! use evertask::storage::{ManualClock, Memory, conformance::Subject};
//!
//! async fn memory() -> Subject {
//!     let clock = ManualClock::new();
//!     Subject::new(Memory::with_clock(clock.clock()), clock)
//! }
//!
//! evertask::storage_conformance!(memory, super::memory);
//! # fn main() {}
//! ```
//!
//! A broken law panics and says what it saw. Laws move the clock and never wait; where many act at once, they do so on
//! threads of their own.

pub mod batch;
pub mod bounds;
pub mod cancel;
pub mod claim;
pub mod enqueue;
pub mod expire;
pub mod fence;
pub mod inspect;
pub mod keys;
pub mod order;
pub mod prune;
pub mod renew;
pub mod reopen;
pub mod repeat;
pub mod rescue;
pub mod revive;
pub mod schedules;
pub mod settle;
mod subject;
pub mod waking;

use std::{
    collections::BTreeSet,
    io::Write,
    sync::{Mutex, PoisonError},
};

pub use self::subject::Subject;

/// Puts one law to a fresh subject. If there is none, as where no database can be reached, the law is not tried, and that is
/// said once for all laws, past the capture of what tests say.
#[allow(clippy::needless_pass_by_value)] // as functions are
pub fn run<S: Into<Option<Subject>>>(subject: impl AsyncFn() -> S, law: impl AsyncFn(&Subject)) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(4).enable_all().build().expect("a runtime for the law");
    runtime.block_on(async {
        match subject().await.into() {
            Some(it) => law(&it).await,
            None => say_untried(std::any::type_name_of_val(&subject)),
        }
    });
}

fn say_untried(subject: &'static str) {
    static SAID: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    if SAID.lock().unwrap_or_else(PoisonError::into_inner).insert(subject) {
        // Nobody can be told that nobody can be told.
        let _told = writeln!(
            std::io::stderr(),
            "\n==== SKIPPED: `{subject}` gives no storage, so no law is put to it\n"
        );
    }
}

/// Makes a module of this name with one test for each law. Of the function that makes subjects, the path is seen from
/// inside that module.
///
/// With `measured` behind it, the laws about what a call costs are put to it, too; the subjects then have to be
/// [measured](crate::storage::conformance::Subject::measured_by).
#[macro_export]
macro_rules! storage_conformance {
    ($module:ident, $subject:path $(, $measured:ident)?) => {
        mod $module {
            $($crate::__storage_laws_on_cost! { $measured $subject })?
            $crate::__storage_laws! { $subject;
                enqueue:
                    a_stored_task_reads_back_as_it_was_given,
                    no_timeout_is_another_thing_than_an_inherited_one,
                    an_enqueue_may_be_repeated,
                    a_batch_may_be_repeated_with_more,
                    an_empty_batch_stores_nothing,
                    a_delay_is_counted_by_the_storages_clock,
                    an_instant_that_has_passed_is_now,
                    a_task_due_in_a_hundred_years_waits_for_them,
                    times_at_the_edge_do_not_overflow,
                    tasks_of_other_names_and_queues_do_not_mix;
                batch:
                    a_batch_is_stored_whole_or_not_at_all,
                    the_largest_batch_is_stored_and_no_larger_one,
                    one_bad_enqueue_among_a_hundred_at_once_fails_alone,
                    one_unstorable_settlement_among_a_hundred_is_told_so,
                    settlements_are_answered_in_their_order;
                keys:
                    a_pending_task_is_replaced_in_place,
                    a_replaced_task_starts_from_its_first_try,
                    a_replaced_suspect_is_no_suspect,
                    a_running_task_is_kept,
                    a_key_is_free_once_its_task_has_ended,
                    keys_are_told_apart_by_handler,
                    keys_are_not_told_apart_by_queue,
                    tasks_without_keys_do_not_meet,
                    in_one_batch_the_later_task_replaces_the_earlier,
                    of_many_dispatches_at_once_one_creates,
                    a_key_is_never_held_twice_while_tasks_run,
                    a_replacement_may_be_repeated,
                    a_replacement_repeated_after_the_task_ran_does_not_run_it_again;
                bounds:
                    a_payload_of_no_bytes_comes_back,
                    a_payload_of_emoji_comes_back,
                    a_payload_of_the_largest_size_comes_back,
                    a_body_of_the_largest_size_takes_the_place_of_a_small_one,
                    a_payload_of_any_bytes_comes_back,
                    control_characters_are_refused,
                    empty_texts_are_refused,
                    the_longest_texts_are_stored_and_no_longer_ones,
                    handler_names_are_compared_by_bytes,
                    queue_names_are_compared_by_bytes,
                    keys_are_compared_by_bytes,
                    tags_are_compared_by_bytes;
                claim:
                    nothing_is_given_out_before_it_is_due,
                    a_claimed_task_runs_under_a_new_lease,
                    a_task_that_is_held_is_not_given_out_again,
                    only_known_handlers_are_served,
                    what_is_given_out_does_not_depend_on_how_many_lanes_there_are,
                    newer_payload_versions_wait_for_a_newer_node,
                    a_handler_named_twice_counts_once,
                    only_queues_with_room_are_served,
                    room_bounds_each_queue_and_slots_bound_all,
                    tasks_taken_ahead_have_not_begun,
                    a_claim_tells_whether_more_are_due,
                    a_claim_tells_when_the_next_task_is_due,
                    a_claim_never_hands_one_task_to_two_nodes,
                    tasks_stored_and_run_at_once_all_complete,
                    a_claim_may_be_repeated,
                    claim_ids_belong_to_their_node,
                    a_repeated_claim_does_not_get_a_later_attempt,
                    after_any_verdict_a_task_is_given_out_only_when_due;
                order:
                    higher_priorities_go_first,
                    among_equals_the_longest_due_goes_first,
                    at_one_instant_the_smaller_id_goes_first,
                    order_holds_over_claims_handlers_and_versions,
                    queues_are_served_in_the_order_of_the_claim,
                    an_interrupted_task_keeps_its_place,
                    a_retried_task_gets_a_new_place;
                settle:
                    complete_completes,
                    fail_fails,
                    cancel_cancels_for_its_reason,
                    retry_waits_and_spends_the_try,
                    snooze_waits_and_spends_nothing,
                    release_counts_nothing,
                    interrupt_spends_nothing_and_is_written_down,
                    rescue_counts_losses_of_begun_attempts,
                    rescue_counts_losses_alone_apart,
                    unreadable_has_a_counter_of_its_own,
                    a_retry_or_snooze_clears_losses,
                    an_interruption_clears_no_losses,
                    the_output_is_stored_with_the_completion,
                    an_output_that_was_not_kept_says_why,
                    an_attempt_is_written_down_as_it_was_said,
                    the_last_attempts_are_kept,
                    an_error_text_is_made_storable,
                    an_unmarked_attempt_began_when_it_says,
                    effects_happen_with_the_completion,
                    effects_happen_with_nothing_but_the_completion,
                    a_refused_settlement_has_no_effects,
                    an_effect_may_go_to_any_handler_and_queue,
                    an_effect_may_take_the_key_of_the_task_that_completes;
                fence:
                    a_stale_lease_is_refused_and_changes_nothing,
                    a_lease_that_was_never_given_is_refused,
                    a_settlement_of_an_unknown_task_is_refused,
                    the_first_word_under_a_lease_counts,
                    the_lease_only_grows,
                    of_many_words_at_once_one_is_stored;
                repeat:
                    a_settlement_may_be_repeated,
                    a_settlement_may_be_repeated_in_one_batch,
                    a_repeated_settlement_is_known_after_the_next_claim,
                    a_repeated_settlement_that_deleted_its_task_is_told_that_it_is_gone,
                    a_stale_lease_of_a_task_that_was_deleted_is_never_applied,
                    a_repeated_settlement_tells_again_that_a_cancel_won;
                cancel:
                    a_pending_task_is_cancelled_at_once,
                    a_running_task_is_asked_to_stop,
                    an_ended_task_is_not_cancelled,
                    an_unknown_task_is_not_cancelled,
                    a_cancel_wins_over_every_verdict,
                    a_cancel_drops_output_and_effects,
                    a_cancel_outlives_the_node,
                    a_cancelled_task_is_kept_as_said,
                    a_cancel_meets_a_claim;
                revive:
                    an_ended_task_runs_again_from_its_first_try,
                    a_revived_task_is_no_suspect,
                    a_pending_task_is_hastened,
                    hastening_loses_neither_place_nor_count,
                    a_running_task_is_not_revived,
                    an_unknown_task_is_not_revived,
                    a_key_held_by_another_task_prevents_revival,
                    a_revived_task_holds_its_key,
                    a_revived_task_is_not_pruned;
                renew:
                    a_node_hears_what_it_holds,
                    a_node_hears_what_it_holds_by_the_claims_it_knows,
                    a_task_taken_ahead_is_marked_as_begun,
                    a_stale_mark_is_passed_over,
                    a_stalled_node_hears_that_its_tasks_are_gone;
                rescue:
                    a_node_that_holds_tasks_is_seen_alive,
                    a_node_that_left_is_dead_at_once,
                    a_node_may_leave_with_nothing,
                    a_lost_task_changes_hands,
                    a_task_lost_before_it_began_is_told_apart,
                    a_task_lost_twice_is_one_loss_and_is_told_to_the_last_taker,
                    what_was_taken_over_is_told_again_until_it_is_judged,
                    a_suspect_is_alone_beside_what_its_node_had_taken_over,
                    seizing_is_bounded_and_takes_from_one_node,
                    two_that_take_over_at_once_share_the_tasks,
                    a_node_that_lives_again_is_not_robbed,
                    a_node_that_left_since_is_dead_as_well,
                    a_renewal_tells_of_what_is_not_taken,
                    a_node_taken_for_dead_lives_again_when_it_renews,
                    a_suspect_is_given_out_only_on_request,
                    suspects_are_given_out_one_at_a_time,
                    a_suspect_waits_for_its_time,
                    a_suspect_is_alone_if_nothing_else_had_begun,
                    a_suspect_beside_others_is_not_alone,
                    a_task_that_is_no_suspect_is_not_alone;
                prune:
                    a_task_is_kept_for_its_time_after_its_end,
                    a_task_kept_for_ever_stays,
                    a_task_not_kept_is_gone_at_once,
                    live_tasks_are_never_pruned,
                    pruning_is_bounded,
                    a_pruned_task_is_gone;
                expire:
                    a_task_runs_within_its_time,
                    a_claim_cancels_what_has_expired,
                    a_claim_says_how_long_expired_tasks_are_kept,
                    pruning_cancels_what_has_expired,
                    a_retry_may_expire,
                    a_replaced_task_expires_by_its_replacement,
                    a_revived_task_does_not_expire_again,
                    an_expired_task_gives_up_its_key,
                    many_expired_tasks_do_not_hide_a_fresh_one;
                inspect:
                    an_unknown_task_is_not_found,
                    pages_neither_skip_nor_repeat,
                    pages_are_bounded,
                    listings_leave_attempts_out,
                    tasks_are_found_by_name_queue_and_state,
                    tasks_are_found_by_tag,
                    tasks_are_found_by_what_their_key_begins_with,
                    tasks_are_found_by_when_they_were_stored,
                    tasks_are_found_by_the_fingerprint_of_an_error,
                    counts_agree_with_what_is_stored,
                    the_backlog_is_what_is_due_and_waits,
                    every_node_is_on_the_roll_until_it_leaves,
                    a_running_task_names_who_holds_it;
                schedules:
                    a_schedule_reads_back_as_it_was_given,
                    a_schedule_is_changed_only_from_what_it_is,
                    a_new_schedule_takes_no_other_ones_place,
                    a_change_and_its_tasks_are_one,
                    a_change_may_be_repeated,
                    a_removal_may_be_repeated,
                    a_change_that_cannot_be_stored_changes_nothing,
                    one_stale_change_among_many_is_told_so,
                    of_many_that_take_one_tick_one_does,
                    schedules_come_up_in_their_order,
                    a_look_is_bounded_and_tells_when_to_look_again,
                    what_a_program_does_not_know_is_left_to_others,
                    names_and_keys_are_compared_by_bytes,
                    the_state_of_the_last_task_is_told,
                    schedules_are_listed_in_pages;
                reopen:
                    tasks_of_all_states_are_as_they_were,
                    waiting_tasks_wait_on,
                    leases_still_fence,
                    a_cancel_is_still_asked_for,
                    keys_are_still_held,
                    what_a_node_held_can_be_taken_over,
                    effects_are_there_with_their_completion,
                    schedules_come_up_as_they_did;
                waking:
                    a_due_task_rings_for_work,
                    a_task_of_the_future_is_announced,
                    a_cancel_rings_for_the_node_that_runs_the_task,
                    every_end_rings_for_those_who_wait,
                    a_node_that_leaves_rings_for_its_peers,
                    a_changed_schedule_rings,
                    a_repeated_enqueue_rings_again,
                    a_repeated_settlement_rings_again;
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __storage_laws_on_cost {
    (measured $subject:path) => {
        $crate::__storage_laws! { $subject;
            claim:
                a_claim_costs_the_same_whatever_else_is_stored;
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __storage_laws {
    ($subject:path; $($file:ident: $($law:ident),+;)+) => {
        $($crate::__storage_laws! { @file $subject; $file: $($law),+ })+
    };
    (@file $subject:path; $file:ident: $($law:ident),+) => {$(
        #[test]
        fn $law() {
            $crate::storage::conformance::run($subject, $crate::storage::conformance::$file::$law);
        }
    )+};
}
