//! A web sign-up whose welcome mails are tasks. See `README.md` beside it for how to run it, and how to kill it.
//!
//! Run with `cargo run -p signup`.

mod mail;
mod receiver;
mod users;
mod web;

use std::{
    env,
    io::{IsTerminal as _, stdout},
    time::Duration,
};

use anyhow::Context as _;
use evertask::Runtime;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::sleep,
};
use tracing_subscriber::EnvFilter;

use crate::{
    mail::Mailer,
    receiver::Mail,
    users::Users,
    web::{App, router},
};

/// How long requests that are under way may take once the program is told to stop.
const LAST_REQUESTS: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colour = stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_target(false).init();

    let users = Users::open("signup.db")?;
    let runtime = Runtime::builder()
        .url(setting("EVERTASK_URL", "sqlite://signup-tasks.db"))
        .queue("mail", |queue| queue.concurrency(4))
        .state(mailer().await?)
        .start()
        .await?;

    let listen = setting("LISTEN", "127.0.0.1:3000");
    let listener = TcpListener::bind(&listen).await.with_context(|| format!("LISTEN={listen}"))?;
    tracing::info!("listening on http://{}", listener.local_addr()?);
    serve(listener, App { users, runtime: runtime.clone() }).await?;

    // Mails that are being sent have a moment to finish; those that wait are sent after the next start.
    runtime.shutdown().await?;
    Ok(())
}

/// Serves until Ctrl-C or SIGTERM, and then what has been asked already.
async fn serve(listener: TcpListener, app: App) -> anyhow::Result<()> {
    let (tell, told) = oneshot::channel();
    let told_to_stop = async {
        stop_signal().await;
        tracing::info!("told to stop");
        let _the_server_is_gone = tell.send(());
    };
    let server = axum::serve(listener, router(app)).with_graceful_shutdown(told_to_stop);
    // A client that never ends its request must not hold us up for ever.
    let too_slow = async {
        let _told = told.await;
        sleep(LAST_REQUESTS).await;
    };
    tokio::select! {
        served = server => served?,
        () = too_slow => tracing::warn!("some requests did not end within {LAST_REQUESTS:?}"),
    }
    Ok(())
}

#[cfg(unix)]
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        // Better to stop at once than never to be told.
        Err(error) => tracing::error!(%error, "signals cannot be listened to"),
    }
}

#[cfg(not(unix))]
async fn stop_signal() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::error!(%error, "Ctrl-C cannot be listened to");
    }
}

/// A mailer for the server at `SMTP_URL`; without one, for a server of our own that prints what it gets.
async fn mailer() -> anyhow::Result<Mailer> {
    let url = match env::var("SMTP_URL") {
        Ok(url) => url,
        Err(_) => own_mail_server().await?,
    };
    let from = setting("MAIL_FROM", "Sign-up <welcome@example.com>");
    let from = from.parse().with_context(|| format!("MAIL_FROM={from}"))?;
    let delay = setting("MAIL_DELAY_MS", "0");
    let delay = delay.parse().with_context(|| format!("MAIL_DELAY_MS={delay}"))?;
    // The url may hold a password, so it is not repeated.
    let mailer = Mailer::new(&url, from).context("SMTP_URL")?;
    Ok(mailer.slowed_by(Duration::from_millis(delay)))
}

async fn own_mail_server() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("smtp://{}", listener.local_addr()?);
    tracing::info!(
        "SMTP_URL is not set; mails go to a server of our own at {url}, which prints them"
    );
    let (sender, arrived) = mpsc::channel(1);
    tokio::spawn(receiver::run(listener, sender));
    tokio::spawn(print(arrived));
    Ok(url)
}

async fn print(mut arrived: mpsc::Receiver<Mail>) {
    while let Some(mail) = arrived.recv().await {
        let text: String = mail.text.lines().map(|line| format!("\n    | {line}")).collect();
        let subject = mail.header("Subject").unwrap_or("no subject");
        tracing::info!("mail for {}: {subject}{text}", mail.to.join(", "));
        mail.accept();
    }
}

fn setting(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}
