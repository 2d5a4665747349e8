//! A few lines for what is asked now and then, one request at a time on each.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use super::{Line, Purpose, Server, Thread, Transition, closed};
use crate::storage::StorageError;

/// Lines that are opened when they are needed.
#[derive(Debug)]
pub(crate) struct Pool<S: Server> {
    site: Arc<S>,
    thread: Arc<Thread>,
    purpose: Purpose,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Line<S>>>>,
}

impl<S: Server> Pool<S> {
    pub(crate) fn new(thread: &Arc<Thread>, site: &Arc<S>, purpose: Purpose, most: usize) -> Self {
        let places = Arc::new(Semaphore::new(most.clamp(1, 64)));
        let (site, thread) = (Arc::clone(site), Arc::clone(thread));
        Self { site, thread, purpose, places, idle: Arc::default() }
    }

    /// Runs a transition to its end, whether or not anybody still waits for its answer.
    pub(crate) async fn run<T>(&self, transition: T) -> Result<T::Answer, StorageError>
    where
        T: Transition<S> + 'static,
    {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let closed = || closed(self.site.place());
        let place = place.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let (site, idle, purpose) = (Arc::clone(&self.site), Arc::clone(&self.idle), self.purpose);
        self.thread.spawn(async move {
            let line = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut line = line.unwrap_or_else(|| Line::new(Arc::clone(&site), purpose));
            let done = line.run(&transition).await;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            drop(place);
            let done = done.map_err(|fault| fault.tell(site.place(), T::DOING));
            let _caller_is_gone = reply.send(done);
        });
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}
