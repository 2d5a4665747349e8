//! What holds for every schedule, on many of them.

use std::time::Duration;

use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike};
use evertask_schedule::{
    Month, Schedule, Weekday, cron, every, every_day, every_hour, every_minute, every_month,
    every_week, on_months,
};

use crate::{at, cron_in, instant, seconds};

const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Rome",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
];

/// Schedules of all kinds.
pub(crate) fn samples() -> Vec<Schedule> {
    use Weekday::{Fri, Mon, Sun, Wed};
    let anchor = at("2024-02-29T13:14:15.678Z");
    let mut all = vec![
        every(5).minutes().build(),
        every(5).minutes().anchored(anchor).build(),
        every(1).seconds().build(),
        Schedule::every(Duration::from_millis(1500)).map(|rule| rule.anchored(anchor)),
        cron("@every 1h 30m"),
    ];
    for zone in ZONES {
        all.extend([
            every_minute().at_second(30).tz(zone),
            every_hour().at_minute(45).tz(zone),
            every_hour().at_minute(5).at_second(7).tz(zone),
            every_day().tz(zone),
            every_day().at("02:30").tz(zone),
            every_day().at_times(["01:15", "02:30", "23:59:59"]).tz(zone),
            every(3).days().anchored(anchor).at("09:00").tz(zone),
            every_week().on([Mon, Wed, Fri]).tz(zone),
            every(2).weeks().on([Sun, Fri]).at("18:00").tz(zone),
            every(3).weeks().anchored(anchor).on(Mon).tz(zone),
            every_month().on_day(31).tz(zone),
            every_month().on_days([1, 15]).at("02:00").tz(zone),
            every_month().on_nth(5, Fri).tz(zone),
            every_month().on_last(Fri).tz(zone),
            every_month().on_last_day().at_times(["00:00", "12:00"]).tz(zone),
            every_month().on_weekday_nearest(15).tz(zone),
            every(5).months().anchored(anchor).on_first(Mon).tz(zone),
            on_months([Month::Jan, Month::Apr]).on_day(29).tz(zone),
        ]);
        for expression in [
            "*/15 * * * *",
            "30 2 * * *",
            "0 9-17 * * MON-FRI",
            "*/7 */5 1-10,L * 5L",
            "0 0 29 2 *",
            "0 0 13 * FRI",
            "0 0 LW * *",
            "10 0 22-2 15W NOV-FEB *",
            "0 0 0 1 1 * 2030-2040/2",
            "@weekly",
        ] {
            all.push(cron(expression).and_then(|rule| rule.tz(zone)));
        }
    }
    all.into_iter().map(|schedule| schedule.unwrap()).collect()
}

#[test]
fn the_next_one_is_later_is_in_the_set_and_skips_none() {
    let mut random = fastrand::Rng::with_seed(7);
    for schedule in samples() {
        for _ in 0..40 {
            let start = instant(random.i64(0..2_145_916_800))
                + Duration::from_nanos(random.u64(..1_000_000_000));
            let Some(next) = schedule.next(start) else { continue };
            assert!(next > start, "{schedule}");
            assert!(schedule.contains(next), "{schedule} {next:?}");
            // From anywhere in between it is the same one, and just before it too.
            let between = start + next.duration_since(start).unwrap().mul_f64(random.f64());
            for from in
                [between.min(next - Duration::from_nanos(1)), next - Duration::from_nanos(1)]
            {
                assert_eq!(schedule.next(from), Some(next), "{schedule} from {from:?}");
            }
            assert_eq!(schedule.previous(next + Duration::from_nanos(1)), Some(next), "{schedule}");
            let before = schedule.previous(next);
            assert!(before.is_none_or(|before| before <= start), "{schedule} {before:?} {next:?}");
        }
    }
}

#[test]
fn skipping_forward_is_the_same_as_going_there() {
    let start = at("2026-03-01T00:00:00Z");
    for schedule in samples() {
        let all: Vec<_> = schedule.after(start).take(400).collect();
        assert!(all.is_sorted_by(|one, next| one < next), "{schedule}");
        for (n, one) in all.iter().enumerate().skip(1) {
            assert_eq!(
                schedule.next(*one - Duration::from_millis(1)),
                Some(*one),
                "{schedule} {n}"
            );
        }
    }
}

/// A rule, and beside it which wall times it means, said as plainly as can be.
type Plain = (Schedule, fn(NaiveDateTime) -> bool);

fn plain_rules() -> Vec<Plain> {
    use Weekday::{Fri, Mon, Sun, Wed};
    fn midnight(t: NaiveDateTime) -> bool {
        t.hour() == 0 && t.minute() == 0
    }
    fn length(t: NaiveDateTime) -> u32 {
        t.date().num_days_in_month().into()
    }
    fn week(t: NaiveDateTime) -> i64 {
        (t.date() - NaiveDate::from_ymd_opt(1969, 12, 29).unwrap()).num_days() / 7
    }
    let built = |rule: Result<Schedule, _>| rule.unwrap();
    vec![
        (built(every_day().at_times(["09:10", "14:00"]).build()), |t| {
            (t.hour(), t.minute()) == (9, 10) || (t.hour(), t.minute()) == (14, 0)
        }),
        (built(every(3).days().build()), |t| {
            midnight(t) && t.and_utc().timestamp() / 86_400 % 3 == 0
        }),
        (built(every_week().on([Mon, Wed, Fri]).build()), |t| {
            midnight(t) && [0, 2, 4].contains(&t.weekday().num_days_from_monday())
        }),
        (built(every(2).weeks().on([Sun, Fri]).build()), |t| {
            midnight(t)
                && week(t) % 2 == 0
                && t.weekday().num_days_from_monday() % 2 == 0
                && t.weekday().num_days_from_monday() >= 4
        }),
        (built(every_month().on_day(31).build()), |t| midnight(t) && t.day() == length(t)),
        (built(every_month().on_days([1, 30]).build()), |t| {
            midnight(t) && (t.day() == 1 || t.day() == length(t).min(30))
        }),
        (built(every_month().on_nth(2, Wed).build()), |t| {
            midnight(t) && t.weekday() == chrono::Weekday::Wed && (8..=14).contains(&t.day())
        }),
        (built(every_month().on_last(Fri).build()), |t| {
            midnight(t) && t.weekday() == chrono::Weekday::Fri && t.day() + 7 > length(t)
        }),
        (built(every(5).months().build()), |t| {
            midnight(t) && t.day() == 1 && ((t.year() - 1970) * 12 + t.month0() as i32) % 5 == 0
        }),
        (built(every_hour().at_minute(45).build()), |t| t.minute() == 45),
        (built(cron("*/15 9-17 * * MON-FRI")), |t| {
            t.minute() % 15 == 0
                && (9..=17).contains(&t.hour())
                && t.weekday().num_days_from_monday() < 5
        }),
        (built(cron("0 0 13 * FRI")), |t| {
            midnight(t) && (t.day() == 13 || t.weekday() == chrono::Weekday::Fri)
        }),
        (built(cron("30 6 L-2,1 2,7 ?")), |t| {
            (t.hour(), t.minute()) == (6, 30)
                && [2, 7].contains(&t.month())
                && (t.day() == 1 || t.day() + 2 == length(t))
        }),
    ]
}

#[test]
fn minute_by_minute_over_years_it_is_what_it_says() {
    let start = NaiveDate::from_ymd_opt(2023, 12, 31).unwrap().and_hms_opt(0, 0, 0).unwrap();
    let minutes = 5 * 366 * 24 * 60;
    for (schedule, means) in plain_rules() {
        let before = instant(start.and_utc().timestamp() - 1);
        let mut found = schedule.after(before).map(seconds).peekable();
        let mut count = 0;
        for minute in 0..minutes {
            let wall = start + TimeDelta::minutes(minute);
            if means(wall) {
                assert_eq!(found.next(), Some(wall.and_utc().timestamp()), "{schedule} at {wall}");
                count += 1;
            }
        }
        assert!(count > 8, "{schedule} {count}");
        assert!(
            found.next() > Some((start + TimeDelta::minutes(minutes - 1)).and_utc().timestamp())
        );
    }
}

#[test]
fn second_by_second_over_a_day_it_is_what_it_says() {
    let schedule = cron_in("*/7 3-59/4 22-3 * * *", "UTC");
    let mut found = schedule.after(instant(-1)).map(seconds);
    for second in 0..2 * 86_400 {
        let (hour, minute) = (second / 3600 % 24, second / 60 % 60);
        if !(4..22).contains(&hour) && minute % 4 == 3 && second % 60 % 7 == 0 {
            assert_eq!(found.next(), Some(second));
        }
    }
}

#[test]
fn nothing_overflows_at_the_ends_of_time() {
    let (first, last) = (at("0001-01-01T00:00:00Z"), at("9999-12-31T23:59:59Z"));
    for schedule in samples() {
        assert_eq!(schedule.next(last + Duration::from_secs(1)), None, "{schedule}");
        assert_eq!(schedule.next(last + Duration::from_secs(1 << 40)), None, "{schedule}");
        assert_eq!(schedule.previous(first - Duration::from_secs(1 << 34)), None, "{schedule}");
        let years_ago = first - Duration::from_secs(1 << 40);
        assert!(schedule.next(years_ago).is_some_and(|next| next >= first), "{schedule}");
        assert!(
            schedule.previous(last + Duration::from_secs(1 << 40)).is_some_and(|at| at <= last)
        );
    }
}

#[test]
fn before_1970_time_goes_forward_too() {
    let second = every(1).seconds().build().unwrap();
    let nano = Duration::from_nanos(1);
    assert_eq!(second.next(instant(0) - nano), Some(instant(0)));
    assert_eq!(second.next(instant(-1)), Some(instant(0)));
    assert_eq!(second.next(instant(-1) - nano), Some(instant(-1)));
    assert_eq!(second.previous(instant(0)), Some(instant(-1)));
}
