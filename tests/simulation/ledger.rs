//! What a stored series is, and what each change of it may come to, written down by hand: what nodes and people store is held against this.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evertask::storage::{NewTask, ScheduleRow};
use serde_json::Value;

use crate::{almanac::json, looks::Basis, rules::Rule, turns::Turn};

/// What people ask of a stored schedule. Whatever is stored of it otherwise, a node decides by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Store,
    Pause,
    Resume,
    SkipNext,
    RunNow,
    Remove,
    Cancel,
    Revive,
    /// From so long ago on, for so long.
    Backfill(Duration, Duration),
}

/// What whoever calls the storage was asked for, and when that was by the storage's clock.
pub(crate) type Asked = (Ask, SystemTime);

tokio::task_local! {
    pub(crate) static ASKED: Asked;
}

/// So many ticks that make no task are counted in one go.
const COUNTED: u64 = 100;

/// A series as it is stored, as far as it is looked at here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) state: String,
    pub(crate) rule: String,
    pub(crate) tick: Option<SystemTime>,
    pub(crate) held: Option<SystemTime>,
    pub(crate) runs: u64,
    pub(crate) skipped: u64,
    pub(crate) max_runs: Option<u64>,
    pub(crate) missed: Value,
    pub(crate) overlap: String,
}

type Held = Result<(), (Rule, String)>;

impl Line {
    pub(crate) fn read(row: &ScheduleRow) -> Self {
        let body = json(row);
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let instant = |value: &Value| Some(UNIX_EPOCH + Duration::from_micros(value.as_u64()?));
        Self {
            // What is set aside says why.
            state: body["state"].as_str().unwrap_or("broken").to_owned(),
            rule: text("rule"),
            tick: instant(&body["tick"]),
            held: instant(&body["held"]["tick"]),
            runs: body["runs"].as_u64().unwrap_or_default(),
            skipped: body["skipped"].as_u64().unwrap_or_default(),
            max_runs: body["max_runs"].as_u64(),
            missed: body["missed"].clone(),
            overlap: text("overlap"),
        }
    }

    fn is(&self, state: &str) -> bool {
        self.state == state
    }

    /// How far its ticks lie apart, if they are whole seconds apart.
    pub(crate) fn every(&self) -> Option<Duration> {
        let rest = self.rule.strip_prefix("v1 every ").or(self.rule.strip_prefix("v1 cron */"))?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some(Duration::from_secs(digits.parse().ok()?))
    }
}

/// Ticks that lie evenly are counted from the beginning of all time.
pub(crate) fn lies_on(tick: SystemTime, every: Duration) -> bool {
    let since = tick.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros().is_multiple_of(every.as_micros())
}

/// Whether a change is one that whoever stored it may make. `clock` is when it was stored; a node goes by what it has seen.
pub(crate) fn may_become(
    old: Option<&Line>,
    new: Option<&Line>,
    tasks: &[NewTask],
    asked: Option<Asked>,
    (clock, basis): (SystemTime, &Basis),
) -> Held {
    let (Some(old), Some(new)) = (old, new) else {
        let asked = asked.map(|(asked, _)| asked);
        let born = old.is_none() && asked == Some(Ask::Store) && new.is_some_and(|it| it.runs == 0);
        let removed = new.is_none() && asked == Some(Ask::Remove);
        let fine = (born || removed) && tasks.is_empty();
        return if fine { Ok(()) } else { wrong(Rule::SeriesAsAsked, old, new, asked) };
    };
    match asked {
        None => ticked(old, new, tasks, clock).and_then(|()| as_it_came(old, new, tasks, basis)),
        Some(asked) if as_asked(old, new, tasks, asked, clock) => Ok(()),
        Some((asked, _)) => wrong(Rule::SeriesAsAsked, Some(old), Some(new), Some(asked)),
    }
}

fn wrong(rule: Rule, old: Option<&Line>, new: Option<&Line>, asked: Option<Ask>) -> Held {
    Err((rule, format!("asked for {asked:?}, it went from {old:?} to {new:?}")))
}

/// What people ask for, and nothing else.
fn as_asked(
    old: &Line,
    new: &Line,
    tasks: &[NewTask],
    (asked, at): Asked,
    clock: SystemTime,
) -> bool {
    let ended = |line: &Line| line.is("ended") && line.tick.is_none();
    if asked == Ask::Revive {
        return tasks.is_empty() && (new == old || revived(old, new, at));
    }
    let runs = old.runs + u64::from(asked == Ask::RunNow);
    if new.runs != runs || tasks.len() as u64 != runs - old.runs {
        return false;
    }
    let kept = (&new.rule, new.held, new.skipped) == (&old.rule, old.held, old.skipped);
    match asked {
        Ask::Pause => kept && new.tick == old.tick && new.is("paused"),
        Ask::Resume if old.is("active") => new == old,
        Ask::Resume => {
            // What came up meanwhile is gone, and what did not is still to come.
            let ahead = old.tick.is_some_and(|tick| tick > clock);
            let goes_on = new.tick.is_some() && (new.tick == old.tick || !ahead);
            kept && (new.is("active") && (goes_on || old.held.is_some()) || ended(new))
        }
        Ask::SkipNext => {
            let next = old.tick.zip(old.every()).map(|(tick, every)| tick + every);
            kept && old.is("active") && (new.is("active") && new.tick == next || ended(new))
        }
        Ask::RunNow => {
            // One that waits is to come as well.
            let runs = new.runs + u64::from(new.held.is_some());
            let last = new.max_runs.is_some_and(|max| runs >= max);
            kept && (new.state == old.state && new.tick == old.tick || last && new.tick.is_none())
        }
        // Runs and place stay.
        Ask::Store => {
            let state = if old.is("paused") || old.is("cancelled") { &old.state } else { "active" };
            let place = new.rule != old.rule || new.tick == old.tick || old.tick.is_none();
            new.is(state) && place || ended(new) || new.tick.is_none()
        }
        // It stays where it is, and nothing waits any more.
        Ask::Cancel => {
            let stays = (&new.rule, new.tick, new.skipped) == (&old.rule, old.tick, old.skipped);
            stays && new.is("cancelled") && new.held.is_none()
        }
        // The first is no change of what is stored, nor are tasks that are made up.
        Ask::Remove | Ask::Revive | Ask::Backfill(..) => false,
    }
}

/// One that was over begins anew, with its next instant. `at` is when that was asked for.
fn revived(old: &Line, new: &Line, at: SystemTime) -> bool {
    let over = old.is("ended") || old.is("cancelled");
    let anew = new.is("active") && (new.runs, new.skipped, new.held) == (0, 0, None);
    let from_now_on = new.tick.is_some_and(|tick| tick > at);
    let on_its_grid = new.tick.zip(new.every()).is_none_or(|(tick, every)| lies_on(tick, every));
    over && anew && from_now_on && on_its_grid && new.rule == old.rule
}

/// What a node makes of a series that has come up: each of its ticks makes a task, waits, or is counted as left out.
fn ticked(old: &Line, new: &Line, tasks: &[NewTask], clock: SystemTime) -> Held {
    let wrong = |rule, why: &str| Err((rule, format!("{why}: from {old:?} to {new:?}")));
    let as_it_was = tasks.is_empty() && (&new.state, new.runs) == (&old.state, old.runs);
    // Declarations are noted in what they declare, and put in the place of others, whatever state it is in.
    if !old.is("active") && !as_it_was {
        return wrong(Rule::NoTickWhilePaused, "a node goes on");
    }
    if new.rule != old.rule && !as_it_was {
        return wrong(Rule::SeriesAsAsked, "another rule is more than that");
    }
    if !old.is("active") || new.rule != old.rule {
        return Ok(());
    }
    if new.runs != old.runs + tasks.len() as u64 || new.max_runs.is_some_and(|max| new.runs > max) {
        return wrong(Rule::RunsAreCounted, "runs are not what was made");
    }
    let Some(every) = old.every() else { return Ok(()) };
    let own = |at: SystemTime| {
        let came = Some(at) == old.held || old.tick.is_some_and(|tick| at >= tick);
        came && at <= clock && lies_on(at, every)
    };
    let made: Vec<SystemTime> = tasks.iter().filter_map(|task| task.tick).collect();
    if !made.iter().chain(&new.held).all(|at| own(*at)) || !made.is_sorted_by(|one, two| one < two)
    {
        return wrong(Rule::TickInTime, "it makes what are none of its ticks");
    }
    let Some((from, to)) = old.tick.zip(new.tick) else { return Ok(()) };
    if to < from || !lies_on(to, every) {
        return wrong(Rule::TickInTime, "what comes next is none of its ticks");
    }
    let between = |from: SystemTime, to: SystemTime| {
        let apart = to.duration_since(from).unwrap_or_default();
        (apart.as_micros() / every.as_micros()) as u64
    };
    // Those from `from` on that come before `to`.
    let passed = between(from, to);
    let came = passed + u64::from(old.held.is_some());
    let left_out = new.skipped.saturating_sub(old.skipped);
    let seen_to = tasks.len() as u64 + left_out + u64::from(new.held.is_some());
    if came <= COUNTED && seen_to != came {
        let why = format!("{came} ticks came up, and {seen_to} were seen to");
        return wrong(Rule::NoTickIsLost, &why);
    }
    Ok(())
}

/// Which of the ticks make tasks, which waits, and how many are left out, is as was said: for what is missed, and for those that come
/// up while the task before lives.
fn as_it_came(old: &Line, new: &Line, tasks: &[NewTask], basis: &Basis) -> Held {
    let place = |line: &Line| (line.tick, line.held, line.skipped);
    // Not a tick: what attributes declare is noted.
    let noted = tasks.is_empty() && place(old) == place(new) && old.state == new.state;
    if noted || !old.is("active") || new.rule != old.rule || old.every().is_none() {
        return Ok(());
    }
    let turn = Turn {
        made: tasks.iter().filter_map(|task| task.tick).collect(),
        held: new.held,
        tick: new.tick,
        skipped: new.skipped,
        ended: new.is("ended"),
    };
    let mut all = basis.clocks.iter().flat_map(|now| basis.lives.iter().map(move |it| (*it, *now)));
    match all.any(|(lives, now)| old.turn(lives, now).as_ref() == Some(&turn)) {
        true => Ok(()),
        false => {
            let last = basis.clocks.last().zip(basis.lives.last());
            let wanted = last.and_then(|(now, lives)| old.turn(*lives, *now));
            Err((Rule::MissedAsSaid, format!("from {old:?} to {turn:?}; {wanted:?} it was to be")))
        }
    }
}
