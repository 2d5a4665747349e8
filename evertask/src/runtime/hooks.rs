//! Calls an application's hooks: outside the slot, bounded in time, and without any say in what becomes of the task.

use std::{sync::Arc, time::Duration};

use crate::{
    context::{Context, NewContext},
    event::EventKind,
    failure::Failure,
    hooks::{Hook, HookCall, Hooks},
    runtime::{Shared, ambient},
    storage::Ended,
};

/// How long one hook may take.
const LIMIT: Duration = Duration::from_secs(30);
/// While more hooks than this are under way, no new tasks are claimed.
pub(crate) const HOOKS_MAX: usize = 1024;

/// The hook for this end of an attempt, and its name.
pub(crate) fn hook_for(hooks: &Hooks, kind: EventKind) -> Option<(&'static str, Hook)> {
    let (which, hook) = match kind {
        EventKind::Started => ("on_started", hooks.started),
        EventKind::Completed => ("on_completed", hooks.completed),
        EventKind::Retrying => ("on_retry", hooks.retry),
        EventKind::Failed => ("on_failed", hooks.failed),
        EventKind::Cancelled => ("on_cancelled", hooks.cancelled),
        _ => return None,
    };
    Some((which, hook?))
}

/// Calls the hook for a task that ended without an attempt here: cancelled while it waited, expired, failed by rescue. What the
/// hook wants is read from storage; a task that is not kept is gone by then, and its hook is not called.
pub(crate) fn without_attempt(
    shared: &Arc<Shared>,
    task: &Ended,
    kind: EventKind,
    failure: Option<Failure>,
) {
    let Some(entry) = shared.registry.get(&task.name) else { return };
    let Some((which, hook)) = hook_for(&entry.def.hooks, kind) else { return };
    let Ended { id, name, queue, attempt } = task.clone();
    let owned = Arc::clone(shared);
    let running = shared.hooks.enter();
    shared.tokio.spawn(async move {
        let _running = running;
        if let Ok(Some(stored)) = owned.storage.task(id).await {
            let new = NewContext::of(&owned, id, attempt, name, queue, stored.tick);
            let ctx = Context::new(new);
            spawn(
                &owned,
                which,
                hook,
                HookCall { payload: stored.payload, ctx, output: None, failure },
            );
        }
    });
}

/// Calls the hook beside everything else.
pub(crate) fn spawn(shared: &Arc<Shared>, which: &'static str, hook: Hook, call: HookCall) {
    let (id, name) = (call.ctx.id(), call.ctx.name().to_owned());
    let running = shared.hooks.enter();
    let owned = Arc::clone(shared);
    shared.tokio.spawn(async move {
        let _running = running;
        // A task of its own, so that a panic in it stays there.
        let within = ambient::within(Arc::clone(&owned), hook(call));
        let handle = owned.tokio.spawn(within);
        let abort = handle.abort_handle();
        match tokio::time::timeout(LIMIT, handle).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%id, name, which, %error, "a hook failed; the task's end stands"),
            Ok(Err(error)) => tracing::warn!(%id, name, which, %error, "a hook panicked; the task's end stands"),
            Err(_) => {
                abort.abort();
                tracing::warn!(%id, name, which, "a hook took longer than {LIMIT:?} and was stopped");
            }
        }
    });
}
