//! What was measured, as text and as JSON.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

#[derive(Serialize)]
pub struct Report {
    at: DateTime<Utc>,
    cores: usize,
    /// False: figures of a debug build say nothing.
    optimised: bool,
    pub sections: Vec<Section>,
}

#[derive(Serialize)]
pub struct Section {
    title: String,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    aim: Option<Aim>,
}

/// What the project has set itself.
#[derive(Serialize)]
struct Aim {
    #[serde(flatten)]
    bound: Bound,
    reached: bool,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Report {
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Self { at: Utc::now(), cores, optimised: !cfg!(debug_assertions), sections: Vec::new() }
    }
}

impl Section {
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new() }
    }

    pub fn row(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { what: what.into(), value, unit, aim: None });
    }

    pub fn row_with_aim(&mut self, what: impl Into<String>, value: f64, unit: &'static str, bound: Bound) {
        let reached = match bound {
            Bound::AtMost(limit) => value <= limit,
            Bound::AtLeast(limit) => value >= limit,
        };
        self.rows.push(Row { what: what.into(), value, unit, aim: Some(Aim { bound, reached }) });
    }

    pub fn print(&self) {
        println!("\n{}", self.title);
        for Row { what, value, unit, aim } in &self.rows {
            let aim = aim.as_ref().map(|Aim { bound, reached }| {
                let bound = match bound {
                    Bound::AtMost(limit) => format!("at most {limit}"),
                    Bound::AtLeast(limit) => format!("at least {limit}"),
                };
                format!("  (aim: {bound}; {})", if *reached { "reached" } else { "MISSED" })
            });
            println!("  {what:<66} {:>9} {unit}{}", figure(*value), aim.unwrap_or_default());
        }
    }
}

/// As many digits as mean something.
fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

pub fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort_unstable();
    percentile(&durations, 50)
}

/// The smallest of `sorted` that `percent` of them do not exceed; zero of none.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}
