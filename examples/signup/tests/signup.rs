//! The real program, really killed: whatever sign-up it said yes to gets its mail, and it stops when it is told to.
//!
//! The mail server is the test's own, and no mail is safe before the test accepts it. So the test decides what is under way
//! when the program dies.
#![cfg(unix)]

mod program;
#[path = "../src/receiver.rs"]
mod receiver;

use std::{collections::HashMap, time::Duration};

use receiver::Mail;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use crate::program::{Directory, Program};

/// How long anything may take before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

#[tokio::test(flavor = "multi_thread")]
async fn every_sign_up_it_said_yes_to_gets_its_mail_though_it_was_killed() {
    let directory = Directory::new();
    let mut server = MailServer::start().await;
    let mut arrived = Arrived::default();
    let program = Program::start(&directory, &server.url).await;

    for n in 0..30 {
        assert!(sign_up(&program.address, n).await, "user {n}: {program:?}");
    }
    // Five mails are safe. The sixth is never acknowledged, and those behind it wait.
    for _ in 0..5 {
        let mail = server.next().await;
        arrived.note(&mail);
        mail.accept();
    }
    let sixth = server.next().await;
    arrived.note(&sixth);

    // It dies in the middle of further sign-ups, as soon as it has said yes to one of them.
    let mut signing_up = JoinSet::new();
    for n in 30..60 {
        let address = program.address.clone();
        signing_up.spawn(async move { (n, sign_up(&address, n).await) });
    }
    let mut answers = vec![signing_up.join_next().await.unwrap().unwrap()];
    program.kill().await;
    answers.extend(signing_up.join_all().await);
    let sixth_to = sixth.to[0].clone();
    drop(sixth);

    let mut program = Program::start(&directory, &server.url).await;
    program.says("pending tasks to resume").await;
    // Those who got no answer try again, whether they had been stored or not.
    for (n, _) in answers.iter().filter(|(_, yes)| !yes) {
        assert!(sign_up(&program.address, *n).await, "user {n}: {program:?}");
    }

    while (0..60).any(|n| arrived.times(&email(n)) == 0) || arrived.times(&sixth_to) < 2 {
        let mail = server.next().await;
        arrived.note(&mail);
        mail.accept();
    }
    for (to, ids) in &arrived.0 {
        assert!(ids.iter().all(|id| *id == ids[0]), "{to} got different mails: {ids:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_finishes_the_mails_under_way_and_keeps_the_others() {
    let directory = Directory::new();
    let mut server = MailServer::start().await;
    let mut program = Program::start(&directory, &server.url).await;
    // One more than it sends at once.
    for n in 0..5 {
        assert!(sign_up(&program.address, n).await, "user {n}: {program:?}");
    }
    let mut under_way = Vec::new();
    for _ in 0..4 {
        under_way.push(server.next().await);
    }
    // A client that never ends its request holds nothing up.
    let mut endless = TcpStream::connect(&program.address).await.unwrap();
    endless.write_all(b"POST /signup HTTP/1.1\r\n").await.unwrap();
    program.terminate();
    program.says("shutting down; waiting for running tasks").await;
    let mut arrived = Arrived::default();
    for mail in under_way {
        arrived.note(&mail);
        mail.accept();
    }
    let exit = program.exit().await;
    assert!(exit.success(), "{exit}: {program:?}");

    let mut program = Program::start(&directory, &server.url).await;
    let last = server.next().await;
    arrived.note(&last);
    assert_eq!(arrived.times(&last.to[0]), 1, "it was sent before: {last:?}");
    last.accept();
    program.says("welcome mail sent").await;
    program.terminate();
    let exit = program.exit().await;
    assert!(exit.success(), "{exit}: {program:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_is_wrong_with_a_sign_up_and_what_became_of_the_others() {
    let directory = Directory::new();
    let mut server = MailServer::start().await;
    let mut program = Program::start(&directory, &server.url).await;
    let address = program.address.clone();

    for (kind, body, words) in [
        (FORM, "name=Ada", "missing field `email`"),
        (FORM, "name=+&email=ada%40example.com", "`name` is empty"),
        (FORM, "name=Ada&email=nowhere", "`email` is no mail address"),
        (JSON, r#"{"email": "ada@example.com"}"#, "missing field `name`"),
        (JSON, r#"{"name": "Ada", "email": "nowhere"}"#, "`email` is no mail address"),
        (JSON, r#"{"name": "Ada""#, "Failed to parse the request body as JSON"),
        ("text/plain", "Ada", "Content-Type"),
    ] {
        let (status, text) = program::post(&address, kind, body).await.unwrap();
        assert_eq!(status, 400, "{body}: {text}");
        assert!(text.contains(words), "{body}: {text}");
    }

    // One mail is sent, another never will be, and a second sign-up of the first makes no third.
    assert!(sign_up(&address, 1).await);
    server.next().await.accept();
    program.says("welcome mail sent").await;
    let json = r#"{"name": "User 1", "email": "user1@example.com"}"#;
    let (status, text) = program::post(&address, JSON, json).await.unwrap();
    assert_eq!((status, &*text), (200, "user1@example.com has signed up before\n"));
    let form = "name=Nobody&email=nobody%40example.invalid";
    assert_eq!(program::post(&address, FORM, form).await.unwrap().0, 201);
    program.says("failed for good").await;

    let (status, tasks) = program::get(&address, "/tasks").await.unwrap();
    assert_eq!(status, 200);
    let [failed, sent] = tasks.lines().collect::<Vec<_>>()[..] else { panic!("{tasks}") };
    assert!(failed.contains("  failed     attempt 1  send_welcome_email  "), "{failed}");
    assert!(failed.contains("  welcome:nobody@example.invalid  "), "{failed}");
    assert!(failed.contains("no such mailbox"), "{failed}");
    assert!(sent.ends_with("  attempt 1  send_welcome_email  welcome:user1@example.com"), "{sent}");

    let (status, health) = program::get(&address, "/health").await.unwrap();
    assert!(status == 200 && health.starts_with("ok\n"), "{health}");
    let (status, form) = program::get(&address, "/").await.unwrap();
    assert!(status == 200 && form.contains(r#"action="/signup""#), "{form}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_them_share_the_mails_on_one_database_and_one_takes_over_from_the_other() {
    let Some(database) = evertask_servers::own_postgres() else { return };
    let url = database.url();
    let directory = Directory::new();
    let mut server = MailServer::start().await;
    let mut arrived = Arrived::default();
    let one = Program::start_with(&directory, &server.url, Some(&url)).await;
    let mut other = Program::start_with(&directory, &server.url, Some(&url)).await;

    // Sign-ups at one; and it may be sending at most four mails at once, so a fifth under way is the other's.
    for n in 0..20 {
        assert!(sign_up(&one.address, n).await, "user {n}: {one:?}");
    }
    let mut under_way = Vec::new();
    for _ in 0..8 {
        under_way.push(server.next().await);
    }
    one.kill().await;
    for mail in under_way {
        arrived.note(&mail);
        mail.accept();
    }
    other.says("a node died; its tasks are pending again").await;
    while (0..20).any(|n| arrived.times(&email(n)) == 0) || arrived.all() < 24 {
        let mail = server.next().await;
        arrived.note(&mail);
        mail.accept();
    }
    for (to, ids) in &arrived.0 {
        assert!(ids.iter().all(|id| *id == ids[0]), "{to} got different mails: {ids:?}");
    }
    // What the one had under way was sent again by the other, and nothing else.
    assert_eq!(arrived.all(), 24);
    other.terminate();
    assert!(other.exit().await.success(), "{other:?}");
}

/// The mail server of a test.
struct MailServer {
    url: String,
    arrived: mpsc::Receiver<Mail>,
}

impl MailServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let (sender, arrived) = mpsc::channel(1);
        tokio::spawn(receiver::run(listener, sender));
        Self { url, arrived }
    }

    /// The next mail, not accepted yet.
    async fn next(&mut self) -> Mail {
        timeout(PATIENCE, self.arrived.recv()).await.expect("no mail came").unwrap()
    }
}

/// Every mail that has arrived: for each address the Message-IDs, one for each time.
#[derive(Default)]
struct Arrived(HashMap<String, Vec<String>>);

impl Arrived {
    fn note(&mut self, mail: &Mail) {
        let [to] = &mail.to[..] else { panic!("it is for one user: {mail:?}") };
        let name = to.strip_suffix("@example.com").unwrap().replace("user", "User ");
        let body = format!("Hello {name},\r\n\r\nthank you for signing up as {to}.\r\n");
        assert!(mail.text.contains(&format!("\r\n\r\n{body}")), "{mail:?}");
        let id = mail.header("Message-ID").expect("a Message-ID").to_owned();
        self.0.entry(to.clone()).or_default().push(id);
    }

    fn all(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    fn times(&self, email: &str) -> usize {
        self.0.get(email).map_or(0, Vec::len)
    }
}

fn email(n: usize) -> String {
    format!("user{n}@example.com")
}

/// Signs a user up, by form and by JSON in turn. True if the program said yes, false if it said nothing.
async fn sign_up(address: &str, n: usize) -> bool {
    let email = email(n);
    let answer = if n.is_multiple_of(2) {
        let form = format!("name=User+{n}&email={}", email.replace('@', "%40"));
        program::post(address, FORM, &form).await
    } else {
        let json = format!(r#"{{"name": "User {n}", "email": "{email}"}}"#);
        program::post(address, JSON, &json).await
    };
    match answer {
        // Twice is fine for one who got no answer the first time.
        Ok((200 | 201, text)) => text.contains(&email),
        Ok((status, text)) => panic!("user {n} was answered {status}: {text}"),
        Err(_) => false,
    }
}
