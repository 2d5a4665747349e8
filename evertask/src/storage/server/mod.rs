//! What storages on a database server have in common, whichever server it is: lines to it that are made again, who owns them, and
//! the signs of life that go over one. What a storage has of its own is its [`Server`].

mod actor;
mod doubt;
mod fault;
mod filled;
mod heart;
#[cfg(all(test, feature = "conformance"))]
pub(super) mod joined;
mod line;
mod pool;
mod thread;
mod url;

use std::{fmt, future::Future};

pub(super) use self::{
    actor::{Actor, Gathered, weight},
    doubt::Doubt,
    fault::{DriverError, Fault, closed, is_refused},
    filled::{CROWDED, Filled},
    heart::{Heart, beat},
    line::{Line, Transition},
    pool::Pool,
    thread::Thread,
    url::without,
};

/// A database on a server of one kind: how its lines are made, and what is known about all of them.
pub(crate) trait Server: fmt::Debug + Send + Sync + 'static {
    type Connection: Session<Driver = Self::Driver>;
    type Driver: DriverError;

    /// For people: the database without the password.
    fn place(&self) -> &str;

    fn doubt(&self) -> &Doubt;

    /// The time is made by a test, and so are the beats.
    fn is_timed(&self) -> bool;

    fn open(
        &self,
        purpose: Purpose,
    ) -> impl Future<Output = Result<Self::Connection, Fault<Self::Driver>>> + Send;
}

/// One session of a server. It ends when this is dropped.
pub(crate) trait Session: fmt::Debug + Send + Sync + 'static {
    type Driver: DriverError;

    /// It is known to have ended.
    fn is_over(&self) -> bool;

    /// Ends a transaction, if there is one, without a trace.
    fn roll_back(&mut self) -> impl Future<Output = Result<(), Fault<Self::Driver>>> + Send;
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Transitions.
    Write,
    /// Questions of people, which may well need to read a whole table.
    Read,
}
