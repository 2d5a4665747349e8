//! What the engine makes of transactions, on a storage that says what becomes of them.

use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    Runtime, TaskState,
    failure::Failure,
    handler::{Handler, HandlerOptions, Location},
    storage::{Begin, Inspect, Memory, Reply, Storage},
};

/// How a transaction of the fake storage ends, by what is written on its connection.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, PartialEq)]
pub enum Fate {
    #[default]
    Committed,
    CommittedUnheard,
    LostUnheard,
}

impl Transactional for Memory {}

impl Begin for Memory {
    type Connection = Fate;

    fn begin(&self) -> Reply<'_, Lent<Fate>> {
        Box::pin(async { Ok(Lent::new(Fate::default(), None)) })
    }

    fn complete<'s>(
        &'s self,
        lent: Lent<Fate>,
        settlement: &'s Settlement,
    ) -> BoxFuture<'s, Completion> {
        Box::pin(async move {
            let fate = lent.conn;
            if fate != Fate::LostUnheard {
                self.settle(vec![settlement.clone()]).await.unwrap();
            }
            match fate {
                Fate::Committed => Completion::Done,
                _ => Completion::Unknown(refuse("the connection broke")),
            }
        })
    }

    fn roll_back(&self, _: Lent<Fate>, _: bool) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Has its first attempt end so, and is slow in between.
#[derive(Debug, Serialize, Deserialize)]
struct Write {
    fate: Fate,
    takes: Duration,
}

impl Handler for Write {
    type Output = u32;

    const OPTIONS: HandlerOptions =
        HandlerOptions::new("write", Location { module: "t", file: "t", line: 1, column: 1 });

    async fn call(self, ctx: Context) -> Result<u32, Failure> {
        let failed = |error: StorageError| Failure::from_error(&error);
        let mut tx = Tx::<Memory>::from_context(&ctx).await.map_err(failed)?;
        assert!(Tx::<Memory>::from_context(&ctx).await.is_err(), "there is one for each attempt");
        let fate = tx.get().await.map_err(failed)?;
        *fate = if ctx.attempt() == 1 { self.fate } else { Fate::Committed };
        tokio::time::sleep(self.takes).await;
        Ok(ctx.attempt())
    }
}

/// In which attempt it completed, and what was told until then.
async fn run(fate: Fate, takes: Duration) -> (u32, Vec<EventKind>) {
    let memory = Memory::new();
    let builder = Runtime::builder().discover(false).handler::<Write>();
    let runtime = builder.storage(memory.clone()).start().await.unwrap();
    let mut events = runtime.events();
    let task = crate::dispatch(Write { fate, takes }).on(&runtime).await.unwrap();
    let attempt = task.output().await.unwrap();
    let stored = memory.task(task.id()).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.attempt), (TaskState::Completed, attempt));
    let mut told = Vec::new();
    while told.last() != Some(&EventKind::Completed) {
        told.push(events.next().await.unwrap().kind);
    }
    runtime.shutdown().await.unwrap();
    (attempt, told)
}

use EventKind::{Completed, Dispatched, LongTransaction, Retrying, Started};

#[tokio::test(start_paused = true)]
async fn a_commit_is_told_as_a_completion() {
    let (attempt, told) = run(Fate::Committed, Duration::ZERO).await;
    assert_eq!((attempt, told), (1, vec![Dispatched, Started, Completed]));
}

#[tokio::test(start_paused = true)]
async fn a_commit_of_which_the_answer_was_lost_is_found_out_and_not_repeated() {
    let (attempt, told) = run(Fate::CommittedUnheard, Duration::ZERO).await;
    assert_eq!((attempt, told), (1, vec![Dispatched, Started, Completed]));
}

#[tokio::test(start_paused = true)]
async fn what_was_not_committed_though_nobody_said_so_is_tried_again() {
    let (attempt, told) = run(Fate::LostUnheard, Duration::ZERO).await;
    let expected = vec![Dispatched, Started, Retrying, Started, Completed];
    assert_eq!((attempt, told), (2, expected));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_open_for_long_is_told_of() {
    let (_, told) = run(Fate::Committed, Duration::from_secs(6)).await;
    assert_eq!(told, [Dispatched, Started, LongTransaction, Completed]);
    let (_, told) = run(Fate::Committed, Duration::from_secs(4)).await;
    assert_eq!(told, [Dispatched, Started, Completed]);
}
