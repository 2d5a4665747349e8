//! Cron expressions: what they mean, and what is refused in which words.

use evertask_schedule::{Field, cron as read};

use crate::{check, cron, ticks};

/// Thursday, 2026-01-01.
const YEAR: &str = "2025-12-31T23:59:59Z";

#[test]
fn five_fields_are_a_crontab_line() {
    check(cron("30 9 * * *"), YEAR, &["2026-01-01 09:30", "2026-01-02 09:30"]);
    check(cron("0 0 1 1 *"), YEAR, &["2026-01-01 00:00", "2027-01-01 00:00"]);
    check(cron("  30   9 * * *  "), YEAR, &["2026-01-01 09:30"]);
}

#[test]
fn six_fields_have_seconds_first_and_seven_a_year_last() {
    check(cron("15 30 9 * * *"), YEAR, &["2026-01-01 09:30:15", "2026-01-02 09:30:15"]);
    check(cron("0 30 9 1 1 * 2027"), YEAR, &["2027-01-01 09:30"]);
    check(cron("0 30 9 1 1 * 2028-2030/2"), YEAR, &["2028-01-01 09:30", "2030-01-01 09:30"]);
    assert_eq!(ticks(cron("0 30 9 1 1 * 2028-2030/2"), YEAR, 9).len(), 2);
    assert_eq!(ticks(cron("0 0 0 1 1 * 2020"), YEAR, 9).len(), 0);
}

#[test]
fn weekdays_are_0_to_7_and_both_ends_are_sunday() {
    let friday = &["2026-01-02 09:00", "2026-01-09 09:00"];
    let sunday = &["2026-01-04 09:00", "2026-01-11 09:00"];
    for expression in ["0 9 * * 5", "0 9 * * FRI", "0 9 * * fri", "0 0 9 * * 5", "0 0 9 * * 5 *"] {
        check(cron(expression), YEAR, friday);
    }
    for expression in ["0 9 * * 0", "0 9 * * 7", "0 9 * * SUN", "0 9 * * 0,7"] {
        check(cron(expression), YEAR, sunday);
    }
    let working = ["2026-01-01", "2026-01-02", "2026-01-05"].map(|day| format!("{day} 09:00"));
    for expression in ["0 9 * * 1-5", "0 9 * * MON-FRI", "0 0 9 * * 1-5"] {
        assert_eq!(ticks(cron(expression), YEAR, 3), working, "{expression}");
    }
}

#[test]
fn either_day_field_suffices_where_both_say_which() {
    // January's Fridays, and Tuesday the 13th.
    check(
        cron("0 0 13 * FRI"),
        YEAR,
        &["2026-01-02 00:00", "2026-01-09 00:00", "2026-01-13 00:00", "2026-01-16 00:00"],
    );
    check(cron("0 0 13 * *"), YEAR, &["2026-01-13 00:00", "2026-02-13 00:00"]);
    check(cron("0 0 ? * FRI"), YEAR, &["2026-01-02 00:00", "2026-01-09 00:00"]);
    check(cron("0 0 13 * ?"), YEAR, &["2026-01-13 00:00", "2026-02-13 00:00"]);
}

#[test]
fn a_day_field_that_begins_with_a_star_says_nothing_by_itself() {
    // As crontab has it: Mondays, if their date is odd.
    check(
        cron("0 0 */2 * MON"),
        YEAR,
        &["2026-01-05 00:00", "2026-01-19 00:00", "2026-02-09 00:00"],
    );
}

#[test]
fn last_days_and_nearest_weekdays() {
    check(cron("0 0 L * *"), YEAR, &["2026-01-31 00:00", "2026-02-28 00:00", "2026-03-31 00:00"]);
    check(cron("0 0 L-3 * *"), YEAR, &["2026-01-28 00:00", "2026-02-25 00:00"]);
    // 31 January 2026 is a Saturday, 28 February too, 31 May a Sunday.
    check(
        cron("0 0 LW 1,2,5 *"),
        YEAR,
        &["2026-01-30 00:00", "2026-02-27 00:00", "2026-05-29 00:00"],
    );
    // 15 February and 15 March 2026 are Sundays, 15 August a Saturday, 1 August too, 31 May a Sunday.
    check(cron("0 0 15W 2,8 *"), YEAR, &["2026-02-16 00:00", "2026-08-14 00:00"]);
    check(cron("0 0 1W 8 *"), YEAR, &["2026-08-03 00:00"]);
    check(cron("0 0 31W 5 *"), YEAR, &["2026-05-29 00:00"]);
    check(cron("0 0 31W 4,5 *"), YEAR, &["2026-05-29 00:00"]);
    // April has none, and 1 May is not taken for it.
    check(cron("0 0 31W 4 MON"), "2026-04-27T00:00:00Z", &["2027-04-05 00:00"]);
    check(
        cron("0 0 1,15,L * *"),
        YEAR,
        &["2026-01-01 00:00", "2026-01-15 00:00", "2026-01-31 00:00"],
    );
    check(
        cron("0 0 1W,l * *"),
        YEAR,
        &["2026-01-01 00:00", "2026-01-31 00:00", "2026-02-02 00:00"],
    );
}

#[test]
fn the_last_and_the_nth_of_a_weekday() {
    for expression in ["0 0 * * 5L", "0 0 * * FRIL", "0 0 * * fril"] {
        check(cron(expression), YEAR, &["2026-01-30 00:00", "2026-02-27 00:00"]);
    }
    for expression in ["0 0 * * FRI#2", "0 0 * * 5#2"] {
        check(cron(expression), YEAR, &["2026-01-09 00:00", "2026-02-13 00:00"]);
    }
    check(cron("0 0 * * 7#1"), YEAR, &["2026-01-04 00:00", "2026-02-01 00:00"]);
    // A fifth Thursday is not in every month.
    check(cron("0 0 * * THU#5"), YEAR, &["2026-01-29 00:00", "2026-04-30 00:00"]);
    check(cron("0 0 * * MON,FRI#1,5L"), YEAR, &["2026-01-02 00:00", "2026-01-05 00:00"]);
}

#[test]
fn ranges_wrap() {
    check(
        cron("0 22-2 1 1 *"),
        YEAR,
        &[
            "2026-01-01 00:00",
            "2026-01-01 01:00",
            "2026-01-01 02:00",
            "2026-01-01 22:00",
            "2026-01-01 23:00",
        ],
    );
    check(
        cron("0 23-3/2 1 1 *"),
        YEAR,
        &["2026-01-01 01:00", "2026-01-01 03:00", "2026-01-01 23:00"],
    );
    check(
        cron("50-10/10 0 * * *"),
        YEAR,
        &["2026-01-01 00:00", "2026-01-01 00:10", "2026-01-01 00:50"],
    );
    check(
        cron("0 0 * * FRI-MON"),
        YEAR,
        &[
            "2026-01-02 00:00",
            "2026-01-03 00:00",
            "2026-01-04 00:00",
            "2026-01-05 00:00",
            "2026-01-09 00:00",
        ],
    );
    check(
        cron("0 0 * * 5-7"),
        YEAR,
        &["2026-01-02 00:00", "2026-01-03 00:00", "2026-01-04 00:00", "2026-01-09 00:00"],
    );
    check(cron("0 0 * * 7-1"), YEAR, &["2026-01-04 00:00", "2026-01-05 00:00", "2026-01-11 00:00"]);
    check(cron("0 0 * * 0-7/7"), YEAR, &["2026-01-04 00:00", "2026-01-11 00:00"]);
    check(
        cron("0 0 1 NOV-FEB *"),
        YEAR,
        &["2026-01-01 00:00", "2026-02-01 00:00", "2026-11-01 00:00"],
    );
    check(
        cron("0 0 30-2 1 *"),
        YEAR,
        &["2026-01-01 00:00", "2026-01-02 00:00", "2026-01-30 00:00", "2026-01-31 00:00"],
    );
}

#[test]
fn steps() {
    check(
        cron("*/20 * * * *"),
        YEAR,
        &["2026-01-01 00:00", "2026-01-01 00:20", "2026-01-01 00:40", "2026-01-01 01:00"],
    );
    check(
        cron("5/20 0 * * *"),
        YEAR,
        &["2026-01-01 00:05", "2026-01-01 00:25", "2026-01-01 00:45"],
    );
    check(
        cron("10-30/10 0 * * *"),
        YEAR,
        &["2026-01-01 00:10", "2026-01-01 00:20", "2026-01-01 00:30"],
    );
    check(cron("*/30 0 0 * * *"), YEAR, &["2026-01-01 00:00", "2026-01-01 00:00:30"]);
    // Sunday is not counted twice.
    check(
        cron("0 0 * * */2"),
        YEAR,
        &["2026-01-01 00:00", "2026-01-03 00:00", "2026-01-04 00:00", "2026-01-06 00:00"],
    );
    check(
        cron("0 0 * * MON/2"),
        YEAR,
        &["2026-01-02 00:00", "2026-01-04 00:00", "2026-01-05 00:00", "2026-01-07 00:00"],
    );
}

#[test]
fn short_forms() {
    check(cron("@yearly"), YEAR, &["2026-01-01 00:00", "2027-01-01 00:00"]);
    check(cron("@annually"), YEAR, &["2026-01-01 00:00", "2027-01-01 00:00"]);
    check(cron("@monthly"), YEAR, &["2026-01-01 00:00", "2026-02-01 00:00"]);
    check(cron("@weekly"), YEAR, &["2026-01-04 00:00", "2026-01-11 00:00"]);
    check(cron("@daily"), YEAR, &["2026-01-01 00:00", "2026-01-02 00:00"]);
    check(cron("@Midnight"), YEAR, &["2026-01-01 00:00", "2026-01-02 00:00"]);
    check(cron("@hourly"), YEAR, &["2026-01-01 00:00", "2026-01-01 01:00"]);
    check(cron("@every 5m"), YEAR, &["2026-01-01 00:00", "2026-01-01 00:05"]);
    check(cron("@every 1h 30m"), YEAR, &["2026-01-01 00:00", "2026-01-01 01:30"]);
}

#[track_caller]
fn refused(expression: &str, field: Field, wrong: &str, words: &str) {
    let error = read(expression).expect_err(expression);
    assert_eq!(error.field(), field, "{error}");
    assert_eq!(&expression[error.span().unwrap()], wrong, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.to_string().starts_with(&field.to_string()), "{error}");
}

#[test]
fn what_is_wrong_is_named_with_its_field_and_its_place() {
    refused("61 * * * *", Field::Minute, "61", "`61` is not within 0 to 59");
    refused("0 24 * * *", Field::Hour, "24", "`24` is not within 0 to 23");
    refused("0 0 0 * *", Field::DayOfMonth, "0", "1 to 31");
    refused("0 0 32 * *", Field::DayOfMonth, "32", "1 to 31");
    refused("0 0 1 13 *", Field::Month, "13", "1 to 12");
    refused("0 0 1 JUNE *", Field::Month, "JUNE", "`JAN` to `DEC`");
    refused("0 0 * * 8", Field::DayOfWeek, "8", "0 to 7");
    refused("0 0 * * FRY", Field::DayOfWeek, "FRY", "`SUN` to `SAT`");
    refused("60 0 0 * * *", Field::Second, "60", "0 to 59");
    refused("0 0 0 * * * 1969", Field::Year, "1969", "1970 to 2100");
    refused("0 0 0 * * * 2030-2028", Field::Year, "2030-2028", "earlier");
    refused("0 9-25 * * *", Field::Hour, "25", "0 to 23");
    refused("0 9,10,99 * * *", Field::Hour, "99", "0 to 23");
    refused("*/0 * * * *", Field::Minute, "0", "goes nowhere");
    refused("*/90 * * * *", Field::Minute, "90", "1 to 59");
    refused("*/ * * * *", Field::Minute, "", "step");
    refused("5- * * * *", Field::Minute, "", "missing");
    refused("1,,2 * * * *", Field::Minute, "", "empty");
    refused("1, * * * *", Field::Minute, "", "empty");
    refused("? * * * *", Field::Minute, "?", "write `*`");
    refused("L * * * *", Field::Minute, "L", "0 to 59");
    refused("1.5 * * * *", Field::Minute, "1.5", "0 to 59");
    refused("-5 * * * *", Field::Minute, "", "missing");
    refused("0 0 L-31 * *", Field::DayOfMonth, "L-31", "1 to 30");
    refused("0 0 32W * *", Field::DayOfMonth, "32", "1 to 31");
    refused("0 0 15WX * *", Field::DayOfMonth, "15WX", "`15W`");
    refused("0 0 * * L", Field::DayOfWeek, "L", "`5L`");
    refused("0 0 * * 5#6", Field::DayOfWeek, "6", "1 to 5");
    refused("0 0 * * 9#1", Field::DayOfWeek, "9", "0 to 7");
    // What std takes for a number and nobody else.
    refused("0 0 * * FRI#+2", Field::DayOfWeek, "+2", "1 to 5");
    refused("0 0 L-+3 * *", Field::DayOfMonth, "L-+3", "1 to 30");
    for zone in ["Europe/Rome", "UTC", "America/Argentina/Salta", "Europe/Rom"] {
        refused(&format!("0 3 * * * {zone}"), Field::Zone, zone, "`tz = ");
    }
    refused("@daily Asia/Tokyo", Field::Zone, "Asia/Tokyo", ".tz(\"Asia/Tokyo\")");
    refused("H * * * *", Field::Minute, "H", "Jenkins");
    refused("", Field::Expression, "", "empty");
    refused("0 3 * *", Field::Expression, "0 3 * *", "4 fields");
    refused("soon", Field::Expression, "soon", "1 field;");
    refused("0 0 0 1 1 * 2026 9", Field::Expression, "0 0 0 1 1 * 2026 9", "8 fields");
    refused("@reboot", Field::Expression, "@reboot", "where the program starts");
    refused("@fortnightly", Field::Expression, "@fortnightly", "@weekly");
    refused("@every", Field::Expression, "@every", "@every 5m");
    refused("@every 0s", Field::Every, "@every 0s", "zero");
    refused("@every 5", Field::Every, "@every 5", "unit");
    refused(
        "CRON_TZ=Europe/Rome 0 3 * * *",
        Field::Expression,
        "CRON_TZ=Europe/Rome 0 3 * * *",
        "tz",
    );
    // Letters outside ASCII neither panic nor shift what is shown.
    refused("0 0 é * *", Field::DayOfMonth, "é", "1 to 31");
    refused("0 0 * * ß#1", Field::DayOfWeek, "ß", "0 to 7");
}

#[test]
fn the_caret_stands_under_the_wrong_field() {
    let error = read("0 9-25 * * *").unwrap_err();
    assert_eq!(error.pointed().unwrap(), "0 9-25 * * *\n    ^^");
}

#[test]
fn a_field_is_bounded_before_it_is_expanded() {
    refused("1--100000000 * * * *", Field::Minute, "-100000000", "0 to 59");
    refused("1-100000000 * * * *", Field::Minute, "100000000", "0 to 59");
    refused(
        "1-99999999999999999999999 * * * *",
        Field::Minute,
        "99999999999999999999999",
        "0 to 59",
    );
    refused("*/4294967295 * * * *", Field::Minute, "4294967295", "1 to 59");
    let long = format!("{} * * * *", "1,".repeat(1_000_000));
    assert_eq!(read(&long).unwrap_err().field(), Field::Expression);
    assert!(read(&long).unwrap_err().to_string().len() < 200);
}

#[test]
fn what_never_fires_is_refused() {
    refused("0 0 30 2 *", Field::DayOfMonth, "30", "never fire");
    refused("0 0 31 2,4,6,9,11 *", Field::DayOfMonth, "31", "never fire");
    refused("0 0 0 29 2 ? 2025-2027", Field::Year, "2025-2027", "none of these years");
    refused("0 0 0 ? 2 SUN#5 2025-2027", Field::Year, "2025-2027", "none of these years");
    refused("0 0 0 30 2 ? 2025-2027", Field::DayOfMonth, "30", "never fire");
    refused("0 0 L-30 2 *", Field::DayOfMonth, "L-30", "never fire");
    // But these do.
    check(cron("0 0 30 2 MON"), YEAR, &["2026-02-02 00:00"]);
    check(cron("0 0 29 2 *"), YEAR, &["2028-02-29 00:00", "2032-02-29 00:00"]);
    check(cron("0 0 29 2 *"), "2096-03-01T00:00:00Z", &["2104-02-29 00:00"]);
    // The next 29 February that is a fifth Sunday is in 2032, then 28 years later.
    check(cron("0 0 ? 2 SUN#5"), YEAR, &["2032-02-29 00:00", "2060-02-29 00:00"]);
}
