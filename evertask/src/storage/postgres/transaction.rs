//! The transaction of a handler on its session: how it begins, whether it is still the same at its end, and how it ends.
//!
//! `sqlx` counts how deep in transactions a session is, and makes savepoints of what is begun inside of one. So that what a
//! handler begins is never taken for the whole, to `sqlx` these sessions are always inside of one: the first transaction is begun
//! through it and never ended by it, and all others go unseen by it.

use sqlx::{AssertSqlSafe, Connection, Error, Executor, PgConnection};

/// True only in a transaction that was begun here. It goes with it, whoever ends it.
pub(super) const IS_OURS: &str = "coalesce(current_setting('evertask.own', true), '') = 'yes'";

/// Begins one with these settings, which go with it as well.
pub(super) async fn begin(conn: &mut PgConnection, settings: &str) -> Result<(), Error> {
    let begin = AssertSqlSafe(format!("BEGIN; SET LOCAL evertask.own = 'yes'; {settings}"));
    if conn.is_in_transaction() {
        return conn.execute(begin).await.map(drop);
    }
    // Dropped, it would be rolled back. There is nothing in it but the connection.
    conn.begin_with(begin).await.map(std::mem::forget)
}

/// False if the handler has ended it, or `sqlx` for it: a savepoint that cannot be made takes the whole with it.
pub(super) async fn is_open(conn: &mut PgConnection) -> Result<bool, Error> {
    let ask = AssertSqlSafe(format!("SELECT {IS_OURS}"));
    sqlx::query_scalar(ask).persistent(false).fetch_one(conn).await
}

pub(super) async fn commit(conn: &mut PgConnection) -> Result<(), Error> {
    conn.execute("COMMIT").await.map(drop)
}

/// Ends it without a trace. False if `sqlx` has ended it before, and the session is not to be used again.
pub(super) async fn roll_back(conn: &mut PgConnection) -> Result<bool, Error> {
    conn.execute("ROLLBACK").await?;
    Ok(conn.is_in_transaction())
}
