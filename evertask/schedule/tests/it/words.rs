//! Expressions in words.

use std::{collections::BTreeMap, time::SystemTime};

use evertask_schedule::Schedule;

use crate::{at, cron, cron_in, properties::samples};

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
    said("30 * * * * *", "at second 30 of every minute");
    said("0 */12 * * *", "at minute 0 of every 12 hours");
    said("0 0,12 * * *", "every day at 00:00 and 12:00");
    said("0 0 * * FRI#2,FRI#2", "on the second Friday at 00:00");
    said("0 0 0 1 1 * */2", "on day 1 in January every 2 years from 1970 to 2100 at 00:00");
    // A field that holds all days beside one that does not: either suffices.
    said("0 0 1-31 * FRI", "every day at 00:00");
    said("0 0 13 * 0-6", "every day at 00:00");
    said("*/5 * L,* * MON", "every 5 minutes");
    assert_eq!(cron("@every 5m").to_string(), "every 5 minutes");
    assert_eq!(cron("@every 1h").to_string(), "every hour");
    assert_eq!(cron("@every 90s").to_string(), "every 1 minute 30 seconds");
    // A day of the calendar is another thing.
    assert_eq!(cron("@every 1d").to_string(), "every 24 hours");
    let rome = |expression| cron_in(expression, "Europe/Rome").to_string();
    assert_eq!(rome("30 2 * * *"), "every day at 02:30 (Europe/Rome)");
    assert_eq!(
        rome("30 2-2/1 * * *"),
        "every day at 02:30, again when the clocks are put back (Europe/Rome)"
    );
    assert_eq!(rome("0 */2 * * *"), "at minute 0 of every 2 hours (Europe/Rome)");
    assert_eq!(
        rome("0 0,2,4,6,8,10,12,14,16,18,20,22 * * *"),
        "at minute 0 in hours 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20 and 22 (Europe/Rome)"
    );
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

/// An expression of few parts, so that many mean the same.
fn expression(random: &mut fastrand::Rng) -> String {
    let mut one_of = |choices: &[&str]| choices[random.usize(..choices.len())].to_owned();
    let mut fields = vec![
        one_of(&["0", "30", "*", "*/30", "0,30", "0-59", "*/1"]),
        one_of(&[
            "*",
            "0",
            "2",
            "2-2/1",
            "*/12",
            "0,12",
            "12,0",
            "0-23",
            "*/2",
            "0-22/2",
            "1,2",
            "1-2",
            "1-2/1",
            "0/12",
            "*/5",
            "0,5,10,15,20",
            "*,3",
        ]),
        one_of(&[
            "*", "*", "?", "1-31", "1,*", "L,*", "*/2", "*/1", "13", "L", "1-30", "13,L", "LW",
            "15W",
        ]),
        one_of(&["*", "*", "1-12", "OCT", "10", "3,10", "MAR,OCT", "*/7", "JAN-DEC"]),
        one_of(&[
            "*",
            "*",
            "?",
            "0-6",
            "MON-SUN",
            "FRI",
            "5",
            "FRI#2",
            "FRI#2,5#2",
            "SUN,MON,TUE,WED,THU,FRI,SAT",
            "5L",
            "*/2",
            "0,2,4,6",
            "1-5",
            "FRI,FRI#2",
        ]),
    ];
    if one_of(&["", "", "", "seconds"]) == "seconds" {
        fields.insert(0, one_of(&["0", "*", "30", "*/1", "0,30", "*/30", "*/7"]));
        if one_of(&["", "years"]) == "years" {
            fields.push(one_of(&[
                "*",
                "1970-2100",
                "*/1",
                "2026-2040",
                "2026-2040/2",
                "2026,2028,2030,2032",
            ]));
        }
    }
    fields.join(" ")
}

#[test]
fn of_many_expressions_those_that_are_said_alike_hold_the_same_instants() {
    // Rome and Havana are put back in between: at two, and at midnight.
    let starts = ["2026-10-24T12:00:00Z", "2026-11-01T00:00:00Z", "2026-02-27T00:00:00Z"];
    let instants = |schedule: &Schedule| -> Vec<SystemTime> {
        let from = |start| schedule.after(at(start)).take(60);
        starts.into_iter().flat_map(from).collect()
    };
    let mut random = fastrand::Rng::with_seed(9);
    let mut said: BTreeMap<String, (String, Vec<SystemTime>)> = BTreeMap::new();
    let mut alike = 0;
    for _ in 0..6_000 {
        let expression = expression(&mut random);
        let zone = ["Europe/Rome", "America/Havana", "UTC"][random.usize(..3)];
        let Ok(schedule) = evertask_schedule::cron(&expression) else { continue };
        let schedule = schedule.tz(zone).unwrap();
        let found = instants(&schedule);
        let words = schedule.to_string();
        match said.get(&words) {
            Some((other, instants)) => {
                assert_eq!(&found, instants, "`{expression}` and `{other}`: {words}");
                alike += 1;
            }
            None => drop(said.insert(words, (expression, found))),
        }
    }
    assert!(alike > 1_000, "{alike}");
}
