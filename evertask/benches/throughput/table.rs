//! The table of results.

use std::fmt;

use crate::rate::{Rate, median};

/// Rows of measurements, printed as Markdown.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Row>,
    /// Whether it is said which goals are met; small runs reach none.
    judged: bool,
}

#[derive(Debug)]
struct Row {
    case: String,
    measured: String,
    floor: String,
    ratio: String,
    goal: String,
}

/// A share of the floor's rate, and perhaps a rate.
pub(crate) type RateGoal = (f64, Option<f64>);

impl Table {
    pub(crate) fn new(judged: bool) -> Self {
        Self { rows: Vec::new(), judged }
    }

    /// So many in a second, beside the floor's.
    pub(crate) fn rate(
        &mut self,
        case: &str,
        runs: &[Rate],
        floors: &[Rate],
        goal: Option<RateGoal>,
    ) {
        let (run, bare) = (median(runs), median(floors));
        let (rate, floor) = (run.per_second(), bare.per_second());
        let goal = goal.map_or(String::new(), |(share, absolute)| {
            let met = rate >= share * floor && absolute.is_none_or(|least| rate > least);
            let absolute = absolute.map(|least| format!(", > {least:.0}/s")).unwrap_or_default();
            format!("≥ {share}{absolute}{}", self.verdict(met))
        });
        self.rows.push(Row {
            case: case.to_owned(),
            measured: run.to_string(),
            floor: bare.to_string(),
            ratio: format!("{:.2}", rate / floor),
            goal,
        });
    }

    /// A time, beside the floor's, in microseconds. The goal, if there is one, is a multiple of the floor.
    pub(crate) fn time(&mut self, case: &str, time: f64, floor: f64, goal: Option<f64>) {
        let goal = goal.map_or(String::new(), |goal| {
            format!("≤ {goal}{}", self.verdict(time <= goal * floor))
        });
        self.rows.push(Row {
            case: case.to_owned(),
            measured: format!("{time:.0} µs"),
            floor: format!("{floor:.0} µs"),
            ratio: format!("{:.2}", time / floor),
            goal,
        });
    }

    /// A number that has no floor, and perhaps a goal that it is not to exceed.
    pub(crate) fn number(&mut self, case: &str, number: f64, unit: &str, most: Option<f64>) {
        let goal =
            most.map_or(String::new(), |most| format!("≤ {most}{}", self.verdict(number <= most)));
        let measured = format!("{} {unit}", (number * 100.0).round() / 100.0);
        let case = case.to_owned();
        self.rows.push(Row { case, measured, floor: String::new(), ratio: String::new(), goal });
    }

    fn verdict(&self, met: bool) -> &'static str {
        match (self.judged, met) {
            (false, _) => "",
            (true, true) => ": met",
            (true, false) => ": **missed**",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| case | evertask | floor | ratio | goal |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for Row { case, measured, floor, ratio, goal } in &self.rows {
            writeln!(f, "| {case} | {measured} | {floor} | {ratio} | {goal} |")?;
        }
        Ok(())
    }
}

/// The smallest number that so many in a hundred do not exceed.
pub(crate) fn percentile(numbers: &mut [f64], percent: usize) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let at = (numbers.len() * percent / 100).min(numbers.len().saturating_sub(1));
    numbers.get(at).copied().unwrap_or(f64::NAN)
}
