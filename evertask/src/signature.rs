//! What the compiler asks of a handler's signature, and what it says when the answer is no.
//!
//! Generated code names these traits under the user's own types. Their blanket implementations are not recommended, so that the
//! message is about the handler and not about serde.

use serde::{Serialize, de::DeserializeOwned};

use crate::failure::{BoxError, Failure, Retry};

/// What a handler's argument must be.
///
/// The lifetime means nothing. It makes `for<'a> T: Argument<'a>` a bound that the compiler takes on trust in the generated
/// implementations of serde's traits, and questions where these are used: one error, and in these words.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler: it cannot be stored and read back",
    label = "`{Self}` is no owned value that serde can write and read",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it (it must also be `Send + Sync + 'static`)",
    note = "what comes from the runtime and not from the payload is taken as `State<T>`, or marked `#[extract]`"
)]
pub trait Argument<'a>: Serialize + DeserializeOwned + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Argument<'_> for T {}

/// What a handler's output must be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned by a handler: it cannot be stored and read back",
    label = "`{Self}` is no owned value that serde can write and read",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it (it must also be `Send + Sync + 'static`), or \
            return `()`"
)]
pub trait Output: Serialize + DeserializeOwned + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Output for T {}

/// What a handler's error must be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of a handler",
    label = "`{Self}` is not `Into<Box<dyn std::error::Error + Send + Sync>>`",
    note = "implement `std::error::Error` for it, or return `evertask::TaskError`, `String` or `anyhow::Error`"
)]
pub trait HandlerError: Into<BoxError> {}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError>> HandlerError for E {}

/// Tells at compile time whether a handler's return type is a `Result`: the inherent constant of the one hides the
/// trait's constant of all others. By type and not by name, so aliases of `Result` are seen through.
#[derive(Debug)]
pub struct Probe<R>(std::marker::PhantomData<R>);

impl<T, E> Probe<Result<T, E>> {
    /// It is one.
    pub const IS_RESULT: bool = true;
}

/// The constant for everything that is no `Result`.
pub trait NoResult {
    /// It is none.
    const IS_RESULT: bool = false;
}

impl<R> NoResult for Probe<R> {}

/// What a handler may return: `()`, a value that can be stored, or a `Result` of either.
pub trait Returned<const IS_RESULT: bool> {
    /// The value, errors aside.
    type Output: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The error; for values that are none, one that cannot be.
    type Error;

    /// Reads what was returned. `retry_if` says whether an error is worth another attempt.
    ///
    /// # Errors
    /// The handler's error, read.
    fn into_result(
        self,
        retry_if: Option<fn(&Self::Error) -> bool>,
    ) -> Result<Self::Output, Failure>;
}

impl<T: Output> Returned<false> for T {
    type Output = T;
    type Error = std::convert::Infallible;

    fn into_result(self, _: Option<fn(&Self::Error) -> bool>) -> Result<T, Failure> {
        Ok(self)
    }
}

impl<T: Output, E: HandlerError> Returned<true> for Result<T, E> {
    type Output = T;
    type Error = E;

    fn into_result(self, retry_if: Option<fn(&E) -> bool>) -> Result<T, Failure> {
        self.map_err(|error| {
            let worth_it = retry_if.is_none_or(|retry_if| retry_if(&error));
            let mut failure = Failure::from_error(&*error.into());
            if !worth_it && failure.retry == Retry::Policy {
                failure.retry = Retry::Never;
            }
            failure
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::TaskError;

    type Alias = std::result::Result<u8, String>;

    fn read<R: Returned<B>, const B: bool>(
        returned: R,
        retry_if: Option<fn(&R::Error) -> bool>,
    ) -> Result<R::Output, Failure> {
        returned.into_result(retry_if)
    }

    #[test]
    fn results_are_told_from_values_by_type() {
        const { assert!(Probe::<Alias>::IS_RESULT) };
        const { assert!(!Probe::<u8>::IS_RESULT) };
        const { assert!(!Probe::<()>::IS_RESULT) };
        const { assert!(!Probe::<Option<Result<u8, String>>>::IS_RESULT) };
        assert_eq!(read::<_, { Probe::<u8>::IS_RESULT }>(7_u8, None), Ok(7));
        let error: Alias = Err("boom".into());
        let failure = read::<_, { Probe::<Alias>::IS_RESULT }>(error, None).unwrap_err();
        assert_eq!((failure.message.as_str(), failure.retry), ("boom", Retry::Policy));
    }

    #[test]
    fn retry_if_is_asked_and_a_task_error_beats_it() {
        let retry =
            |error: Result<(), TaskError>| error.into_result(Some(|_| false)).unwrap_err().retry;
        assert_eq!(retry(Err(TaskError::from("boom"))), Retry::Never);
        let after = Duration::from_secs(1);
        assert_eq!(retry(Err(TaskError::retry_after(after, "boom"))), Retry::After(after));
    }
}
