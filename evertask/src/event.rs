//! What a node tells about its tasks while it runs.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use futures_core::Stream;
use tokio::sync::broadcast::{self, error::RecvError};
use uuid::Uuid;

use crate::task::TaskId;

/// How many events a slow listener may be behind before it misses some.
const KEPT: usize = 4096;

/// Something that happened to a task on this node.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    /// The task; nil ([`TaskId::is_nil`]) where the event is about no single one.
    pub id: TaskId,
    /// The name of its handler.
    pub name: Arc<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// The key of the schedule, where the event is about one.
    pub schedule: Option<Arc<str>>,
    /// Which try: 1, 2, …; 0 before the first.
    pub attempt: u32,
    /// When it happened, by this host's clock.
    pub time: SystemTime,
    /// What happened.
    pub kind: EventKind,
    /// What went wrong, or why.
    pub error: Option<Arc<str>>,
    /// How long until the next attempt, where there will be one.
    pub delay: Option<Duration>,
    /// How long the attempt took, where one ended.
    pub ran: Option<Duration>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// It was stored.
    Dispatched,
    /// A pending task with the same key took the new payload.
    Replaced,
    /// A task with the same key is running, so the dispatch stored nothing.
    KeyBusy,
    /// An attempt began.
    Started,
    /// It completed.
    Completed,
    /// It completed, but its output could not be stored.
    OutputLost,
    /// An attempt failed, and there will be another.
    Retrying,
    /// It failed for good.
    Failed,
    /// It was cancelled, or it expired.
    Cancelled,
    /// The node shut down while it ran, or could not reach the storage for its lease; it is pending again.
    Interrupted,
    /// Its handler asked to be called again later.
    Snoozed,
    /// Its payload could not be read; another node may be able to.
    Unreadable,
    /// Its node had died; it was taken over and is pending again.
    Rescued,
    /// Another node had taken it over, so what this node wanted to write was refused and its handler stopped.
    LeaseLost,
    /// Its handler has kept its [`Tx`](crate::Tx) open for more than 5 s.
    LongTransaction,
    /// A schedule left ticks out; `error` says how many, and why.
    TicksSkipped,
    /// A schedule came to its end.
    ScheduleEnded,
    /// A schedule makes no sense as it is stored, and was set aside.
    ScheduleBroken,
    /// A schedule was declared by an attribute, and no program that lives declares it any more.
    ScheduleUndeclared,
    /// The executor has not moved for a while; `error` names the handlers last polled.
    Stalled,
    /// A background loop of this node cannot do its work at the moment; it goes on trying.
    Trouble,
    /// This listener was too slow and missed so many events.
    Missed(u64),
}

impl Event {
    pub(crate) fn new(
        id: TaskId,
        name: Arc<str>,
        queue: Arc<str>,
        attempt: u32,
        kind: EventKind,
    ) -> Self {
        let time = SystemTime::now();
        let schedule = None;
        Self { id, name, queue, schedule, attempt, time, kind, error: None, delay: None, ran: None }
    }

    /// An event about a schedule.
    pub(crate) fn of_schedule(kind: EventKind, name: &str, key: &str) -> Self {
        let nil = TaskId::from_uuid(Uuid::nil());
        let event = Self::new(nil, name.into(), "".into(), 0, kind);
        Self { schedule: Some(key.into()), ..event }
    }

    /// An event about no single task.
    pub(crate) fn of_node(kind: EventKind) -> Self {
        Self::new(TaskId::from_uuid(Uuid::nil()), "".into(), "".into(), 0, kind)
    }

    pub(crate) fn error(mut self, error: impl Into<Arc<str>>) -> Self {
        self.error = Some(error.into());
        self
    }

    pub(crate) fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    pub(crate) fn ran(mut self, ran: Duration) -> Self {
        self.ran = Some(ran);
        self
    }
}

/// Where events are told. Nobody listening costs one look at a counter.
#[derive(Debug)]
pub(crate) struct Events(RwLock<Option<broadcast::Sender<Event>>>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(RwLock::new(Some(broadcast::Sender::new(KEPT))))
    }

    /// Tells the event, made only if someone listens.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        let sender = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = &*sender
            && sender.receiver_count() > 0
        {
            let _nobody_left = sender.send(event());
        }
    }

    pub(crate) fn listen(&self) -> EventStream {
        let sender = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &*sender {
            Some(sender) => EventStream { next: Box::pin(next(sender.subscribe())) },
            None => EventStream { next: Box::pin(std::future::ready(None)) },
        }
    }

    /// Ends every stream once it has been read to its end.
    pub(crate) fn close(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The events of one node, from the moment it was asked for. Ends when the runtime has been shut down.
pub struct EventStream {
    next: Pin<Box<dyn Future<Output = Option<Next>> + Send>>,
}

/// An event, and where the one after it comes from.
type Next = (Event, broadcast::Receiver<Event>);

async fn next(mut from: broadcast::Receiver<Event>) -> Option<Next> {
    match from.recv().await {
        Ok(event) => Some((event, from)),
        Err(RecvError::Lagged(missed)) => Some((Event::of_node(EventKind::Missed(missed)), from)),
        Err(RecvError::Closed) => None,
    }
}

impl EventStream {
    /// The next event; `None` once the runtime is gone. The same as `StreamExt::next` of the stream crates.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        let ready = std::task::ready!(self.next.as_mut().poll(cx));
        Poll::Ready(match ready {
            Some((event, from)) => {
                self.next = Box::pin(next(from));
                Some(event)
            }
            None => {
                self.next = Box::pin(std::future::ready(None));
                None
            }
        })
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}
