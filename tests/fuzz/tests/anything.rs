//! Every reader is given what it reads in earnest, then that with a few bytes changed, and noise. The seed is new in each run;
//! `EVERTASK_SEED` says it again.

use std::panic::catch_unwind;

use evertask_fuzz::{READERS, Reader};
use fastrand::Rng;

#[test]
fn nothing_that_is_read_makes_a_reader_panic_or_say_what_does_not_hold() {
    let said = std::env::var("EVERTASK_SEED").ok();
    let seed = said.map_or_else(|| Rng::new().u64(..), |seed| seed.parse().expect("a number"));
    println!("EVERTASK_SEED={seed}");
    for Reader { name, read, seeds, inputs } in READERS {
        let mut random = Rng::with_seed(seed);
        for (n, seed) in seeds.iter().enumerate() {
            feed(name, *read, seed.as_bytes(), &format!("seed {n}"));
        }
        for n in 0..*inputs {
            let input = input(seeds, &mut random);
            feed(name, *read, &input, &format!("input {n}"));
        }
    }
}

fn feed(name: &str, read: fn(&[u8]), input: &[u8], which: &str) {
    let held = catch_unwind(|| read(input)).is_ok();
    assert!(held, "{name}, {which}: {:?}", String::from_utf8_lossy(input));
}

/// One of the seeds, changed in up to four places, often by a piece of another; or noise.
fn input(seeds: &[&str], random: &mut Rng) -> Vec<u8> {
    let Some(seed) = random.choice(seeds).filter(|_| random.u8(..) > 10) else {
        return (0..random.usize(..100)).map(|_| random.u8(..)).collect();
    };
    let mut input = seed.as_bytes().to_vec();
    for _ in 0..=random.usize(..4) {
        let (from, to) = (place(&input, random), place(&input, random));
        let range = from.min(to)..from.max(to).min(from.min(to) + 8);
        let piece = random.choice(seeds).map_or(&b""[..], |other| other.as_bytes());
        let piece = &piece[place(piece, random)..];
        let piece = &piece[..piece.len().min(random.usize(..12))];
        match random.u8(..4) {
            0 => drop(input.splice(range, piece.iter().copied())),
            1 => drop(
                input.splice(range, std::iter::repeat_n(random.u8(32..127), random.usize(..3))),
            ),
            2 => drop(input.splice(range, [random.u8(..)])),
            _ => drop(input.splice(range, b"0123456789"[random.usize(..10)..].iter().copied())),
        }
    }
    input
}

fn place(input: &[u8], random: &mut Rng) -> usize {
    random.usize(..=input.len())
}
