//! What is measured: a storage of each kind, new for each run.

use std::path::{Path, PathBuf};

use evertask::{
    Builder, Runtime,
    storage::{Memory, MySql, Postgres, Sqlite},
};
use evertask_servers::{Cluster, Mariadb};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::{
    Outcome,
    rate::What,
    sql::{self, Sent},
};

/// A kind of storage.
pub(crate) enum Subject {
    Memory,
    Sqlite(PathBuf),
    Postgres(Cluster),
    Mariadb(Mariadb),
}

impl Subject {
    /// All that there are and are wanted, by name. A server that syncs to the disk is only started to be measured.
    pub(crate) fn all(place: &Path, real: bool, wanted: impl Fn(&str) -> bool) -> Vec<Self> {
        let file = || Some(Self::Sqlite(place.to_owned()));
        let postgres = || evertask_servers::own_postgres_on(place).map(Self::Postgres);
        let mariadb = || evertask_servers::roomy_mariadb_on(place).map(Self::Mariadb);
        let mut all = Vec::new();
        all.extend(wanted("sqlite").then(file).flatten());
        all.extend((real && wanted("postgres")).then(postgres).flatten());
        all.extend((real && wanted("mariadb")).then(mariadb).flatten());
        // Last, as what it held the allocator may keep, and for the others is asked how much memory they take.
        all.extend(wanted("memory").then_some(Self::Memory));
        all
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            Self::Mariadb(_) => "mariadb",
        }
    }

    /// One of it with nothing in it.
    pub(crate) fn fresh(&self) -> Outcome<Fresh<'_>> {
        Ok(match self {
            Self::Memory => Fresh::Memory(Memory::new()),
            Self::Sqlite(place) => Fresh::Sqlite(tempfile::tempdir_in(place)?, OnceCell::new()),
            Self::Postgres(server) => Fresh::Postgres(server, evertask_servers::schema()),
            Self::Mariadb(server) => Fresh::Mariadb(server, evertask_servers::schema()),
        })
    }
}

/// Where a storage is, as one process tells it another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Place {
    File(PathBuf),
    Postgres(String, String),
    Mariadb(String, String),
}

impl Place {
    pub(crate) async fn builder(&self) -> Outcome<Builder> {
        let builder = Runtime::builder();
        Ok(match self {
            Self::File(path) => builder.storage(Sqlite::open(path).await?),
            Self::Postgres(url, schema) => {
                builder.storage(Postgres::options().schema(schema).connect(url).await?)
            }
            Self::Mariadb(url, prefix) => {
                builder.storage(MySql::options().prefix(prefix).connect(url).await?)
            }
        })
    }
}

/// A storage of its own for one run.
pub(crate) enum Fresh<'s> {
    Memory(Memory),
    Sqlite(tempfile::TempDir, OnceCell<Sqlite>),
    /// In this schema.
    Postgres(&'s Cluster, String),
    /// In tables whose names begin so.
    Mariadb(&'s Mariadb, String),
}

impl Fresh<'_> {
    /// What it, or the server that it is on, has been sent so far, where that is known.
    pub(crate) async fn sent(&self, what: What) -> Outcome<Option<Sent>> {
        Ok(match self {
            Self::Memory(_) => None,
            Self::Sqlite(_, storage) => storage.get().map(|storage| {
                let (commits, reads) = storage.traffic();
                Sent { statements: commits + reads, batches: commits }
            }),
            Self::Postgres(server, _) => Some(sql::sent_to_postgres(server, what).await?),
            Self::Mariadb(server, _) => Some(sql::sent_to_mariadb(server, what).await?),
        })
    }

    /// A node or a client on it.
    pub(crate) async fn builder(&self) -> Outcome<Builder> {
        let builder = Runtime::builder();
        Ok(match self {
            Self::Memory(memory) => builder.storage(memory.clone()),
            Self::Sqlite(directory, storage) => {
                let open = || Sqlite::open(directory.path().join("tasks.db"));
                builder.storage(storage.get_or_try_init(open).await?.clone())
            }
            Self::Postgres(..) | Self::Mariadb(..) => {
                self.place().ok_or("a server is somewhere")?.builder().await?
            }
        })
    }

    /// Where it is, for other processes; where others can have it.
    pub(crate) fn place(&self) -> Option<Place> {
        match self {
            Self::Memory(_) => None,
            Self::Sqlite(directory, _) => Some(Place::File(directory.path().join("tasks.db"))),
            Self::Postgres(server, schema) => Some(Place::Postgres(server.url(), schema.clone())),
            Self::Mariadb(server, prefix) => Some(Place::Mariadb(server.url(), prefix.clone())),
        }
    }
}
