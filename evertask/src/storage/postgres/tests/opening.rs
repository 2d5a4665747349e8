//! What is found at the first look: missing, older and newer tables, servers that keep no promises.

use super::{fresh, session};
use crate::{
    body::Body,
    storage::{Inspect, NewTask, Postgres, Storage, StorageErrorKind},
};

fn task() -> NewTask {
    NewTask::new("mail", Body::json(&()).unwrap())
}

#[tokio::test]
async fn a_schema_made_by_a_newer_program_is_refused_unless_older_ones_may_use_it() {
    let Some((options, url)) = fresh() else { return };
    let postgres = options.clone().connect(&url).await.unwrap();
    let conn = session(&postgres).await;
    conn.script("INSERT INTO migrations (version, oldest) VALUES (1000, 1)").await.unwrap();
    options.clone().connect(&url).await.unwrap();
    conn.script("INSERT INTO migrations (version, oldest) VALUES (1001, 1001)").await.unwrap();
    let error = options.connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::TooNew);
    assert!(error.to_string().contains("update this program"), "{error}");
}

#[tokio::test]
async fn without_leave_to_migrate_the_sql_to_run_is_told_and_enough() {
    let Some((options, url)) = fresh() else { return };
    let schema = format!("{} \"x\" '", evertask_servers::schema());
    let options = options.schema(&schema).auto_migrate(false);
    let error = options.clone().connect(&url).await.unwrap_err();
    assert!(error.to_string().contains("migrations_sql"), "{error}");
    let other = fresh().unwrap().0.connect(&url).await.unwrap();
    let by_hand = session(&other).await;
    let sql = Postgres::migrations_sql(&schema);
    for _ in 0..2 {
        by_hand.script(&sql).await.unwrap();
    }
    let postgres = options.connect(&url).await.unwrap();
    let (id, stored) = (task().id, task());
    postgres.enqueue(vec![stored.clone()]).await.unwrap();
    assert!(postgres.task(stored.id).await.unwrap().is_some());
    assert!(postgres.task(id).await.unwrap().is_none());
    assert!(other.task(stored.id).await.unwrap().is_none(), "another schema sees nothing of it");
}

#[tokio::test]
async fn many_programs_may_make_the_tables_at_once() {
    let Some((options, url)) = fresh() else { return };
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let (options, url) = (options.clone(), url.clone());
            tokio::spawn(async move { options.connect(url).await.map(drop) })
        })
        .collect();
    for opened in opening {
        opened.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_server_that_does_not_sync_its_commits_is_refused() {
    // The shared one is such a server.
    let Some((options, url)) = fresh() else { return };
    let error = options.clone().durable(true).connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unsafe);
    assert!(error.to_string().contains("`fsync`"), "{error}");
    options.connect(&url).await.unwrap();
}

#[tokio::test]
async fn commits_are_waited_for_even_where_the_server_would_not() {
    let Some(server) = evertask_servers::own_postgres() else { return };
    let url = format!("{}&options=-csynchronous_commit%3Doff", server.url());
    let postgres = Postgres::connect(url).await.unwrap();
    let conn = session(&postgres).await;
    let rows = conn.ask("SHOW synchronous_commit", &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, &str>(0), "on");
}

#[tokio::test]
async fn what_cannot_be_reached_is_unavailable_and_the_password_is_not_told() {
    let url = "postgres://user:secret@127.0.0.1:1/nowhere";
    let error = Postgres::connect(url).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unavailable);
    let said = format!("{error} {error:?}");
    assert!(said.contains("nowhere") && said.contains("127.0.0.1"), "{said}");
    assert!(!said.contains("secret"), "{said}");
    for (url, why) in [
        ("postgres://user:secret@h:x/db", "port"),
        ("postgres//user:secret@h/db?sslmode=disable", "unknown option `***`"),
        ("postgres://user:secret@h/db?sslmodus=disable", "unknown option `sslmodus`"),
        #[cfg(not(feature = "postgres-tls"))]
        ("postgres://user:secret@h/db?sslmode=require", "the feature `postgres-tls`"),
        #[cfg(not(feature = "postgres-tls"))]
        ("postgres://user:secret@h/db?sslmode=verify-full", "the feature `postgres-tls`"),
    ] {
        let error = Postgres::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Rejected);
        let said = format!("{error} {error:?}");
        assert!(said.contains(why) && !said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn a_proxy_that_pools_transactions_is_refused_and_told_what_to_do() {
    let Some(proxy) = evertask_servers::pgbouncer() else { return };
    let options = fresh().expect("the server behind it").0;
    let error = options.clone().connect(proxy.url()).await.unwrap_err();
    assert!(error.to_string().contains("`Postgres::options().pooled_proxy(true)`"), "{error}");
    options.pooled_proxy(true).connect(proxy.url()).await.unwrap();
}

#[tokio::test]
async fn what_such_a_proxy_makes_of_statements_is_told_with_what_to_do() {
    let Some((options, url)) = fresh() else { return };
    let conn = session(&options.connect(&url).await.unwrap()).await;
    let fault = conn.script("EXECUTE what_was_prepared_elsewhere").await.unwrap_err();
    assert!(fault.to_string().contains("`Postgres::options().pooled_proxy(true)`"), "{fault}");
}

#[tokio::test]
async fn a_closed_storage_says_so_and_leaves_nothing_behind() {
    let Some((options, url)) = fresh() else { return };
    let postgres = options.clone().connect(&url).await.unwrap();
    let stored = task();
    postgres.enqueue(vec![stored.clone()]).await.unwrap();
    postgres.close().await;
    let error = postgres.enqueue(vec![task()]).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Closed);
    let again = options.connect(&url).await.unwrap();
    assert!(again.task(stored.id).await.unwrap().is_some());
}
