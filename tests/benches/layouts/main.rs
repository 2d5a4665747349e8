//! How tasks might lie in tables, and what each way costs: bare SQL, 100 tasks to a transaction, every commit synced.
//!
//! `cargo bench -p evertask-tests --bench layouts [-- NAME …]`. Where evertask's own tables lie in the way they do, is for this
//! reason; what the other ways came to stands in `DESIGN.md`. It takes some minutes.
//!
//! - *in place*: one row for a task from its start to its end, with an index over each part of the table that is looked for;
//! - *apart*: a table of what lives and one of what has ended, and at its end a task is moved;
//! - *claims apart*: what a task is never changes; that it waits, runs or has ended is a row in one of three other tables.
//!
//! On MariaDB, where indexes over a part of a table do not exist, there are two more (`mariadb.rs`).
//!
//! All but the floor keep what evertask promises: a task is found by its id in whatever state, pending ones in the order of their due times and
//! ids, running ones by node and claim, ended ones by when they are to be deleted. Of a round nothing is left at its end, so each
//! meets what the one before has met.

#[path = "../../../evertask/benches/throughput/machine.rs"]
#[allow(dead_code, reason = "other benchmarks ask for more")]
mod machine;
mod mariadb;
mod postgres;
mod sqlite;

use std::{
    fmt::Write as _,
    fs::Permissions,
    os::unix::fs::PermissionsExt,
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
    /// Deletes a batch of what has ended and is out of its time; how many.
    fn prune(&mut self) -> Outcome<usize>;
    /// Puts so many ended tasks in that are kept.
    fn fill(&mut self, many: usize) -> Outcome;
    /// What has to be done now and then, and is not for one task: counts as part of pruning.
    fn tidy(&mut self) -> Outcome {
        Ok(())
    }
}

/// What is measured of a layout, empty and beside others.
const COLUMNS: [&str; 3] = ["stored", "run", "pruned"];

fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let real = arguments.iter().any(|argument| argument == "--bench");
    let names: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted =
        |name: &str| names.is_empty() || names.iter().any(|wanted| name.contains(&**wanted));
    let (tasks, crowd, rounds) = if real { (30_000, 1_000_000, 5) } else { (200, 100, 1) };
    let disk = std::env::var_os("EVERTASK_BENCH_DIR").unwrap_or(env!("CARGO_TARGET_TMPDIR").into());
    let directory = tempfile::Builder::new()
        .prefix("layouts-")
        // A server may have to run as somebody else.
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(PathBuf::from(disk))?;
    let mut layouts = sqlite::layouts(directory.path())?;
    // A server that syncs to the disk is only started to be measured.
    let server = real.then(|| evertask_servers::own_postgres_on(directory.path())).flatten();
    if let Some(server) = &server {
        layouts.extend(postgres::layouts(server)?);
    }
    let server = real.then(|| evertask_servers::roomy_mariadb_on(directory.path())).flatten();
    if let Some(server) = &server {
        layouts.extend(mariadb::layouts(server)?);
    }
    layouts.retain(|layout| wanted(layout.name()));
    let mut rates = vec![[const { [const { Vec::new() }; 3] }; 2]; layouts.len()];
    for crowded in [0, 1] {
        if crowded > 0 {
            for layout in &mut layouts {
                let start = Instant::now();
                layout.fill(crowd)?;
                eprintln!("{}: {crowd} ended in {:.1?}", layout.name(), start.elapsed());
            }
        }
        // In turns, and each as often after the disk was written to by another. The first turns do not count: what was written
        // before still keeps the disk busy.
        rustix::fs::sync();
        for turn in 0..=rounds {
            for at in 0..layouts.len() {
                let at = (at + turn) % layouts.len();
                let (layout, rates) = (layouts[at].as_mut(), &mut rates[at]);
                let took = round(layout, tasks)?;
                eprintln!("{}: {took:.2?}", layout.name());
                rustix::fs::sync();
                for (rates, took) in rates[crowded].iter_mut().zip(took) {
                    if turn > 0 {
                        rates.push(tasks as f64 / took.as_secs_f64());
                    }
                }
            }
        }
    }
    let mut table = String::new();
    let [stored, run, pruned] = COLUMNS;
    writeln!(table, "| tables | {stored} | {run} | {pruned} | … beside {crowd} ended | | |")?;
    writeln!(table, "|---|---|---|---|---|---|---|")?;
    for (layout, mut rates) in layouts.iter().zip(rates) {
        write!(table, "| {} |", layout.name())?;
        for rates in rates.iter_mut().flatten() {
            write!(table, " {:.0}/s |", table::percentile(rates, 50))?;
        }
        writeln!(table)?;
    }
    println!("{}\n{table}", machine::describe(directory.path())?);
    Ok(())
}

/// Stores, runs and prunes so many; how long each took.
fn round(layout: &mut dyn Layout, tasks: usize) -> Outcome<[Duration; 3]> {
    let start = Instant::now();
    for _ in 0..tasks / BATCH {
        layout.store()?;
    }
    let (stored, start) = (start.elapsed(), Instant::now());
    let ran = until_none(|| layout.turn())?;
    let (run, start) = (start.elapsed(), Instant::now());
    let pruned = until_none(|| layout.prune())?;
    layout.tidy()?;
    assert_eq!((ran, pruned), (tasks, tasks), "{}", layout.name());
    Ok([stored, run, start.elapsed()])
}

/// How many that comes to, until it comes to nothing.
fn until_none(mut some: impl FnMut() -> Outcome<usize>) -> Outcome<usize> {
    let mut all = 0;
    loop {
        match some()? {
            0 => return Ok(all),
            more => all += more,
        }
    }
}
