//! One field of a cron expression: bounded, and so rewritten that the `cron` crate reads it as a Unix user means it.

use std::{fmt::Write as _, ops::RangeInclusive};

use crate::error::{Field, ScheduleError};

/// What may stand in a field.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) field: Field,
    pub(crate) range: RangeInclusive<u32>,
    /// Names of its numbers, from the least one on.
    pub(crate) names: &'static [&'static str],
}

pub(crate) const SECOND: Kind = Kind { field: Field::Second, range: 0..=59, names: &[] };
pub(crate) const MINUTE: Kind = Kind { field: Field::Minute, range: 0..=59, names: &[] };
pub(crate) const HOUR: Kind = Kind { field: Field::Hour, range: 0..=23, names: &[] };
pub(crate) const DATE: Kind = Kind { field: Field::DayOfMonth, range: 1..=31, names: &[] };
pub(crate) const MONTH: Kind = Kind {
    field: Field::Month,
    range: 1..=12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
/// Sunday is 0 and 7.
pub(crate) const WEEKDAY: Kind = Kind {
    field: Field::DayOfWeek,
    range: 0..=7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
};
pub(crate) const YEAR: Kind = Kind { field: Field::Year, range: 1970..=2100, names: &[] };

/// A field as it stands in an expression, in capitals.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a> {
    pub(crate) text: &'a str,
    /// Where it begins, in bytes.
    pub(crate) at: usize,
    pub(crate) kind: &'static Kind,
}

impl<'a> Text<'a> {
    /// Crontab's rule: only a field that begins with `*` leaves its days open, so `*/2` does.
    pub(crate) fn is_open(self) -> bool {
        self.text.starts_with(['*', '?'])
    }

    /// The parts of a list.
    pub(crate) fn items(self) -> impl Iterator<Item = Self> {
        let mut at = self.at;
        self.text.split(',').map(move |text| {
            let item = Self { text, at, ..self };
            at += text.len() + 1;
            item
        })
    }

    /// An error about this field, or this part of it.
    pub(crate) fn wrong(self, problem: impl Into<String>) -> Wrong {
        Wrong {
            error: ScheduleError::new(self.kind.field, problem),
            span: self.at..self.at + self.text.len(),
        }
    }

    /// Rewrites a part that has no `L`, `W` or `#`: `*`, `5`, `MON-FRI`, each with or without a step.
    pub(crate) fn plain(self) -> Result<String, Wrong> {
        if self.text.is_empty() {
            return Err(self.wrong("is empty; a list is written without blanks, such as `1,15`"));
        }
        let (base, step) = match self.split('/') {
            Some((base, step)) => (base, Some(step.step()?)),
            None => (self, None),
        };
        let (least, most) = (*self.kind.range.start(), *self.kind.range.end());
        let open = base.text == "*" || base.text == "?";
        if base.text == "?" && !matches!(self.kind.field, Field::DayOfMonth | Field::DayOfWeek) {
            return Err(base.wrong("`?` can stand for a day only; write `*`"));
        }
        let (start, end) = if open {
            (least, most)
        } else if let Some((start, end)) = base.split('-') {
            (start.number()?, end.number()?)
        } else {
            let start = base.number()?;
            // `5/15` goes on to the end, as everywhere where it is known at all.
            (start, if step.is_some() { most } else { start })
        };
        let step_by = step.unwrap_or(1);
        let sunday_twice = self.kind.field == Field::DayOfWeek;
        if !sunday_twice && start <= end {
            let text = if open { "*".to_owned() } else { format!("{start}-{end}") };
            return Ok(match step {
                Some(step) => format!("{text}/{step}"),
                None => text,
            });
        }
        // The `cron` crate knows neither ranges that wrap (`22-2`) nor our weekdays: Sunday is its 1. It gets a list.
        let size = if sunday_twice { 7 } else { most - least + 1 };
        let end = match (sunday_twice && open, start <= end) {
            (true, _) => 6,
            (false, true) => end,
            (false, false) if self.kind.field == Field::Year => {
                return Err(base.wrong("years do not begin again; write the earlier one first"));
            }
            (false, false) => end + size,
        };
        let numbers = (start..=end).step_by(step_by as usize);
        let numbers = numbers.map(|n| (n - least) % size + least + u32::from(sunday_twice));
        Ok(numbers.fold(String::new(), |mut list, n| {
            let comma = if list.is_empty() { "" } else { "," };
            // Writing to a string does not fail.
            let _ = write!(list, "{comma}{n}");
            list
        }))
    }

    /// What stands before and after the first of these signs.
    pub(crate) fn split(self, sign: char) -> Option<(Self, Self)> {
        let (one, other) = self.text.split_once(sign)?;
        let other_at = self.at + one.len() + sign.len_utf8();
        Some((Self { text: one, ..self }, Self { text: other, at: other_at, ..self }))
    }

    /// A number or a name, within the bounds of the field.
    pub(crate) fn number(self) -> Result<u32, Wrong> {
        let (least, most) = (*self.kind.range.start(), *self.kind.range.end());
        if let Some(n) = self.kind.names.iter().position(|name| *name == self.text) {
            return Ok(least + n as u32);
        }
        let what = if self.kind.names.is_empty() { "number" } else { "number or name" };
        if self.text.is_empty() {
            return Err(self.wrong(format!("a {what} is missing")));
        }
        if !self.text.bytes().all(|b| b.is_ascii_digit()) {
            let mut problem = format!("`{}` is no {what} from {least} to {most}", self.text);
            if !self.kind.names.is_empty() {
                let names = self.kind.names;
                problem = format!(
                    "`{}` is no {what}; write {least} to {most} or `{}` to `{}`",
                    self.text,
                    names[0],
                    names[names.len() - 1]
                );
            }
            return Err(self.wrong(problem));
        }
        // What is too long for a number is out of bounds too.
        match self.text.parse() {
            Ok(number) if self.kind.range.contains(&number) => Ok(number),
            _ => Err(self.wrong(format!("`{}` is not within {least} to {most}", self.text))),
        }
    }

    fn step(self) -> Result<u32, Wrong> {
        let most = self.kind.range.end() - self.kind.range.start();
        let number = self.text.bytes().all(|b| b.is_ascii_digit()).then(|| self.text.parse().ok());
        match number.flatten() {
            Some(0) => Err(self.wrong("a step of `0` goes nowhere; the least one is 1")),
            Some(step) if step <= most => Ok(step),
            _ => Err(self.wrong(format!("the step `{}` is not within 1 to {most}", self.text))),
        }
    }
}

/// What is wrong, and where in the expression.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) error: ScheduleError,
    pub(crate) span: std::ops::Range<usize>,
}
