//! Stretches of a text, of time, or of a video's frames: intersection over union of intervals.

use serde_json::Value;

/// Disjoint, ascending intervals on one track.
#[derive(Debug)]
pub(super) struct Spans {
    /// What the positions count along: one paragraph, one audio channel. Different tracks share nothing.
    track: String,
    intervals: Vec<(f64, f64)>,
}

impl Spans {
    /// Text and audio: `start`, `end`. Text with markup: `globalOffsets`. Dialogue: `start` and `end` name a
    /// paragraph, `startOffset` and `endOffset` a character in it. Timeline: `ranges` of frames, both ends
    /// included. None for anything else.
    pub fn read(value: &Value) -> Option<Self> {
        let interval = |from: &Value, to: &Value| {
            let (from, to) = (from.as_f64()?, to.as_f64()?);
            Some((from.min(to), from.max(to)))
        };
        if let Some(ranges) = value.get("ranges").and_then(Value::as_array) {
            let frames = ranges.iter().map(|range| {
                let (start, end) = interval(&range["start"], &range["end"])?;
                Some((start, end + 1.0))
            });
            return Some(Self { track: String::new(), intervals: disjoint(frames.collect::<Option<_>>()?) });
        }
        let (start, end) = (&value["start"], &value["end"]);
        let offsets = &value["globalOffsets"];
        let (track, only) = if offsets.is_object() {
            (String::new(), interval(&offsets["start"], &offsets["end"])?)
        } else if start.is_number() {
            (value["channel"].to_string(), interval(start, end)?)
        } else if start.is_string() && start == end {
            (start.to_string(), interval(&value["startOffset"], &value["endOffset"])?)
        } else {
            return None;
        };
        Some(Self { track, intervals: vec![only] })
    }

    pub fn cost(&self, other: &Self) -> u64 {
        (self.intervals.len() + other.intervals.len()) as u64
    }

    pub fn overlap(&self, other: &Self) -> f64 {
        if self.track != other.track {
            return 0.0;
        }
        let shared = shared(&self.intervals, &other.intervals);
        let all = length(&self.intervals) + length(&other.intervals) - shared;
        // Two instants: the same, or apart.
        if all > 0.0 { shared / all } else { f64::from(self.intervals == other.intervals) }
    }
}

fn length(intervals: &[(f64, f64)]) -> f64 {
    intervals.iter().map(|(start, end)| end - start).sum()
}

fn shared(mut a: &[(f64, f64)], mut b: &[(f64, f64)]) -> f64 {
    let mut sum = 0.0;
    while let ([first, rest @ ..], [other, others @ ..]) = (a, b) {
        sum += (first.1.min(other.1) - first.0.max(other.0)).max(0.0);
        if first.1 <= other.1 { a = rest } else { b = others }
    }
    sum
}

fn disjoint(mut intervals: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    intervals.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut merged: Vec<(f64, f64)> = Vec::new();
    for (start, end) in intervals {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}
