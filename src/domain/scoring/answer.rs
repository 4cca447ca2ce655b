//! Controls that ask for an answer about the whole object: choices, ratings, numbers, texts, orders.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::domain::interface::Family;

#[derive(Debug)]
pub(super) enum Answer {
    /// Right or wrong as a set.
    OneSet(BTreeSet<String>),
    /// Right by as much as is shared.
    Set(BTreeSet<String>),
    Number {
        value: f64,
        tolerance: f64,
    },
    Text(Vec<char>),
    Exact(String),
}

/// An item is written with its order relative to each later one, so their number is squared.
const MAX_RANKED: usize = 200;

impl Answer {
    /// `None` when the value is not what its family says.
    pub fn read(family: Family, region: &Value, value: &Value, multiple: bool) -> Option<Self> {
        let number = |key: &str| {
            let tolerance = region.get("tolerance").and_then(Value::as_f64).unwrap_or(0.0).max(0.0);
            Some(Self::Number { value: value.get(key)?.as_f64()?, tolerance })
        };
        match family {
            Family::Choices => {
                // A nested choice is a path of texts.
                let choices = value.get("choices")?.as_array()?.iter().map(Value::to_string).collect();
                Some(if multiple { Self::Set(choices) } else { Self::OneSet(choices) })
            }
            Family::Taxonomy => Some(Self::Set(with_ancestors(value.get("taxonomy")?.as_array()?))),
            Family::Rating => number("rating"),
            Family::Number => number("number"),
            Family::TextArea => {
                let text = value.get("text")?;
                let lines = text.as_array().map_or_else(|| vec![text], |lines| lines.iter().collect());
                let lines: Vec<&str> = lines.into_iter().filter_map(Value::as_str).collect();
                Some(Self::Text(lines.join("\n").chars().collect()))
            }
            Family::Ranker => order(value.get("ranker")?).map(Self::Set),
            Family::Pairwise => Some(Self::Exact(value.get("selected")?.as_str()?.to_owned())),
            Family::DateTime => Some(Self::Exact(value.get("datetime")?.as_str()?.to_owned())),
            _ => None,
        }
    }

    pub fn cost(&self, other: &Self) -> u64 {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => (a.len() as u64).saturating_mul(b.len() as u64),
            (Self::Set(a) | Self::OneSet(a), Self::Set(b) | Self::OneSet(b)) => (a.len() + b.len()) as u64,
            _ => 1,
        }
    }

    pub fn similarity(&self, other: &Self) -> f64 {
        match (self, other) {
            (Self::OneSet(a), Self::OneSet(b)) => f64::from(a == b),
            (Self::Set(a), Self::Set(b)) => {
                let shared = a.intersection(b).count();
                let all = a.len() + b.len() - shared;
                if all == 0 { 1.0 } else { shared as f64 / all as f64 }
            }
            (Self::Number { value: a, tolerance: t }, Self::Number { value: b, tolerance: u }) => {
                // 0.1 + 0.2 is 0.3.
                let rounding = 1e-9 * a.abs().max(b.abs());
                f64::from((a - b).abs() <= t.max(*u) + rounding)
            }
            (Self::Text(a), Self::Text(b)) => {
                let longer = a.len().max(b.len());
                if longer == 0 {
                    return 1.0;
                }
                1.0 - strsim::generic_levenshtein(a, b) as f64 / longer as f64
            }
            (Self::Exact(a), Self::Exact(b)) => f64::from(a == b),
            _ => 0.0,
        }
    }
}

/// The texts of a list, sorted; none where it is no list.
pub(super) fn texts(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    let mut texts: Vec<String> = items.filter_map(Value::as_str).map(str::to_owned).collect();
    texts.sort_unstable();
    texts
}

/// Each path with the paths above it: the right branch is half the answer.
fn with_ancestors(paths: &[Value]) -> BTreeSet<String> {
    let paths = paths.iter().map(|path| path.as_array().map_or(std::slice::from_ref(path), Vec::as_slice));
    paths
        .flat_map(|path| (1..=path.len()).filter_map(|length| path.get(..length)))
        .map(|path| path.iter().map(Value::to_string).collect::<Vec<_>>().join("/"))
        .collect()
}

/// What a ranking says: which item is in which bucket, and which stands before which.
fn order(ranker: &Value) -> Option<BTreeSet<String>> {
    let buckets: Vec<(&str, &Vec<Value>)> = match ranker {
        Value::Array(items) => vec![("", items)],
        Value::Object(buckets) => {
            buckets.iter().map(|(name, items)| Some((&**name, items.as_array()?))).collect::<Option<_>>()?
        }
        _ => return None,
    };
    if buckets.iter().map(|(_, items)| items.len()).sum::<usize>() > MAX_RANKED {
        return None;
    }
    let mut said = BTreeSet::new();
    for (bucket, items) in buckets {
        for (place, item) in items.iter().enumerate() {
            said.insert(format!("{bucket:?} {item}"));
            said.extend(items.iter().skip(place + 1).map(|later| format!("{bucket:?} {item} {later}")));
        }
    }
    Some(said)
}
