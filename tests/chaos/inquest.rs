//! What the journal and the storage say afterwards, and whether that agrees with what was promised.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    time::{Duration, SystemTime},
};

use evertask::{
    AttemptEnd, AttemptInfo, Page, Runtime, TaskFilter, TaskId, TaskInfo, TaskState,
    storage::NodeId,
};

use crate::journal;

/// How far the times of an attempt and those of its run may be apart: one is told by the storage, the other by the journal.
const INEXACT: Duration = Duration::from_millis(100);

/// One run of a handler as the journal has it. Without an end its process was killed.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) task: TaskId,
    /// The process it was in.
    pid: u32,
    pub(crate) begin: Duration,
    pub(crate) end: Option<Duration>,
    /// It came to the end of its work.
    pub(crate) done: bool,
}

/// All that is known.
#[derive(Debug)]
pub(crate) struct Inquest {
    pub(crate) tasks: HashMap<TaskId, TaskInfo>,
    pub(crate) runs: HashMap<String, Run>,
    stored: HashSet<TaskId>,
    cancelling: HashSet<TaskId>,
    /// When nodes told of a task that its completion is stored.
    pub(crate) completed: HashMap<TaskId, Vec<Duration>>,
    /// Which node each process was, by its pid, with the wall clock it saw.
    pub(crate) nodes: HashMap<u32, (NodeId, u64)>,
    pub(crate) refused: usize,
    pub(crate) rescued: usize,
    pub(crate) troubles: Vec<String>,
}

impl Inquest {
    pub(crate) async fn hold(directory: &Path, client: &Runtime) -> Self {
        let mut inquest = Self {
            tasks: all(client).await,
            runs: HashMap::new(),
            stored: HashSet::new(),
            cancelling: HashSet::new(),
            completed: HashMap::new(),
            nodes: HashMap::new(),
            refused: 0,
            rescued: 0,
            troubles: Vec::new(),
        };
        for (at, pid, line) in journal::read_by_process(directory) {
            inquest.hear(at, pid, &line);
        }
        inquest
    }

    fn hear(&mut self, at: Duration, pid: u32, line: &str) {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let id = || words[1].parse::<TaskId>().unwrap();
        match words[0] {
            "begin" => {
                let run = Run { task: id(), pid, begin: at, end: None, done: false };
                self.runs.insert(words[2].to_owned(), run);
            }
            "end" => {
                let run = self.runs.get_mut(words[2]).expect("it began");
                (run.end, run.done) = (Some(at), words[3] == "done");
            }
            "stored" => drop(self.stored.insert(id())),
            "cancelling" => drop(self.cancelling.insert(id())),
            "completed" => self.completed.entry(id()).or_default().push(at),
            "node" => {
                let node = (words[1].parse().unwrap(), words[3].parse().unwrap());
                self.nodes.insert(words[2].parse().unwrap(), node);
            }
            "refused" => self.refused += 1,
            "rescued" => self.rescued += 1,
            "trouble" => self.troubles.push(line.to_owned()),
            "missed" => panic!("events were missed: {line}"),
            _ => {}
        }
    }

    /// Nothing that was acknowledged is missing, and everything came to the end it had to.
    pub(crate) fn nothing_is_lost(&self) {
        for id in &self.stored {
            assert!(self.tasks.contains_key(id), "task {id} was acknowledged and is lost");
        }
        for (id, task) in &self.tasks {
            let payload = task.payload.as_str().unwrap();
            let doomed = payload.contains("doomed");
            let usual = if doomed { TaskState::Failed } else { TaskState::Completed };
            // What is held comes to its end when its node is told to stop, and else is cancelled in the end.
            let asked = self.cancelling.contains(id) || payload.contains("held");
            let cancelled = task.state == TaskState::Cancelled && asked;
            assert!(task.state == usual || cancelled, "{task:?}");
        }
    }

    /// The runs of a task whose ends the storage took, in the order of their leases. Those that failed or completed have told their
    /// names; of those that were stopped is known who stopped them, and when.
    pub(crate) fn accepted(&self, task: &TaskInfo) -> Vec<(&str, &Run)> {
        let run = |name: &str| {
            let run = self.runs.get_key_value(name);
            let (name, run) = run.unwrap_or_else(|| panic!("{name} never ran: {task:?}"));
            assert_eq!(run.task, task.id, "{name} was a run of another task");
            (name.as_str(), run)
        };
        let ended = task.attempts.iter().filter_map(|attempt| match attempt.end {
            AttemptEnd::Failed => {
                // What fails by itself does not do so in the name of a run.
                attempt.error.as_deref().filter(|error| error.starts_with("run-")).map(run)
            }
            AttemptEnd::Cancelled | AttemptEnd::Interrupted | AttemptEnd::TimedOut => {
                self.stopped(task, attempt)
            }
            _ => None,
        });
        let output = task.output.as_ref().map(|output| output.read::<String>().unwrap());
        ended.chain(output.as_deref().map(run)).collect()
    }

    /// The run that was stopped in this attempt; `None` if it was before its handler began.
    fn stopped(&self, task: &TaskInfo, attempt: &AttemptInfo) -> Option<(&str, &Run)> {
        let at = |instant: SystemTime| {
            instant.duration_since(SystemTime::UNIX_EPOCH).unwrap() - clock_offset()
        };
        let (from, to) = (at(attempt.started).saturating_sub(INEXACT), at(attempt.ended) + INEXACT);
        let within = |run: &Run| run.begin >= from && run.end.is_some_and(|end| end <= to);
        let was_there = |pid| match self.nodes.get(&pid) {
            Some((node, _)) => *node == attempt.node,
            // The node of the test itself is not announced.
            None => self.nodes.values().all(|(node, _)| *node != attempt.node),
        };
        // Those that have told their names ended in another way.
        let output = task.output.as_ref().map(|output| output.read::<String>().unwrap());
        let told = |name: &str| {
            let failed = task.attempts.iter().any(|it| it.error.as_deref() == Some(name));
            failed || output.as_deref() == Some(name)
        };
        let runs = self.runs.iter().filter(|(_, run)| run.task == task.id && within(run));
        let runs = runs.filter(|(name, run)| was_there(run.pid) && !told(name.as_str()));
        runs.max_by_key(|(_, run)| run.begin).map(|(name, run)| (name.as_str(), run))
    }

    /// How many accepted ends there are of runs that were stopped, and of how many of them the run is known.
    pub(crate) fn stops(&self) -> (usize, usize) {
        let stopped = |attempt: &&AttemptInfo| {
            matches!(
                attempt.end,
                AttemptEnd::Cancelled | AttemptEnd::Interrupted | AttemptEnd::TimedOut
            )
        };
        let of = self
            .tasks
            .values()
            .flat_map(|task| task.attempts.iter().filter(stopped).map(move |it| (task, it)));
        let known = of.clone().filter(|(task, attempt)| self.stopped(task, attempt).is_some());
        (of.clone().count(), known.count())
    }

    /// Runs whose ends were accepted lie one after the other, and nothing was accepted of one whose task had been taken away.
    pub(crate) fn nothing_stale_was_accepted(&self) {
        let offset = clock_offset();
        for task in self.tasks.values() {
            let accepted = self.accepted(task);
            for pair in accepted.windows(2) {
                let ((a, first), (b, second)) = (&pair[0], &pair[1]);
                let end = first.end.unwrap_or_else(|| panic!("{a} was accepted and has no end"));
                assert!(
                    end <= second.begin,
                    "{a} and {b} overlap and both were accepted: {task:?}"
                );
            }
            let lost = task.attempts.iter().filter(|attempt| attempt.end == AttemptEnd::Lost);
            for taken in lost {
                // At the instant at which this was written down nobody had the task.
                let at = taken.ended.duration_since(SystemTime::UNIX_EPOCH).unwrap() - offset;
                let during = |run: &Run| run.begin < at && run.end.is_some_and(|end| end > at);
                let stale = accepted.iter().find(|(_, run)| during(run));
                assert!(stale.is_none(), "{stale:?} was accepted after it was lost: {task:?}");
            }
        }
    }

    /// What was written with the end of a task is there once if it completed, by the run that completed it, and else not at all.
    pub(crate) fn effects_happened_once(&self, effects: &HashMap<String, Vec<String>>) {
        let mut completed = 0;
        for task in self.tasks.values().filter(|task| task.name == "book") {
            let written = effects.get(&task.id.to_string()).map_or(&[][..], Vec::as_slice);
            let output = task.output.as_ref().map(|output| output.read::<String>().unwrap());
            assert_eq!(written, output.as_slice(), "{task:?}");
            completed += 1;
        }
        assert_eq!(completed, effects.len(), "something is written for a task that is not there");
        assert!(completed > 0, "nothing was written at all");
        println!("{completed} tasks wrote with their ends, each once");
    }

    /// How long after its death what a node held was taken over.
    pub(crate) fn rescues(&self, node: NodeId, died: SystemTime) -> Vec<Duration> {
        let attempts = self.tasks.values().flat_map(|task| &task.attempts);
        let lost = attempts.filter(|it| it.end == AttemptEnd::Lost && it.node == node);
        // What it lost while it was stopped was lost before it died.
        lost.filter_map(|it| it.ended.duration_since(died).ok()).collect()
    }

    /// The nodes from which tasks were taken, one for each task.
    pub(crate) fn robbed(&self) -> Vec<NodeId> {
        let attempts = self.tasks.values().flat_map(|task| &task.attempts);
        attempts.filter(|it| it.end == AttemptEnd::Lost).map(|it| it.node).collect()
    }
}

/// What the wall clock is ahead of the one of the journal.
fn clock_offset() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() - journal::now()
}

async fn all(client: &Runtime) -> HashMap<TaskId, TaskInfo> {
    let mut tasks = HashMap::new();
    let mut page = Page { before: None, limit: 1_000 };
    loop {
        let found = client.tasks(TaskFilter::default(), page).await.unwrap();
        let Some(last) = found.last() else { return tasks };
        page.before = Some(last.id);
        for task in found {
            // Listings leave out the attempts.
            let whole = client.task(task.id).await.unwrap().unwrap();
            tasks.insert(task.id, whole);
        }
    }
}
