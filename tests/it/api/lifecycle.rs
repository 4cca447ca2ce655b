//! The annotator's state machine: every transition from every state, and what an operator sees of a failure.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::bail;
use async_trait::async_trait;
use labelfleet::{
    domain::{AnnotatorId, AnnotatorStatus},
    ops::jobs::ProvisionInstance,
    queue::{JobArgs, JobError},
    store::{
        annotators,
        instances::{self, Served, Serving},
    },
};
use labelfleet_jobs::runtime::{Instance, InstanceSpec, Runtime};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::support::{api::Api, database::Database, fleet::Fleet};

const SERVING: Serving = Serving {
    container_id: "fleet-ls-1",
    host: "127.0.0.1",
    port: 18_000,
    database_name: "ls_annotator_1",
    api_token: "token",
    ls_user_id: 1,
};

/// What asks for a transition; whether it happened.
async fn transition(db: &mut PgConnection, id: AnnotatorId, name: &str) -> bool {
    match name {
        "start" => annotators::begin_start(db, id).await.unwrap(),
        "serves" => instances::serves(db, id, &SERVING).await.unwrap() != Served::Unwanted,
        "fails" => instances::failed(db, id, "the disk is full").await.unwrap(),
        "stop" => annotators::begin_stop(db, id).await.unwrap(),
        "stopped" => instances::stopped(db, id).await.unwrap(),
        "delete" => annotators::mark_deleted(db, &[id]).await.unwrap() == [id],
        "removed" => instances::removed(db, id).await.unwrap(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_transition_from_every_state() {
    let database = Database::create().await;
    let api = Api::start(&database).await;
    // To which state each leads, in the order of the columns; "-": it does not happen, and nothing changes.
    let names = ["start", "serves", "fails", "stop", "stopped", "delete", "removed"];
    let table = [
        ("created", ["starting", "-", "-", "-", "-", "deleted", "-"]),
        ("starting", ["-", "active", "error", "stopping", "-", "deleted", "-"]),
        ("active", ["-", "active", "-", "stopping", "-", "deleted", "-"]),
        ("stopping", ["-", "-", "-", "-", "stopped", "deleted", "-"]),
        ("stopped", ["starting", "-", "-", "-", "-", "deleted", "-"]),
        ("error", ["starting", "-", "-", "stopping", "-", "deleted", "-"]),
        ("deleted", ["-", "-", "-", "-", "-", "-", "deleted"]),
    ];
    assert_eq!(
        table.map(|(state, _)| state),
        AnnotatorStatus::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>()[..]
    );
    let mut db = database.pool.acquire().await.unwrap();
    for (before, row) in table {
        for (name, after) in names.into_iter().zip(row) {
            let id = AnnotatorId(api.create_annotator(&format!("{before}-{name}")).await);
            sqlx::query(
                "UPDATE annotators SET status = $2, container_id = 'c', container_port = 1, api_token = 't',
                     status_reason = CASE WHEN $2 = 'error' THEN 'why' END WHERE id = $1",
            )
            .bind(id)
            .bind(before)
            .execute(&mut *db)
            .await
            .unwrap();
            let happened = transition(&mut db, id, name).await;
            let (status, reason): (String, Option<String>) =
                sqlx::query_as("SELECT status, status_reason FROM annotators WHERE id = $1")
                    .bind(id)
                    .fetch_one(&mut *db)
                    .await
                    .unwrap();
            assert_eq!(happened, after != "-", "{before} {name}");
            assert_eq!(status, if after == "-" { before } else { after }, "{before} {name}");
            assert_eq!(reason.is_some(), status == "error", "{before} {name}: {reason:?}");
        }
    }
}

/// Where nothing can be started.
struct Broken;

#[async_trait]
impl Runtime for Broken {
    async fn ensure_running(&self, _: &InstanceSpec) -> anyhow::Result<Instance> {
        bail!("not asked for: it fails before anything is made")
    }

    async fn stop(&self, _: AnnotatorId) -> anyhow::Result<()> {
        Ok(())
    }

    async fn remove(&self, _: AnnotatorId) -> anyhow::Result<()> {
        Ok(())
    }

    async fn get(&self, _: AnnotatorId) -> anyhow::Result<Option<Instance>> {
        Ok(None)
    }

    async fn list(&self) -> anyhow::Result<Vec<Instance>> {
        Ok(Vec::new())
    }

    async fn last_lines(&self, _: AnnotatorId) -> anyhow::Result<String> {
        Ok(String::new())
    }

    async fn migrate(&self, _: &BTreeMap<String, String>) -> anyhow::Result<()> {
        Ok(())
    }

    async fn label_studio_version(&self) -> anyhow::Result<String> {
        bail!("no host has room for another container")
    }

    fn this_machine(&self) -> &'static str {
        "127.0.0.1"
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_fails_to_start_tells_the_operator_why() {
    let fleet = Fleet::simulated([], Arc::new(Broken)).await;
    let api = Api::start(&fleet.database).await;
    let id = api.create_annotator("Alice").await;
    let path = format!("/api/annotators/{id}");
    api.post(&format!("{path}/start"), json!(null)).await.expect(200);
    let job = ProvisionInstance { annotator_id: AnnotatorId(id) };
    let first = fleet.run(job).await;
    assert!(matches!(first, Err(JobError::Retry(_))), "{first:?}");
    let status = api.get(&format!("{path}/status")).await.expect(200);
    assert_eq!((&status["status"], &status["statusReason"]), (&json!("starting"), &Value::Null));

    fleet.run_attempt(job, ProvisionInstance::MAX_ATTEMPTS).await.expect("given up, in order");
    for path in [path.clone(), format!("{path}/status")] {
        let seen = api.get(&path).await.expect(200);
        assert_eq!(seen["status"], "error", "{path}");
        let reason = seen["statusReason"].as_str().unwrap();
        assert!(reason.contains("no host has room for another container"), "{path}: {reason}");
    }
    let list = api.get("/api/annotators").await.expect(200);
    assert!(list["data"][0]["statusReason"].is_string(), "{list}");
    let events = api.get(&format!("/api/events?annotatorId={id}")).await.expect(200);
    let types: Vec<_> = events["data"].as_array().unwrap().iter().map(|event| &event["eventType"]).collect();
    assert_eq!(types, ["error", "provisioning"]);
    assert!(
        events["data"][0]["details"]["reason"].as_str().unwrap().contains("no host has room"),
        "{events}"
    );

    // Started again, the reason is gone.
    api.post(&format!("{path}/start"), json!(null)).await.expect(200);
    let again = api.get(&path).await.expect(200);
    assert_eq!((&again["status"], &again["statusReason"]), (&json!("starting"), &Value::Null));
    fleet.tear_down().await;
}
