//! The storages, each made anew for each trial.

use std::{fmt, path::Path, sync::Arc};

use evertask_servers::{Cluster, SmallDisk};

use crate::{fault::Fault, scene::Scene, server::Server, toll::Toll};

/// Room for a server and its data, and for a file.
const MEGABYTES: (u64, u64) = (320, 64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    Sqlite,
    Postgres,
    Mariadb,
}

impl Storage {
    pub(crate) const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::Mariadb];

    /// There is such a fault there. All who share a file have one clock.
    pub(crate) fn may_suffer(self, fault: Fault) -> bool {
        self != Self::Sqlite || !fault.needs_a_server()
    }

    pub(crate) async fn suffer(
        self,
        fault: Fault,
        seed: u64,
        seconds: std::time::Duration,
    ) -> Option<(usize, Toll)> {
        let mut disk = None;
        if fault == Fault::Full {
            let room = if self == Self::Sqlite { MEGABYTES.1 } else { MEGABYTES.0 };
            disk = Some(evertask_servers::small_disk(room)?);
        }
        let trial = Trial { fault, seed, seconds };
        match self {
            Self::Sqlite => {
                let place = tempfile::tempdir().unwrap();
                let place = disk.as_ref().map_or(place.path(), SmallDisk::path);
                let url = format!("sqlite://{}", place.join("tasks.db").display());
                Some(trial.run(&url, None::<Arc<Cluster>>, disk).await)
            }
            Self::Postgres => {
                let own = evertask_servers::own_postgres_on;
                trial.on(disk, evertask_servers::own_postgres, own).await
            }
            Self::Mariadb => {
                let own = evertask_servers::own_mariadb_on;
                trial.on(disk, evertask_servers::own_mariadb, own).await
            }
        }
    }
}

struct Trial {
    fault: Fault,
    seed: u64,
    seconds: std::time::Duration,
}

impl Trial {
    async fn on<S: Server>(
        self,
        disk: Option<SmallDisk>,
        server: impl Fn() -> Option<S>,
        server_on: impl Fn(&Path) -> Option<S>,
    ) -> Option<(usize, Toll)> {
        let server = match &disk {
            Some(disk) => server_on(disk.path())?,
            None => server()?,
        };
        Some(self.run(&server.url(), Some(Arc::new(server)), disk).await)
    }

    async fn run(
        self,
        url: &str,
        server: Option<Arc<impl Server>>,
        disk: Option<SmallDisk>,
    ) -> (usize, Toll) {
        let Self { fault, seed, seconds } = self;
        let mut scene = Scene::new(url, server, disk, fault, seed).await;
        let count = scene.suffer(fault, seconds).await;
        (count, scene.end().await)
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::Mariadb => "MariaDB",
        })
    }
}
