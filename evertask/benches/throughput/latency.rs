//! How long from a dispatch on an idle node until the handler runs.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use evertask::{
    Context, Failure, Handler, HandlerOptions, Location, Runtime, dispatch, storage::Sqlite,
};

use crate::{
    Outcome, Scale, Welcome, executor,
    floor::Floor,
    table::{Table, percentile},
};

/// When the last task began.
static BEGAN: Mutex<Option<Instant>> = Mutex::new(None);

/// The same payload, and a handler that notes when it began.
#[derive(serde::Serialize, serde::Deserialize)]
struct Timed(Welcome);

impl Handler for Timed {
    type Output = ();
    const OPTIONS: HandlerOptions = HandlerOptions::new(
        "timed",
        Location { module: module_path!(), file: file!(), line: line!(), column: column!() },
    );

    async fn call(self, _: Context) -> Result<(), Failure> {
        *BEGAN.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }
}

pub(crate) fn latency(scale: &Scale, table: &mut Table) -> Outcome {
    let directory = tempfile::tempdir_in(&scale.place)?;
    let (mut times, mut floors) = executor()?.block_on(async {
        let storage = Sqlite::open(directory.path().join("tasks.db")).await?;
        let runtime =
            Runtime::builder().storage(storage.clone()).handler::<Timed>().start().await?;
        let mut floor = Floor::open(&directory.path().join("floor.db")).await?;
        let (mut times, mut floors) = (Vec::new(), Vec::new());
        for n in 0..scale.samples {
            let start = Instant::now();
            // Spawned, as it would be from a server's request: the thread that waits in `block_on` is no part of tokio's pool.
            let task = tokio::spawn(async move { dispatch(Timed(Welcome::to(n as u64))).await });
            // Stored as ended, so the node is idle again.
            task.await??.output().await?;
            let began = BEGAN.lock().unwrap_or_else(PoisonError::into_inner).take();
            times.push(micros(began.ok_or("it did not run")?.duration_since(start)));

            let start = Instant::now();
            floor.transaction(false, &[Welcome::to(n as u64)], 0)?;
            floor.transaction(false, &[], 1)?;
            floors.push(micros(start.elapsed()));
            floor.transaction(true, &[], 0)?;
        }
        runtime.shutdown().await?;
        storage.close().await;
        Outcome::Ok((times, floors))
    })?;
    for (percent, goal) in [(50, 1.5), (99, 3.0)] {
        let (time, floor) = (percentile(&mut times, percent), percentile(&mut floors, percent));
        table.time(&format!("latency p{percent}"), time, floor, Some(goal));
    }
    Ok(())
}

fn micros(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
