//! Curves as SVG.

use std::error::Error;
use std::path::Path;

use conformance::scenario::Panel;
use plotters::prelude::*;

/// The panels of one run.
pub(crate) type Panels = Vec<Panel>;

/// The size of a panel, in pixels.
const WIDTH: u32 = 960;
const HEIGHT: u32 = 400;

/// Draws the panels below one another, each with the curves of all runs.
pub(crate) fn draw(path: &Path, runs: &[Panels]) -> Result<(), Box<dyn Error>> {
    let Some(first) = runs.first() else {
        return Err("no run has come to its end".into());
    };
    let rows = u32::try_from(first.len())?;
    let area = SVGBackend::new(path, (WIDTH, HEIGHT.saturating_mul(rows))).into_drawing_area();
    area.fill(&WHITE)?;
    let parts = area.split_evenly((first.len(), 1));
    for (row, part) in parts.iter().enumerate() {
        let panels: Vec<&Panel> = runs.iter().filter_map(|run| run.get(row)).collect();
        panel(part, &panels)?;
    }
    area.present()?;
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn panel(area: &Area<'_>, panels: &[&Panel]) -> Result<(), Box<dyn Error>> {
    let Some(first) = panels.first() else {
        return Ok(());
    };
    let points = || {
        let curves = panels.iter().flat_map(|panel| &panel.curves);
        curves.flat_map(|curve| curve.points.iter().copied())
    };
    let right = points().map(|(x, _)| x).fold(0.0, f64::max);
    let top = points().map(|(_, y)| y).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(first.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..right.max(1e-3), 0.0..(1.05 * top).max(1e-9))?;
    chart
        .configure_mesh()
        .max_light_lines(1)
        .x_desc(first.x)
        .y_desc(first.y)
        .draw()?;
    let curves = panels.iter().flat_map(|panel| &panel.curves);
    let mut shown = 0_usize;
    for (number, curve) in curves.enumerate() {
        let colour = Palette99::pick(number).to_rgba();
        let line = LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2));
        let drawn = chart.draw_series(line)?;
        // A legend of twenty lines hides what it explains.
        if number < 8 {
            drawn
                .label(curve.name.clone())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
            shown = shown.saturating_add(1);
        }
    }
    if shown > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
    }
    Ok(())
}
