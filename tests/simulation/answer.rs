//! What a dispatch is told: what it did, the first time and each time that it is said again.

use evertask::storage::{Dispatched, Enqueued, NewTask};

use crate::model::{Model, number_of};

impl Model {
    /// What this dispatch is to be told, by all that was stored before it.
    pub(crate) fn answer(&self, task: &NewTask) -> Enqueued {
        if let Some(told) = self.told.get(&task.id) {
            return *told;
        }
        let holds = |key: &String| {
            self.tales.iter().find_map(|(id, tale)| {
                let info = tale.info.as_ref().filter(|info| !info.state.is_final())?;
                (info.name == *task.name && info.key.as_ref() == Some(key)).then_some((*id, info))
            })
        };
        match task.key.as_ref().and_then(holds) {
            None => Enqueued { id: task.id, how: Dispatched::Created },
            Some((id, info)) if info.state == evertask::TaskState::Pending => {
                Enqueued { id, how: Dispatched::Replaced }
            }
            Some((id, _)) => Enqueued { id, how: Dispatched::Existing },
        }
    }

    /// It was told that.
    pub(crate) fn answered(&mut self, task: &NewTask, told: Enqueued) {
        // Of one that stored nothing nothing is known when it is said again.
        if told.how != Dispatched::Existing && !self.told.contains_key(&task.id) {
            // Of those that have replaced one task the storage knows the last. An earlier one that is said again counts as new.
            self.told.retain(|made, other| other.id != told.id || *made == told.id);
            self.told.insert(task.id, told);
        }
        self.answers.entry(number_of(&task.payload)).or_default().push(told);
    }
}
