//! The process that a runtime lives in: all that it spawns passes here.
//!
//! A program has one and need not know. A simulator has several on one executor, and lets one stand still while the others go on:
//! nothing of it is polled meanwhile, so a timer that runs out is seen when it moves again, as it is by a process that was stopped.

use std::future::Future;
#[cfg(feature = "simulation")]
use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    runtime::{Handle, Id},
    task::JoinHandle,
};

/// What may stand still.
#[cfg(feature = "simulation")]
pub trait Process: fmt::Debug + Send + Sync + 'static {
    /// Ready while it moves; otherwise, whoever asks is woken when it does.
    fn poll_moves(&self, context: &mut Context<'_>) -> Poll<()>;
}

#[cfg(feature = "simulation")]
tokio::task_local! {
    static HERE: Arc<dyn Process>;
}

/// A future that goes on while its process moves. A runtime that it starts belongs to that, with all that it spawns.
#[cfg(feature = "simulation")]
pub fn of<F: Future + Send>(
    process: Arc<dyn Process>,
    future: F,
) -> impl Future<Output = F::Output> + Send {
    HERE.scope(Arc::clone(&process), Held { process, future: Box::pin(future) })
}

#[cfg(feature = "simulation")]
struct Held<F> {
    process: Arc<dyn Process>,
    future: Pin<Box<F>>,
}

#[cfg(feature = "simulation")]
impl<F: Future> Future for Held<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        ready!(self.process.poll_moves(context));
        self.future.as_mut().poll(context)
    }
}

/// Where a runtime spawns.
#[derive(Debug)]
pub(crate) struct Executor {
    tokio: Handle,
    #[cfg(feature = "simulation")]
    process: Option<Arc<dyn Process>>,
}

impl Executor {
    /// The one on which this is called.
    pub(crate) fn here() -> Self {
        Self {
            tokio: Handle::current(),
            #[cfg(feature = "simulation")]
            process: HERE.try_with(Arc::clone).ok(),
        }
    }

    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        #[cfg(feature = "simulation")]
        if let Some(process) = &self.process {
            return self.tokio.spawn(of(Arc::clone(process), future));
        }
        self.tokio.spawn(future)
    }

    pub(crate) fn id(&self) -> Id {
        self.tokio.id()
    }
}
