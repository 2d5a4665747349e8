//! Which runtime a dispatch goes to that names none.

use std::{
    future::Future,
    sync::{Arc, PoisonError, RwLock, Weak},
};

use tokio::runtime::{Handle, Id};

use crate::{
    error::DispatchError,
    runtime::{Runtime, Shared},
};

tokio::task_local! {
    /// The runtime of the handler that runs in this task.
    static HERE: Arc<Shared>;
}

/// Every runtime of the process that has not been shut down, with the tokio runtime it was started on.
static ALIVE: RwLock<Vec<(Id, Weak<Shared>)>> = RwLock::new(Vec::new());

/// Makes the runtime findable and hands out its owning handle.
pub(crate) fn announce(shared: Arc<Shared>) -> Runtime {
    let mut alive = ALIVE.write().unwrap_or_else(PoisonError::into_inner);
    alive.retain(|(_, shared)| shared.strong_count() > 0);
    alive.push((shared.tokio.id(), Arc::downgrade(&shared)));
    Runtime::owning(shared)
}

/// Makes the runtime no longer findable.
pub(crate) fn withdraw(shared: &Shared) {
    let mut alive = ALIVE.write().unwrap_or_else(PoisonError::into_inner);
    alive.retain(|(_, other)| other.strong_count() > 0 && !std::ptr::eq(other.as_ptr(), shared));
}

/// Runs a future in which this runtime is the one that dispatches go to.
pub(crate) fn within<F: Future>(shared: Arc<Shared>, future: F) -> impl Future<Output = F::Output> {
    HERE.scope(shared, future)
}

/// That of the running handler; else the one started on the current tokio runtime; else the only one of the process.
pub(crate) fn current() -> Result<Arc<Shared>, DispatchError> {
    if let Ok(here) = HERE.try_with(Arc::clone) {
        return Ok(here);
    }
    let alive = ALIVE.read().unwrap_or_else(PoisonError::into_inner);
    let here = Handle::try_current().ok().map(|handle| handle.id());
    let on_this_tokio = alive.iter().filter(|(id, _)| Some(*id) == here);
    only(on_this_tokio).or_else(|many| match many {
        DispatchError::NoRuntime => only(alive.iter()),
        many => Err(many),
    })
}

fn only<'a>(
    mut runtimes: impl Iterator<Item = &'a (Id, Weak<Shared>)>,
) -> Result<Arc<Shared>, DispatchError> {
    let mut next = || runtimes.by_ref().find_map(|(_, shared)| shared.upgrade());
    let first = next().ok_or(DispatchError::NoRuntime)?;
    if next().is_some() { Err(DispatchError::AmbiguousRuntime) } else { Ok(first) }
}
