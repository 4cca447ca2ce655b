//! Everything at once: fifty Label Studios tell of their annotators' work while batches are cancelled, reclaimed and
//! reconciled, and a worker does what follows. At the end what we hold is what happened, to the last annotation.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use labelfleet::{
    domain::{AnnotatorId, AssignmentId, JobRef, RoleId, WorkflowId},
    ops::assignments,
};
use labelfleet_jobs::label_studio::{Error, NewAnnotation};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{
    factory,
    label_studio::{Fate, LabelStudio},
    simulation::Simulation,
    wait,
};

const INSTANCES: usize = 50;
const BATCHES_EACH: i32 = 4;
const BATCHES: i32 = INSTANCES as i32 * BATCHES_EACH;
/// Images; one gold task is mixed in.
const BATCH: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(240);

/// One hundred in one call, fifty of them with an instance.
async fn annotators(day: &Simulation, role: RoleId) -> Vec<(AnnotatorId, Arc<LabelStudio>)> {
    let all: Vec<Value> = (0..2 * INSTANCES)
        .map(|n| json!({ "name": "Ann", "email": format!("ann{n}@example.com"), "roleId": role }))
        .collect();
    let created = day.api.post("/api/annotators/bulk", json!({ "annotators": all })).await.expect(201);
    let mut active = Vec::new();
    for made in created["annotators"].as_array().unwrap().iter().step_by(2) {
        let id = AnnotatorId(made["id"].as_i64().unwrap());
        active.push((id, day.simulator.activate(day.pool(), id).await));
    }
    assert_eq!(active.len(), INSTANCES);
    active
}

/// What the network does to a webhook.
fn fate(random: &mut StdRng) -> Fate {
    match random.random_range(0..100) {
        0..8 => Fate::Lose,
        8..20 => Fate::Double,
        20..30 => Fate::Hold,
        _ => Fate::Deliver,
    }
}

/// An annotator goes through all that is in their Label Studio; what was taken from them meanwhile is gone.
async fn label(studio: Arc<LabelStudio>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut network = StdRng::seed_from_u64(seed + 1000);
    studio.on_webhook(move |_| fate(&mut network));
    let mut tasks: Vec<i64> = studio.world().tasks.keys().copied().collect();
    tasks.shuffle(&mut random);
    let client = studio.client();
    let given = |label: &str, was_cancelled| NewAnnotation {
        result: if was_cancelled { vec![] } else { vec![factory::choice(label)] },
        was_cancelled,
        lead_time: Some(3.0),
    };
    let unless_gone = |outcome: Result<Value, Error>| match outcome {
        Ok(made) => made["id"].as_i64(),
        Err(error) => {
            assert!(error.is_not_found(), "{error}");
            None
        }
    };
    for task in tasks {
        let first = given("red", random.random_bool(0.15));
        let Some(id) = unless_gone(client.create_annotation(task, &first).await) else { continue };
        match random.random_range(0..10) {
            0 | 1 => drop(unless_gone(client.update_annotation(id, &given("blue", false)).await)),
            2 => {
                client.delete_annotation(id).await.unwrap();
                unless_gone(client.create_annotation(task, &given("green", false)).await);
            }
            // A second answer to the same task.
            3 => drop(unless_gone(client.create_annotation(task, &given("green", false)).await)),
            // Taken back, and left open.
            4 if random.random_bool(0.1) => client.delete_annotation(id).await.unwrap(),
            _ => {}
        }
    }
    studio.release(|held| held.shuffle(&mut random)).await;
}

/// Batches of some are cancelled, those of others fall idle, spread over the day by how many events were heard.
async fn operate(day: &Simulation, batches: &[AssignmentId], is_over: &AtomicBool) {
    let idle_for = Duration::from_secs(3600);
    for (n, (cancelled, idle)) in
        (1..).zip(batches.iter().step_by(13).zip(batches.iter().skip(7).step_by(13)))
    {
        wait::until("the day goes on", PATIENCE, || async {
            let heard = count(day, "SELECT count(*) FROM annotation_events").await;
            (heard > n * 30 || is_over.load(Ordering::SeqCst)).then_some(())
        })
        .await;
        let answer = day.api.delete(&format!("/api/assignments/{cancelled}")).await;
        assert!(matches!(answer.status.as_u16(), 200 | 409), "{}", answer.body);
        sqlx::query("UPDATE assignments SET active_at = now() - interval '2 hours' WHERE id = $1")
            .bind(idle)
            .execute(day.pool())
            .await
            .unwrap();
        assignments::reclaim(&day.fleet.deps.queue, *idle, idle_for, JobRef(0)).await.unwrap();
    }
}

/// Again and again, whatever else goes on. A busy machine may not have its report in time.
async fn reconcile(day: &Simulation, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        let answer = day.api.post("/api/reconcile", json!({})).await;
        assert!(matches!(answer.status.as_u16(), 200 | 503), "{}", answer.body);
        assert!(answer.status == 503 || answer.body["errors"] == json!([]), "{}", answer.body);
    }
}

/// Until nothing is left to do, and reconciliation finds nothing.
async fn settle(day: &Simulation) {
    let at_rest = || async {
        wait::until("all jobs are done", PATIENCE, || async {
            let open = "SELECT count(*) FROM jobs WHERE finalized_at IS NULL";
            (count(day, open).await == 0).then_some(())
        })
        .await;
    };
    wait::until("reconciliation finds nothing", PATIENCE, || async {
        at_rest().await;
        let report = day.api.post("/api/reconcile", json!({})).await;
        (report.body["drift"] == json!([]) && report.body["errors"] == json!([])).then_some(())
    })
    .await;
    at_rest().await;
}

/// What a Label Studio's own content says of each of its tasks, and every annotation that it holds.
fn truth(studio: &LabelStudio) -> (BTreeMap<i64, &'static str>, BTreeMap<i64, Value>) {
    let world = studio.world();
    let state = |task: i64| {
        let all: Vec<bool> = world.annotations_of(task).map(|(_, one)| one.was_cancelled).collect();
        if all.is_empty() {
            "open"
        } else if all.contains(&false) {
            "done"
        } else {
            "skipped"
        }
    };
    let states = world.tasks.keys().map(|task| (*task, state(*task))).collect();
    (states, world.annotations.iter().map(|(id, one)| (*id, one.result.clone())).collect())
}

async fn compare(day: &Simulation, annotator: AnnotatorId, studio: &LabelStudio) {
    let (states, annotations) = truth(studio);
    let places: Vec<(i64, String)> = sqlx::query_as(
        "SELECT ls_task_id, state FROM assignment_tasks JOIN assignments ON assignments.id = assignment_id
         WHERE annotator_id = $1 AND closed_at IS NULL ORDER BY ls_task_id",
    )
    .bind(annotator)
    .fetch_all(day.pool())
    .await
    .unwrap();
    let expected: Vec<_> = states.into_iter().map(|(task, state)| (task, state.to_owned())).collect();
    assert_eq!(places, expected, "annotator {annotator}");
    let held: Vec<(i64, Value)> = sqlx::query_as(
        "SELECT ls_annotation_id, payload -> 'result' FROM annotations
         JOIN assignment_tasks ON assignment_tasks.id = assignment_task_id
         JOIN assignments ON assignments.id = assignment_id
         WHERE assignments.annotator_id = $1 AND closed_at IS NULL AND deleted_at IS NULL ORDER BY 1",
    )
    .bind(annotator)
    .fetch_all(day.pool())
    .await
    .unwrap();
    assert_eq!(held, annotations.into_iter().collect::<Vec<_>>(), "annotator {annotator}");
}

/// A batch is exported when it is complete, and again only after something of it changed.
async fn exported_once_a_change(day: &Simulation) {
    let exports: Vec<(AssignmentId, i64, i64)> = sqlx::query_as(
        "SELECT id,
                (SELECT count(*) FROM jobs WHERE kind = 'export_assignment' AND args ->> 'assignment_id' = batch.id::text
                     AND result ? 'manifest' AND finalized_at > completed_at),
                (SELECT count(*) FROM annotation_events JOIN assignment_tasks ON assignment_tasks.id = assignment_task_id
                     WHERE assignment_id = batch.id AND received_at > completed_at)
                    + (SELECT count(*) FROM gold_results WHERE assignment_id = batch.id AND evaluated_at > completed_at)
         FROM assignments AS batch WHERE status = 'completed'",
    )
    .fetch_all(day.pool())
    .await
    .unwrap();
    for (batch, exported, changes) in &exports {
        assert!(
            (1..=1 + changes).contains(exported),
            "{batch}: exported {exported} times, changed {changes} times"
        );
    }
    assert!(exports.iter().any(|(_, _, changes)| *changes == 0), "all were changed once complete");
}

fn is_as_its_manifest_says(day: &Simulation, key: &str) {
    let manifest = day.storage.path(&key.replace(".json", ".manifest.json"));
    let manifest: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    let files = manifest["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["key"] == key), "{manifest}");
    for file in files {
        let content = std::fs::read(day.storage.path(file["key"].as_str().unwrap())).unwrap();
        assert_eq!(file["sha256"], hex::encode(Sha256::digest(&content)), "{file}");
    }
}

async fn count(day: &Simulation, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(day.pool()).await.unwrap()
}

async fn assign_all(day: &Simulation, workflow: WorkflowId, active: &[(AnnotatorId, Arc<LabelStudio>)]) {
    for _ in 0..BATCHES_EACH {
        for (annotator, _) in active {
            let path = format!("/api/workflows/{workflow}/assign");
            day.api.post(&path, json!({ "annotatorId": annotator })).await.expect(200);
        }
    }
    wait::until("all are in Label Studio", PATIENCE, || async {
        let published = "SELECT count(*) FROM assignments WHERE status = 'in_progress'";
        (count(day, published).await == i64::from(BATCHES)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_day_of_fifty_annotators_in_seconds() {
    let day = Simulation::start().await;
    let new = factory::Workflow { batch: BATCH, gold_rate: 0.25, ..factory::Workflow::new(day.pool()).await };
    let workflow = new.create(day.pool()).await;
    factory::tasks(day.pool(), workflow, BATCH * BATCHES).await;
    for _ in 0..BATCHES_EACH {
        factory::gold(day.pool(), new.config, "red").await;
    }
    // What comes back to the pool stays there, to be counted.
    sqlx::query("UPDATE workflows SET auto_assign = false").execute(day.pool()).await.unwrap();
    let worker = day.fleet.worker().await;
    let active = annotators(&day, new.role).await;
    assign_all(&day, workflow, &active).await;
    let batches: Vec<AssignmentId> =
        sqlx::query_scalar("SELECT id FROM assignments ORDER BY id").fetch_all(day.pool()).await.unwrap();

    let is_over = AtomicBool::new(false);
    let labeling = async {
        let all = active.iter().zip(0..).map(|((_, studio), seed)| tokio::spawn(label(studio.clone(), seed)));
        for done in futures::future::join_all(all).await {
            done.unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
    };
    tokio::join!(labeling, operate(&day, &batches, &is_over), reconcile(&day, &is_over));
    settle(&day).await;
    worker.drain().await;

    for (annotator, studio) in &active {
        compare(&day, *annotator, studio).await;
    }
    let wrong = [
        "SELECT count(*) FROM assignments WHERE done_count <> (SELECT count(*) FROM assignment_tasks
             WHERE assignment_id = assignments.id AND state IN ('done', 'skipped'))",
        "SELECT count(*) FROM assignments WHERE status IN ('in_progress', 'completed')
             AND (status = 'completed') <> (done_count = task_count + gold_task_count)",
        "SELECT count(*) FROM assignments WHERE (status = 'completed') <> (exported_at IS NOT NULL)",
        "SELECT count(*) FROM assignments WHERE status = 'cancelled' AND closed_at IS NULL",
        "SELECT count(*) FROM tasks WHERE (status = 'available') <> NOT EXISTS
             (SELECT FROM assignment_tasks WHERE task_id = tasks.id AND state <> 'released')",
        "SELECT count(*) FROM tasks JOIN assignment_tasks ON task_id = tasks.id
             WHERE (state, status) IN (('open', 'completed'), ('done', 'assigned'), ('skipped', 'completed'))",
        "SELECT count(*) FROM jobs WHERE state = 'discarded'",
        "SELECT count(*) FROM job_attempts WHERE error LIKE '%deadlock%'",
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    ];
    for query in wrong {
        assert_eq!(count(&day, query).await, 0, "{query}");
    }
    let exports: Vec<String> = sqlx::query_scalar(
        "SELECT export_key FROM assignments WHERE status = 'completed' ORDER BY export_key",
    )
    .fetch_all(day.pool())
    .await
    .unwrap();
    let distinct: std::collections::BTreeSet<_> = exports.iter().collect();
    assert_eq!(distinct.len(), exports.len());
    assert!(exports.len() > BATCHES as usize / 2, "{} were completed", exports.len());
    for key in exports {
        is_as_its_manifest_says(&day, &key);
    }
    exported_once_a_change(&day).await;
    for ended in [
        "SELECT count(*) FROM assignments WHERE status = 'cancelled' AND reclaimed_at IS NULL",
        "SELECT count(*) FROM assignments WHERE reclaimed_at IS NOT NULL",
    ] {
        assert!(count(&day, ended).await > 0, "none: {ended}");
    }
}
