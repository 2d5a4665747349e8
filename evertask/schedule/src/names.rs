//! The days of the week and the months, and sets of them.

use std::fmt;

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "they say what they are")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// A month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "they say what they are")]
pub enum Month {
    Jan,
    Feb,
    Mar,
    Apr,
    May,
    Jun,
    Jul,
    Aug,
    Sep,
    Oct,
    Nov,
    Dec,
}

impl Weekday {
    pub(crate) const ALL: [Self; 7] =
        [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    /// The day a number of days after Monday.
    pub(crate) fn from_monday(days: i64) -> Self {
        Self::ALL[days.rem_euclid(7) as usize]
    }

    /// `Monday`, `Tuesday`, …
    #[must_use]
    pub fn name(self) -> &'static str {
        ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
            [self as usize]
    }
}

impl Month {
    pub(crate) const ALL: [Self; 12] = [
        Self::Jan,
        Self::Feb,
        Self::Mar,
        Self::Apr,
        Self::May,
        Self::Jun,
        Self::Jul,
        Self::Aug,
        Self::Sep,
        Self::Oct,
        Self::Nov,
        Self::Dec,
    ];

    /// `January`, `February`, …
    #[must_use]
    pub fn name(self) -> &'static str {
        [
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ][self as usize]
    }
}

impl fmt::Display for Weekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One or several, where a builder takes either.
impl From<Weekday> for Vec<Weekday> {
    fn from(day: Weekday) -> Self {
        vec![day]
    }
}

impl From<Month> for Vec<Month> {
    fn from(month: Month) -> Self {
        vec![month]
    }
}

/// The text of a name as it is stored and as cron spells it: three letters.
pub(crate) fn short(name: &'static str) -> &'static str {
    &name[..3]
}

/// A set of small numbers, below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Set(pub(crate) u64);

impl Set {
    pub(crate) fn contains(self, n: u32) -> bool {
        self.0 >> n & 1 == 1
    }

    pub(crate) fn insert(&mut self, n: u32) {
        self.0 |= 1 << n;
    }

    /// The least element that is at least `n`.
    pub(crate) fn from(self, n: u32) -> Option<u32> {
        let rest = if n < 64 { self.0 >> n << n } else { 0 };
        (rest != 0).then(|| rest.trailing_zeros())
    }

    pub(crate) fn first(self) -> Option<u32> {
        self.from(0)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u32> {
        (0..64).filter(move |n| self.contains(*n))
    }
}

impl FromIterator<u32> for Set {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut set = Self::default();
        numbers.into_iter().for_each(|n| set.insert(n));
        set
    }
}
