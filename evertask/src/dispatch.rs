//! A task on its way into storage: what to run, when, under which key.

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, IntoFuture, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_core::Stream;

use crate::{
    body::Body,
    bounds::{BATCH_MAX, KEY_MAX, NAME_MAX, TAG_MAX, TAGS_MAX, check_text},
    error::DispatchError,
    handle::TaskHandle,
    handler::Handler,
    runtime::{Runtime, Shared, ambient},
    storage::{Due, NewTask},
    task::TaskId,
};

/// Stores a task for this payload's handler; the same as `handler_name::dispatch(..)`.
///
/// ```
/// # async fn doc() -> Result<(), evertask::DispatchError> {
/// #[evertask::handler]
/// async fn greet(name: String) {
///     println!("hello, {name}");
/// }
///
/// let task = evertask::dispatch(greet { name: "Ada".into() }).await?;
/// println!("stored as {}", task.id());
/// # Ok(()) }
/// ```
pub fn dispatch<T: Handler>(payload: T) -> Dispatch<T> {
    Dispatch { payload, options: Options::default() }
}

/// Stores many tasks at once: all of them or none, in one transaction. At most 10,000;
/// [`dispatch_stream`] takes more.
///
/// The options that make sense for all of them are given once; a key is not among them.
///
/// ```
/// # async fn doc() -> Result<(), evertask::DispatchError> {
/// #[evertask::handler]
/// async fn greet(name: String) {
///     println!("hello, {name}");
/// }
///
/// let names = ["Ada", "Bob", "Eve"];
/// let tasks = evertask::dispatch_all(names.map(greet::new)).await?;
/// assert_eq!(tasks.len(), 3);
/// # Ok(()) }
/// ```
pub fn dispatch_all<T: Handler>(payloads: impl IntoIterator<Item = T>) -> DispatchAll<T> {
    DispatchAll { payloads: payloads.into_iter().collect(), options: Options::default() }
}

/// Stores tasks as they come out of a stream, 1,000 in one transaction, however many there are. Returns how many it stored.
///
/// Unlike [`dispatch_all`] this is not all or nothing: an error says how many were stored before it.
///
/// ```
/// #[evertask::handler]
/// async fn greet(name: String) {
///     println!("hello, {name}");
/// }
///
/// # type Names = std::pin::Pin<Box<dyn futures_core::Stream<Item = greet> + Send>>;
/// # async fn doc(names: Names) -> Result<(), evertask::DispatchError> {
/// let stored = evertask::dispatch_stream(names).tag("campaign", "spring").await?;
/// println!("{stored} greetings are on their way");
/// # Ok(()) }
/// ```
pub fn dispatch_stream<T: Handler>(
    payloads: impl Stream<Item = T> + Send + 'static,
) -> DispatchStream<T> {
    DispatchStream { payloads: Box::pin(payloads), options: Options::default() }
}

/// What may be said about a task when it is dispatched.
#[derive(Debug, Default, Clone)]
struct Options {
    due: Option<Due>,
    key: Option<String>,
    queue: Option<String>,
    priority: Option<i16>,
    retries: Option<u32>,
    timeout: Option<Duration>,
    expires: Option<Duration>,
    tags: BTreeMap<String, String>,
    runtime: Option<Runtime>,
}

/// The options that one task and many have in common.
macro_rules! common_options {
    () => {
        /// Not before this long from now, by the storage's clock.
        pub fn after(mut self, delay: Duration) -> Self {
            self.options.due = Some(Due::After(delay));
            self
        }

        /// Not before this instant; one that has passed is now.
        pub fn at(mut self, at: impl Into<SystemTime>) -> Self {
            self.options.due = Some(Due::At(at.into()));
            self
        }

        /// Into this queue, whatever the handler's own is.
        pub fn queue(mut self, queue: impl Into<String>) -> Self {
            self.options.queue = Some(queue.into());
            self
        }

        /// At this place inside the queue: higher goes first.
        pub fn priority(mut self, priority: i16) -> Self {
            self.options.priority = Some(priority);
            self
        }

        /// So many attempts after the first.
        pub fn retries(mut self, retries: u32) -> Self {
            self.options.retries = Some(retries);
            self
        }

        /// So much time for each attempt, and not none.
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.options.timeout = Some(timeout);
            self
        }

        /// Not worth starting once this long has passed since it was stored: it then ends as cancelled, with the reason `expired`.
        ///
        /// This is looked at when a node is given the task. One that has it already may begin it a little later: when it waits
        /// there for a slot, or when the answer was lost and the node has asked again.
        pub fn expires(mut self, after: Duration) -> Self {
            self.options.expires = Some(after);
            self
        }

        /// With a tag to find it by, at most 20, each part at most 200 characters. The same key again replaces the value.
        pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
            self.options.tags.insert(key.into(), value.into());
            self
        }

        /// On this runtime, and not the one found by itself: that of the running handler, else the one started on the current
        /// tokio runtime, else the only one of the process.
        pub fn on(mut self, runtime: &Runtime) -> Self {
            self.options.runtime = Some(runtime.clone());
            self
        }
    };
}

/// A task that is about to be stored. Awaiting it stores it; once that returns `Ok`, the task is as durable as a commit of
/// the database.
///
/// It repeats itself: transient errors of the storage are retried for [`dispatch_timeout`](crate::Builder::dispatch_timeout)
/// with the same id, so a reply that was lost does not make two tasks. A second dispatch is a second task, unless both have a
/// [`key`](Self::key).
#[must_use = "a dispatch does nothing until it is awaited"]
#[derive(Debug)]
pub struct Dispatch<T> {
    payload: T,
    options: Options,
}

impl<T: Handler> Dispatch<T> {
    common_options!();

    /// Under this key, at most 200 characters: at most one live task of the handler has it.
    ///
    /// If a pending task has the key, that one takes this payload, due time and options, starts its tries anew and keeps its
    /// id ([`Replaced`](crate::Dispatched::Replaced)). If a running task has it, that one is kept and nothing is stored
    /// ([`Existing`](crate::Dispatched::Existing)). An ended task holds no key. Keys of schedules are others: a task under the key
    /// of a series is stored beside it, and neither changes the other.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.options.key = Some(key.into());
        self
    }

    /// The task as it would be stored, and where.
    pub(crate) fn prepare(self) -> Result<(Arc<Shared>, NewTask), DispatchError> {
        let runtime = self.options.runtime()?;
        let task = self.options.task(&runtime, &self.payload)?;
        Ok((runtime, task))
    }

    async fn store(self) -> Result<TaskHandle<T>, DispatchError> {
        let (runtime, task) = self.prepare()?;
        let enqueued = runtime.enqueue_one(&task).await?;
        Ok(TaskHandle::new(&runtime, enqueued))
    }
}

/// Many tasks that are about to be stored. Awaiting it stores them, all or none.
#[must_use = "a dispatch does nothing until it is awaited"]
#[derive(Debug)]
pub struct DispatchAll<T> {
    payloads: Vec<T>,
    options: Options,
}

impl<T: Handler> DispatchAll<T> {
    common_options!();

    /// The tasks as they would be stored, and where.
    pub(crate) fn prepare(self) -> Result<(Arc<Shared>, Vec<NewTask>), DispatchError> {
        let given = self.payloads.len();
        if given > BATCH_MAX {
            return Err(DispatchError::BatchTooLarge { given, max: BATCH_MAX });
        }
        let runtime = self.options.runtime()?;
        let mut tasks = Vec::with_capacity(given);
        for payload in &self.payloads {
            tasks.push(self.options.task(&runtime, payload)?);
        }
        Ok((runtime, tasks))
    }

    async fn store(self) -> Result<Vec<TaskHandle<T>>, DispatchError> {
        let (runtime, tasks) = self.prepare()?;
        let enqueued = runtime.enqueue(&tasks).await?;
        Ok(enqueued.into_iter().map(|one| TaskHandle::new(&runtime, one)).collect())
    }
}

/// A stream of tasks that is about to be stored. Awaiting it reads the stream to its end.
#[must_use = "a dispatch does nothing until it is awaited"]
pub struct DispatchStream<T> {
    payloads: Pin<Box<dyn Stream<Item = T> + Send>>,
    options: Options,
}

/// How many tasks of a stream go in one transaction.
const CHUNK: usize = 1_000;

impl<T: Handler> DispatchStream<T> {
    common_options!();

    async fn store(mut self) -> Result<u64, DispatchError> {
        let runtime = self.options.runtime()?;
        let mut stored = 0;
        loop {
            let mut tasks = Vec::with_capacity(CHUNK);
            let mut ended = false;
            while tasks.len() < CHUNK && !ended {
                match poll_fn(|cx| self.payloads.as_mut().poll_next(cx)).await {
                    Some(payload) => tasks.push(self.options.task(&runtime, &payload)),
                    None => ended = true,
                }
            }
            let enqueued = async {
                let tasks: Vec<_> = tasks.into_iter().collect::<Result<_, _>>()?;
                runtime.enqueue(&tasks).await
            };
            match enqueued.await {
                Ok(enqueued) => stored += enqueued.len() as u64,
                Err(source) => {
                    return Err(DispatchError::Stream { stored, source: Box::new(source) });
                }
            }
            if ended {
                return Ok(stored);
            }
        }
    }
}

impl<T> fmt::Debug for DispatchStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchStream").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<T: Handler> IntoFuture for DispatchStream<T> {
    type Output = Result<u64, DispatchError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.store())
    }
}

impl<T: Handler> IntoFuture for Dispatch<T> {
    type Output = Result<TaskHandle<T>, DispatchError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.store())
    }
}

impl<T: Handler> IntoFuture for DispatchAll<T> {
    type Output = Result<Vec<TaskHandle<T>>, DispatchError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.store())
    }
}

impl Options {
    fn runtime(&self) -> Result<Arc<Shared>, DispatchError> {
        match &self.runtime {
            Some(runtime) => Ok(Arc::clone(runtime.shared())),
            None => ambient::current(),
        }
    }

    /// Checks everything that can be wrong before anything happens, and makes the task.
    fn task<T: Handler>(&self, runtime: &Shared, payload: &T) -> Result<NewTask, DispatchError> {
        let options = T::OPTIONS;
        let entry = runtime.registry.get(options.name).ok_or_else(|| {
            let type_name = std::any::type_name::<T>();
            DispatchError::UnknownHandler { name: options.name.to_owned(), type_name }
        })?;
        if self.timeout == Some(Duration::ZERO) {
            return Err(DispatchError::ZeroTimeout { name: options.name.to_owned() });
        }
        if let Some(queue) = &self.queue {
            check_text("queue name", queue, NAME_MAX)?;
        }
        if let Some(key) = &self.key {
            check_text("key", key, KEY_MAX)?;
        }
        for (key, value) in &self.tags {
            check_text("tag key", key, TAG_MAX)?;
            check_text("tag value", value, TAG_MAX)?;
        }
        if self.tags.len() > TAGS_MAX {
            return Err(DispatchError::TooManyTags { given: self.tags.len(), max: TAGS_MAX });
        }
        let body = Body::json(payload).map_err(|source| DispatchError::Unwritable {
            name: options.name.to_owned(),
            source,
        })?;
        let max = runtime.settings.payload_max;
        if body.len() > max {
            let (name, len) = (options.name.to_owned(), body.len());
            return Err(DispatchError::PayloadTooLarge { name, len, max });
        }
        if cfg!(debug_assertions) || is_to_be_proved(&entry.proven, &body) {
            prove::<T>(options.name, &body)?;
            entry.proven.store(true, Ordering::Relaxed);
        }
        Ok(NewTask {
            id: TaskId::new(),
            name: entry.name.clone(),
            version: options.version,
            queue: self
                .queue
                .as_ref()
                .map_or_else(|| entry.queue.clone(), |queue| queue.as_str().into()),
            priority: self.priority.unwrap_or(options.priority),
            due: self.due.unwrap_or(Due::Now),
            expires: self.expires,
            key: self.key.clone(),
            tags: self.tags.clone(),
            payload: body,
            retries: self.retries,
            timeout: self.timeout.map(Some),
            tick: None,
        })
    }
}

/// The first of its handler is. And what JSON has no words for, a number that is not finite, it writes as `null`; so whatever has one.
fn is_to_be_proved(proven: &AtomicBool, body: &Body) -> bool {
    let may_be_less = || body.as_str().is_some_and(|json| json != "null" && json.contains("null"));
    !proven.load(Ordering::Relaxed) || may_be_less()
}

/// Reads a payload back as the handler will, and writes it once more: what differs would be lost on the way.
fn prove<T: Handler>(name: &str, body: &Body) -> Result<(), DispatchError> {
    let lost = |why: String| DispatchError::NoRoundTrip { name: name.to_owned(), why };
    let back: T = body.read().map_err(|error| lost(error.to_string()))?;
    let again = Body::json(&back).map_err(|error| lost(error.to_string()))?;
    if again == *body {
        return Ok(());
    }
    // Maps may come out in another order.
    let value =
        |body: &Body| body.read::<serde_json::Value>().map_err(|error| lost(error.to_string()));
    if value(body)? == value(&again)? {
        return Ok(());
    }
    let (was, is) = (body.as_str().unwrap_or_default(), again.as_str().unwrap_or_default());
    let clip = |text: &str| text.chars().take(200).collect::<String>();
    Err(lost(format!("it was `{}` and would come back as `{}`", clip(was), clip(is))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_what_json_has_no_words_for_is_read_back() {
        fn read_back(proven: bool, value: impl serde::Serialize) -> bool {
            is_to_be_proved(&proven.into(), &Body::json(&value).unwrap())
        }
        assert!(read_back(true, [("rate", f64::NAN)]));
        assert!(read_back(true, (1, f64::INFINITY)));
        assert!(!read_back(true, ("rate", 0.5)));
        assert!(!read_back(true, ()));
        assert!(read_back(false, ("rate", 0.5)), "the first of its handler");
    }
}
