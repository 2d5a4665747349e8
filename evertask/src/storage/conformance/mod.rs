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

pub mod enqueue;
pub mod keys;
mod subject;

pub use self::subject::Subject;

/// Puts one law to a fresh subject. If there is none, as where no database can be reached, the law is not tried.
pub fn run<S: Into<Option<Subject>>>(subject: impl AsyncFn() -> S, law: impl AsyncFn(&Subject)) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(4).enable_all().build().expect("a runtime for the law");
    runtime.block_on(async {
        match subject().await.into() {
            Some(subject) => law(&subject).await,
            None => eprintln!("skipped: there is no subject"),
        }
    });
}

/// Makes a module of this name with one test for each law. Of the function that makes subjects, the path is seen from
/// inside that module.
#[macro_export]
macro_rules! storage_conformance {
    ($module:ident, $subject:path) => {
        mod $module {
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
            }
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
