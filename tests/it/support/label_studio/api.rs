//! The endpoints, as far as the fleet and an annotator's browser use them.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, patch, post},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Shared,
    world::{Task, World, time},
};

type Sim = State<Arc<Shared>>;

pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/health", get(async || Json(json!({ "status": "UP" }))))
        .route("/api/current-user/whoami", get(whoami))
        .route("/api/projects/", get(list_projects).post(create_project))
        .route("/api/projects/counts/", get(counts))
        .route("/api/projects/{id}/", get(get_project).patch(change_project).delete(delete_project))
        .route("/api/projects/{id}/import", post(import))
        .route("/api/projects/{id}/export", get(export))
        .route("/api/tasks/", get(list_tasks))
        .route("/api/tasks/{id}/", delete(delete_task))
        .route("/api/tasks/{id}/annotations/", post(create_annotation))
        .route(
            "/api/annotations/{id}/",
            get(get_annotation).patch(change_annotation).delete(delete_annotation),
        )
        .route("/api/webhooks/", get(list_webhooks).post(create_webhook))
        .route("/api/webhooks/{id}/", patch(change_webhook).delete(delete_webhook))
        .layer(middleware::from_fn_with_state(shared.clone(), door))
        .with_state(shared)
}

async fn door(State(sim): Sim, request: Request, next: Next) -> Response {
    sim.requests.fetch_add(1, Ordering::SeqCst);
    if let Some(context) = request.headers().get("traceparent") {
        sim.traceparents.lock().unwrap().push(context.to_str().unwrap().to_owned());
    }
    if sim.hangs.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    if sim.refuses.load(Ordering::SeqCst) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if shown != Some(&format!("Token {}", sim.token)) && request.uri().path() != "/health" {
        let body = json!({ "status_code": 401, "detail": "Invalid token." });
        return (StatusCode::UNAUTHORIZED, Json(body)).into_response();
    }
    next.run(request).await
}

fn not_found() -> Response {
    let body = json!({ "status_code": 404, "detail": "Not found.", "exc_info": null });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

fn found(value: Option<Value>) -> Response {
    value.map_or_else(not_found, |value| Json(value).into_response())
}

async fn whoami() -> Json<Value> {
    Json(
        json!({ "id": 1, "email": "ann@example.com", "username": "ann@example.com", "active_organization": 1 }),
    )
}

#[derive(Deserialize)]
struct ListQuery {
    title: Option<String>,
    ids: Option<String>,
    page: Option<usize>,
    page_size: Option<usize>,
}

/// A page as Django REST answers it; one past the end is 404.
fn paged(all: Vec<Value>, query: &ListQuery) -> Response {
    let (page, size) = (query.page.unwrap_or(1).max(1), query.page_size.unwrap_or(30).clamp(1, 100));
    let (count, start) = (all.len(), (page - 1) * size);
    if start > 0 && start >= count {
        return not_found();
    }
    let next = (start + size < count).then(|| format!("http://ls/?page={}", page + 1));
    let results: Vec<Value> = all.into_iter().skip(start).take(size).collect();
    Json(json!({ "count": count, "next": next, "previous": null, "results": results })).into_response()
}

async fn list_projects(State(sim): Sim, Query(query): Query<ListQuery>) -> Response {
    let world = sim.world.lock().unwrap();
    let wanted = query.title.clone().unwrap_or_default().to_lowercase();
    let has =
        |project: &Map<String, Value>| project["title"].as_str().unwrap().to_lowercase().contains(&wanted);
    let ids = world.projects.iter().rev().filter(|(_, project)| has(project)).map(|(id, _)| *id);
    let all = ids.filter_map(|id| world.project(id)).collect();
    paged(all, &query)
}

async fn counts(State(sim): Sim, Query(query): Query<ListQuery>) -> Response {
    let world = sim.world.lock().unwrap();
    let ids = query.ids.clone().unwrap_or_default();
    let ids = ids.split(',').filter_map(|id| id.parse().ok()).filter(|id| world.projects.contains_key(id));
    paged(ids.map(|id| world.counts(id)).collect(), &query)
}

async fn create_project(State(sim): Sim, Json(fields): Json<Map<String, Value>>) -> Response {
    let title = fields.get("title").and_then(Value::as_str).unwrap_or_default();
    if !(3..=50).contains(&title.chars().count()) {
        let body = json!({ "status_code": 400, "validation_errors": { "title": ["Ensure this field has 3 to 50 characters."] } });
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    let mut world = sim.world.lock().unwrap();
    let (id, now) = (world.id("project"), world.now());
    let mut project = fields;
    project.insert("id".into(), id.into());
    project.insert("created_at".into(), time(now).into());
    world.projects.insert(id, project);
    (StatusCode::CREATED, Json(world.project(id))).into_response()
}

async fn get_project(State(sim): Sim, Path(id): Path<i64>) -> Response {
    found(sim.world.lock().unwrap().project(id))
}

async fn change_project(
    State(sim): Sim,
    Path(id): Path<i64>,
    Json(fields): Json<Map<String, Value>>,
) -> Response {
    let mut world = sim.world.lock().unwrap();
    if let Some(project) = world.projects.get_mut(&id) {
        project.extend(fields);
    }
    found(world.project(id))
}

fn deleted(was_there: bool) -> Response {
    if was_there { StatusCode::NO_CONTENT.into_response() } else { not_found() }
}

async fn delete_project(State(sim): Sim, Path(id): Path<i64>) -> Response {
    deleted(sim.world.lock().unwrap().remove_project(id))
}

async fn import(State(sim): Sim, Path(project): Path<i64>, Json(tasks): Json<Vec<Value>>) -> Response {
    let mut world = sim.world.lock().unwrap();
    if !world.projects.contains_key(&project) {
        return not_found();
    }
    let mut ids = Vec::with_capacity(tasks.len());
    for task in tasks {
        let (id, now) = (world.id("task"), world.now());
        let predictions = task["predictions"].as_array().cloned().unwrap_or_default();
        let meta = task.get("meta").cloned().unwrap_or_else(|| json!({}));
        let data = task["data"].clone();
        let task = Task { project, data, meta, predictions, created_at: now, updated_at: now };
        world.tasks.insert(id, task);
        ids.push(id);
    }
    let body = json!({ "task_count": ids.len(), "annotation_count": 0, "prediction_count": 0, "duration": 0.01,
        "file_upload_ids": [], "could_be_tasks_list": false, "found_formats": [], "data_columns": [], "task_ids": ids });
    (StatusCode::CREATED, Json(body)).into_response()
}

async fn export(State(sim): Sim, Path(project): Path<i64>) -> Response {
    let world = sim.world.lock().unwrap();
    if !world.projects.contains_key(&project) {
        return not_found();
    }
    let tasks: Vec<Value> = world
        .tasks_of(project)
        .filter(|(id, _)| world.annotations_of(**id).next().is_some())
        .filter_map(|(id, _)| world.task(*id, true))
        .collect();
    Json(tasks).into_response()
}

#[derive(Deserialize)]
struct TaskQuery {
    project: i64,
    page: Option<usize>,
    page_size: Option<usize>,
    /// The data manager's: only its ordering by the last change is known here.
    query: Option<String>,
}

async fn list_tasks(State(sim): Sim, Query(asked): Query<TaskQuery>) -> Response {
    let world = sim.world.lock().unwrap();
    if !world.projects.contains_key(&asked.project) {
        return not_found();
    }
    let mut ids: Vec<i64> = world.tasks_of(asked.project).map(|(id, _)| *id).collect();
    let query: Value =
        asked.query.as_deref().map_or(Value::Null, |query| serde_json::from_str(query).unwrap());
    match query["ordering"][0].as_str() {
        None => {}
        Some("-tasks:updated_at") => ids.sort_by_key(|id| std::cmp::Reverse(world.tasks[id].updated_at)),
        Some(other) => panic!("the simulator does not know the order {other}"),
    }
    let (page, size) = (asked.page.unwrap_or(1).max(1), asked.page_size.unwrap_or(100));
    let start = (page - 1) * size;
    if start > 0 && start >= ids.len() {
        return not_found();
    }
    let tasks: Vec<Value> =
        ids.iter().skip(start).take(size).filter_map(|id| world.task(*id, true)).collect();
    let annotations = world.annotations.values().filter(|one| one.project == asked.project).count();
    let body = json!({ "total": ids.len(), "total_annotations": annotations, "total_predictions": 0, "tasks": tasks });
    Json(body).into_response()
}

async fn delete_task(State(sim): Sim, Path(id): Path<i64>) -> Response {
    deleted(sim.world.lock().unwrap().remove_task(id))
}

/// The payload of a creation or an update, which is also what the request is answered with.
fn told(world: &World, annotation: i64) -> (i64, Value, Value) {
    let shown = world.annotation(annotation).unwrap();
    let one = &world.annotations[&annotation];
    let payload = json!({ "annotation": shown, "task": world.task(one.task, false) });
    (one.project, shown, payload)
}

async fn create_annotation(State(sim): Sim, Path(task): Path<i64>, Json(fields): Json<Value>) -> Response {
    let (project, shown, payload) = {
        let mut world = sim.world.lock().unwrap();
        if !world.tasks.contains_key(&task) {
            return not_found();
        }
        let id = world.add_annotation(task, &fields);
        told(&world, id)
    };
    sim.tell(project, "ANNOTATION_CREATED", payload).await;
    (StatusCode::CREATED, Json(shown)).into_response()
}

async fn get_annotation(State(sim): Sim, Path(id): Path<i64>) -> Response {
    found(sim.world.lock().unwrap().annotation(id))
}

async fn change_annotation(State(sim): Sim, Path(id): Path<i64>, Json(fields): Json<Value>) -> Response {
    let (project, shown, payload) = {
        let mut world = sim.world.lock().unwrap();
        if !world.annotations.contains_key(&id) {
            return not_found();
        }
        world.change_annotation(id, &fields);
        told(&world, id)
    };
    sim.tell(project, "ANNOTATION_UPDATED", payload).await;
    Json(shown).into_response()
}

async fn delete_annotation(State(sim): Sim, Path(id): Path<i64>) -> Response {
    let removed = sim.world.lock().unwrap().remove_annotation(id);
    let Some(removed) = removed else { return not_found() };
    sim.tell(removed.project, "ANNOTATIONS_DELETED", json!({ "annotations": [{ "id": id }] })).await;
    StatusCode::NO_CONTENT.into_response()
}

#[derive(Deserialize)]
struct WebhookQuery {
    project: Option<i64>,
}

async fn list_webhooks(State(sim): Sim, Query(query): Query<WebhookQuery>) -> Response {
    let world = sim.world.lock().unwrap();
    let of = |webhook: &&Value| query.project.is_none_or(|project| webhook["project"] == project);
    Json(world.webhooks.values().filter(of).collect::<Vec<_>>()).into_response()
}

async fn create_webhook(State(sim): Sim, Json(mut webhook): Json<Value>) -> Response {
    let mut world = sim.world.lock().unwrap();
    let id = world.id("webhook");
    webhook["id"] = id.into();
    world.webhooks.insert(id, webhook.clone());
    (StatusCode::CREATED, Json(webhook)).into_response()
}

async fn change_webhook(
    State(sim): Sim,
    Path(id): Path<i64>,
    Json(fields): Json<Map<String, Value>>,
) -> Response {
    let mut world = sim.world.lock().unwrap();
    if let Some(Value::Object(webhook)) = world.webhooks.get_mut(&id) {
        webhook.extend(fields);
    }
    found(world.webhooks.get(&id).cloned())
}

async fn delete_webhook(State(sim): Sim, Path(id): Path<i64>) -> Response {
    deleted(sim.world.lock().unwrap().webhooks.remove(&id).is_some())
}
