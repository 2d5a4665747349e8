//! What is known of the machine and of this process. Where the system does not tell, the answer is not a number.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    time::Instant,
};

use crate::{Outcome, table::percentile};

/// The line above the table.
pub(crate) fn describe(place: &Path) -> Outcome<String> {
    let cores = std::thread::available_parallelism()?;
    let sqlite = rusqlite::version();
    let sync = sync_time(place)?;
    Ok(format!("{cores} cores, SQLite {sqlite}, fdatasync of 4 KiB takes {sync:.0} µs (p50)\n"))
}

/// How long the disk takes to make a page durable, in microseconds.
fn sync_time(place: &Path) -> Outcome<f64> {
    let mut file = File::create(place.join("sync"))?;
    let mut times = Vec::new();
    for _ in 0..200 {
        file.write_all(&[1; 4096])?;
        let start = Instant::now();
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(percentile(&mut times, 50))
}

/// The memory this process has in use, in MiB.
pub(crate) fn resident() -> f64 {
    memory("VmRSS:")
}

/// What the system says of this process under such a name, in MiB: `VmHWM:` is the most memory that it ever had in use.
pub(crate) fn memory(name: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}

/// How long this process has been on a processor, in milliseconds; also in threads that have ended. The system counts in steps
/// of ten.
pub(crate) fn processor_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything, come the state and so on; the twelfth and thirteenth are what we look for.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = rest.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap_or(f64::NAN) * 10.0).sum()
}
