//! Against croner, which has another author and another algorithm.
//!
//! We differ from it on purpose in these points, and nowhere else:
//!
//! - *Which expressions go through the hours.* Croner asks whether second, minute and hour are one number each. We ask whether the
//!   hour has a star or a step, or is all hours: `0,30 2 * * *` names its hour.
//! - *Gaps.* Croner leaves out what falls into a gap, except for one number each. We never lose one.
//! - *`*/2` in a day field* says something in croner; crontab and we take a field that begins with `*` as open.
//! - Croner refuses ranges that wrap and `5/10`.
//!
//! The first two matter only next to a change of the clocks, so that is the only place where an answer may differ.

use std::str::FromStr;

use chrono::{DateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;

use crate::{cron_in, instant, seconds};

const ZONES: &[Tz] = &[
    Tz::UTC,
    Tz::Europe__Rome,
    Tz::Europe__London,
    Tz::America__New_York,
    Tz::America__Santiago,
    Tz::America__St_Johns,
    Tz::Australia__Lord_Howe,
    Tz::Australia__Sydney,
    Tz::Asia__Kolkata,
    Tz::Asia__Kathmandu,
    Tz::Africa__Cairo,
    Tz::Pacific__Chatham,
];

fn one_of<'a>(random: &mut fastrand::Rng, choices: &[&'a str]) -> &'a str {
    choices[random.usize(..choices.len())]
}

/// A field of numbers, of which many are as people write them.
fn field(random: &mut fastrand::Rng, least: u32, most: u32) -> String {
    let number = |random: &mut fastrand::Rng| random.u32(least..=most);
    match random.u32(..8) {
        0..2 => "*".into(),
        2..4 => number(random).to_string(),
        4 => format!("*/{}", random.u32(1..=(most - least))),
        5 => {
            let (a, b) = (number(random), number(random));
            format!("{}-{}", a.min(b), a.max(b))
        }
        6 => {
            let (a, b) = (number(random), number(random));
            format!("{}-{}/{}", a.min(b), a.max(b), random.u32(1..=5))
        }
        _ => {
            let all: Vec<_> = (0..random.u32(2..5)).map(|_| number(random).to_string()).collect();
            all.join(",")
        }
    }
}

fn expression(random: &mut fastrand::Rng) -> String {
    let mut fields = vec![field(random, 0, 59), field(random, 0, 23)];
    if random.u32(..4) == 0 {
        fields.insert(0, field(random, 0, 59));
    }
    let date = match random.u32(..8) {
        0..4 => "*".into(),
        4 => one_of(random, &["L", "LW", "15W", "1W", "28W", "1,15,L"]).into(),
        _ => field(random, 1, 28).replace("*/", "1-28/"),
    };
    let month = match random.u32(..3) {
        0 => field(random, 1, 12),
        1 => one_of(random, &["JAN", "jan-mar", "MAR,OCT", "FEB", "APR"]).into(),
        _ => "*".into(),
    };
    let weekday = match random.u32(..8) {
        0..4 => "*".into(),
        4 => one_of(random, &["5L", "FRI#2", "1#1", "SUN#3", "0L", "MON#5"]).into(),
        5 => one_of(random, &["MON-FRI", "sat,sun", "1-5", "0", "7", "SUN"]).into(),
        _ => field(random, 0, 6).replace("*/", "0-6/"),
    };
    fields.extend([date, month, weekday]);
    fields.join(" ")
}

fn offset(zone: Tz, at: i64) -> i64 {
    let utc = DateTime::from_timestamp(at, 0).unwrap().naive_utc();
    zone.offset_from_utc_datetime(&utc).fix().local_minus_utc().into()
}

/// Whether one of the reasons above holds: where all hands are one number each there is none, and where clocks are put back and both
/// go through the hours, neither.
fn differs_on_purpose(expression: &str, zone: Tz, first: i64) -> bool {
    let fields: Vec<&str> = expression.split(' ').collect();
    let hands = &fields[..fields.len() - 3];
    let named = hands.iter().all(|hand| hand.bytes().all(|b| b.is_ascii_digit()));
    let put_back = offset(zone, first - 10_900) > offset(zone, first + 10_900);
    let through = hands[hands.len() - 1].contains(['*', '/']);
    !(named || put_back && through)
}

#[test]
fn the_same_instants_as_croner_save_next_to_a_change_of_the_clocks() {
    let mut random = fastrand::Rng::with_seed(2026);
    let (mut triples, mut compared, mut stated) = (0, 0, 0);
    while triples < 20_000 {
        let expression = expression(&mut random);
        let zone = ZONES[random.usize(..ZONES.len())];
        let start = random.i64(946_684_800..2_145_916_800);
        let Ok(ours) = evertask_schedule::cron(&expression) else {
            // 28 February is always there: nothing of this never fires, and all of it is read.
            panic!("{expression} is refused: {:?}", evertask_schedule::cron(&expression));
        };
        let ours = ours.tz(zone.name()).unwrap();
        let theirs = croner::Cron::from_str(&expression).unwrap();
        triples += 1;
        let mut last = start;
        for _ in 0..2 {
            let Some(our) = ours.next(instant(last)).map(seconds) else { break };
            let after = DateTime::<Utc>::from_timestamp(last, 0).unwrap().with_timezone(&zone);
            let Ok(their) = theirs.find_next_occurrence(&after, false) else { break };
            let their = their.timestamp();
            compared += 1;
            if our != their {
                let first = our.min(their);
                let changed = offset(zone, first - 10_900) != offset(zone, first + 10_900);
                assert!(
                    changed && differs_on_purpose(&expression, zone, first),
                    "`{expression}` in {zone} after {last}: ours {our}, croner's {their}"
                );
                stated += 1;
            }
            last = our;
        }
    }
    assert!(compared > 35_000 && stated < compared / 100, "{compared} compared, {stated} differ");
}

/// And at the changes themselves, where the rules are the same: an hour that is named by one number each.
#[test]
fn the_same_instants_as_croner_at_changes_of_the_clocks() {
    for zone in ZONES {
        for (hour, minute) in (0..24).flat_map(|hour| [(hour, 0), (hour, 15), (hour, 45)]) {
            let expression = format!("{minute} {hour} * * *");
            let ours = cron_in(&expression, zone.name());
            let theirs = croner::Cron::from_str(&expression).unwrap();
            // 2026 and 2027, day by day.
            let mut last = 1_767_225_600;
            while last < 1_830_297_600 {
                let after = DateTime::<Utc>::from_timestamp(last, 0).unwrap().with_timezone(zone);
                let next = seconds(ours.next(instant(last)).unwrap());
                let same = offset(*zone, last) == offset(*zone, last + 3 * 86_400);
                if !same {
                    let their = theirs.find_next_occurrence(&after, false).unwrap().timestamp();
                    assert_eq!(next, their, "`{expression}` in {zone} after {last}");
                }
                last = next;
            }
        }
    }
}

#[test]
fn where_we_differ_on_purpose() {
    let croners = |expression: &str, zone: Tz, after: i64| {
        let after = DateTime::<Utc>::from_timestamp(after, 0).unwrap().with_timezone(&zone);
        let cron = croner::Cron::from_str(expression).unwrap();
        cron.find_next_occurrence(&after, false).unwrap().timestamp()
    };
    let ours = |expression: &str, zone: Tz, after| {
        seconds(cron_in(expression, zone.name()).next(instant(after)).unwrap())
    };
    // 2026-03-29T00:30:00Z, half an hour before Rome's gap; 03:00 there is 01:00 UTC.
    let gap = 1_774_744_200;
    assert_eq!(ours("30 * * * *", Tz::Europe__Rome, gap), gap + 1800);
    assert_eq!(croners("30 * * * *", Tz::Europe__Rome, gap), gap + 3600);
    // 2026-10-25T00:30:00Z, when it is 02:30 in Rome for the first time.
    let fold = 1_792_888_200;
    assert_eq!(ours("0,30 2 * * *", Tz::Europe__Rome, fold), fold + 24 * 3600 + 1800);
    assert_eq!(croners("0,30 2 * * *", Tz::Europe__Rome, fold), fold + 1800);
    // A Thursday: Friday is the second, an even date.
    let new_year = 1_767_225_600;
    assert_eq!(ours("0 0 */2 * FRI", Tz::UTC, new_year), new_year + 8 * 86_400);
    assert_eq!(croners("0 0 */2 * FRI", Tz::UTC, new_year), new_year + 86_400);
    for expression in ["0 22-2 * * *", "5/10 * * * *"] {
        assert!(croner::Cron::from_str(expression).is_err());
        assert!(evertask_schedule::cron(expression).is_ok());
    }
}
