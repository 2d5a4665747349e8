//! Errors of handlers: what they say, and what they ask for.

use std::{error::Error, fmt, time::Duration};

use crate::{
    bounds::{ERROR_MAX, storable_text},
    task::AttemptEnd,
};

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// What went wrong in one attempt, as `on_retry` and `on_failed` see it and as it is stored.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Failure {
    /// How the attempt ended: failed, timed out, panicked, …
    pub end: AttemptEnd,
    /// The error and what caused it, `: ` between them; at most 16 KiB.
    pub message: String,
    /// What the error asks for.
    pub retry: Retry,
}

/// What a handler's error asks for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Retry {
    /// Whatever the task's policy says.
    Policy,
    /// No further attempt.
    Never,
    /// A further attempt, if any is left, after this delay.
    After(Duration),
    /// Another call after this delay, which spends no attempt.
    Snooze(Duration),
    /// The task is to be cancelled.
    Cancel(String),
}

impl Failure {
    /// A failure that leaves the retry to the policy.
    #[must_use]
    pub fn new(end: AttemptEnd, message: impl AsRef<str>) -> Self {
        let message = storable_text(message.as_ref(), ERROR_MAX);
        Self { end, message, retry: Retry::Policy }
    }

    /// Reads an error and its causes: a [`TaskError`] anywhere among them says what is asked for.
    #[must_use]
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut retry = Retry::Policy;
        let mut next = Some(error);
        let mut last = message.clone();
        while let Some(error) = next {
            if let Some(wish) = wish(error) {
                retry = wish.retry.clone();
            }
            let text = error.to_string();
            // A wrapper that repeats its cause says nothing new.
            if !text.is_empty() && !last.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
                last = text;
            }
            next = error.source();
        }
        Self { retry, ..Self::new(AttemptEnd::Failed, message) }
    }

    /// The same number for failures that differ in digits only, so that they can be counted together.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        // FNV-1a, 64 bits: stable over releases, which std's hasher does not promise.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut in_number = false;
        for byte in self.message.bytes() {
            let byte = if byte.is_ascii_digit() {
                if in_number {
                    continue;
                }
                b'#'
            } else {
                byte
            };
            in_number = byte == b'#';
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn wish<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Wish> {
    error.downcast_ref::<Wish>().or_else(|| error.downcast_ref::<TaskError>().map(|e| &e.wish))
}

/// An error that says what is to become of the task.
///
/// It keeps its meaning inside another error, as long as that one's [`source`](Error::source) leads to it, and it
/// beats `retry_if`.
///
/// ```
/// use std::time::Duration;
/// use evertask::TaskError;
///
/// # #[derive(Debug)] struct Reply { status: u16 }
/// fn check(reply: &Reply) -> Result<(), TaskError> {
///     match reply.status {
///         200 => Ok(()),
///         404 => Err(TaskError::permanent("no such account")),
///         429 => Err(TaskError::retry_after(Duration::from_secs(60), "told to slow down")),
///         503 => Err(TaskError::snooze(Duration::from_secs(5))),
///         410 => Err(TaskError::cancel("the account was closed")),
///         status => Err(TaskError::from(format!("unexpected status {status}"))),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct TaskError {
    wish: Wish,
}

/// What lies between a [`TaskError`] and its cause. Some wrappers hide the type of what they wrap but show its source:
/// so the wish is found there as well.
#[derive(Debug)]
struct Wish {
    retry: Retry,
    cause: Option<BoxError>,
}

impl TaskError {
    /// More attempts would not help: the task fails now.
    pub fn permanent(error: impl Into<BoxError>) -> Self {
        Self::wishing(Retry::Never, Some(error.into()))
    }

    /// The attempt failed, and the next one is to wait this long.
    pub fn retry_after(delay: Duration, error: impl Into<BoxError>) -> Self {
        Self::wishing(Retry::After(delay), Some(error.into()))
    }

    /// Not now: call again after this delay. Spends no attempt and is no failure.
    #[must_use]
    pub fn snooze(delay: Duration) -> Self {
        Self::wishing(Retry::Snooze(delay), None)
    }

    /// The task is no longer wanted: it ends as cancelled.
    pub fn cancel(reason: impl Into<String>) -> Self {
        Self::wishing(Retry::Cancel(reason.into()), None)
    }

    fn wishing(retry: Retry, cause: Option<BoxError>) -> Self {
        Self { wish: Wish { retry, cause } }
    }
}

impl From<String> for TaskError {
    /// An ordinary error: the policy decides.
    fn from(message: String) -> Self {
        Self::wishing(Retry::Policy, Some(message.into()))
    }
}

impl From<&str> for TaskError {
    /// An ordinary error: the policy decides.
    fn from(message: &str) -> Self {
        Self::from(message.to_owned())
    }
}

impl From<BoxError> for TaskError {
    /// An ordinary error: the policy decides.
    fn from(error: BoxError) -> Self {
        Self::wishing(Retry::Policy, Some(error))
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wish.fmt(f)
    }
}

impl Error for TaskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.wish)
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.retry, &self.cause) {
            (Retry::Snooze(delay), _) => write!(f, "snoozed for {delay:?}"),
            (Retry::Cancel(reason), _) => write!(f, "cancelled by its handler: {reason}"),
            (_, Some(cause)) => cause.fmt(f),
            (_, None) => f.write_str("failed"),
        }
    }
}

impl Error for Wish {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().and_then(Error::source)
    }
}

/// Turns a result's error into a [`TaskError`].
///
/// ```
/// use evertask::{ResultExt, TaskError};
///
/// fn read(id: &str) -> Result<u64, TaskError> {
///     id.parse().permanent() // no attempt will make it a number
/// }
/// ```
pub trait ResultExt<T>: Sized {
    /// An error is permanent: the task fails now.
    ///
    /// # Errors
    /// The error, marked.
    fn permanent(self) -> Result<T, TaskError>;

    /// An error asks for the next attempt after this delay.
    ///
    /// # Errors
    /// The error, marked.
    fn retry_after(self, delay: Duration) -> Result<T, TaskError>;
}

impl<T, E: Into<BoxError>> ResultExt<T> for Result<T, E> {
    fn permanent(self) -> Result<T, TaskError> {
        self.map_err(TaskError::permanent)
    }

    fn retry_after(self, delay: Duration) -> Result<T, TaskError> {
        self.map_err(|error| TaskError::retry_after(delay, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("sending failed")]
    struct Outer(#[source] TaskError);

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Echo(#[source] std::num::ParseIntError);

    fn parse_error() -> std::num::ParseIntError {
        "x".parse::<u8>().unwrap_err()
    }

    #[test]
    fn a_wish_survives_inside_other_errors() {
        let failure = Failure::from_error(&Outer(TaskError::permanent("bad address")));
        assert_eq!(failure.retry, Retry::Never);
        assert_eq!(failure.message, "sending failed: bad address");
    }

    #[test]
    fn a_wish_is_found_where_a_wrapper_hides_the_type_but_shows_its_source() {
        /// Shows the source of what it wraps, as boxed errors of some libraries do, but not the thing itself.
        #[derive(Debug)]
        struct Hiding(TaskError);
        impl fmt::Display for Hiding {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl Error for Hiding {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                self.0.source()
            }
        }
        let failure = Failure::from_error(&Hiding(TaskError::snooze(Duration::from_secs(3))));
        assert_eq!(failure.retry, Retry::Snooze(Duration::from_secs(3)));
    }

    #[test]
    fn causes_are_told_once() {
        assert_eq!(
            Failure::from_error(&Echo(parse_error())).message,
            "invalid digit found in string"
        );
        assert_eq!(
            Failure::from_error(&TaskError::permanent(Echo(parse_error()))).message,
            "invalid digit found in string"
        );
    }

    #[test]
    fn a_string_is_an_ordinary_error() {
        assert_eq!(Failure::from_error(&TaskError::from("boom")).retry, Retry::Policy);
        let marked = Err::<(), _>("boom").permanent().unwrap_err();
        assert_eq!(Failure::from_error(&marked).retry, Retry::Never);
    }

    #[test]
    fn fingerprints_ignore_numbers() {
        let print = |text: &str| Failure::new(AttemptEnd::Failed, text).fingerprint();
        assert_eq!(print("user 17 not found"), print("user 4242 not found"));
        assert_ne!(print("user 17 not found"), print("order 17 not found"));
    }
}
