//! Two nights in Rome: in one the clocks are put back, in the other ahead. Three schedules go through both, on a real runtime whose
//! time is made up.
//!
//! `cargo run -p calendar`

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use chrono::{DateTime, Utc};
use chrono_tz::Europe::Rome;
use evertask::{
    Context, Runtime, State,
    schedule::every_hour,
    storage::{Clock, Memory, SchedulePage},
};

/// What ran, and for which instant.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<(SystemTime, &'static str)>>>);

impl Diary {
    fn note(&self, ctx: &Context, what: &'static str) {
        let mut lines = self.0.lock().expect("nobody panics with it");
        lines.extend(ctx.scheduled_for().map(|tick| (tick, what)));
    }
}

/// In the attribute, where the compiler checks expression and zone: an hour of the night that is named. It runs once in each night.
#[evertask::handler(cron = "30 2 * * *", tz = "Europe/Rome")]
async fn back_up(ctx: Context, diary: State<Diary>) {
    diary.note(&ctx, "back up, at 02:30");
}

/// A fixed interval, which no clock on the wall concerns.
#[evertask::handler(every = "1h")]
async fn ping(ctx: Context, diary: State<Diary>) {
    diary.note(&ctx, "ping, each hour that passes");
}

/// One that is stored with its arguments, by the program below.
#[evertask::handler]
async fn measure(sensor: String, ctx: Context, diary: State<Diary>) {
    drop(sensor);
    diary.note(&ctx, "measure, at half past each hour");
}

/// What happens within some five hours from this instant on, one line for each tick by the clocks of Rome.
async fn night(from: &str) -> anyhow::Result<Vec<String>> {
    let from: SystemTime = DateTime::parse_from_rfc3339(from)?.into();
    let (begun, diary) = (tokio::time::Instant::now(), Diary::default());
    let storage = Memory::with_clock(Clock::from_fn(move || from + begun.elapsed()));
    let runtime = Runtime::builder().storage(storage).state(diary.clone()).start().await?;

    // In code, where nonsense does not compile: it goes through the hours, so it never stops for one.
    let half_past = every_hour().at_minute(30).tz("Europe/Rome");
    measure::dispatch("roof").every(half_past).key("roof").on(&runtime).await?;
    for schedule in runtime.schedules().list(SchedulePage::default()).await? {
        println!("{} runs {}", schedule.name, schedule.words);
    }

    tokio::time::sleep(Duration::from_secs(4 * 3600 + 45 * 60)).await;
    runtime.shutdown().await?;
    let mut ran = std::mem::take(&mut *diary.0.lock().expect("nobody panics with it"));
    ran.sort_unstable();
    Ok(ran.into_iter().map(|(tick, what)| format!("{} {what}", on_the_wall(tick))).collect())
}

fn on_the_wall(tick: SystemTime) -> String {
    DateTime::<Utc>::from(tick).with_timezone(&Rome).format("%H:%M %:z").to_string()
}

const BACK: &str = "2026-10-24T22:30:00Z";
const AHEAD: &str = "2026-03-28T23:30:00Z";

/// The time that tokio keeps stands still as long as there is something to do, and jumps to the next thing that there is.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> anyhow::Result<()> {
    for (what, from) in [("back from 03:00 to 02:00", BACK), ("ahead from 02:00 to 03:00", AHEAD)] {
        println!("\nThe clocks are put {what}:");
        for line in night(from).await? {
            println!("  {line}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_hour_that_comes_twice_is_worked_through_twice_and_what_is_named_runs_once() {
        let expected = [
            "01:00 +02:00 ping, each hour that passes",
            "01:30 +02:00 measure, at half past each hour",
            "02:00 +02:00 ping, each hour that passes",
            "02:30 +02:00 back up, at 02:30",
            "02:30 +02:00 measure, at half past each hour",
            "02:00 +01:00 ping, each hour that passes",
            "02:30 +01:00 measure, at half past each hour",
            "03:00 +01:00 ping, each hour that passes",
            "03:30 +01:00 measure, at half past each hour",
            "04:00 +01:00 ping, each hour that passes",
        ];
        assert_eq!(night(BACK).await.unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_falls_into_an_hour_that_is_missing_runs_when_the_clocks_go_on() {
        let expected = [
            "01:00 +01:00 ping, each hour that passes",
            "01:30 +01:00 measure, at half past each hour",
            "03:00 +02:00 back up, at 02:30",
            "03:00 +02:00 measure, at half past each hour",
            "03:00 +02:00 ping, each hour that passes",
            "03:30 +02:00 measure, at half past each hour",
            "04:00 +02:00 ping, each hour that passes",
            "04:30 +02:00 measure, at half past each hour",
            "05:00 +02:00 ping, each hour that passes",
            "05:30 +02:00 measure, at half past each hour",
            "06:00 +02:00 ping, each hour that passes",
        ];
        assert_eq!(night(AHEAD).await.unwrap(), expected);
    }
}
