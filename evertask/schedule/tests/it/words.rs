//! Expressions in words.

use evertask_schedule::Schedule;

use crate::{at, cron, properties::samples};

#[test]
fn expressions_in_words() {
    let said = |expression: &str, words: &str| {
        assert_eq!(cron(expression).to_string(), format!("{words} (UTC)"), "{expression}");
    };
    said("* * * * *", "every minute");
    said("* * * * * *", "every second");
    said("*/10 * * * * *", "every 10 seconds");
    said("*/15 * * * *", "every 15 minutes");
    said("0 * * * *", "at minute 0 of every hour");
    said("5,35 * * * *", "at minutes 5 and 35 of every hour");
    said("0 */2 * * *", "at minute 0 of every 2 hours");
    said("30 0 * * * *", "at second 30 in minute 0 of every hour");
    said("*/15 9-17 * * MON-FRI", "every 15 minutes in hours 9 to 17 on Monday to Friday");
    said("* 9 * * *", "every minute in hour 9");
    said("0 3 * * *", "every day at 03:00");
    said("0 9,14 * * *", "every day at 09:00 and 14:00");
    said("15 30 9 * * 1-5", "on Monday to Friday at 09:30:15");
    said("0 9 * * SAT,SUN", "on Saturday and Sunday at 09:00");
    said("0 0 13 * FRI", "on day 13 or on Friday at 00:00");
    said(
        "0 0 */2 * MON",
        "on days 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29 and 31 if that is Monday at 00:00",
    );
    said("0 0 L * *", "on the last day at 00:00");
    said("0 0 L-3 * *", "on the day 3 days before the last at 00:00");
    said(
        "0 0 15W,LW * *",
        "on the weekday nearest to day 15 and the weekday nearest to the last day at 00:00",
    );
    said("0 0 * * FRI#2,5L", "on the second Friday and the last Friday at 00:00");
    said("0 6 1 JAN,JUL *", "on day 1 in January and July at 06:00");
    said("0 0 6 1 1 * 2028-2030", "on day 1 in January in 2028 to 2030 at 06:00");
    said("@weekly", "on Sunday at 00:00");
    assert_eq!(cron("@every 5m").to_string(), "every 5 minutes");
    assert_eq!(cron("@every 1h").to_string(), "every hour");
    assert_eq!(cron("@every 90s").to_string(), "every 1 minute 30 seconds");
}

#[test]
fn what_is_said_alike_is_alike() {
    let all = samples();
    for (n, one) in all.iter().enumerate() {
        for other in &all[n + 1..] {
            if one.to_string() == other.to_string() {
                let ticks = |schedule: &Schedule| {
                    schedule.after(at("2026-03-01T00:00:00Z")).take(300).collect::<Vec<_>>()
                };
                assert_eq!(ticks(one), ticks(other), "{one}");
            }
        }
    }
}
