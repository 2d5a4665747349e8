//! How far a [`Rule`](crate::Rule) has been said, so that what makes no sense next cannot be written.

macro_rules! stages {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        $($(#[$doc])* #[derive(Debug, Clone, Copy, PartialEq, Eq)] pub enum $name {})+
    };
}

stages! {
    /// `every(5).minutes()`: a fixed interval, complete.
    Elapsed,
    /// `every_minute()`: complete, or to be said at which second.
    Minute,
    /// `every_hour()`: complete, or to be said at which minute.
    Hour,
    /// `every_hour().at_minute(45)`: complete, or to be said at which second.
    HourMinute,
    /// `every_day()`: complete, or to be said at what time.
    Day,
    /// `every_week()`: complete, or to be said on which weekdays.
    Week,
    /// `every_month()`: complete, or to be said on which days.
    Month,
    /// `every(2).days()`: as `every_day()`, and it counts from somewhere.
    Days,
    /// `every(2).weeks()`: as `every_week()`, and it counts from somewhere.
    Weeks,
    /// `every(2).months()`: as `every_month()`, and it counts from somewhere.
    Months,
    /// `every_week().on(Fri)`: complete, or to be said at what time.
    Dated,
    /// `every_day().at("09:00")`: complete.
    Timed,
}

/// The stages of a rule that counts, and may be told from where.
pub trait Counts: sealed::Counts {}
/// The stages of a rule that goes by the wall, and may be given a zone.
pub trait OnTheWall: sealed::OnTheWall {}
/// The stages of a rule of days, which may be told at what time.
pub trait OfDays: sealed::OfDays {}
/// The stages of a rule of weeks, which may be told on which weekdays.
pub trait OfWeeks: sealed::OfWeeks {}
/// The stages of a rule of months, which may be told on which days.
pub trait OfMonths: sealed::OfMonths {}

mod sealed {
    pub trait Counts {}
    pub trait OnTheWall {}
    pub trait OfDays {}
    pub trait OfWeeks {}
    pub trait OfMonths {}
}

macro_rules! are {
    ($trait:ident: $($name:ident),+) => { $(impl sealed::$trait for $name {} impl $trait for $name {})+ };
}

are!(Counts: Elapsed, Days, Weeks, Months);
are!(OnTheWall: HourMinute, Day, Week, Month, Days, Weeks, Months, Dated, Timed);
are!(OfDays: Day, Week, Month, Days, Weeks, Months, Dated);
are!(OfWeeks: Week, Weeks);
are!(OfMonths: Month, Months);
