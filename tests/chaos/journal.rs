//! What processes say in a way that outlives them: lines in a file of each one's own, stamped by the one clock that all share
//! and that nobody fakes.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Time since the machine started. Asked of the system itself, past any library that fakes clocks.
pub(crate) fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap())
}

/// Where one process, or one test of it, writes.
#[derive(Debug, Clone)]
pub(crate) struct Journal(Arc<File>);

impl Journal {
    pub(crate) fn open(directory: &Path) -> Self {
        let path = directory.join(format!("journal-{}-{}", std::process::id(), now().as_nanos()));
        let file = OpenOptions::new().create(true).append(true).open(path);
        Self(Arc::new(file.unwrap()))
    }

    /// Writes a line. Once it is written it is the system's, whatever becomes of the process.
    pub(crate) fn say(&self, line: &str) {
        (&*self.0).write_all(format!("{} {line}\n", now().as_nanos()).as_bytes()).unwrap();
    }
}

/// All that was said, in the order of time.
pub(crate) fn read(directory: &Path) -> Vec<(Duration, String)> {
    read_by_process(directory).into_iter().map(|(at, _, said)| (at, said)).collect()
}

/// The same with the pid of the process that said it.
pub(crate) fn read_by_process(directory: &Path) -> Vec<(Duration, u32, String)> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(whose) = name.strip_prefix("journal-") else { continue };
        let pid: u32 = whose.split('-').next().unwrap().parse().unwrap();
        let text = fs::read_to_string(entry.path()).unwrap();
        // A line that is being written at this moment is not there yet.
        let (text, _unfinished) = text.rsplit_once('\n').unwrap_or_default();
        lines.extend(text.lines().map(|line| {
            let (at, said) = line.split_once(' ').unwrap();
            (Duration::from_nanos(at.parse().unwrap()), pid, said.to_owned())
        }));
    }
    lines.sort();
    lines
}
