//! What a handler gets besides its payload: shared state, the context, anything an application teaches us to make.

use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    convert::Infallible,
    fmt,
    future::Future,
    ops::Deref,
    sync::Arc,
};

use crate::{context::Context, failure::BoxError};

/// Something that can be made from the context of an attempt: implement it, and mark the parameter `#[extract]`.
///
/// ```
/// use evertask::{Context, FromContext};
///
/// struct Tenant(String);
///
/// impl FromContext for Tenant {
///     type Error = std::convert::Infallible;
///
///     async fn from_context(ctx: &Context) -> Result<Self, Self::Error> {
///         Ok(Tenant(ctx.queue().to_owned()))
///     }
/// }
///
/// #[evertask::handler]
/// async fn bill(customer: u64, #[extract] tenant: Tenant) {
///     println!("bill customer {customer} of {}", tenant.0);
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made from a task's context",
    label = "does not implement `evertask::FromContext`",
    note = "implement `evertask::FromContext` for it, or take `evertask::State<T>` and give the value to the builder \
            with `.state(..)`"
)]
pub trait FromContext: Sized + Send {
    /// Why it could not be made; the attempt then fails with it.
    type Error: Into<BoxError>;

    /// Makes it, before the handler is called.
    fn from_context(ctx: &Context) -> impl Future<Output = Result<Self, Self::Error>> + Send;

    /// Asked once, at start: is everything there that it will need?
    ///
    /// # Errors
    /// What is missing.
    fn check(states: &States) -> Result<(), MissingState> {
        let _none_needed = states;
        Ok(())
    }
}

/// A value of the application, shared by all attempts: given to the builder with `.state(..)`, taken as a parameter.
///
/// In a unit test, where the handler is called as the plain fn it is, `State::from(value)` makes one.
pub struct State<T>(Arc<T>);

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> From<T> for State<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> From<Arc<T>> for State<T> {
    fn from(value: Arc<T>) -> Self {
        Self(value)
    }
}

impl<T: Send + Sync + 'static> FromContext for State<T> {
    type Error = MissingState;

    async fn from_context(ctx: &Context) -> Result<Self, MissingState> {
        ctx.states().require()
    }

    fn check(states: &States) -> Result<(), MissingState> {
        states.require::<T>().map(|_| ())
    }
}

impl FromContext for Context {
    type Error = Infallible;

    async fn from_context(ctx: &Context) -> Result<Self, Infallible> {
        Ok(ctx.clone())
    }
}

/// The values given to the builder, by type.
#[derive(Clone, Default)]
pub struct States(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl States {
    /// Adds a value; a second one of the same type takes the place of the first.
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// The value of this type, if one was given.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<State<T>> {
        let value = Arc::clone(self.0.get(&TypeId::of::<T>())?);
        value.downcast().ok().map(State)
    }

    fn require<T: Send + Sync + 'static>(&self) -> Result<State<T>, MissingState> {
        self.get().ok_or_else(|| MissingState::new(type_name::<T>()))
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "States({})", self.0.len())
    }
}

/// Something that a handler takes and the builder was not given, a state above all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.told())]
#[non_exhaustive]
pub struct MissingState {
    /// The missing type, as the compiler writes it.
    pub type_name: &'static str,
    why: Option<String>,
}

impl MissingState {
    /// No state of this type was given.
    #[must_use]
    pub fn new(type_name: &'static str) -> Self {
        Self { type_name, why: None }
    }

    /// This type cannot be made, for this reason.
    #[must_use]
    pub fn because(type_name: &'static str, why: impl Into<String>) -> Self {
        Self { type_name, why: Some(why.into()) }
    }

    fn told(&self) -> String {
        let Self { type_name, why } = self;
        why.clone().unwrap_or_else(|| {
            format!("no state of type `{type_name}` was given; add `.state(..)` to the builder")
        })
    }
}
