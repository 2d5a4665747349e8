//! What a series comes to when it comes up, written down by hand: what nodes make of its ticks is held against this.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::ledger::Line;

/// A tick within this time is not missed, only late.
const ON_TIME: Duration = Duration::from_secs(60);
/// So many tasks are made in one go.
const AT_ONCE: usize = 100;
/// So many ticks that make no task are counted in one go, for each of the two reasons.
const COUNTED: usize = 101;

/// A series after it has come up.
#[derive(Debug, PartialEq)]
pub(crate) struct Turn {
    /// The ticks that make tasks.
    pub(crate) made: Vec<SystemTime>,
    pub(crate) held: Option<SystemTime>,
    pub(crate) tick: Option<SystemTime>,
    pub(crate) skipped: u64,
    pub(crate) ended: bool,
}

impl Line {
    /// What it comes to at this instant, while the task before lives or does not; `None` if it has no ticks that lie evenly.
    pub(crate) fn turn(&self, lives: bool, now: SystemTime) -> Option<Turn> {
        let every = self.every()?;
        let all = self.missed["all"]["secs"].as_u64();
        let window = ON_TIME.max(Duration::from_secs(all.unwrap_or_default()));
        let came: Vec<SystemTime> = std::iter::successors(self.tick, |tick| Some(*tick + every))
            .take_while(|tick| *tick <= now)
            .collect();
        let mut in_time = now.checked_sub(window).unwrap_or(UNIX_EPOCH);
        // However many are missed, the last one is made up for.
        if self.missed == "once" && came.first().is_some_and(|tick| *tick < in_time) {
            in_time = *came.last()?;
        }
        let (missed, timely): (Vec<_>, Vec<_>) = came.iter().partition(|tick| **tick < in_time);
        let mut rest = timely.into_iter().copied();
        let ahead = came.last().map_or(self.tick, |last| Some(*last + every));
        let (mut made, mut held, mut next, mut left_out) = (Vec::new(), None, ahead, 0);
        let count = |ticks: &mut dyn Iterator<Item = SystemTime>| ticks.take(COUNTED).count();
        match self.overlap.as_str() {
            "allow" => {
                made.extend(rest.by_ref().take(AT_ONCE));
                next = rest.next().or(ahead);
                left_out = usize::from(self.held.is_some());
            }
            // One at a time, and those that come up together with it are left out.
            "skip" => {
                let first = rest.next();
                left_out = usize::from(lives && first.is_some()) + (COUNTED - 1).min(rest.count());
                made.extend(first.filter(|_| !lives));
            }
            // The last takes the place of all before it.
            "cancel_previous" => {
                let last = rest.next_back();
                left_out = count(&mut rest) + usize::from(last.is_some() && self.held.is_some());
                let last = last.or(self.held);
                if lives { held = last } else { made.extend(last) }
            }
            // One after the other; one waits, or with `Missed::All` each.
            "queue_one" => {
                let mut line = self.held.into_iter().chain(rest);
                made.extend(line.by_ref().take(usize::from(!lives)));
                held = line.next();
                match all {
                    Some(_) => next = line.next().or(ahead),
                    None => left_out = count(&mut line),
                }
            }
            _ => return None,
        }
        let left = self.max_runs.map_or(u64::MAX, |max| max - self.runs.min(max)) as usize;
        made.truncate(left);
        held = held.filter(|_| made.len() < left);
        let tick = next.filter(|_| made.len() + usize::from(held.is_some()) < left);
        let skipped = self.skipped + (missed.len().min(COUNTED) + left_out) as u64;
        Some(Turn { made, held, tick, skipped, ended: tick.is_none() && held.is_none() })
    }
}
