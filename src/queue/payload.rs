//! What arguments and results may be: JSON that Postgres can hold, and not too much of it. Both lie in a row that is
//! rewritten whenever the job's state changes.

use std::any::TypeId;

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    cipher::{self, ArgsCipher},
    job::JobArgs,
};

/// Of arguments and of results, as JSON.
pub(super) const MOST_BYTES: usize = 64 * 1024;

/// Arguments as they are stored.
pub(super) fn args<J: JobArgs>(args: &J, cipher: Option<&ArgsCipher>) -> sqlx::Result<String> {
    let json = plain(args)?;
    match cipher {
        Some(cipher) => cipher.seal(J::KIND, &json).map_err(refused),
        None => Ok(json),
    }
}

/// All that these arguments may be stored as.
pub(super) fn spellings<J: JobArgs>(args: &J, cipher: Option<&ArgsCipher>) -> sqlx::Result<Vec<String>> {
    let json = plain(args)?;
    match cipher {
        Some(cipher) => cipher.all_seals(J::KIND, json).map_err(refused),
        None => Ok(vec![json]),
    }
}

fn plain<J: JobArgs>(args: &J) -> sqlx::Result<String> {
    let json = serde_json::to_string(args).map_err(|error| sqlx::Error::Encode(error.into()))?;
    if json.len() > MOST_BYTES {
        let (kind, bytes, most) = (J::KIND, json.len(), MOST_BYTES);
        return Err(refused(format!(
            "the arguments of a {kind} job are {bytes} bytes of JSON: at most {most} are allowed"
        )));
    }
    if cipher::is_reserved(&json) {
        return Err(refused(format!("the arguments of a {} job look like encrypted ones", J::KIND)));
    }
    Ok(json)
}

fn refused(why: String) -> sqlx::Error {
    sqlx::Error::Encode(why.into())
}

/// A result as it is stored: none for null, without the one character that jsonb can't hold; one that is too large is
/// replaced by its size.
pub(super) fn result<T: Serialize + 'static>(output: &T) -> serde_json::Result<Option<String>> {
    // Most jobs return nothing, and it costs them nothing.
    if TypeId::of::<T>() == TypeId::of::<()>() {
        return Ok(None);
    }
    let mut json = serde_json::to_string(output)?;
    if json == "null" {
        return Ok(None);
    }
    if json.contains("\\u0000") {
        let mut value = serde_json::from_str(&json)?;
        strip(&mut value);
        json = value.to_string();
    }
    if json.len() > MOST_BYTES {
        json = json!({"truncated": true, "bytes": json.len()}).to_string();
    }
    Ok(Some(json))
}

/// How large a stored result was, if it was too large to be stored.
pub(super) fn truncated(stored: &Value) -> Option<u64> {
    let bytes = stored.get("bytes")?.as_u64().filter(|bytes| *bytes > MOST_BYTES as u64)?;
    (*stored == json!({"truncated": true, "bytes": bytes})).then_some(bytes)
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

    fn stored(output: &Value) -> Option<Value> {
        result(output).unwrap().map(|json| serde_json::from_str(&json).unwrap())
    }

    #[test]
    fn a_result_loses_what_jsonb_cannot_hold_and_nothing_else() {
        let kept = stored(&json!({"a\0": ["b\0c", "\\u0000", 1]}));
        assert_eq!(kept, Some(json!({"a": ["bc", "\\u0000", 1]})));
        assert_eq!(stored(&Value::Null), None);
        assert_eq!(result(&()).unwrap(), None);
    }

    #[test]
    fn a_large_result_is_replaced_by_its_size() {
        let just = Value::String("x".repeat(MOST_BYTES - 2));
        assert_eq!(stored(&just), Some(just));
        let over = stored(&Value::String("x".repeat(MOST_BYTES - 1))).unwrap();
        assert_eq!(over, json!({"truncated": true, "bytes": MOST_BYTES + 1}));
        assert_eq!(truncated(&over), Some(MOST_BYTES as u64 + 1));
        for whole in [json!({"truncated": true, "bytes": 9}), json!("truncated"), Value::Null] {
            assert_eq!(truncated(&whole), None, "{whole}");
        }
    }
}
