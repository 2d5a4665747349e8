//! What a stored series is, and what each change of it may come to, written down by hand: what nodes and people store is held against this.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use evertask::storage::{NewTask, ScheduleRow};
use serde_json::Value;

use crate::{almanac::json, rules::Rule};

/// What people ask of a stored schedule. Whatever is stored of it otherwise, a node decides by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Store,
    Pause,
    Resume,
    SkipNext,
    RunNow,
    Remove,
}

tokio::task_local! {
    /// What whoever calls the storage here was asked for.
    pub(crate) static ASKED: Ask;
}

/// A tick within this time is not missed, only late.
const ON_TIME: Duration = Duration::from_secs(60);
/// So many ticks that make no task are counted in one go.
const COUNTED: u64 = 100;

/// A series as it is stored, as far as it is looked at here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) state: String,
    pub(crate) rule: String,
    tick: Option<SystemTime>,
    held: Option<SystemTime>,
    pub(crate) runs: u64,
    skipped: u64,
    max_runs: Option<u64>,
    missed: Value,
    overlap: String,
}

type Held = Result<(), (Rule, String)>;

impl Line {
    pub(crate) fn read(row: &ScheduleRow) -> Self {
        let body = json(row);
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let instant = |value: &Value| Some(UNIX_EPOCH + Duration::from_micros(value.as_u64()?));
        Self {
            state: text("state"),
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
    fn every(&self) -> Option<Duration> {
        let rest = self.rule.strip_prefix("v1 every ").or(self.rule.strip_prefix("v1 cron */"))?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Some(Duration::from_secs(digits.parse().ok()?))
    }

    /// How long after its time a tick still makes a task as if it were in time.
    fn window(&self) -> Duration {
        let all = &self.missed["all"]["secs"];
        ON_TIME.max(Duration::from_secs(all.as_u64().unwrap_or_default()))
    }
}

fn lies_on(tick: SystemTime, grid: SystemTime, every: Duration) -> bool {
    let apart = tick.duration_since(grid).unwrap_or_else(|before| before.duration());
    apart.as_micros().is_multiple_of(every.as_micros())
}

/// Whether a change is one that whoever stored it may make. `clock` is when it was stored.
pub(crate) fn may_become(
    old: Option<&Line>,
    new: Option<&Line>,
    tasks: &[NewTask],
    asked: Option<Ask>,
    clock: SystemTime,
) -> Held {
    let (Some(old), Some(new)) = (old, new) else {
        let born = old.is_none() && asked == Some(Ask::Store) && new.is_some_and(|it| it.runs == 0);
        let removed = new.is_none() && asked == Some(Ask::Remove);
        let fine = (born || removed) && tasks.is_empty();
        return if fine { Ok(()) } else { wrong(Rule::SeriesAsAsked, old, new, asked) };
    };
    match asked {
        None => ticked(old, new, tasks, clock),
        Some(asked) if as_asked(old, new, tasks, asked, clock) => Ok(()),
        Some(asked) => wrong(Rule::SeriesAsAsked, Some(old), Some(new), Some(asked)),
    }
}

fn wrong(rule: Rule, old: Option<&Line>, new: Option<&Line>, asked: Option<Ask>) -> Held {
    Err((rule, format!("asked for {asked:?}, it went from {old:?} to {new:?}")))
}

/// What people ask for, and nothing else.
fn as_asked(old: &Line, new: &Line, tasks: &[NewTask], asked: Ask, clock: SystemTime) -> bool {
    let ended = |line: &Line| line.is("ended") && line.tick.is_none();
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
            let state = if old.is("paused") { "paused" } else { "active" };
            let place = new.rule != old.rule || new.tick == old.tick || old.tick.is_none();
            new.is(state) && place || ended(new) || new.tick.is_none()
        }
        Ask::Remove => false,
    }
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
    let (Some(every), Some(tick)) = (old.every(), old.tick.or(old.held)) else { return Ok(()) };
    let own = |at: SystemTime| {
        let came = Some(at) == old.held || old.tick.is_some_and(|tick| at >= tick);
        came && at <= clock && lies_on(at, tick, every)
    };
    let made: Vec<SystemTime> = tasks.iter().filter_map(|task| task.tick).collect();
    if !made.iter().chain(&new.held).all(|at| own(*at)) || !made.is_sorted_by(|one, two| one < two)
    {
        return wrong(Rule::TickInTime, "it makes what are none of its ticks");
    }
    let Some((from, to)) = old.tick.zip(new.tick) else { return Ok(()) };
    if to < from || !lies_on(to, from, every) {
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
    // None is left out for being late that was not, unless it is for the sake of another task.
    let late = clock.checked_sub(old.window()).unwrap_or(clock);
    let missed = if late > from { between(from, late.min(to)) + 1 } else { 0 };
    let may_leave_out = match missed {
        0 => 0,
        // One task is made for all of them.
        _ if old.missed == "once" => passed.saturating_sub(1),
        missed => missed.min(passed),
    };
    if old.overlap == "allow" && came <= COUNTED && left_out > may_leave_out {
        return wrong(Rule::MissedAsSaid, "it leaves out what is not late");
    }
    Ok(())
}
