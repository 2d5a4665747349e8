//! The laws of storage, where every task is stored in a transaction of the caller. So the function in the schema and the
//! statements of [`enqueue`](super::super::enqueue) cannot differ.

use std::sync::Arc;

use sqlx::{Connection, PgConnection};

use crate::storage::{
    FullStorage, Join, JoinError, Joined as Stored, ManualClock, NewTask, Postgres, Storage,
    conformance::Subject,
    server::joined::{Joined, Within},
};

impl Within for Postgres {
    async fn within(self: Arc<Self>, tasks: Vec<NewTask>) -> Result<Stored, JoinError> {
        let options = self.0.site.settings.for_sqlx();
        let mut conn = PgConnection::connect_with(&options[0]).await.unwrap();
        let mut tx = conn.begin().await.unwrap();
        let storage: Arc<dyn FullStorage> = self;
        match tx.join(storage, tasks).await {
            Ok(joined) => {
                tx.commit().await.unwrap();
                Ok(joined)
            }
            Err(JoinError::Storage(error)) if !error.is_transient() => {
                sqlx::query("SELECT 1").execute(&mut *tx).await.expect("it is not poisoned");
                Err(JoinError::Storage(error))
            }
            Err(error) => Err(error),
        }
    }
}

async fn joined() -> Option<Subject> {
    let (options, url) = super::fresh()?;
    let clock = ManualClock::new();
    let options = options.clock(clock.clock());
    let postgres = Arc::new(options.connect(&url).await.unwrap());
    // From here on it hears of commits, which is what it is woken by.
    postgres.bell().listen_work().wait_for(|work| work.rung > 0).await.unwrap();
    Some(Subject::new(Joined::new(postgres), clock))
}

crate::storage_conformance!(laws, super::joined);
