//! What few tasks have: kept apart, so that the many that have none of it take less room.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use crate::task::{AttemptInfo, TaskId};

/// What few tasks have. Instants are in microseconds since 1970.
#[derive(Debug, PartialEq)]
pub(super) struct Rare {
    /// The dispatch that was stored last, where that is not the first one.
    pub(super) request: Option<TaskId>,
    pub(super) key: Option<Arc<str>>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) retries: Option<u32>,
    pub(super) timeout: Option<Option<Duration>>,
    pub(super) tick: Option<i64>,
    pub(super) expires: Option<i64>,
    pub(super) cancel_asked: bool,
    pub(super) error: Option<String>,
    pub(super) output_error: Option<String>,
    pub(super) attempts: VecDeque<AttemptInfo>,
}

impl Rare {
    pub(super) const fn nothing() -> Self {
        Self {
            request: None,
            key: None,
            tags: BTreeMap::new(),
            retries: None,
            timeout: None,
            tick: None,
            expires: None,
            cancel_asked: false,
            error: None,
            output_error: None,
            attempts: VecDeque::new(),
        }
    }
}

/// What a task has of it; most have nothing, and no place for it either.
#[derive(Debug)]
pub(super) struct Rarely(Option<Box<Rare>>);

static NOTHING: Rare = Rare::nothing();

impl Rarely {
    pub(super) fn of(rare: Rare) -> Self {
        Self((rare != NOTHING).then(|| Box::new(rare)))
    }

    /// To write something: makes a place for it.
    pub(super) fn place(&mut self) -> &mut Rare {
        self.0.get_or_insert_with(|| Box::new(Rare::nothing()))
    }

    /// To take something out: nothing if there is none of it.
    pub(super) fn there(&mut self) -> Option<&mut Rare> {
        self.0.as_deref_mut()
    }
}

impl Deref for Rarely {
    type Target = Rare;

    fn deref(&self) -> &Rare {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}
