//! Nodes: who is there, who holds what, and who takes it over.

use std::time::{Duration, Instant};

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    columns::Value,
    connection::{Connection, Sql, Step},
    error::Fault,
    rings::Rings,
    row::{count, get, task_id, unsigned},
    site::{NOW, Site, now},
};
use crate::storage::{
    Beat, Held, Life, Lost, Node, NodeId, Peer, clock::duration_micros, rules, server::Transition,
};

/// How many tasks one call takes over at most.
const SEIZE_MAX: usize = 1_000;

// A node that comes again, after others took it for dead, starts from a beat that nobody has seen.
const JOIN: Sql = Sql {
    text: r#"INSERT INTO nodes (id, beat, beat_at, joined_at, host, pid, "binary", handlers, queues, lease)
        SELECT $1, now, now, now, $3, $4, $5, $6, $7, $8
        FROM (SELECT coalesce($2, (extract(epoch FROM clock_timestamp()) * 1000000)::int8) AS now) AS clock
        ON CONFLICT (id) DO UPDATE SET beat = nodes.beat + 1, beat_at = excluded.beat_at, host = excluded.host,
            pid = excluded.pid, "binary" = excluded."binary", handlers = excluded.handlers, queues = excluded.queues,
            lease = excluded.lease"#,
    types: &[
        Type::UUID,
        Type::INT8,
        Type::TEXT,
        Type::INT8,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::INT8,
    ],
};

const LEAVE: Sql = Sql { text: "DELETE FROM nodes WHERE id = $1", types: &[Type::UUID] };

const BEAT: Sql = Sql {
    text: "INSERT INTO nodes (id, beat, beat_at, joined_at) SELECT $1, now, now, now
        FROM (SELECT coalesce($2, (extract(epoch FROM clock_timestamp()) * 1000000)::int8) AS now) AS clock
        ON CONFLICT (id) DO UPDATE SET beat = nodes.beat + 1, beat_at = excluded.beat_at",
    types: &[Type::UUID, Type::INT8],
};

// Running → running, begun. Fenced by the lease, and by the node that holds it.
pub(super) const BEGIN: Sql = Sql {
    text: "UPDATE tasks AS t SET begun = true, started_at = clock.now
        FROM unnest($3, $4) AS b (id, lease),
            (SELECT coalesce($2, (extract(epoch FROM clock_timestamp()) * 1000000)::int8) AS now) AS clock
        WHERE t.id = b.id AND t.lease = b.lease AND t.node = $1 AND NOT t.begun",
    types: &[Type::UUID, Type::INT8, Type::UUID_ARRAY, Type::INT8_ARRAY],
};

pub(super) const HELD: Sql = Sql {
    text: "SELECT id, lease, claim, cancel_asked FROM tasks WHERE state = 1 AND node = $1",
    types: &[Type::UUID],
};

// What it holds by these claims, by none, and by those that were not answered yet. One claim after the other: by `ANY` the planner
// would go through all of the node's and look at the number of each.
pub(super) const HELD_BY: Sql = Sql {
    text: "SELECT h.* FROM unnest(0::int8 || $2) AS by (claim) CROSS JOIN LATERAL (
            SELECT t.id, t.lease, t.claim, t.cancel_asked FROM tasks AS t
            WHERE t.state = 1 AND t.node = $1 AND t.claim = by.claim OFFSET 0) AS h
        UNION ALL SELECT id, lease, claim, cancel_asked FROM tasks WHERE state = 1 AND node = $1 AND claim > $3",
    types: &[Type::UUID, Type::INT8_ARRAY, Type::INT8],
};

pub(super) const PEERS: Sql = Sql {
    text: "SELECT h.node, n.beat, coalesce($2, (extract(epoch FROM clock_timestamp()) * 1000000)::int8) - n.beat_at, n.lease, h.claim
        FROM (SELECT node, min(claim) AS claim FROM tasks WHERE state = 1 AND node <> $1 GROUP BY node) AS h
        LEFT JOIN nodes AS n ON n.id = h.node",
    types: &[Type::UUID, Type::INT8],
};

// The same of those that have not left and of these ($3), each from this claim on ($4), and of each only the first that it holds:
// that is where the next look begins. Those who hold nothing are answered, too.
pub(super) const PEERS_FROM: Sql = Sql {
    text: "SELECT a.node, n.beat, coalesce($2, (extract(epoch FROM clock_timestamp()) * 1000000)::int8) - n.beat_at, n.lease,
            coalesce((SELECT t.claim FROM tasks AS t WHERE t.state = 1 AND t.node = a.node AND t.claim >= a.claim
                    ORDER BY t.claim LIMIT 1),
                (SELECT t.claim FROM tasks AS t WHERE t.state = 1 AND t.node = a.node AND t.claim = 0 LIMIT 1))
        FROM (SELECT node, claim FROM unnest($3, $4) AS k (node, claim) WHERE node <> $1
            UNION ALL SELECT id, 1 FROM nodes WHERE id <> $1 AND id <> ALL($3)) AS a
        LEFT JOIN nodes AS n ON n.id = a.node",
    types: &[Type::UUID, Type::INT8, Type::UUID_ARRAY, Type::INT8_ARRAY],
};

// Running → running under another node. The new lease refuses whatever the old holder may still write. Suspects come first:
// whether one was alone can only be seen while the others are still there. What the dead node had itself seized comes last: it
// did not run there, and what it had begun elsewhere is still known. Its row is held meanwhile: whoever renews just now lives, and
// whoever does next hears of it.
pub(super) const SEIZE: Sql = Sql {
    text: "WITH quiet AS MATERIALIZED (
            SELECT FROM nodes WHERE id = $1 AND beat = $5 FOR SHARE SKIP LOCKED
        ), begun AS (
            SELECT count(*) AS n FROM tasks WHERE state = 1 AND node = $1 AND begun AND claim <> 0
        ), dead AS MATERIALIZED (
            SELECT id, claim, started_at FROM tasks WHERE state = 1 AND node = $1
                AND (EXISTS (SELECT FROM quiet) OR NOT EXISTS (SELECT FROM nodes WHERE id = $1))
            ORDER BY begun AND claim <> 0 DESC, losses >= $4 DESC, id LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        UPDATE tasks AS t SET lease = least(t.lease, 9223372036854775806) + 1, node = $2, claim = 0 FROM dead, begun
        WHERE t.id = dead.id AND t.node = $1
        RETURNING t.id, t.lease, t.lane, t.spent, t.begun, dead.started_at,
            t.begun AND dead.claim <> 0 AND t.losses >= $4 AND begun.n = 1, t.lost_alone",
    types: &[Type::UUID, Type::UUID, Type::INT8, Type::INT8, Type::INT8],
};

// Seized by the node itself, and not judged yet.
pub(super) const SEIZED: Sql = Sql {
    text: "SELECT id, lease, lane, spent, begun, started_at, false, lost_alone FROM tasks
        WHERE state = 1 AND node = $1 AND claim = 0 ORDER BY id LIMIT $2",
    types: &[Type::UUID, Type::INT8],
};

#[derive(Debug)]
pub(super) struct Join(pub(super) Node);

impl Transition<Site> for Join {
    type Answer = ();

    const DOING: &'static str = "cannot announce a node";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<(), Fault> {
        let Node { id, host, pid, binary, handlers, queues, lease, .. } = &self.0;
        let handlers: Vec<(&str, u32)> =
            handlers.iter().map(|known| (&*known.name, known.version)).collect();
        // Texts and numbers always make JSON.
        let handlers = serde_json::to_string(&handlers).unwrap_or_default();
        let queues = serde_json::to_string(queues).unwrap_or_default();
        let (host, binary) = (rules::storable_error(host), rules::storable_error(binary));
        let (now, pid, lease) = (site.injected(), i64::from(*pid), duration_micros(*lease));
        let values: [Value<'_>; 8] = [id, &now, &host, &pid, &binary, &handlers, &queues, &lease];
        conn.one((&JOIN, &values)).await.map(drop)
    }
}

#[derive(Debug)]
pub(super) struct Leave(pub(super) NodeId);

impl Transition<Site> for Leave {
    type Answer = ();

    const DOING: &'static str = "cannot sign off a node";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<(), Fault> {
        conn.one((&LEAVE, &[&self.0])).await?;
        site.holders().leaves(self.0);
        // What it holds is to be taken over at once.
        let mut rings = Rings::default();
        rings.peers = true;
        site.ring(rings);
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Renew(pub(super) Beat);

impl Transition<Site> for Renew {
    type Answer = Vec<Held>;

    const DOING: &'static str = "cannot renew a node";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Vec<Held>, Fault> {
        let Beat { node, begun, claims } = &self.0;
        let now = site.injected();
        let (ids, leases): (Vec<Uuid>, Vec<i64>) =
            begun.iter().map(|(id, lease)| (*id.as_uuid(), lease.cast_signed())).unzip();
        let some = claims.as_ref().filter(|_| !site.holders().is_to_find_all_of(*node));
        let (by, answered): (Vec<i64>, i64) = some.map_or_else(Default::default, |claims| {
            let by = claims.held.iter().map(|claim| claim.cast_signed()).collect();
            (by, claims.answered.cast_signed())
        });
        let held: Step<'_> = match some {
            Some(_) => (&HELD_BY, &[node, &by, &answered]),
            None => (&HELD, &[node]),
        };
        let begin: Step<'_> = (&BEGIN, &[node, &now, &ids, &leases]);
        let start = Instant::now();
        let answers = conn.whole(&[(&BEAT, &[node, &now]), begin, held]).await;
        // Whoever makes the time makes no dead rows. One that was given up for its length is not repeated at once.
        if some.is_none() && now.is_none() {
            let found =
                answers.as_ref().ok().and_then(|answers| answers.last()).map_or(0, Vec::len);
            site.holders().found_all_of(*node, start.elapsed(), found);
        }
        let answers = answers?;
        let held = |row: &Row| {
            Ok(Held {
                id: task_id(row, 0)?,
                lease: unsigned(row, 1)?,
                claim: unsigned(row, 2)?,
                cancel: get(row, 3)?,
            })
        };
        answers.last().map_or(&[][..], Vec::as_slice).iter().map(held).collect()
    }
}

#[derive(Debug)]
pub(super) struct Peers(pub(super) NodeId);

impl Transition<Site> for Peers {
    type Answer = Vec<Peer>;

    const DOING: &'static str = "cannot look for other nodes";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Vec<Peer>, Fault> {
        let (own, now, places) = (&self.0, site.injected(), site.holders().places());
        let rows = if let Some((nodes, from)) = &places {
            conn.one((&PEERS_FROM, &[own, &now, nodes, from])).await?
        } else {
            let start = Instant::now();
            let rows = conn.one((&PEERS, &[own, &now])).await;
            if now.is_none() {
                let found = rows.as_ref().map_or(0, Vec::len);
                site.holders().looked_everywhere(start.elapsed(), found);
            }
            rows?
        };
        let mut holders = site.holders();
        let mut peers = Vec::with_capacity(rows.len());
        for row in &rows {
            let (peer, claim) = (peer(row)?, get::<Option<i64>>(row, 4)?);
            if claim.is_none() && peer.life == Life::Dead {
                holders.is_gone(peer.node);
            } else {
                holders.saw(peer.node, claim);
            }
            peers.extend(claim.map(|_| peer));
        }
        Ok(peers)
    }
}

fn peer(row: &Row) -> Result<Peer, Fault> {
    let beat: Option<i64> = get(row, 1)?;
    let life = beat.map_or(Life::Dead, |beat| Life::Beats(beat.cast_unsigned()));
    let mut peer = Peer::new(get(row, 0)?, life);
    let micros = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    peer.quiet = get::<Option<i64>>(row, 2)?.map(micros).unwrap_or_default();
    peer.lease = get::<Option<i64>>(row, 3)?.map(micros);
    Ok(peer)
}

#[derive(Debug)]
pub(super) struct Seize {
    pub(super) from: Peer,
    pub(super) by: NodeId,
    pub(super) limit: usize,
}

impl Transition<Site> for Seize {
    type Answer = Vec<Lost>;

    const DOING: &'static str = "cannot take over tasks";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Vec<Lost>, Fault> {
        let limit = i64::try_from(self.limit.min(SEIZE_MAX)).unwrap_or(i64::MAX);
        let suspect = i64::from(crate::verdict::SUSPECT_AFTER);
        let now = now(&conn.one((&NOW, &[&site.injected()])).await?)?;
        let from = self.from.node;
        let rows = if from == self.by {
            conn.one((&SEIZED, &[&from, &limit])).await?
        } else {
            let beat = self.from.life.beats().map(u64::cast_signed);
            conn.one((&SEIZE, &[&from, &self.by, &limit, &suspect, &beat])).await?
        };
        let mut seized = Vec::with_capacity(rows.len());
        for row in &rows {
            if site.lanes().get(get(row, 2)?).is_none() {
                site.refresh(conn).await?;
            }
            let lane = site.lane(get(row, 2)?)?;
            let started: bool = get(row, 4)?;
            let started_at = get::<Option<i64>>(row, 5)?.filter(|_| started);
            seized.push(Lost {
                id: task_id(row, 0)?,
                lease: unsigned(row, 1)?,
                name: lane.name.clone(),
                queue: lane.queue.clone(),
                attempt: count(row, 3)?.saturating_add(1),
                node: from,
                started,
                ran: started_at.map(|at| rules::between(at, now)).unwrap_or_default(),
                alone: get(row, 6)?,
                lost_alone: count(row, 7)?,
            });
        }
        Ok(seized)
    }
}

const LIVES: Sql = Sql {
    text: "UPDATE nodes SET beat = beat + 1, beat_at = (extract(epoch FROM clock_timestamp()) * 1000000)::int8
        WHERE id = ANY($1) RETURNING id",
    types: &[Type::UUID_ARRAY],
};

/// Signs of life of these nodes. One that is not announced, or no longer, gives none.
pub(super) struct Beats(pub(super) Vec<NodeId>);

impl Transition<Site> for Beats {
    type Answer = Vec<NodeId>;

    const DOING: &'static str = "cannot send a sign of life";

    async fn run(&self, _site: &Site, conn: &mut Connection) -> Result<Vec<NodeId>, Fault> {
        conn.one((&LIVES, &[&self.0])).await?.iter().map(|row| get(row, 0)).collect()
    }
}
