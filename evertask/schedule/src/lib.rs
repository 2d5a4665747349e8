//! Schedules: sets of instants, as values that can be read, stored and described.
//!
//! This is the pure heart of `evertask::schedule`, in a crate of its own so that the attribute can check a cron expression
//! while the program is compiled. It knows no clock, no executor and no storage.

mod calendar;
mod cron;
mod dates;
mod duration;
mod error;
mod field;
mod fluent;
mod month;
mod names;
mod schedule;
pub mod stage;
mod times;
mod wire;
mod words;
mod zone;

pub use self::{
    cron::cron,
    duration::parse as parse_duration,
    error::{Field, ScheduleError},
    fluent::{
        Every, IntoSchedule, Rule, every, every_day, every_hour, every_minute, every_month,
        every_second, every_week, on_months,
    },
    names::{
        Month::{self, Apr, Aug, Dec, Feb, Jan, Jul, Jun, Mar, May, Nov, Oct, Sep},
        Weekday::{self, Fri, Mon, Sat, Sun, Thu, Tue, Wed},
    },
    schedule::Schedule,
};
