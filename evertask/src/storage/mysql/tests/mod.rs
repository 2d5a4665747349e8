//! What is only this storage's own, seen from inside.

use std::{sync::Arc, time::Duration};

use super::{MySql, MySqlOptions, connection::Connection, literal::Literal, script::Script};
use crate::{
    body::Body,
    storage::{Known, NewTask, Node, Storage, server::Purpose},
};

mod collisions;
mod ear;
mod heart;
#[cfg(feature = "conformance")]
mod joined;
mod look;
mod opening;
mod plans;
#[cfg(feature = "conformance")]
mod rolling;
mod sizes;

/// Options for tables of the test's own; `None`, and told loudly, where there is no server.
fn fresh() -> Option<(MySqlOptions, String)> {
    let server = evertask_servers::mariadb()?;
    let prefix = format!("{}_", evertask_servers::schema());
    Some((MySql::options().durable(false).prefix(prefix), server.url()))
}

fn task() -> NewTask {
    NewTask::new("mail", Body::json(&()).unwrap())
}

/// Two processes on the same tables that look so often, of which the first one has a node.
async fn two(look_every: Duration) -> Option<(MySql, MySql, Node)> {
    let (options, url) = fresh()?;
    let options = options.look_every(look_every);
    let here = options.clone().connect(&url).await.unwrap();
    let there = options.connect(&url).await.unwrap();
    let handlers: Arc<[Known]> = [Known { name: "mail".into(), version: 1 }].into();
    let node = Node::new(handlers, vec!["default".to_owned()]);
    here.join(node.clone()).await.unwrap();
    Some((here, there, node))
}

/// A session as transitions have it.
async fn session(mysql: &MySql) -> Connection {
    Connection::open(&mysql.0.site.settings, Purpose::Write).await.unwrap()
}

/// Runs one statement on such a session.
async fn run(
    mysql: &MySql,
    conn: &mut Connection,
    sql: &str,
    values: &[&dyn Literal],
) -> super::script::Answer {
    let mut script: Script = mysql.0.site.script();
    script.add(sql, values);
    conn.run(script).await.unwrap().0.remove(0)
}
