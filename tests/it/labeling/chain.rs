//! The way of a batch through a real Label Studio, with what goes wrong on it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::http::Method;
use futures::TryStreamExt;
use labelfleet::{
    domain::{AnnotatorId, AnnotatorStatus, AssignmentId, WorkflowId, event::token_in},
    http::AppState,
    ops::{
        assign::assign,
        jobs::{InjectGold, ProvisionInstance, PublishAssignment, Reconcile},
    },
    queue::JobError,
};
use labelfleet_jobs::label_studio::{Client, NewAnnotation, NewProject, Task};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};

use super::review::settle;
use crate::support::{
    api::SECRET_KEY,
    factory,
    fleet::Fleet,
    proxy::{Fault, Proxy},
    review::{Chain, accept, reject},
    storage::Storage,
};

/// An annotator whose Label Studio serves.
async fn active_annotator(fleet: &Fleet, role: labelfleet::domain::RoleId) -> AnnotatorId {
    let id = fleet.annotator(AnnotatorStatus::Starting).await;
    sqlx::query("UPDATE annotators SET role_id = $2 WHERE id = $1")
        .bind(id)
        .bind(role)
        .execute(&fleet.database.pool)
        .await
        .unwrap();
    fleet.run(ProvisionInstance { annotator_id: id }).await.unwrap();
    id
}

async fn port(fleet: &Fleet, annotator: AnnotatorId) -> u16 {
    fleet.get(annotator, "container_port").await.parse().unwrap()
}

async fn set_port(fleet: &Fleet, annotator: AnnotatorId, port: u16) {
    sqlx::query("UPDATE annotators SET container_port = $2 WHERE id = $1")
        .bind(annotator)
        .bind(i32::from(port))
        .execute(&fleet.database.pool)
        .await
        .unwrap();
}

async fn client(fleet: &Fleet, annotator: AnnotatorId) -> Client {
    let token = fleet.get(annotator, "api_token").await;
    Client::new(&format!("http://127.0.0.1:{}", port(fleet, annotator).await), token).unwrap()
}

/// All tasks of the only project.
async fn tasks(client: &Client, assignment: AssignmentId) -> Vec<Task> {
    let projects = client.projects_titled(&format!("Batch {assignment}")).await.unwrap();
    assert_eq!(projects.len(), 1, "one project for one assignment");
    client.tasks(projects[0].id, 100).try_concat().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dropped_webhooks_would_have_told_is_found() {
    let storage = Storage::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let (seen, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let way = Proxy::start(&api, {
        let (seen, dropped) = (seen.clone(), dropped.clone());
        move |_: &Method, _: &str| {
            if seen.fetch_add(1, Ordering::SeqCst) % 5 != 4 {
                return Fault::None;
            }
            dropped.fetch_add(1, Ordering::SeqCst);
            Fault::Refuse
        }
    })
    .await;
    let mut settings = storage.settings();
    settings.push(("PUBLIC_URL".into(), api));
    settings.push(("INSTANCE_API_URL".into(), way.url.clone()));
    let fleet = Fleet::with(settings).await;
    let pool = &fleet.database.pool;
    let state = AppState::new(fleet.deps.config.clone(), fleet.deps.queue.clone());
    let server = tokio::spawn(labelfleet::http::serve(listener, state, std::future::pending()));

    let workflow = factory::Workflow { gold_rate: 0.2, ..factory::Workflow::new(pool).await };
    for _ in 0..2 {
        factory::gold(pool, workflow.config, "red").await;
    }
    let id = workflow.create(pool).await;
    factory::tasks(pool, id, 10).await;
    for n in 0..10 {
        storage.put(&format!("images/{n:05}.png"), format!("picture {n}").into_bytes()).await;
    }
    let annotator = active_annotator(&fleet, workflow.role).await;
    let assignment_id = assign(&fleet.deps.queue, id, annotator).await.unwrap();
    fleet.run(InjectGold { assignment_id }).await.unwrap();
    fleet.run(PublishAssignment { assignment_id }).await.unwrap();

    let client = client(&fleet, annotator).await;
    // What our API takes for a labeling config, Label Studio takes.
    for (n, config) in factory::CONFIGS.iter().enumerate() {
        client.create_project(&NewProject::new(&format!("Config {n}"), config)).await.unwrap();
    }
    let tasks = tasks(&client, assignment_id).await;
    assert_eq!(tasks.len(), 12);
    let kept: BTreeSet<&str> = tasks.iter().flat_map(|task| task.data.keys().map(String::as_str)).collect();
    assert_eq!(kept, BTreeSet::from(["image"]), "nothing but the image, for gold as for the rest");
    assert!(tasks.iter().all(|task| task.meta.as_ref().is_none_or(|meta| meta.is_empty())));

    // An image is reached by the URL in its task.
    let url = tasks.iter().find_map(|task| task.data["image"].as_str()).unwrap();
    let image = reqwest::get(url).await.unwrap();
    assert!(image.status().is_success() || image.status() == 404, "{}", image.status());

    for task in &tasks {
        let annotation = NewAnnotation {
            result: vec![factory::choice("red")],
            was_cancelled: false,
            lead_time: Some(1.5),
        };
        client.create_annotation(task.id, &annotation).await.unwrap();
    }
    let done: i32 = sqlx::query_scalar("SELECT done_count FROM assignments").fetch_one(pool).await.unwrap();
    let lost = dropped.load(Ordering::SeqCst);
    assert!(lost >= 2, "{lost} of {} webhooks were dropped", seen.load(Ordering::SeqCst));
    assert_eq!(usize::try_from(done).unwrap(), 12 - lost);

    let report = fleet.run(Reconcile {}).await.unwrap();
    assert_eq!(report["reconciled"], 1, "{report}");
    assert_eq!(report["completed"], 1, "{report}");
    assert_eq!(report["drift"][0]["kind"], "missed_create", "{report}");
    assert_eq!(report["drift"][0]["count"], lost, "{report}");
    assert_eq!(report["errors"], serde_json::json!([]));
    let again = fleet.run(Reconcile {}).await.unwrap();
    assert!(!again["drift"].to_string().contains("missed"), "{again}");

    let export = fleet.export(assignment_id).await.unwrap();
    let exported: Vec<Value> =
        serde_json::from_slice(&storage.get(export["key"].as_str().unwrap()).await).unwrap();
    assert_eq!(exported.len(), 10);
    assert!(exported.iter().all(|task| task["annotations"].as_array().is_some_and(|all| all.len() == 1)));
    server.abort();
    fleet.tear_down().await;
}

/// A batch of this workflow in the annotator's Label Studio: its tasks.
async fn published(fleet: &Fleet, workflow: WorkflowId, annotator: AnnotatorId) -> Vec<Task> {
    let assignment_id = assign(&fleet.deps.queue, workflow, annotator).await.unwrap();
    fleet.run(InjectGold { assignment_id }).await.unwrap();
    fleet.run(PublishAssignment { assignment_id }).await.unwrap();
    tasks(&client(fleet, annotator).await, assignment_id).await
}

/// Somebody who has their Label Studio for themselves labels, reviews, and does again what they rejected.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_by_a_review_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let settings = [("PUBLIC_URL".to_owned(), url), ("SECRET_KEY".to_owned(), SECRET_KEY.to_owned())];
    let fleet = Fleet::with(settings).await;
    let state = AppState::new(fleet.deps.config.clone(), fleet.deps.queue.clone());
    let server = tokio::spawn(labelfleet::http::serve(listener, state, std::future::pending()));
    let back = json!({ "rejectionMode": "route_to_workflow", "rejectionRouteWorkflowIndex": 0 });
    let chain = Chain::new(&fleet.database, 2, back).await;
    for sql in [
        "UPDATE annotators SET status = 'stopped'",
        "UPDATE workflows SET role_id = (SELECT min(id) FROM roles)",
    ] {
        sqlx::query(sql).execute(&chain.pool).await.unwrap();
    }
    let annotator = active_annotator(&fleet, chain.labelers).await;
    let client = client(&fleet, annotator).await;
    let says = async |task: &Task, result: Value| {
        let result = result.as_array().unwrap().clone();
        let annotation = NewAnnotation { result, was_cancelled: false, lead_time: Some(1.0) };
        client.create_annotation(task.id, &annotation).await.unwrap();
    };

    for task in published(&fleet, chain.label, annotator).await {
        says(&task, json!([factory::choice("red")])).await;
    }
    settle(&fleet).await;
    let review = published(&fleet, chain.review, annotator).await;
    assert_eq!(review.len(), 2);
    says(&review[0], accept()).await;
    says(&review[1], reject("too loose")).await;
    settle(&fleet).await;
    let rejection = chain.rejection().await;
    assert_eq!((&rejection["status"], &rejection["reason"]), (&json!("routed"), &json!("too loose")));

    let rework = published(&fleet, chain.label, annotator).await;
    assert_eq!(rework.len(), 1);
    assert_eq!(rework[0].data["rejection_reason"], "too loose");
    says(&rework[0], json!([factory::choice("green")])).await;
    settle(&fleet).await;
    let again = published(&fleet, chain.review, annotator).await;
    assert_eq!(again.len(), 1);
    says(&again[0], accept()).await;
    settle(&fleet).await;
    let last = chain.tasks(chain.last).await;
    let last: Vec<_> =
        last.iter().map(|(image, status, iteration)| (image.as_str(), status.as_str(), *iteration)).collect();
    assert_eq!(last, [("00000.png", "available", 0), ("00001.png", "available", 1)]);
    assert_eq!(chain.counters(annotator).await, (3, 1));
    server.abort();
    fleet.tear_down().await;
}

/// Imports are refused, lose their answers and stall, and in the middle of them Label Studio is restarted.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_imported_whole_and_once_whatever_happens() {
    let fleet = Fleet::with([("LABEL_STUDIO_TIMEOUT_SECS".to_owned(), "3".to_owned())]).await;
    let pool = &fleet.database.pool;
    let workflow = factory::Workflow { batch: 800, ..factory::Workflow::new(pool).await };
    let id = workflow.create(pool).await;
    factory::tasks(pool, id, 800).await;
    let annotator = active_annotator(&fleet, workflow.role).await;
    let direct = client(&fleet, annotator).await;
    let own_port = port(&fleet, annotator).await;

    let imports = Arc::new(AtomicUsize::new(0));
    let restart = Arc::new(Notify::new());
    let way = Proxy::start(&format!("http://127.0.0.1:{own_port}"), {
        let (imports, restart) = (imports.clone(), restart.clone());
        move |_: &Method, path: &str| {
            if !path.ends_with("/import") {
                return Fault::None;
            }
            match imports.fetch_add(1, Ordering::SeqCst) {
                0 => Fault::Refuse,
                1 => Fault::LoseAnswer,
                3 => Fault::Stall,
                4 => {
                    restart.notify_one();
                    Fault::None
                }
                _ => Fault::None,
            }
        }
    })
    .await;
    let assignment_id = assign(&fleet.deps.queue, id, annotator).await.unwrap();
    fleet.run(InjectGold { assignment_id }).await.unwrap();

    let mut failures = 0;
    for _ in 0..40 {
        set_port(&fleet, annotator, way.address.port()).await;
        let publish = fleet.run(PublishAssignment { assignment_id });
        let stop = async {
            restart.notified().await;
            fleet.deps.runtime.stop(annotator).await.unwrap();
            std::future::pending::<()>().await;
        };
        let outcome = tokio::select! {
            outcome = publish => outcome,
            () = stop => unreachable!("it waits for ever"),
        };
        match outcome {
            Ok(_) => break,
            Err(JobError::Retry(_)) => failures += 1,
            Err(other) => panic!("{other:?}"),
        }
        // Starts it again where it was stopped; where it runs, this changes nothing.
        fleet.run(ProvisionInstance { annotator_id: annotator }).await.unwrap();
    }
    assert!(failures >= 3, "{failures} runs failed, of {} imports", imports.load(Ordering::SeqCst));
    let tasks = tasks(&direct, assignment_id).await;
    let tokens: BTreeSet<_> =
        tasks.iter().filter_map(|task| token_in(&Value::Object(task.data.clone()))).collect();
    assert_eq!((tasks.len(), tokens.len()), (800, 800));
    let (status, known): (String, i64) = sqlx::query_as(
        "SELECT status, (SELECT count(DISTINCT ls_task_id) FROM assignment_tasks) FROM assignments",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!((status.as_str(), known), ("in_progress", 800));
    fleet.tear_down().await;
}
