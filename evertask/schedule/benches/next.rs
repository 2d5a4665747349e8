//! What `next` costs: `cargo bench -p evertask-schedule`. It prints one Markdown table.
//!
//! Each schedule is asked for its next instant from many places over twenty years, which no cache knows, and all around a change
//! of the clocks. The median of several rounds counts. From `cargo test` it only shows that it runs.

use std::{
    hint::black_box,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use evertask_schedule::{Fri, IntoSchedule, Mon, Schedule, cron, every, every_day, every_month};

const ROUNDS: usize = 9;

fn main() {
    let measured = std::env::args().any(|argument| argument == "--bench");
    let calls = if measured { 100_000 } else { 100 };
    let spread = |span: u32| -> Vec<SystemTime> {
        // 2026-10-24T12:00:00Z, half a day before the clocks are put back in Rome.
        let start = UNIX_EPOCH + Duration::from_secs(1_792_843_200);
        (0..calls)
            .map(|n: u32| {
                start + Duration::from_secs((n.wrapping_mul(2_654_435_761) % span).into())
            })
            .collect()
    };
    let (anywhere, near) = (spread(20 * 365 * 86_400), spread(86_400));
    println!("| `next` of | anywhere in 20 years | within a day of a change of the clocks |");
    println!("|---|---:|---:|");
    for schedule in schedules() {
        let (far, near) = (median(&schedule, &anywhere), median(&schedule, &near));
        println!("| {schedule} | {far} ns | {near} ns |");
    }
}

fn schedules() -> Vec<Schedule> {
    let rome = "Europe/Rome";
    let all = [
        every(5).minutes().into_schedule(),
        cron("0 3 * * *"),
        every_day().at("03:00").tz(rome),
        cron("*/15 * * * *").and_then(|rule| rule.tz(rome)),
        cron("*/5 9-17 * * MON-FRI").and_then(|rule| rule.tz(rome)),
        every(2).weeks().on(Fri).at("18:00").tz(rome),
        every_month().on_day(31).at("18:00").tz(rome),
        every_month().on_first(Mon).at("18:00").tz(rome),
        cron("0 0 L * 5L").and_then(|rule| rule.tz(rome)),
        cron("0 0 29 2 *").and_then(|rule| rule.tz(rome)),
    ];
    all.into_iter().map(|schedule| schedule.expect("they are all good")).collect()
}

fn median(schedule: &Schedule, from: &[SystemTime]) -> u128 {
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let begin = Instant::now();
            for at in from {
                black_box(schedule.next(black_box(*at)));
            }
            begin.elapsed().as_nanos() / from.len() as u128
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}
