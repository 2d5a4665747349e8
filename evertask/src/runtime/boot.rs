//! The start of a node: announce it, take over what dead ones left, run the loops, say what there is.

use std::{collections::BTreeSet, future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{
    error::StartError,
    runtime::{
        Shared,
        calls::{LIMIT, limited},
        claimer, declarations,
        health::by_who_runs,
        keeper, pruner, pulse, rescue, settler, ticker, touch,
    },
    storage::StorageError,
};

/// How long the start may take longer for the sake of saying how many tasks there are to resume.
const COUNT: Duration = Duration::from_millis(500);

/// Up to where a storage counts what is due.
const COUNTED: u64 = 10_000;

type Loop = fn(Arc<Shared>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts the node. From here on it takes tasks in.
pub(crate) async fn start(shared: &Arc<Shared>) -> Result<(), StartError> {
    // Should it have been announced after all, it holds nothing, and is soon taken for dead.
    answered(shared.storage.join(shared.node.clone())).await?;
    announce(shared);
    if let Err(error) = declarations::at_start(shared).await {
        // It holds nothing yet; should this fail, too, it is soon taken for dead.
        let _left = limited(shared.storage.leave(shared.node.id)).await;
        return Err(error);
    }
    // Counted before the first of them is taken up, or the count would say what is left of them.
    let counted = tokio::time::timeout(COUNT, tell_backlog(shared)).await;
    if counted.is_err() {
        tracing::info!("there are pending tasks to resume, too many to count while you wait");
    }
    keep_running(shared, "settle", |shared| Box::pin(settler::run(shared)));
    keep_running(shared, "keep", |shared| Box::pin(keeper::run(shared)));
    keep_running(shared, "touch", |shared| Box::pin(touch::run(shared)));
    keep_running(shared, "rescue", |shared| Box::pin(rescue::run(shared)));
    keep_running(shared, "prune", |shared| Box::pin(pruner::run(shared)));
    keep_running(shared, "claim", |shared| Box::pin(claimer::run(shared)));
    keep_running(shared, "tick", |shared| Box::pin(ticker::run(shared)));
    keep_running(shared, "declare", |shared| Box::pin(declarations::run(shared)));
    keep_running(shared, "pulse", |shared| Box::pin(pulse::run(shared)));
    pulse::watch(shared);
    Ok(())
}

/// What the storage says to a call without which there is no start.
pub(crate) async fn answered<T>(
    call: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StartError> {
    let Some(answer) = limited(call).await else {
        return Err(StartError::NoAnswer { waited: LIMIT });
    };
    Ok(answer?)
}

/// Runs a background loop and starts it again should it ever panic: it is never silently gone.
fn keep_running(shared: &Arc<Shared>, name: &'static str, run: Loop) {
    let owned = Arc::clone(shared);
    drop(shared.tokio.spawn(async move {
        while let Err(error) = owned.tokio.spawn(run(Arc::clone(&owned))).await {
            if !error.is_panic() {
                return;
            }
            tracing::error!(name, %error, "a background loop panicked; it is started again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }));
}

fn announce(shared: &Shared) {
    let entries = shared.registry.entries();
    let crates: BTreeSet<_> =
        entries.iter().map(|entry| entry.def.options.location.krate()).collect();
    let crates = Vec::from_iter(crates).join(", ");
    let queues = shared.desk.queues().join(", ");
    tracing::info!(node = %shared.node.id, handlers = entries.len(), crates, queues, "evertask starts");
    if entries.is_empty() {
        tracing::warn!(
            "no handlers were found; if they are in a crate that nothing else names, link it with `evertask::link!(that_crate)`"
        );
    }
}

/// Says what is waiting. Bounded: a storage counts up to 10,000 of each kind, and we do not wait for long.
async fn tell_backlog(shared: &Shared) {
    let backlog = match shared.storage.backlog().await {
        Ok(backlog) => backlog,
        Err(error) => return tracing::warn!(%error, "the backlog could not be counted"),
    };
    let (ours, unserved) = by_who_runs(shared, backlog);
    let due: u64 = ours.iter().map(|backlog| backlog.due).sum();
    if due > 0 {
        let plus = if ours.iter().any(|backlog| backlog.due >= COUNTED) { "at least " } else { "" };
        tracing::info!("{plus}{due} pending tasks to resume");
    }
    for waiting in unserved {
        let (queue, name, version) = (waiting.queue, waiting.name, waiting.version);
        tracing::warn!(
            queue,
            name,
            version,
            due = waiting.due,
            "tasks are due that this node cannot run"
        );
    }
}
