//! Who owns a line: takes requests, puts those that wait into one transaction, and answers each.
//!
//! While one transaction is under way, requests gather; when it is done, all of them go as the next. A request is under way
//! whether or not anybody still waits for its answer.

use std::{
    future::Future,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot};

use super::{Fault, Line, Purpose, Server, Thread, Transition, closed};
use crate::storage::StorageError;

/// Most requests in one transaction, and most that may wait for one.
const REQUESTS_MAX: usize = 1_024;
/// No more requests are taken into a transaction that holds this many rows; what is large counts as many.
const ROWS_MAX: usize = 10_000;
/// So many bytes count as much as one more row.
const LARGE: usize = 4 << 10;

/// How many rows one counts as that brings so many bytes.
pub(crate) fn weight(bytes: usize) -> usize {
    1 + bytes / LARGE
}

/// Something that can be done for many requests in one transaction.
pub(crate) trait Gathered<S: Server>: Send + Sync + 'static {
    type Request: Send + Sync + 'static;
    type Answer: Send + 'static;

    /// What it is, for errors: `cannot …`.
    const DOING: &'static str;

    fn rows(request: &Self::Request) -> usize;

    /// What an answer means where it was asked for twice, as the connection broke before the first answer came.
    fn asked_again(answer: Self::Answer) -> Self::Answer {
        answer
    }

    /// All of it or nothing; one answer for each.
    fn run(
        site: &S,
        conn: &mut S::Connection,
        requests: &[&Self::Request],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, Fault<S::Driver>>> + Send;
}

struct Letter<S: Server, G: Gathered<S>> {
    request: G::Request,
    reply: oneshot::Sender<Result<G::Answer, StorageError>>,
}

/// The way to an actor. When it is dropped, the actor does what it was asked before and ends.
#[derive(Debug)]
pub(crate) struct Actor<S: Server, G: Gathered<S>> {
    site: Arc<S>,
    inbox: mpsc::Sender<Letter<S, G>>,
}

impl<S: Server, G: Gathered<S>> Actor<S, G> {
    pub(crate) fn start(thread: &Thread, site: &Arc<S>) -> Self {
        let (inbox, letters) = mpsc::channel(REQUESTS_MAX);
        let line = Line::new(Arc::clone(site), Purpose::Write);
        thread.spawn(work::<S, G>(Arc::clone(site), line, letters));
        Self { site: Arc::clone(site), inbox }
    }

    pub(crate) async fn ask(&self, request: G::Request) -> Result<G::Answer, StorageError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.inbox.send(Letter { request, reply }).await;
        let closed = || closed(self.site.place());
        sent.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

async fn work<S: Server, G: Gathered<S>>(
    site: Arc<S>,
    mut line: Line<S>,
    mut letters: mpsc::Receiver<Letter<S, G>>,
) {
    while let Some(first) = letters.recv().await {
        let mut rows = G::rows(&first.request);
        let mut batch = vec![first];
        while rows < ROWS_MAX && batch.len() < REQUESTS_MAX {
            let Ok(next) = letters.try_recv() else { break };
            rows += G::rows(&next.request);
            batch.push(next);
        }
        serve(&*site, &mut line, batch).await;
    }
}

/// Serves a batch; if that fails for a reason of one request, each half of it by itself, until the guilty one stands alone.
async fn serve<S: Server, G: Gathered<S>>(site: &S, line: &mut Line<S>, batch: Vec<Letter<S, G>>) {
    let mut batches = vec![batch];
    while let Some(mut batch) = batches.pop() {
        let requests = batch.iter().map(|letter| &letter.request).collect();
        let unanswered = AtomicBool::new(false);
        let done = line.run(&Batch::<S, G> { requests, unanswered, of: PhantomData }).await;
        match done {
            Ok(answers) => {
                for (letter, answer) in batch.into_iter().zip(answers) {
                    let _caller_is_gone = letter.reply.send(Ok(answer));
                }
            }
            Err(fault) if batch.len() > 1 && !fault.concerns_all() => {
                let second = batch.split_off(batch.len() / 2);
                batches.extend([second, batch]);
            }
            Err(fault) => {
                for letter in batch {
                    let told = fault.tell(site.place(), G::DOING);
                    let _caller_is_gone = letter.reply.send(Err(told));
                }
            }
        }
    }
}

struct Batch<'b, S: Server, G: Gathered<S>> {
    requests: Vec<&'b G::Request>,
    /// It was sent before, and may have been carried out.
    unanswered: AtomicBool,
    of: PhantomData<fn() -> (S, G)>,
}

impl<S: Server, G: Gathered<S>> Transition<S> for Batch<'_, S, G> {
    type Answer = Vec<G::Answer>;

    const DOING: &'static str = G::DOING;

    async fn run(
        &self,
        site: &S,
        conn: &mut S::Connection,
    ) -> Result<Self::Answer, Fault<S::Driver>> {
        match G::run(site, conn, &self.requests).await {
            Ok(answers) if self.unanswered.load(Ordering::Relaxed) => {
                Ok(answers.into_iter().map(G::asked_again).collect())
            }
            Err(fault) if fault.breaks_connection() => {
                self.unanswered.store(true, Ordering::Relaxed);
                Err(fault)
            }
            done => done,
        }
    }
}
