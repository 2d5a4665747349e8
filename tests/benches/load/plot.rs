//! The plot: how long tasks wait at which load, by storage, with the floors dashed.

use std::path::Path;

use plotters::prelude::*;

use crate::{Outcome, arrivals::Point};

const COLOURS: [RGBColor; 4] = [
    RGBColor(0x1b, 0x9e, 0x77),
    RGBColor(0xd9, 0x5f, 0x02),
    RGBColor(0x75, 0x70, 0xb3),
    RGBColor(0xe7, 0x29, 0x8a),
];

/// Draws an SVG.
pub(crate) fn draw(path: &Path, points: &[Point]) -> Outcome {
    let rates = points.iter().map(|point| point.rate);
    let (least, most) = (rates.clone().fold(f64::MAX, f64::min), rates.fold(1.0, f64::max));
    let times = points.iter().flat_map(|point| point.waited).filter(|time| *time > 0.0);
    let (fastest, slowest) = (times.clone().fold(f64::MAX, f64::min), times.fold(0.1, f64::max));
    let area = SVGBackend::new(path, (900, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("dispatch to start, p99 (floors thin)", ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (least * 0.8..most * 1.25).log_scale(),
            (fastest * 0.8..slowest * 1.25).log_scale(),
        )?;
    chart.configure_mesh().x_desc("arrivals per second").y_desc("milliseconds").draw()?;
    let mut storages: Vec<_> = points.iter().map(|point| point.storage).collect();
    storages.dedup();
    for (storage, colour) in storages.iter().zip(COLOURS.iter().cycle()) {
        for floor in [false, true] {
            let of =
                points.iter().filter(|point| point.storage == *storage && point.floor == floor);
            let line: Vec<_> = of.map(|point| (point.rate, point.waited[1])).collect();
            let style = colour.stroke_width(if floor { 1 } else { 3 });
            let name = if floor { format!("{storage}, floor") } else { (*storage).to_owned() };
            chart
                .draw_series(LineSeries::new(line, style))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
    }
    chart
        .configure_series_labels()
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE.mix(0.8))
        .draw()?;
    area.present()?;
    Ok(())
}
