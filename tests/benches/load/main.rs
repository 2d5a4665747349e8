//! What evertask does under load on every storage, beside what the same machine does without it: how many tasks a second, and how
//! long a task waits for its start while so many more arrive.
//!
//! `cargo bench -p evertask-tests --bench load [-- STORAGE …]` prints a Markdown table and draws a plot, `load.svg` below the build
//! directory. The files lie there, too, or in `EVERTASK_BENCH_DIR`: on the disk that is to be measured. Without `--bench` it only
//! shows that it runs.
//!
//! A *floor* is what a careful programmer would write by hand for these tasks and nothing else (`floor.rs`). Runs and floors take
//! turns, and the median counts. Arrivals are planned: a task's latency runs from the instant at which it was to be
//! dispatched, not from when the benchmark came round to it, so a system that stalls cannot hide it by not being asked
//! ("coordinated omission").

mod arrivals;
mod bare;
mod crowd;
mod floor;
#[path = "../../../evertask/benches/throughput/machine.rs"]
mod machine;
mod plot;
mod rate;
mod size;
mod sql;
#[path = "../../../evertask/benches/throughput/floor.rs"]
mod sqlite;
mod subject;
mod table;
mod work;

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use self::{subject::Subject, table::Table, work::Welcome};

/// What every case can fail with.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How much of everything.
#[derive(Debug, Clone)]
struct Scale {
    /// Where the files are: on a real disk.
    place: PathBuf,
    /// Tasks in one run.
    tasks: usize,
    /// Repetitions, of which the median counts.
    repetitions: usize,
    /// How long tasks arrive.
    time: Duration,
    /// Rows that are in the way.
    crowd: usize,
    /// Whether this is to be believed.
    real: bool,
}

impl Scale {
    /// In memory a run of as many as on a disk would be over before all is warm.
    fn tasks_of(&self, subject: &Subject) -> usize {
        let many = if matches!(subject, Subject::Memory) { 10 } else { 1 };
        self.tasks * many
    }
}

fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let real = arguments.iter().any(|argument| argument == "--bench");
    if let [first, rest @ ..] = &arguments[..]
        && first == size::NODE
    {
        let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return executor.block_on(size::live(rest));
    }
    let names: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted =
        |name: &str| names.is_empty() || names.iter().any(|wanted| name.contains(&**wanted));
    // Below the build directory, since the system's directory for such files may be kept in memory.
    let built = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let disk = std::env::var_os("EVERTASK_BENCH_DIR").map_or(built.clone(), PathBuf::from);
    let directory = tempfile::Builder::new()
        .prefix("load-")
        // A server may have to run as somebody else.
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(disk)?;
    let place = directory.path().to_owned();
    let scale = if real {
        let time = Duration::from_secs(5);
        Scale { place, tasks: 40_000, repetitions: 3, time, crowd: 1_000_000, real }
    } else {
        let time = Duration::from_millis(200);
        Scale { place, tasks: 300, repetitions: 1, time, crowd: 100, real }
    };

    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (mut table, mut curves) = (Table::default(), Vec::new());
    for subject in Subject::all(&scale.place, real, wanted) {
        eprintln!("{} …", subject.name());
        if let Subject::Postgres(server) = &subject {
            executor.block_on(sql::count_on(server))?;
        }
        let both = executor.block_on(rate::rates(&scale, &subject, &mut table))?;
        curves.extend(executor.block_on(arrivals::curves(&scale, &subject, both, &mut table))?);
        executor.block_on(rate::idle(&scale, &subject, (&subject.fresh()?, ""), &mut table))?;
        executor.block_on(size::measure(&scale, &subject, (&subject.fresh()?, ""), &mut table))?;
        executor.block_on(crowd::beside(&scale, &subject, both.run, &mut table))?;
    }
    println!("{}", machine::describe(&scale.place)?);
    println!("{table}");
    if real {
        let path = built.with_file_name("load.svg");
        plot::draw(&path, &curves)?;
        println!("plot: {}", path.display());
    }
    Ok(())
}
