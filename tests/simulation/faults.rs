//! What a seed draws that goes wrong: processes, the storage, the net, the clock, single calls.

use std::time::Duration;

use evertask::StorageErrorKind;
use fastrand::Rng;

use crate::{
    plan::{HOUR, PEACE, Release, ms, weighted},
    unstorable::Part,
};

/// Something that goes wrong.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Crash {
        at: Duration,
        place: usize,
        back: Duration,
    },
    /// The process is stopped and goes on later.
    Stand {
        at: Duration,
        place: usize,
        lasts: Duration,
    },
    /// The storage is out of reach; it says so, or says nothing.
    Cut {
        at: Duration,
        place: usize,
        lasts: Duration,
        silent: bool,
    },
    /// The storage wakes nobody there.
    Deaf {
        at: Duration,
        place: usize,
        lasts: Duration,
    },
    Shutdown {
        at: Duration,
        place: usize,
        back: Duration,
    },
    Deploy {
        at: Duration,
        place: usize,
        release: Release,
    },
    /// The storage is out of reach for everybody.
    Outage {
        at: Duration,
        lasts: Duration,
        silent: bool,
    },
    /// All processes are stopped and go on later: the machine slept.
    Sleep {
        at: Duration,
        lasts: Duration,
    },
    /// The storage's clock jumps, by so many milliseconds. If it went back by far, it is put right before there is peace.
    Jump {
        at: Duration,
        by: i64,
    },
    /// One call goes wrong: the nth of its kind from this place.
    Call {
        place: usize,
        call: Call,
        nth: u32,
        harm: Harm,
    },
    /// A part of the ends of this task cannot be stored, or the tasks of this series; the storage says which of many it is, or refuses
    /// them all.
    Unstorable {
        number: u32,
        part: Part,
        says_which: bool,
    },
}

/// The calls of a storage, as far as one may go wrong without the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Join,
    Enqueue,
    Claim,
    Settle,
    Renew,
    Peers,
    Seize,
    Cancel,
    Revive,
    Prune,
    Schedules,
    Leave,
    Read,
}

impl Call {
    const HARMED: [(u32, Self); 13] = [
        (30, Self::Settle),
        (30, Self::Claim),
        (20, Self::Enqueue),
        (20, Self::Renew),
        (6, Self::Peers),
        (24, Self::Seize),
        (6, Self::Cancel),
        (4, Self::Revive),
        (3, Self::Schedules),
        (3, Self::Leave),
        (2, Self::Join),
        (5, Self::Read),
        (2, Self::Prune),
    ];
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Nothing is done, and that is told, with this reason.
    Fails(StorageErrorKind),
    /// All is done, and the answer is an error.
    LosesReply,
    /// Nothing is done, and nothing is answered.
    SwallowsCall,
    /// All is done, and nothing is answered.
    SwallowsReply,
    /// It arrives late, perhaps when nobody waits any longer.
    LateCall(Duration),
    LateReply(Duration),
    /// The node dies before it arrives.
    CrashBefore,
    /// The node dies after it was done.
    CrashAfter,
}

impl Fault {
    pub(crate) fn draw(rng: &mut Rng, places: usize) -> Self {
        let (at, place) = (ms(rng, 0..PEACE.as_millis() as u64 - 2_000), rng.usize(0..places));
        let long = |rng: &mut Rng| match rng.u8(0..3) {
            0 => ms(rng, 50..1_000),
            _ => ms(rng, 1_000..20_000),
        };
        let releases = [(1, Release::First), (1, Release::Second), (2, Release::Third)];
        match rng.u8(0..34) {
            0..=4 => Self::Crash { at, place, back: ms(rng, 100..9_000) },
            5..=7 => Self::Stand { at, place, lasts: long(rng) },
            8..=10 => Self::Cut { at, place, lasts: long(rng), silent: rng.bool() },
            11 => Self::Deaf { at, place, lasts: long(rng) },
            12 | 13 => Self::Shutdown { at, place, back: ms(rng, 0..4_000) },
            14 => Self::Deploy { at, place, release: weighted(rng, &releases) },
            15 => {
                let by = [(2, -2_000), (2, 5_000), (1, HOUR), (1, -HOUR)];
                Self::Jump { at, by: weighted(rng, &by) }
            }
            16 => Self::Outage { at, lasts: long(rng), silent: rng.bool() },
            17 => Self::Sleep { at, lasts: long(rng) },
            _ => {
                let call = weighted(rng, &Call::HARMED);
                let few = matches!(call, Call::Join | Call::Seize | Call::Leave | Call::Cancel);
                // Hardly a place does so more often.
                let most = match call {
                    Call::Enqueue => 6,
                    Call::Settle => 15,
                    _ => 40,
                };
                let nth = rng.u32(if few { 0..3 } else { 0..most });
                Self::Call { place, call, nth, harm: Harm::draw(rng) }
            }
        }
    }

    /// When it begins, if that depends on time.
    pub(crate) fn at(&self) -> Option<Duration> {
        match self {
            Self::Crash { at, .. }
            | Self::Stand { at, .. }
            | Self::Cut { at, .. }
            | Self::Deaf { at, .. }
            | Self::Shutdown { at, .. }
            | Self::Deploy { at, .. }
            | Self::Outage { at, .. }
            | Self::Sleep { at, .. }
            | Self::Jump { at, .. } => Some(*at),
            Self::Call { .. } | Self::Unstorable { .. } => None,
        }
    }
}

impl Harm {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        match rng.u8(0..12) {
            0 => Self::Fails(weighted(
                rng,
                &[
                    (2, StorageErrorKind::Unavailable),
                    (1, StorageErrorKind::Full),
                    (1, StorageErrorKind::ReadOnly),
                    (1, StorageErrorKind::Other),
                ],
            )),
            1..=3 => Self::LosesReply,
            4 => Self::SwallowsCall,
            5 | 6 => Self::SwallowsReply,
            7 => Self::LateCall(ms(rng, 100..8_000)),
            8 => Self::LateReply(ms(rng, 100..20_000)),
            9 => Self::CrashBefore,
            _ => Self::CrashAfter,
        }
    }
}
