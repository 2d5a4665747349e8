//! A process of its own that runs one test of this binary, told where to work.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

const URL: &str = "EVERTASK_PROCESS_URL";
const DIRECTORY: &str = "EVERTASK_PROCESS_DIRECTORY";

/// The url of the storage and the directory for journals that this process was given, if it is such a one.
pub(crate) fn told() -> Option<(String, PathBuf)> {
    Some((std::env::var(URL).ok()?, std::env::var_os(DIRECTORY)?.into()))
}

/// Waits until the parent ends, however it does.
pub(crate) async fn orphaned() {
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A running process. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts one that runs this test and nothing else.
    pub(crate) fn spawn(test: &str, url: &str, directory: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
        command.env(URL, url).env(DIRECTORY, directory);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(child.spawn().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.0.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Its memory in KiB.
    pub(crate) fn memory(&self) -> u64 {
        memory(self.0.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that is gone already is gone.
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The memory of this process in KiB.
pub(crate) fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
