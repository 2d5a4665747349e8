//! The laws of storage, put to each storage.

use std::{fs, sync::Arc};

use evertask::storage::{
    BoxFuture, FullStorage, ManualClock, Memory, MySql, Postgres, PostgresOptions, Sqlite,
    conformance::Subject,
};

async fn memory() -> Subject {
    let clock = ManualClock::new();
    let memory = Memory::with_clock(clock.clock());
    let measured = memory.clone();
    Subject::new(memory, clock).measured_by(move || measured.effort())
}

// The others' costs are counted where their plans are, inside the library.
evertask::storage_conformance!(memory, super::memory, measured);

async fn sqlite() -> Subject {
    let place = tempfile::tempdir().expect("a directory for the database");
    let file = place.path().join("tasks.db");
    let clock = ManualClock::new();
    // What is lost with the power of the machine is not on trial here.
    let options = Sqlite::options().durable(false).clock(clock.clock());
    let sqlite = options.clone().open(&file).await.expect("a new database");
    let reopen = move |old: Arc<dyn FullStorage>| -> BoxFuture<'static, Arc<dyn FullStorage>> {
        // It closes as soon as nobody uses it any more.
        drop(old);
        let (file, options) = (file.clone(), options.clone());
        Box::pin(async move {
            let sqlite = options.open(&file).await.expect("the same database");
            Arc::new(sqlite) as Arc<dyn FullStorage>
        })
    };
    Subject::new(sqlite, clock).reopened_by(reopen).keeping(place)
}

evertask::storage_conformance!(sqlite, super::sqlite);

/// The same laws where the database is closed and opened again before every step.
async fn sqlite_reopening() -> Subject {
    sqlite().await.reopening_at_every_step()
}

evertask::storage_conformance!(sqlite_reopened, super::sqlite_reopening);

async fn postgres() -> Option<Subject> {
    let server = evertask_servers::postgres()?;
    Some(postgres_at(server.url(), Postgres::options()).await)
}

async fn postgres_at(url: String, options: PostgresOptions) -> Subject {
    let clock = ManualClock::new();
    // What is lost with the power of the machine is not on trial here.
    let options = options.schema(evertask_servers::schema()).durable(false).clock(clock.clock());
    let postgres = options.clone().connect(&url).await.expect("a new schema");
    let reopen = move |old: Arc<dyn FullStorage>| -> BoxFuture<'static, Arc<dyn FullStorage>> {
        drop(old);
        let (options, url) = (options.clone(), url.clone());
        Box::pin(async move {
            let postgres = options.connect(url).await.expect("the same schema");
            Arc::new(postgres) as Arc<dyn FullStorage>
        })
    };
    Subject::new(postgres, clock).reopened_by(reopen)
}

evertask::storage_conformance!(postgres, super::postgres);

/// The same laws on a newer version of the server.
async fn newer_postgres() -> Option<Subject> {
    let server = evertask_servers::newer_postgres()?;
    assert_eq!(server.major(), evertask_servers::NEWER);
    Some(postgres_at(server.url(), Postgres::options()).await)
}

evertask::storage_conformance!(newer_postgres, super::newer_postgres);

/// The same laws where the database is closed and opened again before every step.
async fn postgres_reopening() -> Option<Subject> {
    Some(postgres().await?.reopening_at_every_step())
}

evertask::storage_conformance!(postgres_reopened, super::postgres_reopening);

/// The same laws through a proxy that gives each transaction another session.
async fn pgbouncer() -> Option<Subject> {
    let proxy = evertask_servers::pgbouncer()?;
    Some(postgres_at(proxy.url(), Postgres::options().pooled_proxy(true)).await)
}

evertask::storage_conformance!(postgres_behind_pgbouncer, super::pgbouncer);

async fn mysql() -> Option<Subject> {
    let server = evertask_servers::mariadb()?;
    let clock = ManualClock::new();
    let prefix = format!("{}_", evertask_servers::schema());
    let options = MySql::options().prefix(prefix).durable(false).clock(clock.clock());
    let mysql = options.clone().connect(server.url()).await.expect("new tables");
    let reopen = move |old: Arc<dyn FullStorage>| -> BoxFuture<'static, Arc<dyn FullStorage>> {
        drop(old);
        let (options, url) = (options.clone(), server.url());
        Box::pin(async move {
            let mysql = options.connect(url).await.expect("the same tables");
            Arc::new(mysql) as Arc<dyn FullStorage>
        })
    };
    Some(Subject::new(mysql, clock).reopened_by(reopen))
}

evertask::storage_conformance!(mysql, super::mysql);

/// The same laws where the database is closed and opened again before every step.
async fn mysql_reopening() -> Option<Subject> {
    Some(mysql().await?.reopening_at_every_step())
}

evertask::storage_conformance!(mysql_reopened, super::mysql_reopening);

/// A law that is written but not in the list of the macro would never be tried.
#[test]
fn every_law_is_tried() {
    let laws = concat!(env!("CARGO_MANIFEST_DIR"), "/../evertask/src/storage/conformance");
    let list = fs::read_to_string(format!("{laws}/mod.rs")).unwrap();
    let listed: Vec<&str> = list
        .lines()
        .filter(|line| line.starts_with("                "))
        .map(|line| line.trim().trim_end_matches([',', ';']))
        .collect();
    let mut written = 0;
    for file in fs::read_dir(laws).unwrap() {
        for line in fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            let law = line.strip_prefix("pub async fn ");
            let Some(law) = law.and_then(|law| law.strip_suffix("(subject: &Subject) {")) else {
                continue;
            };
            assert!(listed.contains(&law), "put `{law}` into the list of `storage_conformance!`");
            written += 1;
        }
    }
    assert!(written >= 100, "only {written} laws were found; is this the right place?");
}
