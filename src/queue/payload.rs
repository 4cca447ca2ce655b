//! What arguments and results may be: JSON that Postgres can hold, and not too much of it. Both lie in a row that is
//! rewritten whenever the job's state changes.

use serde_json::{Value, json};

/// Of arguments and of results, as JSON.
pub(super) const MOST_BYTES: usize = 64 * 1024;

/// A result as it is stored: none for null, without the one character that jsonb can't hold; one that is too large is
/// replaced by its size.
pub(super) fn result(mut value: Value) -> Option<Value> {
    if value.is_null() {
        return None;
    }
    let mut bytes = value.to_string();
    if bytes.contains("\\u0000") {
        strip(&mut value);
        bytes = value.to_string();
    }
    Some(if bytes.len() > MOST_BYTES { json!({"truncated": true, "bytes": bytes.len()}) } else { value })
}

fn strip(value: &mut Value) {
    match value {
        Value::String(text) => text.retain(|character| character != '\0'),
        Value::Array(all) => all.iter_mut().for_each(strip),
        Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(name, mut value)| {
                    strip(&mut value);
                    (name.replace('\0', ""), value)
                })
                .collect();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_loses_what_jsonb_cannot_hold_and_nothing_else() {
        let kept = result(json!({"a\0": ["b\0c", "\\u0000", 1]}));
        assert_eq!(kept, Some(json!({"a": ["bc", "\\u0000", 1]})));
        assert_eq!(result(Value::Null), None);
    }

    #[test]
    fn a_large_result_is_replaced_by_its_size() {
        let just = Value::String("x".repeat(MOST_BYTES - 2));
        assert_eq!(result(just.clone()), Some(just));
        let over = Value::String("x".repeat(MOST_BYTES - 1));
        assert_eq!(result(over), Some(json!({"truncated": true, "bytes": MOST_BYTES + 1})));
    }
}
