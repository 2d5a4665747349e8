//! How tasks might lie in tables, and what each way costs: bare SQL, 100 tasks to a transaction, every commit synced.
//!
//! `cargo bench -p evertask-tests --bench layouts`. Where evertask's own tables lie in the way they do, is for this reason; what the
//! other ways came to stands in `DESIGN.md`.
//!
//! - *in place*: one row for a task from its start to its end, with an index over each part of the table that is looked for;
//! - *apart*: a table of what lives and one of what has ended, and at its end a task is moved;
//! - *claims apart*: what a task is never changes; that it waits, runs or has ended is a row in one of three other tables.

#[path = "../../../evertask/benches/throughput/machine.rs"]
#[allow(dead_code, reason = "other benchmarks ask for more")]
mod machine;
mod postgres;
mod sqlite;

use std::{
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

mod table {
    /// The smallest number that so many in a hundred do not exceed.
    pub(crate) fn percentile(numbers: &mut [f64], percent: usize) -> f64 {
        numbers.sort_by(f64::total_cmp);
        numbers[(numbers.len() * percent / 100).min(numbers.len() - 1)]
    }
}

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Tasks in a transaction.
const BATCH: usize = 100;
const PAYLOAD: &[u8] =
    br#"{"user_id":12345,"email":"user12345@example.com","name":"a name","lines":[1,2,3]}"#;

/// A way to lay tasks out.
trait Layout {
    fn name(&self) -> &'static str;
    /// Stores a batch.
    fn store(&mut self) -> Outcome;
    /// Finishes what it holds and claims a batch, in one transaction; how many it holds now.
    fn turn(&mut self) -> Outcome<usize>;
    /// Puts so many ended tasks in.
    fn fill(&mut self, many: usize) -> Outcome;
}

fn main() -> Outcome {
    let real = std::env::args().any(|argument| argument == "--bench");
    let (tasks, crowd, rounds) = if real { (40_000, 1_000_000, 5) } else { (200, 100, 1) };
    let disk = std::env::var_os("EVERTASK_BENCH_DIR").unwrap_or(env!("CARGO_TARGET_TMPDIR").into());
    let directory = tempfile::Builder::new().prefix("layouts-").tempdir_in(PathBuf::from(disk))?;
    let server = if real { evertask_servers::own_postgres_on(directory.path()) } else { None };
    let mut layouts = sqlite::layouts(directory.path())?;
    if let Some(server) = &server {
        layouts.extend(postgres::layouts(server)?);
    }
    let mut lines = String::new();
    let header = "| tables | stored | run | stored beside a million ended | run beside them |";
    writeln!(lines, "{header}\n|---|---|---|---|---|")?;
    let mut rates = vec![[const { Vec::new() }; 4]; layouts.len()];
    for crowded in [0, 2] {
        if crowded > 0 {
            for layout in &mut layouts {
                layout.fill(crowd)?;
            }
        }
        // In turns, so that each meets the same disturbances.
        for _ in 0..rounds {
            for (layout, rates) in layouts.iter_mut().zip(&mut rates) {
                let (stored, run) = round(layout.as_mut(), tasks)?;
                rates[crowded].push(tasks as f64 / stored.as_secs_f64());
                rates[crowded + 1].push(tasks as f64 / run.as_secs_f64());
            }
        }
    }
    for (layout, mut rates) in layouts.iter().zip(rates) {
        let [a, b, c, d] = rates.each_mut().map(|of| format!("{:.0}/s", table::percentile(of, 50)));
        writeln!(lines, "| {} | {a} | {b} | {c} | {d} |", layout.name())?;
    }
    println!("{}\n{lines}", machine::describe(directory.path())?);
    Ok(())
}

/// Stores and runs so many; how long each took.
fn round(layout: &mut dyn Layout, tasks: usize) -> Outcome<(Duration, Duration)> {
    let start = Instant::now();
    for _ in 0..tasks / BATCH {
        layout.store()?;
    }
    let (stored, start) = (start.elapsed(), Instant::now());
    let mut ran = 0;
    loop {
        match layout.turn()? {
            0 => break,
            held => ran += held,
        }
    }
    assert_eq!(ran, tasks, "{}", layout.name());
    Ok((stored, start.elapsed()))
}
