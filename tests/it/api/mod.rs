//! The HTTP surface, through the real router on a loopback port, field by field as the contract has it.

mod annotators;
mod annotators_bulk;
mod assignments;
mod auth;
mod bad_input;
mod doors;
mod events;
mod gold_tasks;
mod job_stream;
mod job_waits;
mod jobs;
mod keys;
mod labeling;
mod labeling_configs;
mod lifecycle;
mod lists;
mod monitoring;
mod outage;
mod quality;
mod queues;
mod rejections;
mod schemathesis;
mod settings;
mod system;
mod tasks;
mod users;
mod webhook;
mod workflow_chains;
mod workflows;

use serde_json::Value;

/// The fields of an object, sorted.
fn fields(object: &Value) -> Vec<&str> {
    let mut fields: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

/// These words, sorted.
fn sorted<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let mut words = words.to_vec();
    words.sort_unstable();
    words
}

/// Whether a text is a time as the API writes them: RFC 3339, UTC, milliseconds.
fn is_time(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    text.len() == "2026-04-06T12:00:00.000Z".len()
        && text.ends_with('Z')
        && chrono::DateTime::parse_from_rfc3339(text).is_ok()
}
