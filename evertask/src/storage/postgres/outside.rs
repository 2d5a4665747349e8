//! What happens to tasks from outside of an attempt: cancel, revive, prune.

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    columns::only,
    connection::{Connection, Sql, Step},
    error::Fault,
    lane::{Lane, LaneId},
    rings::Rings,
    row::{count, get, state, task_id},
    site::{NOW, Site, now},
};
use crate::{
    policy::Keep,
    storage::{
        Cancel, Ended, Pruned, Revive, rules,
        server::{Session, Transition},
    },
    task::{TaskId, TaskState},
};

/// How many tasks one round of pruning deletes at most.
const PRUNE_MAX: usize = 10_000;

const FIND: Sql = Sql {
    text: "SELECT state, lane, key_name, key FROM tasks WHERE id = $1 FOR UPDATE",
    types: &[Type::UUID],
};

// Pending → cancelled. The row was locked when its state was read.
const CANCEL: Sql = Sql {
    text: "UPDATE tasks SET state = 4, error = $2, finished_at = $3, prune_at = $4 WHERE id = $1",
    types: &[Type::UUID, Type::TEXT, Type::INT8, Type::INT8],
};

// Running → running. Its node learns it by renewing; whatever it settles from now on ends as cancelled.
const ASK: Sql =
    Sql { text: "UPDATE tasks SET cancel_asked = true WHERE id = $1", types: &[Type::UUID] };

// Final → pending. The lease stays, so that it keeps growing.
const REVIVE: Sql = Sql {
    text: "UPDATE tasks SET state = 0, lane = $2, due_at = $3, spent = 0, unreadable = 0, losses = 0, lost_alone = 0,
            finished_at = NULL, expires_at = NULL, prune_at = NULL, error = NULL,
            output_codec = NULL, output = NULL, output_error = NULL
        WHERE id = $1",
    types: &[Type::UUID, Type::INT8, Type::INT8],
};

// Pending → pending, due now at the latest.
const HASTEN: Sql = Sql {
    text: "UPDATE tasks SET due_at = least(due_at, $2) WHERE id = $1",
    types: &[Type::UUID, Type::INT8],
};

// Any state but pending → ∅, with all that belongs to it.
pub(super) const DELETE: Sql = Sql {
    text: "WITH gone AS (DELETE FROM tasks WHERE id = ANY($1) AND state > 0 RETURNING id),
            tags AS (DELETE FROM tags USING gone WHERE tags.id = gone.id),
            attempts AS (DELETE FROM attempts USING gone WHERE attempts.id = gone.id)
        SELECT count(*) FROM gone",
    types: &[Type::UUID_ARRAY],
};

// Final and out of its time → ∅. Live ones have no such time.
pub(super) const PRUNE: Sql = Sql {
    text: "WITH gone AS (DELETE FROM tasks WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM tasks WHERE prune_at IS NOT NULL AND prune_at <= $1 ORDER BY prune_at LIMIT $2
                FOR UPDATE SKIP LOCKED)) RETURNING id),
            tags AS (DELETE FROM tags USING gone WHERE tags.id = gone.id),
            attempts AS (DELETE FROM attempts USING gone WHERE attempts.id = gone.id)
        SELECT count(*) FROM gone",
    types: &[Type::INT8, Type::INT8],
};

// Pending and expired → cancelled.
pub(super) const EXPIRE: Sql = Sql {
    text: "UPDATE tasks SET state = 4, error = $3, finished_at = $1, prune_at = $4 WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM tasks WHERE state = 0 AND expires_at IS NOT NULL AND expires_at <= $1
                ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))
        RETURNING id, lane, spent",
    types: &[Type::INT8, Type::INT8, Type::TEXT, Type::INT8],
};

pub(super) const NEXT: Sql = Sql {
    text: "SELECT least(
            (SELECT min(prune_at) FROM tasks WHERE prune_at IS NOT NULL),
            (SELECT min(expires_at) FROM tasks WHERE state = 0 AND expires_at IS NOT NULL))",
    types: &[],
};

// Nodes that have given no sign of life for a day and hold nothing.
const FORGET: Sql = Sql {
    text: "DELETE FROM nodes AS n WHERE n.beat_at < $1
            AND NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.state = 1 AND t.node = n.id)",
    types: &[Type::INT8],
};

// The live task that holds a key.
pub(super) const HOLDER: Sql = Sql {
    text: "SELECT id FROM tasks WHERE key_name = $1 AND key = $2 AND key IS NOT NULL AND state < 2",
    types: &[Type::TEXT, Type::TEXT],
};

/// Deletes tasks that were just cancelled.
pub(super) async fn delete(conn: &Connection, ids: &[Uuid]) -> Result<(), Fault> {
    conn.one((&DELETE, &[&ids])).await.map(drop)
}

/// A task that is locked.
struct Found {
    now: i64,
    state: TaskState,
    lane: LaneId,
    /// The handler's name and the key.
    key: Option<(String, String)>,
}

/// Begins a transaction and locks the task.
async fn find(site: &Site, conn: &Connection, id: TaskId) -> Result<Option<Found>, Fault> {
    let injected = site.injected();
    let looks: [Step<'_>; 2] = [(&NOW, &[&injected]), (&FIND, &[id.as_uuid()])];
    let answers = conn.begin(&looks).await?;
    let [time, found] = answers.as_slice() else {
        return Err(Fault::Damaged("an answer is missing"));
    };
    let now = now(time)?;
    let read = |row: &Row| {
        let key = get::<Option<String>>(row, 2)?.zip(get(row, 3)?);
        Ok(Found { now, state: state(row, 0)?, lane: get(row, 1)?, key })
    };
    found.first().map(read).transpose()
}

#[derive(Debug)]
pub(super) struct CancelTask {
    pub(super) id: TaskId,
    pub(super) keep: Keep,
}

impl Transition<Site> for CancelTask {
    type Answer = Cancel;

    const DOING: &'static str = "cannot cancel a task";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Cancel, Fault> {
        let id = self.id.as_uuid();
        let found = find(site, conn, self.id).await?;
        let mut rings = Rings::default();
        let done = match found {
            None => Cancel::Unknown,
            Some(Found { state: TaskState::Pending, now, .. }) => {
                let prune_at = rules::prune_at(self.keep, now);
                let ids = [*id];
                let ids: &[Uuid] = &ids;
                let cancel: Step<'_> = (&CANCEL, &[id, &rules::CANCELLED, &now, &prune_at]);
                let gone: &[Step<'_>] = &[cancel, (&DELETE, &[&ids])];
                let kept = self.keep != Keep::No;
                conn.go_on(if kept { &gone[..1] } else { gone }).await?;
                rings.ended.insert(self.id);
                Cancel::Done
            }
            Some(Found { state: TaskState::Running, .. }) => {
                conn.go_on(&[(&ASK, &[id])]).await?;
                rings.orders = true;
                Cancel::Asked
            }
            Some(Found { state: ended, .. }) => Cancel::TooLate(ended),
        };
        conn.commit(&[]).await?;
        site.ring(rings);
        Ok(done)
    }
}

#[derive(Debug)]
pub(super) struct ReviveTask(pub(super) TaskId);

impl Transition<Site> for ReviveTask {
    type Answer = Revive;

    const DOING: &'static str = "cannot run a task again";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Revive, Fault> {
        loop {
            let id = self.0.as_uuid();
            let Some(task) = find(site, conn, self.0).await? else {
                conn.commit(&[]).await?;
                return Ok(Revive::Unknown);
            };
            let mut rings = Rings::default();
            let done = match task.state {
                TaskState::Running => Revive::Running,
                TaskState::Pending => {
                    conn.go_on(&[(&HASTEN, &[id, &task.now])]).await?;
                    rings.work_in(0);
                    Revive::Hastened
                }
                TaskState::Completed | TaskState::Failed | TaskState::Cancelled => {
                    site.know(conn, task.lane).await?;
                    let lane = Lane { suspect: false, ..Lane::clone(&*site.lane(task.lane)?) };
                    // Its losses are forgotten, so it is a suspect no more.
                    let number = site.lanes().number(&lane);
                    let Some(number) = number else {
                        conn.roll_back().await?;
                        site.numbers(conn, vec![lane]).await?;
                        continue;
                    };
                    if let Some(holder) = holder(conn, task.key.as_ref()).await? {
                        Revive::KeyTaken(holder)
                    } else {
                        // Should another dispatch store this key at this moment, one of the two collides and tries again.
                        conn.go_on(&[(&REVIVE, &[id, &number, &task.now])]).await?;
                        rings.work_in(0);
                        Revive::Revived
                    }
                }
            };
            conn.commit(&[]).await?;
            site.ring(rings);
            return Ok(done);
        }
    }
}

/// The live task that holds this key.
async fn holder(
    conn: &Connection,
    key: Option<&(String, String)>,
) -> Result<Option<TaskId>, Fault> {
    let Some((name, key)) = key else { return Ok(None) };
    let rows = only(conn.go_on(&[(&HOLDER, &[name, key])]).await?);
    rows.first().map(|row| task_id(row, 0)).transpose()
}

#[derive(Debug)]
pub(super) struct Prune(pub(super) usize);

impl Transition<Site> for Prune {
    type Answer = Pruned;

    const DOING: &'static str = "cannot prune tasks";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Pruned, Fault> {
        let limit = i64::try_from(self.0.min(PRUNE_MAX)).unwrap_or(i64::MAX);
        let now = now(&conn.one((&NOW, &[&site.injected()])).await?)?;
        let kept = rules::prune_at(rules::KEEP_EXPIRED, now);
        let forgotten = now.saturating_sub(86_400_000_000);
        let answers = conn
            .whole(&[
                (&PRUNE, &[&now, &limit]),
                (&EXPIRE, &[&now, &limit, &rules::EXPIRED, &kept]),
                (&FORGET, &[&forgotten]),
                (&NEXT, &[]),
            ])
            .await?;
        let [gone, expired, _, next] = answers.as_slice() else {
            return Err(Fault::Damaged("an answer is missing"));
        };
        let mut pruned = Pruned::default();
        if let Some(row) = gone.first() {
            pruned.deleted = count(row, 0)? as usize;
        }
        let mut rings = Rings::default();
        for row in expired {
            if site.lanes().get(get(row, 1)?).is_none() {
                site.refresh(conn).await?;
            }
            let lane = site.lane(get(row, 1)?)?;
            let (id, name, queue) = (task_id(row, 0)?, lane.name.clone(), lane.queue.clone());
            rings.ended.insert(id);
            pruned.expired.push(Ended { id, name, queue, attempt: count(row, 2)? });
        }
        let next = next.first().map(|row| get::<Option<i64>>(row, 0)).transpose()?.flatten();
        pruned.next = next.map(|at| rules::between(now, at));
        site.ring(rings);
        Ok(pruned)
    }
}
