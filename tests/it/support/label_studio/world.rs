//! What a simulated Label Studio holds, and how it shows that.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

#[derive(Default)]
pub struct World {
    pub projects: BTreeMap<i64, Map<String, Value>>,
    pub tasks: BTreeMap<i64, Task>,
    pub annotations: BTreeMap<i64, Annotation>,
    pub webhooks: BTreeMap<i64, Value>,
    last_ids: BTreeMap<&'static str, i64>,
    last_time: Option<DateTime<Utc>>,
}

#[derive(Clone)]
pub struct Task {
    pub project: i64,
    pub data: Value,
    pub meta: Value,
    pub predictions: Vec<Value>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Clone)]
pub struct Annotation {
    pub task: i64,
    pub project: i64,
    pub result: Value,
    pub was_cancelled: bool,
    pub lead_time: Value,
    pub unique_id: Uuid,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl World {
    /// Never given out twice, not even after a deletion.
    pub fn id(&mut self, kind: &'static str) -> i64 {
        let last = self.last_ids.entry(kind).or_default();
        *last += 1;
        *last
    }

    /// Later than every time before it, in microseconds.
    pub fn now(&mut self) -> DateTime<Utc> {
        let now = DateTime::from_timestamp_micros(Utc::now().timestamp_micros()).unwrap();
        let now = self.last_time.map_or(now, |last| now.max(last + Duration::microseconds(1)));
        self.last_time = Some(now);
        now
    }

    pub fn add_annotation(&mut self, task: i64, fields: &Value) -> i64 {
        let id = self.id("annotation");
        let now = self.now();
        let project = self.tasks[&task].project;
        let annotation = Annotation {
            task,
            project,
            result: fields.get("result").cloned().unwrap_or_else(|| json!([])),
            was_cancelled: fields["was_cancelled"] == true,
            lead_time: fields["lead_time"].clone(),
            unique_id: Uuid::new_v4(),
            created_at: now,
            updated_at: now,
        };
        self.annotations.insert(id, annotation);
        self.touch(task);
        id
    }

    pub fn change_annotation(&mut self, id: i64, fields: &Value) {
        let now = self.now();
        let annotation = self.annotations.get_mut(&id).unwrap();
        if let Some(result) = fields.get("result") {
            annotation.result = result.clone();
        }
        if let Some(was_cancelled) = fields["was_cancelled"].as_bool() {
            annotation.was_cancelled = was_cancelled;
        }
        if fields.get("lead_time").is_some() {
            annotation.lead_time = fields["lead_time"].clone();
        }
        annotation.updated_at = now;
        let task = annotation.task;
        self.touch(task);
    }

    pub fn remove_annotation(&mut self, id: i64) -> Option<Annotation> {
        let annotation = self.annotations.remove(&id)?;
        self.touch(annotation.task);
        Some(annotation)
    }

    /// With its annotations, of whose end nothing is told.
    pub fn remove_task(&mut self, id: i64) -> bool {
        self.annotations.retain(|_, annotation| annotation.task != id);
        self.tasks.remove(&id).is_some()
    }

    /// With all that belongs to it.
    pub fn remove_project(&mut self, id: i64) -> bool {
        self.tasks.retain(|_, task| task.project != id);
        self.annotations.retain(|_, annotation| annotation.project != id);
        self.webhooks.retain(|_, webhook| webhook["project"] != id);
        self.projects.remove(&id).is_some()
    }

    fn touch(&mut self, task: i64) {
        let now = self.now();
        if let Some(task) = self.tasks.get_mut(&task) {
            task.updated_at = now;
        }
    }

    pub fn annotations_of(&self, task: i64) -> impl Iterator<Item = (&i64, &Annotation)> {
        self.annotations.iter().filter(move |(_, annotation)| annotation.task == task)
    }

    /// Tasks of a project in the order of their ids.
    pub fn tasks_of(&self, project: i64) -> impl Iterator<Item = (&i64, &Task)> {
        self.tasks.iter().filter(move |(_, task)| task.project == project)
    }

    /// A project with its counters.
    pub fn project(&self, id: i64) -> Option<Value> {
        let mut shown = self.projects.get(&id)?.clone();
        shown.extend(self.counts(id).as_object().cloned().unwrap_or_default());
        Some(shown.into())
    }

    /// One entry of `/api/projects/counts/`. With one annotation wanted and skips ignored, a task is finished by
    /// any annotation, skipped or not.
    pub fn counts(&self, id: i64) -> Value {
        let tasks: Vec<i64> = self.tasks_of(id).map(|(task, _)| *task).collect();
        let of = |skipped: bool| {
            let all = self.annotations.values();
            all.filter(|one| one.project == id && one.was_cancelled == skipped).count()
        };
        let with = |test: fn(&Annotation) -> bool| {
            tasks.iter().filter(|task| self.annotations_of(**task).any(|(_, one)| test(one))).count()
        };
        json!({
            "id": id, "task_number": tasks.len(), "finished_task_number": with(|_| true),
            "num_tasks_with_annotations": with(|one| !one.was_cancelled),
            "total_annotations_number": of(false), "skipped_annotations_number": of(true),
            "total_predictions_number": 0, "useful_annotation_number": of(false), "ground_truth_number": 0,
        })
    }

    pub fn annotation(&self, id: i64) -> Option<Value> {
        let one = self.annotations.get(&id)?;
        Some(json!({
            "id": id, "task": one.task, "project": one.project, "result": one.result,
            "was_cancelled": one.was_cancelled, "ground_truth": false, "lead_time": one.lead_time,
            "created_at": time(one.created_at), "updated_at": time(one.updated_at),
            "draft_created_at": null, "completed_by": 1, "updated_by": 1, "unique_id": one.unique_id,
            "created_username": " ann@example.com, 1", "created_ago": "0 minutes", "prediction": {},
            "result_count": one.result.as_array().map_or(0, Vec::len), "import_id": null, "last_action": null,
            "bulk_created": false, "parent_prediction": null, "parent_annotation": null, "last_created_by": null,
        }))
    }

    /// A task, with its annotations as a listing shows them or without as a webhook does.
    pub fn task(&self, id: i64, whole: bool) -> Option<Value> {
        let task = self.tasks.get(&id)?;
        let of =
            |skipped: bool| self.annotations_of(id).filter(|(_, one)| one.was_cancelled == skipped).count();
        let annotations: Vec<Value> = if whole {
            self.annotations_of(id).filter_map(|(annotation, _)| self.annotation(*annotation)).collect()
        } else {
            Vec::new()
        };
        Some(json!({
            "id": id, "project": task.project, "data": task.data, "meta": task.meta,
            "created_at": time(task.created_at), "updated_at": time(task.updated_at), "updated_by": [],
            "is_labeled": of(false) + of(true) > 0, "overlap": 1, "inner_id": id,
            "total_annotations": of(false), "cancelled_annotations": of(true),
            "total_predictions": task.predictions.len(), "comment_count": 0, "file_upload": null,
            "annotations": annotations, "predictions": if whole { task.predictions.clone() } else { Vec::new() },
        }))
    }
}

/// As Django REST writes times.
pub fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}
