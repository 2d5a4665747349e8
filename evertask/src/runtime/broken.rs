//! Schedules that this node has set aside since they make no sense as they are stored, to be named to who asks how it is.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    runtime::ScheduleInfo,
    storage::{FullStorage, StorageError},
    tick::ScheduleState,
};

/// How many are remembered, the latest.
const REMEMBERED: usize = 100;

/// Their names and keys.
#[derive(Debug, Default)]
pub(crate) struct SetAside(Mutex<VecDeque<Identity>>);

type Identity = (Arc<str>, Arc<str>);

impl SetAside {
    /// This one is.
    pub(crate) fn add(&self, name: &Arc<str>, key: &Arc<str>) {
        let one = (name.clone(), key.clone());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| *other != one);
        if all.len() == REMEMBERED {
            all.pop_front();
        }
        all.push_back(one);
    }

    /// Those that still are; others are forgotten.
    pub(crate) async fn still(
        &self,
        storage: &dyn FullStorage,
    ) -> Result<Vec<ScheduleInfo>, StorageError> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut still = Vec::new();
        for (name, key) in all {
            let stored = storage.schedule(name.to_string(), key.to_string()).await?;
            let info = stored.as_ref().map(ScheduleInfo::of);
            match info.filter(|info| matches!(info.state, ScheduleState::Broken(_))) {
                Some(info) => still.push(info),
                None => self.forget(&(name, key)),
            }
        }
        Ok(still)
    }

    fn forget(&self, one: &Identity) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|other| other != one);
    }
}
