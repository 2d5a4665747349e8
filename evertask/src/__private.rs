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

pub use crate::{
    context::Context,
    dispatch::{Dispatch, dispatch},
    extract::{FromContext, MissingState, States},
    failure::Failure,
    handler::{Handler, HandlerDef, HandlerOptions, Location, NoResult, Probe, Returned},
    hooks::{HookCall, HookReturned, Hooks},
    policy::{Backoff, Setting},
    registry::{HANDLERS, Registration},
};

/// Makes one extracted parameter; its error becomes the attempt's failure.
///
/// # Errors
/// What [`FromContext::from_context`] returned.
pub async fn extract<T: FromContext>(ctx: &Context) -> Result<T, Failure> {
    T::from_context(ctx).await.map_err(|error| Failure::from_error(&*error.into()))
}

/// Says under the right token that a type is no payload.
pub const fn payload<T: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static>() {}
