//! Tells other processes what was committed here, and hears what they tell: LISTEN and NOTIFY on a connection of their own.
//!
//! A NOTIFY waits at its commit for every other one in the whole server, so none is ever part of a transition. What happens
//! within a few milliseconds is told together. All of it is a hint: who hears nothing looks now and then.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_postgres::{AsyncMessage, types::Type};

use super::{
    connection::{Connection, Purpose, Sql, quoted},
    error::Fault,
    line::jittered,
    rings::Rings,
    row::get,
    site::Site,
};

/// So long after something was told, what happens meanwhile is gathered.
const GATHER: Duration = Duration::from_millis(3);
/// How often to look where there are no notifications.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest wait between two tries to connect.
const LONGEST: Duration = Duration::from_secs(2);

const WHO: Sql = Sql { text: "SELECT pg_backend_pid()", types: &[] };

const TELL: Sql = Sql {
    text: "SELECT pg_notify($1, said) FROM unnest($2) AS said",
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
            self.untold.lock().unwrap_or_else(PoisonError::into_inner).add(rings);
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
    let mut wait = Duration::from_millis(20);
    while open.has_changed().is_ok() {
        let spoke = if site.settings.pooled_proxy {
            look(&site, &mut open).await;
            Ok(())
        } else {
            speak(&site, &mut open).await
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
async fn look(site: &Site, open: &mut watch::Receiver<()>) {
    loop {
        tokio::select! {
            () = sleep(jittered(LOOK_EVERY)) => site.bell.all(),
            _closed = open.changed() => return,
        }
    }
}

/// Hears and tells until the connection breaks.
async fn speak(site: &Arc<Site>, open: &mut watch::Receiver<()>) -> Result<(), Fault> {
    let (alive, mut broken) = watch::channel(());
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
    // Nobody knows what was told before.
    site.bell.all();
    loop {
        let closed = tokio::select! {
            () = site.crier.untold(false) => false,
            _closed = open.changed() => true,
            _broken = broken.changed() => return Err(Fault::Silence(Duration::ZERO)),
        };
        let rings = site.crier.take();
        if !rings.is_empty() {
            let told = conn.one((&TELL, &[&channel, &rings.write()])).await;
            if let Err(fault) = told {
                site.crier.tell(&rings);
                return Err(fault);
            }
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
