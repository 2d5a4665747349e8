//! What all transitions on one set of tables share: how they are reached, the clock, the lanes, and who is told after a commit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mysql_async::Row;

use super::{
    connection::{Connection, Settings},
    crier::Crier,
    ear::Ear,
    error::Fault,
    lane::{self, Lane, LaneId, Lanes},
    look::Watch,
    rings::Rings,
    row::number,
    script::Script,
};
use crate::storage::{
    Bell, Clock,
    server::{Doubt, Purpose, Server},
};

// The instant at which the statement begins, in microseconds, whatever the session's time zone.
const SERVER_NOW: &str =
    "SET @evertask_now = TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

/// Reads the instant that a script goes by.
pub(super) const NOW: &str = "SELECT @evertask_now";

#[derive(Debug)]
pub(super) struct Site {
    pub(super) settings: Arc<Settings>,
    /// For laws and tests: a clock in place of the server's.
    pub(super) clock: Option<Clock>,
    pub(super) bell: Bell,
    pub(super) doubt: Doubt,
    pub(super) watch: Watch,
    pub(super) ear: Ear,
    pub(super) crier: Crier,
    lanes: Mutex<Lanes>,
}

impl Server for Site {
    type Connection = Connection;
    type Driver = mysql_async::Error;

    fn place(&self) -> &str {
        &self.settings.place
    }

    fn doubt(&self) -> &Doubt {
        &self.doubt
    }

    fn is_timed(&self) -> bool {
        self.clock.is_some()
    }

    async fn open(&self, purpose: Purpose) -> Result<Connection, Fault> {
        let mut conn = Connection::open(&self.settings, purpose).await?;
        if purpose == Purpose::Write {
            self.recall(&mut conn).await?;
        }
        Ok(conn)
    }
}

impl Site {
    pub(super) fn new(settings: Arc<Settings>, clock: Option<Clock>) -> Self {
        Self {
            settings,
            clock,
            bell: Bell::new(),
            doubt: Doubt::default(),
            watch: Watch::default(),
            ear: Ear::default(),
            crier: Crier::default(),
            lanes: Mutex::default(),
        }
    }

    pub(super) fn script(&self) -> Script {
        Script::new(&self.settings.prefix)
    }

    /// A script in whose statements `@evertask_now` is the instant at which it begins.
    pub(super) fn at_now(&self) -> Script {
        let mut script = self.script();
        match &self.clock {
            Some(clock) => script.add("SET @evertask_now = ?", &[&clock.micros()]),
            None => script.add(SERVER_NOW, &[]),
        };
        script
    }

    /// The same in a transaction.
    pub(super) fn transaction(&self) -> Script {
        let mut script = self.at_now();
        script.add("START TRANSACTION", &[]);
        script
    }

    /// Not to be held across an await.
    pub(super) fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers of these lanes; those there are not yet are made. Not to be called inside a transaction.
    pub(super) async fn numbers(
        &self,
        conn: &mut Connection,
        wanted: Vec<Lane>,
    ) -> Result<Vec<LaneId>, Fault> {
        let mut missing = self.missing(&wanted);
        if !missing.is_empty() {
            self.refresh(conn).await?;
            missing = self.missing(&wanted);
        }
        if !missing.is_empty() {
            lane::make(self, conn, &missing).await?;
            self.refresh(conn).await?;
        }
        let lanes = self.lanes();
        let numbers = wanted.iter().map(|lane| lanes.number(lane));
        numbers.collect::<Option<_>>().ok_or(Fault::Damaged("a lane is gone that was just made"))
    }

    fn missing(&self, wanted: &[Lane]) -> Vec<Lane> {
        let lanes = self.lanes();
        let mut missing: Vec<Lane> = Vec::new();
        for lane in wanted {
            if lanes.number(lane).is_none() && !missing.contains(lane) {
                missing.push(lane.clone());
            }
        }
        missing
    }

    /// Looks whether what is known of lanes is still so, before anything is written by it.
    async fn recall(&self, conn: &mut Connection) -> Result<(), Fault> {
        let last = self.lanes().last();
        if last > 0 {
            let mut script = self.script();
            let all = script.add(lane::NEW, &[&0_i64]);
            let answers = conn.run(script).await?;
            if !self.lanes().recall(answers.rows(all)?, last)? {
                tracing::warn!(
                    "{} has lost lanes that were made: it was restored, or took over too early",
                    self.settings.place
                );
            }
        }
        Ok(())
    }

    /// Learns of lanes that others have made.
    pub(super) async fn refresh(&self, conn: &mut Connection) -> Result<(), Fault> {
        let last = self.lanes().last();
        let mut script = self.script();
        let new = script.add(lane::NEW, &[&last]);
        let answers = conn.run(script).await?;
        self.lanes().learn(answers.rows(new)?)
    }

    /// Knows the lane of this number from now on.
    pub(super) async fn know(&self, conn: &mut Connection, id: LaneId) -> Result<(), Fault> {
        if self.lanes().get(id).is_some() {
            return Ok(());
        }
        self.refresh(conn).await
    }

    /// A lane in which a task is or was.
    pub(super) fn lane(&self, id: LaneId) -> Result<Arc<Lane>, Fault> {
        let lane = self.lanes().get(id).cloned();
        lane.ok_or(Fault::Damaged("a task is in a lane that does not exist"))
    }

    /// Tells this process what has been committed, and wakes others who may wait for it.
    pub(super) fn ring(&self, rings: Rings) {
        if rings.concern_others() {
            self.crier.tell();
        }
        rings.ring(&self.bell);
    }
}

/// What [`NOW`] answered.
pub(super) fn now(row: &Row) -> Result<i64, Fault> {
    number(row, 0)
}
