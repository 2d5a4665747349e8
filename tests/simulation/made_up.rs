//! Ticks that people let a schedule make up for: each once, all of those they asked for, and no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, SystemTime},
};

use evertask::{
    TaskId,
    storage::{Enqueued, NewTask},
};

use crate::{
    ledger::{Ask, Asked, Line, lies_on},
    rules::{Broken, Rule},
    world::{Inner, World},
};

/// What is known of them.
#[derive(Debug, Default)]
pub(crate) struct MadeUp {
    /// The task of each: by the key of its series and its instant.
    tasks: BTreeMap<(String, SystemTime), TaskId>,
    /// How far the ticks of each series lie apart, and lay before it was stored again.
    every: BTreeMap<String, BTreeSet<Duration>>,
}

/// How many ticks there are from one instant to before another.
fn ticks(range: &Range<SystemTime>, every: Duration) -> usize {
    let since = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let before = |at: SystemTime| since(at).as_micros().div_ceil(every.as_micros());
    before(range.end).saturating_sub(before(range.start)) as usize
}

impl MadeUp {
    /// A series is stored like this.
    pub(crate) fn stored(&mut self, key: &str, line: &Line) {
        self.every.entry(key.to_owned()).or_default().extend(line.every());
    }

    /// Whether anything holds with one of the rules that it has had.
    fn any(&self, key: &str, holds: impl Fn(Duration) -> bool) -> bool {
        let all = self.every.get(key).filter(|all| !all.is_empty());
        all.is_none_or(|all| all.iter().any(|every| holds(*every)))
    }
}

impl World {
    /// Tasks by which ticks are made up for are stored: for ticks that have passed, in the range that was asked for, without a gap.
    pub(crate) fn made_up(
        &self,
        inner: &mut Inner,
        (tasks, stored): (&[NewTask], &[Enqueued]),
        (asked, at): Asked,
    ) -> Result<(), Broken> {
        let Ask::Backfill(back, lasts) = asked else { return Ok(()) };
        let broken =
            |how: String| Err(Broken { rule: Rule::SeriesAsAsked, how, task: None, place: None });
        let range = at - back..at - back + lasts;
        let made: Vec<SystemTime> = tasks.iter().filter_map(|task| task.tick).collect();
        let key = tasks.first().and_then(|task| task.tags.get(evertask::SCHEDULE_TAG));
        let (Some(key), Some(first), Some(last)) = (key, made.first(), made.last()) else {
            return broken("a tick is made up for that belongs to no schedule".into());
        };
        let whole = |every: Duration| {
            let evenly = made.windows(2).all(|two| two[1] == two[0] + every);
            let inside = *first >= range.start
                && *last < range.end
                && *last <= self.truth.clock() + self.ahead();
            evenly && inside && lies_on(*first, every) && *first < range.start + every
        };
        if !inner.made_up.any(key, whole) {
            return broken(format!(
                "{made:?} of {key} are made up for, and {range:?} it was to be"
            ));
        }
        for (tick, stored) in made.into_iter().zip(stored) {
            let before = inner.made_up.tasks.insert((key.clone(), tick), stored.id);
            let is =
                |id: &TaskId| inner.model.tales.get(id).is_some_and(|tale| tale.info.is_some());
            if before.is_some_and(|before| before != stored.id && is(&before)) {
                return broken(format!("{tick:?} of {key} is made up for twice"));
            }
            if !is(&stored.id) {
                return broken(format!("{tick:?} of {key} is made up for, and nothing is stored"));
            }
        }
        self.series_stand(inner)
    }

    /// Somebody was told that so many ticks were made up for, of those that had passed when it was asked at least.
    pub(crate) fn all_made_up(
        &self,
        key: &str,
        range: Range<SystemTime>,
        asked: SystemTime,
        made: usize,
    ) {
        let all = |every| {
            let until = |now: SystemTime| range.start..range.end.min(now).max(range.start);
            let least = ticks(&until(asked - self.ahead()), every);
            (least..=ticks(&until(self.truth.clock() + self.ahead()), every)).contains(&made)
        };
        self.with(|inner| match inner.made_up.any(key, all) {
            true => Ok(()),
            false => {
                let how = format!("{made} ticks of {key} in {range:?} are made up for");
                Err(Broken { rule: Rule::SeriesAsAsked, how, task: None, place: None })
            }
        });
    }
}
