//! The one source of chance: by how much a loop looks sooner than it would have to, so that nodes do not look in step.
//!
//! Nothing else in this crate is random but identities, and nothing is decided by those but which of them came first. So a
//! simulator that seeds this, on paused time and a clock of its own, sees the same history every time.

#[cfg(feature = "simulation")]
use std::cell::Cell;
use std::time::Duration;

#[cfg(feature = "simulation")]
thread_local! {
    /// What chance goes by on this thread, if it was seeded.
    static SEEDED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes everything that is left to chance on this thread follow from a number.
#[cfg(feature = "simulation")]
pub fn seed(seed: u64) {
    SEEDED.set(Some(seed));
}

/// The duration, shortened by up to half at random, so that nodes neither look nor come back in step.
pub(crate) fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(1.0 - unit() / 2.0)
}

/// A number from 0 to 1.
fn unit() -> f64 {
    #[cfg(feature = "simulation")]
    if let Some(seed) = SEEDED.get() {
        // SplitMix64.
        let next = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        SEEDED.set(Some(next));
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        return of_bits(mixed ^ (mixed >> 31));
    }
    // The random bits of a UUID; no other source is needed.
    let (_, low) = uuid::Uuid::now_v7().as_u64_pair();
    of_bits(low >> 16)
}

fn of_bits(bits: u64) -> f64 {
    (bits & 0xFFFF_FFFF) as f64 / f64::from(u32::MAX)
}
