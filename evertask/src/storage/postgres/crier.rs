//! Tells other processes what was committed here, and hears what they tell: LISTEN and NOTIFY on a connection of their own.
//!
//! A NOTIFY waits at its commit for every other one in the whole server, so none is ever part of a transition. What happens
//! within a few milliseconds is told together. All of it is a hint: who hears nothing looks now and then.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_postgres::{AsyncMessage, types::Type};

use super::{
    connection::{Connection, Sql, quoted},
    error::Fault,
    rings::Rings,
    row::get,
    site::Site,
};
use crate::{chance::jittered, storage::server::Purpose};

/// So long after something was told, what happens meanwhile is gathered.
const GATHER: Duration = Duration::from_millis(3);
/// How often to look where there are no notifications.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The waits between two tries to connect, doubling.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(2);
/// How long an answer may take: nothing that is asked here takes any time.
const LIMIT: Duration = Duration::from_secs(5);
/// Most ends of tasks that are kept to be told.
const ENDED_MAX: usize = 10_000;
/// How often to ask a server from which nothing is heard whether it is still there.
const ASK_EVERY: Duration = Duration::from_secs(60);

const WHO: Sql = Sql { text: "SELECT pg_backend_pid()", types: &[] };

// What the server keeps for those who listen and do not read must not become full: nobody's transaction could tell anything then.
const TELL: Sql = Sql {
    text: "SELECT pg_notify($1, said) FROM unnest($2) AS said WHERE (SELECT pg_notification_queue_usage()) < 0.5",
    types: &[Type::TEXT, Type::TEXT_ARRAY],
};

/// What is still to be told to others.
#[derive(Debug, Default)]
pub(super) struct Crier {
    untold: Mutex<Rings>,
    wake: Notify,
}

impl Crier {
    pub(super) fn tell(&self, rings: &Rings) {
        if !rings.is_empty() {
            let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
            untold.add(rings);
            if untold.ended.len() > ENDED_MAX {
                // Nobody has been listening for long. Who waits for one of them looks for himself now and then.
                untold.ended.clear();
            }
            drop(untold);
            self.wake.notify_one();
        }
    }

    /// Waits for something to tell; if it is to be `due`, for a task that is due now.
    async fn untold(&self, due: bool) {
        loop {
            {
                let untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
                if untold.due || !due && !untold.is_empty() {
                    return;
                }
            }
            self.wake.notified().await;
        }
    }

    fn take(&self) -> Rings {
        std::mem::take(&mut self.untold.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Goes on until `open` is closed, and tells what is left then.
pub(super) async fn run(site: Arc<Site>, mut open: watch::Receiver<()>) {
    let (mut wait, mut heard_before) = (FIRST, false);
    while open.has_changed().is_ok() {
        let spoke = if site.settings.pooled_proxy {
            look(&site, &mut open).await;
            Ok(())
        } else {
            match within_limit(Ear::open(&site)).await {
                Ok(ear) => {
                    wait = FIRST;
                    if std::mem::replace(&mut heard_before, true) {
                        // It may have been told meanwhile that something has come back to its place, or somebody has left.
                        site.forget_places();
                    }
                    ear.speak(&site, &mut open).await
                }
                Err(fault) => Err(fault),
            }
        };
        if let Err(fault) = spoke {
            tracing::debug!(error = %fault, "no notifications from {} for now", site.settings.place);
            tokio::select! {
                () = sleep(jittered(wait)) => wait = (wait * 2).min(LONGEST),
                _closed = open.changed() => {}
            }
        }
    }
}

/// Looks in place of hearing.
///
/// That something came back to its place elsewhere is not heard either. It is not looked for each time, since where looks take long
/// that would be all that is done; it is found by the next whole look, which comes after twenty times as long as the last one took.
async fn look(site: &Site, open: &mut watch::Receiver<()>) {
    loop {
        tokio::select! {
            () = sleep(jittered(LOOK_EVERY)) => site.bell.all(),
            _closed = open.changed() => return,
        }
    }
}

async fn within_limit<T>(asked: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(LIMIT, asked).await.unwrap_or(Err(Fault::Silence(LIMIT)))
}

/// A connection that hears what others tell.
struct Ear {
    conn: Connection,
    channel: String,
    broken: watch::Receiver<()>,
    /// What was told last was taken.
    heard: bool,
}

impl Ear {
    async fn open(site: &Arc<Site>) -> Result<Self, Fault> {
        let (alive, broken) = watch::channel(());
        let us = Arc::new(AtomicI32::new(0));
        let (hearer, own) = (Arc::clone(site), Arc::clone(&us));
        let hear = move |message| {
            let _alive = &alive;
            // What this process has told itself it has heard before.
            if let AsyncMessage::Notification(told) = message
                && told.process_id() != own.load(Ordering::Relaxed)
            {
                hearer.hear(Rings::read(told.payload()));
            }
        };
        let conn = Connection::open_and_hear(&site.settings, Purpose::Write, hear).await?;
        if let Some(row) = conn.one((&WHO, &[])).await?.first() {
            us.store(get(row, 0)?, Ordering::Relaxed);
        }
        let channel = format!("evertask.{}", site.settings.schema);
        // A hint need not survive a crash of the server, which it would wake nobody from.
        let listen = format!("SET synchronous_commit = off; LISTEN {}", quoted(&channel));
        conn.script(&listen).await?;
        Ok(Self { conn, channel, broken, heard: true })
    }

    /// Hears and tells until the connection breaks, or has become deaf.
    async fn speak(mut self, site: &Site, open: &mut watch::Receiver<()>) -> Result<(), Fault> {
        // Nobody knows what was told before.
        site.bell.all();
        let mut ask_at = Instant::now() + jittered(ASK_EVERY);
        loop {
            let mut closed = false;
            tokio::select! {
                () = site.crier.untold(false) => {}
                () = sleep_until(ask_at) => {}
                () = site.doubt.raised() => return Err(Fault::Silence(Duration::ZERO)),
                _closed = open.changed() => closed = true,
                _broken = self.broken.changed() => return Err(Fault::Silence(Duration::ZERO)),
            }
            if Instant::now() >= ask_at {
                within_limit(self.conn.one((&WHO, &[]))).await?;
                ask_at = Instant::now() + jittered(ASK_EVERY);
            }
            let rings = site.crier.take();
            if !rings.is_empty() {
                let told = async { self.conn.one((&TELL, &[&self.channel, &rings.write()])).await };
                let told = match within_limit(told).await {
                    Ok(told) => !told.is_empty(),
                    Err(fault) => {
                        site.crier.tell(&rings);
                        return Err(fault);
                    }
                };
                if !told && self.heard {
                    tracing::warn!(
                        "{} keeps so many notifications that nothing more is told: a session listens and stands still in a \
                         transaction; other nodes find tasks only by looking now and then",
                        site.settings.place
                    );
                }
                self.heard = told;
            }
            if closed {
                return Ok(());
            }
            // A task that is due does not wait for what else happens, unless one has just been told of.
            tokio::select! {
                () = sleep(GATHER) => {}
                () = site.crier.untold(true), if !rings.due => {}
            }
        }
    }
}
