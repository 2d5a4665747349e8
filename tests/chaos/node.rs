//! A node in a process of its own, which can be stopped, continued and killed.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use evertask::Runtime;
use rustix::process::{Pid, Signal, kill_process};

use crate::{LEASE, effects, journal::Journal, load};

const URL: &str = "EVERTASK_CHAOS_URL";
const DIRECTORY: &str = "EVERTASK_CHAOS_DIRECTORY";
const SEED: &str = "EVERTASK_CHAOS_SEED";

/// Not a test by itself: the process that gets into weather. Does nothing unless told where.
#[cfg(test)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    live().await;
}

/// The life of such a process, until it is killed, told to shut down, or its parent ends; false if this is none.
pub(crate) async fn live() -> bool {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return false };
    let (url, seed) = (std::env::var(URL).unwrap(), std::env::var(SEED).unwrap());
    let journal = Journal::open(&directory);
    let runtime = start(&url, &journal).await;
    let hour = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let node = runtime.health().await.node;
    journal.say(&format!("node {node} {} {hour}", std::process::id()));
    tokio::spawn(load::tell_events(runtime.clone(), journal.clone()));
    let seed: u64 = seed.parse().unwrap();
    for n in 0..2 {
        let (runtime, journal, directory) = (runtime.clone(), journal.clone(), directory.clone());
        let effects = effects::are_on(&url);
        tokio::spawn(load::dispatch(runtime, journal, directory, seed + n, effects));
    }
    tokio::select! {
        () = crate::process::orphaned() => {}
        shut = runtime.run_until_signal() => shut.unwrap(),
    }
    true
}

/// It may be born into an outage.
async fn start(url: &str, journal: &Journal) -> Runtime {
    loop {
        // So that a shutdown in order finds some that take longer.
        let builder = load::builder(url, journal).shutdown_timeout(LEASE / 2);
        match builder.start().await {
            Ok(runtime) => return runtime,
            Err(error) => journal.say(&format!("unstarted {error}")),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A running process. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    stopped: bool,
}

impl Node {
    /// Starts one, with a wall clock so many hours off where clocks can be faked.
    pub(crate) fn spawn(url: &str, directory: &Path, seed: u64, hours: i32) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["node::child", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(URL, url).env(DIRECTORY, directory).env(SEED, seed.to_string());
        if hours != 0
            && let Some(library) = evertask_servers::faketime()
        {
            // The clock by which time is measured stays as it is, as it would on a machine that is off.
            command.env("LD_PRELOAD", library).env("FAKETIME", format!("{hours:+}h"));
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_NO_CACHE", "0");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: child.spawn().unwrap(), stopped: false }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) fn stop(&mut self) {
        self.signal(Signal::STOP);
        self.stopped = true;
    }

    pub(crate) fn go_on(&mut self) {
        self.signal(Signal::CONT);
        self.stopped = false;
    }

    /// Tells it to shut down, and blocks until it has. False if that killed it, as it does before it has begun to listen.
    pub(crate) fn shut_down(mut self) -> bool {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().success()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Its memory in KiB.
    pub(crate) fn memory(&self) -> u64 {
        crate::process::memory(self.pid())
    }
}

/// The pids of these, and of this process.
pub(crate) fn living<'n>(nodes: impl IntoIterator<Item = &'n Node>) -> Vec<u32> {
    nodes.into_iter().map(Node::pid).chain([std::process::id()]).collect()
}

impl Drop for Node {
    fn drop(&mut self) {
        // One that is gone already is gone.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
