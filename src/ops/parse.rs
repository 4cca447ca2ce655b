//! Reading what a caller sent: JSON bodies, forms and query strings. serde stops at the first misfit; here the
//! misfit is noted by its path, a stand-in takes its place, and reading goes on, so that all are told at once.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_path_to_error::Segment;

use super::{Error, Issue, Result};

/// More bad fields than this are not looked for.
const MAX_ISSUES: usize = 100;

/// Reads `bytes` as JSON.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize(&mut json) {
        Ok(fits) => json.end().map(|()| fits).map_err(|error| malformed(&error)),
        Err(error) if error.inner().is_data() => {
            let whole: Value = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
            // What only the text could hold (a field twice, say) is gone from the value.
            value::<T>(whole).and(Err(Error::Invalid(vec![issue(&error)])))
        }
        Err(error) => Err(malformed(error.inner())),
    }
}

/// Reads a `T` from JSON that was parsed already.
pub fn value<T: DeserializeOwned>(mut whole: Value) -> Result<T> {
    let mut issues: Vec<Issue> = Vec::new();
    let (mut stand_ins, mut place) = (StandIns::default(), None);
    loop {
        let error = match serde_path_to_error::deserialize(&whole) {
            Ok(fits) if issues.is_empty() => return Ok(fits),
            Ok(_) => return Err(Error::Invalid(issues)),
            Err(error) => error,
        };
        let issue = issue(&error);
        if place.as_ref() != Some(&issue.path) {
            (stand_ins, place) = (StandIns::default(), Some(issue.path.clone()));
            // What is wrong inside a stand-in is nobody's fault.
            if !issues.iter().any(|known| contains(&known.path, &issue.path)) {
                issues.push(issue);
            }
        }
        let stand_in = stand_ins.next(&error.inner().to_string());
        let goes_on = stand_in.is_some_and(|stand_in| put(&mut whole, &error, stand_in));
        if !goes_on || issues.len() >= MAX_ISSUES {
            return Err(Error::Invalid(issues));
        }
    }
}

fn contains(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| outer.is_empty() || rest.starts_with(['.', '[']))
}

/// Values of every shape, one of which fits unless something special is wanted.
#[derive(Default)]
struct StandIns {
    tried: usize,
    word_tried: bool,
}

impl StandIns {
    fn next(&mut self, message: &str) -> Option<Value> {
        // serde names the words that an enum takes.
        let word = message.split_once("expected").and_then(|(_, expected)| expected.split('`').nth(1));
        if let Some(word) = word.filter(|_| !std::mem::replace(&mut self.word_tried, true)) {
            return Some(json!(word));
        }
        let shapes = [json!(null), json!(0), json!(""), json!(false), json!([]), json!({})];
        self.tried += 1;
        shapes.into_iter().nth(self.tried - 1)
    }
}

type Misfit = serde_path_to_error::Error<serde_json::Error>;

/// Puts a stand-in where the error is. False if there is no such place.
fn put(whole: &mut Value, error: &Misfit, stand_in: Value) -> bool {
    let mut place = whole;
    for segment in error.path() {
        let inner = match segment {
            Segment::Seq { index } => place.get_mut(*index),
            Segment::Map { key } => place.get_mut(key),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        let Some(inner) = inner else { return false };
        place = inner;
    }
    match (missing_field(&error.inner().to_string()), place) {
        (Some(field), Value::Object(object)) => {
            object.insert(field.to_owned(), stand_in);
        }
        (_, place) => *place = stand_in,
    }
    true
}

/// Reads a query string or a form. A misfit's stand-in is its absence or, for what is missing, an empty text.
pub fn urlencoded<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut pairs: Vec<(String, String)> = url::form_urlencoded::parse(bytes).into_owned().collect();
    let mut issues: Vec<Issue> = Vec::new();
    loop {
        let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        let reader = serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(text.as_bytes()));
        let error = match serde_path_to_error::deserialize(reader) {
            Ok(fits) if issues.is_empty() => return Ok(fits),
            Ok(_) => return Err(Error::Invalid(issues)),
            Err(error) => error,
        };
        let issue = issue(&error);
        let is_known = issues.iter().any(|known| known.path == issue.path);
        let count = pairs.len();
        pairs.retain(|(name, _)| *name != issue.path);
        if pairs.len() == count {
            pairs.push((issue.path.clone(), String::new()));
        }
        if !is_known {
            issues.push(issue);
        }
        if is_known || issues.len() >= MAX_ISSUES {
            return Err(Error::Invalid(issues));
        }
    }
}

/// A query string without these parameters.
pub fn without(query: &str, names: &[&str]) -> String {
    let pairs =
        url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| !names.contains(&name.as_ref()));
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn malformed(error: &serde_json::Error) -> Error {
    Error::Refused(format!("the body is not well-formed JSON: {error}"))
}

fn issue<E: std::error::Error>(error: &serde_path_to_error::Error<E>) -> Issue {
    let message = error.inner().to_string();
    // serde_json's place in the text adds nothing to the path.
    let message = message.split(" at line ").next().unwrap_or_default();
    let path = match error.path().to_string() {
        root if root == "." => String::new(),
        path => path,
    };
    let inside = |field: &str| if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
    // serde puts a missing field's error on what should contain it.
    if let Some(field) = missing_field(message) {
        return Issue { path: inside(field), message: "is required".into() };
    }
    match quoted(message, "duplicate field `") {
        Some(field) if path.is_empty() => Issue { path: field.to_owned(), message: "is given twice".into() },
        _ => Issue { path, message: message.to_owned() },
    }
}

fn missing_field(message: &str) -> Option<&str> {
    quoted(message, "missing field `")
}

/// What stands between `opening` and the next backtick.
fn quoted<'a>(message: &'a str, opening: &str) -> Option<&'a str> {
    message.strip_prefix(opening)?.split('`').next()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read into")]
    struct Outer {
        inner: Vec<Inner>,
        limit: Option<i64>,
        kind: Kind,
        flag: bool,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read into")]
    struct Inner {
        name: String,
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        #[serde(rename = "small")]
        Small,
    }

    fn issues(json: &str) -> Vec<(String, String)> {
        match super::json::<Outer>(json.as_bytes()).unwrap_err() {
            Error::Invalid(issues) => issues.into_iter().map(|issue| (issue.path, issue.message)).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn paths(json: &str) -> Vec<String> {
        issues(json).into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn every_misfit_is_named_by_its_path() {
        assert_eq!(paths("{}"), ["inner", "kind", "flag"]);
        let all = r#"{"inner":[{},{"name":7},{"name":"a"},5],"limit":"x","kind":"huge","flag":null}"#;
        assert_eq!(paths(all), ["flag", "inner[0].name", "inner[1].name", "inner[3]", "kind", "limit"]);
        assert_eq!(paths(r#"{"inner":7,"kind":8,"flag":true}"#), ["inner", "kind"]);
        assert_eq!(paths(r#"{"inner":[],"kind":"small","flag":true,"flag":true}"#), ["flag"]);
        assert_eq!(paths("7"), [""]);
        let told = issues(r#"{"inner":[{"name":"a"},{"name":7}],"kind":"small","flag":true}"#);
        assert_eq!(told, [("inner[1].name".into(), "invalid type: integer `7`, expected a string".into())]);
        assert_eq!(issues(r#"{"inner":[],"kind":"small"}"#), [("flag".into(), "is required".into())]);
    }

    #[test]
    fn there_is_an_end_to_it() {
        let many = format!(r#"{{"inner":[{}7],"kind":"small","flag":true}}"#, "7,".repeat(10_000));
        assert_eq!(paths(&many).len(), MAX_ISSUES);
    }

    #[test]
    fn malformed_json_is_told_apart() {
        for text in ["{", "", r#"{"inner":[],"kind":"small","flag":true} x"#] {
            assert!(matches!(json::<Outer>(text.as_bytes()), Err(Error::Refused(_))), "{text}");
        }
    }

    #[test]
    fn a_query_and_a_form_name_their_fields_too() {
        #[derive(Debug, Deserialize)]
        #[expect(dead_code, reason = "only read into")]
        struct Filter {
            limit: Option<i64>,
            offset: Option<i64>,
            name: String,
            kind: Kind,
        }
        let paths = |query: &str| match urlencoded::<Filter>(query.as_bytes()) {
            Err(Error::Invalid(issues)) => issues.into_iter().map(|issue| issue.path).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(paths("limit=ten&offset=&name=n&kind=small"), ["limit", "offset"]);
        assert_eq!(paths("limit=1&limit=2&name=n&kind=small&x=y"), ["limit"]);
        assert_eq!(paths("limit=ten"), ["limit", "name", "kind"]);
        assert!(urlencoded::<Filter>(b"limit=1&name=&kind=small&other=%FF").is_ok());
    }
}
