//! The stored form: what was written is read again, by every later version too.

use evertask_schedule::Schedule;

use crate::{at, properties::samples, ticks};

#[test]
fn what_is_written_is_read_again() {
    for schedule in samples() {
        let text = schedule.to_wire();
        let again = Schedule::from_wire(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(again, schedule, "{text}");
        assert_eq!(again.to_wire(), text);
        assert_eq!(again.to_string(), schedule.to_string());
        let next = |schedule: &Schedule| schedule.next(at("2026-03-29T00:30:00Z"));
        assert_eq!(next(&again), next(&schedule), "{text}");
        let json = serde_json::to_string(&schedule).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
    }
}

#[test]
fn an_expression_is_read_again_by_itself() {
    for schedule in samples() {
        let text = schedule.to_wire();
        let Some(expression) = text.strip_prefix("v1 cron ") else { continue };
        let (expression, zone) = expression.split_once(" tz ").unwrap();
        let again: Schedule = expression.parse().unwrap();
        assert_eq!(again.tz(zone).unwrap(), schedule, "{text}");
    }
}

/// Lines written by the first version, and what they mean: each version to come must read them so. Add to it, never change it.
const WRITTEN: &[(&str, &str, &str)] = &[
    ("v1 every 300s", "every 5 minutes", "2026-03-29 00:00"),
    (
        "v1 every 1500ms from 2024-02-29T13:14:15.678Z",
        "every 1 second 500 milliseconds from 2024-02-29T13:14:15.678Z",
        "2026-03-28 23:59:59",
    ),
    (
        "v1 days 1 at 09:00,14:00:30 tz Europe/Rome",
        "every day at 09:00 and 14:00:30 (Europe/Rome)",
        "2026-03-29 09:00 +0200",
    ),
    (
        "v1 days 3 from 2024-02-29T13:14:15Z at 00:00 tz UTC",
        "every 3 days at 00:00 from 2024-02-29T13:14:15Z (UTC)",
        "2026-03-29 00:00",
    ),
    ("v1 days 1 at *:45:00 tz UTC", "every hour at minute 45 (UTC)", "2026-03-29 00:45"),
    (
        "v1 days 1 at *:05:07 tz UTC",
        "every hour at minute 5, second 7 (UTC)",
        "2026-03-29 00:05:07",
    ),
    ("v1 days 1 at *:*:30 tz UTC", "every minute at second 30 (UTC)", "2026-03-29 00:00:30"),
    (
        "v1 weeks 2 on Fri at 18:00 tz Europe/Rome",
        "every 2 weeks on Friday at 18:00 (Europe/Rome)",
        "2026-04-10 18:00 +0200",
    ),
    (
        "v1 weeks 1 on Mon,Wed,Sun at 00:00 tz UTC",
        "every week on Monday, Wednesday and Sunday at 00:00 (UTC)",
        "2026-03-29 00:00",
    ),
    (
        "v1 months 1 on 1,15 at 00:00 tz UTC",
        "every month on days 1 and 15 at 00:00 (UTC)",
        "2026-04-01 00:00",
    ),
    (
        "v1 months 5 from 2024-02-29T00:00:00Z on Mon#1 at 00:00 tz UTC",
        "every 5 months on the first Monday at 00:00 from 2024-02-29T00:00:00Z (UTC)",
        "2026-08-03 00:00",
    ),
    (
        "v1 months Jan,Apr,Jul,Oct on L at 00:00 tz UTC",
        "in January, April, July and October on the last day at 00:00 (UTC)",
        "2026-04-30 00:00",
    ),
    (
        "v1 months 1 on FriL at 00:00 tz UTC",
        "every month on the last Friday at 00:00 (UTC)",
        "2026-04-24 00:00",
    ),
    (
        "v1 months 1 on 15W at 00:00 tz UTC",
        "every month on the weekday nearest to day 15 at 00:00 (UTC)",
        "2026-04-15 00:00",
    ),
    (
        "v1 cron 0 3 * * MON-FRI tz Europe/Rome",
        "on Monday to Friday at 03:00 (Europe/Rome)",
        "2026-03-30 03:00 +0200",
    ),
    (
        "v1 cron 0 0 0 1 1 * 2030 tz UTC",
        "on day 1 in January in 2030 at 00:00 (UTC)",
        "2030-01-01 00:00",
    ),
];

#[test]
fn what_the_first_version_wrote_is_read_as_it_was_meant() {
    for (text, words, next) in WRITTEN {
        let schedule = Schedule::from_wire(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(schedule.to_wire(), *text);
        assert_eq!(schedule.to_string(), *words);
        let found = &ticks(schedule, "2026-03-28T23:59:59Z", 1)[0];
        assert!(found.starts_with(next), "{text}: {found}");
    }
}

#[test]
fn an_anchor_beyond_all_years_is_read_again_as_well() {
    for secs in [1 << 36, 1 << 40, 1 << 60] {
        let far = std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs);
        let schedule = evertask_schedule::every(7).days().anchored(far).build().unwrap();
        assert_eq!(Schedule::from_wire(&schedule.to_wire()).unwrap(), schedule);
    }
    let early = at("0001-01-01T00:00:00Z") - std::time::Duration::from_secs(1 << 40);
    let schedule = Schedule::every(std::time::Duration::from_secs(7)).unwrap().anchored(early);
    assert_eq!(Schedule::from_wire(&schedule.to_wire()).unwrap(), schedule);
}

#[test]
fn what_cannot_be_read_says_why() {
    let said = |text: &str| Schedule::from_wire(text).unwrap_err().to_string();
    assert!(said("").contains("ends too early"));
    assert!(said("0 3 * * *").contains("does not begin with `v1`"));
    assert!(said("v2 moons 1 at 00:00 tz UTC").contains("`v2` is of a later version"));
    assert!(said("v1 moons 1").contains("`moons` is no kind of schedule"));
    assert!(said("v1 every 5").contains("no interval"));
    assert!(said("v1 every 0s").contains("zero"));
    assert!(said("v1 every 300s and more").contains("`and` is too much"));
    assert!(said("v1 every 300s from noon").starts_with("anchor: `noon`"));
    assert!(said("v1 days 0 at 00:00 tz UTC").contains("not within"));
    assert!(said("v1 days x at 00:00 tz UTC").contains("no count"));
    assert!(said("v1 days 1 at 25:00 tz UTC").starts_with("time of day"));
    assert!(said("v1 days 1 at *:61:00 tz UTC").starts_with("minute"));
    assert!(said("v1 days 1 at *:x:00 tz UTC").contains("`x`"));
    assert!(said("v1 days 1 at 00:00").contains("ends too early"));
    assert!(said("v1 days 1 at 00:00 tz Europe/Rom").contains("Europe/Rome"));
    assert!(said("v1 days 1 on Mon at 00:00 tz UTC").contains("`on` stands where `at`"));
    assert!(said("v1 weeks 1 on Mo at 00:00 tz UTC").contains("`Mo` is not read"));
    assert!(said("v1 months 1 on 32 at 00:00 tz UTC").contains("`32` is not read"));
    assert!(said("v1 months Foo on 1 at 00:00 tz UTC").contains("`Foo` is not read"));
    assert!(said("v1 cron 0 3 * * *").contains("zone is missing"));
    assert!(said("v1 cron 0 99 * * * tz UTC").starts_with("hour"));
    assert!(said(&"x".repeat(100_000)).len() < 300);
}
