//! What happens when the clocks change.

use evertask_schedule::{every, every_day, every_hour, every_minute};

use crate::{at, check, cron_in, ticks};

const ROME: &str = "Europe/Rome";
const NEW_YORK: &str = "America/New_York";

#[test]
fn a_time_that_does_not_exist_is_the_first_instant_after_the_gap() {
    let expected = ["2026-03-28 02:30 +0100", "2026-03-29 03:00 +0200", "2026-03-30 02:30 +0200"];
    check(every_day().at("02:30").tz(ROME), "2026-03-28T00:00:00Z", &expected);
    check(cron_in("30 2 * * *", ROME), "2026-03-28T00:00:00Z", &expected);
    // All that fall into the gap are one instant, and so is what stands at its end.
    check(
        every_day().at_times(["02:00", "02:15", "02:59:59", "03:00", "03:10"]).tz(ROME),
        "2026-03-29T00:00:00Z",
        &["2026-03-29 03:00 +0200", "2026-03-29 03:10 +0200", "2026-03-30 02:00 +0200"],
    );
    // So it is for one that goes through the hours: no time is lost.
    check(
        cron_in("0 */2 * * *", ROME),
        "2026-03-28T23:30:00Z",
        &["2026-03-29 03:00 +0200", "2026-03-29 04:00 +0200"],
    );
}

#[test]
fn a_time_that_exists_twice_fires_once_if_its_hour_is_named() {
    let expected = ["2026-10-25 02:30 +0200", "2026-10-26 02:30 +0100"];
    check(every_day().at("02:30").tz(ROME), "2026-10-25T00:00:00Z", &expected);
    check(cron_in("30 2 * * *", ROME), "2026-10-25T00:00:00Z", &expected);
    // Whoever asks in between, or in the second hour, gets the next day.
    check(cron_in("30 2 * * *", ROME), "2026-10-25T00:30:00Z", &expected[1..]);
    check(cron_in("30 2 * * *", ROME), "2026-10-25T01:15:00Z", &expected[1..]);
    check(
        cron_in("*/30 1-3 * * *", ROME),
        "2026-10-24T23:59:00Z",
        &["2026-10-25 02:00 +0200", "2026-10-25 02:30 +0200", "2026-10-25 03:00 +0100"],
    );
    // A second before the clocks are put back, and all that second hour.
    check(
        cron_in("* * 2 * * *", ROME),
        "2026-10-25T00:59:58Z",
        &["2026-10-25 02:59:59 +0200", "2026-10-26 02:00 +0100"],
    );
}

#[test]
fn what_goes_through_the_hours_never_stops_for_an_hour() {
    check(
        cron_in("*/30 * * * *", NEW_YORK),
        "2026-11-01T05:00:00Z",
        &[
            "2026-11-01 01:30 -0400",
            "2026-11-01 01:00 -0500",
            "2026-11-01 01:30 -0500",
            "2026-11-01 02:00 -0500",
        ],
    );
    let hourly = ["2026-11-01 01:45 -0400", "2026-11-01 01:45 -0500", "2026-11-01 02:45 -0500"];
    check(every_hour().at_minute(45).tz(NEW_YORK), "2026-11-01T05:00:00Z", &hourly);
    check(cron_in("45 0-23 * * *", NEW_YORK), "2026-11-01T05:00:00Z", &hourly);
    assert_eq!(
        ticks(every_minute().at_second(30).tz(NEW_YORK), "2026-11-01T04:00:00Z", 180)[179],
        "2026-11-01 01:59:30 -0500"
    );
    check(
        cron_in("*/30 * * * *", NEW_YORK),
        "2026-03-08T06:00:00Z",
        &["2026-03-08 01:30 -0500", "2026-03-08 03:00 -0400", "2026-03-08 03:30 -0400"],
    );
}

#[test]
fn intervals_do_not_care() {
    // Spring and autumn in Rome: 25 steps of an hour, each an hour.
    for start in ["2026-03-28T12:00:07Z", "2026-10-24T12:00:07Z"] {
        let schedule = every(1).hours().anchored(at("2020-01-01T00:00:07Z")).build().unwrap();
        let all: Vec<_> = schedule.after(at(start)).take(25).collect();
        let steps = all.windows(2).map(|pair| pair[1].duration_since(pair[0]).unwrap().as_secs());
        assert_eq!(steps.collect::<Vec<_>>(), [3600; 24]);
    }
}

#[test]
fn clocks_that_change_by_half_an_hour() {
    let zone = "Australia/Lord_Howe";
    // Forward at 02:00 to 02:30, back at 02:00 to 01:30.
    check(
        every_day().at("02:15").tz(zone),
        "2026-10-02T20:00:00Z",
        &["2026-10-04 02:30 +1100", "2026-10-05 02:15 +1100"],
    );
    check(
        cron_in("*/15 * * * *", zone),
        "2026-04-04T14:15:00Z",
        &[
            "2026-04-05 01:30 +1100",
            "2026-04-05 01:45 +1100",
            "2026-04-05 01:30 +1030",
            "2026-04-05 01:45 +1030",
            "2026-04-05 02:00 +1030",
        ],
    );
    check(
        every_day().at("01:45").tz(zone),
        "2026-04-04T14:15:00Z",
        &["2026-04-05 01:45 +1100", "2026-04-06 01:45 +1030"],
    );
}

#[test]
fn zones_of_half_and_quarter_hours() {
    check(
        cron_in("0 9 * * *", "Asia/Kolkata"),
        "2026-01-01T00:00:00Z",
        &["2026-01-01 09:00 +0530"],
    );
    check(
        cron_in("0 * * * *", "Asia/Kathmandu"),
        "2026-01-01T00:00:00Z",
        &["2026-01-01 06:00 +0545"],
    );
    // 45 minutes and an hour of summer time.
    check(
        every_day().at("03:00").tz("Pacific/Chatham"),
        "2026-09-26T00:00:00Z",
        &["2026-09-27 03:45 +1345", "2026-09-28 03:00 +1345"],
    );
}

#[test]
fn a_day_that_did_not_exist() {
    // Samoa left out 30 December 2011.
    check(
        every_day().at("09:00").tz("Pacific/Apia"),
        "2011-12-29T12:00:00Z",
        &["2011-12-29 09:00 -1000", "2011-12-31 00:00 +1400", "2011-12-31 09:00 +1400"],
    );
    check(
        cron_in("0 */6 * * *", "Pacific/Apia"),
        "2011-12-30T04:00:00Z",
        &["2011-12-31 00:00 +1400", "2011-12-31 06:00 +1400"],
    );
    check(
        cron_in("0 9 30 12 *", "Pacific/Apia"),
        "2011-12-01T00:00:00Z",
        &["2011-12-31 00:00 +1400", "2012-12-30 09:00 +1400"],
    );
}

#[test]
fn days_that_begin_late_or_twice() {
    // In Santiago the clocks change at midnight: 5 April 2026 begins twice at 23:00 of the 4th, 6 September at 01:00.
    check(
        every_day().tz("America/Santiago"),
        "2026-09-05T12:00:00Z",
        &["2026-09-06 01:00 -0300", "2026-09-07 00:00 -0300"],
    );
    check(
        every_day().at("23:30").tz("America/Santiago"),
        "2026-04-04T12:00:00Z",
        &["2026-04-04 23:30 -0300", "2026-04-05 23:30 -0400"],
    );
    // Casey put its clocks back by three hours.
    check(
        cron_in("0 * * * *", "Antarctica/Casey"),
        "2010-03-04T14:30:00Z",
        &["2010-03-04 23:00 +0800", "2010-03-05 00:00 +0800"],
    );
}
