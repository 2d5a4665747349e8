//! The one source of chance: by how much a loop looks sooner than it would have to, so that nodes do not look in step.
//!
//! Nothing else in this crate is random but identities. Those of tasks come from here as well, since the jitter of their backoff
//! goes by them; of all others nothing is decided but which of them came first. So a simulator that seeds this, on paused time
//! and a clock of its own, sees the same history every time.

#[cfg(feature = "simulation")]
use std::cell::Cell;
use std::time::Duration;

use uuid::Uuid;

#[cfg(feature = "simulation")]
thread_local! {
    /// What chance goes by on this thread, if it was seeded.
    static SEEDED: Cell<Option<u64>> = const { Cell::new(None) };
    /// How many identities were made since.
    static MADE: Cell<u64> = const { Cell::new(0) };
}

/// Makes everything that is left to chance on this thread follow from a number.
#[cfg(feature = "simulation")]
pub fn seed(seed: u64) {
    SEEDED.set(Some(seed));
    MADE.set(0);
}

/// A new identity, larger than all that were made before.
pub(crate) fn identity() -> Uuid {
    #[cfg(feature = "simulation")]
    if let Some(seed) = SEEDED.get() {
        // A stream of its own: how many tasks there are changes nothing about when a loop looks.
        let nth = MADE.get() + 1;
        MADE.set(nth);
        let random = u128::from(mixed(seed ^ nth)) << 64;
        let [random @ .., _, _, _, _, _, _] = random.to_be_bytes();
        return uuid::Builder::from_unix_timestamp_millis(nth, &random).into_uuid();
    }
    Uuid::now_v7()
}

/// The duration, shortened by up to half at random, so that nodes neither look nor come back in step.
pub(crate) fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(1.0 - unit() / 2.0)
}

/// A number from 0 to 1.
fn unit() -> f64 {
    #[cfg(feature = "simulation")]
    if let Some(seed) = SEEDED.get() {
        SEEDED.set(Some(seed.wrapping_add(STEP)));
        return of_bits(mixed(seed));
    }
    // The random bits of a UUID; no other source is needed.
    let (_, low) = Uuid::now_v7().as_u64_pair();
    of_bits(low >> 16)
}

#[cfg(feature = "simulation")]
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64.
#[cfg(feature = "simulation")]
fn mixed(seed: u64) -> u64 {
    let next = seed.wrapping_add(STEP);
    let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn of_bits(bits: u64) -> f64 {
    (bits & 0xFFFF_FFFF) as f64 / f64::from(u32::MAX)
}
