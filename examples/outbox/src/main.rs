//! Rows of an application and its tasks in one transaction of PostgreSQL, on both sides: an order and the task that books it are
//! stored together, and the booking is stored together with the end of that task.
//!
//! Run with `EVERTASK_URL=postgres://user:password@host/database cargo run -p outbox`, in as many terminals as you like, and kill
//! any of them: in the end there is one booking for each order.

use anyhow::Context as _;
use evertask::{Context, Runtime, TaskHandle, Tx, storage::Postgres};
use sqlx::PgPool;

/// Books an order. Whatever happens in between, there is one booking for each completed task.
#[evertask::handler(retries = 5, backoff = "fixed(200ms)")]
async fn book(
    order: i64,
    amount: i64,
    ctx: Context,
    #[extract] mut tx: Tx<Postgres>,
) -> anyhow::Result<()> {
    sqlx::query("INSERT INTO bookings (order_id, amount) VALUES ($1, $2)")
        .bind(order)
        .bind(amount)
        .execute(tx.get().await?)
        .await?;
    // Its row goes with it.
    anyhow::ensure!(ctx.attempt() > 1 || order % 2 == 0, "every other order fails at first");
    Ok(())
}

/// Stores an order and the task that books it: both or neither.
async fn place(pool: &PgPool, item: &str, amount: i64) -> anyhow::Result<TaskHandle<book>> {
    let mut tx = pool.begin().await?;
    let order = sqlx::query_scalar("INSERT INTO orders (item) VALUES ($1) RETURNING id")
        .bind(item)
        .fetch_one(&mut *tx)
        .await?;
    let task = book::dispatch(order, amount).within(&mut tx).await?;
    anyhow::ensure!(amount > 0, "{item} for nothing: neither the order is stored nor the task");
    tx.commit().await?;
    Ok(task)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().init();
    let url = std::env::var("EVERTASK_URL").context("set EVERTASK_URL to that of a PostgreSQL")?;
    let pool = PgPool::connect(&url).await?;
    sqlx::raw_sql(
        "SELECT pg_advisory_lock(7);
        CREATE TABLE IF NOT EXISTS orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text NOT NULL);
        CREATE TABLE IF NOT EXISTS bookings (order_id bigint NOT NULL, amount bigint NOT NULL);
        SELECT pg_advisory_unlock(7)",
    )
    .execute(&pool)
    .await?;
    let runtime = Runtime::builder().storage(Postgres::connect(&url).await?).start().await?;

    let mut tasks = Vec::new();
    for (item, amount) in [("a hat", 20), ("a coat", 90), ("a hug", 0), ("a scarf", 15)] {
        match place(&pool, item, amount).await {
            Ok(task) => tasks.push(task),
            Err(error) => println!("{error}"),
        }
    }
    for task in &tasks {
        task.output().await?;
    }
    let counts = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM bookings)";
    let (orders, bookings): (i64, i64) = sqlx::query_as(counts).fetch_one(&pool).await?;
    println!("{orders} orders, {bookings} bookings");

    runtime.shutdown().await?;
    Ok(())
}
