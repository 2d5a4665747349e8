//! stub
use crate::{body::Body, error::*, registry::Registry, storage::*, task::*};
#[derive(Debug, Clone)]
pub struct Runtime(());
#[derive(Debug, Clone)]
pub struct WeakRuntime(());
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) payload_max: usize,
}
impl WeakRuntime {
    pub(crate) fn upgrade(&self) -> Option<Runtime> {
        todo!()
    }
}
impl Runtime {
    pub(crate) fn registry(&self) -> &Registry {
        todo!()
    }
    pub(crate) fn settings(&self) -> &Settings {
        todo!()
    }
    pub(crate) async fn enqueue(&self, _: Vec<NewTask>) -> Result<Vec<Enqueued>, DispatchError> {
        todo!()
    }
    pub async fn task(&self, _: TaskId) -> Result<Option<TaskInfo>, StorageError> {
        todo!()
    }
    pub async fn cancel(&self, _: TaskId) -> Result<Cancel, StorageError> {
        todo!()
    }
    pub(crate) async fn output(&self, _: TaskId) -> Result<Body, OutputError> {
        todo!()
    }
}
pub(crate) mod ambient {
    pub(crate) fn current() -> Result<super::Runtime, super::DispatchError> {
        todo!()
    }
}
