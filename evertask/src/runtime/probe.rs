//! Looks for tasks that a caller's transaction will have stored once it commits, where nobody tells when that is.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{runtime::Shared, storage::Joined};

/// The first look comes so soon, each further one after twice the time.
const FIRST: Duration = Duration::from_millis(10);

/// However many transactions there are, there is one that looks.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    looks: Mutex<Option<Looks>>,
    sooner: Notify,
}

/// The next look, and how long after the last one it comes.
#[derive(Debug)]
struct Looks {
    at: Instant,
    wait: Duration,
}

impl Probe {
    fn looks(&self) -> MutexGuard<'_, Option<Looks>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the looks anew, and never puts one off. True if nobody looks yet.
    fn begin(&self) -> bool {
        let mut looks = self.looks();
        let soon = Instant::now() + FIRST;
        let at = looks.as_ref().map_or(soon, |looks| looks.at.min(soon));
        let is_first = looks.replace(Looks { at, wait: FIRST }).is_none();
        self.sooner.notify_one();
        is_first
    }

    fn next(&self) -> Option<Instant> {
        self.looks().as_ref().map(|looks| looks.at)
    }

    /// From `longest` on, the usual looks do.
    fn looked(&self, longest: Duration) {
        let mut looks = self.looks();
        let wait = looks.as_ref().map(|looks| looks.wait * 2).filter(|wait| *wait <= longest);
        *looks = wait.map(|wait| Looks { at: Instant::now() + wait, wait });
    }
}

impl Shared {
    /// Tasks will be there if a caller's transaction commits.
    pub(crate) fn joined(self: &Arc<Self>, joined: &Joined) {
        for enqueued in &joined.enqueued {
            let (id, how) = (enqueued.id, enqueued.how);
            tracing::debug!(%id, ?how, "dispatched within a transaction of the caller");
        }
        if !joined.wakes && !joined.enqueued.is_empty() && self.probe.begin() {
            drop(self.tokio.spawn(look(Arc::clone(self))));
        }
    }
}

async fn look(shared: Arc<Shared>) {
    let probe = &shared.probe;
    while let Some(at) = probe.next() {
        tokio::select! {
            biased;
            () = sleep_until(at) => {
                shared.storage.bell().work(Duration::ZERO);
                probe.looked(shared.settings.look_every);
            }
            () = probe.sooner.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Runtime,
        storage::{Dispatched, Enqueued, Memory},
        task::TaskId,
    };

    #[tokio::test(start_paused = true)]
    async fn it_looks_after_10_ms_and_then_each_time_after_twice_as_long() {
        let runtime = Runtime::builder().storage(Memory::new()).discover(false).client();
        let runtime = runtime.await.unwrap();
        let shared = runtime.shared();
        let heard = shared.storage.bell().listen_work();
        let rung = || heard.borrow().rung;
        let enqueued = Enqueued { id: TaskId::new(), how: Dispatched::Created };
        let joined = |wakes| Joined { enqueued: vec![enqueued], wakes };
        let wait = async |millis| tokio::time::sleep(Duration::from_millis(millis)).await;

        shared.joined(&joined(true));
        wait(5_000).await;
        assert_eq!(rung(), 0, "where the commit wakes there is nothing to look for");

        shared.joined(&joined(false));
        wait(15).await;
        assert_eq!(rung(), 1);
        wait(20).await;
        assert_eq!(rung(), 2);
        // The next would come 40 ms later. Whoever comes meanwhile is looked for as soon as any.
        shared.joined(&joined(false));
        wait(15).await;
        assert_eq!(rung(), 3);
        wait(10_000).await;
        assert_eq!(rung(), 9, "no longer than until the usual look");
        shared.joined(&joined(false));
        wait(15).await;
        assert_eq!(rung(), 10);
    }
}
