//! Tables for people: columns as wide as what is in them, numbers to the right.

use chrono::{DateTime, Utc};

/// A column whose head begins with `>` is set to the right. The last one is not filled up.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let names = head.map(|name| name.trim_start_matches('>'));
    let mut widths = names.map(|name| name.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let filled = cells.iter().zip(&widths).zip(&head).map(|((cell, &width), head)| {
            if head.starts_with('>') { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        filled.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(names);
    for row in rows {
        text += &line(row.each_ref().map(String::as_str));
    }
    text
}

/// A time, or a dash.
pub fn moment(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "-".to_owned(), super::time)
}

/// A length of time as people say it: `850 ms`, `4.2 s`, `3 min`, `2.5 h`, `12 d`.
pub fn length(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        Some(seconds) if seconds < 100.0 => format!("{seconds:.1} s"),
        Some(seconds) if seconds < 6_000.0 => format!("{:.0} min", seconds / 60.0),
        Some(seconds) if seconds < 172_800.0 => format!("{:.1} h", seconds / 3600.0),
        Some(seconds) => format!("{:.0} d", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [
            ["a".to_owned(), "7".to_owned(), "x y".to_owned()],
            ["äöü".into(), "1234".into(), String::new()],
        ];
        assert_eq!(table(["N", ">COUNT", "WHAT"], &rows), "N    COUNT  WHAT\na        7  x y\näöü   1234\n");
    }

    #[test]
    fn lengths_of_time_are_short() {
        let cases = [
            (0.0, "0 ms"),
            (0.85, "850 ms"),
            (4.24, "4.2 s"),
            (180.0, "3 min"),
            (9_000.0, "2.5 h"),
            (1e6, "12 d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(length(Some(seconds)), text);
        }
        assert_eq!(length(None), "-");
    }
}
