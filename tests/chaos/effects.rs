//! What handlers write in the transaction that completes their task, and whether it is there once for each.

use std::{collections::HashMap, time::Duration};

use evertask::{Context, State, Tx, storage::Postgres};
use tokio_postgres::{Client, NoTls};

use crate::{journal::Journal, load::Run};

/// Only on these servers there are such transactions.
pub(crate) fn are_on(url: &str) -> bool {
    url.starts_with("postgres")
}

/// Writes a row, and does other things besides. It is cut off after a while, since nobody tells it that its connection is.
#[evertask::handler(retries = 1_000_000, backoff = "fixed(50ms)", timeout = "5s")]
pub(crate) async fn book(
    journal: State<Journal>,
    ctx: Context,
    #[extract] mut tx: Tx<Postgres>,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let mut run = Run::begin(&ctx, &journal);
    let row = sqlx::query("INSERT INTO public.effects (task, run) VALUES ($1, $2)");
    row.bind(ctx.id().to_string()).bind(run.name()).execute(tx.get().await?).await?;
    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..100))).await;
    run.done();
    if fastrand::u32(0..4) == 0 {
        // In the name of this run, so that it is known whether it was taken.
        return Err(run.name().into());
    }
    Ok(run.name().to_owned())
}

/// Makes the table for it, however often it is asked for.
pub(crate) async fn prepare(url: &str) {
    let client = connect(url).await;
    let table = "SELECT pg_advisory_xact_lock(7); CREATE TABLE IF NOT EXISTS public.effects (task text, run text)";
    client.batch_execute(table).await.unwrap();
}

/// By which runs of each task something is written.
pub(crate) async fn read(url: &str) -> HashMap<String, Vec<String>> {
    let rows = connect(url).await.query("SELECT task, run FROM public.effects", &[]).await;
    let mut effects: HashMap<String, Vec<String>> = HashMap::new();
    for row in rows.unwrap() {
        effects.entry(row.get(0)).or_default().push(row.get(1));
    }
    effects
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
