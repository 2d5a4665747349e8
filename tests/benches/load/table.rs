//! The table of results.

use std::fmt;

use crate::{arrivals::Point, rate::Capacity};

/// Rows of measurements, printed as Markdown.
#[derive(Debug, Default)]
pub(crate) struct Table(Vec<[String; 6]>);

impl Table {
    /// Tasks per second, beside the floor's; returns the medians.
    pub(crate) fn rate(
        &mut self,
        storage: &str,
        case: &str,
        mut runs: Vec<f64>,
        mut floors: Vec<f64>,
        statements: Option<f64>,
    ) -> Capacity {
        let (run, floor) = (percentile(&mut runs, 50), percentile(&mut floors, 50));
        let ratio = format!("{:.2}", run / floor);
        self.row(
            storage,
            case,
            [format!("{run:.0}/s"), format!("{floor:.0}/s"), ratio],
            statements,
        );
        Capacity { run, floor }
    }

    pub(crate) fn latency(&mut self, percent: i32, beside: &str, run: &Point, floor: &Point) {
        let case =
            format!("dispatch to start at {percent} %, {:.0}/s{beside}: p50, p99, p999", run.rate);
        let words = |of: [f64; 3]| format!("{:.2}, {:.2}, {:.2} ms", of[0], of[1], of[2]);
        let ratio = [0, 1, 2].map(|at| format!("{:.1}", run.waited[at] / floor.waited[at]));
        let cells = [words(run.waited), words(floor.waited), ratio.join(", ")];
        self.row(run.storage, &case, cells, None);
    }

    pub(crate) fn number(&mut self, storage: &str, case: &str, number: f64, unit: &str) {
        let cells = [format!("{number:.1} {unit}"), String::new(), String::new()];
        self.row(storage, case, cells, None);
    }

    /// With how many statements each task takes, where that is known.
    fn row(&mut self, storage: &str, case: &str, cells: [String; 3], statements: Option<f64>) {
        let [run, floor, ratio] = cells;
        let statements = statements.map_or(String::new(), |each| format!("{each:.3}"));
        eprintln!("  {case}: {run}; floor {floor}; {ratio}; {statements}");
        self.0.push([storage.to_owned(), case.to_owned(), run, floor, ratio, statements]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| storage | case | evertask | floor, or empty | ratio | statements a task |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        self.0.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}

/// The smallest number that so many in a hundred do not exceed.
pub(crate) fn percentile(numbers: &mut [f64], percent: usize) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let at = (numbers.len() * percent / 100).min(numbers.len().saturating_sub(1));
    numbers.get(at).copied().unwrap_or(f64::NAN)
}
