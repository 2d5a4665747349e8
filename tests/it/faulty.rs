//! Memory as a storage that fails at chosen calls, or does its work and loses the reply, or never answers.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use evertask::{
    Keep, StorageError, StorageErrorKind, TaskId, TaskInfo,
    storage::{
        Backlog, Beat, Bell, Cancel, Claim, Claimed, Count, DueSchedules, Enqueued, Held, Inspect,
        Known, Lost, Memory, NewTask, Node, NodeId, Page, Peer, Pruned, Reply, Revive, Roll,
        ScheduleChange, ScheduleChanged, SchedulePage, Settled, Settlement, Storage,
        StoredSchedule, TaskFilter,
    },
};

/// What goes wrong at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is done, and that is told.
    Fails,
    /// All is done, and the reply is an error.
    LosesReply,
    /// Nothing is done, and no reply ever comes.
    Stalls,
    /// All is done, and no reply ever comes.
    StallsAfter,
    /// All is done at once, and the reply comes two seconds later.
    Late,
    /// Nothing is done, and the call panics.
    Panics,
    /// Nothing is done, and the error is of this kind.
    Refuses(StorageErrorKind),
}

/// Calls that belong to the start and are not counted.
const ASIDE: [&str; 3] = ["join", "backlog", "schedules"];

/// Which call has which fault: its name, and what it is about where that is one task or a batch of them.
type When = dyn Fn(&str, &[TaskId]) -> Option<Fault> + Send + Sync;

/// Memory, but for some calls.
#[derive(Clone)]
pub(crate) struct Faulty {
    pub(crate) inner: Memory,
    pub(crate) calls: Arc<AtomicUsize>,
    when: Arc<When>,
    pub(crate) beats: bool,
    /// Rung by nobody, instead of that of the storage: all that it tells is lost.
    deaf: Option<Arc<Bell>>,
    /// Says of each end that it cannot be stored, as it is or otherwise.
    takes_no_end: bool,
    /// Somebody else has locked what is due: a claim brings nothing, and there is more.
    pub(crate) locked: Arc<AtomicBool>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").finish_non_exhaustive()
    }
}

impl Faulty {
    /// One fault, at this call.
    pub(crate) fn at(at: usize, fault: Fault) -> Self {
        let n = AtomicUsize::new(0);
        Self::when(move |name, _| {
            (!ASIDE.contains(&name) && n.fetch_add(1, Ordering::SeqCst) == at).then_some(fault)
        })
    }

    pub(crate) fn when(
        when: impl Fn(&str, &[TaskId]) -> Option<Fault> + Send + Sync + 'static,
    ) -> Self {
        let (inner, when) = (Memory::new(), Arc::new(when));
        Self {
            inner,
            calls: Arc::default(),
            when,
            beats: true,
            deaf: None,
            takes_no_end: false,
            locked: Arc::default(),
        }
    }

    /// One that will store no end, whatever is left out of it.
    pub(crate) fn taking_no_end() -> Self {
        Self { takes_no_end: true, ..Self::when(|_, _| None) }
    }

    /// A node on the storage, and the storage itself, of which it hears nothing.
    pub(crate) fn deaf() -> (Self, Memory) {
        let faulty = Self { deaf: Some(Arc::new(Bell::new())), ..Self::when(|_, _| None) };
        let memory = faulty.inner.clone();
        (faulty, memory)
    }

    fn meddle<'a, T: Send + 'a>(
        &'a self,
        name: &str,
        about: &[TaskId],
        call: Reply<'a, T>,
    ) -> Reply<'a, T> {
        if !ASIDE.contains(&name) {
            self.calls.fetch_add(1, Ordering::SeqCst);
        }
        let Some(fault) = (self.when)(name, about) else { return call };
        let lost = || Err(StorageError::new(StorageErrorKind::Unavailable, "the connection broke"));
        Box::pin(async move {
            match fault {
                Fault::Panics => panic!("a storage is code too"),
                Fault::Refuses(kind) => Err(StorageError::new(kind, "no")),
                Fault::Fails => lost(),
                Fault::Late => {
                    let reply = call.await;
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    reply
                }
                Fault::LosesReply => call.await.and_then(|_| lost()),
                Fault::Stalls => std::future::pending().await,
                Fault::StallsAfter => {
                    call.await?;
                    std::future::pending().await
                }
            }
        })
    }
}

impl Storage for Faulty {
    fn bell(&self) -> &Bell {
        self.deaf.as_deref().unwrap_or_else(|| self.inner.bell())
    }
    fn needs_beats(&self) -> bool {
        self.beats
    }
    fn join(&self, node: Node) -> Reply<'_, ()> {
        self.meddle("join", &[], self.inner.join(node))
    }
    fn enqueue(&self, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>> {
        let about: Vec<_> = tasks.iter().map(|task| task.id).collect();
        self.meddle("enqueue", &about, Box::pin(async move { self.inner.enqueue(tasks).await }))
    }
    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        if self.locked.load(Ordering::SeqCst) {
            let mut answer = Claimed::default();
            answer.more = true;
            return self.meddle("claim", &[], Box::pin(async { Ok(answer) }));
        }
        self.meddle("claim", &[], Box::pin(async move { self.inner.claim(claim).await }))
    }
    fn settle(&self, batch: Vec<Settlement>) -> Reply<'_, Vec<Settled>> {
        let about: Vec<_> = batch.iter().map(|settlement| settlement.id).collect();
        if self.takes_no_end {
            let no = about.iter().map(|_| Settled::Unstorable("there is a trigger".to_owned()));
            let answer = Ok(no.collect());
            return self.meddle("settle", &about, Box::pin(async { answer }));
        }
        self.meddle("settle", &about, Box::pin(async move { self.inner.settle(batch).await }))
    }
    fn renew(&self, beat: Beat) -> Reply<'_, Vec<Held>> {
        self.meddle("renew", &[], Box::pin(async move { self.inner.renew(beat).await }))
    }
    fn peers(&self, node: NodeId) -> Reply<'_, Vec<Peer>> {
        self.meddle("peers", &[], Box::pin(async move { self.inner.peers(node).await }))
    }
    fn seize(&self, from: Peer, by: NodeId, limit: usize) -> Reply<'_, Vec<Lost>> {
        self.meddle("seize", &[], Box::pin(async move { self.inner.seize(from, by, limit).await }))
    }
    fn cancel(&self, id: TaskId, keep: Keep) -> Reply<'_, Cancel> {
        self.meddle("cancel", &[id], Box::pin(async move { self.inner.cancel(id, keep).await }))
    }
    fn revive(&self, id: TaskId) -> Reply<'_, Revive> {
        self.inner.revive(id)
    }
    fn prune(&self, limit: usize) -> Reply<'_, Pruned> {
        self.meddle("prune", &[], Box::pin(async move { self.inner.prune(limit).await }))
    }
    fn change_schedules(&self, changes: Vec<ScheduleChange>) -> Reply<'_, Vec<ScheduleChanged>> {
        let call = Box::pin(async move { self.inner.change_schedules(changes).await });
        self.meddle("change_schedules", &[], call)
    }
    fn due_schedules(
        &self,
        handlers: Arc<[Known]>,
        format: u32,
        limit: usize,
    ) -> Reply<'_, DueSchedules> {
        let call = Box::pin(async move { self.inner.due_schedules(handlers, format, limit).await });
        self.meddle("due_schedules", &[], call)
    }
    fn leave(&self, node: NodeId) -> Reply<'_, ()> {
        self.meddle("leave", &[], Box::pin(async move { self.inner.leave(node).await }))
    }
}

impl Inspect for Faulty {
    fn task(&self, id: TaskId) -> Reply<'_, Option<TaskInfo>> {
        self.inner.task(id)
    }
    fn tasks(&self, filter: TaskFilter, page: Page) -> Reply<'_, Vec<TaskInfo>> {
        self.inner.tasks(filter, page)
    }
    fn counts(&self) -> Reply<'_, Vec<Count>> {
        self.inner.counts()
    }
    fn roll(&self) -> Reply<'_, Roll> {
        self.inner.roll()
    }
    fn backlog(&self) -> Reply<'_, Vec<Backlog>> {
        self.meddle("backlog", &[], Box::pin(async move { self.inner.backlog().await }))
    }
    fn schedule(&self, name: String, key: String) -> Reply<'_, Option<StoredSchedule>> {
        self.inner.schedule(name, key)
    }
    fn schedules(&self, page: SchedulePage) -> Reply<'_, Vec<StoredSchedule>> {
        let call = Box::pin(async move { self.inner.schedules(page).await });
        self.meddle("schedules", &[], call)
    }
}
