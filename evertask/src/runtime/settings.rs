//! The settings of one runtime, and how the levels of a setting are resolved: dispatch, handler, queue, runtime.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    bounds::PAYLOAD_MAX,
    policy::{Backoff, RETRIES, Retention, Setting},
    registry::Entry,
    storage::{ClaimedTask, KeepBy},
    verdict::Policy,
};

/// Everything the builder was told, with defaults for the rest.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) payload_max: usize,
    pub(crate) dispatch_timeout: Duration,
    pub(crate) concurrency: usize,
    pub(crate) rules: Rules,
    pub(crate) queues: HashMap<Arc<str>, QueueSettings>,
    pub(crate) handler_retention: HashMap<&'static str, Retention>,
    pub(crate) only: Option<Vec<Arc<str>>>,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) lease: Duration,
    pub(crate) grace: Duration,
    pub(crate) stall_limit: Duration,
    pub(crate) max_losses: u32,
    pub(crate) look_every: Duration,
    pub(crate) binary: Arc<str>,
}

/// What a queue or the runtime says about tasks whose handler says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    pub(crate) timeout: Setting<Duration>,
    pub(crate) retries: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) retention: Option<Retention>,
}

/// One queue as declared on the builder.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct QueueSettings {
    pub(crate) concurrency: Option<usize>,
    pub(crate) rules: Rules,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            payload_max: PAYLOAD_MAX,
            dispatch_timeout: Duration::from_secs(10),
            concurrency: (cores * 2).max(4),
            rules: Rules::default(),
            queues: HashMap::new(),
            handler_retention: HashMap::new(),
            only: None,
            shutdown_timeout: Duration::from_secs(20),
            lease: Duration::from_secs(15),
            grace: Duration::from_secs(1),
            stall_limit: Duration::from_secs(300),
            max_losses: 5,
            look_every: Duration::from_secs(1),
            binary: "".into(),
        }
    }
}

impl Settings {
    /// The rule by which an attempt of this task is judged.
    pub(crate) fn policy(&self, entry: &Entry, task: &ClaimedTask) -> Policy {
        let (handler, queue) = (&entry.def.options, self.queue_rules(&task.queue));
        let retries = task.retries.or(handler.retries).or(queue.retries).or(self.rules.retries);
        let backoff = handler.backoff.or(queue.backoff).or(self.rules.backoff);
        Policy {
            retries: retries.unwrap_or(RETRIES),
            backoff: backoff.unwrap_or_default(),
            max_losses: self.max_losses,
        }
    }

    /// How long one attempt of this task may take.
    pub(crate) fn timeout(&self, entry: &Entry, task: &ClaimedTask) -> Option<Duration> {
        let dispatch = task.timeout.map_or(Setting::Inherit, Setting::from);
        dispatch
            .or(entry.def.options.timeout)
            .or(self.queue_rules(&task.queue).timeout)
            .or(self.rules.timeout)
            .value()
    }

    /// How long a task of this handler and queue is kept after its end.
    pub(crate) fn keep(&self, handler: Option<&'static str>, queue: &str) -> KeepBy {
        let handler = handler.and_then(|name| self.handler_retention.get(name).copied());
        let retention = handler.or(self.queue_rules(queue).retention).or(self.rules.retention);
        let Retention { completed, cancelled, failed } = retention.unwrap_or_default();
        KeepBy { completed, failed, cancelled }
    }

    fn queue_rules(&self, queue: &str) -> Rules {
        self.queues.get(queue).map(|queue| queue.rules).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        body::Body,
        handler::{Handler, HandlerDef, HandlerOptions, Location},
        storage::{Claim, Inspect, NewTask, Storage},
    };

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Unsaid;

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Said;

    const HERE: Location = Location { module: "m", file: "f", line: 1, column: 1 };

    impl Handler for Unsaid {
        type Output = ();
        const OPTIONS: HandlerOptions = HandlerOptions::new("unsaid", HERE);
        async fn call(self, _: crate::Context) -> Result<(), crate::Failure> {
            Ok(())
        }
    }

    impl Handler for Said {
        type Output = ();
        const OPTIONS: HandlerOptions =
            HandlerOptions::new("said", HERE).retries(3).timeout(Setting::None);
        async fn call(self, _: crate::Context) -> Result<(), crate::Failure> {
            Ok(())
        }
    }

    fn entry<H: Handler>() -> Entry {
        let def = HandlerDef::of::<H>();
        let (name, queue) = (def.options.name.into(), def.options.queue.into());
        Entry { def, name, queue, proven: false.into() }
    }

    async fn task(change: impl FnOnce(&mut NewTask)) -> ClaimedTask {
        let storage = crate::storage::Memory::new();
        let mut new = NewTask::new("t", Body::json(&()).unwrap());
        new.queue = "mail".into();
        change(&mut new);
        storage.enqueue(vec![new]).await.unwrap();
        let known = crate::storage::Known { name: "t".into(), version: 1 };
        let claim = Claim::new(1, uuid::Uuid::now_v7(), [known].into(), 1).queue("mail", 1, 0);
        let _reads: &dyn Inspect = &storage;
        storage.claim(claim).await.unwrap().tasks.remove(0)
    }

    #[tokio::test]
    async fn dispatch_beats_handler_beats_queue_beats_runtime() {
        let secs = Duration::from_secs;
        let mut settings = Settings::default();
        let (plain, own) = (task(|_| ()).await, task(|task| task.retries = Some(9)).await);
        let retries =
            |settings: &Settings, entry: &Entry, task| settings.policy(entry, task).retries;
        let (unsaid, said) = (entry::<Unsaid>(), entry::<Said>());
        assert_eq!(retries(&settings, &unsaid, &plain), 10);
        settings.rules.retries = Some(1);
        settings.rules.timeout = secs(1).into();
        assert_eq!(retries(&settings, &unsaid, &plain), 1);
        let mail = settings.queues.entry("mail".into()).or_default();
        mail.rules.retries = Some(2);
        mail.rules.timeout = secs(2).into();
        assert_eq!(retries(&settings, &unsaid, &plain), 2);
        assert_eq!(retries(&settings, &said, &plain), 3);
        assert_eq!(retries(&settings, &said, &own), 9);

        assert_eq!(settings.timeout(&unsaid, &plain), Some(secs(2)));
        assert_eq!(settings.timeout(&said, &plain), None, "none is an answer");
        let own = task(|task| task.timeout = Some(Some(secs(4)))).await;
        assert_eq!(settings.timeout(&said, &own), Some(secs(4)));
    }
}
