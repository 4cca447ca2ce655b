//! What Label Studio tells us of annotations, by webhook or when it is asked, as one type.
//!
//! Shapes as measured with Label Studio 1.23.2: creations and updates carry `annotation` and `task`; a deletion
//! carries `annotations: [{id}]` and no task; a skip is a creation with `was_cancelled`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::AnnotationAction;

#[derive(Debug, Clone, PartialEq)]
pub struct AnnotationEvent {
    pub action: AnnotationAction,
    pub annotation_id: i64,
    pub ls_task_id: Option<i64>,
    pub ls_project_id: Option<i64>,
    /// The opaque part of the task's image URL: names our task whatever Label Studio calls it.
    pub token: Option<Uuid>,
    /// None for a deletion.
    pub annotation: Option<Annotation>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    pub was_cancelled: bool,
    pub lead_time_ms: Option<i64>,
    pub updated_at: DateTime<Utc>,
    /// The object as received.
    pub payload: Value,
}

impl AnnotationEvent {
    pub fn occurred_at(&self) -> Option<DateTime<Utc>> {
        self.annotation.as_ref().map(|annotation| annotation.updated_at)
    }
}

/// The events of one webhook body. Actions that say nothing of annotations are no events; the error names the
/// field that is missing or malformed.
pub fn from_webhook(body: &Value) -> Result<Vec<AnnotationEvent>, BadField> {
    let action = match text(body, "action")? {
        "ANNOTATION_CREATED" | "ANNOTATIONS_CREATED" => AnnotationAction::Created,
        "ANNOTATION_UPDATED" => AnnotationAction::Updated,
        "ANNOTATION_DELETED" | "ANNOTATIONS_DELETED" => AnnotationAction::Deleted,
        _ => return Ok(Vec::new()),
    };
    let ls_project_id = body.pointer("/project/id").and_then(Value::as_i64);
    // Where several are created at once, both `annotation` and `task` hold lists.
    let annotations: Vec<&Value> = match (body.get("annotation"), body.get("annotations")) {
        (Some(Value::Array(many)), _) | (None, Some(Value::Array(many))) => many.iter().collect(),
        (Some(one), _) => vec![one],
        _ => return Err(BadField { path: "annotation", wanted: "an annotation object" }),
    };
    let tasks: Vec<&Value> = match body.get("task") {
        None => Vec::new(),
        Some(Value::Array(many)) => many.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        Some(_) => return Err(BadField { path: "task", wanted: "a task object" }),
    };
    annotations
        .into_iter()
        .map(|annotation| {
            let of = |task: &&&Value| task["id"] == annotation["task"];
            let task = if let [only] = tasks[..] { Some(only) } else { tasks.iter().find(of).copied() };
            let mut event = event(action, annotation, task)?;
            event.ls_project_id = event.ls_project_id.or(ls_project_id);
            Ok(event)
        })
        .collect()
}

/// The event that one annotation of a task listing stands for; `known` says whether we hold the annotation in
/// some earlier version. (Its times can't tell: Label Studio draws `created_at` and `updated_at` separately.)
pub fn from_listing(task: &Value, annotation: &Value, known: bool) -> Result<AnnotationEvent, BadField> {
    event(if known { AnnotationAction::Updated } else { AnnotationAction::Created }, annotation, Some(task))
}

fn event(
    action: AnnotationAction,
    annotation: &Value,
    task: Option<&Value>,
) -> Result<AnnotationEvent, BadField> {
    let id = |value: Option<&Value>| value.and_then(|value| value.as_i64().or_else(|| value["id"].as_i64()));
    Ok(AnnotationEvent {
        action,
        annotation_id: annotation["id"]
            .as_i64()
            .ok_or(BadField { path: "annotation.id", wanted: "an integer" })?,
        ls_task_id: id(task).or_else(|| id(annotation.get("task"))),
        ls_project_id: id(annotation.get("project"))
            .or_else(|| id(task.and_then(|task| task.get("project")))),
        token: task.and_then(|task| task.get("data")).and_then(token_in),
        annotation: match action {
            AnnotationAction::Deleted => None,
            _ => Some(Annotation {
                was_cancelled: annotation["was_cancelled"].as_bool().unwrap_or(false),
                lead_time_ms: annotation["lead_time"].as_f64().and_then(milliseconds),
                updated_at: annotation["updated_at"]
                    .as_str()
                    .and_then(|text| text.parse().ok())
                    .ok_or(BadField { path: "annotation.updated_at", wanted: "an RFC 3339 time" })?,
                payload: storable(annotation),
            }),
        },
    })
}

/// The token of the first image URL of ours (`…/i/{token}`) in a task's data.
pub fn token_in(data: &Value) -> Option<Uuid> {
    data.as_object()?.values().filter_map(Value::as_str).find_map(|url| {
        let (head, token) = url.rsplit_once('/')?;
        head.ends_with("/i").then(|| token.parse().ok())?
    })
}

/// With U+FFFD for U+0000, the one character that Postgres' JSON can't hold: an answer is not lost for it.
fn storable(value: &Value) -> Value {
    match value {
        Value::String(text) if text.contains('\0') => text.replace('\0', "\u{fffd}").into(),
        Value::Array(items) => items.iter().map(storable).collect(),
        Value::Object(fields) => {
            let clean = |(name, value): (&String, &Value)| (name.replace('\0', "\u{fffd}"), storable(value));
            fields.iter().map(clean).collect()
        }
        other => other.clone(),
    }
}

/// Label Studio gives seconds; what can't be a working time (negative, years) is dropped.
fn milliseconds(seconds: f64) -> Option<i64> {
    (0.0..1e9).contains(&seconds).then(|| (seconds * 1000.0).round() as i64)
}

fn text<'a>(body: &'a Value, field: &'static str) -> Result<&'a str, BadField> {
    body.get(field).and_then(Value::as_str).ok_or(BadField { path: field, wanted: "a string" })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{path}: must be {wanted}")]
pub struct BadField {
    pub path: &'static str,
    pub wanted: &'static str,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOKEN: &str = "0190a6a6-0000-4000-8000-000000000001";

    fn created() -> Value {
        json!({
            "action": "ANNOTATION_CREATED",
            "annotation": {
                "id": 7, "result": [], "was_cancelled": false, "lead_time": 1.5,
                "created_at": "2026-04-06T12:00:00.000000Z", "updated_at": "2026-04-06T12:00:00.000000Z",
                "task": 3, "project": 2,
            },
            "project": {"id": 2, "title": "t"},
            "task": {"id": 3, "data": {"image": format!("http://127.0.0.1:3000/i/{TOKEN}")}},
        })
    }

    #[test]
    fn a_creation_is_read() {
        let [event] = from_webhook(&created()).unwrap().try_into().unwrap();
        assert_eq!(event.action, AnnotationAction::Created);
        assert_eq!((event.annotation_id, event.ls_task_id, event.ls_project_id), (7, Some(3), Some(2)));
        assert_eq!(event.token, Some(TOKEN.parse().unwrap()));
        let annotation = event.annotation.unwrap();
        assert_eq!(annotation.lead_time_ms, Some(1500));
        assert!(!annotation.was_cancelled);
    }

    #[test]
    fn a_deletion_is_plural_and_has_no_task() {
        let body = json!({"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}, {"id": 2}], "project": {"id": 9}});
        let events = from_webhook(&body).unwrap();
        assert_eq!(events.iter().map(|event| event.annotation_id).collect::<Vec<_>>(), [1, 2]);
        assert!(events.iter().all(|event| event.annotation.is_none() && event.ls_project_id == Some(9)));
    }

    #[test]
    fn several_creations_at_once_each_have_their_task() {
        let (mut body, one) = (created(), created());
        let mut other = one.clone();
        (other["annotation"]["id"], other["annotation"]["task"]) = (json!(8), json!(4));
        (other["task"]["id"], other["task"]["data"]["image"]) = (json!(4), json!("http://elsewhere/"));
        body["action"] = json!("ANNOTATIONS_CREATED");
        body["annotation"] = json!([one["annotation"], other["annotation"]]);
        body["task"] = json!([other["task"], one["task"]]);
        let events = from_webhook(&body).unwrap();
        let seen: Vec<_> =
            events.iter().map(|event| (event.annotation_id, event.ls_task_id, event.token)).collect();
        assert_eq!(seen, [(7, Some(3), TOKEN.parse().ok()), (8, Some(4), None)]);
    }

    #[test]
    fn a_character_that_cannot_be_stored_costs_no_answer() {
        let mut body = created();
        body["annotation"]["result"] = json!([{ "a\u{0}": ["x\u{0}y"] }]);
        let [event] = from_webhook(&body).unwrap().try_into().unwrap();
        assert_eq!(event.annotation.unwrap().payload["result"], json!([{ "a\u{fffd}": ["x\u{fffd}y"] }]));
    }

    #[test]
    fn other_actions_are_no_events() {
        assert_eq!(from_webhook(&json!({"action": "PROJECT_UPDATED"})).unwrap(), []);
    }

    #[test]
    fn a_malformed_body_names_the_field() {
        let bad = |change: fn(&mut Value)| {
            let mut body = created();
            change(&mut body);
            from_webhook(&body).unwrap_err().path
        };
        assert_eq!(bad(|body| body["action"] = json!(3)), "action");
        assert_eq!(bad(|body| drop(body.as_object_mut().unwrap().remove("annotation"))), "annotation");
        assert_eq!(bad(|body| body["annotation"]["id"] = json!("x")), "annotation.id");
        assert_eq!(
            bad(|body| body["annotation"]["updated_at"] = json!("yesterday")),
            "annotation.updated_at"
        );
        assert_eq!(bad(|body| body["task"] = json!(3)), "task");
    }

    #[test]
    fn only_our_own_urls_carry_a_token() {
        assert_eq!(token_in(&json!({"image": format!("https://x/images/{TOKEN}")})), None);
        assert_eq!(token_in(&json!({"a": 1, "image": format!("https://x/i/{TOKEN}")})), TOKEN.parse().ok());
        assert_eq!(token_in(&json!([])), None);
    }
}
