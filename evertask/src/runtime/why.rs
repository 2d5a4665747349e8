//! Why a task is where it is, and in particular why it does not run.

use std::{fmt, time::Duration};

use crate::{
    storage::{Backlog, NodeId, NodeInfo, Roll},
    task::{TaskInfo, TaskState},
    verdict::SUSPECT_AFTER,
};

/// What [`Runtime::explain`](crate::Runtime::explain) answers: the task, and why it is where it is. `Display` says it in one line.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Explanation {
    /// All that is stored about the task.
    pub task: TaskInfo,
    /// Why it is where it is.
    pub why: Why,
}

/// Why a task is where it is: the first of these that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It has ended. Of one that did not complete: what was last said against it.
    Ended {
        /// How.
        state: TaskState,
        /// The error, or the reason of the cancel.
        error: Option<String>,
    },
    /// Its node gives no sign of life any more, or has left: a node that lives takes the task over and runs it again.
    Lost {
        /// The node that holds it.
        node: NodeId,
        /// For how long nothing was heard of it; `None` if it is not announced at all.
        quiet: Option<Duration>,
    },
    /// It is to be cancelled, and the node that runs it has yet to stop it.
    Stops {
        /// Which node, in words.
        node: String,
    },
    /// A node that lives holds it: it runs, or is about to.
    Runs {
        /// Which node, in words.
        node: String,
        /// How long it has been running, if it has begun.
        ran: Option<Duration>,
    },
    /// Its time is out: it is cancelled as soon as somebody comes upon it.
    Expired,
    /// It is due only then: it was stored for later, or waits for its next try.
    Later {
        /// In how long.
        due_in: Duration,
        /// What went wrong last time.
        error: Option<String>,
    },
    /// No node lives.
    NobodyLives,
    /// No node that lives knows its handler.
    UnknownHandler,
    /// Nodes that live know its handler, but not this version of its payload.
    NewerPayload {
        /// The newest version that one of them reads.
        newest: u32,
    },
    /// No node that lives and knows its handler serves its queue.
    UnservedQueue,
    /// Nodes died while it ran, so it runs once one of them has nothing else to do.
    Suspect,
    /// It is due and waits for its turn.
    Turn {
        /// So many are due in its queue, itself included; counted up to 10,000 for each handler.
        due: u64,
        /// So many nodes that live serve its queue and know its handler.
        nodes: usize,
    },
}

impl Explanation {
    /// The first reason that holds, by what the storage knew at one instant or nearly so.
    pub(crate) fn of(task: TaskInfo, roll: &Roll, backlog: &[Backlog]) -> Self {
        let why = why(&task, roll, backlog);
        Self { task, why }
    }
}

fn why(task: &TaskInfo, roll: &Roll, backlog: &[Backlog]) -> Why {
    let error = || task.error.clone();
    match task.state {
        TaskState::Completed | TaskState::Failed | TaskState::Cancelled => {
            let error = error().filter(|_| task.state != TaskState::Completed);
            Why::Ended { state: task.state, error }
        }
        TaskState::Running => held(task, roll),
        TaskState::Pending => {
            let now = roll.now;
            if task.expires.is_some_and(|at| at <= now) {
                return Why::Expired;
            }
            match task.due.duration_since(now) {
                Ok(due_in) if !due_in.is_zero() => Why::Later { due_in, error: error() },
                _ => waits(task, roll, backlog),
            }
        }
    }
}

/// Of one that a node holds.
fn held(task: &TaskInfo, roll: &Roll) -> Why {
    let holder = task.node.unwrap_or_default();
    let known = roll.nodes.iter().find(|node| node.id == holder);
    let Some(node) = known.filter(|node| node.lives) else {
        return Why::Lost { node: holder, quiet: known.map(|node| node.quiet) };
    };
    let node = in_words(node);
    if task.cancel_asked {
        return Why::Stops { node };
    }
    // Held ready for another try, it still has the beginning of the last one.
    let last = task.attempts.last().map(|attempt| attempt.started);
    let started = task.started.filter(|at| Some(*at) != last);
    Why::Runs { node, ran: started.and_then(|at| roll.now.duration_since(at).ok()) }
}

/// Of one that is due.
fn waits(task: &TaskInfo, roll: &Roll, backlog: &[Backlog]) -> Why {
    let lives = || roll.nodes.iter().filter(|node| node.lives);
    let reads = |node: &NodeInfo| {
        let known = node.handlers.iter().filter(|known| *known.name == *task.name);
        known.map(|known| known.version).max()
    };
    let Some(newest) = lives().filter_map(reads).max() else {
        return if lives().next().is_none() { Why::NobodyLives } else { Why::UnknownHandler };
    };
    if newest < task.version {
        return Why::NewerPayload { newest };
    }
    let able = lives().filter(|node| reads(node) >= Some(task.version));
    let nodes = able.filter(|node| node.queues.contains(&task.queue)).count();
    if nodes == 0 {
        return Why::UnservedQueue;
    }
    if task.losses >= SUSPECT_AFTER {
        return Why::Suspect;
    }
    let of_queue = backlog.iter().filter(|line| line.queue == task.queue);
    Why::Turn { due: of_queue.map(|line| line.due).sum::<u64>().max(1), nodes }
}

fn in_words(node: &NodeInfo) -> String {
    let NodeInfo { id, host, pid, .. } = node;
    if host.is_empty() {
        format!("{id}, process {pid}")
    } else {
        format!("{id}, process {pid} on {host}")
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TaskInfo { id, name, version, queue, state, losses, .. } = &self.task;
        write!(f, "task {id} (`{name}`) is {state}: ")?;
        let after = |f: &mut fmt::Formatter<'_>, error: &Option<String>| match error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        };
        match &self.why {
            Why::Ended { state, error } => {
                f.write_str(match state {
                    TaskState::Failed => "it failed for good",
                    TaskState::Cancelled => "it was cancelled",
                    _ => "it is done",
                })?;
                after(f, error)
            }
            Why::Lost { node, quiet: Some(quiet) } => write!(
                f,
                "its node ({node}) has given no sign of life for {}; a node that lives takes the task over",
                Rounded(*quiet)
            ),
            Why::Lost { node, quiet: None } => {
                write!(f, "its node ({node}) has left; a node that lives takes the task over")
            }
            Why::Stops { node } => {
                write!(f, "it is to be cancelled, and its node ({node}) has yet to stop it")
            }
            Why::Runs { node, ran: Some(ran) } => {
                write!(f, "it has been running for {} (node {node})", Rounded(*ran))
            }
            Why::Runs { node, ran: None } => {
                write!(
                    f,
                    "a node holds it ready and begins it as soon as it has a slot free ({node})"
                )
            }
            Why::Expired => f.write_str("its time is out, so it is cancelled instead of run"),
            Why::Later { due_in, error } => {
                write!(f, "it is due in {}", Rounded(*due_in))?;
                match error {
                    Some(error) => write!(f, ", since its last try went wrong: {error}"),
                    None => Ok(()),
                }
            }
            Why::NobodyLives => f.write_str("no node lives; start a program that runs its handler"),
            Why::UnknownHandler => write!(
                f,
                "no node that lives knows a handler `{name}`; start a program that has it, or give the handler that took its \
                 place the alias `{name}`"
            ),
            Why::NewerPayload { newest } => write!(
                f,
                "its payload has version {version}, and no node that lives reads a newer one than {newest}; start a newer program"
            ),
            Why::UnservedQueue => write!(
                f,
                "no node that lives and knows `{name}` serves the queue `{queue}`; see which queues those serve"
            ),
            Why::Suspect => write!(
                f,
                "{losses} nodes died while it ran, so it waits until one has nothing else to do and runs it alone"
            ),
            Why::Turn { due, nodes } => write!(
                f,
                "it is due and waits for its turn; due in its queue `{queue}`: {due}, nodes that serve it: {nodes}"
            ),
        }
    }
}

/// A duration as people say it: its two largest units; a short one in milliseconds.
struct Rounded(Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
        match (days, hours, minutes, secs % 60) {
            (0, 0, 0, 0) => write!(f, "{} ms", self.0.as_millis()),
            (0, 0, 0, secs) => write!(f, "{secs} s"),
            (0, 0, minutes, secs) => write!(f, "{minutes} min {secs} s"),
            (0, hours, minutes, _) => write!(f, "{hours} h {minutes} min"),
            (days, hours, ..) => write!(f, "{days} d {hours} h"),
        }
    }
}

#[cfg(test)]
mod tests;
