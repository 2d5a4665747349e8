//! What is wrong with a schedule, in which field of it, and where in the text.

use std::{fmt, ops::Range};

/// Why something is no schedule.
///
/// It names the [field](Self::field), and where the schedule was a text, [where in it](Self::span) the mistake stands.
///
/// ```
/// # mod evertask { pub use evertask_schedule as schedule; }
/// use evertask::schedule::{Field, cron};
///
/// let error = cron("0 25 * * *").unwrap_err();
/// assert_eq!(error.to_string(), "hour: `25` is not within 0 to 23, in `0 25 * * *`");
/// assert_eq!(error.field(), Field::Hour);
/// assert_eq!(error.span(), Some(2..4));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleError {
    field: Field,
    problem: String,
    place: Option<Place>,
    newer: bool,
}

/// The text that was read, and the part of it that is wrong, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    text: String,
    span: Range<usize>,
}

/// A part of a schedule, to say where a mistake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// A cron expression as a whole.
    Expression,
    /// The seconds of a cron expression or of a rule.
    Second,
    /// The minutes of a cron expression or of a rule.
    Minute,
    /// The hours of a cron expression.
    Hour,
    /// The days of the month.
    DayOfMonth,
    /// The months.
    Month,
    /// The days of the week.
    DayOfWeek,
    /// The years of a cron expression.
    Year,
    /// A time of day, such as `09:00`.
    Time,
    /// How often: the number in `every(5)`, or the duration in `@every 5m`.
    Every,
    /// The time zone.
    Zone,
    /// The instant a fixed interval is counted from.
    Anchor,
    /// The stored form of a schedule.
    Stored,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expression => "cron expression",
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
            Self::Year => "year",
            Self::Time => "time of day",
            Self::Every => "every",
            Self::Zone => "time zone",
            Self::Anchor => "anchor",
            Self::Stored => "stored schedule",
        })
    }
}

impl ScheduleError {
    pub(crate) fn new(field: Field, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into(), place: None, newer: false }
    }

    /// The same error, of something that a newer program may well be able to read.
    pub(crate) fn newer(mut self) -> Self {
        self.newer = true;
        self
    }

    /// The same error, seen in `text`.
    pub(crate) fn within(mut self, text: &str, span: Range<usize>) -> Self {
        self.place = Some(Place { text: text.to_owned(), span });
        self
    }

    /// The part of the schedule that is wrong.
    #[must_use]
    pub fn field(&self) -> Field {
        self.field
    }

    /// What is wrong with it, without saying where.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// Whether it may only be too new: written by a later version of evertask, or with a zone that has been added to the tz database
    /// since this program was built.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.newer
    }

    /// Which bytes of the given text are wrong, where the schedule was a text.
    #[must_use]
    pub fn span(&self) -> Option<Range<usize>> {
        self.place.as_ref().map(|place| place.span.clone())
    }

    /// The given text and a line with carets under what is wrong, where the schedule was a text.
    ///
    /// ```
    /// # mod evertask { pub use evertask_schedule as schedule; }
    /// let error = evertask::schedule::cron("0 25 * * *").unwrap_err();
    /// assert_eq!(error.pointed().unwrap(), "0 25 * * *\n  ^^");
    /// ```
    #[must_use]
    pub fn pointed(&self) -> Option<String> {
        let Place { text, span } = self.place.as_ref()?;
        let count = |part: Option<&str>| part.map_or(0, |part| part.chars().count());
        let (before, wrong) = (count(text.get(..span.start)), count(text.get(span.clone())));
        Some(format!("{text}\n{}{}", " ".repeat(before), "^".repeat(wrong.max(1))))
    }
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)?;
        match &self.place {
            // A text without end is no help to who reads the log.
            Some(place) if place.text.len() <= 100 && place.span != (0..place.text.len()) => {
                write!(f, ", in `{}`", place.text)
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ScheduleError {}
