//! How the storage is called: by background loops never for longer than a limit, and written down, so that `health()` can tell
//! when each kind of call last succeeded.

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, timeout};

use crate::storage::{StorageError, StorageErrorKind};

/// The longest a call may take before it counts as failed and is repeated. Every write may be.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// How often people are told of a call that goes on failing.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// For how long dispatches that nobody makes any more count as failing. Loops go on trying; people may not.
const FADES: Duration = Duration::from_secs(60);

/// The calls of one runtime, by what they are for.
#[derive(Debug)]
pub(crate) struct Calls {
    /// Of people; all others are of loops.
    pub(crate) dispatch: Call,
    pub(crate) claim: Call,
    pub(crate) settle: Call,
    pub(crate) renew: Call,
    pub(crate) peers: Call,
    pub(crate) prune: Call,
    pub(crate) tick: Call,
    pub(crate) declare: Call,
}

/// One kind of call and how it goes.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    fades: Duration,
    record: Mutex<Record>,
}

#[derive(Debug, Clone, Default)]
struct Record {
    succeeded: Option<Instant>,
    /// Since when, when last, and why.
    failing: Option<(Instant, Instant, String)>,
    /// When people were last told that it fails.
    told: Option<Instant>,
}

/// How one background loop gets on with the storage, or how the dispatches of this process do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoopHealth {
    /// What it does: `dispatch`, `claim`, `settle`, `renew`, `peers`, `prune`, `tick`, `declare`.
    ///
    /// `dispatch` is no loop: it fails while tasks cannot be stored, until one is or none has been tried for a minute.
    pub name: &'static str,
    /// How long ago it last succeeded; `None` if it has not been needed yet.
    pub succeeded: Option<Duration>,
    /// If it fails at the moment: for how long, and the last error.
    pub failing: Option<(Duration, String)>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        let call = |name| Call { name, fades: Duration::MAX, record: Mutex::default() };
        Self {
            dispatch: Call { fades: FADES, ..call("dispatch") },
            claim: call("claim"),
            settle: call("settle"),
            renew: call("renew"),
            peers: call("peers"),
            prune: call("prune"),
            tick: call("tick"),
            declare: call("declare"),
        }
    }

    pub(crate) fn health(&self) -> Vec<LoopHealth> {
        let Self { dispatch, claim, settle, renew, peers, prune, tick, declare } = self;
        [dispatch, claim, settle, renew, peers, prune, tick, declare].map(Call::health).into()
    }
}

/// A storage may be anybody's code: a panic in it is an error like others, and takes nothing with it that we hold.
async fn caught<T>(call: impl Future<Output = Result<T, StorageError>>) -> Result<T, StorageError> {
    let mut call = pin!(call);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx))).unwrap_or_else(|_| {
            let what = "the storage panicked; where and why went to stderr";
            Poll::Ready(Err(StorageError::new(StorageErrorKind::Other, what)))
        })
    })
    .await
}

/// What the storage answers within the limit; `None` if nothing.
pub(crate) async fn limited<T>(
    call: impl Future<Output = Result<T, StorageError>>,
) -> Option<Result<T, StorageError>> {
    within(LIMIT, call).await
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, StorageError>>,
) -> Option<Result<T, StorageError>> {
    timeout(limit, caught(call)).await.ok()
}

impl Call {
    pub(crate) async fn make<T>(
        &self,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        self.make_within(LIMIT, call).await
    }

    /// The same with another limit, for what has to be tried again sooner.
    pub(crate) async fn make_within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let result = self.begin_within(limit, call).await;
        if result.is_ok() {
            self.went(Ok::<_, StorageError>(()));
        }
        result
    }

    /// A first part of such a call: should it succeed, the rest may still fail.
    pub(crate) async fn begin_within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let result = within(limit, call).await.unwrap_or_else(|| {
            let what = format!("no answer from the storage within {limit:?}");
            Err(StorageError::new(StorageErrorKind::Unavailable, what))
        });
        if let Err(error) = &result {
            self.went(Err(error));
        }
        result
    }

    /// Writes down how it went.
    pub(crate) fn went(&self, result: Result<(), impl fmt::Display>) {
        let now = Instant::now();
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                if let (Some((since, ..)), Some(_)) = (&record.failing, record.told) {
                    let (what, failed_for) = (self.name, since.elapsed());
                    tracing::info!(what, ?failed_for, "the storage works again");
                }
                *record = Record { succeeded: Some(now), ..Record::default() };
            }
            Err(error) => {
                let since =
                    record.failing.take().filter(|it| self.holds(it)).map_or(now, |it| it.0);
                record.failing = Some((since, now, error.to_string()));
            }
        }
    }

    /// It is not too long ago.
    fn holds(&self, (_, last, _): &(Instant, Instant, String)) -> bool {
        last.elapsed() < self.fades
    }

    /// True if it is time to tell people that it fails: when it begins to, and then now and then.
    pub(crate) fn is_news(&self) -> bool {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let news = record.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if news {
            record.told = Some(Instant::now());
        }
        news
    }

    fn health(&self) -> LoopHealth {
        let Record { succeeded, failing, .. } =
            self.record.lock().unwrap_or_else(PoisonError::into_inner).clone();
        LoopHealth {
            name: self.name,
            succeeded: succeeded.map(|at| at.elapsed()),
            failing: failing
                .filter(|it| self.holds(it))
                .map(|(since, _, error)| (since.elapsed(), error)),
        }
    }
}
