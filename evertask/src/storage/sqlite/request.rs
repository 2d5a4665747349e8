//! What is asked of the writer: a transition, and who waits for its answer.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::transaction::Transaction;
use crate::storage::StorageError;

/// In what order the requests of one commit run: what ends tasks first, so that keys are free for what is stored next, and
/// claims last, so that they see all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    Settle,
    Enqueue,
    Between,
    Claim,
}

/// What the writer has to know of a request before it runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label {
    pub(super) turn: Turn,
    /// How many tasks it is about, as far as that is known.
    pub(super) rows: usize,
    /// What could not be done, should it fail: `cannot store tasks`.
    pub(super) doing: &'static str,
}

/// A request, whatever it asks for.
pub(super) trait Ask: Send {
    fn label(&self) -> Label;

    /// Runs the transition, perhaps not for the first time: of earlier runs, nothing remained.
    fn run(&mut self, tx: &mut Transaction<'_>) -> rusqlite::Result<()>;

    /// Answers what the last run gave, or why nothing was committed.
    fn answer(&mut self, committed: Result<(), StorageError>);
}

/// A request for a transition that gives a `T`.
pub(super) struct Request<T, F> {
    label: Label,
    transition: F,
    done: Option<T>,
    reply: Option<oneshot::Sender<Result<T, StorageError>>>,
    /// Its place among those that may wait, free again once it is dropped.
    _place: OwnedSemaphorePermit,
}

impl<T, F> Request<T, F> {
    pub(super) fn new(
        label: Label,
        transition: F,
        reply: oneshot::Sender<Result<T, StorageError>>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self { label, transition, done: None, reply: Some(reply), _place: place }
    }
}

impl<T, F> Ask for Request<T, F>
where
    T: Send,
    F: FnMut(&mut Transaction<'_>) -> rusqlite::Result<T> + Send,
{
    fn label(&self) -> Label {
        self.label
    }

    fn run(&mut self, tx: &mut Transaction<'_>) -> rusqlite::Result<()> {
        self.done = Some((self.transition)(tx)?);
        Ok(())
    }

    fn answer(&mut self, committed: Result<(), StorageError>) {
        // What was committed has been run, so there always is an answer.
        let answer = committed.map(|()| self.done.take()).transpose();
        if let (Some(reply), Some(answer)) = (self.reply.take(), answer) {
            let _caller_is_gone = reply.send(answer);
        }
    }
}
