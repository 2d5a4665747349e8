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
    /// `every_week().on(Fri)`: complete, or to be said at what time.
    Dated,
    /// `every_day().at("09:00")`: complete.
    Timed,
}

/// The stages of a rule that may be told what it counts from.
pub trait Counts: sealed::Counts {}
/// The stages of a rule that goes by the wall, and may be given a zone.
pub trait OnTheWall: sealed::OnTheWall {}

mod sealed {
    pub trait Counts {}
    pub trait OnTheWall {}
}

macro_rules! are {
    ($trait:ident: $($name:ident),+) => { $(impl sealed::$trait for $name {} impl $trait for $name {})+ };
}

are!(Counts: Elapsed, Minute, Hour, Day, Week, Month);
are!(OnTheWall: HourMinute, Day, Week, Month, Dated, Timed);
