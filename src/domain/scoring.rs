//! An annotation held against a gold task's expected result: 0 is all wrong, 1 is all right.
//!
//! Both sides are lists of Label Studio regions
//! (<https://labelstud.io/guide/task_format>): `{from_name, to_name, type, value}`. They are compared control by
//! control (`from_name`), and the score is the mean over the controls that either side uses:
//!
//! - `choices`: 1 if both sides chose the same set of choices, else 0
//! - any other type: Jaccard index of the two sets of values, compared as JSON

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    pub score: f64,
    /// By control.
    pub controls: BTreeMap<String, f64>,
}

/// Empty against empty is 1: nothing was to be found, and nothing was.
pub fn score(expected: &[Value], actual: &[Value]) -> Score {
    let (expected, actual) = (by_control(expected), by_control(actual));
    let names: BTreeSet<&String> = expected.keys().chain(actual.keys()).collect();
    let none = Vec::new();
    let controls: BTreeMap<String, f64> = names
        .into_iter()
        .map(|name| {
            let sides = (expected.get(name).unwrap_or(&none), actual.get(name).unwrap_or(&none));
            (name.clone(), control_score(sides.0, sides.1))
        })
        .collect();
    let score =
        if controls.is_empty() { 1.0 } else { controls.values().sum::<f64>() / controls.len() as f64 };
    Score { score, controls }
}

/// Regions that carry no `from_name` (relations, for one) are left out.
fn by_control(regions: &[Value]) -> BTreeMap<String, Vec<&Value>> {
    let mut controls: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for region in regions {
        if let Some(name) = region.get("from_name").and_then(Value::as_str) {
            controls.entry(name.to_owned()).or_default().push(region);
        }
    }
    controls
}

fn control_score(expected: &[&Value], actual: &[&Value]) -> f64 {
    let is_choices = expected.iter().chain(actual).all(|region| region["type"] == "choices");
    if is_choices {
        let same = choices(expected) == choices(actual);
        return if same { 1.0 } else { 0.0 };
    }
    let (expected, actual) = (values(expected), values(actual));
    let shared = expected.intersection(&actual).count();
    let all = expected.union(&actual).count();
    if all == 0 { 1.0 } else { shared as f64 / all as f64 }
}

fn choices<'a>(regions: &[&'a Value]) -> BTreeSet<&'a str> {
    regions
        .iter()
        .filter_map(|region| region.pointer("/value/choices")?.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// `serde_json` keeps an object's keys sorted, so equal values have equal texts.
fn values(regions: &[&Value]) -> BTreeSet<String> {
    regions.iter().map(|region| region["value"].to_string()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn choice(from: &str, chosen: &[&str]) -> Value {
        json!({"id": "x", "from_name": from, "to_name": "image", "type": "choices", "value": {"choices": chosen}})
    }

    fn rectangle(x: f64) -> Value {
        json!({"from_name": "box", "to_name": "image", "type": "rectanglelabels",
               "value": {"x": x, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["car"]}})
    }

    #[test]
    fn choices_are_right_or_wrong() {
        let gold = [choice("label", &["cat"])];
        assert_eq!(score(&gold, &[choice("label", &["cat"])]).score, 1.0);
        assert_eq!(score(&gold, &[choice("label", &["dog"])]).score, 0.0);
        assert_eq!(score(&gold, &[]).score, 0.0);
        assert_eq!(score(&[choice("label", &["a", "b"])], &[choice("label", &["b", "a"])]).score, 1.0);
    }

    #[test]
    fn controls_count_alike() {
        let gold = [choice("label", &["cat"]), choice("weather", &["sun"])];
        let given = [choice("label", &["cat"]), choice("weather", &["rain"])];
        assert_eq!(score(&gold, &given).score, 0.5);
    }

    #[test]
    fn other_regions_count_by_what_is_shared() {
        assert_eq!(score(&[rectangle(1.0), rectangle(2.0)], &[rectangle(2.0)]).score, 0.5);
    }

    #[test]
    fn malformed_regions_do_no_harm() {
        let odd = [json!(null), json!([1]), json!({"from_name": 3}), json!({"from_name": "label"})];
        assert!((0.0..=1.0).contains(&score(&odd, &[choice("label", &["cat"])]).score));
    }

    proptest! {
        #[test]
        fn symmetric_bounded_and_one_on_itself(
            a in proptest::collection::vec((0u8..3, 0u8..4), 0..6),
            b in proptest::collection::vec((0u8..3, 0u8..4), 0..6),
        ) {
            let build = |side: &[(u8, u8)]| -> Vec<Value> {
                side.iter()
                    .map(|&(control, value)| match control {
                        0 => rectangle(f64::from(value)),
                        other => choice(&format!("c{other}"), &[["p", "q", "r", "s"][usize::from(value)]]),
                    })
                    .collect()
            };
            let (a, b) = (build(&a), build(&b));
            let forth = score(&a, &b).score;
            prop_assert_eq!(forth, score(&b, &a).score);
            prop_assert!((0.0..=1.0).contains(&forth));
            prop_assert_eq!(score(&a, &a).score, 1.0);
            let mut reversed = a.clone();
            reversed.reverse();
            prop_assert_eq!(forth, score(&reversed, &b).score);
        }
    }
}
