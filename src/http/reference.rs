//! The table of endpoints in `docs/API.md`, from the OpenAPI document, so that it says what the code does.

use std::fmt::Write;

use serde_json::Value;

use super::{document, openapi::SCOPE};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// A Markdown table a tag: method, path, what, who may, and with which statuses it answers.
pub fn reference() -> String {
    let document = serde_json::to_value(document()).unwrap_or_default();
    let mut rows: Vec<(String, String)> = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for method in METHODS {
            let operation = &item[method];
            if operation.is_object() {
                let tag = operation["tags"][0].as_str().unwrap_or("other").to_owned();
                rows.push((tag, row(method, path, operation)));
            }
        }
    }
    // Stable: paths stay in the document's order.
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut text = String::new();
    let mut last = "";
    for (tag, row) in &rows {
        if tag != last {
            let head = "| method | path | what | who may | statuses |\n| --- | --- | --- | --- | --- |";
            let _ = write!(text, "\n### {tag}\n\n{head}\n");
            last = tag;
        }
        text += row;
    }
    text
}

fn row(method: &str, path: &str, operation: &Value) -> String {
    let takes_secret = operation["parameters"]
        .as_array()
        .is_some_and(|all| all.iter().any(|parameter| parameter["name"] == "X-Webhook-Secret"));
    let who = match operation[SCOPE].as_str() {
        Some(scope) => scope,
        None if takes_secret => "the annotator's secret",
        None if path.starts_with("/i/") => "whoever has the token",
        None => "all",
    };
    let what = operation["summary"].as_str().unwrap_or_default();
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    // 500 and 503 may be the answer of any.
    let statuses =
        operation["responses"].as_object().into_iter().flatten().map(|(status, _)| status.as_str());
    let statuses: Vec<_> = statuses.filter(|status| !matches!(*status, "500" | "503")).collect();
    let method = method.to_uppercase();
    format!("| {method} | `{path}` | {} | {who} | {} |\n", what.trim_end_matches('.'), statuses.join(", "))
}
