//! What happened, line by line, with the few last ones that explain a failure.

use std::{fmt::Write as _, time::Duration};

use crate::rules::Broken;

#[derive(Debug, Default)]
pub(crate) struct History {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    at: Duration,
    place: Option<usize>,
    task: Option<usize>,
    text: String,
}

/// How much is printed of each of the guilty.
const LAST: usize = 30;

impl History {
    pub(crate) fn say(
        &mut self,
        at: Duration,
        place: Option<usize>,
        task: Option<usize>,
        text: String,
    ) {
        self.lines.push(Line { at, place, task, text });
    }

    /// All of it, to be compared byte by byte.
    pub(crate) fn whole(&self) -> String {
        self.written(|_| true, usize::MAX)
    }

    /// The last that happened to the task, and to the node, that a rule was broken with.
    pub(crate) fn of(&self, broken: &Broken) -> String {
        let about = |line: &Line| match (broken.task, broken.place) {
            (None, None) => true,
            (task, place) => {
                (task.is_some() && line.task == task)
                    || (line.task.is_none() && place.is_some() && line.place == place)
                    || (line.task.is_none() && line.place.is_none())
            }
        };
        self.written(about, LAST)
    }

    fn written(&self, about: impl Fn(&Line) -> bool, last: usize) -> String {
        let lines: Vec<&Line> = self.lines.iter().filter(|line| about(line)).collect();
        let from = lines.len().saturating_sub(last);
        let mut text = String::new();
        for Line { at, place, task, text: what } in &lines[from..] {
            let place = place.map(|place| format!("node {place}")).unwrap_or_default();
            let task = task.map(|task| format!("task {task}")).unwrap_or_default();
            let _infallible =
                writeln!(text, "{:>9.3}s {place:<7} {task:<8} {what}", at.as_secs_f64());
        }
        text
    }
}
