//! A small mail server for demonstrations and tests: it takes any mail and hands it over, never out to the world.
//!
//! The subset of SMTP (RFC 5321) that clients speak to it: EHLO, HELO, MAIL, RCPT, DATA, RSET, NOOP, QUIT. Nobody logs in
//! and nothing is encrypted, so it belongs on loopback only.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream},
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};

/// The largest mail in bytes; the answer to EHLO names it.
const SIZE_MAX: usize = 1_048_576;
/// The longest line in bytes. SMTP allows 1,000; there is no need to be that strict.
const LINE_MAX: u64 = 16 << 10;
/// The most recipients of one mail, as SMTP asks for.
const RECIPIENTS_MAX: usize = 100;
/// How long a client may be silent.
const PATIENCE: Duration = Duration::from_secs(300);

/// A mail that has arrived. Its sender is told so by [`accept`](Self::accept); dropped without, it has to come again.
#[derive(Debug)]
pub(crate) struct Mail {
    /// Whom it is for.
    pub(crate) to: Vec<String>,
    /// Its headers and, after an empty line, its body, with CRLF at the end of each line.
    pub(crate) text: String,
    accept: oneshot::Sender<()>,
}

impl Mail {
    /// Tells the sender that the mail is ours now.
    pub(crate) fn accept(self) {
        // A sender who is gone will send it again: that is what "at least once" means.
        let _gone = self.accept.send(());
    }

    /// The value of a header, if it has it.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (headers, _) = self.text.split_once("\r\n\r\n")?;
        let mut fields = headers.lines().filter_map(|line| line.split_once(": "));
        fields.find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
    }
}

/// Takes mails in, one task for each connection, until nobody wants them any more.
pub(crate) async fn run(listener: TcpListener, arrived: mpsc::Sender<Mail>) {
    loop {
        let client = tokio::select! {
            client = listener.accept() => client,
            () = arrived.closed() => return,
        };
        match client {
            Ok((stream, _)) => {
                let arrived = arrived.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(BufStream::new(stream), arrived).await {
                        tracing::debug!(%error, "a mail client broke off");
                    }
                });
            }
            // Most likely too many open files; those who are connected will close some.
            Err(error) => {
                tracing::warn!(%error, "no mail client can connect; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One connection, from greeting to goodbye.
async fn converse<S>(mut stream: S, arrived: mpsc::Sender<Mail>) -> io::Result<()>
where
    S: AsyncBufRead + AsyncWrite + Unpin,
{
    let mut sender_known = false;
    let mut to: Vec<String> = Vec::new();
    let mut reply = "220 signup takes mail for demonstrations";
    loop {
        stream.write_all(reply.as_bytes()).await?;
        stream.write_all(b"\r\n").await?;
        stream.flush().await?;

        let Some(line) = read_line(&mut stream).await? else { return Ok(()) };
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        reply = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                (sender_known, to) = (false, Vec::new());
                "250-signup\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 1048576"
            }
            "HELO" => {
                (sender_known, to) = (false, Vec::new());
                "250 signup"
            }
            "MAIL" => match path(rest, "FROM:") {
                Some(_) if sender_known => "503 one mail at a time; RSET begins anew",
                Some(_) => {
                    sender_known = true;
                    "250 ok"
                }
                None => "501 say MAIL FROM:<address>",
            },
            "RCPT" => match path(rest, "TO:") {
                _ if !sender_known => "503 MAIL comes first",
                Some("") | None => "501 say RCPT TO:<address>",
                // So that there is an address to which no mail goes, ever.
                Some(address) if address.ends_with(".invalid") => "550 no such mailbox",
                Some(_) if to.len() == RECIPIENTS_MAX => "452 too many recipients",
                Some(address) => {
                    to.push(address.to_owned());
                    "250 ok"
                }
            },
            "DATA" if to.is_empty() => "503 RCPT comes first",
            "DATA" => {
                stream.write_all(b"354 go on, end with a dot on a line of its own\r\n").await?;
                stream.flush().await?;
                sender_known = false;
                let to = std::mem::take(&mut to);
                match read_text(&mut stream).await? {
                    Text::Whole(text) => hand_over(&arrived, to, text).await,
                    Text::TooLarge => "552 the mail is too large",
                    Text::CutOff => return Ok(()),
                }
            }
            "RSET" => {
                (sender_known, to) = (false, Vec::new());
                "250 ok"
            }
            "NOOP" => "250 ok",
            "QUIT" => {
                stream.write_all(b"221 goodbye\r\n").await?;
                return stream.flush().await;
            }
            _ => "500 no such command here",
        };
    }
}

/// The address in `FROM:<address> PARAMETERS`; empty in mail from nobody.
fn path<'l>(rest: &'l str, prefix: &str) -> Option<&'l str> {
    let (before, after) = rest.split_at_checked(prefix.len())?;
    let after = after.trim_start().strip_prefix('<')?;
    before.eq_ignore_ascii_case(prefix).then(|| after.split_once('>'))?.map(|(address, _)| address)
}

/// Waits until someone has taken the mail: before that, the sender must not be told that it is safe.
async fn hand_over(arrived: &mpsc::Sender<Mail>, to: Vec<String>, text: String) -> &'static str {
    let (accept, accepted) = oneshot::channel();
    let handed = arrived.send(Mail { to, text, accept }).await.is_ok();
    if handed && accepted.await.is_ok() {
        "250 the mail is safe"
    } else {
        "451 nobody took the mail; try again later"
    }
}

/// The next line with its end; `None` if the client has gone, is silent for too long, or writes lines without end.
async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut bounded = stream.take(LINE_MAX);
    let read = bounded.read_until(b'\n', &mut line);
    timeout(PATIENCE, read).await.map_err(|_| io::ErrorKind::TimedOut)??;
    Ok(line.ends_with(b"\n").then_some(line))
}

/// What follows DATA.
enum Text {
    Whole(String),
    TooLarge,
    CutOff,
}

/// Reads what follows DATA, and takes away the dots that protect its lines.
async fn read_text(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Text> {
    let mut text = Vec::new();
    let mut too_large = false;
    // Only CRLF ends a line: were a bare LF to do as well, a mail could smuggle another one in.
    let mut at_start = true;
    while let Some(line) = read_line(stream).await? {
        let line = match line.strip_prefix(b".") {
            Some(b"\r\n") if at_start && too_large => return Ok(Text::TooLarge),
            Some(b"\r\n") if at_start => {
                return Ok(Text::Whole(String::from_utf8_lossy(&text).into_owned()));
            }
            Some(unstuffed) if at_start => unstuffed,
            _ => &line,
        };
        at_start = line.ends_with(b"\r\n");
        too_large |= text.len() + line.len() > SIZE_MAX;
        if !too_large {
            text.extend_from_slice(line);
        }
    }
    Ok(Text::CutOff)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the server says to a client that says this, and the mails it takes meanwhile: for whom, and what.
    async fn talk(said: &str) -> (String, Vec<(Vec<String>, String)>) {
        let (mut client, server) = tokio::io::duplex(4 << 20);
        let (sender, mut arrived) = mpsc::channel::<Mail>(8);
        client.write_all(said.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut mails = Vec::new();
        let take = async {
            while let Some(mail) = arrived.recv().await {
                mails.push((mail.to.clone(), mail.text.clone()));
                mail.accept();
            }
        };
        let (conversed, ()) = tokio::join!(converse(BufStream::new(server), sender), take);
        conversed.unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        (heard, mails)
    }

    fn codes(heard: &str) -> Vec<&str> {
        heard.lines().map(|line| &line[..4]).filter(|code| code.ends_with(' ')).collect()
    }

    #[tokio::test]
    async fn a_mail_arrives_as_it_was_written() {
        let (heard, mails) = talk(
            "EHLO me\r\nMAIL FROM:<a@example.com> SIZE=10\r\nRCPT TO:<b@example.com>\r\nrcpt to: <c@example.com>\r\n\
             DATA\r\nSubject: dots\r\n\r\n..\r\n...two\r\nbare\n.\nlf\r\n.\r\nQUIT\r\n",
        )
        .await;
        assert_eq!(codes(&heard), ["220 ", "250 ", "250 ", "250 ", "250 ", "354 ", "250 ", "221 "]);
        let [(to, text)] = &mails[..] else { panic!("one mail was sent: {mails:?}") };
        assert_eq!(to[..], ["b@example.com", "c@example.com"]);
        assert_eq!(text, "Subject: dots\r\n\r\n.\r\n..two\r\nbare\n.\nlf\r\n");
    }

    #[tokio::test]
    async fn what_comes_out_of_order_is_refused_and_a_reset_forgets() {
        let (heard, mails) = talk(
            "RCPT TO:<b@example.com>\r\nDATA\r\nMAIL b@example.com\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\nRCPT TO:<>\r\n\
             RCPT TO:<b@example.invalid>\r\nRCPT TO:<b@example.com>\r\nRSET\r\nDATA\r\nVRFY b\r\nNOOP\r\nQUIT\r\n",
        )
        .await;
        let replies = [
            "220 ", "503 ", "503 ", "501 ", "250 ", "503 ", "501 ", "550 ", "250 ", "250 ", "503 ",
        ];
        assert_eq!(codes(&heard), [&replies[..], &["500 ", "250 ", "221 "]].concat());
        assert!(mails.is_empty());
    }

    #[tokio::test]
    async fn a_mail_over_the_bound_is_refused_and_the_next_one_taken() {
        let begin = "MAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n";
        let large = format!("{}\r\n", "x".repeat(1022)).repeat(SIZE_MAX / 1024 + 1);
        let (heard, mails) =
            talk(&format!("{begin}{large}.\r\n{begin}small\r\n.\r\nQUIT\r\n")).await;
        let replies =
            ["220 ", "250 ", "250 ", "354 ", "552 ", "250 ", "250 ", "354 ", "250 ", "221 "];
        assert_eq!(codes(&heard), replies);
        assert_eq!(mails.len(), 1);
    }

    #[tokio::test]
    async fn a_line_without_end_ends_the_connection() {
        let (heard, _) = talk(&"x".repeat(LINE_MAX as usize + 1)).await;
        assert_eq!(codes(&heard), ["220 "]);
    }

    #[tokio::test]
    async fn a_mail_that_nobody_takes_has_to_come_again() {
        let (sender, mut arrived) = mpsc::channel(1);
        let handed = hand_over(&sender, Vec::new(), String::new());
        let (reply, ()) = tokio::join!(handed, async { drop(arrived.recv().await) });
        assert!(reply.starts_with("451 "), "{reply}");
        drop(arrived);
        let reply = hand_over(&sender, Vec::new(), String::new()).await;
        assert!(reply.starts_with("451 "), "{reply}");
    }
}
