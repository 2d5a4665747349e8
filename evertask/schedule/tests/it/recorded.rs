//! Against what Python's `croniter` and `dateutil.rrule` said: recorded by `tests/recorded/record.py`, which says how to do so again.

use evertask_schedule::Schedule;

use crate::{cron_in, instant, seconds};

fn numbers(text: &str) -> Vec<i64> {
    text.split(' ').map(|number| number.parse().unwrap()).collect()
}

fn check(schedule: &Schedule, start: &str, expected: &str, line: &str) {
    let expected = numbers(expected);
    let start = instant(start.parse().unwrap());
    let found: Vec<_> = schedule.after(start).take(expected.len()).map(seconds).collect();
    assert_eq!(found, expected, "{line}");
}

#[test]
fn the_same_instants_as_croniter() {
    let mut count = 0;
    for line in include_str!("../recorded/cron.txt").lines() {
        let [expression, zone, start, expected] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        check(&cron_in(expression, zone), start, expected, line);
        count += 1;
    }
    assert_eq!(count, 16_000);
}

#[test]
fn the_same_instants_as_rrule() {
    let mut count = 0;
    for line in include_str!("../recorded/rules.txt").lines() {
        let [rule, start, expected] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        check(&Schedule::from_wire(rule).unwrap(), start, expected, line);
        count += 1;
    }
    assert_eq!(count, 5_000);
}
