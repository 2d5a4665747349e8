//! How a node is: for health endpoints, and for the person who asks why nothing moves.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use crate::{
    runtime::{LoopHealth, RunningTask, ScheduleInfo, Shared, declarations},
    storage::{Backlog, Hindrance, NodeId},
};

/// Attempts that run longer than this are listed: more often than not they hang.
const LONG: Duration = Duration::from_secs(3600);
/// How long the storage may take to say what is waiting: who asks for health wants an answer.
const LIMIT: Duration = Duration::from_secs(5);
/// A loop that has been failing for longer than this makes the node unhealthy.
const FAILING: Duration = Duration::from_secs(10);

/// How a node is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// The node.
    pub node: NodeId,
    /// Everything works: the storage answered just now, no loop has been failing for more than 10 s, nor have dispatches, and the
    /// executor moves. The storage is waited for for up to 5 s. This is for a page that people look at, or for readiness: what asks
    /// whether a process is to be started anew looks at [`stalled`](Self::stalled), or a database that is away restarts them all.
    pub ok: bool,
    /// How many attempts run.
    pub running: usize,
    /// How many may at once.
    pub concurrency: usize,
    /// Attempts that have been running for more than an hour.
    pub long: Vec<RunningTask>,
    /// How each background loop gets on with the storage, and the dispatches of this process.
    pub loops: Vec<LoopHealth>,
    /// The executor stands still.
    pub stalled: Option<Stall>,
    /// What is due and waits, by queue and handler: of those this node can run.
    pub due: Vec<Backlog>,
    /// What is due and this node cannot run: it does not serve the queue, or does not know the handler or its payload version.
    pub unserved: Vec<Backlog>,
    /// Schedules that came from attributes and that no program which lives declares any more. They go on;
    /// [`remove_undeclared`](crate::Schedules::remove_undeclared) removes them.
    pub undeclared: Vec<ScheduleInfo>,
    /// Schedules that this node has set aside, as they make no sense as they are stored, and that nobody has stored anew; the last
    /// hundred since it started. [`find`](crate::Schedules::find) finds all.
    pub broken: Vec<ScheduleInfo>,
    /// What stands in the storage's way from outside: on PostgreSQL transactions of whatever application that have been open
    /// for more than 5 s, with pid, age and query. Sessions of other roles are seen by a member of `pg_read_all_stats` only.
    pub hindrances: Vec<Hindrance>,
    /// Why `due`, `unserved`, `undeclared`, `broken` and `hindrances` are empty, if the storage could not be asked.
    pub storage_error: Option<String>,
}

/// The executor stands still: something blocks its threads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stall {
    /// For how long.
    pub since: Duration,
    /// The handlers that were being polled when it stopped: one of them blocks.
    pub handlers: Vec<Arc<str>>,
}

pub(crate) async fn health(shared: &Shared) -> Health {
    let loops = shared.calls.health();
    let stalled = shared.pulse.stall();
    let failing =
        |health: &LoopHealth| health.failing.as_ref().is_some_and(|(since, _)| *since > FAILING);
    let ask = async {
        tokio::try_join!(
            shared.storage.backlog(),
            shared.storage.hindrances(),
            declarations::undeclared(shared),
            shared.set_aside.still(&*shared.storage)
        )
    };
    let ((backlog, hindrances, undeclared, broken), storage_error) = match timeout(LIMIT, ask).await
    {
        Ok(Ok(told)) => (told, None),
        Ok(Err(error)) => (Default::default(), Some(error.to_string())),
        Err(_) => {
            (Default::default(), Some(format!("no answer from the storage within {LIMIT:?}")))
        }
    };
    let (due, unserved) = by_who_runs(shared, backlog);
    let running = shared.desk.running();
    Health {
        node: shared.node.id,
        ok: storage_error.is_none() && stalled.is_none() && !loops.iter().any(failing),
        running: running.len(),
        concurrency: shared.settings.concurrency,
        long: running.into_iter().filter(|task| task.ran > LONG).collect(),
        loops,
        stalled,
        due,
        unserved,
        undeclared,
        broken,
        hindrances,
        storage_error,
    }
}

/// What waits: first what this node can run, then what it cannot.
pub(crate) fn by_who_runs(shared: &Shared, backlog: Vec<Backlog>) -> (Vec<Backlog>, Vec<Backlog>) {
    let can_run = |backlog: &Backlog| {
        let known = shared
            .node
            .handlers
            .iter()
            .any(|known| *known.name == backlog.name && known.version >= backlog.version);
        known && shared.runs && shared.settings.serves(&backlog.queue)
    };
    backlog.into_iter().partition(can_run)
}
