use evertask::{Context, Failure, Handler as _, TaskError};

mod hooks {
    use super::*;

    pub async fn started(_: &send, _: Context) {}
    pub async fn completed(_: &send, _: Context, _: &u32) {}
    pub async fn retry(_: &send, _: Context, _: &Failure) {}
    pub async fn failed(_: &send, _: Context, _: &Failure) {}
    pub async fn cancelled(_: &send, _: Context) {}
}

#[evertask::handler(
    on_started = hooks::started,
    on_completed = hooks::completed,
    on_retry = hooks::retry,
    on_failed = hooks::failed,
    on_cancelled = hooks::cancelled
)]
async fn send(email: String) -> Result<u32, String> {
    Err(email)
}

// Hooks may fail, each with its own error, and may await.
async fn started(payload: &store, ctx: Context) -> Result<(), String> {
    std::future::ready(()).await;
    Err(format!("{} {}", payload.email, ctx.attempt()))
}
async fn completed(_: &store, _: Context, _: &()) -> Result<(), std::fmt::Error> {
    Ok(())
}
async fn failed(_: &store, _: Context, failure: &Failure) -> Result<(), TaskError> {
    Err(TaskError::from(failure.message.clone()))
}

#[evertask::handler(on_started = started, on_completed = completed, on_retry = failed, on_failed = failed, on_cancelled = started)]
async fn store(email: String) {
    drop(email);
}

// One hook for several handlers.
async fn any<T>(_: &T, _: Context) {}

#[evertask::handler(on_started = any, on_cancelled = any::<shared>)]
async fn shared() {}

fn main() {
    for hooks in [send::HOOKS, store::HOOKS] {
        assert!(hooks.started.is_some());
        assert!(hooks.completed.is_some());
        assert!(hooks.retry.is_some());
        assert!(hooks.failed.is_some());
        assert!(hooks.cancelled.is_some());
    }
    assert!(shared::HOOKS.started.is_some() && shared::HOOKS.failed.is_none());
}
