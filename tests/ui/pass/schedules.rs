use std::time::Duration;

use evertask::{Handler as _, Missed, Overlap};

const HOUR: Duration = Duration::from_secs(3600);

/// Makes room.
#[evertask::handler(cron = "0 3 * * *", tz = "Europe/Rome")]
async fn tidy() {}

#[evertask::handler(every = "1h 30m", queue = "slow")]
async fn look(depth: Option<u32>, #[arg(default)] names: Vec<String>) {
    drop((depth, names));
}

#[evertask::handler(cron = "@hourly")]
async fn hourly() {}

#[evertask::handler(every = "1m", missed = "all(3h)", overlap = "queue_one", spread = "10m")]
async fn each() {}

#[evertask::handler]
async fn never() {}

fn main() {
    assert_eq!(tidy::OPTIONS.schedule, Some("v1 cron 0 3 * * * tz Europe/Rome"));
    assert_eq!(look::OPTIONS.schedule, Some("v1 every 5400s"));
    assert_eq!(hourly::OPTIONS.schedule, Some("v1 cron 0 * * * * tz UTC"));
    assert_eq!(never::OPTIONS.schedule, None);
    assert_eq!((each::OPTIONS.missed, each::OPTIONS.overlap), (Missed::All(3 * HOUR), Overlap::QueueOne));
    assert_eq!(each::OPTIONS.spread, HOUR / 6);
    assert_eq!((never::OPTIONS.missed, never::OPTIONS.overlap), (Missed::Skip, Overlap::Skip));
    // What a tick brings.
    let payload: look = serde_json::from_str("{}").unwrap();
    assert_eq!((payload.depth, payload.names.len()), (None, 0));
    // And it can still be dispatched by hand.
    drop(look::dispatch(Some(3), Vec::new()));
}
