//! Rules in code: which instants they hold, and what is refused.

use std::time::{Duration, UNIX_EPOCH};

use evertask_schedule::{
    Apr, Field, Fri, IntoSchedule, Jan, Jul, Mon, Oct, Schedule, Sun, Tue, Wed, every, every_day,
    every_hour, every_minute, every_month, every_second, every_week, on_months,
};

use crate::{at, check, ticks};

/// A Tuesday.
const NOW: &str = "2025-06-24T08:30:15Z";

#[test]
fn intervals_are_elapsed_time_and_keep_their_phase() {
    check(every(5).minutes(), NOW, &["2025-06-24 08:35", "2025-06-24 08:40"]);
    check(every_second(), NOW, &["2025-06-24 08:30:16", "2025-06-24 08:30:17"]);
    check(every(90).seconds(), NOW, &["2025-06-24 08:31:30", "2025-06-24 08:33"]);
    check(every(6).hours(), NOW, &["2025-06-24 12:00", "2025-06-24 18:00"]);
    check(every_minute(), NOW, &["2025-06-24 08:31"]);
    check(every_hour(), NOW, &["2025-06-24 09:00"]);
    check(Duration::from_secs(300), NOW, &["2025-06-24 08:35"]);
    let phase = at("2025-06-24T08:28:07Z");
    check(every(5).minutes().anchored(phase), NOW, &["2025-06-24 08:33:07", "2025-06-24 08:38:07"]);
    // An anchor to come is a phase like any other.
    let later = every(5).minutes().anchored(at("2031-01-01T00:00:07Z"));
    check(later, NOW, &["2025-06-24 08:35:07"]);
}

#[test]
fn hands_of_the_clock() {
    check(every_minute().at_second(30), NOW, &["2025-06-24 08:30:30", "2025-06-24 08:31:30"]);
    check(every_minute().at_second(0), NOW, &["2025-06-24 08:31", "2025-06-24 08:32"]);
    check(every_hour().at_minute(45), NOW, &["2025-06-24 08:45", "2025-06-24 09:45"]);
    check(every_hour().at_minute(45).at_second(10), NOW, &["2025-06-24 08:45:10"]);
    // By the wall, and there it is a quarter past.
    check(
        every_hour().at_minute(0).tz("Asia/Kathmandu"),
        NOW,
        &["2025-06-24 15:00 +0545", "2025-06-24 16:00 +0545"],
    );
}

#[test]
fn days() {
    check(every_day(), NOW, &["2025-06-25 00:00", "2025-06-26 00:00"]);
    check(every_day().at("09:00"), NOW, &["2025-06-24 09:00", "2025-06-25 09:00"]);
    check(every_day().at("8:30:15"), NOW, &["2025-06-25 08:30:15"]);
    check(
        every_day().at_times(["18:00", "09:00", "09:00"]),
        NOW,
        &["2025-06-24 09:00", "2025-06-24 18:00", "2025-06-25 09:00"],
    );
    let from = at("2025-06-24T23:00:00Z");
    check(every(3).days().anchored(from), NOW, &["2025-06-27 00:00", "2025-06-30 00:00"]);
    check(
        every(3).days().anchored(from).at("09:00"),
        NOW,
        &["2025-06-24 09:00", "2025-06-27 09:00"],
    );
    // In Rome that instant is on the 25th already.
    check(
        every(3).days().anchored(from).at("09:00").tz("Europe/Rome"),
        NOW,
        &["2025-06-25 09:00 +0200", "2025-06-28 09:00 +0200"],
    );
}

#[test]
fn weeks() {
    check(every_week(), NOW, &["2025-06-30 00:00"]);
    check(every_week().at("07:00"), NOW, &["2025-06-30 07:00"]);
    check(
        every_week().on([Fri, Mon, Wed]),
        NOW,
        &["2025-06-25 00:00", "2025-06-27 00:00", "2025-06-30 00:00", "2025-07-02 00:00"],
    );
    let this_week = at("2025-06-29T12:00:00Z");
    check(
        every(2).weeks().anchored(this_week).on([Sun, Tue]).at_times(["09:00", "08:00"]),
        NOW,
        &["2025-06-24 09:00", "2025-06-29 08:00", "2025-06-29 09:00", "2025-07-08 08:00"],
    );
    check(
        every(2).weeks().anchored(at("2025-06-30T00:00:00Z")).on(Fri).at("18:00"),
        NOW,
        &["2025-07-04 18:00", "2025-07-18 18:00"],
    );
}

#[test]
fn months() {
    check(every_month(), NOW, &["2025-07-01 00:00", "2025-08-01 00:00"]);
    check(
        every_month().on_day(31),
        "2025-12-31T00:00:00Z",
        &["2026-01-31 00:00", "2026-02-28 00:00", "2026-03-31 00:00", "2026-04-30 00:00"],
    );
    check(every_month().on_day(31), "2028-02-01T00:00:00Z", &["2028-02-29 00:00"]);
    check(
        every_month().on_days([30, 31]),
        "2026-02-01T00:00:00Z",
        &["2026-02-28 00:00", "2026-03-30 00:00", "2026-03-31 00:00", "2026-04-30 00:00"],
    );
    check(every_month().on_first(Mon), NOW, &["2025-07-07 00:00", "2025-08-04 00:00"]);
    check(every_month().on_nth(2, Tue), NOW, &["2025-07-08 00:00", "2025-08-12 00:00"]);
    check(every_month().on_nth(5, Tue), NOW, &["2025-07-29 00:00", "2025-09-30 00:00"]);
    check(every_month().on_last(Fri), NOW, &["2025-06-27 00:00", "2025-07-25 00:00"]);
    check(every_month().on_last_day(), NOW, &["2025-06-30 00:00", "2025-07-31 00:00"]);
    // 15 June 2025 is a Sunday, 15 November a Saturday.
    check(every_month().on_weekday_nearest(15), "2025-06-01T00:00:00Z", &["2025-06-16 00:00"]);
    check(every_month().on_weekday_nearest(15), "2025-11-01T00:00:00Z", &["2025-11-14 00:00"]);
    // 31 becomes 30 November 2025, a Sunday.
    check(every_month().on_weekday_nearest(31), "2025-11-01T00:00:00Z", &["2025-11-28 00:00"]);
    check(
        every(5).months().anchored(at("2025-06-24T00:00:00Z")).on_day(1),
        NOW,
        &["2025-11-01 00:00", "2026-04-01 00:00"],
    );
    check(
        on_months([Jan, Apr, Jul, Oct]).on_day(1).at("06:00"),
        NOW,
        &["2025-07-01 06:00", "2025-10-01 06:00", "2026-01-01 06:00", "2026-04-01 06:00"],
    );
    check(on_months(Jan).on_last_day(), NOW, &["2026-01-31 00:00", "2027-01-31 00:00"]);
}

#[track_caller]
fn refused(schedule: impl IntoSchedule, field: Field, words: &str) {
    let error = schedule.into_schedule().unwrap_err();
    assert_eq!(error.field(), field, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn what_makes_no_sense_names_its_field() {
    refused(every(0).minutes(), Field::Every, "zero");
    refused(every(0).days(), Field::Every, "`0` is not within 1 to 36500");
    refused(every(0).weeks().on(Fri).at("18:00"), Field::Every, "number of weeks");
    refused(every(0).months(), Field::Every, "number of months");
    refused(every(u32::MAX).hours(), Field::Every, "100 years");
    refused(every(u32::MAX).months(), Field::Every, "1 to 1200");
    refused(Duration::from_nanos(1), Field::Every, "milliseconds");
    refused(Duration::from_secs(u64::MAX), Field::Every, "100 years");
    refused(every_minute().at_second(60), Field::Second, "`60` is not within 0 to 59");
    refused(every_hour().at_minute(60).at_second(5), Field::Minute, "`60` is not within 0 to 59");
    refused(every_day().at("25:00"), Field::Time, "hour of `25:00`");
    refused(every_day().at("12:60"), Field::Time, "minute of `12:60`");
    for text in ["", "9", "9am", "12:00:00:00", "12:", ":30", "+1:00", "001:00", "12.30"] {
        refused(every_day().at(text), Field::Time, "time of day");
    }
    refused(every_day().at_times(Vec::<String>::new()), Field::Time, "empty");
    refused(every_week().on([]), Field::DayOfWeek, "empty");
    refused(on_months([]), Field::Month, "empty");
    refused(every_month().on_days([]), Field::DayOfMonth, "empty");
    refused(every_month().on_day(0), Field::DayOfMonth, "`0` is not within 1 to 31");
    refused(every_month().on_day(32), Field::DayOfMonth, "`32` is not within 1 to 31");
    refused(every_month().on_nth(6, Mon), Field::DayOfWeek, "`6` is not within 1 to 5");
    refused(every_month().on_weekday_nearest(99), Field::DayOfMonth, "1 to 31");
    // The first mistake is the one that is told.
    refused(every(0).days().at("25:00"), Field::Every, "days");
}

#[test]
fn a_zone_that_is_none_is_told_with_the_one_that_was_meant() {
    let said = |name| every_day().tz(name).unwrap_err().to_string();
    assert_eq!(
        said("Europe/Rom"),
        "time zone: `Europe/Rom` is no zone of the tz database; did you mean `Europe/Rome`?"
    );
    assert!(said("europe/rome").contains("`Europe/Rome`"));
    assert!(said("Rome").contains("`Europe/Rome`"));
    assert!(said("new york").contains("`America/New_York`"));
    assert!(said("Middle-earth/Shire").contains("write one such as `Europe/Rome`"));
    assert!(said("").contains("write one such as"));
    assert!(said(&"x".repeat(10_000)).contains("write one such as"));
    let interval: Schedule = every(5).minutes().build().unwrap();
    assert!(interval.tz("Europe/Rome").unwrap_err().to_string().contains("elapsed time"));
}

#[test]
fn what_is_in_no_month_that_is_counted_is_refused_and_what_is_in_a_distant_one_is_found() {
    // Februaries of odd years have 28 days.
    let odd = || every(24).months().anchored(at("2025-02-01T00:00:00Z")).on_nth(5, Mon);
    refused(odd(), Field::DayOfMonth, "months that are counted");
    // By the clocks of New York that is in January.
    assert_eq!(ticks(odd().tz("America/New_York"), NOW, 1), ["2029-01-29 00:00 -0500"]);
    // Every seven years a February: of 29 days, and with five Sundays, it is after more than 400 years.
    let rare = every(84).months().anchored(at("2003-02-01T00:00:00Z")).on_nth(5, Sun);
    check(rare.clone(), "2003-01-01T00:00:00Z", &["2528-02-29 00:00", "2556-02-29 00:00"]);
    check(rare, "2600-01-01T00:00:00Z", &["3424-02-29 00:00"]);
}

#[test]
fn only_what_counts_has_an_anchor() {
    let anchor = UNIX_EPOCH + Duration::from_secs(7);
    let anchored = |schedule: Schedule| schedule.anchored(anchor).anchor();
    assert_eq!(anchored(every(5).minutes().build().unwrap()), Some(anchor));
    assert_eq!(anchored(every(2).weeks().build().unwrap()), Some(anchor));
    assert_eq!(anchored(every_week().on(Fri).build().unwrap()), None);
    assert_eq!(anchored(evertask_schedule::cron("0 3 * * *").unwrap()), None);
    assert_eq!(ticks(every(5).minutes(), NOW, 3), ticks(every(5).minutes(), NOW, 3));
}
