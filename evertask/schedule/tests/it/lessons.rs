//! What other schedulers got wrong, and had to learn release by release. Each of them is one of the mistakes this one does not make.
//!
//! What concerns stored rows, counts of runs or limits in time is told where those are: in the tests of the runtime.

use std::time::{Duration, Instant, SystemTime};

use evertask_schedule::{
    Apr, Fri, Jan, Jul, Mon, Oct, Schedule, Sun, Thu, Tue, Wed, every, every_day, every_hour,
    every_minute, every_month, every_second, every_week, on_months,
};

use crate::{at, check, cron, instant, properties::samples, seconds, ticks};

/// A Tuesday.
const NOW: &str = "2025-06-24T08:30:15Z";

/// The first instants of each, in one list: what a loop over `next` sees.
fn iterate(schedule: &Schedule, count: usize) -> Vec<SystemTime> {
    schedule.after(at(NOW)).take(count).collect()
}

#[test]
fn t01_monthly_schedules_run_when_they_say() {
    check(every_month().on_day(15).at("06:30"), NOW, &["2025-07-15 06:30", "2025-08-15 06:30"]);
}

#[test]
fn t02_every_search_ends() {
    // What was never there is refused; what is over is none.
    assert!(evertask_schedule::cron("0 0 31 2 *").is_err());
    assert!(every_week().on([]).build().is_err());
    assert_eq!(cron("0 0 0 1 1 * 2020").next(at(NOW)), None);
    // The rarest there is: a 29 February of the year 2000 + 400 n is not even needed.
    assert!(cron("0 0 ? 2 SUN#5").next(at("2060-03-01T00:00:00Z")).is_some());
}

#[test]
fn t03_an_expression_is_read_once() {
    // 17,280 instants a day, from one reading.
    let schedule = cron("*/5 * * * * *");
    assert_eq!(
        schedule.after(at(NOW)).take(17_280).map(seconds).last(),
        Some(seconds(at(NOW)) + 86_400)
    );
}

#[test]
fn t04_times_are_sorted_and_single_however_they_came() {
    let schedule = every_day().at_times(["18:00", "09:00", "18:00"]).build().unwrap();
    assert_eq!(schedule.to_wire(), "v1 days 1 at 09:00,18:00 tz UTC");
    let by_hand = Schedule::from_wire("v1 days 1 at 18:00,09:00,18:00 tz UTC").unwrap();
    assert_eq!(by_hand, schedule);
}

#[test]
fn t05_no_drift_from_when_something_ran() {
    // Asked late by up to a minute each time, the instants are the same.
    let schedule = every(5).minutes().anchored(at("2025-06-24T08:30:07Z")).build().unwrap();
    let mut last = at(NOW);
    for n in 0..1000 {
        let next = schedule.next(last).unwrap();
        assert_eq!((seconds(next) - 7) % 300, 0);
        last = next + Duration::from_millis(59_999 * n % 60_000);
    }
}

#[test]
fn t06_one_interval_is_added_however_many_there_were() {
    let all = iterate(&every(7).minutes().build().unwrap(), 1000);
    assert!(all.windows(2).all(|pair| seconds(pair[1]) - seconds(pair[0]) == 420));
}

#[test]
fn t07_one_function_says_the_next_one() {
    // First, after a run, after a restart: the same question has the same answer, also of what was stored.
    for schedule in samples() {
        let again = Schedule::from_wire(&schedule.to_wire()).unwrap();
        assert_eq!(iterate(&schedule, 20), iterate(&again, 20));
    }
}

#[test]
fn t08_after_a_downtime_comes_a_real_instant() {
    let schedule = every_week().on([Mon, Wed, Fri]).at("07:00").build().unwrap();
    for days in 0..400 {
        let next = schedule.next(at(NOW) + Duration::from_secs(days * 86_400 + 12_345)).unwrap();
        assert!(schedule.contains(next));
        // A Thursday was day 0.
        assert!([0, 2, 4].contains(&((seconds(next) / 86_400 + 3) % 7)));
        assert_eq!(seconds(next) % 86_400, 7 * 3600);
    }
}

#[test]
fn t09_t10_t11_skipping_is_the_same_as_iterating() {
    for schedule in samples() {
        let all = iterate(&schedule, 300);
        for (n, one) in all.iter().enumerate().step_by(17) {
            let just_before = *one - Duration::from_nanos(1);
            assert_eq!(schedule.next(just_before), Some(*one), "{schedule} {n}");
        }
    }
    // An anchor off the grid is the grid.
    let odd = every(10).minutes().anchored(at("2025-06-24T08:31:01Z"));
    check(odd, NOW, &["2025-06-24 08:31:01", "2025-06-24 08:41:01"]);
}

#[test]
fn t12_the_end_is_an_end_and_is_told_at_once() {
    let schedule = cron("* * * * * * 2024");
    let begin = Instant::now();
    for n in 0..1000 {
        assert_eq!(schedule.next(at(NOW) + Duration::from_secs(n)), None);
    }
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn t13_nothing_overflows_near_the_last_date() {
    assert_eq!(every_second().build().unwrap().next(at("9999-12-31T23:59:59Z")), None);
    check(every_second(), "9999-12-31T23:59:58Z", &["9999-12-31 23:59:59"]);
    check(every_month().on_last_day(), "9999-12-30T00:00:00Z", &["9999-12-31 00:00"]);
    assert_eq!(ticks(every(1200).months(), "9990-01-01T00:00:00Z", 5).len(), 0);
}

#[test]
fn t14_t15_what_was_missed_can_be_counted_and_its_last_one_found() {
    let schedule = every_hour().at_minute(0).build().unwrap();
    let (from, to) = (at("2025-06-24T08:00:00Z"), at("2025-06-24T11:00:00Z"));
    // The one that ran at 08:00 was not missed, the one that is due now was not either.
    assert_eq!(schedule.after(from).take_while(|at| *at < to).count(), 2);
    assert_eq!(schedule.previous(to), Some(at("2025-06-24T10:00:00Z")));
    // And after ten years, without going through them.
    let later = at("2035-06-24T11:00:30Z");
    assert_eq!(every_second().build().unwrap().previous(later), Some(at("2035-06-24T11:00:29Z")));
}

#[test]
fn t16_on_monday_wednesday_and_friday_is_three_times_a_week() {
    check(
        every_week().on([Mon, Wed, Fri]).at("09:00"),
        NOW,
        &["2025-06-25 09:00", "2025-06-27 09:00", "2025-06-30 09:00", "2025-07-02 09:00"],
    );
}

#[test]
fn t17_when_the_day_is_over_tomorrow_is_next() {
    check(every_day().at_times(["07:00", "08:00"]), NOW, &["2025-06-25 07:00", "2025-06-25 08:00"]);
}

#[test]
fn t26_t29_every_part_survives_being_stored() {
    for schedule in [
        on_months([Jan, Apr, Jul, Oct]).on_days([1, 15]).at_times(["09:00", "17:00"]),
        every_month().on_nth(3, Thu).at("12:34:56"),
        every(2).weeks().anchored(at(NOW)).on([Sun, Tue]).at("18:00"),
    ] {
        let schedule = schedule.tz("Europe/Rome").unwrap();
        let again = Schedule::from_wire(&schedule.to_wire()).unwrap();
        assert_eq!((again.zone(), again.anchor()), (schedule.zone(), schedule.anchor()));
        assert_eq!(iterate(&again, 50), iterate(&schedule, 50));
    }
}

#[test]
fn t27_a_stored_line_without_what_it_needs_is_refused_not_guessed() {
    for text in
        ["v1 weeks 1 at 00:00 tz UTC", "v1 months 1 on  at 00:00 tz UTC", "v1 days 1 at  tz UTC"]
    {
        assert!(Schedule::from_wire(text).is_err(), "{text}");
    }
}

#[test]
fn t28_short_intervals_and_long_absences() {
    let schedule =
        Schedule::every(Duration::from_millis(1)).unwrap().anchored(at("0001-01-01T00:00:00Z"));
    assert_eq!(schedule.next(at(NOW)), Some(at(NOW) + Duration::from_millis(1)));
    assert_eq!(schedule.previous(at(NOW)), Some(at(NOW) - Duration::from_millis(1)));
}

#[test]
fn t31_the_next_one_is_never_in_the_past() {
    for schedule in samples() {
        for days in (0..20_000).step_by(37) {
            let now = instant(days * 86_400 + days);
            assert!(schedule.next(now).is_none_or(|next| next > now), "{schedule}");
        }
    }
}

/// Ten years of downtime cost what a second costs: the same few steps, whatever lies between.
#[test]
fn a_long_downtime_costs_nothing() {
    for schedule in samples() {
        let now = at("2036-06-24T08:30:15Z");
        let begin = Instant::now();
        for n in 0..200 {
            let _ = schedule.next(now + Duration::from_secs(n));
        }
        // Some 10 ms on a busy machine. Going through ten years of seconds would be minutes.
        assert!(begin.elapsed() < Duration::from_secs(5), "{schedule}: {:?}", begin.elapsed());
    }
}

// The rest are rules that, when iterated, did not hold what their one step promised.

#[test]
fn all_times_of_a_day_fire() {
    check(
        every_day().at_times(["09:00", "14:00", "18:00"]),
        NOW,
        &["2025-06-24 09:00", "2025-06-24 14:00", "2025-06-24 18:00", "2025-06-25 09:00"],
    );
    check(
        every_month().on_day(15).at_times(["09:00", "17:00"]),
        NOW,
        &["2025-07-15 09:00", "2025-07-15 17:00", "2025-08-15 09:00"],
    );
}

#[test]
fn all_days_of_a_month_fire() {
    check(
        every_month().on_days([1, 15]),
        NOW,
        &["2025-07-01 00:00", "2025-07-15 00:00", "2025-08-01 00:00", "2025-08-15 00:00"],
    );
}

#[test]
fn a_series_on_some_months_goes_on() {
    check(
        on_months([Jan, Apr, Jul, Oct]).on_day(1),
        "2025-07-01T00:00:00Z",
        &["2025-10-01 00:00", "2026-01-01 00:00", "2026-04-01 00:00", "2026-07-01 00:00"],
    );
    check(
        on_months([Jan, Apr, Jul, Oct]).on_first(Mon),
        "2025-02-10T00:00:00Z",
        &["2025-04-07 00:00", "2025-07-07 00:00", "2025-10-06 00:00", "2026-01-05 00:00"],
    );
}

#[test]
fn the_31st_comes_back_after_february() {
    check(
        every_month().on_day(31),
        "2025-01-31T00:00:00Z",
        &["2025-02-28 00:00", "2025-03-31 00:00", "2025-04-30 00:00", "2025-05-31 00:00"],
    );
}

#[test]
fn the_nearest_slot_is_not_left_out() {
    check(every_day().at("09:00"), "2025-06-24T08:30:00Z", &["2025-06-24 09:00"]);
    check(every_hour().at_minute(45), "2025-06-24T08:30:00Z", &["2025-06-24 08:45"]);
    check(every_month().on_day(30), "2025-06-24T08:30:00Z", &["2025-06-30 00:00"]);
}

#[test]
fn the_second_of_the_dispatch_is_of_no_account() {
    check(every_hour().at_minute(45), NOW, &["2025-06-24 08:45", "2025-06-24 09:45"]);
    check(every_minute().at_second(0), NOW, &["2025-06-24 08:31", "2025-06-24 08:32"]);
}
