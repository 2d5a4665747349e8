//! What is measured: a storage of each kind, new for each run.

use std::path::{Path, PathBuf};

use evertask::{
    Builder, Runtime,
    storage::{Memory, Postgres, Sqlite},
};
use evertask_servers::Cluster;

use crate::Outcome;

/// A kind of storage.
pub(crate) enum Subject {
    Memory,
    Sqlite(PathBuf),
    Postgres(Cluster),
}

impl Subject {
    /// All that there are. A server that syncs to the disk is only started to be measured.
    pub(crate) fn all(place: &Path, real: bool) -> Outcome<Vec<Self>> {
        let mut all = vec![Self::Memory, Self::Sqlite(place.to_owned())];
        if real {
            all.extend(evertask_servers::own_postgres_on(place).map(Self::Postgres));
        }
        Ok(all)
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// One of it with nothing in it.
    pub(crate) fn fresh(&self) -> Outcome<Fresh<'_>> {
        Ok(match self {
            Self::Memory => Fresh::Memory(Memory::new()),
            Self::Sqlite(place) => Fresh::Sqlite(tempfile::tempdir_in(place)?),
            Self::Postgres(server) => Fresh::Postgres(server, evertask_servers::schema()),
        })
    }
}

/// A storage of its own for one run.
pub(crate) enum Fresh<'s> {
    Memory(Memory),
    Sqlite(tempfile::TempDir),
    Postgres(&'s Cluster, String),
}

impl Fresh<'_> {
    /// The file of a storage that is one.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Sqlite(directory) => Some(directory.path().join("tasks.db")),
            _ => None,
        }
    }

    /// A node or a client on it.
    pub(crate) async fn builder(&self) -> Outcome<Builder> {
        let builder = Runtime::builder();
        Ok(match self {
            Self::Memory(memory) => builder.storage(memory.clone()),
            Self::Sqlite(directory) => {
                builder.storage(Sqlite::open(directory.path().join("tasks.db")).await?)
            }
            Self::Postgres(server, schema) => {
                builder.storage(Postgres::options().schema(schema).connect(server.url()).await?)
            }
        })
    }
}
