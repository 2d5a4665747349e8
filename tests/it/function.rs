//! `evertask_enqueue` in PostgreSQL: tasks stored by plain SQL, by whatever program, and by triggers.

use std::time::Duration;

use evertask::{Runtime, TaskId, TaskInfo, storage::Postgres};
use evertask_servers::Cluster;
use tokio_postgres::{AsyncMessage, Client, NoTls, error::SqlState};
use uuid::Uuid;

#[evertask::handler(retries = 0)]
async fn shout(text: String) -> String {
    text.to_uppercase()
}

async fn start(server: &Cluster) -> (Runtime, Client, String) {
    let schema = evertask_servers::schema();
    let options = Postgres::options().schema(&schema).durable(false);
    let storage = options.connect(server.url()).await.unwrap();
    let runtime = Runtime::builder().discover(false).handler::<shout>().storage(storage);
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    (runtime.start().await.unwrap(), client, schema)
}

async fn call(client: &Client, schema: &str, arguments: &str) -> TaskId {
    let sql = format!("SELECT {schema}.evertask_enqueue({arguments})");
    TaskId::from_uuid(client.query_one(&sql, &[]).await.unwrap().get(0))
}

async fn info(runtime: &Runtime, id: TaskId) -> TaskInfo {
    runtime.task(id).await.unwrap().expect("it is stored")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_stored_by_plain_sql_runs_at_once() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (runtime, client, schema) = start(server).await;
    for _ in 0..3 {
        let id = call(&client, &schema, r#"'shout', '{"text": "hé"}'"#).await;
        let done = async || info(&runtime, id).await.output.is_some();
        let soon = tokio::time::timeout(Duration::from_secs(20), crate::until(done)).await;
        soon.expect("the notification wakes the node, whose slow look comes after minutes");
        let output = info(&runtime, id).await.output.unwrap();
        assert_eq!(output.read::<String>().unwrap(), "HÉ");
    }
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_tables_of_the_caller_are_not_taken_for_ours() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (runtime, client, schema) = start(server).await;
    for table in ["tasks", "lanes", "tags"] {
        let shadow =
            format!("CREATE TEMPORARY TABLE {table} (LIKE {schema}.{table} INCLUDING ALL)");
        client.batch_execute(&shadow).await.unwrap();
    }
    let id = call(&client, &schema, r#"'shout', '{"text": "a"}', tags => '{"a": "b"}'"#).await;
    assert_eq!(info(&runtime, id).await.name, "shout");
    let left = "SELECT count(*) FROM pg_temp.tasks";
    assert_eq!(client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_reads_notifications_none_is_added_and_no_transaction_fails_for_it() {
    let Some(server) = evertask_servers::own_postgres() else { return };
    let storage = Postgres::connect(server.url()).await.unwrap();
    let (listener, mut connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    let (heard, mut hears) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(said)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(said) = said {
                heard.send(said.payload().to_owned()).unwrap();
            }
        }
    });
    listener.batch_execute("LISTEN \"evertask.evertask\"").await.unwrap();
    // Each time in a session that has never looked.
    let store = async || {
        let (mut client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        let tx = client.transaction().await.unwrap();
        tx.batch_execute("SELECT evertask.evertask_enqueue('shout')").await.unwrap();
        tx.batch_execute("NOTIFY \"evertask.evertask\", 'the end'").await.unwrap();
        tx.commit().await.unwrap();
    };
    store().await;
    assert_eq!(hears.recv().await.unwrap().trim(), "due");
    assert_eq!(hears.recv().await.unwrap(), "the end");
    // It takes gigabytes to fill it, so the server is made to believe that it is.
    let full = "SET allow_system_table_mods = on;
        ALTER FUNCTION pg_catalog.pg_notification_queue_usage RENAME TO pg_notification_queue_usage_before;
        CREATE FUNCTION pg_catalog.pg_notification_queue_usage() RETURNS float8
            LANGUAGE sql AS 'SELECT 0.9::float8'";
    listener.batch_execute(full).await.unwrap();
    store().await;
    assert_eq!(hears.recv().await.unwrap(), "the end");
    storage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_option_is_stored_as_a_dispatch_would_store_it() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (runtime, client, schema) = start(server).await;
    let id = call(
        &client,
        &schema,
        r#"'shout', '{"text": "a"}', queue => 'loud', delay => '1 hour', key => 'k', priority => -7,
            tags => '{"to": "be"}', expires => '2 hours', version => 3, retries => 4, timeout => '5 s'"#,
    )
    .await;
    assert_eq!(id.as_uuid().get_version_num(), 7);
    let task = info(&runtime, id).await;
    assert_eq!((task.name.as_str(), task.queue.as_str(), task.priority), ("shout", "loud", -7));
    assert_eq!((task.key.as_deref(), task.version), (Some("k"), 3));
    assert_eq!(task.tags["to"], "be");
    let hours = |instant: std::time::SystemTime| {
        let ahead = instant.duration_since(task.created).unwrap();
        ahead.as_secs_f64() / 3600.0
    };
    assert!((hours(task.due) - 1.0).abs() < 0.01, "{task:?}");
    let rest = format!(
        "SELECT expires_at - created_at, retries, timeout FROM {schema}.tasks WHERE id = '{id}'"
    );
    let rest = client.query_one(&rest, &[]).await.unwrap();
    let numbers = [0, 1, 2].map(|column| rest.get::<_, i64>(column));
    assert!((numbers[0] - 7_200_000_000).abs() < 1_000_000, "two hours: {numbers:?}");
    assert_eq!(numbers[1..], [4, 5_000_000]);
    let later =
        call(&client, &schema, "'shout', due_at => now() - interval '1 day', version => 2").await;
    let task = info(&runtime, later).await;
    assert_eq!(task.due, task.created, "an instant that has passed is now");
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_taken_replaces_the_pending_task() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (runtime, client, schema) = start(server).await;
    let one = r#"'shout', '{"text": "a"}', key => 'k', delay => '1 hour', tags => '{"a": "b"}'"#;
    let id = call(&client, &schema, one).await;
    let two = r#"'shout', '{"text": "b"}', key => 'k', delay => '1 hour'"#;
    assert_eq!(call(&client, &schema, two).await, id);
    let task = info(&runtime, id).await;
    assert_eq!(task.payload.read::<shout>().unwrap().text, "b");
    assert!(task.tags.is_empty());
    let dispatched = shout::dispatch("c").key("k").on(&runtime).await.unwrap();
    assert_eq!(dispatched.id(), id, "a dispatch meets the same key");
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_stores_a_task_with_the_row_or_not_at_all() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (runtime, mut client, schema) = start(server).await;
    client
        .batch_execute(&format!(
            "CREATE TABLE {schema}_users (name text);
            CREATE FUNCTION {schema}_greet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                PERFORM {schema}.evertask_enqueue('shout', jsonb_build_object('text', NEW.name), tags => '{{\"by\": \"trigger\"}}');
                RETURN NEW;
            END $$;
            CREATE TRIGGER greet AFTER INSERT ON {schema}_users FOR EACH ROW EXECUTE FUNCTION {schema}_greet();"
        ))
        .await
        .unwrap();
    let insert = format!("INSERT INTO {schema}_users VALUES ('ada'), ('bob')");
    let tx = client.transaction().await.unwrap();
    tx.batch_execute(&insert).await.unwrap();
    tx.rollback().await.unwrap();
    client.batch_execute(&insert).await.unwrap();
    let filter = evertask::TaskFilter::default();
    let outputs = async || {
        let tasks = runtime.tasks(filter.clone(), evertask::Page::default()).await.unwrap();
        assert_eq!(tasks.len(), 2, "those of the rolled back rows never were");
        tasks.into_iter().filter_map(|task| task.output).count()
    };
    crate::until(async || outputs().await == 2).await;
    runtime.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_and_told_why() {
    let Some(server) = evertask_servers::postgres() else { return };
    let (runtime, client, schema) = start(server).await;
    for (arguments, told) in [
        ("''", "handler name is empty"),
        ("NULL", "handler name is empty"),
        ("repeat('ß', 201)", "handler name has 201 characters; at most 200 fit"),
        (r"E'a\tb'", r#"handler name "a\tb" holds a control character"#),
        (r"E'a\u0085b'", "holds a control character"),
        ("'x', queue => ''", "queue name is empty"),
        ("'x', key => repeat('k', 201)", "key has 201 characters"),
        ("'x', '[1]'", "the payload is no JSON object"),
        ("'x', jsonb_build_object('x', repeat('x', 1 << 20))", "at most 1048576 fit"),
        ("'x', tags => '{\"a\": 7}'", "tag \"a\" is no text"),
        ("'x', tags => '{\"\": \"a\"}'", "tag key is empty"),
        (
            "'x', tags => (SELECT jsonb_object_agg(n::text, 'v') FROM generate_series(1, 21) AS n)",
            "at most 20 fit",
        ),
        ("'x', due_at => now(), delay => '1 s'", "both `due_at` and `delay`"),
        ("'x', due_at => 'infinity'", "never comes"),
        ("'x', priority => 40000", "it goes from -32768 to 32767"),
        ("'x', version => 0", "it counts from 1"),
        ("'x', retries => -1", "there can be none, but not fewer"),
        ("'x', timeout => '0 s'", "the timeout is no time at all"),
        ("'x', expires => '-1 s'", "it expires before it is stored"),
    ] {
        let sql = format!("SELECT {schema}.evertask_enqueue({arguments})");
        let error = client.query(&sql, &[]).await.expect_err(arguments);
        let said = error.as_db_error().unwrap();
        assert_eq!(*said.code(), SqlState::INVALID_PARAMETER_VALUE, "{arguments}: {said}");
        assert!(said.message().contains(told), "{arguments}: {}", said.message());
    }
    let longest = format!("SELECT {schema}.evertask_enqueue(repeat('ß', 200), key => ' 🦀 ')");
    let _id: Uuid = client.query_one(&longest, &[]).await.unwrap().get(0);
    runtime.shutdown().await.unwrap();
}
