//! Figures for people.

use conformance::scenario::{Figure, Report};
use conformance::stats::Sample;

/// Prints one run as a list, several as a table of means and extremes.
pub(crate) fn print(reports: &[Report]) {
    let Some(first) = reports.first() else { return };
    let width = first.figures().map(|(key, _)| key.len()).max().unwrap_or(0);
    if reports.len() == 1 {
        for (key, figure) in first.figures() {
            println!("{key:width$}  {}", text(figure));
        }
        return;
    }
    println!(
        "{:width$}  {:>14} {:>14} {:>14}  missing",
        "", "mean", "min", "max"
    );
    for (key, figure) in first.figures() {
        if ["seed", "trace", "history", "victim"].contains(&key) {
            continue;
        }
        if let Figure::Text(text) = figure {
            println!("{key:width$}  {text:>14}");
            continue;
        }
        let figures = || reports.iter().filter_map(|report| report.figure(key));
        let sample: Sample = figures().filter_map(number).collect();
        let missing = figures().filter(|f| **f == Figure::Missing).count();
        let show = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), real);
        println!(
            "{key:width$}  {:>14} {:>14} {:>14}  {}",
            show(sample.mean()),
            show(sample.min()),
            show(sample.max()),
            if missing == 0 {
                String::new()
            } else {
                missing.to_string()
            }
        );
    }
}

fn number(figure: &Figure) -> Option<f64> {
    match figure {
        Figure::Count(count) => u32::try_from(*count).ok().map(f64::from),
        Figure::Real(real) => Some(*real),
        Figure::Text(_) | Figure::Missing => None,
    }
}

fn text(figure: &Figure) -> String {
    match figure {
        Figure::Count(count) => count.to_string(),
        Figure::Real(figure) => real(*figure),
        Figure::Text(text) => text.clone(),
        Figure::Missing => "-".to_owned(),
    }
}

/// Three digits after the point, or as many as it takes for a small number.
fn real(figure: f64) -> String {
    let text = if figure != 0.0 && figure.abs() < 0.01 {
        format!("{figure:.6}")
    } else {
        format!("{figure:.3}")
    };
    let short = text.trim_end_matches('0').trim_end_matches('.');
    short.to_owned()
}
