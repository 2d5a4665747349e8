//! How fast evertask is on this machine, each number beside what the same database does without it.
//!
//! `cargo bench -p evertask` runs all cases, `cargo bench -p evertask -- latency` those whose name contains the word, and `--test`
//! (or no `--bench`, as from `cargo test`) only shows that they run. It prints one Markdown table. The files lie below the build
//! directory, or in `EVERTASK_BENCH_DIR`: on the disk that is to be measured.
//!
//! A *floor* is what a careful programmer would write by hand for this one purpose: bare SQL on the same tables, the same durable
//! settings and the same kind of file, as many tasks to a transaction as evertask reached in the run before. Runs and floors
//! take turns, and the median of the repetitions counts. Beside each rate stands the processor time that one task took, which
//! depends less on what else the machine and its disk have to do.

mod floor;
mod latency;
mod load;
mod machine;
mod quiet;
mod rate;
mod reference;
mod table;

use std::{path::PathBuf, time::Duration};

use evertask::{Context, Failure, Handler, HandlerOptions, Location};

use self::table::Table;

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
    /// Dispatches whose latency is taken.
    samples: usize,
    /// How long idleness is watched.
    idle: Duration,
    /// Tasks in a large backlog.
    backlog: usize,
}

impl Scale {
    fn real(place: PathBuf) -> Self {
        let idle = Duration::from_secs(20);
        Self { place, tasks: 40_000, repetitions: 5, samples: 3_000, idle, backlog: 1_000_000 }
    }

    fn small(place: PathBuf) -> Self {
        let idle = Duration::from_millis(100);
        Self { place, tasks: 500, repetitions: 1, samples: 20, idle, backlog: 1_000 }
    }
}

/// What the tasks are: a small payload and nothing to do.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Welcome {
    user_id: u64,
    email: String,
}

impl Welcome {
    fn to(user_id: u64) -> Self {
        Self { user_id, email: format!("user{user_id}@example.com") }
    }
}

impl Handler for Welcome {
    type Output = ();
    const OPTIONS: HandlerOptions = HandlerOptions::new(
        "welcome",
        Location { module: module_path!(), file: file!(), line: line!(), column: column!() },
    );

    async fn call(self, _: Context) -> Result<(), Failure> {
        Ok(())
    }
}

fn main() -> Outcome {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [flag, path] = &arguments[..] {
        match &**flag {
            quiet::RESTART => return quiet::restarted(path),
            quiet::DRAIN => return quiet::drained(path),
            _ => {}
        }
    }
    let given = |flag| arguments.iter().any(|argument| argument == flag);
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted = |case: &str| filter.is_none_or(|filter| case.contains(filter.as_str()));
    // Below the build directory, since the system's directory for such files may be kept in memory.
    let disk = std::env::var_os("EVERTASK_BENCH_DIR").unwrap_or(env!("CARGO_TARGET_TMPDIR").into());
    let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(disk)?;
    let place = directory.path().to_owned();
    let small = given("--test") || !given("--bench");
    let scale = if small { Scale::small(place) } else { Scale::real(place) };

    let mut table = Table::new(!small);
    for (name, case) in CASES {
        if wanted(name) {
            eprintln!("{name} …");
            case(&scale, &mut table)?;
        }
    }
    println!("{}", machine::describe(&scale.place)?);
    println!("{table}");
    Ok(())
}

type Case = fn(&Scale, &mut Table) -> Outcome;

const CASES: &[(&str, Case)] = &[
    ("one", load::one),
    ("store64", load::store64),
    ("drain", load::drain),
    ("both", load::both),
    ("wide", load::wide),
    ("latency", latency::latency),
    ("idle", quiet::idle),
    ("memory", quiet::backlog),
    ("reference", reference::reference),
];

/// A tokio runtime as a program gets it from `#[tokio::main]`.
fn executor() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
