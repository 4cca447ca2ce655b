//! The simulated Label Studio answers as the real one does, as far as the fleet asks: the same walk through both.

use std::sync::Arc;

use futures::TryStreamExt;
use labelfleet::domain::AnnotatorStatus;
use labelfleet::ops::jobs::ProvisionInstance;
use labelfleet_jobs::label_studio::{Client, NewAnnotation, NewProject, NewTask, NewWebhook};
use serde_json::{Map, Value, json};
use tokio::{net::TcpListener, sync::Mutex};

use crate::support::{factory, fleet::Fleet, label_studio::LabelStudio};

/// Where webhooks of the walk arrive.
struct Ear {
    url: String,
    heard: Arc<Mutex<Vec<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Ear {
    async fn open() -> Self {
        let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hear", listener.local_addr().unwrap());
        let hear = {
            let heard = heard.clone();
            axum::routing::post(async move |axum::Json(body): axum::Json<Value>| {
                heard.lock().await.push(body);
                "ok"
            })
        };
        let router = axum::Router::new().route("/hear", hear);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, heard, task }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the fleet reads of an annotation, with what differs from one server to the next blanked.
fn essence(annotation: &Value) -> Value {
    let has = ["id", "task", "project"].map(|key| annotation[key].is_i64());
    json!({
        "result": annotation["result"], "was_cancelled": annotation["was_cancelled"],
        "lead_time": annotation["lead_time"], "has": has,
    })
}

/// A working day in small; what was seen on it.
async fn walk(client: &Client) -> Value {
    let ear = Ear::open().await;
    let project = client.create_project(&NewProject::new("Batch 77", factory::CHOICES)).await.unwrap();
    let twin = client.create_project(&NewProject::new("Batch 77", factory::CHOICES)).await.unwrap();
    let titled = client.projects_titled("Batch 77").await.unwrap();
    let titled: Vec<bool> = titled.iter().map(|found| found.id == project.id).collect();
    client.delete_project(twin.id).await.unwrap();
    client.delete_project(twin.id).await.unwrap();
    let gone = client.project(twin.id).await.unwrap_err().is_not_found();
    let actions = ["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"];
    let headers = Map::from_iter([("X-Annotator-Id".to_owned(), "7".into())]);
    let webhook = NewWebhook::new(project.id, &ear.url, headers, &actions);
    client.create_webhook(&webhook).await.unwrap();
    let webhooks = client.webhooks(project.id).await.unwrap();
    let webhooks: Vec<bool> = webhooks.iter().map(|there| webhook.is(there)).collect();

    let tasks: Vec<NewTask> = (0..5)
        .map(|n| {
            let url = format!("http://127.0.0.1:1/i/{n}");
            NewTask {
                data: Map::from_iter([("image".into(), url.into())]),
                meta: Map::new(),
                predictions: vec![],
            }
        })
        .collect();
    let imported = client.import_tasks(project.id, &tasks).await.unwrap();
    let label = |label: &str, was_cancelled| NewAnnotation {
        result: if was_cancelled { vec![] } else { vec![factory::choice(label)] },
        was_cancelled,
        lead_time: Some(1.5),
    };
    let ids = &imported.task_ids;
    let first = client.create_annotation(ids[0], &label("red", false)).await.unwrap()["id"].as_i64().unwrap();
    client.create_annotation(ids[1], &label("red", true)).await.unwrap();
    let third = client.create_annotation(ids[2], &label("red", false)).await.unwrap()["id"].as_i64().unwrap();
    client.create_annotation(ids[2], &label("blue", false)).await.unwrap();
    client.update_annotation(first, &label("green", false)).await.unwrap();
    client.delete_annotation(third).await.unwrap();
    client.delete_annotation(third).await.unwrap();

    let pages: Vec<_> = client.tasks(project.id, 2).try_collect().await.unwrap();
    let listed: Vec<Value> = pages
        .iter()
        .flatten()
        .map(|task| json!([ids.contains(&task.id), task.annotations.iter().map(essence).collect::<Vec<_>>()]))
        .collect();
    let counts = client.project_counts(&[project.id, 999_999]).await.unwrap();
    let counts: Vec<_> = counts
        .iter()
        .map(|of| {
            json!([
                of.task_number,
                of.finished_task_number,
                of.num_tasks_with_annotations,
                of.total_annotations_number,
                of.skipped_annotations_number
            ])
        })
        .collect();
    let heard = ear.heard.lock().await;
    let told: Vec<Value> = heard
        .iter()
        .map(|body| {
            let task = &body["task"];
            json!([
                body["action"],
                body["annotation"].is_object().then(|| essence(&body["annotation"])),
                body["annotations"]
                    .as_array()
                    .map(|all| all.iter().map(|one| one["id"].is_i64()).collect::<Vec<_>>()),
                body["project"]["id"] == project.id,
                task["id"].as_i64().map(|id| ids.contains(&id)),
                task["data"],
            ])
        })
        .collect();
    // Against the version before: a new annotation's two times are drawn one after the other and may differ.
    let versions: Vec<_> = heard
        .iter()
        .filter(|body| body["annotation"]["id"] == first)
        .map(|body| body["annotation"]["updated_at"].as_str().unwrap())
        .collect();
    assert!(versions.len() == 2 && versions[0] < versions[1], "{versions:?}");
    client.delete_project(project.id).await.unwrap();
    json!({
        "titled": titled, "gone": gone, "webhooks": webhooks, "pages": pages.iter().map(Vec::len).collect::<Vec<_>>(),
        "listed": listed, "counts": counts, "told": told, "imported": imported.task_count,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulator_is_like_the_real_one() {
    let simulated = LabelStudio::start("token").await;
    let seen = walk(&simulated.client()).await;
    assert_eq!(seen["pages"], json!([2, 2, 1]), "{seen:#}");

    let fleet = Fleet::local().await;
    let id = fleet.annotator(AnnotatorStatus::Starting).await;
    fleet.run(ProvisionInstance { annotator_id: id }).await.unwrap();
    let real = walk(&fleet.client(id).await).await;
    fleet.tear_down().await;
    assert_eq!(seen, real, "simulated and real\n{seen:#}\n{real:#}");
}
