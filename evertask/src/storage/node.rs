//! What passes about nodes: who they are, whether they live, what they hold.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::NodeId;
use crate::task::TaskId;

/// A node as it announces itself.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Node {
    /// Its identity.
    pub id: NodeId,
    /// The host it runs on, for people to read; nothing is decided by it.
    pub host: String,
    /// Its process, likewise.
    pub pid: u32,
    /// The version of the program.
    pub binary: String,
    /// The handlers it knows.
    pub handlers: Arc<[Known]>,
    /// The queues it serves.
    pub queues: Vec<String>,
    /// How long its signs of life may stand still before others take it for dead.
    pub lease: Duration,
    /// How long a storage that sends signs of life by itself goes on with that while the node's runtime does not
    /// [`renew`](super::Storage::renew).
    pub stall_limit: Duration,
}

impl Node {
    /// A node of this process with a new identity of its own, random but for the time in front.
    #[must_use]
    pub fn new(handlers: Arc<[Known]>, queues: Vec<String>) -> Self {
        Self {
            id: Uuid::now_v7(),
            host: std::env::var("HOSTNAME").unwrap_or_default(),
            pid: std::process::id(),
            binary: String::new(),
            handlers,
            queues,
            lease: Duration::from_secs(15),
            stall_limit: Duration::from_secs(300),
        }
    }
}

/// A handler a node knows: tasks of this name with this payload version or an older one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Known {
    /// The stored name, or an alias.
    pub name: Arc<str>,
    /// The newest payload version it can read.
    pub version: u32,
}

/// A sign of life.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Beat {
    /// Whose.
    pub node: NodeId,
    /// Tasks taken ahead whose attempts have begun since.
    pub begun: Vec<(TaskId, u64)>,
    /// What the node knows of its claims; `None` to be told of all it holds, whatever that costs.
    pub claims: Option<Claims>,
}

impl Beat {
    /// A sign of life of this node, which wants to be told of all it holds.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self { node, begun: Vec::new(), claims: None }
    }
}

/// What a node knows of its claims. All others were answered, and of what they brought the node has nothing any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// It has something of these, in the order of their numbers.
    pub held: Vec<u64>,
    /// It has had the answers to all claims up to this one.
    pub answered: u64,
}

/// A task that storage believes a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The task.
    pub id: TaskId,
    /// Under which lease.
    pub lease: u64,
    /// By which claim; 0 for one that was seized.
    pub claim: u64,
    /// It is to be cancelled.
    pub cancel: bool,
}

/// Another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Which.
    pub node: NodeId,
    /// What is known of it.
    pub life: Life,
    /// How long ago it gave its last sign of life, by the storage's clock; zero where that is not known.
    pub quiet: Duration,
    /// How long its signs of life may stand still, as it said when it joined; `None` where that is not known.
    pub lease: Option<Duration>,
}

impl Peer {
    /// A node of which no more is known than this.
    #[must_use]
    pub fn new(node: NodeId, life: Life) -> Self {
        Self { node, life, quiet: Duration::ZERO, lease: None }
    }
}

/// What a storage knows of a node's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It lives.
    Alive,
    /// It is dead for certain.
    Dead,
    /// Only its signs of life are known. One that stays the same for a whole lease, seen by an observer who was connected
    /// all the time, means death.
    Beats(u64),
}

impl Life {
    /// How often it has given a sign of life, where that is all that is known.
    #[must_use]
    pub fn beats(self) -> Option<u64> {
        match self {
            Self::Beats(beats) => Some(beats),
            Self::Alive | Self::Dead => None,
        }
    }
}

/// A task taken from a dead node, to be judged by the one who took it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Lost {
    /// The task.
    pub id: TaskId,
    /// The taker's lease.
    pub lease: u64,
    /// The name of its handler.
    pub name: Arc<str>,
    /// Its queue.
    pub queue: Arc<str>,
    /// Which try it was.
    pub attempt: u32,
    /// The dead node.
    pub node: NodeId,
    /// The attempt had begun.
    pub started: bool,
    /// How long ago.
    pub ran: Duration,
    /// It was a suspect, and nothing else had begun on that node.
    pub alone: bool,
    /// How often it was lost so before.
    pub lost_alone: u32,
}
