//! What is found at the first look: missing, older and newer tables, servers that keep no promises.

use super::{fresh, run, session, task};
use crate::storage::{Inspect, MySql, Storage, StorageErrorKind};

#[tokio::test]
async fn tables_made_by_a_newer_program_are_refused_unless_older_ones_may_use_them() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.clone().connect(&url).await.unwrap();
    let mut conn = session(&mysql).await;
    let step = "INSERT INTO {migrations} (version, oldest) VALUES (?, ?)";
    run(&mysql, &mut conn, step, &[&1_000_i64, &1_i64]).await;
    options.clone().connect(&url).await.unwrap();
    run(&mysql, &mut conn, step, &[&1_001_i64, &1_001_i64]).await;
    let error = options.connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::TooNew);
    assert!(error.to_string().contains("update this program"), "{error}");
}

#[tokio::test]
async fn without_leave_to_migrate_the_sql_to_run_is_told_and_enough() {
    let Some((options, url)) = fresh() else { return };
    let prefix = format!("{} `x' \"", evertask_servers::schema());
    let options = options.prefix(&prefix).auto_migrate(false);
    let error = options.clone().connect(&url).await.unwrap_err();
    assert!(error.to_string().contains("migrations_sql"), "{error}");
    let other = fresh().unwrap().0.connect(&url).await.unwrap();
    let mut by_hand = session(&other).await;
    for _ in 0..2 {
        for statement in MySql::migrations_sql(&prefix).split(";\n") {
            if !statement.trim().is_empty() {
                let mut script = other.0.site.script();
                script.statements.push(statement.as_bytes().to_vec());
                by_hand.run(script).await.unwrap();
            }
        }
    }
    let mysql = options.connect(&url).await.unwrap();
    let stored = task();
    mysql.enqueue(vec![stored.clone()]).await.unwrap();
    assert!(mysql.task(stored.id).await.unwrap().is_some());
    assert!(other.task(stored.id).await.unwrap().is_none(), "other tables see nothing of it");
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
async fn tables_that_were_made_halfway_are_made_whole() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.clone().connect(&url).await.unwrap();
    let mut conn = session(&mysql).await;
    // As if the program had died before the last table.
    for sql in ["DROP TABLE {schedules}", "DELETE FROM {migrations}"] {
        run(&mysql, &mut conn, sql, &[]).await;
    }
    let whole = options.connect(&url).await.unwrap();
    assert_eq!(whole.schedule("mail".to_owned(), "nightly".to_owned()).await.unwrap(), None);
}

#[tokio::test]
async fn a_server_that_does_not_sync_its_commits_is_refused() {
    // The shared one is such a server.
    let Some((options, url)) = fresh() else { return };
    let error = options.clone().durable(true).connect(&url).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unsafe);
    assert!(error.to_string().contains("`innodb_flush_log_at_trx_commit`"), "{error}");
    options.connect(&url).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_reached_is_unavailable_and_the_password_is_not_told() {
    let url = "mysql://user:secret@127.0.0.1:1/nowhere";
    let error = MySql::connect(url).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Unavailable);
    let said = format!("{error} {error:?}");
    assert!(said.contains("nowhere") && said.contains("127.0.0.1"), "{said}");
    assert!(!said.contains("secret"), "{said}");
    for (url, why) in [
        ("mysql://user:secret@h:x/db", "port"),
        ("mysql://user:secret@h/", "names no database"),
        ("mariadb://user:secret@h/db?ssl-mode=maybe", "VERIFY_IDENTITY"),
    ] {
        let error = MySql::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Rejected);
        let said = format!("{error} {error:?}");
        assert!(said.contains(why) && !said.contains("secret"), "{said}");
    }
    let error = MySql::options().prefix("a.b").connect("mysql://h/db").await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Rejected);
}

#[tokio::test]
async fn a_closed_storage_says_so_and_leaves_nothing_behind() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.clone().connect(&url).await.unwrap();
    let stored = task();
    mysql.enqueue(vec![stored.clone()]).await.unwrap();
    mysql.close().await;
    let error = mysql.enqueue(vec![task()]).await.unwrap_err();
    assert_eq!(error.kind(), StorageErrorKind::Closed);
    let again = options.connect(&url).await.unwrap();
    assert!(again.task(stored.id).await.unwrap().is_some());
}
