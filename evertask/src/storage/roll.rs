//! Who is there, for people.

use std::time::{Duration, SystemTime};

use super::{Known, NodeId};

/// How long signs of life may stand still of a node that does not say so.
const LEASE: Duration = Duration::from_secs(15);

/// All nodes that have announced themselves and have not left, at one instant.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Roll {
    /// The instant, by the storage's clock.
    pub now: SystemTime,
    /// In the order of their ids, so those that started first come first.
    pub nodes: Vec<NodeInfo>,
}

/// A node as it announced itself, and whether it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Its identity: a new one at each start.
    pub id: NodeId,
    /// The host it runs on.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// The version of its program.
    pub binary: String,
    /// The handlers it knows, each with the newest version of its payload.
    pub handlers: Vec<Known>,
    /// The queues it serves.
    pub queues: Vec<String>,
    /// When it announced itself first.
    pub joined: SystemTime,
    /// It has given a sign of life within its lease, or is otherwise known to live. What a node held that does not is taken over
    /// by the others.
    pub lives: bool,
    /// How long ago its last sign of life was, by the storage's clock; zero where it lives without giving any.
    pub quiet: Duration,
}

impl Roll {
    /// The roll at this instant.
    #[must_use]
    pub fn new(now: SystemTime, mut nodes: Vec<NodeInfo>) -> Self {
        nodes.sort_by_key(|node| node.id);
        Self { now, nodes }
    }
}

impl NodeInfo {
    /// A node that lives, of which no more is known.
    #[must_use]
    pub fn new(id: NodeId, joined: SystemTime) -> Self {
        Self {
            id,
            host: String::new(),
            pid: 0,
            binary: String::new(),
            handlers: Vec::new(),
            queues: Vec::new(),
            joined,
            lives: true,
            quiet: Duration::ZERO,
        }
    }

    /// Its last sign of life was so long ago, and it said that this is its lease.
    pub(crate) fn with_life(self, quiet: Duration, lease: Option<Duration>) -> Self {
        Self { quiet, lives: quiet < lease.unwrap_or(LEASE), ..self }
    }

    /// What it knows and serves, as SQL storages keep it: `[["name", version], …]` and `["name", …]`.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) fn with_trade(self, handlers: &str, queues: &str) -> Self {
        let known: Vec<(String, u32)> = serde_json::from_str(handlers).unwrap_or_default();
        let known = known.into_iter().map(|(name, version)| Known { name: name.into(), version });
        let queues = serde_json::from_str(queues).unwrap_or_default();
        Self { handlers: known.collect(), queues, ..self }
    }
}
