//! ∅ → pending in a transaction of the caller, through whatever driver it was begun.
//!
//! A function in the schema does it ([a step of the migrations](super::migrations)), which other programs and triggers use as well. So the
//! settings of the caller's session, its search path above all, are neither needed nor touched.

use std::sync::Arc;

use tokio_postgres::types::Type;

use super::{
    Postgres,
    connection::{Connection, quoted},
    enqueue::lane_of,
    error::Fault,
    lane::Lane,
    row::{self, get},
    site::Site,
};
use crate::storage::{
    BoxFuture, Dispatched, Due, Enqueued, FullStorage, JoinTx, NewTask, StorageError,
    clock::{duration_micros, to_micros},
    join::{Join, JoinError, Joined, storage_of},
    rules,
    server::Transition,
};

/// Tells one database from all others: also from a copy of it, as a server keeps its number and a database its own.
pub(super) const WHERE: &str = "SELECT current_database()::text, system_identifier || '/' || d.oid
    FROM pg_control_system(), pg_database AS d WHERE d.datname = current_database()";

/// While doing what.
pub(super) const DOING: &str = "cannot store tasks in the caller's transaction";

/// What [`WHERE`] answers: the database's name, and what tells it from others.
pub(super) type Place = (String, String);

/// What the function answers about one task: its place in what was given, the id it is stored under, and how.
pub(super) type Answer = (i64, String, i16);

/// A call of the function.
pub(super) struct Call<'c> {
    pub(super) sql: String,
    pub(super) given: String,
    pub(super) payloads: Vec<&'c [u8]>,
    pub(super) clock: Option<i64>,
}

/// A session in which a transaction of the caller is under way.
pub(super) trait Session: Send {
    fn place(&mut self, site: &Site) -> impl Future<Output = Result<Place, StorageError>> + Send;

    fn call(
        &mut self,
        site: &Site,
        call: Call<'_>,
    ) -> impl Future<Output = Result<Vec<Answer>, StorageError>> + Send;
}

/// Stores tasks in the transaction of this session. What can be wrong is found before the transaction meets it: an error of
/// the server would leave it good for nothing but a rollback.
pub(super) async fn join(
    session: &mut impl Session,
    storage: Arc<dyn FullStorage>,
    tasks: Vec<NewTask>,
) -> Result<Joined, JoinError> {
    let postgres: &Postgres = storage_of(&*storage, "PostgreSQL")?;
    let site = &postgres.0.site;
    tasks.iter().try_for_each(rules::check_new)?;
    let wakes = !site.settings.pooled_proxy;
    if tasks.is_empty() {
        return Ok(Joined { enqueued: Vec::new(), wakes });
    }
    let (name, id) = session.place(site).await?;
    if postgres.identity(false).await? != id && postgres.identity(true).await? != id {
        return Err(JoinError::Elsewhere {
            transaction: format!("is in the database `{name}` (number {id})"),
            storage: format!("in {}", site.settings.place),
        });
    }
    let lanes: Vec<Lane> = tasks.iter().map(lane_of).collect();
    postgres.make_lanes(&lanes).await?;
    let call = Call {
        sql: format!(
            "SELECT place, stored::text, how FROM {}.evertask_store($1::text::jsonb, $2, $3)",
            quoted(&site.settings.schema)
        ),
        given: given(&tasks, &lanes),
        payloads: tasks.iter().map(|task| &*task.payload.bytes).collect(),
        clock: site.injected(),
    };
    let mut answers = session.call(site, call).await?;
    answers.sort_unstable_by_key(|(place, ..)| *place);
    let enqueued = answers.iter().map(|(_, id, how)| read(id, *how)).collect::<Option<Vec<_>>>();
    let enqueued = enqueued.filter(|enqueued| enqueued.len() == tasks.len()).ok_or_else(|| {
        Fault::Damaged("the function `evertask_store` does not answer as it should")
            .tell(&site.settings.place, DOING)
    })?;
    Ok(Joined { enqueued, wakes })
}

/// The tasks as the function takes them, payloads aside. Their lanes are given in words: numbers that are known here may be those
/// of a server from which another has taken over, which the caller's session notices before ours do.
fn given(tasks: &[NewTask], lanes: &[Lane]) -> String {
    let one = |(task, lane): (&NewTask, &Lane)| {
        let (at, delay) = match task.due {
            Due::Now => (None, None),
            Due::After(delay) => (None, Some(duration_micros(delay))),
            Due::At(instant) => (Some(to_micros(instant)), None),
        };
        serde_json::json!({
            "id": task.id.to_string(),
            "queue": &*lane.queue,
            "name": &*lane.name,
            "version": lane.version,
            "priority": lane.priority,
            "at": at,
            "delay": delay,
            "expires": task.expires.map(duration_micros),
            "codec": task.payload.codec,
            "retries": task.retries,
            "timeout": task.timeout.map(row::timeout_number),
            "tick": task.tick.map(to_micros),
            "key": task.key,
            "tags": task.tags,
        })
    };
    serde_json::Value::Array(tasks.iter().zip(lanes).map(one).collect()).to_string()
}

fn read(id: &str, how: i16) -> Option<Enqueued> {
    let how = match how {
        0 => Dispatched::Created,
        1 => Dispatched::Replaced,
        2 => Dispatched::Existing,
        _ => return None,
    };
    Some(Enqueued { id: id.parse().ok()?, how })
}

impl Postgres {
    /// What tells this database from others. Asked anew it is the truth; a server that was upgraded has another number.
    async fn identity(&self, anew: bool) -> Result<String, StorageError> {
        let known = self.0.site.identity();
        match known.filter(|_| !anew) {
            Some(known) => Ok(known),
            None => self.lines()?.readers.run(Identify).await,
        }
    }

    /// Makes those of these lanes that there are not yet: now and by us, so that no transaction of a caller holds the lock that this
    /// takes.
    async fn make_lanes(&self, lanes: &[Lane]) -> Result<(), StorageError> {
        let known = {
            let known = self.0.site.lanes();
            lanes.iter().all(|lane| known.number(lane).is_some())
        };
        match known {
            true => Ok(()),
            false => self.lines()?.between.run(Make(lanes.to_vec())).await,
        }
    }
}

#[derive(Debug)]
struct Identify;

impl Transition<Site> for Identify {
    type Answer = String;

    const DOING: &'static str = "cannot tell which database this is";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<String, Fault> {
        let rows = conn.ask(WHERE, &[]).await?;
        let row = rows.first().ok_or(Fault::Damaged("the server does not say what it is"))?;
        let identity: String = get(row, 1)?;
        site.identify(identity.clone());
        Ok(identity)
    }
}

#[derive(Debug)]
struct Make(Vec<Lane>);

impl Transition<Site> for Make {
    type Answer = ();

    const DOING: &'static str = DOING;

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<(), Fault> {
        site.numbers(conn, self.0.clone()).await.map(drop)
    }
}

impl JoinTx for tokio_postgres::Transaction<'_> {}

impl Join for tokio_postgres::Transaction<'_> {
    fn join<'t>(
        &'t mut self,
        storage: Arc<dyn FullStorage>,
        tasks: Vec<NewTask>,
    ) -> BoxFuture<'t, Result<Joined, JoinError>> {
        Box::pin(join(self, storage, tasks))
    }
}

impl Session for tokio_postgres::Transaction<'_> {
    async fn place(&mut self, site: &Site) -> Result<Place, StorageError> {
        let told = async {
            let rows = self.query_typed(WHERE, &[]).await?;
            let row = rows.first().ok_or(Fault::Damaged("the server does not say what it is"))?;
            Ok((get(row, 0)?, get(row, 1)?))
        };
        told.await.map_err(|fault: Fault| fault.tell(&site.settings.place, DOING))
    }

    async fn call(&mut self, site: &Site, call: Call<'_>) -> Result<Vec<Answer>, StorageError> {
        let told: Result<Vec<Answer>, Fault> = async {
            let Call { sql, given, payloads, clock, .. } = &call;
            let params: [super::columns::Value<'_>; 3] = [given, payloads, clock];
            let types = [Type::TEXT, Type::BYTEA_ARRAY, Type::INT8];
            let typed: Vec<_> = params.into_iter().zip(types).collect();
            let rows = self.query_typed(sql, &typed).await?;
            rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?))).collect()
        }
        .await;
        told.map_err(|fault| fault.tell(&site.settings.place, DOING))
    }
}
