//! Mistakes that a storage could make, to be made on purpose: each has to be found.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A settlement is taken whatever its lease.
    NoFence,
}

impl Bug {
    /// Each, and within how many seeds it has to be found.
    pub(crate) const ALL: &[(Self, u64)] = &[(Self::NoFence, 200)];
}
