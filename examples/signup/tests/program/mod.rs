//! The program as its users see it: a process that says lines, takes HTTP and can be killed.

use std::{
    fmt, io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

use crate::PATIENCE;

/// A directory of a test's own, gone when the test is.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("signup-{}", evertask::TaskId::new()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _best_effort = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, running.
pub(crate) struct Program {
    child: Child,
    said: Vec<String>,
    says: mpsc::UnboundedReceiver<String>,
    /// Where it listens.
    pub(crate) address: String,
}

impl Program {
    pub(crate) async fn start(directory: &Directory, smtp: &str) -> Self {
        Self::start_with(directory, smtp, None).await
    }

    /// With its tasks in the storage that the url names.
    pub(crate) async fn start_with(directory: &Directory, smtp: &str, url: Option<&str>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_signup"))
            .current_dir(&directory.0)
            .env_remove("EVERTASK_URL")
            .envs(url.map(|url| ("EVERTASK_URL", url)))
            .envs([("LISTEN", "127.0.0.1:0"), ("SMTP_URL", smtp)])
            .env_remove("MAIL_DELAY_MS")
            .env_remove("MAIL_FROM")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, says) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let _nobody_listens_any_more = sender.send(line);
            }
        });
        let mut program = Self { child, said: Vec::new(), says, address: String::new() };
        let line = program.says("listening on http://").await;
        program.address = line.split_once("http://").unwrap().1.to_owned();
        program
    }

    /// Waits until it says, or has said, a line with this text.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        if let Some(line) = self.said.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        loop {
            let Ok(Some(line)) = timeout(PATIENCE, self.says.recv()).await else {
                panic!("it never said {text:?}: {self:?}")
            };
            self.said.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// SIGKILL: no chance to tidy up.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM: a wish to end.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().expect("it has not been waited for");
        let sent =
            std::process::Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end, which must not take as long as it may wait for mails.
    pub(crate) async fn exit(&mut self) -> ExitStatus {
        timeout(Duration::from_secs(15), self.child.wait()).await.expect("it does not end").unwrap()
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it said\n{}", self.said.join("\n"))
    }
}

/// The status and the text of the answer.
pub(crate) async fn get(address: &str, path: &str) -> io::Result<(u16, String)> {
    ask(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
        .await
}

/// The same, for a sign-up.
pub(crate) async fn post(address: &str, kind: &str, body: &str) -> io::Result<(u16, String)> {
    let length = body.len();
    let request = format!(
        "POST /signup HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    ask(address, request).await
}

async fn ask(address: &str, request: String) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    timeout(PATIENCE, read).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let (head, text) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, text.to_owned()))
}
