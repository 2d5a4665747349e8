//! Which handlers there are: those the linker gathered, and those named by hand.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicBool},
};

use crate::{error::StartError, handler::HandlerDef, storage::Known};

/// One element of the distributed slice. `None` is our own filler: some linkers stumble over a slice nobody fills.
#[derive(Debug)]
pub struct Registration(pub Option<HandlerDef>);

// The one place where the linker is trusted to gather statics from all crates of the program.
#[allow(unsafe_code)]
mod slice {
    use super::Registration;

    /// What every `#[evertask::handler]` of the program adds itself to.
    #[linkme::distributed_slice]
    pub static HANDLERS: [Registration];

    #[linkme::distributed_slice(HANDLERS)]
    static FILLER: Registration = Registration(None);
}

pub use self::slice::HANDLERS;

/// A handler as the runtime holds it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) def: HandlerDef,
    /// The stored name, shared by everything that names it.
    pub(crate) name: Arc<str>,
    pub(crate) queue: Arc<str>,
    /// A payload of this handler was read back before it was stored, so the shape is known to survive.
    pub(crate) proven: AtomicBool,
}

/// The handlers of one runtime, by stored name and alias.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    by_name: HashMap<Arc<str>, Arc<Entry>>,
}

impl Registry {
    /// All handlers, each once; two of one name are an error that tells both places.
    pub(crate) fn new(defs: impl IntoIterator<Item = HandlerDef>) -> Result<Self, StartError> {
        let mut by_name: HashMap<Arc<str>, Arc<Entry>> = HashMap::new();
        for def in defs {
            let options = &def.options;
            let entry = Arc::new(Entry {
                name: options.name.into(),
                queue: options.queue.into(),
                proven: AtomicBool::new(false),
                def: def.clone(),
            });
            for name in [options.name].iter().chain(options.aliases) {
                if let Some(other) = by_name.get(*name) {
                    let (one, two) = (other.def.options.location, options.location);
                    // The same handler found by the linker and named by hand is one handler.
                    if one == two && other.def.options.name == options.name {
                        continue;
                    }
                    return Err(StartError::TwoHandlers { name: (*name).to_owned(), one, two });
                }
                by_name.insert((*name).into(), Arc::clone(&entry));
            }
        }
        Ok(Self { by_name })
    }

    /// What the linker gathered.
    pub(crate) fn discovered() -> impl Iterator<Item = HandlerDef> {
        HANDLERS.iter().filter_map(|registration| registration.0.clone())
    }

    /// The handler of tasks of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        self.by_name.get(name)
    }

    /// Every handler once, by name.
    pub(crate) fn entries(&self) -> Vec<&Arc<Entry>> {
        let sorted: BTreeMap<&str, &Arc<Entry>> =
            self.by_name.values().map(|entry| (&*entry.name, entry)).collect();
        sorted.into_values().collect()
    }

    /// Every name under which tasks may be stored that these handlers run.
    pub(crate) fn known(&self) -> Arc<[Known]> {
        let mut known: Vec<Known> = self
            .by_name
            .iter()
            .map(|(name, entry)| Known {
                name: Arc::clone(name),
                version: entry.def.options.version,
            })
            .collect();
        known.sort();
        known.into()
    }
}
