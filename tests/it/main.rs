//! Tests of evertask as its users see it, in one binary.

mod attempt;
mod change;
mod claims;
mod conformance;
mod cut_off;
mod declared;
mod dispatch;
mod explained;
mod faults;
mod faulty;
mod function;
mod health;
mod hooks;
mod idle;
mod lessons;
mod lifecycle;
mod log;
mod memory;
mod model;
mod mysql;
mod mysql_within;
mod postgres;
mod refused;
mod schedules;
mod series;
mod spoiled;
mod sqlite;
mod stopped;
mod stored;
mod survive;
mod suspects;
mod ticks;
mod ticks_everywhere;
mod tx;
mod unheard;
mod waking;
mod within;

/// Waits until something is so. On paused time this costs nothing; elsewhere it looks every few milliseconds.
pub(crate) async fn until(mut so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !so().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    // Far longer than anything takes, on paused time as well.
    tokio::time::timeout(std::time::Duration::from_secs(3600), wait)
        .await
        .expect("it never became so");
}
