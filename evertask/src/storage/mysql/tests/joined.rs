//! The laws of storage, where every task is stored in a transaction of the caller, in a session that is as the server gives it.

use std::sync::Arc;

use mysql_async::{Conn, TxOpts, prelude::Queryable};

use crate::storage::{
    FullStorage, Join, JoinError, Joined as Stored, ManualClock, MySql, NewTask,
    conformance::Subject,
    mysql::rings::Rings,
    server::joined::{Joined, Within},
};

impl Within for MySql {
    async fn within(self: Arc<Self>, tasks: Vec<NewTask>) -> Result<Stored, JoinError> {
        let site = Arc::clone(&self.0.site);
        let mut conn = Conn::new(site.settings.opts.clone()).await.unwrap();
        // What it has seen before does not keep it from what was stored since.
        let mut seen = TxOpts::default();
        seen.with_consistent_snapshot(true);
        let mut tx = conn.start_transaction(seen).await.unwrap();
        let storage: Arc<dyn FullStorage> = self;
        match tx.join(storage, tasks.clone()).await {
            Ok(joined) => {
                tx.commit().await.unwrap();
                // Nobody else does, for those who are here: the runtime looks for it.
                let mut rings = Rings::default();
                let now = site.clock.as_ref().unwrap().micros();
                tasks.iter().for_each(|task| rings.stored(task.due, now));
                site.ring(rings);
                Ok(joined)
            }
            Err(JoinError::Storage(error)) if !error.is_transient() => {
                tx.query_drop("SELECT 1").await.expect("it goes on");
                Err(JoinError::Storage(error))
            }
            Err(error) => Err(error),
        }
    }
}

async fn joined() -> Option<Subject> {
    let (options, url) = super::fresh()?;
    let clock = ManualClock::new();
    let mysql = Arc::new(options.clock(clock.clock()).connect(&url).await.unwrap());
    Some(Subject::new(Joined::new(mysql), clock))
}

crate::storage_conformance!(laws, super::joined);
