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
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib / 1024.0)
}

/// How long the threads of this process that live now have been on a processor, in milliseconds.
pub(crate) fn processor_time() -> f64 {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return f64::NAN };
    let nanos = threads.flatten().filter_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e6
}
