//! What a node can run, in the form in which storages ask for it.

use std::collections::BTreeMap;

use crate::storage::Known;

/// The newest payload version of each handler that a claim names.
pub(crate) struct Handlers<'c>(BTreeMap<&'c str, u32>);

impl<'c> Handlers<'c> {
    pub(crate) fn new(known: &'c [Known]) -> Self {
        let mut newest = BTreeMap::new();
        for Known { name, version } in known {
            let newest: &mut u32 = newest.entry(&**name).or_default();
            *newest = (*newest).max(*version);
        }
        Self(newest)
    }

    /// Each handler with its newest version, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'c str, u32)> {
        self.0.iter().map(|(name, newest)| (*name, *newest))
    }

    /// True if a task of this name, with this payload version, can be run.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
    pub(crate) fn know(&self, name: &str, version: u32) -> bool {
        self.0.get(name).is_some_and(|newest| version <= *newest)
    }
}
