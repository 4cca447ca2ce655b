//! An annotation held against a gold task's expected result: 0 is all wrong, 1 is all right.
//!
//! Both sides are lists of Label Studio regions (<https://labelstud.io/guide/task_format>):
//! `{from_name, to_name, type, value, original_width, original_height}`. They are compared control by control
//! (`from_name`), and the score is the mean over the controls that either side uses. Empty against empty is 1:
//! nothing was to be found, and nothing was. Labels are scored with what they label, relations not at all.
//!
//! Within a control each expected region is paired with at most one given region, so that the sum of the pairs'
//! similarities is the greatest possible ([`matching`]); then
//!
//! ```text
//! score = sum of similarities / (pairs + missing + extra)
//! ```
//!
//! Two regions are a pair only on the same object (`to_name`, and the page of a document) and, where they carry
//! labels, with the same labels. How similar they are is said by the control's family:
//!
//! | family | similarity | least for a pair | source |
//! | --- | --- | --- | --- |
//! | choices | 1 for the same set, else 0; with `choice="multiple"` Jaccard index | above 0 | Jaccard 1912 |
//! | taxonomy | Jaccard index of the paths and all their ancestors | above 0 | hierarchical measure, Kiritchenko et al. 2005 |
//! | rating, number | 1 within `tolerance` (of the expected region, 0 by default), else 0 | 1 | |
//! | text area | 1 - Levenshtein distance / length of the longer | above 0 | Levenshtein 1965 |
//! | rectangle, ellipse, polygon, brush | area of intersection / area of union, in pixels | 0.5 | PASCAL VOC 2010, COCO |
//! | text, audio, time series, timeline | the same of intervals | 0.5 | |
//! | key point | OKS = exp(-d² / (2 s² (2 σ)²)), σ = 0.09, s² = area of the image | 0.5 | COCO keypoints |
//! | ranker | Jaccard index of places and orders | above 0 | |
//! | pairwise, date, anything else | 1 if equal, else 0 | 1 | |
//!
//! A control whose comparison would cost too much (hundreds of regions, thousands of vertices) is compared as a
//! set of equal regions, and its details say so.

mod answer;
pub(super) mod brush;
mod item;
mod matching;
mod shape;
mod span;

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::interface::Interface;
use item::Item;

#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// 0 to 1.
    pub score: f64,
    pub details: Details,
}

/// Why a score is what it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Details {
    /// By control.
    pub controls: BTreeMap<String, Control>,
    /// What was left out, or compared otherwise than its type asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Regions are named by their place in `expectedLabels` and in the annotation's `result`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Control {
    pub score: f64,
    pub matched: Vec<Pair>,
    pub missing: Vec<usize>,
    pub extra: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    pub expected: usize,
    pub given: usize,
    pub similarity: f64,
}

/// A region with its place in its list.
type Placed<'a> = (usize, &'a Value);

pub fn score(interface: &Interface, expected: &[Value], given: &[Value]) -> Score {
    let mut controls: BTreeMap<&str, (Vec<Placed<'_>>, Vec<Placed<'_>>)> = BTreeMap::new();
    let mut left_out = 0;
    for (side, regions) in [expected, given].into_iter().enumerate() {
        for placed in regions.iter().enumerate() {
            match placed.1.get("from_name").and_then(Value::as_str) {
                Some(name) => {
                    let sides = controls.entry(name).or_default();
                    if side == 0 { sides.0.push(placed) } else { sides.1.push(placed) }
                }
                None => left_out += 1,
            }
        }
    }
    let mut details = Details::default();
    if left_out > 0 {
        details.notes.push(format!("{left_out} relations or regions without from_name are not scored"));
    }
    for (name, (expected, given)) in controls {
        let multiple = interface.control(name).is_some_and(|control| control.multiple);
        let (control, note) = compare(multiple, &expected, &given);
        details.notes.extend(note.map(|note| format!("{name}: {note}")));
        details.controls.insert(name.to_owned(), control);
    }
    let count = details.controls.len();
    let sum: f64 = details.controls.values().map(|control| control.score).sum();
    let score = if count == 0 { 1.0 } else { (sum / count as f64).clamp(0.0, 1.0) };
    Score { score, details }
}

/// Steps that comparing a control may cost: under a second.
const MAX_COST: u64 = 10_000_000;
/// How often outlines may cross, themselves and each other: a second or so.
const MAX_CROSSINGS: u64 = 50_000;
/// Regions of a control on one side that are matched.
const MAX_REGIONS: usize = 300;

fn compare(multiple: bool, expected: &[Placed<'_>], given: &[Placed<'_>]) -> (Control, Option<String>) {
    let read = |side: &[Placed<'_>]| -> Vec<Item> {
        side.iter().map(|(_, region)| Item::read(region, multiple)).collect()
    };
    let (mut left, mut right) = (read(expected), read(given));
    let (pairs, note) = if is_too_much(&left, &right) {
        let note = "too much to compare in full: only equal regions count".to_owned();
        (matching::equal(expected, given), Some(note))
    } else {
        left.iter_mut().chain(&mut right).for_each(Item::measure);
        let unread = left.iter().chain(&right).filter(|item| item.is_unread()).count();
        let note =
            (unread > 0).then(|| format!("{unread} regions that can't be measured count only when equal"));
        (matching::best(&left, &right), note)
    };
    let missing = unpaired(expected, pairs.iter().map(|pair| pair.0));
    let extra = unpaired(given, pairs.iter().map(|pair| pair.1));
    let all = pairs.len() + missing.len() + extra.len();
    // Not `sum`, which makes -0 of nothing.
    let sum = pairs.iter().fold(0.0, |sum, pair| sum + pair.2);
    let matched = pairs
        .iter()
        .filter_map(|&(a, b, similarity)| {
            Some(Pair { expected: expected.get(a)?.0, given: given.get(b)?.0, similarity })
        })
        .collect();
    let score = if all == 0 { 1.0 } else { (sum / all as f64).clamp(0.0, 1.0) };
    (Control { score, matched, missing, extra }, note)
}

fn is_too_much(left: &[Item], right: &[Item]) -> bool {
    if left.len().max(right.len()) > MAX_REGIONS {
        return true;
    }
    let sum = |of: fn(&Item, &Item) -> u64| {
        let pairs = left.iter().flat_map(|a| right.iter().map(move |b| of(a, b)));
        let own = left.iter().chain(right).map(|item| of(item, item));
        pairs.chain(own).fold(0, u64::saturating_add)
    };
    sum(Item::cost) > MAX_COST || sum(Item::crossings) > MAX_CROSSINGS
}

/// The places of the regions whose index is in no pair.
fn unpaired(side: &[Placed<'_>], paired: impl Iterator<Item = usize>) -> Vec<usize> {
    let paired: std::collections::BTreeSet<usize> = paired.collect();
    side.iter().enumerate().filter(|(index, _)| !paired.contains(index)).map(|(_, placed)| placed.0).collect()
}

#[cfg(test)]
mod tests;
