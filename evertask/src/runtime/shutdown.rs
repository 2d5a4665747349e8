//! The end of a node: stop taking in, let run what runs, stop what does not end, give back the rest.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    error::ShutdownError,
    runtime::{Shared, ambient, attempt, patience::Patience},
    stop::Stop,
    storage::StorageError,
};

/// How long what has ended may take to be written down, on top of everything else.
const WRITE: Duration = Duration::from_secs(5);

/// Shuts down on a task of its own: who asked may stop waiting without stopping it.
pub(crate) async fn detached(shared: &Arc<Shared>) -> Result<(), ShutdownError> {
    let owned = Arc::clone(shared);
    let task = shared.tokio.spawn(async move { shutdown(&owned).await });
    // Cut off only if the executor itself ends, and then there is nobody left to tell.
    task.await.unwrap_or(Ok(()))
}

/// Shuts down once; later callers wait for the first.
pub(crate) async fn shutdown(shared: &Arc<Shared>) -> Result<(), ShutdownError> {
    let _one_at_a_time = shared.shutting_down.lock().await;
    if shared.closed.is_set() {
        return Ok(());
    }
    let result = if shared.runs { stop_node(shared).await } else { Ok(()) };
    close(shared);
    result
}

fn close(shared: &Shared) {
    shared.closed.set();
    shared.left.set();
    ambient::withdraw(shared);
    shared.events.close();
}

/// The end of a node whose executor is gone: nothing runs any more, and nobody can be waited for.
pub(crate) fn abandon(shared: &Shared) {
    // What was cut off could not leave the desk by itself, and its contexts hold this runtime.
    shared.desk.abandon();
    close(shared);
}

async fn stop_node(shared: &Arc<Shared>) -> Result<(), ShutdownError> {
    let deadline = Instant::now() + shared.settings.shutdown_timeout;
    shared.draining.set();
    for task in shared.desk.drain() {
        attempt::give_back(shared, &task);
    }
    let running = shared.desk.used();
    if running > 0 {
        tracing::info!(running, "shutting down; waiting for running tasks");
    }
    let patient = async {
        tokio::select! {
            biased;
            () = empty(shared) => {}
            () = shared.hurry.wait() => {}
        }
    };
    if timeout_at(deadline, patient).await.is_err() {
        tracing::warn!(
            running = shared.desk.used(),
            "tasks are still running; they are stopped and will be pending again"
        );
    }
    shared.desk.stop_all(Stop::Shutdown);
    // A claim that was under way when we began may still bring tasks; the desk gives them back.
    let late = timeout(shared.settings.grace + WRITE, async {
        shared.claiming.none().await;
        empty(shared).await;
    })
    .await;
    let unsettled = if late.is_ok() { 0 } else { shared.desk.len() };
    if timeout_at(deadline.max(Instant::now() + WRITE), shared.hooks.none()).await.is_err() {
        tracing::warn!(hooks = shared.hooks.count(), "hooks are still running and are left behind");
    }
    shared.left.set();
    let left = timeout(WRITE, leave(shared)).await;
    tracing::info!(node = %shared.node.id, unsettled, "evertask has shut down");
    if unsettled > 0 {
        return Err(ShutdownError::Unsettled { unsettled });
    }
    // One that could not say so is found to give no sign of life, and holds nothing.
    left.unwrap_or(Ok(())).map_err(ShutdownError::Storage)
}

async fn leave(shared: &Shared) -> Result<(), StorageError> {
    let mut patience = Patience::new();
    loop {
        match shared.storage.leave(shared.node.id).await {
            Err(error) if error.is_transient() => sleep(patience.wait()).await,
            left => return left,
        }
    }
}

/// Resolves when nothing is held any more, and nothing runs: a run whose task came back to this node under a newer lease is
/// not held, and takes a moment to stop.
async fn empty(shared: &Shared) {
    loop {
        let empty = shared.desk.empty.notified();
        tokio::pin!(empty);
        empty.as_mut().enable();
        if shared.desk.len() == 0 && shared.desk.used() == 0 {
            return;
        }
        empty.await;
    }
}

pub(crate) async fn run_until_signal(shared: &Arc<Shared>) -> Result<(), ShutdownError> {
    let signal = tokio::select! {
        signal = next_signal() => signal,
        () = shared.closed.wait() => return Ok(()),
    };
    tracing::info!(signal, "told to stop");
    let impatient = async {
        next_signal().await;
        tracing::warn!("told to stop again; running tasks are stopped now");
        shared.hurry.set();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = detached(shared) => result,
        () = impatient => Ok(()),
    }
}

#[cfg(unix)]
async fn next_signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        },
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "signals cannot be listened to; stop the process by other means");
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
async fn next_signal() -> &'static str {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::error!(%error, "signals cannot be listened to; stop the process by other means");
        std::future::pending::<()>().await;
    }
    "Ctrl-C"
}
