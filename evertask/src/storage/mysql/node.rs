//! Nodes: who is there, who holds what, and who takes it over.

use std::time::Duration;

use mysql_async::Row;

use super::{
    connection::Connection,
    error::Fault,
    literal::{List, Rows, Table},
    rings::Rings,
    row::{count, maybe_number, number, task_id, truth, unsigned, uuid},
    site::{NOW, Site, now},
};
use crate::{
    storage::{
        Beat, Held, Life, Lost, Node, NodeId, Peer, clock::duration_micros, rules,
        server::Transition,
    },
    task::TaskId,
    verdict::SUSPECT_AFTER,
};

/// How many tasks one call takes over at most.
const SEIZE_MAX: usize = 1_000;

// A node that comes again, after others took it for dead, starts from a beat that nobody has seen.
const JOIN: &str = "INSERT INTO {nodes} (id, beat, beat_at, joined_at, lease, host, pid, `binary`, handlers, queues)
    VALUES (?, @evertask_now, @evertask_now, @evertask_now, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE beat = beat + 1, beat_at = VALUES(beat_at),
        lease = VALUES(lease), host = VALUES(host), pid = VALUES(pid), `binary` = VALUES(`binary`),
        handlers = VALUES(handlers), queues = VALUES(queues)";

const LEAVE: &str = "DELETE FROM {nodes} WHERE id = ?";

const BEAT: &str = "INSERT INTO {nodes} (id, beat, beat_at, joined_at) VALUES (?, @evertask_now, @evertask_now, @evertask_now)
    ON DUPLICATE KEY UPDATE beat = beat + 1, beat_at = VALUES(beat_at)";

// Running → running, begun. Fenced by the lease, and by the node that holds it.
pub(super) const BEGIN: &str =
    "UPDATE ? AS s STRAIGHT_JOIN {tasks} AS t FORCE INDEX (PRIMARY) ON t.id = s.id
    SET t.begun = 1, t.started_at = @evertask_now WHERE t.lease = s.lease AND t.node = ? AND NOT t.begun";
pub(super) const BEGUN: &str = "x'' AS id, 0 AS lease";

pub(super) const HELD: &str =
    "SELECT id, lease, claim, cancel_asked FROM {tasks} FORCE INDEX (running) WHERE node = ?";

pub(super) const PEERS: &str =
    "SELECT h.node, n.beat, GREATEST(0, @evertask_now - n.beat_at), n.lease FROM (
        SELECT DISTINCT node FROM {tasks} FORCE INDEX (running) WHERE node IS NOT NULL) AS h
    LEFT JOIN {nodes} AS n ON n.id = h.node WHERE h.node <> ?";

// Held until it is done: whoever renews then hears of what was taken.
pub(super) const SEEN: &str = "SELECT beat FROM {nodes} WHERE id = ? LOCK IN SHARE MODE";

pub(super) const RUNNING: &str =
    "SELECT COUNT(*) FROM {tasks} FORCE INDEX (running) WHERE node = ? AND begun AND claim <> 0";

// Suspects come first: whether one was alone can only be seen while the others are still there. What the dead node had itself
// seized comes last: it did not run there, and what it had begun elsewhere is still known.
pub(super) const DEAD: &str = "SELECT id, LEAST(lease, 9223372036854775806) + 1, lane, spent, begun, started_at, losses >= ? AND claim <> 0, lost_alone
    FROM {tasks} FORCE INDEX (running) WHERE node = ? ORDER BY begun AND claim <> 0 DESC, losses >= ? DESC, id LIMIT ?
    FOR UPDATE SKIP LOCKED";

// Seized by the node itself, and not judged yet.
pub(super) const SEIZED: &str =
    "SELECT id, lease, lane, spent, begun, started_at, FALSE, lost_alone
    FROM {tasks} FORCE INDEX (running) WHERE node = ? AND claim = 0 ORDER BY id LIMIT ?";

// Running → running under another node. The new lease refuses whatever the old holder may still write. The rows are locked.
pub(super) const SEIZE: &str = "UPDATE {tasks} FORCE INDEX (PRIMARY) SET lease = LEAST(lease, 9223372036854775806) + 1, node = ?, claim = 0 WHERE id IN ?";

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
        let lease = duration_micros(*lease);
        let mut script = site.at_now();
        script.add(JOIN, &[id, &lease, &host, pid, &binary, &handlers, &queues]);
        conn.run(script).await.map(drop)
    }
}

#[derive(Debug)]
pub(super) struct Leave(pub(super) NodeId);

impl Transition<Site> for Leave {
    type Answer = ();

    const DOING: &'static str = "cannot sign off a node";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<(), Fault> {
        let mut script = site.script();
        script.add(LEAVE, &[&self.0]);
        conn.run(script).await?;
        site.ear.leaves(self.0);
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
        let Beat { node, begun, .. } = &self.0;
        let mut marks = Rows::default();
        for (id, lease) in begun {
            marks.push(&[id, lease]);
        }
        let mut script = site.transaction();
        script.add(BEAT, &[node]);
        for part in marks.parts(conn.part()) {
            script.add(BEGIN, &[&Table(BEGUN, part), node]);
        }
        let held = script.add(HELD, &[node]);
        script.add("COMMIT", &[]);
        let answers = conn.run(script).await?;
        let read = |row: &Row| {
            Ok(Held {
                id: task_id(row, 0)?,
                lease: unsigned(row, 1)?,
                claim: unsigned(row, 2)?,
                cancel: truth(row, 3)?,
            })
        };
        answers.rows(held)?.iter().map(read).collect()
    }
}

#[derive(Debug)]
pub(super) struct Peers(pub(super) NodeId);

impl Transition<Site> for Peers {
    type Answer = Vec<Peer>;

    const DOING: &'static str = "cannot look for other nodes";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Vec<Peer>, Fault> {
        let mut script = site.at_now();
        let peers = script.add(PEERS, &[&self.0]);
        let answers = conn.run(script).await?;
        let read = |row: &Row| {
            let beat: Option<i64> = maybe_number(row, 1)?;
            let life = beat.map_or(Life::Dead, |beat| Life::Beats(beat.cast_unsigned()));
            let mut peer = Peer::new(uuid(row, 0)?, life);
            let micros = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
            peer.quiet = maybe_number(row, 2)?.map(micros).unwrap_or_default();
            peer.lease = maybe_number(row, 3)?.map(micros);
            Ok(peer)
        };
        answers.rows(peers)?.iter().map(read).collect()
    }
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
        let from = self.from.node;
        let (limit, again) = (self.limit.min(SEIZE_MAX), from == self.by);
        let mut script = if again { site.at_now() } else { site.transaction() };
        let beat = (!again).then(|| script.add(SEEN, &[&from]));
        let time = script.add(NOW, &[]);
        let running = script.add(RUNNING, &[&from]);
        let dead = if again {
            script.add(SEIZED, &[&from, &limit])
        } else {
            script.add(DEAD, &[&SUSPECT_AFTER, &from, &SUSPECT_AFTER, &limit])
        };
        let answers = conn.run(script).await?;
        if let Some(place) = beat
            && let [row] = answers.rows(place)?
            && self.from.life.beats() != Some(number::<i64>(row, 0)?.cast_unsigned())
        {
            let mut script = site.script();
            script.add("ROLLBACK", &[]);
            conn.run(script).await?;
            return Ok(Vec::new());
        }
        let now = now(answers.row(time)?)?;
        let running: u64 = number(answers.row(running)?, 0)?;
        let mut seized = Vec::new();
        for row in answers.rows(dead)? {
            site.know(conn, number(row, 2)?).await?;
            let lane = site.lane(number(row, 2)?)?;
            let started = truth(row, 4)?;
            let started_at = maybe_number(row, 5)?.filter(|_| started);
            seized.push(Lost {
                id: task_id(row, 0)?,
                lease: unsigned(row, 1)?,
                name: lane.name.clone(),
                queue: lane.queue.clone(),
                attempt: count(row, 3)?.saturating_add(1),
                node: from,
                started,
                ran: started_at.map(|at| rules::between(at, now)).unwrap_or_default(),
                alone: started && truth(row, 6)? && running == 1,
                lost_alone: count(row, 7)?,
            });
        }
        if again {
            return Ok(seized);
        }
        let ids: Vec<TaskId> = seized.iter().map(|lost| lost.id).collect();
        let mut script = site.script();
        script.add(SEIZE, &[&self.by, &List(&ids)]);
        script.add("COMMIT", &[]);
        conn.run(script).await?;
        Ok(seized)
    }
}

const LIVES: &str = "UPDATE {nodes} SET beat = beat + 1, beat_at = @evertask_now WHERE id IN ?";

const ANNOUNCED: &str = "SELECT id FROM {nodes} WHERE id IN ?";

/// Signs of life of these nodes. One that is not announced, or no longer, gives none.
pub(super) struct Beats(pub(super) Vec<NodeId>);

impl Transition<Site> for Beats {
    type Answer = Vec<NodeId>;

    const DOING: &'static str = "cannot send a sign of life";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<Vec<NodeId>, Fault> {
        let mut script = site.at_now();
        script.add(LIVES, &[&List(&self.0)]);
        let announced = script.add(ANNOUNCED, &[&List(&self.0)]);
        conn.run(script).await?.rows(announced)?.iter().map(|row| uuid(row, 0)).collect()
    }
}
