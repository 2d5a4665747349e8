//! The times of day of a schedule, as sets of seconds since midnight by the clock on the wall.

use crate::{
    error::{Field, ScheduleError},
    names::Set,
};

/// The seconds of a day on the wall.
pub(crate) const DAY: i64 = 86_400;

/// A set of times of day, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Times {
    /// These, in seconds since midnight: sorted, each once.
    At(Vec<u32>),
    /// Every combination of these.
    Every { hours: Set, minutes: Set, seconds: Set },
}

impl Times {
    /// Midnight.
    pub(crate) fn midnight() -> Self {
        Self::At(vec![0])
    }

    pub(crate) fn at(mut times: Vec<u32>) -> Result<Self, ScheduleError> {
        if times.is_empty() {
            return Err(ScheduleError::new(Field::Time, "the list of times is empty"));
        }
        times.sort_unstable();
        times.dedup();
        Ok(Self::At(times))
    }

    pub(crate) fn first(&self) -> u32 {
        match self {
            Self::At(times) => times.first().copied().unwrap_or_default(),
            Self::Every { hours, minutes, seconds } => {
                let least = |set: &Set| set.first().unwrap_or_default();
                least(hours) * 3600 + least(minutes) * 60 + least(seconds)
            }
        }
    }

    /// The first time after `time` on the same day.
    pub(crate) fn after(&self, time: u32) -> Option<u32> {
        match self {
            Self::At(times) => times.get(times.partition_point(|t| *t <= time)).copied(),
            Self::Every { hours, minutes, seconds } => {
                let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
                if hours.contains(hour) {
                    if minutes.contains(minute)
                        && let Some(second) = seconds.from(second + 1)
                    {
                        return Some(hour * 3600 + minute * 60 + second);
                    }
                    if let Some(minute) = minutes.from(minute + 1) {
                        return Some(hour * 3600 + minute * 60 + seconds.first()?);
                    }
                }
                Some(hours.from(hour + 1)? * 3600 + minutes.first()? * 60 + seconds.first()?)
            }
        }
    }
}

/// Reads `09:00` or `09:00:30`.
pub(crate) fn read(text: &str) -> Result<u32, ScheduleError> {
    let wrong = |problem: String| ScheduleError::new(Field::Time, problem);
    let not_a_time =
        || wrong(format!("`{text}` is not a time of day; write one such as `09:00` or `17:30:15`"));
    let mut parts = text.trim().split(':');
    let mut part = |what: &str, max: u32| {
        let Some(part) = parts.next() else { return Ok(None) };
        if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(not_a_time());
        }
        let number: u32 = part.parse().map_err(|_| not_a_time())?;
        if number > max {
            return Err(wrong(format!("the {what} of `{text}` is not within 0 to {max}")));
        }
        Ok(Some(number))
    };
    let (hour, minute, second) = (part("hour", 23)?, part("minute", 59)?, part("second", 59)?);
    let (Some(hour), Some(minute), None) = (hour, minute, parts.next()) else {
        return Err(not_a_time());
    };
    Ok(hour * 3600 + minute * 60 + second.unwrap_or(0))
}

/// Writes `09:00`, or `09:00:30` where there are seconds.
pub(crate) fn write(time: u32) -> String {
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    match second {
        0 => format!("{hour:02}:{minute:02}"),
        _ => format!("{hour:02}:{minute:02}:{second:02}"),
    }
}
