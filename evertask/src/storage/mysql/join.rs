//! ∅ → pending in a transaction of the caller, through whatever driver it was begun.
//!
//! A caller's transaction may last, and what it locks others wait for. So what others have stored is looked up on a line of
//! ours: keys that running tasks hold are not locked at all, and only those that are held by waiting ones are locked, as they
//! are. Under its usual isolation a locking look at a key that is free would lock all keys beside it too; one that seems free
//! goes in if the index lets it in, and only if it does not one looks who has been faster.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use mysql_async::{Row, prelude::Queryable};

use super::{
    MySql,
    connection::Connection,
    enqueue::{self, HOLDERS, Held, SEEN, held, key_of, known, lane_of, weigh},
    error::{Fault, cannot_take},
    lane::LaneId,
    literal::{List, Rows, Table},
    row::{bytes, task_id, text},
    script::Script,
    site::Site,
    written::INSERT_ONCE,
};
use crate::storage::{
    BoxFuture, Enqueued, FullStorage, JoinTx, NewTask, StorageError,
    join::{Join, JoinError, Joined, storage_of},
    numbers::state_of,
    rules,
    server::Transition,
};
use crate::task::{TaskId, TaskState};

/// While doing what.
pub(super) const DOING: &str = "cannot store tasks in the caller's transaction";

/// Tells one server from others, but for copies that have everything in common.
const SERVER: &str = "SELECT CONCAT_WS(' ', @@hostname, @@port, @@datadir, @@server_id)";

/// Who holds these keys, without locks.
const HOLD: &str =
    "SELECT live_key, id, state FROM {tasks} FORCE INDEX (live_keys) WHERE live_key IN ?";

/// Locks these tasks, if they live, and nothing beside them: what is found by any other index is locked with all that could
/// stand before it.
pub(super) const LOCK: &str =
    "SELECT t.live_key, t.id, t.state FROM ? AS s STRAIGHT_JOIN {tasks} AS t FORCE INDEX (PRIMARY)
    ON t.id = s.id WHERE t.live_key IS NOT NULL FOR UPDATE";
pub(super) const LOCKED: &str = "x'' AS id";

const TAGGED: &str = "SELECT DISTINCT id FROM {tags} WHERE id IN ?";

const STORED: &str = "SELECT id FROM {tasks} FORCE INDEX (PRIMARY) WHERE id IN ?";

/// A session in which a transaction of the caller is under way.
pub(super) trait Session: Send {
    /// Sends statements together, and gives the rows that they answer; all columns are bytes.
    fn send(
        &mut self,
        site: &Site,
        text: Vec<u8>,
        statements: usize,
    ) -> impl Future<Output = Result<Vec<Answer>, StorageError>> + Send;
}

/// One row.
pub(super) type Answer = Vec<Vec<u8>>;

/// Stores tasks in the transaction of this session, all or none.
pub(super) async fn join(
    session: &mut impl Session,
    storage: Arc<dyn FullStorage>,
    tasks: Vec<NewTask>,
) -> Result<Joined, JoinError> {
    let mysql: &MySql = storage_of(&*storage, "MySQL")?;
    let site = &mysql.0.site;
    tasks.iter().try_for_each(rules::check_new)?;
    // The server wakes nobody.
    let joined = |enqueued| Joined { enqueued, wakes: false };
    if tasks.is_empty() {
        return Ok(joined(Vec::new()));
    }
    let tasks = Arc::new(tasks);
    let look = mysql.lines()?.between.run(Look(Arc::clone(&tasks))).await?;
    let mut caller = Caller { session, mysql, site, look: &look };
    let mut begin = site.script();
    begin.add(SERVER, &[]);
    let server = caller.run(begin).await?;
    let server = server.first().and_then(|row| row.first()).map(|it| String::from_utf8_lossy(it));
    if server.as_deref() != Some(&look.server) {
        return Err(JoinError::Elsewhere {
            transaction: format!("is on the server `{}`", server.unwrap_or_default()),
            storage: format!("in {}, on the server `{}`", site.settings.place, look.server),
        });
    }
    let mut begin = site.at_now();
    begin.add("SAVEPOINT evertask", &[]);
    caller.run(begin).await?;
    match caller.store(&tasks).await {
        Ok(enqueued) => Ok(joined(enqueued)),
        Err(error) => {
            // After a deadlock there is no transaction any more, and after a cut no session; all others go on as they were.
            let mut back = site.script();
            back.add("ROLLBACK TO SAVEPOINT evertask", &[]);
            let _gone = caller.run(back).await;
            Err(error.into())
        }
    }
}

struct Caller<'c, S> {
    session: &'c mut S,
    mysql: &'c MySql,
    site: &'c Site,
    look: &'c Looked,
}

impl<S: Session> Caller<'_, S> {
    async fn run(&mut self, script: Script) -> Result<Vec<Answer>, StorageError> {
        let Looked { part, longest, .. } = *self.look;
        let packets = script.packets(part, longest);
        let packets = packets.map_err(|size| cannot_take(size, longest))?;
        let mut rows = Vec::new();
        for (text, statements) in packets {
            rows.extend(self.session.send(self.site, text, statements).await?);
        }
        Ok(rows)
    }

    /// Where the session is may be another database, so tables are named with ours.
    fn script(&self) -> Script {
        Script::new(&self.site.settings.abroad())
    }

    async fn store(&mut self, tasks: &[NewTask]) -> Result<Vec<Enqueued>, StorageError> {
        let Looked { lanes, known, held, part, .. } = self.look;
        let tasks: Vec<&NewTask> = tasks.iter().collect();
        let is_new = |task: &&NewTask| task.key.is_some() && !known.contains_key(&task.id);
        let keyed: Vec<&NewTask> = tasks.iter().copied().filter(is_new).collect();
        let (mut held, waiting): (Held, Held) =
            held.clone().into_iter().partition(|(_, (_, state))| *state == TaskState::Running);
        let mut keys: Vec<Vec<u8>> = keyed.iter().filter_map(|task| key_of(task)).collect();
        keys.retain(|key| !held.contains_key(key));
        // What this transaction itself has stored nobody else can see.
        let own = self.ask(HOLD, &keys).await?;
        let mut holders = Rows::default();
        for holder in
            waiting.values().chain(own.values()).map(|(id, _)| id).collect::<BTreeSet<_>>()
        {
            holders.push(&[holder]);
        }
        for part in holders.parts(*part) {
            let mut script = self.script();
            script.add(LOCK, &[&Table(LOCKED, part)]);
            held.extend(self.held(script).await?);
        }
        let (mut told, mut writes) = weigh(&tasks, lanes, known, &held);
        let mut script = self.script();
        writes.insert(INSERT_ONCE, &mut script, *part);
        let ids: Vec<TaskId> = keyed.iter().map(|task| task.id).collect();
        if !ids.is_empty() {
            script.add(STORED, &[&List(&ids)]);
        }
        let stored = self.run(script).await?;
        let stored: HashSet<TaskId> = stored.iter().filter_map(|row| id(row.first()?)).collect();
        let got = keyed.iter().filter(|task| stored.contains(&task.id));
        let got: HashSet<Vec<u8>> = got.filter_map(|task| key_of(task)).collect();
        keys.retain(|key| !got.contains(key) && !held.contains_key(key));
        if !keys.is_empty() {
            // Somebody was faster. The index has locked these as it refused ours.
            held.extend(self.ask(HOLDERS, &keys).await?);
            (told, writes) = weigh(&tasks, lanes, known, &held);
        }
        if !writes.untagged.is_empty() {
            // Where there are no tags, deleting them would lock the place for them. The tasks are locked, and so are their tags:
            // those that this transaction has written can be seen in it, all others beside it.
            let mut script = self.script();
            script.add(TAGGED, &[&List(&writes.untagged)]);
            let own = self.run(script).await?;
            let mut tagged =
                self.mysql.lines()?.between.run(Tagged(writes.untagged.clone())).await?;
            tagged.extend(own.iter().filter_map(|row| id(row.first()?)));
            writes.untagged.retain(|id| tagged.contains(id));
        }
        let mut script = self.script();
        writes.replace_and_tag(&mut script, *part);
        script.add("RELEASE SAVEPOINT evertask", &[]);
        self.run(script).await?;
        Ok(told)
    }

    /// Who holds these keys, as the caller's transaction sees it.
    async fn ask(&mut self, sql: &str, keys: &[Vec<u8>]) -> Result<Held, StorageError> {
        if keys.is_empty() {
            return Ok(Held::new());
        }
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut script = self.script();
        script.add(sql, &[&List(&keys)]);
        self.held(script).await
    }

    async fn held(&mut self, script: Script) -> Result<Held, StorageError> {
        let read = |row| {
            let [key, holder, state] = <[Vec<u8>; 3]>::try_from(row).ok()?;
            let state: u8 = std::str::from_utf8(&state).ok()?.parse().ok()?;
            Some((key, (id(&holder)?, state_of(state)?)))
        };
        let held: Option<Held> = self.run(script).await?.into_iter().map(read).collect();
        let damaged = || Fault::Damaged("an id or a state is none");
        held.ok_or_else(|| damaged().tell(&self.site.settings.place, DOING))
    }
}

fn id(bytes: &[u8]) -> Option<TaskId> {
    uuid::Uuid::from_slice(bytes).ok().map(TaskId::from_uuid)
}

/// What is looked up beside the caller's transaction, as it is at this moment.
#[derive(Debug)]
struct Look(Arc<Vec<NewTask>>);

#[derive(Debug)]
struct Looked {
    lanes: Vec<LaneId>,
    known: HashMap<TaskId, TaskId>,
    /// Who holds the keys.
    held: Held,
    server: String,
    part: usize,
    longest: usize,
}

impl Transition<Site> for Look {
    type Answer = Looked;

    const DOING: &'static str = DOING;

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Looked, Fault> {
        let tasks: Vec<&NewTask> = self.0.iter().collect();
        enqueue::check_sizes(conn, &tasks)?;
        // Those that are missing are made by us, so that no transaction of a caller holds the lock that this takes.
        let lanes = site.numbers(conn, tasks.iter().map(|task| lane_of(task)).collect()).await?;
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
        let keys: Vec<Vec<u8>> = tasks.iter().filter_map(|task| key_of(task)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut script = site.script();
        let server = script.add(SERVER, &[]);
        let seen = script.add(SEEN, &[&List(&ids), &List(&ids)]);
        let holders = script.add(HOLD, &[&List(&keys)]);
        let answers = conn.run(script).await?;
        Ok(Looked {
            lanes,
            known: known(answers.rows(seen)?)?,
            held: held(answers.rows(holders)?)?,
            server: text(answers.row(server)?, 0)?.to_owned(),
            part: conn.part(),
            longest: conn.longest(),
        })
    }
}

/// Which of these tasks have tags.
#[derive(Debug)]
struct Tagged(Vec<TaskId>);

impl Transition<Site> for Tagged {
    type Answer = HashSet<TaskId>;

    const DOING: &'static str = DOING;

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Self::Answer, Fault> {
        let mut script = site.script();
        let tagged = script.add(TAGGED, &[&List(&self.0)]);
        conn.run(script).await?.rows(tagged)?.iter().map(|row| task_id(row, 0)).collect()
    }
}

impl JoinTx for mysql_async::Transaction<'_> {}

impl Join for mysql_async::Transaction<'_> {
    fn join<'t>(
        &'t mut self,
        storage: Arc<dyn FullStorage>,
        tasks: Vec<NewTask>,
    ) -> BoxFuture<'t, Result<Joined, JoinError>> {
        Box::pin(join(self, storage, tasks))
    }
}

impl Session for mysql_async::Transaction<'_> {
    async fn send(
        &mut self,
        site: &Site,
        text: Vec<u8>,
        statements: usize,
    ) -> Result<Vec<Answer>, StorageError> {
        let told: Result<Vec<Answer>, Fault> = async {
            let mut result = self.query_iter(text).await?;
            let mut answers = Vec::new();
            for _ in 0..statements {
                let rows: Vec<Row> = result.collect().await?;
                for row in &rows {
                    let columns = (0..row.len()).map(|at| bytes(row, at).map(<[u8]>::to_vec));
                    answers.push(columns.collect::<Result<_, _>>()?);
                }
            }
            Ok(answers)
        }
        .await;
        told.map_err(|fault| fault.tell(&site.settings.place, DOING))
    }
}
