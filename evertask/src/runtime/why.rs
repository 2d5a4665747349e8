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
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use super::*;
    use crate::{
        body::Body,
        storage::{Claim, Inspect as _, Known, ManualClock, Memory, NewTask, Node, Storage as _},
        task::{AttemptEnd, AttemptInfo},
    };

    fn now() -> SystemTime {
        ManualClock::new().now()
    }

    /// What it knows, what it serves, whether it lives.
    type Sketch<'a> = (&'a [(&'a str, u32)], &'a [&'a str], bool);

    fn roll(nodes: &[Sketch<'_>]) -> Roll {
        let node = |(handlers, queues, lives): &Sketch<'_>| {
            let known = handlers
                .iter()
                .map(|(name, version)| Known { name: (*name).into(), version: *version });
            NodeInfo {
                handlers: known.collect(),
                queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
                lives: *lives,
                host: "here".to_owned(),
                pid: 7,
                quiet: Duration::from_millis(20_600),
                ..NodeInfo::new(NodeId::now_v7(), now())
            }
        };
        Roll::new(now(), nodes.iter().map(node).collect())
    }

    /// A task that is due, as a storage tells of it.
    async fn task() -> TaskInfo {
        let memory = Memory::with_clock(ManualClock::new().clock());
        let mut new = NewTask::new("mail", Body { codec: 1, bytes: (*b"null").into() });
        new.version = 2;
        let id = new.id;
        memory.enqueue(vec![new]).await.unwrap();
        memory.task(id).await.unwrap().unwrap()
    }

    fn said(task: &TaskInfo, roll: &Roll, backlog: &[Backlog]) -> String {
        let said = Explanation::of(task.clone(), roll, backlog).to_string();
        let (head, why) = said.split_once(": ").unwrap();
        assert_eq!(head, format!("task {} (`mail`) is {}", task.id, task.state));
        why.to_owned()
    }

    fn is(task: &TaskInfo, roll: &Roll, words: &str) {
        let said = said(task, roll, &[]);
        assert!(said.starts_with(words), "{said}");
    }

    const MAIL: &[(&str, u32)] = &[("mail", 2)];
    const DEFAULT: &[&str] = &["default"];

    #[tokio::test]
    async fn of_what_hinders_a_task_that_is_due_the_first_is_told() {
        let task = task().await;
        is(&task, &roll(&[]), "no node lives");
        is(&task, &roll(&[(MAIL, DEFAULT, false)]), "no node lives");
        is(
            &task,
            &roll(&[(&[("other", 9)], DEFAULT, true)]),
            "no node that lives knows a handler `mail`",
        );
        let old = (&[("mail", 1)][..], DEFAULT, true);
        is(
            &task,
            &roll(&[old, (MAIL, DEFAULT, false)]),
            "its payload has version 2, and no node that lives reads a newer one than 1",
        );
        // One reads it, and another one serves its queue.
        is(
            &task,
            &roll(&[old, (MAIL, &["else"], true)]),
            "no node that lives and knows `mail` serves the queue `default`",
        );
        let able = roll(&[(MAIL, &["else", "default"], true), (MAIL, DEFAULT, true), old]);
        is(&TaskInfo { losses: 2, ..task.clone() }, &able, "2 nodes died while it ran");
        let line = |queue: &str, name: &str, due| Backlog {
            queue: queue.to_owned(),
            name: name.to_owned(),
            version: 2,
            due,
            oldest: Duration::ZERO,
        };
        let backlog =
            [line("default", "mail", 4), line("default", "other", 3), line("else", "mail", 9)];
        assert_eq!(
            said(&task, &able, &backlog),
            "it is due and waits for its turn; due in its queue `default`: 7, nodes that serve it: 2"
        );
    }

    #[tokio::test]
    async fn what_is_not_due_and_what_has_ended_says_so() {
        let (task, nobody) = (task().await, roll(&[]));
        let due = task.due + Duration::from_millis(5_300);
        let later = TaskInfo { due, ..task.clone() };
        assert_eq!(said(&later, &nobody, &[]), "it is due in 5 s");
        let error = Some("no route".to_owned());
        let retried = TaskInfo { due: task.due + Duration::from_millis(40), error, ..task.clone() };
        assert_eq!(
            said(&retried, &nobody, &[]),
            "it is due in 40 ms, since its last try went wrong: no route"
        );
        is(&TaskInfo { expires: Some(nobody.now), ..later }, &nobody, "its time is out");
        for (state, words) in [
            (TaskState::Completed, "it is done"),
            (TaskState::Failed, "it failed for good: no route"),
            (TaskState::Cancelled, "it was cancelled: no route"),
        ] {
            assert_eq!(said(&TaskInfo { state, ..retried.clone() }, &nobody, &[]), words);
        }
    }

    #[tokio::test]
    async fn of_one_that_runs_its_node_is_told() {
        let (alive, dead) = (roll(&[(MAIL, DEFAULT, true)]), roll(&[(MAIL, DEFAULT, false)]));
        let held = |roll: &Roll| (TaskState::Running, roll.nodes[0].id);
        let task = task().await;
        let running = |(state, node)| TaskInfo { state, node: Some(node), ..task.clone() };
        is(&running(held(&alive)), &alive, "a node holds it ready");
        let started = Some(alive.now - Duration::from_secs(90));
        let begun = TaskInfo { started, ..running(held(&alive)) };
        let node = alive.nodes[0].id;
        let words = format!("it has been running for 1 min 30 s (node {node}, process 7 on here)");
        assert_eq!(said(&begun, &alive, &[]), words);
        let attempts = vec![AttemptInfo {
            lease: 1,
            attempt: 1,
            node,
            binary: String::new(),
            started: alive.now - Duration::from_secs(90),
            ended: alive.now,
            end: AttemptEnd::Failed,
            error: None,
            fingerprint: None,
        }];
        is(&TaskInfo { attempts, ..begun.clone() }, &alive, "a node holds it ready");
        is(&TaskInfo { cancel_asked: true, ..begun }, &alive, "it is to be cancelled");
        let node = dead.nodes[0].id;
        is(
            &running(held(&dead)),
            &dead,
            &format!("its node ({node}) has given no sign of life for 20 s"),
        );
        is(&running(held(&dead)), &alive, &format!("its node ({node}) has left"));
    }

    #[test]
    fn durations_are_said_as_people_say_them() {
        for (millis, words) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (59_999, "59 s"),
            (60_000, "1 min 0 s"),
            (3_599_000, "59 min 59 s"),
            (5_400_000, "1 h 30 min"),
            (86_400_000, "1 d 0 h"),
        ] {
            assert_eq!(Rounded(Duration::from_millis(millis)).to_string(), words);
        }
    }

    /// What a storage tells goes in as it is.
    #[tokio::test]
    async fn a_node_of_memory_lives_for_its_lease() {
        let clock = crate::storage::ManualClock::new();
        let memory = Memory::with_clock(clock.clock());
        let known: Arc<[Known]> = [Known { name: "mail".into(), version: 2 }].into();
        let node = Node::new(Arc::clone(&known), vec!["default".to_owned()]);
        memory.join(node.clone()).await.unwrap();
        let new = NewTask::new("mail", Body { codec: 1, bytes: (*b"null").into() });
        let id = new.id;
        memory.enqueue(vec![new]).await.unwrap();
        memory.claim(Claim::new(1, node.id, known, 1).queue("default", 1, 0)).await.unwrap();
        let explained = async || {
            let task = memory.task(id).await.unwrap().unwrap();
            Explanation::of(task, &memory.roll().await.unwrap(), &[]).why
        };
        clock.advance(Duration::from_secs(14));
        assert!(
            matches!(explained().await, Why::Runs { ran: Some(ran), .. } if ran.as_secs() == 14)
        );
        clock.advance(Duration::from_secs(1));
        let lost = Why::Lost { node: node.id, quiet: Some(Duration::from_secs(15)) };
        assert_eq!(explained().await, lost);
        memory.leave(node.id).await.unwrap();
        assert_eq!(explained().await, Why::Lost { node: node.id, quiet: None });
    }
}
