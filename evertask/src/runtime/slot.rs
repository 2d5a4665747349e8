//! What an attempt leaves to the next one in its slot, so that where tasks are many and quick, few of them ask for memory.

use std::{pin::Pin, sync::Arc};

use crate::{
    context::{Context, NewContext},
    registry::Entry,
    seat::{AnySeat, Seat},
};

/// The places of the last attempt.
#[derive(Default)]
pub(crate) struct Slot {
    ctx: Option<Context>,
    /// With the handler that it is a seat of.
    seat: Option<(Arc<Entry>, AnySeat)>,
}

impl Slot {
    /// A context, in the place of the last one unless somebody has kept that.
    pub(crate) fn context(&mut self, new: NewContext) -> Context {
        match &mut self.ctx {
            Some(last) => {
                last.renew(new);
                last.clone()
            }
            None => self.ctx.insert(Context::new(new)).clone(),
        }
    }

    /// A seat for a call of this handler: the last one, if it was the same.
    pub(crate) fn seat(&mut self, entry: &Arc<Entry>) -> Pin<&mut dyn Seat> {
        let last = self.seat.take().filter(|(of, _)| Arc::ptr_eq(of, entry));
        let seat = last.unwrap_or_else(|| (Arc::clone(entry), (entry.def.seat)()));
        self.seat.insert(seat).1.as_mut()
    }
}
