//! Statements that are run for every task: a transaction keeps them at hand until it ends, since finding one in the cache of the
//! connection takes about as long as running it.

use std::cell::{RefCell, RefMut};

use rusqlite::{CachedStatement, Connection};

use super::{claim, enqueue, settle};

/// Which one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hot {
    Insert,
    InsertPayload,
    Take,
    Payload,
    Complete,
}

impl Hot {
    const COUNT: usize = 5;

    fn sql(self) -> &'static str {
        match self {
            Self::Insert => enqueue::INSERT,
            Self::InsertPayload => enqueue::INSERT_PAYLOAD,
            Self::Take => claim::TAKE,
            Self::Payload => claim::PAYLOAD,
            Self::Complete => settle::COMPLETE,
        }
    }
}

/// Those that were used.
pub(super) struct HotStatements<'c> {
    conn: &'c Connection,
    statements: [RefCell<Option<CachedStatement<'c>>>; Hot::COUNT],
}

impl<'c> HotStatements<'c> {
    pub(super) fn new(conn: &'c Connection) -> Self {
        Self { conn, statements: [const { RefCell::new(None) }; Hot::COUNT] }
    }

    pub(super) fn get(&self, hot: Hot) -> rusqlite::Result<RefMut<'_, CachedStatement<'c>>> {
        let mut place = self.statements[hot as usize].borrow_mut();
        let statement = match place.take() {
            Some(statement) => statement,
            None => self.conn.prepare_cached(hot.sql())?,
        };
        Ok(RefMut::map(place, |place| place.insert(statement)))
    }
}
