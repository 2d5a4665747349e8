//! ∅ → pending, and what a key makes of it.

use super::{
    batch::{Batch, SEEN, keyed_ids},
    connection::Connection,
    error::Fault,
    lane::Lane,
    rings::Rings,
    site::Site,
};
use crate::storage::{
    Enqueued, NewTask,
    server::{Gathered, weight},
};

/// Stores tasks that have been checked, for many callers in one transaction.
#[derive(Debug)]
pub(super) struct Enqueue;

impl Gathered<Site> for Enqueue {
    type Request = Vec<NewTask>;
    type Answer = Vec<Enqueued>;

    const DOING: &'static str = "cannot store tasks";

    fn rows(request: &Self::Request) -> usize {
        request.iter().map(|task| weight(task.payload.bytes.len())).sum()
    }

    async fn run(
        site: &Site,
        conn: &mut Connection,
        requests: &[&Self::Request],
    ) -> Result<Vec<Self::Answer>, Fault> {
        let tasks: Vec<&NewTask> = requests.iter().copied().flatten().collect();
        let lanes = site.numbers(conn, tasks.iter().map(|task| lane_of(task)).collect()).await?;
        let (ids, now) = (keyed_ids(tasks.iter().copied()), site.injected());
        let mut rings = Rings::default();
        let told = if ids.is_empty() {
            let batch = Batch::of(tasks, &lanes, &[], now)?;
            let answers = conn.together(&batch.statements().steps()).await?;
            batch.told(&answers, &mut rings)?
        } else {
            let seen = conn.begin(&[(&SEEN, &[&ids])]).await?;
            let batch = Batch::of(tasks, &lanes, &seen.concat(), now)?;
            let answers = conn.commit(&batch.statements().steps()).await?;
            batch.told(&answers, &mut rings)?
        };
        site.ring(rings);
        let mut told = told.into_iter();
        Ok(requests.iter().map(|request| told.by_ref().take(request.len()).collect()).collect())
    }
}

pub(super) fn lane_of(task: &NewTask) -> Lane {
    Lane {
        queue: task.queue.clone(),
        name: task.name.clone(),
        version: task.version,
        priority: task.priority,
        suspect: false,
    }
}
