//! The plans of all statements, held to the indexes made for them, and what a claim costs beside a full table.

use mysql_async::Row;

use super::{MySql, fresh, run, session, task};
use crate::storage::{
    Storage,
    mysql::{
        claim, complete,
        connection::Connection,
        enqueue, inspect, lane,
        literal::{List, Literal, Rows, Table},
        look, node, outside,
        row::{maybe_text, number, text},
        schedules, settle, verdicts, written,
    },
};

/// The table, the index and the way of reading it, for each table of a statement; by MariaDB's own columns.
fn step(row: &Row) -> (String, String, String) {
    let column = |at| maybe_text(row, at).unwrap().unwrap_or("-").to_owned();
    (column(2), column(5), column(3))
}

#[tokio::test]
async fn every_statement_goes_by_its_index() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.connect(&url).await.unwrap();
    mysql.enqueue((0..50).map(|_| task()).collect()).await.unwrap();
    let mut conn = session(&mysql).await;
    let nobody = uuid::Uuid::nil();
    let stored = task().id;
    let ids = [stored, task().id];
    let ids = List(&ids);
    let keys = [&b"a\0b"[..], b"a\0c"];
    let keys = List(&keys);
    let lanes = [5_i64, 6];
    let lanes = List(&lanes);
    let rows = |columns: &'static str| {
        let mut rows = Rows::default();
        let width = columns.matches(" AS ").count();
        let row: Vec<&dyn Literal> =
            std::iter::once(&stored as _).chain((1..width).map(|_| &1_i64 as _)).collect();
        rows.push(&row);
        rows.push(&row);
        rows
    };
    let part = |rows: &Rows| rows.parts(usize::MAX).flatten().cloned().collect::<Vec<_>>();
    let (leases, completed, back, end) = (
        part(&rows(settle::LEASES)),
        part(&rows(complete::COMPLETED)),
        part(&rows(verdicts::BACK_ROWS)),
        part(&rows(verdicts::END_ROWS)),
    );
    let replaced = part(&rows(written::REPLACED));
    let head = [claim::LOCK.0, claim::HEAD, " UNION ALL ", claim::HEAD, claim::LOCK.1].concat();
    let n = &5_i64 as &dyn Literal;
    let (first, later) = (format!("SELECT {}", claim::FIRST), format!("SELECT {}", claim::LATER));
    let statements: &[(&str, &[&dyn Literal], &[&str])] = &[
        (enqueue::SEEN, &[&ids, &ids], &["PRIMARY", "requests"]),
        (enqueue::HOLDERS, &[&keys], &["live_keys"]),
        (written::REPLACE, &[&Table(written::REPLACED, &replaced)], &["PRIMARY"]),
        (claim::GOT, &[&nobody, n], &["running"]),
        (claim::FILLED, &[], &["pending"]),
        (&head, &[n, n, n, n, n, n, n], &["pending", "PRIMARY"]),
        (claim::TAKE, &[&nobody, n, n, n, &ids], &["PRIMARY"]),
        (&first, &[n], &["pending"]),
        (&later, &[n, n], &["pending"]),
        (complete::COMPLETE, &[&Table(complete::COMPLETED, &completed)], &["PRIMARY"]),
        (settle::FIND, &[&ids], &["PRIMARY"]),
        (settle::WRITTEN, &[&Table(settle::LEASES, &leases)], &["PRIMARY"]),
        (verdicts::BACK, &[&Table(verdicts::BACK_ROWS, &back)], &["PRIMARY"]),
        (verdicts::END, &[&Table(verdicts::END_ROWS, &end)], &["PRIMARY"]),
        (verdicts::DROP_OLDEST, &[&stored, &stored, n], &["PRIMARY"]),
        (node::BEGIN, &[&Table(node::BEGUN, &leases), &nobody], &["PRIMARY"]),
        (node::HELD, &[&nobody], &["running"]),
        (node::PEERS, &[&nobody], &["running"]),
        (node::RUNNING, &[&nobody], &["running"]),
        (node::DEAD, &[n, &nobody, n, n], &["running"]),
        (node::SEIZED, &[&nobody, n], &["running"]),
        (node::SEIZE, &[&nobody, &ids], &["PRIMARY"]),
        (look::ORDERS, &[&ids], &["running"]),
        (look::DUE, &[&lanes], &["pending"]),
        (look::COME_UP, &[&keys, n], &["upcoming"]),
        (outside::CANCEL, &[n, n, &ids], &["PRIMARY"]),
        (outside::DELETE[0], &[&ids], &["PRIMARY"]),
        (outside::DELETE[1], &[&ids], &["PRIMARY"]),
        (outside::DELETE[2], &[&ids], &["PRIMARY"]),
        (outside::PRUNE, &[n], &["ended"]),
        (outside::EXPIRED, &[n], &["lapsing"]),
        (outside::NEXT, &[], &["ended", "lapsing"]),
        (inspect::DUE, &[n, n, n], &["pending"]),
        (lane::NEW, &[n], &["PRIMARY"]),
        (schedules::AT, &[&"a", &"b"], &["PRIMARY"]),
        (schedules::DUE, &[&"a", n, n, n], &["upcoming"]),
        (schedules::LATER, &[&"a", n, n], &["upcoming"]),
    ];
    run(&mysql, &mut conn, "SET @evertask_now = 5", &[]).await;
    for (sql, values, indexes) in statements {
        let answer = run(&mysql, &mut conn, &format!("EXPLAIN {sql}"), values).await;
        let steps: Vec<_> = answer.rows.iter().map(step).collect();
        let prefix = &mysql.0.site.settings.prefix.text;
        // What stands in the statement itself is read whole, and what is not there at all has no index.
        let tables = steps.iter().filter(|(table, ..)| {
            !table.starts_with('<') && !matches!(table.as_str(), "-" | "s" | "h" | "newest")
        });
        let whole = { tables }.any(|(_, index, way)| index == "-" && way == "ALL");
        let used = |index: &&str| steps.iter().any(|(_, used, _)| used == *index);
        // A table of none or one row is not looked up at all.
        let known = steps.iter().all(|(.., way)| way == "-");
        let fits = known || (indexes.iter().all(used) && !whole);
        assert!(fits, "{sql}\n\n{steps:#?}\n\nexpected {indexes:?} of `{prefix}…`");
    }
}

/// How many entries of indexes and tables the statements of a claim touch which takes the first ten of lane 1.
async fn effort(mysql: &MySql, conn: &mut Connection) -> u64 {
    let prefix = &mysql.0.site.settings.prefix;
    let reads = "SELECT SUM(variable_value) FROM information_schema.session_status
        WHERE variable_name LIKE 'HANDLER_READ%'";
    let mut script = mysql.0.site.script();
    script.add("SET @evertask_now = 10000", &[]);
    script.add("START TRANSACTION", &[]);
    let before = script.add(reads, &[]);
    let mut text = prefix.fill(claim::LOCK.0, &[]);
    text.extend(prefix.fill(claim::HEAD, &[&0_i64, &1_i64, &52_i64]));
    text.extend(prefix.fill(claim::LOCK.1, &[&10_i64]));
    script.statements.push(text);
    script.add(&format!("SELECT {}", claim::FIRST), &[&1_i64]);
    script.add(&format!("SELECT {}", claim::LATER), &[&1_i64, &10_000_i64]);
    let after = script.add(reads, &[]);
    script.add("ROLLBACK", &[]);
    let answers = conn.run(script).await.unwrap();
    let sum = |place| number::<f64>(answers.row(place).unwrap(), 0).unwrap();
    (sum(after) - sum(before)) as u64
}

#[tokio::test]
async fn a_claim_costs_the_same_beside_what_has_ended_is_due_later_or_known_to_nobody() {
    let Some((options, url)) = fresh() else { return };
    let mysql = options.connect(&url).await.unwrap();
    let mut conn = session(&mysql).await;
    let fill = async |conn: &mut Connection, lane: i64, state: i64, due_at: &str, count: i64| {
        let line = if state == 0 { "lane" } else { "NULL" };
        let sql = format!(
            "INSERT INTO {{tasks}} (id, lane, line, created_at, due_at, state, codec, payload)
             SELECT UNHEX(MD5(CONCAT(?, ?, seq, RAND()))), lane, {line}, 0, {due_at}, ?, 0, ''
             FROM (SELECT seq, ? AS lane FROM seq_1_to_20000 WHERE seq <= ?) AS n"
        );
        run(&mysql, conn, &sql, &[&lane, &state, &state, &lane, &count]).await;
    };
    fill(&mut conn, 1, 0, "seq", 100).await;
    run(&mysql, &mut conn, "ANALYZE TABLE {tasks}", &[]).await;
    let alone = effort(&mysql, &mut conn).await;
    // Ended in the same lane, due later in the same one and in one of a higher priority, of an unknown handler.
    fill(&mut conn, 1, 2, "seq", 20_000).await;
    fill(&mut conn, 1, 0, "1000000 + seq", 20_000).await;
    fill(&mut conn, 2, 0, "1000000 + seq", 20_000).await;
    fill(&mut conn, 3, 0, "-seq", 20_000).await;
    run(&mysql, &mut conn, "ANALYZE TABLE {tasks}", &[]).await;
    let beside = effort(&mysql, &mut conn).await;
    assert_eq!(beside, alone);
    assert!((20..300).contains(&alone), "{alone}");
    let engines =
        "SELECT DISTINCT engine FROM information_schema.tables WHERE table_schema = DATABASE()
        AND table_name LIKE ?";
    let pattern = format!("{}%", mysql.0.site.settings.prefix.text);
    let answer = run(&mysql, &mut conn, engines, &[&pattern]).await;
    let engines: Vec<_> = answer.rows.iter().map(|row| text(row, 0).unwrap()).collect();
    assert_eq!(engines, ["InnoDB"]);
}
