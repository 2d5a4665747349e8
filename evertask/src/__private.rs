//! The only door for generated code. Nothing in here is part of the public interface; it may change in any release.

pub use ::linkme;
pub use ::serde;
pub use ::std::{
    boxed::Box,
    clone::Clone,
    column,
    convert::Into,
    file,
    future::Future,
    line, module_path,
    option::Option::{self, None, Some},
    result::Result::{self, Err, Ok},
    string::String,
    time::Duration,
};

use crate::failure::BoxError;
pub use crate::{
    context::Context,
    dispatch::{Dispatch, dispatch},
    extract::{FromContext, MissingState, States},
    failure::Failure,
    handler::{Handler, HandlerDef, HandlerOptions, Location},
    hooks::{HookCall, HookReturned, Hooks},
    policy::{Backoff, Setting},
    registry::{HANDLERS, Registration},
    signature::{Argument, NoResult, Probe, Returned},
    tick::{Missed, Overlap},
};

/// What was extracted; its error becomes the attempt's failure.
///
/// # Errors
/// What [`FromContext::from_context`] returned.
pub fn extracted<T, E: Into<BoxError>>(extracted: Result<T, E>) -> Result<T, Failure> {
    extracted.map_err(|error| Failure::from_error(&*error.into()))
}
