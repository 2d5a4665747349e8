//! Looks in place of hearing: the server wakes nobody, so about once a second one looks for what other processes did.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::{
    connection::{Connection, Purpose},
    error::Fault,
    heart::Heart,
    line::{Line, Transition, jittered},
    literal::List,
    site::Site,
};
use crate::storage::NodeId;

/// Whether a cancel was asked for of something that these nodes hold.
pub(super) const ORDERS: &str =
    "SELECT 1 FROM {tasks} FORCE INDEX (running) WHERE node IN ? AND cancel_asked LIMIT 1";

/// Looks until `open` is closed.
pub(super) async fn run(
    site: Arc<Site>,
    heart: Arc<Heart>,
    every: Duration,
    mut open: watch::Receiver<()>,
) {
    let mut line = Line::new(Arc::clone(&site), Purpose::Read);
    loop {
        // Somewhat more or less, so that processes do not look in step.
        tokio::select! {
            () = sleep(jittered(every.mul_f64(1.25))) => {}
            _closed = open.changed() => return,
        }
        // Who waits for the end of a task looks at that one; nobody waiting costs nothing.
        site.bell.ended_elsewhere();
        let nodes = heart.all();
        if nodes.is_empty() {
            continue;
        }
        // What is due is for the claimer to see, and for the keeper which schedule has come up: both by one look at an index.
        site.bell.work(Duration::ZERO);
        site.bell.schedules();
        match line.run(&Orders(nodes)).await {
            Ok(true) => site.bell.orders(),
            Ok(false) => {}
            Err(fault) => tracing::debug!(error = %fault, "no look at {}", site.settings.place),
        }
    }
}

struct Orders(Vec<NodeId>);

impl Transition for Orders {
    type Answer = bool;

    const DOING: &'static str = "cannot look for orders";

    async fn run(&self, site: &Site, conn: &mut Connection) -> Result<bool, Fault> {
        let mut script = site.script();
        let orders = script.add(ORDERS, &[&List(&self.0)]);
        Ok(!conn.run(script).await?.rows(orders)?.is_empty())
    }
}
