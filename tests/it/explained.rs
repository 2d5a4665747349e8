//! What `explain()` says of a task on real storages, as it goes its way from node to node.

use std::time::Duration;

use evertask::{
    Context, Runtime, Why,
    storage::{FullStorage, Memory, MySql, Postgres, Sqlite},
};

use crate::until;

#[evertask::handler(queue = "explained")]
async fn patient(ctx: Context) {
    ctx.cancelled().await;
}

#[evertask::handler(queue = "elsewhere")]
async fn other() {}

/// The first reason, and that it is said in words without line breaks.
async fn why(runtime: &Runtime, id: evertask::TaskId) -> Why {
    let explanation = runtime.explain(id).await.unwrap().expect("it is stored");
    let said = explanation.to_string();
    assert!(said.starts_with(&format!("task {id} (`patient`) is ")), "{said}");
    assert!(!said.contains('\n') && !said.ends_with('.'), "{said}");
    explanation.why
}

async fn scenario(storage: impl FullStorage + Clone) {
    let builder = || Runtime::builder().storage(storage.clone()).discover(false);
    let client = builder().handler::<patient>().handler::<other>().client().await.unwrap();
    let later = Duration::from_secs(3600);
    let task = patient::dispatch().on(&client).await.unwrap();
    let of_later = patient::dispatch().after(later).on(&client).await.unwrap();
    assert_eq!(why(&client, task.id()).await, Why::NobodyLives);

    let stranger = builder().handler::<other>().start().await.unwrap();
    assert_eq!(why(&client, task.id()).await, Why::UnknownHandler);
    let said = client.nodes().await.unwrap();
    let names: Vec<&str> = said[0].handlers.iter().map(|known| &*known.name).collect();
    assert_eq!((said.len(), names, said[0].lives), (1, vec!["other"], true));
    stranger.shutdown().await.unwrap();

    let node = builder().handler::<patient>().queue("explained", |q| q.concurrency(1)).start();
    let node = node.await.unwrap();
    let runs = async || matches!(why(&client, task.id()).await, Why::Runs { ran: Some(_), .. });
    until(runs).await;
    let second = patient::dispatch().on(&client).await.unwrap();
    let waits = async || match why(&client, second.id()).await {
        Why::Turn { due, nodes } => (due, nodes) == (1, 1),
        // It may be held ready: the node has been quick so far.
        why => matches!(why, Why::Runs { ran: None, .. }),
    };
    until(waits).await;
    match why(&client, of_later.id()).await {
        Why::Later { due_in, error: None } => assert!(due_in <= later && due_in > later / 2),
        why => panic!("{why:?}"),
    }
    of_later.cancel().await.unwrap();
    let ended = why(&client, of_later.id()).await;
    assert!(matches!(ended, Why::Ended { error: Some(_), .. }), "{ended:?}");
    assert!(client.explain(evertask::TaskId::new()).await.unwrap().is_none());
    node.shutdown().await.unwrap();
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn of_memory() {
    scenario(Memory::new()).await;
}

#[tokio::test]
async fn of_sqlite() {
    let place = tempfile::tempdir().unwrap();
    scenario(Sqlite::open(place.path().join("tasks.db")).await.unwrap()).await;
}

#[tokio::test]
async fn of_postgres() {
    let Some(server) = evertask_servers::postgres() else { return };
    let options = Postgres::options().durable(false).schema(evertask_servers::schema());
    scenario(options.connect(server.url()).await.unwrap()).await;
}

#[tokio::test]
async fn of_mariadb() {
    let Some(server) = evertask_servers::mariadb() else { return };
    let options =
        MySql::options().durable(false).prefix(format!("{}_", evertask_servers::schema()));
    scenario(options.connect(server.url()).await.unwrap()).await;
}
