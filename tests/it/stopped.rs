//! A process that is stopped and goes on later, with all its timers out.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use evertask::{
    Runtime, State, TaskId,
    process::{self, Process},
};
use tokio::time::sleep;

use crate::{
    faulty::{Fault, Faulty},
    log::Log,
};

/// While it stands still, those who are to be woken when it moves again.
#[derive(Debug, Default)]
struct Stoppable(Mutex<Option<Vec<Waker>>>);

impl Stoppable {
    fn stop(&self) {
        self.0.lock().unwrap().get_or_insert_default();
    }

    fn go_on(&self) {
        let stopped = self.0.lock().unwrap().take();
        stopped.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Process for Stoppable {
    fn poll_moves(&self, context: &mut Context<'_>) -> Poll<()> {
        match &mut *self.0.lock().unwrap() {
            None => Poll::Ready(()),
            Some(stopped) => {
                stopped.push(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[evertask::handler]
async fn charge(log: State<Log>) {
    log.add("begun");
    sleep(Duration::from_secs(2)).await;
    log.add("charged");
}

/// Others may run its tasks since: no handler goes on to its next step before the node knows whether it still may.
#[tokio::test(start_paused = true)]
async fn what_was_stopped_for_longer_than_its_lease_does_nothing_more() {
    let process = Arc::new(Stoppable::default());
    let far = Arc::new(AtomicBool::new(false));
    let late = Arc::clone(&far);
    let late = move |name: &str, _: &[TaskId]| {
        (name == "renew" && late.load(Ordering::SeqCst)).then_some(Fault::Late)
    };
    let (log, mut storage) = (Log::default(), Faulty::when(late));
    storage.beats = true;
    let builder = Runtime::builder().storage(storage).discover(false).state(log.clone());
    let start = builder.handler::<charge>().start();
    let runtime = process::of(process.clone(), start).await.unwrap();
    let task = charge::dispatch().on(&runtime).await.unwrap();
    crate::until(async || log.len() == 1).await;
    process.stop();
    // Whether it still has the task it hears only after its handler would have gone on.
    far.store(true, Ordering::SeqCst);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(log.len(), 1, "nothing of it goes on");
    process.go_on();
    task.output().await.unwrap();
    assert_eq!(log.taken(), ["begun", "begun", "charged"]);
}
