//! What all transitions on one schema share: how it is reached, its clock, its lanes, and who is told after a commit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_postgres::{Row, types::Type};

use super::{
    bookmark::Bookmarks,
    columns::only,
    connection::{Connection, Settings, Sql, Step},
    crier::Crier,
    error::Fault,
    holders::Holders,
    lane::{self, Lane, LaneId, Lanes},
    rings::Rings,
    row::get,
};
use crate::storage::{
    Bell, Clock,
    server::{Doubt, Purpose, Server},
};

/// The server's clock in microseconds, or the one that was injected.
pub(super) const NOW: Sql = Sql {
    text: "SELECT coalesce($1, (extract(epoch FROM clock_timestamp()) * 1000000)::int8)",
    types: &[Type::INT8],
};

#[derive(Debug)]
pub(super) struct Site {
    pub(super) settings: Arc<Settings>,
    /// For laws and tests: a clock in place of the server's.
    pub(super) clock: Option<Clock>,
    pub(super) bell: Arc<Bell>,
    pub(super) crier: Crier,
    pub(super) doubt: Doubt,
    lanes: Mutex<Lanes>,
    bookmarks: Mutex<Bookmarks>,
    holders: Mutex<Holders>,
    /// What tells this database from others, once it has been asked.
    identity: Mutex<Option<String>>,
}

impl Server for Site {
    type Connection = Connection;
    type Driver = tokio_postgres::Error;

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
        let last = self.lanes().last();
        if purpose == Purpose::Read || last == 0 {
            return Connection::open(&self.settings, purpose).await;
        }
        // What is known of lanes is looked at again before anything is written by it.
        let all: Step<'_> = (&lane::NEW, &[&0_i64]);
        let (conn, all) = Connection::open_and_ask(&self.settings, purpose, all).await?;
        self.recall(&all, last)?;
        Ok(conn)
    }
}

impl Site {
    pub(super) fn new(settings: Arc<Settings>, clock: Option<Clock>) -> Self {
        let (bell, lanes) = (Arc::new(Bell::new()), Mutex::default());
        let (bookmarks, holders) = (Mutex::default(), Mutex::default());
        let (crier, doubt, identity) = (Crier::default(), Doubt::default(), Mutex::default());
        Self { settings, clock, bell, crier, doubt, lanes, bookmarks, holders, identity }
    }

    pub(super) fn identity(&self) -> Option<String> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn identify(&self, identity: String) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = Some(identity);
    }

    /// What the injected clock says, in microseconds; `None` where it is the server's that counts.
    pub(super) fn injected(&self) -> Option<i64> {
        self.clock.as_ref().map(Clock::micros)
    }

    /// Not to be held across an await.
    pub(super) fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not to be held across an await.
    pub(super) fn bookmarks(&self) -> MutexGuard<'_, Bookmarks> {
        self.bookmarks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Not to be held across an await.
    pub(super) fn holders(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What may have been told was not heard: whatever is remembered of places counts for nothing.
    pub(super) fn forget_places(&self) {
        self.bookmarks().forget();
        self.holders().forget();
    }

    /// The numbers of these lanes; those there are not yet are made. Not to be called inside a transaction.
    pub(super) async fn numbers(
        &self,
        conn: &Connection,
        wanted: Vec<Lane>,
    ) -> Result<Vec<LaneId>, Fault> {
        let mut missing = self.missing(&wanted);
        if !missing.is_empty() {
            self.refresh(conn).await?;
            missing = self.missing(&wanted);
        }
        if !missing.is_empty() {
            lane::make(conn, &missing).await?;
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

    /// Knows that these are all lanes there are, when those up to `last` were known before.
    fn recall(&self, all: &[Row], last: LaneId) -> Result<(), Fault> {
        if !self.lanes().recall(all, last)? {
            tracing::warn!(
                "{} has lost lanes that were made: it was restored, or took over too early",
                self.settings.place
            );
            self.forget_places();
        }
        Ok(())
    }

    /// Learns of lanes that others have made. Not to be called inside a transaction.
    pub(super) async fn refresh(&self, conn: &Connection) -> Result<(), Fault> {
        let last = self.lanes().last();
        let new = conn.one((&lane::NEW, &[&last])).await?;
        self.lanes().learn(&new)
    }

    /// Knows the lane of this number from now on. To be called inside a transaction.
    pub(super) async fn know(&self, conn: &Connection, id: LaneId) -> Result<(), Fault> {
        let last = self.lanes().last();
        if self.lanes().get(id).is_some() {
            return Ok(());
        }
        let new = only(conn.go_on(&[(&lane::NEW, &[&last])]).await?);
        self.lanes().learn(&new)
    }

    /// A lane in which a task is or was.
    pub(super) fn lane(&self, id: LaneId) -> Result<Arc<Lane>, Fault> {
        let lane = self.lanes().get(id).cloned();
        lane.ok_or(Fault::Damaged("a task is in a lane that does not exist"))
    }

    /// Tells this process, and soon the others, what has been committed.
    pub(super) fn ring(&self, rings: Rings) {
        self.crier.tell(&rings);
        self.hear(rings);
    }

    /// Acts on what was committed here or by another process.
    pub(super) fn hear(&self, rings: Rings) {
        if rings.back {
            self.bookmarks().forget();
        }
        if rings.peers {
            self.holders().forget();
        }
        rings.ring(&self.bell);
    }
}

/// What [`NOW`] answered.
pub(super) fn now(rows: &[tokio_postgres::Row]) -> Result<i64, Fault> {
    let row = rows.first().ok_or(Fault::Damaged("the server does not say what time it is"))?;
    get(row, 0)
}
