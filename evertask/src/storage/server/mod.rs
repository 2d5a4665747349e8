//! What storages on a database server have in common, whichever server it is.

mod doubt;
mod thread;

pub(super) use self::{doubt::Doubt, thread::Thread};
