//! Calls an application's hooks: outside the slot, bounded in time, and without any say in what becomes of the task.

use std::{sync::Arc, time::Duration};

use crate::{
    hooks::{Hook, HookCall},
    runtime::{Shared, ambient},
};

/// How long one hook may take.
const LIMIT: Duration = Duration::from_secs(30);
/// While more hooks than this are under way, no new tasks are claimed.
pub(crate) const HOOKS_MAX: usize = 1024;

/// Calls the hook beside everything else.
pub(crate) fn spawn(shared: &Arc<Shared>, which: &'static str, hook: Hook, call: HookCall) {
    let (id, name) = (call.ctx.id(), call.ctx.name().to_owned());
    let running = shared.hooks.enter();
    let within = Arc::clone(shared);
    shared.tokio.spawn(async move {
        let _running = running;
        // A task of its own, so that a panic in it stays there.
        let handle = tokio::spawn(ambient::within(within, hook(call)));
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
