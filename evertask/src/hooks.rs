//! What an application is told about its tasks: `on_started`, `on_completed`, `on_retry`, `on_failed`, `on_cancelled`.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::{
    body::Body,
    context::Context,
    failure::{BoxError, Failure},
    storage::BoxFuture,
};

/// One hook: reads what it needs and calls the application's fn.
pub type Hook = fn(HookCall) -> BoxFuture<'static, Result<(), BoxError>>;

/// The hooks of one handler.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Hooks {
    /// The attempt has begun.
    pub started: Option<Hook>,
    /// The task completed; the hook gets its output.
    pub completed: Option<Hook>,
    /// The attempt failed and there will be another; the hook gets the failure.
    pub retry: Option<Hook>,
    /// The task failed; the hook gets the last failure.
    pub failed: Option<Hook>,
    /// The task was cancelled.
    pub cancelled: Option<Hook>,
}

impl Hooks {
    /// No hooks.
    pub const NONE: Self =
        Self { started: None, completed: None, retry: None, failed: None, cancelled: None };

    /// True if any of them follows the end of an attempt.
    pub(crate) fn follow_an_end(&self) -> bool {
        let Self { started: _, completed, retry, failed, cancelled } = self;
        [completed, retry, failed, cancelled].into_iter().any(Option::is_some)
    }

    /// With this hook for the start of an attempt.
    #[must_use]
    pub const fn started(mut self, hook: Hook) -> Self {
        self.started = Some(hook);
        self
    }

    /// With this hook for completion.
    #[must_use]
    pub const fn completed(mut self, hook: Hook) -> Self {
        self.completed = Some(hook);
        self
    }

    /// With this hook for an attempt that will be followed by another.
    #[must_use]
    pub const fn retry(mut self, hook: Hook) -> Self {
        self.retry = Some(hook);
        self
    }

    /// With this hook for failure.
    #[must_use]
    pub const fn failed(mut self, hook: Hook) -> Self {
        self.failed = Some(hook);
        self
    }

    /// With this hook for cancellation.
    #[must_use]
    pub const fn cancelled(mut self, hook: Hook) -> Self {
        self.cancelled = Some(hook);
        self
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("started", &self.started.is_some())
            .field("completed", &self.completed.is_some())
            .field("retry", &self.retry.is_some())
            .field("failed", &self.failed.is_some())
            .field("cancelled", &self.cancelled.is_some())
            .finish()
    }
}

/// What a hook is called with.
#[derive(Debug)]
pub struct HookCall {
    pub(crate) payload: Body,
    pub(crate) ctx: Context,
    pub(crate) output: Option<Body>,
    pub(crate) failure: Option<Failure>,
}

impl HookCall {
    /// The payload, read again from its stored bytes.
    ///
    /// # Errors
    /// The bytes are not of this shape.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, BoxError> {
        Ok(self.payload.read()?)
    }

    /// The output, read again from its stored bytes.
    ///
    /// # Errors
    /// The output could not be stored, or its bytes are not of this shape.
    pub fn output<T: DeserializeOwned>(&self) -> Result<T, BoxError> {
        Ok(self.output.as_ref().ok_or("the output could not be stored")?.read()?)
    }

    /// The failure of the attempt.
    ///
    /// # Errors
    /// The hook is none of those that have one.
    pub fn failure(&self) -> Result<Failure, BoxError> {
        Ok(self.failure.clone().ok_or("no failure")?)
    }

    /// The context of the attempt.
    #[must_use]
    pub fn context(&self) -> Context {
        self.ctx.clone()
    }
}

/// What a hook fn may return: `()` or a `Result<(), E>`.
#[diagnostic::on_unimplemented(
    message = "a hook cannot return `{Self}`",
    label = "neither `()` nor a `Result<(), E>`"
)]
pub trait HookReturned {
    /// The error, if there is one.
    ///
    /// # Errors
    /// What the hook returned.
    fn into_result(self) -> Result<(), BoxError>;
}

impl HookReturned for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> HookReturned for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}
