//! Which expected region goes with which given one.
//!
//! The best assignment is found by the Kuhn-Munkres algorithm and not greedily: a region that fits two others
//! would else be spent on the wrong one. Among assignments with the same sum the one with more pairs is taken, so
//! that the score depends neither on the order of regions nor on which side is called expected.

use std::collections::BTreeMap;

use pathfinding::{kuhn_munkres::kuhn_munkres, matrix::Matrix};

use super::{Placed, item::Item};

/// Similarities are compared to a billionth.
const SCALE: f64 = 1e9;

/// `(index in expected, index in given, similarity)`, in the order of `expected`.
pub(super) fn best(expected: &[Item], given: &[Item]) -> Vec<(usize, usize, f64)> {
    // The algorithm wants no more rows than columns.
    let (rows, columns, is_turned) =
        if expected.len() <= given.len() { (expected, given, false) } else { (given, expected, true) };
    if rows.is_empty() {
        return Vec::new();
    }
    let similarities: Vec<f64> =
        rows.iter().flat_map(|row| columns.iter().map(|column| row.similarity(column))).collect();
    let most = rows.len() as i64 + 1;
    let weights = similarities.iter().map(|similarity| match (similarity * SCALE).round() as i64 {
        0 => 0,
        weight => weight * most + 1,
    });
    let Ok(weights) = Matrix::from_vec(rows.len(), columns.len(), weights.collect()) else {
        return Vec::new();
    };
    let (_, assigned) = kuhn_munkres(&weights);
    let mut pairs: Vec<_> = assigned
        .into_iter()
        .enumerate()
        .filter_map(|(row, column)| {
            let similarity = *similarities.get(row * columns.len() + column)?;
            let (a, b) = if is_turned { (column, row) } else { (row, column) };
            (similarity * SCALE >= 0.5).then_some((a, b, similarity))
        })
        .collect();
    pairs.sort_unstable_by_key(|pair| (pair.0, pair.1));
    pairs
}

/// Pairs of regions that say the same, each used once: for lists too long for [`best`].
pub(super) fn equal(expected: &[Placed<'_>], given: &[Placed<'_>]) -> Vec<(usize, usize, f64)> {
    // `serde_json` keeps an object's keys sorted, so equal values have equal texts.
    let text = |region: &serde_json::Value| {
        format!("{} {} {}", region["to_name"], region["item_index"], region["value"])
    };
    let mut by_text: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, (_, region)) in given.iter().enumerate().rev() {
        by_text.entry(text(region)).or_default().push(index);
    }
    let pairs = expected.iter().enumerate().filter_map(|(index, (_, region))| {
        let other = by_text.get_mut(&text(region))?.pop()?;
        Some((index, other, 1.0))
    });
    pairs.collect()
}
