//! The storage as one node sees it: far away, and not always there.
//!
//! A call travels, is done at one instant, and its answer travels back. What is on its way goes on whether anybody still waits for
//! it or not. A node that is dead or stands still neither sends nor hears, and tells nobody of what it does not know to be done.

use std::{fmt, sync::Arc, time::Duration};

use evertask::{
    Keep, StorageError, StorageErrorKind, TaskId, TaskInfo,
    storage::{
        Backlog, Beat, Bell, Cancel, Claim, Claimed, Count, DueSchedules, Enqueued, Held, Inspect,
        Known, Lost, NewTask, Node, NodeId, Page, Peer, Pruned, Reply, Revive, Roll,
        ScheduleChange, ScheduleChanged, SchedulePage, Settled, Settlement, Storage,
        StoredSchedule, TaskFilter,
    },
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::{
    bugs::Bug,
    faults::{Call, Harm},
    ledger::ASKED,
    seat::Seat,
    world::World,
};

#[derive(Clone)]
pub(crate) struct Wire(pub(crate) Arc<Seat>);

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wire").field(&self.0.place).finish()
    }
}

fn broken<T>() -> Result<T, StorageError> {
    Err(StorageError::new(StorageErrorKind::Unavailable, "the connection broke"))
}

impl Wire {
    /// Sends a call; it is done by `work`, at the instant at which it arrives.
    fn send<T: Send + 'static>(
        &self,
        call: Call,
        work: impl FnOnce(&World, &Arc<Seat>) -> Result<T, StorageError> + Send + 'static,
    ) -> Reply<'static, T> {
        let seat = Arc::clone(&self.0);
        Box::pin(async move {
            if !seat.pass().await {
                return Err(StorageError::new(StorageErrorKind::Closed, "the history is over"));
            }
            let (answer, answered) = oneshot::channel();
            tokio::spawn(travel(Arc::clone(&seat), call, work, answer));
            let answer = answered.await;
            seat.pass().await;
            // Nobody answers: neither does this.
            let Ok(answer) = answer else { return std::future::pending().await };
            answer
        })
    }
}

async fn travel<T: Send + 'static>(
    seat: Arc<Seat>,
    call: Call,
    work: impl FnOnce(&World, &Arc<Seat>) -> Result<T, StorageError> + Send + 'static,
    answer: oneshot::Sender<Result<T, StorageError>>,
) {
    let Some(world) = seat.world.upgrade() else { return };
    let harm = world.harm(&seat, call);
    if let Some(harm) = harm {
        world.say(Some(&seat), None, || format!("its next {call:?} meets {harm:?}"));
    }
    match harm {
        Some(Harm::CrashBefore) => return world.crash(&seat, Duration::from_secs(1)),
        Some(Harm::Fails(kind)) => {
            let error = StorageError::new(kind, "something is wrong with the disk");
            return drop(answer.send(Err(error)));
        }
        Some(Harm::SwallowsCall) => return,
        Some(Harm::LateCall(late)) => sleep(late).await,
        _ => {}
    }
    sleep(world.latency()).await;
    match seat.reaches() {
        Ok(()) => {}
        Err(true) => return,
        Err(false) => return drop(answer.send(broken())),
    }
    let done = work(&world, &seat);
    let rings = world.to_tell();
    match harm {
        Some(Harm::CrashAfter) => return world.crash(&seat, Duration::from_secs(1)),
        Some(Harm::LosesReply) => return drop(answer.send(done.and_then(|_| broken()))),
        Some(Harm::SwallowsReply) => return,
        Some(Harm::LateReply(late)) => sleep(late).await,
        _ => {}
    }
    sleep(world.latency()).await;
    match seat.reaches() {
        Ok(()) => {
            drop(answer.send(done));
            world.tell(&seat, rings).await;
        }
        Err(true) => {}
        Err(false) => drop(answer.send(broken())),
    }
}

impl Storage for Wire {
    fn bell(&self) -> &Bell {
        &self.0.bell
    }
    fn needs_beats(&self) -> bool {
        true
    }
    fn since_beat(&self, node: NodeId) -> Option<Duration> {
        let inside = self.0.inside.lock().unwrap();
        let here = inside.node == Some(node) && !inside.left;
        let since = inside.beat.filter(|_| here).map(|at| at.elapsed());
        let blind = self.0.world.upgrade().is_some_and(|it| it.truth.has(Bug::NeverOutOfTouch));
        since.map(|since| if blind { Duration::ZERO } else { since })
    }
    fn join(&self, node: Node) -> Reply<'_, ()> {
        self.send(Call::Join, move |world, seat| world.join(seat, node))
    }
    fn enqueue(&self, tasks: Vec<NewTask>) -> Reply<'_, Vec<Enqueued>> {
        let asked = ASKED.try_with(|asked| *asked).ok();
        self.send(Call::Enqueue, move |world, seat| world.enqueue(seat, tasks, asked))
    }
    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        let reply = self.send(Call::Claim, move |world, seat| world.claim(seat, claim));
        Box::pin(async move {
            let claimed = reply.await?;
            let mut inside = self.0.inside.lock().unwrap();
            let mut to_end = Vec::new();
            for task in &claimed.tasks {
                let lease = inside.leases.entry(task.id).or_default();
                *lease = task.lease.max(*lease);
                // What it runs of this task under an older lease has been taken from it meanwhile.
                let older = |it: &&(TaskId, u64)| it.0 == task.id && it.1 < task.lease;
                to_end.extend(inside.running.iter().filter(older).copied());
            }
            drop(inside);
            if let Some(world) = self.0.world.upgrade() {
                world.told(to_end);
            }
            Ok(claimed)
        })
    }
    fn settle(&self, batch: Vec<Settlement>) -> Reply<'_, Vec<Settled>> {
        self.send(Call::Settle, move |world, seat| world.settle(seat, batch))
    }
    fn renew(&self, beat: Beat) -> Reply<'_, Vec<Held>> {
        // What it runs only later cannot be missing in the answer.
        let asked_for = self.0.inside.lock().unwrap().running.clone();
        let sent = self.0.world.upgrade().map(|world| world.now()).unwrap_or_default();
        let reply = self.send(Call::Renew, move |world, seat| world.renew(seat, beat, sent));
        Box::pin(async move {
            let held = reply.await?;
            if let Some(world) = self.0.world.upgrade() {
                let mut to_end = std::mem::take(&mut self.0.inside.lock().unwrap().to_end);
                to_end.retain(|run| asked_for.contains(run));
                world.told(to_end);
            }
            Ok(held)
        })
    }
    fn peers(&self, node: NodeId) -> Reply<'_, Vec<Peer>> {
        let reply = self.send(Call::Peers, move |world, seat| world.peers(seat, node));
        Box::pin(async move {
            let peers = reply.await?;
            self.0.inside.lock().unwrap().heard = Some(Instant::now());
            Ok(peers)
        })
    }
    fn seize(&self, from: Peer, by: NodeId, limit: usize) -> Reply<'_, Vec<Lost>> {
        self.send(Call::Seize, move |world, seat| world.seize(seat, from, by, limit))
    }
    fn cancel(&self, id: TaskId, keep: Keep) -> Reply<'_, Cancel> {
        self.send(Call::Cancel, move |world, seat| world.cancel(seat, id, keep))
    }
    fn revive(&self, id: TaskId) -> Reply<'_, Revive> {
        self.send(Call::Revive, move |world, seat| world.revive(seat, id))
    }
    fn prune(&self, limit: usize) -> Reply<'_, Pruned> {
        self.send(Call::Prune, move |world, seat| world.prune(seat, limit))
    }
    fn change_schedules(&self, changes: Vec<ScheduleChange>) -> Reply<'_, Vec<ScheduleChanged>> {
        let asked = ASKED.try_with(|asked| *asked).ok();
        self.send(Call::Schedules, move |world, seat| world.change_schedules(seat, changes, asked))
    }
    fn due_schedules(
        &self,
        handlers: Arc<[Known]>,
        format: u32,
        limit: usize,
    ) -> Reply<'_, DueSchedules> {
        self.send(Call::Read, move |world, seat| world.due_schedules(seat, handlers, format, limit))
    }
    fn leave(&self, node: NodeId) -> Reply<'_, ()> {
        self.send(Call::Leave, move |world, seat| world.leave(seat, node))
    }
}

impl Inspect for Wire {
    fn task(&self, id: TaskId) -> Reply<'_, Option<TaskInfo>> {
        self.send(Call::Read, move |world, _| world.read(|memory| memory.task(id)))
    }
    fn tasks(&self, filter: TaskFilter, page: Page) -> Reply<'_, Vec<TaskInfo>> {
        self.send(Call::Read, move |world, _| world.read(|memory| memory.tasks(filter, page)))
    }
    fn counts(&self) -> Reply<'_, Vec<Count>> {
        self.send(Call::Read, |world, _| world.read(Inspect::counts))
    }
    fn roll(&self) -> Reply<'_, Roll> {
        self.send(Call::Read, |world, _| world.read(Inspect::roll))
    }
    fn backlog(&self) -> Reply<'_, Vec<Backlog>> {
        self.send(Call::Read, |world, _| world.read(Inspect::backlog))
    }
    fn schedule(&self, name: String, key: String) -> Reply<'_, Option<StoredSchedule>> {
        self.send(Call::Read, move |world, seat| world.schedule(seat, &name, &key))
    }
    fn schedules(&self, page: SchedulePage) -> Reply<'_, Vec<StoredSchedule>> {
        self.send(Call::Read, move |world, _| world.read(|memory| memory.schedules(page)))
    }
}
