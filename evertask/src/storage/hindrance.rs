//! What stands in a storage's way from outside.

use std::time::Duration;

/// Something that is none of evertask's doing and slows the storage down for as long as it lasts: for people, who can end it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hindrance {
    /// What it is, what it does, and how to end it.
    pub what: String,
    /// For how long it has lasted.
    pub lasts: Duration,
    /// The process of the database server that is to blame, where it is one.
    pub pid: Option<u32>,
    /// What it was asked last, as far as the server shows it to the storage's role.
    pub query: Option<String>,
}

impl Hindrance {
    /// A hindrance of which no process is known.
    pub fn new(what: impl Into<String>, lasts: Duration) -> Self {
        Self { what: what.into(), lasts, pid: None, query: None }
    }
}
