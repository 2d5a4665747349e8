//! Several real processes on one database, in weather: killed, stopped, with clocks an hour off, on a database that crashes, is
//! cut off, keeps silent or has no room left. Nothing stored is lost, nothing stale is accepted, nobody alive is robbed.
//!
//! Whatever is random comes from a seed: what goes on for long is done twice, with a seed that is always the same and with one of
//! the day. `EVERTASK_CHAOS_SECONDS=3600` makes of the seconds of a test an hour, with another seed each time unless
//! `EVERTASK_SEED` says which; that is for nights.

mod alone;
mod blocked;
mod database;
mod disk;
mod effects;
mod inquest;
mod journal;
mod load;
mod node;
mod poison;
mod pressure;
mod process;
mod processes;
mod server;
mod stopped;
mod ticks;
mod time;
mod toll;
mod wire;

use std::time::SystemTime;

pub(crate) use time::{LEASE, length, until};

/// The storages on trial. A new one is a line here, and what a test needs of its server in `server.rs`.
macro_rules! on_every_server {
    (each seed: $($test:ident),+ $(,)?) => {
        $crate::on_server!(postgres, evertask_servers::own_postgres(), each seed: $($test),+);
        $crate::on_server!(mariadb, evertask_servers::own_mariadb(), each seed: $($test),+);
    };
    ($($test:ident),+ $(,)?) => {
        $crate::on_server!(postgres, evertask_servers::own_postgres(), $($test),+);
        $crate::on_server!(mariadb, evertask_servers::own_mariadb(), $($test),+);
    };
}

macro_rules! on_server {
    ($module:ident, $server:expr, each seed: $($test:ident),+) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    for seed in crate::seeds() {
                        let Some(server) = $server else { return };
                        super::$test(std::sync::Arc::new(server), seed).await;
                    }
                }
            )+
        }
    };
    ($module:ident, $server:expr, $($test:ident),+) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    let Some(server) = $server else { return };
                    super::$test(std::sync::Arc::new(server)).await;
                }
            )+
        }
    };
}

pub(crate) use {on_every_server, on_server};

/// The seed of everything random in a test that is done once, printed so that a failure can be repeated.
fn seed() -> u64 {
    let seed = choose_seeds()[0];
    println!("EVERTASK_SEED={seed}");
    seed
}

/// The seeds of everything random in a test that is done for each of them.
fn seeds() -> impl Iterator<Item = u64> {
    choose_seeds().into_iter().inspect(|seed| println!("EVERTASK_SEED={seed}"))
}

/// One that is always the same, so that a change that breaks something is seen to, and in CI the one of the day as well, so that in
/// time much is tried. If one is asked for, that one alone.
fn choose_seeds() -> Vec<u64> {
    let asked = std::env::var("EVERTASK_SEED").ok().and_then(|seed| seed.parse().ok());
    let long = std::env::var_os("EVERTASK_CHAOS_SECONDS").is_some();
    match asked {
        Some(seed) => vec![seed],
        None if long => vec![fastrand::u64(..)],
        None if std::env::var_os("CI").is_some() => vec![20_260_901, of_the_day()],
        None => vec![20_260_901],
    }
}

fn of_the_day() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_secs() / (24 * 60 * 60)
}
