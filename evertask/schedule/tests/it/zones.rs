//! All zones of the tz database, over all their changes from 1990 to 2037, against the definition.

use std::collections::BTreeSet;

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike};
use chrono_tz::{TZ_VARIANTS, Tz};

use crate::{cron_in, instant, seconds};

const HOUR: i64 = 3600;
/// 1990-01-01 and 2038-01-01.
const YEARS: std::ops::Range<i64> = 631_152_000..2_145_916_800;

/// An expression, and beside it the wall times it is to mean: which hours, which minutes, and whether it goes through the hours.
struct Rule {
    cron: &'static str,
    hours: fn(u32) -> bool,
    minutes: fn(u32) -> bool,
    repeats: bool,
}

const RULES: [Rule; 8] = [
    Rule { cron: "30 2 * * *", hours: |h| h == 2, minutes: |m| m == 30, repeats: false },
    Rule { cron: "0 0 * * *", hours: |h| h == 0, minutes: |m| m == 0, repeats: false },
    Rule {
        cron: "15,45 0-3 * * *",
        hours: |h| h <= 3,
        minutes: |m| m == 15 || m == 45,
        repeats: false,
    },
    Rule { cron: "* 22-1 * * *", hours: |h| h >= 22 || h <= 1, minutes: |_| true, repeats: false },
    Rule { cron: "*/15 * * * *", hours: |_| true, minutes: |m| m % 15 == 0, repeats: true },
    Rule { cron: "30 * * * *", hours: |_| true, minutes: |m| m == 30, repeats: true },
    Rule { cron: "0 */2 * * *", hours: |h| h % 2 == 0, minutes: |m| m == 0, repeats: true },
    Rule { cron: "7 1/3 * * *", hours: |h| h % 3 == 1, minutes: |m| m == 7, repeats: true },
];

fn offset(zone: Tz, at: i64) -> i64 {
    let utc = DateTime::from_timestamp(at, 0).unwrap().naive_utc();
    zone.offset_from_utc_datetime(&utc).fix().local_minus_utc().into()
}

/// The first instants of new offsets.
fn changes(zone: Tz) -> Vec<i64> {
    let mut found = Vec::new();
    let (mut from, mut old) = (YEARS.start, offset(zone, YEARS.start));
    while from < YEARS.end {
        let to = from + 6 * HOUR;
        let new = offset(zone, to);
        if new != old {
            let (mut before, mut after) = (from, to);
            while after - before > 1 {
                let middle = before + (after - before) / 2;
                if offset(zone, middle) == old { before = middle } else { after = middle }
            }
            found.push(after);
        }
        (from, old) = (to, new);
    }
    found
}

/// All zones with their changes, each once: many are only other names.
fn zones() -> Vec<(Tz, Vec<i64>)> {
    let mut seen = BTreeSet::new();
    let all = TZ_VARIANTS.iter().map(|zone| (*zone, changes(*zone)));
    all.filter(|(zone, changes)| {
        let offsets: Vec<_> = changes.iter().map(|at| offset(*zone, *at)).collect();
        seen.insert((offset(*zone, YEARS.start), changes.clone(), offsets))
    })
    .collect()
}

/// The instants of a wall time, by the definition and by what chrono says of it.
fn instants(zone: Tz, wall: NaiveDateTime, repeats: bool) -> Vec<i64> {
    match zone.from_local_datetime(&wall) {
        LocalResult::Single(at) => vec![at.timestamp()],
        LocalResult::Ambiguous(first, second) if repeats => {
            vec![first.timestamp(), second.timestamp()]
        }
        LocalResult::Ambiguous(first, _) => vec![first.timestamp()],
        LocalResult::None => {
            // The clock goes on at the first minute that it shows again.
            let later = (1..=25 * 60).map(|minutes| wall + TimeDelta::minutes(minutes));
            let shown = later.filter_map(|wall| zone.from_local_datetime(&wall).earliest());
            shown.map(|at| at.timestamp()).take(1).collect()
        }
    }
}

fn expected(zone: Tz, rule: &Rule, from: i64, to: i64) -> BTreeSet<i64> {
    // Wall times a day and more around: where the clock leaves out a day, they are that far away.
    let margin = 26 * HOUR / 60;
    let start = DateTime::from_timestamp(from + offset(zone, from), 0).unwrap().naive_utc();
    let minutes = (to - from) / 60;
    let walls = (-margin..minutes + margin).map(|n| start + TimeDelta::minutes(n));
    let walls = walls.filter(|wall| (rule.hours)(wall.hour()) && (rule.minutes)(wall.minute()));
    let all = walls.flat_map(|wall| instants(zone, wall, rule.repeats));
    all.filter(|at| *at > from && *at <= to).collect()
}

#[test]
fn every_change_of_every_zone_is_as_defined() {
    let mut seen = 0;
    for (n, (zone, changes)) in zones().into_iter().enumerate() {
        for (m, change) in changes.into_iter().enumerate() {
            // Each zone meets each rule, in turn.
            for rule in [&RULES[(n + m) % 8], &RULES[(n + m + 3) % 8]] {
                let from = change.div_euclid(60) * 60 - 3 * HOUR;
                let to = from + 6 * HOUR;
                let schedule = cron_in(rule.cron, zone.name());
                let found: BTreeSet<i64> =
                    schedule.after(instant(from)).map(seconds).take_while(|at| *at <= to).collect();
                let expected = expected(zone, rule, from, to);
                assert_eq!(found, expected, "`{}` in {zone} around {change}", rule.cron);
                seen += 1;
            }
        }
    }
    assert!(seen > 10_000, "only {seen} changes were looked at");
}

#[test]
fn no_day_is_lost_or_doubled_in_any_zone() {
    const DAY: i64 = 24 * HOUR;
    for (n, (zone, changes)) in zones().into_iter().enumerate() {
        let schedule = cron_in(RULES[n % 2].cron, zone.name());
        for change in changes {
            let mut last = seconds(schedule.next(instant(change - 4 * DAY)).unwrap());
            while last < change + 4 * DAY {
                let next = seconds(schedule.next(instant(last)).unwrap());
                let shift = offset(zone, last) - offset(zone, next);
                // A day by the wall, or one that begins or ends where a gap does.
                let whole = next - last - shift == DAY;
                let after_gap = |at| offset(zone, at) != offset(zone, at - 1);
                assert!(whole || after_gap(last) || after_gap(next), "{zone} {last} {next}");
                last = next;
            }
        }
    }
}

/// What `Zone::shown` takes for granted.
#[test]
fn no_zone_changes_its_clock_twice_within_two_days() {
    for (zone, changes) in zones() {
        let close = changes.windows(2).find(|pair| pair[1] - pair[0] <= 48 * HOUR);
        assert_eq!(close, None, "{zone}");
    }
}
