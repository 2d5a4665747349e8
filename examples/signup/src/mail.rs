//! The welcome mail: the one handler of this program, and what it sends with.

use std::time::Duration;

use anyhow::Context as _;
use evertask::{Context, ResultExt as _, State, TaskError};
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::Mailbox,
    transport::smtp::{self, response::Category},
};

/// Sends the welcome mail; every sign-up dispatches one.
///
/// It may run again after a crash, even though the first mail is out. The Message-ID is the same in every attempt, so that
/// whoever gets the mail twice can tell.
#[evertask::handler(timeout = "30s", retries = 5, queue = "mail")]
pub(crate) async fn send_welcome_email(
    email: String,
    name: String,
    mailer: State<Mailer>,
    ctx: Context,
) -> anyhow::Result<()> {
    // No further attempt would make a bad address a good one.
    let address: Address = email.parse().permanent()?;
    let mail = Message::builder()
        .message_id(Some(format!("<{}@{}>", ctx.idempotency_key(), mailer.from.email.domain())))
        .from(mailer.from.clone())
        .to(Mailbox::new(Some(name.clone()), address))
        .subject(format!("Welcome, {name}!"))
        .body(format!("Hello {name},\n\nthank you for signing up as {email}.\n"))
        .permanent()?;
    mailer.send(mail).await?;
    tracing::info!(email, "welcome mail sent");
    Ok(())
}

/// Sends mail by SMTP.
#[derive(Debug)]
pub(crate) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    delay: Duration,
}

impl Mailer {
    /// A mailer for this server, `smtp://host:port`.
    pub(crate) fn new(url: &str, from: Mailbox) -> Result<Self, smtp::Error> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)?.build();
        Ok(Self { transport, from, delay: Duration::ZERO })
    }

    /// Takes this much longer for each mail, so that there is something to watch.
    pub(crate) fn slowed_by(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    async fn send(&self, mail: Message) -> anyhow::Result<()> {
        tokio::time::sleep(self.delay).await;
        match self.transport.send(mail).await {
            Ok(_) => Ok(()),
            Err(error) if refused(&error) => Err(TaskError::permanent(error).into()),
            Err(error) => Err(error).context("the mail was not sent"),
        }
    }
}

/// True if the server will not take this mail, today or tomorrow. Replies from 550 on speak of the mail; other 5xx are about
/// us, a wrong password for example, and someone may have mended that by the next attempt.
fn refused(error: &smtp::Error) -> bool {
    let about_mail = |code: smtp::response::Code| code.category == Category::MailSystem;
    error.is_permanent() && error.status().is_some_and(about_mail)
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, sync::mpsc};

    use super::*;
    use crate::receiver::{self, Mail};

    /// A mailer, and the mails that its server takes.
    async fn mailer() -> (State<Mailer>, mpsc::Receiver<Mail>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let (sender, arrived) = mpsc::channel(1);
        tokio::spawn(receiver::run(listener, sender));
        let mailer = Mailer::new(&url, "Us <us@example.org>".parse().unwrap()).unwrap();
        (State::from(mailer), arrived)
    }

    /// The handler is the plain fn it looks like, so a test can call it.
    #[tokio::test]
    async fn the_welcome_mail_says_who_it_is_for_and_what_task_it_came_from() {
        let (mailer, mut arrived) = mailer().await;
        let ctx = Context::test();
        let sent = send_welcome_email("ada@example.com".into(), "Ada".into(), mailer, ctx.clone());
        let take = async {
            let mail = arrived.recv().await.unwrap();
            assert_eq!(mail.to, ["ada@example.com"]);
            assert_eq!(mail.header("To"), Some("Ada <ada@example.com>"));
            assert_eq!(mail.header("Subject"), Some("Welcome, Ada!"));
            let id = format!("<{}@example.org>", ctx.idempotency_key());
            assert_eq!(mail.header("Message-ID"), Some(&*id));
            assert!(mail.text.trim_end().ends_with(
                "\r\n\r\nHello Ada,\r\n\r\nthank you for signing up as ada@example.com."
            ));
            mail.accept();
        };
        let (sent, ()) = tokio::join!(sent, take);
        sent.unwrap();
    }

    /// Making the transport loads certificates and ciphers, so a build without them is found out here.
    #[test]
    fn the_urls_that_the_readme_names_are_understood() {
        for url in [
            "smtps://me:secret@smtp.example.com",
            "smtp://me:secret@smtp.example.com?tls=required",
            "smtp://localhost:1025",
        ] {
            Mailer::new(url, "us@example.org".parse().unwrap()).unwrap();
        }
        Mailer::new("smtp.example.com:25", "us@example.org".parse().unwrap()).unwrap_err();
    }

    /// What a failed attempt asks for.
    fn asks_for(error: anyhow::Error) -> evertask::Retry {
        let error: Box<dyn std::error::Error + Send + Sync> = error.into();
        evertask::Failure::from_error(&*error).retry
    }

    #[tokio::test]
    async fn a_bad_address_is_not_tried_again() {
        let (mailer, _arrived) = mailer().await;
        let sent = send_welcome_email("nowhere".into(), "Ada".into(), mailer, Context::test());
        assert_eq!(asks_for(sent.await.unwrap_err()), evertask::Retry::Never);
    }

    #[tokio::test]
    async fn a_mail_that_the_server_will_not_take_now_is_tried_again() {
        let (mailer, mut arrived) = mailer().await;
        let sent =
            send_welcome_email("ada@example.com".into(), "Ada".into(), mailer, Context::test());
        let (sent, ()) = tokio::join!(sent, async { drop(arrived.recv().await) });
        assert_eq!(asks_for(sent.unwrap_err()), evertask::Retry::Policy);
    }

    #[tokio::test]
    async fn a_mail_that_the_server_will_never_take_is_not_tried_again() {
        let (mailer, _arrived) = mailer().await;
        let email = "ada@example.invalid".into();
        let sent = send_welcome_email(email, "Ada".into(), mailer, Context::test());
        assert_eq!(asks_for(sent.await.unwrap_err()), evertask::Retry::Never);
    }
}
