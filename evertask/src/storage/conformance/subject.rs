//! What a law is put to: a fresh storage, and short words for what laws do with it.

use std::{
    any::Any,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    body::Body,
    policy::Keep,
    storage::{
        AttemptRecord, Beat, BoxFuture, Cancel, Claim, Claimed, ClaimedTask, Claims, Dispatched,
        Enqueued, FullStorage, Held, Known, Life, Lost, ManualClock, NewTask, Node, NodeId, Page,
        Peer, Pruned, Revive, Settled, Settlement, StorageError, TaskFilter,
    },
    task::{AttemptEnd, TaskId, TaskInfo},
    verdict::Verdict,
};

/// Closes a storage and opens the same one again.
type Reopen =
    Box<dyn Fn(Arc<dyn FullStorage>) -> BoxFuture<'static, Arc<dyn FullStorage>> + Send + Sync>;

/// A storage on trial: empty when a law gets it, on a clock that the law moves.
pub struct Subject {
    /// Empty only while it is being opened again.
    storage: Mutex<Option<Arc<dyn FullStorage>>>,
    clock: ManualClock,
    reopen: Option<Reopen>,
    at_every_step: AtomicBool,
    effort: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
    kept: Vec<Box<dyn Any + Send + Sync>>,
}

impl Subject {
    /// An empty storage that reads the time from this clock.
    pub fn new(storage: impl FullStorage, clock: ManualClock) -> Self {
        Self::shared(Arc::new(storage), clock)
    }

    /// The same of a storage that others have as well.
    pub fn shared(storage: Arc<dyn FullStorage>, clock: ManualClock) -> Self {
        Self {
            storage: Mutex::new(Some(storage)),
            clock,
            reopen: None,
            at_every_step: AtomicBool::new(false),
            effort: None,
            kept: Vec::new(),
        }
    }

    /// How to close the storage and open the same one again. Without it, reopening does nothing.
    #[must_use]
    pub fn reopened_by(
        mut self,
        reopen: impl Fn(Arc<dyn FullStorage>) -> BoxFuture<'static, Arc<dyn FullStorage>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.reopen = Some(Box::new(reopen));
        self
    }

    /// Reopens the storage before each step of a law: nothing may live in the memory of the process alone.
    ///
    /// Laws on the life of nodes are left out of this, since a node may well die with the process, and so are laws in which
    /// many act at once.
    #[must_use]
    pub fn reopening_at_every_step(mut self) -> Self {
        self.at_every_step = AtomicBool::new(true);
        self
    }

    /// From here on a step reopens nothing: for laws in which many act at once, or a node has to live on.
    pub(super) fn stay_open(&self) {
        self.at_every_step.store(false, Ordering::SeqCst);
    }

    /// How much work the storage has done so far, in any unit that grows with the rows it touches and with nothing else.
    /// Without it, the laws on cost are not to be asked for.
    #[must_use]
    pub fn measured_by(mut self, effort: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.effort = Some(Box::new(effort));
        self
    }

    /// Keeps something for as long as the law runs: the directory of a database.
    #[must_use]
    pub fn keeping(mut self, kept: impl Any + Send + Sync) -> Self {
        self.kept.push(Box::new(kept));
        self
    }

    /// The storage as it is open now.
    ///
    /// # Panics
    /// If it is being opened again just now.
    #[must_use]
    pub fn storage(&self) -> Arc<dyn FullStorage> {
        let storage = self.storage.lock().unwrap_or_else(PoisonError::into_inner);
        storage.clone().expect("the storage is being opened again")
    }

    /// Closes the storage and opens it again, where there is a way.
    pub async fn reopen(&self) {
        let Some(reopen) = &self.reopen else { return };
        let old = self.storage.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(old) = old {
            let new = reopen(old).await;
            *self.storage.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
        }
    }

    /// How much work the storage has done so far, if it can say.
    #[must_use]
    pub fn effort(&self) -> Option<u64> {
        self.effort.as_ref().map(|effort| effort())
    }

    /// The clock that the storage goes by.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    pub(super) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The storage for one more step.
    pub(super) async fn step(&self) -> Arc<dyn FullStorage> {
        if self.at_every_step.load(Ordering::SeqCst) {
            self.reopen().await;
        }
        self.storage()
    }

    pub(super) async fn try_enqueue(
        &self,
        tasks: Vec<NewTask>,
    ) -> Result<Vec<Enqueued>, StorageError> {
        self.step().await.enqueue(tasks).await
    }

    pub(super) async fn enqueue(&self, task: NewTask) -> Enqueued {
        self.step().await.enqueue_one(task).await.expect("the task is stored")
    }

    /// Stores a task that is new, and tells its id.
    pub(super) async fn store(&self, task: NewTask) -> TaskId {
        let (id, enqueued) = (task.id, self.enqueue(task).await);
        assert_eq!(enqueued, Enqueued { id, how: Dispatched::Created });
        id
    }

    pub(super) async fn settle_all(&self, batch: Vec<Settlement>) -> Vec<Settled> {
        let asked = batch.len();
        let settled = self.step().await.settle(batch).await.expect("the batch is settled");
        assert_eq!(settled.len(), asked, "one answer for each settlement");
        settled
    }

    pub(super) async fn settle(&self, settlement: Settlement) -> Settled {
        self.settle_all(vec![settlement]).await.remove(0)
    }

    /// Settles an attempt as a runtime would that came to this verdict.
    pub(super) async fn end(&self, task: &ClaimedTask, verdict: Verdict) -> Settled {
        self.settle(settlement(task, verdict)).await
    }

    pub(super) async fn find(&self, id: TaskId) -> Option<TaskInfo> {
        self.step().await.task(id).await.expect("the task can be read")
    }

    pub(super) async fn info(&self, id: TaskId) -> TaskInfo {
        self.find(id).await.unwrap_or_else(|| panic!("task {id} is stored"))
    }

    /// All that can be read of a task, to see that nothing changed.
    pub(super) async fn picture(&self, id: TaskId) -> String {
        format!("{:?}", self.info(id).await)
    }

    pub(super) async fn cancel(&self, id: TaskId) -> Cancel {
        self.step().await.cancel(id, Keep::Forever).await.expect("the cancel is answered")
    }

    pub(super) async fn revive(&self, id: TaskId) -> Revive {
        self.step().await.revive(id).await.expect("the revival is answered")
    }

    pub(super) async fn prune(&self, limit: usize) -> Pruned {
        self.step().await.prune(limit).await.expect("pruning works")
    }

    /// Takes over as one that has just found the other dead.
    pub(super) async fn seize(&self, from: NodeId, by: NodeId, limit: usize) -> Vec<Lost> {
        let dead = self.dead(from, by).await;
        self.seize_from(dead, by, limit).await
    }

    pub(super) async fn seize_from(&self, dead: Peer, by: NodeId, limit: usize) -> Vec<Lost> {
        self.step().await.seize(dead, by, limit).await.expect("seizing works")
    }

    /// How the one sees the other, which is dead from here on until it says something.
    pub(super) async fn dead(&self, node: NodeId, by: NodeId) -> Peer {
        let storage = self.step().await;
        if !storage.needs_beats() && node != by {
            storage.leave(node).await.expect("the node leaves");
        }
        let peers = storage.peers(by).await.expect("peers are told");
        let seen = peers.into_iter().find(|peer| peer.node == node);
        seen.unwrap_or_else(|| Peer::new(node, Life::Dead))
    }

    /// The ids of all tasks that match, newest first.
    pub(super) async fn list(&self, filter: TaskFilter) -> Vec<TaskId> {
        let page = Page { before: None, limit: 1_000 };
        let tasks = self.step().await.tasks(filter, page).await.expect("tasks can be listed");
        tasks.into_iter().map(|task| task.id).collect()
    }

    /// A node that has joined.
    pub(super) async fn node(&self) -> TestNode<'_> {
        let node = Node::new(known(&[(NAME, 1)]), vec![QUEUE.to_owned()]);
        let id = node.id;
        self.step().await.join(node).await.expect("the node joins");
        TestNode { subject: self, id, claims: AtomicU64::new(0) }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("storage", &self.storage)
            .field("clock", &self.clock)
            .field("at_every_step", &self.at_every_step)
            .finish_non_exhaustive()
    }
}

/// A node without a runtime.
pub(super) struct TestNode<'a> {
    subject: &'a Subject,
    pub(super) id: NodeId,
    claims: AtomicU64,
}

impl TestNode<'_> {
    /// A claim with an id of its own, for tasks as [`task`] makes them, without queues yet.
    pub(super) fn wish(&self, slots: usize) -> Claim {
        let id = self.claims.fetch_add(1, Ordering::SeqCst) + 1;
        Claim::new(id, self.id, known(&[(NAME, 1)]), slots)
    }

    pub(super) async fn claim(&self, claim: Claim) -> Claimed {
        self.subject.step().await.claim(claim).await.expect("the claim is answered")
    }

    /// Claims up to so many tasks as [`task`] makes them, suspects or others.
    pub(super) async fn look(&self, slots: usize, suspect: bool) -> Claimed {
        let claim = Claim { suspect, ..self.wish(slots).queue(QUEUE, slots, 0) };
        self.claim(claim).await
    }

    pub(super) async fn take(&self, slots: usize) -> Vec<ClaimedTask> {
        self.look(slots, false).await.tasks
    }

    /// Claims the one task that is due.
    pub(super) async fn take_one(&self) -> ClaimedTask {
        let mut tasks = self.take(10).await;
        assert_eq!(tasks.len(), 1, "exactly one task is due: {tasks:?}");
        tasks.remove(0)
    }

    pub(super) async fn take_suspect(&self) -> ClaimedTask {
        let mut tasks = self.look(10, true).await.tasks;
        assert_eq!(tasks.len(), 1, "exactly one suspect is given out: {tasks:?}");
        tasks.remove(0)
    }

    /// Says that it lives and has begun these tasks, and hears what it holds.
    pub(super) async fn renew(&self, begun: &[&ClaimedTask]) -> Vec<Held> {
        self.renew_knowing(begun, None).await
    }

    /// The same, with what it knows of its claims.
    pub(super) async fn renew_knowing(
        &self,
        begun: &[&ClaimedTask],
        claims: Option<Claims>,
    ) -> Vec<Held> {
        let begun = begun.iter().map(|task| (task.id, task.lease)).collect();
        let beat = Beat { begun, claims, ..Beat::new(self.id) };
        let mut held = self.subject.step().await.renew(beat).await.expect("the beat is heard");
        held.sort_by_key(|held| held.id);
        held
    }

    /// What this node sees of another one.
    pub(super) async fn sees(&self, other: &TestNode<'_>) -> Option<Life> {
        // Not a step of its own: a node may die when its process closes the storage.
        let peers = self.subject.storage().peers(self.id).await.expect("peers can be listed");
        assert!(peers.iter().all(|peer| peer.node != self.id), "nobody is its own peer");
        peers.into_iter().find(|peer| peer.node == other.id).map(|peer| peer.life)
    }

    pub(super) async fn leave(&self) {
        self.subject.step().await.leave(self.id).await.expect("the node leaves");
    }
}

/// The handler of most tasks in these laws.
pub(super) const NAME: &str = "mail.welcome";
/// The queue of most tasks in these laws.
pub(super) const QUEUE: &str = "default";

/// A task that is due now.
pub(super) fn task() -> NewTask {
    NewTask::new(NAME, text("{}"))
}

/// The same with a key.
pub(super) fn keyed(key: &str) -> NewTask {
    NewTask { key: Some(key.to_owned()), ..task() }
}

pub(super) fn text(json: &str) -> Body {
    Body { codec: Body::JSON, bytes: json.as_bytes().into() }
}

pub(super) fn known(handlers: &[(&str, u32)]) -> Arc<[Known]> {
    handlers
        .iter()
        .map(|(name, version)| Known { name: (*name).into(), version: *version })
        .collect()
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn ids(tasks: &[ClaimedTask]) -> Vec<TaskId> {
    tasks.iter().map(|task| task.id).collect()
}

/// One verdict of each kind.
pub(super) fn verdicts() -> Vec<Verdict> {
    let after = seconds(30);
    vec![
        Verdict::Complete,
        Verdict::Retry { after },
        Verdict::Snooze { after },
        Verdict::Fail,
        Verdict::Cancel { reason: "not wanted".to_owned() },
        Verdict::Release,
        Verdict::Interrupt,
        Verdict::Rescue { started: false, alone: false },
        Verdict::Rescue { started: true, alone: false },
        Verdict::Rescue { started: true, alone: true },
        Verdict::Unreadable { after },
    ]
}

/// A settlement as a runtime would send it that came to this verdict.
pub(super) fn settlement(task: &ClaimedTask, verdict: Verdict) -> Settlement {
    let end = match verdict {
        Verdict::Complete | Verdict::Release | Verdict::Rescue { started: false, .. } => None,
        Verdict::Retry { .. } | Verdict::Fail => Some(AttemptEnd::Failed),
        Verdict::Snooze { .. } => Some(AttemptEnd::Snoozed),
        Verdict::Cancel { .. } => Some(AttemptEnd::Cancelled),
        Verdict::Interrupt => Some(AttemptEnd::Interrupted),
        Verdict::Rescue { started: true, .. } => Some(AttemptEnd::Lost),
        Verdict::Unreadable { .. } => Some(AttemptEnd::Unreadable),
    };
    let attempt = end.map(|end| AttemptRecord {
        error: Some(format!("it {end:?}")),
        fingerprint: Some(u64::MAX - 1),
        ..AttemptRecord::new(uuid::Uuid::nil(), "1.0.0".into(), end, None)
    });
    Settlement { attempt, ..Settlement::new(task.id, task.lease, verdict) }
}
