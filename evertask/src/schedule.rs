//! When things are to happen, again and again: schedules, as values.
//!
//! A [`Schedule`] is a set of instants. All that is asked of it is which one is [next](Schedule::next); every node gives the same
//! answer, whatever happened before. There are several ways to write one, and one type underneath.
//!
//! **In code**, where nonsense does not compile. What only a look at the numbers shows, such as `every(0)` or `at("25:00")`, is an
//! error when the schedule is used:
//!
//! ```
//! use evertask::schedule::{
//!     Apr, Fri, IntoSchedule, Jan, Jul, Mon, Oct, Tue, Wed, every, every_day, every_hour, every_minute,
//!     every_month, every_week, on_months,
//! };
//!
//! fn means(schedule: impl IntoSchedule, words: &str) {
//!     assert_eq!(schedule.into_schedule().unwrap().to_string(), words);
//! }
//!
//! means(every(5).minutes(), "every 5 minutes");
//! means(every_minute().at_second(30), "every minute at second 30 (UTC)");
//! means(every_hour().at_minute(45), "every hour at minute 45 (UTC)");
//! means(every_day().at("03:00"), "every day at 03:00 (UTC)");
//! means(every_day().at_times(["09:00", "14:00"]).tz("Asia/Tokyo"), "every day at 09:00 and 14:00 (Asia/Tokyo)");
//! means(every_week().on([Mon, Wed, Fri]), "every week on Monday, Wednesday and Friday at 00:00 (UTC)");
//! means(every(2).weeks().on(Fri).at("18:00").tz("Europe/Rome"), "every 2 weeks on Friday at 18:00 (Europe/Rome)");
//! means(every_month().on_day(31), "every month on day 31 at 00:00 (UTC)"); // or the month's last day
//! means(every_month().on_days([1, 15]), "every month on days 1 and 15 at 00:00 (UTC)");
//! means(every_month().on_first(Mon), "every month on the first Monday at 00:00 (UTC)");
//! means(every_month().on_nth(2, Tue), "every month on the second Tuesday at 00:00 (UTC)");
//! means(every_month().on_last(Fri).at("17:30"), "every month on the last Friday at 17:30 (UTC)");
//! means(every_month().on_last_day(), "every month on the last day at 00:00 (UTC)");
//! means(every_month().on_weekday_nearest(15), "every month on the weekday nearest to day 15 at 00:00 (UTC)");
//! means(on_months([Jan, Apr, Jul, Oct]).on_day(1), "in January, April, July and October on day 1 at 00:00 (UTC)");
//! ```
//!
//! **As a cron expression**: [`cron("0 3 * * *")`](cron), with 5, 6 or 7 fields as a Unix user means them.
//!
//! **In the attribute** of a handler, where the compiler checks it: `#[evertask::handler(cron = "0 3 * * *", tz = "Europe/Rome")]`, or
//! `every = "5m"`. See [there](macro@crate::handler#schedules).
//!
//! **As a fixed interval**: `every(90).seconds()`, [`Schedule::every`], or a `Duration` where a schedule is asked for.
//!
//! # Zones
//!
//! `.tz("Europe/Rome")` gives the zone by whose wall clocks a schedule goes; without, it is UTC. The rules of all zones are those of
//! the tz database that was current when the program was built: rebuild when a country changes its mind.
//!
//! # When the clocks change
//!
//! - A wall time that does not exist, because the clocks are put forward over it, is the first instant after the gap. "Every day
//!   at 02:30" fires at 03:00 on that day.
//! - A wall time that exists twice, because the clocks are put back, fires the first time only if the hour is named: "every day at
//!   02:30" fires once. It fires both times if the schedule goes through the hours: `*/15 * * * *`, `every_hour().at_minute(45)`
//!   and the like never stop for an hour.
//! - A fixed interval is elapsed time. Clocks on the wall do not concern it, so it has no zone.
//!
//! ```
//! use evertask::schedule::{ScheduleError, every_day};
//!
//! # fn main() -> Result<(), ScheduleError> {
//! let schedule = every_day().at("02:30").tz("Europe/Rome")?;
//! // 2026-03-28T12:00:00Z, the day before the clocks are put forward.
//! let noon = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_774_699_200);
//! let hours: Vec<f64> = schedule
//!     .after(noon)
//!     .take(3)
//!     .map(|at| at.duration_since(noon).unwrap().as_secs_f64() / 3600.0)
//!     .collect();
//! // At 03:00+02:00 (which is 01:00 UTC), then again at 02:30+02:00.
//! assert_eq!(hours, [13.0, 36.5, 60.5]);
//! # Ok(()) }
//! ```
//!
//! # What is counted from where
//!
//! "Every 5 minutes" and "every 2 weeks" need a beginning. It is 1970-01-01 00:00, so that every program that says `every(5).minutes()`
//! means the same instants; or what [`.anchored(..)`](Schedule::anchored) says, which is stored with the schedule. Weeks begin on
//! Monday. Each interval counts from there, never from when something ran.
//!
//! # What does not compile
//!
//! A rule that was said to the end cannot be said further, and a time of day needs days:
//!
//! ```compile_fail,E0599
//! evertask::schedule::every(5).minutes().at("09:00");
//! ```
//! ```compile_fail,E0599
//! evertask::schedule::every_day().on(evertask::schedule::Mon);
//! ```
//! ```compile_fail,E0599
//! evertask::schedule::every_day().at("09:00").at("10:00");
//! ```
//! ```compile_fail,E0599
//! evertask::schedule::every_week().on_day(31);
//! ```
//! ```compile_fail,E0599
//! evertask::schedule::every(5);
//! evertask::schedule::every(5).build();
//! ```
//! What counts nothing has nowhere to count from:
//! ```compile_fail,E0599
//! evertask::schedule::every_minute().anchored(std::time::UNIX_EPOCH).at_second(30);
//! ```
//! ```compile_fail,E0599
//! evertask::schedule::every_day().anchored(std::time::UNIX_EPOCH);
//! ```
//! A fixed interval has no zone:
//! ```compile_fail,E0277
//! evertask::schedule::every(5).minutes().anchored(std::time::UNIX_EPOCH).tz("Europe/Rome");
//! ```

#[doc(inline)]
pub use evertask_schedule::{
    Apr, Aug, Dec, Every, Feb, Field, Fri, IntoSchedule, Jan, Jul, Jun, Mar, May, Mon, Month, Nov,
    Oct, Rule, Sat, Schedule, ScheduleError, Sep, Sun, Thu, Tue, Wed, Weekday, cron, every,
    every_day, every_hour, every_minute, every_month, every_second, every_week, on_months, stage,
};
