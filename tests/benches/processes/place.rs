//! Where tasks are stored, as one process tells it another.

use std::time::Duration;

use evertask::{
    Builder, Runtime,
    storage::{MySql, Postgres},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Postgres,
    Mariadb,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    /// Its schema, or what the names of its tables begin with.
    pub(crate) name: String,
    /// How many milliseconds lie between two looks of a process that nobody wakes.
    pub(crate) look_every: u64,
}

impl Place {
    /// One with nothing in it.
    pub(crate) fn new(kind: Kind, url: String) -> Self {
        Self { kind, url, name: evertask_servers::schema(), look_every: 1_000 }
    }

    pub(crate) fn look_every(&self) -> Duration {
        Duration::from_millis(self.look_every)
    }

    pub(crate) async fn builder(&self) -> Builder {
        let (builder, name) = (Runtime::builder(), &*self.name);
        match self.kind {
            Kind::Postgres => {
                let options = Postgres::options().schema(name);
                builder.storage(options.connect(&self.url).await.expect("a schema"))
            }
            Kind::Mariadb => {
                let options = MySql::options().prefix(name).look_every(self.look_every());
                builder.storage(options.connect(&self.url).await.expect("tables"))
            }
        }
    }

    pub(crate) async fn client(&self) -> Runtime {
        self.builder().await.client().await.expect("a client")
    }
}
