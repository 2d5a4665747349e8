//! Another process: this program once more, with a role. It says what happens there in lines of words, and ends with the one that
//! has started it.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::{bare, node, place::Place};

const ROLE: &str = "EVERTASK_BENCH_ROLE";
const READY: &str = "ready";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// A node, with so many slots if that is not to be the usual number.
    Node(Place, Option<usize>),
    /// Takes rows with bare SQL.
    Taker(Place),
}

/// What this process is to do, if another one has started it.
pub(crate) fn role() -> Option<Role> {
    let role = std::env::var(ROLE).ok()?;
    Some(serde_json::from_str(&role).expect("a role"))
}

/// Does it until the process that has started this one lets go of it.
pub(crate) async fn play(role: Role) {
    let (end, ended) = oneshot::channel();
    thread::spawn(move || {
        let _end_of_it = std::io::stdin().read_to_end(&mut Vec::new());
        let _done_already = end.send(());
    });
    match role {
        Role::Node(place, slots) => {
            let node = node::start(&place, slots).await;
            println!("{READY}");
            let _let_go = ended.await;
            node.shutdown().await.expect("a shutdown");
        }
        Role::Taker(place) => tokio::select! {
            () = bare::take(&place, || println!("{READY}")) => {}
            _let_go = ended => {}
        },
    }
}

/// A process that this one has started, and that ends with it.
pub(crate) struct Other {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Other {
    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(role: Role) -> Self {
        let program = std::env::current_exe().expect("this program");
        let role = serde_json::to_string(&role).expect("a role");
        let mut child = Command::new(program)
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("another process");
        let stdout = child.stdout.take().expect("its lines");
        let (say, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines();
            lines.map_while(Result::ok).try_for_each(|line| say.send(line))
        });
        let stdin = child.stdin.take();
        let mut other = Self { child, stdin, lines };
        assert_eq!(other.line().await, READY);
        other
    }

    /// The next thing that it says.
    pub(crate) async fn line(&mut self) -> String {
        let line = tokio::time::timeout(Duration::from_secs(60), self.lines.recv()).await;
        line.expect("it says something within a minute").expect("it is still there")
    }

    /// What it has said meanwhile.
    pub(crate) fn said(&mut self) -> Option<String> {
        self.lines.try_recv().ok()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ended = self.child.wait();
    }
}
