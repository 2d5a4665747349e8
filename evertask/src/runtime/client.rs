//! The dispatching side: bring tasks into storage, ask about them, wait for them.

use std::{slice, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use crate::{
    body::Body,
    chance::jittered,
    error::{DispatchError, OutputError},
    event::{Event, EventKind},
    failure::Failure,
    runtime::{Shared, patience::Patience},
    stop::Stop,
    storage::{Cancel, Dispatched, Ended, Enqueued, NewTask, Reply, StorageError},
    task::{AttemptEnd, TaskId, TaskInfo, TaskState},
};

/// How often an awaited task is looked at where nothing in this process could tell of its end.
const SAFETY: Duration = Duration::from_secs(60);

/// How soon it is looked whether a caller's transaction has been committed; then each time after twice as long.
const COMMITTED: Duration = Duration::from_millis(10);

/// How long one try of a dispatch is waited for at least, if there is so much time left.
const TRY: Duration = Duration::from_secs(1);

impl Shared {
    /// Stores the tasks, all or none.
    pub(crate) async fn enqueue(&self, tasks: &[NewTask]) -> Result<Vec<Enqueued>, DispatchError> {
        let Some(first) = tasks.first() else { return self.open().map(|()| Vec::new()) };
        let enqueued = self.stored(first.id, || self.storage.enqueue(tasks.to_vec())).await?;
        self.tell_dispatched(tasks, &enqueued);
        Ok(enqueued)
    }

    /// Stores one, without the lists that many need.
    pub(crate) async fn enqueue_one(&self, task: &NewTask) -> Result<Enqueued, DispatchError> {
        let store = || self.storage.enqueue_one(task.clone());
        let enqueued = self.stored(task.id, store).await?;
        self.tell_dispatched(slice::from_ref(task), &[enqueued]);
        Ok(enqueued)
    }

    fn open(&self) -> Result<(), DispatchError> {
        if self.closed.is_set() { Err(DispatchError::ShutDown) } else { Ok(()) }
    }

    /// Makes this call until it is answered. The ids of the tasks were made before, the first of which is this, so trying again cannot
    /// store them twice.
    ///
    /// A call that is never answered leaves time for others: each has half of what is left.
    async fn stored<'s, A>(
        &'s self,
        first: TaskId,
        store: impl Fn() -> Reply<'s, A>,
    ) -> Result<A, DispatchError> {
        self.open()?;
        let start = Instant::now();
        let limit = self.settings.dispatch_timeout;
        let mut patience = Patience::new();
        // A try whose answer is not known makes the answer of the whole unknown, should the others fail too.
        let mut unsure: Option<String> = None;
        loop {
            let left = limit.saturating_sub(start.elapsed());
            let share = (left / 2).max(TRY).min(left);
            let error = match timeout(share, store()).await {
                Ok(Ok(enqueued)) => {
                    self.calls.dispatch.went(Ok::<_, String>(()));
                    return Ok(enqueued);
                }
                Ok(Err(error)) if error.is_transient() => error.to_string(),
                Ok(Err(error)) if unsure.is_none() => return Err(DispatchError::Storage(error)),
                Ok(Err(error)) => {
                    let last = error.to_string();
                    return Err(DispatchError::Unknown {
                        id: first,
                        waited: start.elapsed(),
                        last,
                    });
                }
                Err(_) => unsure.take().unwrap_or_else(|| "no answer".to_owned()),
            };
            self.calls.dispatch.went(Err(&error));
            let wait = patience.wait();
            if start.elapsed() + wait >= limit {
                return Err(DispatchError::Unknown {
                    id: first,
                    waited: start.elapsed(),
                    last: error,
                });
            }
            unsure = Some(error);
            sleep(wait).await;
        }
    }

    pub(super) fn tell_dispatched(&self, tasks: &[NewTask], enqueued: &[Enqueued]) {
        for (task, Enqueued { id, how }) in tasks.iter().zip(enqueued) {
            tracing::debug!(%id, name = &*task.name, queue = &*task.queue, ?how, "dispatched");
            self.events.tell(|| {
                let kind = match how {
                    Dispatched::Created => EventKind::Dispatched,
                    Dispatched::Replaced => EventKind::Replaced,
                    Dispatched::Existing => EventKind::KeyBusy,
                };
                Event::new(*id, task.name.clone(), task.queue.clone(), 0, kind)
            });
        }
    }

    pub(crate) async fn task(&self, id: TaskId) -> Result<Option<TaskInfo>, StorageError> {
        self.storage.task(id).await
    }

    pub(crate) async fn cancel(self: &Arc<Self>, id: TaskId) -> Result<Cancel, StorageError> {
        // How long it is kept depends on its handler and queue, and they are known only once the task is.
        let Some(task) = self.storage.task(id).await? else { return Ok(Cancel::Unknown) };
        let keep = self.keep(&task.name, &task.queue).cancelled;
        let cancel = self.storage.cancel(id, keep).await?;
        match cancel {
            Cancel::Asked => {
                // If it runs here there is no need to wait for the keeper to hear of it. Under the lease it had before: what began since
                // may have been revived, and is not what was cancelled.
                if let Some(task) = self.desk.stop(id, Some(task.lease), Stop::Cancel) {
                    super::attempt::cancel_unstarted(self, &task);
                }
            }
            Cancel::Done => {
                tracing::info!(%id, name = task.name, "cancelled before it was started");
                let (name, queue) = (task.name.into(), task.queue.into());
                let ended = Ended { id, name, queue, attempt: task.attempt };
                self.tell_ended(ended, EventKind::Cancelled, "cancelled");
            }
            Cancel::TooLate(_) | Cancel::Unknown => {}
        }
        Ok(cancel)
    }

    /// A task ended without an attempt here: event and hook.
    pub(crate) fn tell_ended(self: &Arc<Self>, task: Ended, kind: EventKind, why: &str) {
        let failure = (kind == EventKind::Failed).then(|| Failure::new(AttemptEnd::Lost, why));
        super::hooks::without_attempt(self, &task, kind, failure);
        let Ended { id, name, queue, attempt } = task;
        self.events.tell(|| Event::new(id, name, queue, attempt, kind).error(why));
    }

    /// Waits for the end of a task and returns its output as stored. An uncommitted one may not be there yet.
    pub(crate) async fn output(&self, id: TaskId, uncommitted: bool) -> Result<Body, OutputError> {
        let mut uncommitted = uncommitted.then_some(COMMITTED);
        loop {
            // Listened for before the look, so an end between the two is heard.
            let ended = self.storage.bell().listen_ended(id);
            let task = match (self.storage.task(id).await?, &mut uncommitted) {
                (Some(task), _) => task,
                (None, None) => return Err(OutputError::Unknown { id }),
                (None, Some(wait)) => {
                    let _woken_or_not = timeout(*wait, ended).await;
                    *wait = (*wait * 2).min(self.settings.look_every);
                    continue;
                }
            };
            uncommitted = None;
            match task.state {
                TaskState::Completed => {
                    let why =
                        || task.output_error.unwrap_or_else(|| "it was not recorded".to_owned());
                    return task.output.ok_or_else(|| OutputError::NotStored { id, why: why() });
                }
                TaskState::Failed => {
                    return Err(OutputError::Failed { id, error: task.error.unwrap_or_default() });
                }
                TaskState::Cancelled => {
                    return Err(OutputError::Cancelled {
                        id,
                        reason: task.error.unwrap_or_default(),
                    });
                }
                TaskState::Pending | TaskState::Running => {}
            }
            let every = if self.runs { SAFETY } else { self.settings.look_every };
            let _woken_or_not = timeout(jittered(every), ended).await;
        }
    }
}
