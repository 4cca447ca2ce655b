//! Tables for people: columns as wide as what is in them, numbers to the right.

use chrono::{DateTime, Utc};

/// A column whose head begins with `>` is set to the right. The last one is not filled up.
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| plain(cell))).collect();
    let names = head.map(|name| name.trim_start_matches('>'));
    let mut widths = names.map(|name| name.chars().count());
    for row in &rows {
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
    for row in &rows {
        text += &line(row.each_ref().map(String::as_str));
    }
    text
}

/// How far a time is off, or a dash.
pub fn moment(at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| ago(at, now))
}

/// How far a time is off: `3 min ago`, `in 4.2 s`.
pub fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match (now - at).as_seconds_f64() {
        past if past >= 0.0 => format!("{} ago", length(past)),
        future => format!("in {}", length(-future)),
    }
}

/// A length of time as people say it: `850 ms`, `4.2 s`, `3 min`, `2.5 h`, `12 d`.
pub fn length(seconds: f64) -> String {
    match seconds {
        _ if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        _ if seconds < 10.0 => format!("{seconds:.1} s"),
        _ if seconds < 100.0 => format!("{seconds:.0} s"),
        _ if seconds < 6_000.0 => format!("{:.0} min", seconds / 60.0),
        _ if seconds < 172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.0} d", seconds / 86_400.0),
    }
}

/// As much of the first line as fits beside the rest.
pub fn cut(text: &str, most: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    let is_whole = line.len() == text.trim_end().len() && line.chars().count() <= most;
    if is_whole { line.to_owned() } else { line.chars().take(most).chain(['…']).collect() }
}

/// What a terminal would take for orders is left out.
pub fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

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
            (42.4, "42 s"),
            (180.0, "3 min"),
            (9_000.0, "2.5 h"),
            (1e6, "12 d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(length(seconds), text);
        }
    }

    #[test]
    fn times_are_told_from_now() {
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(ago(now - TimeDelta::hours(3), now), "3.0 h ago");
        assert_eq!(ago(now + TimeDelta::milliseconds(1_500), now), "in 1.5 s");
        assert_eq!((ago(now, now), moment(None, now)), ("0 ms ago".into(), "-".into()));
    }

    #[test]
    fn long_texts_are_cut_and_say_so() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("short\n", 5), "short");
        assert_eq!(cut("longer", 5), "longe…");
        assert_eq!(cut("two\nlines", 5), "two…");
        assert_eq!(cut("äöüßé", 5), "äöüßé");
        assert_eq!(plain("a\u{1b}[31m\u{9b}b\tc"), "a [31m b c");
    }
}
