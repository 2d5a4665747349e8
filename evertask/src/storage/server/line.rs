//! A line to the server that is made again whenever it breaks.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use super::{DriverError, Fault, Purpose, Server, Session};
use crate::chance::jittered;

/// The longest a transition may take before its connection is given up. Server-side limits come first.
const LIMIT: Duration = Duration::from_secs(25);
/// The longest it may take until a connection is made and its session set.
const OPEN: Duration = Duration::from_secs(10);
/// How often a transition is tried again that another one stood in the way of, and for how long.
const COLLISIONS: u32 = 10;
const COLLIDING: Duration = Duration::from_secs(8);
/// Waits between two tries to connect, doubling.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(2);

/// One transaction or question, which may be tried more than once.
pub(crate) trait Transition<S: Server>: Send + Sync {
    type Answer: Send + 'static;

    /// What it is, for errors: `cannot …`.
    const DOING: &'static str;

    fn run(
        &self,
        site: &S,
        conn: &mut S::Connection,
    ) -> impl Future<Output = Result<Self::Answer, Fault<S::Driver>>> + Send;
}

/// A connection that is opened when it is needed, and again when it broke.
#[derive(Debug)]
pub(crate) struct Line<S: Server> {
    site: Arc<S>,
    purpose: Purpose,
    /// The longest a transition may take here, and the longest wait between two tries to connect.
    limit: Duration,
    longest: Duration,
    conn: Option<S::Connection>,
    /// How often doubt about connections had been raised when this one was made.
    doubts: u64,
    /// Since when connecting fails and how long to wait before the next try.
    failing: Option<(Instant, Duration)>,
}

impl<S: Server> Line<S> {
    pub(crate) fn new(site: Arc<S>, purpose: Purpose) -> Self {
        Self { site, purpose, limit: LIMIT, longest: LONGEST, conn: None, doubts: 0, failing: None }
    }

    /// Gives up sooner, and tries again sooner, from now on.
    pub(crate) fn hasten(&mut self, limit: Duration) {
        (self.limit, self.longest) = (limit, limit / 8);
    }

    /// Runs a transition and leaves no transaction open behind it.
    ///
    /// What was under way when a connection broke may or may not have been carried out; it is for the caller to repeat it. Only
    /// what an old connection meets as soon as it is used again, and tells so at once, is repeated here: it is likely that it
    /// was cut long ago, and anything may be repeated. It may have been carried out all the same, so a refusal that the second try
    /// meets is not told as the answer to both.
    pub(crate) async fn run<T: Transition<S>>(
        &mut self,
        transition: &T,
    ) -> Result<T::Answer, Fault<S::Driver>> {
        let (start, mut old, mut cut) = (Instant::now(), self.conn.is_some(), None);
        for collisions in 0..COLLISIONS {
            match self.once(transition).await {
                Err(fault) if old && fault.is_cut() => (old, cut) = (false, Some(fault)),
                Err(fault) if fault.is_collision() && start.elapsed() < COLLIDING => {
                    // The first to come back finds the way clear, if not all come back at once.
                    sleep(jittered(Duration::from_millis(1 << collisions))).await;
                }
                done => return done.map_err(|fault| unless_unsure(fault, cut)),
            }
        }
        self.once(transition).await.map_err(|fault| unless_unsure(fault, cut))
    }

    async fn once<T: Transition<S>>(
        &mut self,
        transition: &T,
    ) -> Result<T::Answer, Fault<S::Driver>> {
        let (site, limit) = (Arc::clone(&self.site), self.limit);
        let conn = self.connection().await?;
        let ran = tokio::select! {
            ran = timeout(limit, transition.run(&site, conn)) => ran.unwrap_or(Err(Fault::Silence(limit))),
            waited = site.doubt().outlasted() => Err(Fault::Silence(waited)),
        };
        let fault = match ran {
            Ok(answer) => return Ok(answer),
            Err(fault) => fault,
        };
        let clean = !fault.breaks_connection()
            && timeout(limit, conn.roll_back()).await.is_ok_and(|done| done.is_ok());
        if !clean {
            self.conn = None;
        }
        Err(fault)
    }

    async fn connection(&mut self) -> Result<&mut S::Connection, Fault<S::Driver>> {
        let doubts = self.site.doubt().times();
        if doubts != self.doubts || self.conn.as_ref().is_some_and(Session::is_over) {
            self.conn = None;
        }
        if self.conn.is_none() {
            self.doubts = doubts;
            self.conn = Some(self.connect().await?);
        }
        self.conn.as_mut().ok_or(Fault::Silence(self.limit))
    }

    async fn connect(&mut self) -> Result<S::Connection, Fault<S::Driver>> {
        if let Some((since, wait)) = self.failing {
            // Meanwhile requests gather, and none of them makes a try of its own.
            sleep((since + jittered(wait)).saturating_duration_since(Instant::now())).await;
        }
        let open = self.site.open(self.purpose);
        let limit = self.limit.min(OPEN);
        match timeout(limit, open).await.unwrap_or(Err(Fault::Silence(limit))) {
            Ok(conn) => {
                self.failing = None;
                Ok(conn)
            }
            Err(fault) => {
                let wait = self.failing.map_or(FIRST, |(_, wait)| (wait * 2).min(self.longest));
                self.failing = Some((Instant::now(), wait));
                Err(fault)
            }
        }
    }
}

/// What is told of a try that was preceded by one of which nobody knows what became of it.
fn unless_unsure<D: DriverError>(fault: Fault<D>, before: Option<Fault<D>>) -> Fault<D> {
    match before {
        Some(cut) if !fault.is_transient() => {
            tracing::debug!(error = %fault, "what may have been carried out before is refused now");
            cut
        }
        _ => fault,
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt, sync::Mutex};

    use super::*;
    use crate::storage::{StorageErrorKind, server::Doubt};

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Broken {
        Cut,
        ReadOnly,
    }

    impl fmt::Display for Broken {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{self:?}")
        }
    }

    impl std::error::Error for Broken {}

    impl DriverError for Broken {
        const MIGRATIONS: &'static str = "";

        fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            fmt::Display::fmt(self, f)
        }

        fn kind(&self) -> StorageErrorKind {
            match self {
                Self::Cut => StorageErrorKind::Unavailable,
                Self::ReadOnly => StorageErrorKind::ReadOnly,
            }
        }

        fn ends_session(&self) -> bool {
            *self == Self::Cut
        }

        fn is_collision(&self) -> bool {
            false
        }

        fn lacks_tables(&self) -> bool {
            false
        }

        fn is_away(&self) -> bool {
            false
        }
    }

    #[derive(Debug)]
    struct Wire;

    impl Session for Wire {
        type Driver = Broken;

        fn is_over(&self) -> bool {
            false
        }

        async fn roll_back(&mut self) -> Result<(), Fault<Broken>> {
            Ok(())
        }
    }

    #[derive(Debug, Default)]
    struct Place(Doubt);

    impl Server for Place {
        type Connection = Wire;
        type Driver = Broken;

        fn place(&self) -> &'static str {
            "a database"
        }

        fn doubt(&self) -> &Doubt {
            &self.0
        }

        fn is_timed(&self) -> bool {
            false
        }

        async fn open(&self, _: Purpose) -> Result<Wire, Fault<Broken>> {
            Ok(Wire)
        }
    }

    /// Meets these, one after the other, and then nothing.
    struct Meets(Mutex<Vec<Broken>>);

    impl Transition<Place> for Meets {
        type Answer = ();

        const DOING: &'static str = "cannot write";

        async fn run(&self, _: &Place, _: &mut Wire) -> Result<(), Fault<Broken>> {
            let next = self.0.lock().unwrap().pop();
            next.map_or(Ok(()), |broken| Err(broken.into()))
        }
    }

    #[tokio::test]
    async fn a_refusal_after_a_try_that_may_have_been_carried_out_is_not_told_as_the_answer() {
        let mut line = Line::new(Arc::new(Place::default()), Purpose::Write);
        let meets = |mut broken: Vec<Broken>| {
            broken.reverse();
            Meets(Mutex::new(broken))
        };
        let kind = |ran: Result<(), Fault<Broken>>| {
            ran.map_err(|fault| fault.tell("a database", "cannot write").kind())
        };
        let refused = line.run(&meets(vec![Broken::ReadOnly])).await;
        assert_eq!(kind(refused), Err(StorageErrorKind::ReadOnly));
        line.run(&meets(vec![Broken::Cut])).await.expect("an old connection is made again");
        let unsure = line.run(&meets(vec![Broken::Cut, Broken::ReadOnly])).await;
        assert_eq!(kind(unsure), Err(StorageErrorKind::Unavailable));
    }
}
