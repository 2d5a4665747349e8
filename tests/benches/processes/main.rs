//! From one process to another: how long a task waits for its start where another process dispatches it, and what a second process
//! adds to the first, beside what two processes do with bare SQL.
//!
//! `cargo bench -p evertask-tests --bench processes [-- postgres|mariadb]`. The server runs on the same machine, with every commit
//! synced, and this process starts the others. Tasks come at instants that were planned before, whether or not those before have
//! begun, and a task's time runs from the planned instant. All is measured in turns of half a second, so that each meets the same
//! disturbances from outside.

mod bare;
mod drain;
mod latency;
mod node;
mod other;
mod place;

use std::time::{SystemTime, UNIX_EPOCH};

use self::place::{Kind, Place};

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let Some(role) = other::role() {
        return runtime.block_on(other::play(role));
    }
    let case = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| case.as_ref().is_none_or(|case| name.contains(case.as_str()));
    if wanted("postgres")
        && let Some(server) = evertask_servers::own_postgres()
    {
        println!("PostgreSQL {}", server.major());
        let place = || Place::new(Kind::Postgres, server.url());
        runtime.block_on(latency::latency(&place(), "told at once"));
        runtime.block_on(drain::drain(place));
    }
    if wanted("mariadb")
        && let Some(server) = evertask_servers::own_mariadb()
    {
        println!("MariaDB");
        let place = |every| Place { look_every: every, ..Place::new(Kind::Mariadb, server.url()) };
        runtime.block_on(latency::latency(&place(1_000), "a look each second, as by default"));
        runtime.block_on(latency::latency(&place(10), "a look each 10 ms"));
        runtime.block_on(drain::drain(|| place(1_000)));
    }
}

/// Microseconds since 1970; all that happens here happens on one machine.
fn now() -> u64 {
    micros(SystemTime::now())
}

fn micros(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros().try_into().unwrap_or(0))
}
