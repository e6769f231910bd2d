//! Rows as SVG: P50, P95 and their ratio over the load, one line per policy.

use std::path::Path;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::row::Row;
use super::table::{Summary, summaries};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 1260;
const PANEL_HEIGHT: u32 = 300;
const LEGEND_COLUMNS: usize = 4;
const LEGEND_LINE: u32 = 22;
const MARGIN: u32 = 12;
const INK: RGBColor = RGBColor(51, 51, 51);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// Colours that remain apart for people who do not see all of them (after Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(80, 80, 80),
];

/// One number of many.
type Measure = fn(&Summary<'_>) -> Option<f64>;

/// What the columns of panels show.
const MEASURES: [(&str, Measure); 3] =
    [("P50 in ms", |s| s.p50_ms), ("P95 in ms", |s| s.p95_ms), ("P95/P50", |s| s.ratio())];

/// Draws `rows` into the file at `path`.
pub(super) fn draw(path: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let svg = svg(rows)?;
    std::fs::write(path, svg)?;
    Ok(())
}

/// The chart: a legend, then a row of panels for each cell and each way of entry.
fn svg(rows: &[Row]) -> anyhow::Result<String> {
    let summaries = summaries(rows);
    let mut policies: Vec<&str> = Vec::new();
    for summary in &summaries {
        if !policies.contains(&summary.first.policy.as_str()) {
            policies.push(&summary.first.policy);
        }
    }
    let places: Vec<&[Summary<'_>]> = summaries.chunk_by(|a, b| a.place() == b.place()).collect();
    let legend_lines = policies.len().div_ceil(LEGEND_COLUMNS) as u32;
    let legend_height = legend_lines * LEGEND_LINE + 2 * MARGIN;
    let height = legend_height + PANEL_HEIGHT * places.len() as u32;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE).map_err(told)?;
        let (legend, panels) = root.split_vertically(legend_height);
        draw_legend(&legend, &policies)?;
        let areas = panels.split_evenly((places.len().max(1), MEASURES.len()));
        for (place, areas) in places.iter().zip(areas.chunks(MEASURES.len())) {
            for (area, (measure, value)) in areas.iter().zip(MEASURES) {
                draw_panel(area, place, &policies, measure, value)?;
            }
        }
        root.present().map_err(told)?;
    }
    Ok(svg)
}

/// The errors of the drawing library borrow what it draws on.
fn told(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}

fn draw_legend(area: &Area<'_>, policies: &[&str]) -> anyhow::Result<()> {
    let column_width = (WIDTH - 2 * MARGIN) as i32 / LEGEND_COLUMNS as i32;
    let lines = policies.len().div_ceil(LEGEND_COLUMNS).max(1);
    for (i, policy) in policies.iter().enumerate() {
        let x = MARGIN as i32 + (i / lines) as i32 * column_width;
        let y = MARGIN as i32 + ((i % lines) as u32 * LEGEND_LINE + LEGEND_LINE / 2) as i32;
        let ends = [(x, y), (x + 48, y)];
        let style = colour(i).stroke_width(2);
        match dash(i) {
            None => area.draw(&PathElement::new(ends, style)),
            Some((on, off)) => area.draw(&DashedPathElement::new(ends, on, off, style)),
        }
        .map_err(told)?;
        area.draw(&Circle::new((x + 24, y), 3, colour(i).filled())).map_err(told)?;
        let text = ("sans-serif", 14).into_font().color(&INK);
        area.draw(&Text::new((*policy).to_owned(), (x + 56, y - 7), text)).map_err(told)?;
    }
    Ok(())
}

fn draw_panel(
    area: &Area<'_>,
    place: &[Summary<'_>],
    policies: &[&str],
    measure: &str,
    value: Measure,
) -> anyhow::Result<()> {
    let loads = || place.iter().map(|s| s.first.concurrency);
    let (left, right) = (loads().fold(f64::MAX, f64::min), loads().fold(0.0, f64::max));
    let aside = ((right - left) * 0.04).max(0.5);
    // Policies differ by factors rather than by sums, so equal steps are equal factors.
    let (low, high) = around(place.iter().filter_map(value));
    let marks = marks(low, high);
    let title = match place.first() {
        Some(Summary { first, .. }) => format!("{measure} ({}, {})", first.cell, first.entry),
        None => measure.to_owned(),
    };
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15).with_color(INK))
        .margin(MARGIN)
        .x_label_area_size(36)
        .y_label_area_size(58)
        .build_cartesian_2d(
            left - aside..right + aside,
            (low..high).log_scale().with_key_points(marks),
        )
        .map_err(told)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(GRID)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(("sans-serif", 12).with_color(INK))
        .axis_desc_style(("sans-serif", 12).with_color(INK))
        .x_desc("clients, or invocations per second")
        .x_label_formatter(&|load| load.to_string())
        .y_label_formatter(&|mark| mark.to_string())
        .draw()
        .map_err(told)?;
    for (i, policy) in policies.iter().enumerate() {
        let mut points: Vec<(f64, f64)> = place
            .iter()
            .filter(|summary| summary.first.policy == *policy)
            .filter_map(|summary| Some((summary.first.concurrency, value(summary)?)))
            .filter(|(_, value)| *value > 0.0)
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let style = colour(i).stroke_width(2);
        match dash(i) {
            None => chart.draw_series(LineSeries::new(points.iter().copied(), style)).map(drop),
            Some((on, off)) => chart
                .draw_series(DashedLineSeries::new(points.iter().copied(), on, off, style))
                .map(drop),
        }
        .map_err(told)?;
        let dots = points.iter().map(|&point| Circle::new(point, 3, colour(i).filled()));
        chart.draw_series(dots).map_err(told)?;
    }
    Ok(())
}

/// What there is to show, with some room; something to draw axes for where there is nothing.
fn around(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let shown = values.filter(|value| *value > 0.0);
    let range = shown.fold(None, |range: Option<(f64, f64)>, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    });
    let (low, high) = range.unwrap_or((1.0, 10.0));
    (low / 1.1, high * 1.1)
}

fn colour(policy: usize) -> RGBColor {
    COLOURS[policy % COLOURS.len()]
}

/// Length of dashes and gaps: policies with the same colour differ in these.
fn dash(policy: usize) -> Option<(u32, u32)> {
    [None, Some((9, 4)), Some((3, 3)), Some((14, 6)), Some((2, 6))][policy / COLOURS.len() % 5]
}

/// Round numbers between `low` and `high`, few enough to read.
fn marks(low: f64, high: f64) -> Vec<f64> {
    const MARKS_MAX: usize = 8;
    const ROUND: [&[f64]; 4] = [
        &[1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
        &[1.0, 2.0, 5.0],
        &[1.0],
    ];
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let within = |round: &[f64]| {
        let all = decades.clone().flat_map(|decade| {
            // Divided rather than multiplied by a fraction, so that marks print as written.
            round.iter().map(move |mark| match decade {
                ..0 => mark / 10f64.powi(-decade),
                0.. => mark * 10f64.powi(decade),
            })
        });
        all.filter(|mark| (low..=high).contains(mark)).collect::<Vec<f64>>()
    };
    let candidates = ROUND.map(within);
    let few = candidates.iter().find(|marks| marks.len() <= MARKS_MAX);
    few.or(candidates.last()).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::table::tests::row;

    #[test]
    fn every_policy_and_every_place_is_named() {
        let mut rows = Vec::new();
        for policy in ["clairvoyant", "federated+<predictive>"] {
            for (concurrency, ms) in [(2.0, 200.0), (10.0, 400.0), (30.0, 1600.0)] {
                rows.push(Row { concurrency, ..row(policy, 1, Some(ms)) });
            }
        }
        let svg = svg(&rows).unwrap();
        for text in ["clairvoyant", "federated+&lt;predictive&gt;", "P95/P50 (steady, single)"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn nothing_to_draw_is_no_trouble() {
        assert!(svg(&[]).is_ok());
        assert!(svg(&[row("clairvoyant", 1, None)]).is_ok());
        assert!(svg(&[row("clairvoyant", 1, Some(0.0))]).is_ok());
    }

    #[test]
    fn marks_are_few_and_round() {
        assert_eq!(marks(90.0, 900.0), [100.0, 150.0, 200.0, 300.0, 400.0, 500.0, 700.0]);
        assert_eq!(marks(1.0, 2.2), [1.0, 1.2, 1.4, 1.6, 1.8, 2.0]);
        assert_eq!(marks(0.15, 0.35), [0.16, 0.18, 0.2, 0.25, 0.3, 0.35]);
    }
}
