//! How a storage tells the runtimes of this process that there may be something to do.
//!
//! A hint, never a promise: whoever listens looks again at the storage. Rings are counted, so none is lost between two looks.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use crate::task::TaskId;

/// Rung after commits. One bell per storage, shared by all runtimes on it.
pub struct Bell {
    work: watch::Sender<Work>,
    orders: watch::Sender<u64>,
    peers: watch::Sender<u64>,
    schedules: watch::Sender<u64>,
    waiting: Mutex<HashMap<TaskId, Vec<oneshot::Sender<()>>>>,
    /// How many tasks someone waits for: so that nobody waiting costs nobody a lock.
    waited_for: AtomicUsize,
}

/// What was last rung about work.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    /// Grows with every ring about work that is due now.
    pub(crate) rung: u64,
    /// When the soonest of the announced future tasks becomes due.
    pub(crate) soonest: Option<Instant>,
}

impl Bell {
    /// A bell nobody listens to yet.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            work: watch::Sender::new(Work::default()),
            orders: watch::Sender::new(0),
            peers: watch::Sender::new(0),
            schedules: watch::Sender::new(0),
            waiting: Mutex::default(),
            waited_for: AtomicUsize::new(0),
        }
    }

    /// Tasks may be due now, or will be after `due_in`.
    pub fn work(&self, due_in: Duration) {
        if due_in.is_zero() {
            self.work.send_modify(|work| work.rung += 1);
            return;
        }
        let now = Instant::now();
        // Far ahead is left to the slow look: an instant that far cannot be made on every platform.
        let Some(due) = now.checked_add(due_in) else { return };
        self.work.send_if_modified(|work| {
            let passed = work.soonest.is_some_and(|soonest| soonest <= now);
            if passed {
                // Its place is taken, and not everybody may have looked at it yet.
                work.rung += 1;
            }
            let sooner = passed || work.soonest.is_none_or(|soonest| due < soonest);
            if sooner {
                work.soonest = Some(due);
            }
            sooner
        });
    }

    /// A cancel was asked for, or something else that a node learns by renewing.
    pub fn orders(&self) {
        self.orders.send_modify(|rung| *rung += 1);
    }

    /// A node may have died.
    pub fn peers(&self) {
        self.peers.send_modify(|rung| *rung += 1);
    }

    /// A schedule was changed: another one may come up next.
    pub fn schedules(&self) {
        self.schedules.send_modify(|rung| *rung += 1);
    }

    /// Tasks have ended.
    pub fn ended(&self, ids: impl IntoIterator<Item = TaskId>) {
        if self.waited_for.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            for waiter in waiting.remove(&id).into_iter().flatten() {
                let _gone = waiter.send(());
            }
        }
        self.waited_for.store(waiting.len(), Ordering::SeqCst);
    }

    /// Everybody looks again: another process may have changed anything.
    pub fn all(&self) {
        self.work(Duration::ZERO);
        self.orders();
        self.schedules();
        self.ended_elsewhere();
    }

    /// Any task may have ended in another process: who waits for one looks again.
    pub(crate) fn ended_elsewhere(&self) {
        if self.waited_for.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for waiter in waiting.drain().flat_map(|(_, waiters)| waiters) {
            let _gone = waiter.send(());
        }
        self.waited_for.store(0, Ordering::SeqCst);
    }

    pub(crate) fn listen_work(&self) -> watch::Receiver<Work> {
        self.work.subscribe()
    }

    pub(crate) fn listen_orders(&self) -> watch::Receiver<u64> {
        self.orders.subscribe()
    }

    pub(crate) fn listen_peers(&self) -> watch::Receiver<u64> {
        self.peers.subscribe()
    }

    pub(crate) fn listen_schedules(&self) -> watch::Receiver<u64> {
        self.schedules.subscribe()
    }

    /// Resolves when this task may have ended. To be asked for *before* looking at the task.
    pub(crate) fn listen_ended(&self, id: TaskId) -> ListenEnded<'_> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(id).or_default().push(sender);
        self.waited_for.store(waiting.len(), Ordering::SeqCst);
        ListenEnded { bell: self, id, receiver }
    }
}

/// Someone who waits for the end of a task; one who gives up leaves nothing behind.
pub(crate) struct ListenEnded<'a> {
    bell: &'a Bell,
    id: TaskId,
    receiver: oneshot::Receiver<()>,
}

impl Future for ListenEnded<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.receiver).poll(cx).map(drop)
    }
}

impl Drop for ListenEnded<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        let mut waiting = self.bell.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiters) = waiting.get_mut(&self.id) {
            waiters.retain(|waiter| !waiter.is_closed());
            if waiters.is_empty() {
                waiting.remove(&self.id);
            }
        }
        self.bell.waited_for.store(waiting.len(), Ordering::SeqCst);
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").field("waited_for", &self.waited_for).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_has_become_due_is_not_forgotten_for_what_will() {
        let (bell, second) = (Bell::new(), Duration::from_secs(1));
        bell.work(second);
        bell.work(2 * second);
        let work = *bell.work.borrow();
        assert_eq!((work.rung, work.soonest), (0, Some(Instant::now() + second)));
        tokio::time::advance(second).await;
        bell.work(5 * second);
        let work = *bell.work.borrow();
        assert_eq!((work.rung, work.soonest), (1, Some(Instant::now() + 5 * second)));
    }

    #[tokio::test]
    async fn who_no_longer_waits_for_an_end_leaves_nothing_behind() {
        let (bell, id) = (Bell::new(), TaskId::new());
        let stays = bell.listen_ended(id);
        drop(bell.listen_ended(id));
        drop(bell.listen_ended(TaskId::new()));
        assert_eq!(bell.waited_for.load(Ordering::SeqCst), 1);
        bell.ended([id]);
        stays.await;
        assert_eq!(bell.waited_for.load(Ordering::SeqCst), 0);
        assert!(bell.waiting.lock().unwrap().is_empty());
    }
}
