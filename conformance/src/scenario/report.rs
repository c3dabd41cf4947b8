//! What a run has found: figures, and curves to plot.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::num::count;

/// The figures of one run, in the order in which they are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    figures: Vec<(&'static str, Figure)>,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// A count.
    Count(u64),
    /// A measure.
    Real(f64),
    /// A text.
    Text(String),
    /// It did not come to it: `null` in JSON.
    Missing,
}

impl From<u64> for Figure {
    fn from(figure: u64) -> Self {
        Self::Count(figure)
    }
}

impl From<usize> for Figure {
    fn from(figure: usize) -> Self {
        Self::Count(count(figure))
    }
}

impl From<f64> for Figure {
    fn from(figure: f64) -> Self {
        Self::Real(figure)
    }
}

impl From<String> for Figure {
    fn from(figure: String) -> Self {
        Self::Text(figure)
    }
}

impl<T: Into<Self>> From<Option<T>> for Figure {
    fn from(figure: Option<T>) -> Self {
        figure.map_or(Self::Missing, Into::into)
    }
}

impl Report {
    /// With one more figure.
    #[must_use]
    pub fn with(mut self, key: &'static str, figure: impl Into<Figure>) -> Self {
        self.figures.push((key, figure.into()));
        self
    }

    /// With the figures of another report.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.figures.extend(other.figures);
        self
    }

    /// All figures.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, &Figure)> {
        self.figures.iter().map(|(key, figure)| (*key, figure))
    }

    /// One figure.
    #[must_use]
    pub fn figure(&self, key: &str) -> Option<&Figure> {
        self.figures().find(|(k, _)| *k == key).map(|(_, f)| f)
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.figures.len()))?;
        for (key, figure) in self.figures() {
            map.serialize_entry(key, figure)?;
        }
        map.end()
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(figure) => serializer.serialize_u64(*figure),
            // Six digits after the point are a microsecond; more would be noise.
            Self::Real(figure) => serializer.serialize_f64((figure * 1e6).round() / 1e6),
            Self::Text(figure) => serializer.serialize_str(figure),
            Self::Missing => serializer.serialize_none(),
        }
    }
}

/// Curves in one coordinate system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// What is shown.
    pub title: &'static str,
    /// What the x axis means.
    pub x: &'static str,
    /// What the y axis means.
    pub y: &'static str,
    /// The curves.
    pub curves: Vec<Curve>,
}

/// One curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Which one.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

impl Panel {
    /// A panel without curves.
    #[must_use]
    pub const fn new(title: &'static str, x: &'static str, y: &'static str) -> Self {
        Self {
            title,
            x,
            y,
            curves: Vec::new(),
        }
    }

    /// With one more curve.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        let name = name.into();
        self.curves.push(Curve { name, points });
        self
    }
}

/// The share of `total` events that had happened at each of the times at which one did.
pub(crate) fn steps_up(mut times: Vec<f64>, total: usize) -> Vec<(f64, f64)> {
    times.sort_by(f64::total_cmp);
    let share = |n: usize| crate::num::amount(n) / crate::num::amount(total.max(1));
    let mut points = vec![(0.0, 0.0)];
    for (i, time) in times.into_iter().enumerate() {
        points.push((time, share(i)));
        points.push((time, share(i.saturating_add(1))));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_json_object_in_the_order_given() {
        let report = Report::default()
            .with("scenario", "join".to_owned())
            .with("nodes", 3_u64)
            .with("loss", 0.1)
            .with("heal_s", None::<f64>)
            .and(Report::default().with("max_s", 1.0 / 3.0));
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"scenario":"join","nodes":3,"loss":0.1,"heal_s":null,"max_s":0.333333}"#
        );
    }
}
