//! The command line of `labelfleet`.

use std::process::{Command, Output};

use labelfleet::{domain::AnnotatorId, ops::jobs::AssignBatch, queue};
use serde_json::Value;

use crate::support::{binary, database::Database};

/// Runs `labelfleet` with these arguments and nothing else in its environment but the database.
async fn labelfleet(database_url: Option<&str>, args: &[&str]) -> Output {
    let mut command = Command::new(binary("labelfleet"));
    command.args(args).env_clear();
    if let Some(url) = database_url {
        command.env("DATABASE_URL", url);
    }
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn jobs_are_listed_shown_cancelled_and_retried() {
    let database = Database::create().await;
    let mut tx = queue::Client::new(database.pool.clone()).begin().await.unwrap();
    let id = tx.enqueue(&AssignBatch { annotator_id: AnnotatorId(7) }).await.unwrap().id.to_string();
    tx.commit().await.unwrap();
    let url = Some(database.url.as_str());

    let table = stdout(&labelfleet(url, &["jobs", "list"]).await);
    let row = table.lines().nth(1).unwrap();
    for part in [&id, "assign_batch", "labeling", "available", "0/10", r#"{"annotator_id":7}"#] {
        assert!(row.contains(part), "{part} is not in {row}");
    }
    let list = stdout(&labelfleet(url, &["jobs", "list", "--json", "--state", "available"]).await);
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[0]["kind"], "assign_batch");
    let none = stdout(&labelfleet(url, &["jobs", "--json", "list", "--state", "discarded"]).await);
    assert_eq!(none.trim(), "[]");

    let cancelled = stdout(&labelfleet(url, &["jobs", "cancel", &id]).await);
    assert_eq!(cancelled, format!("job {id} is cancelled\n"));
    let retried = stdout(&labelfleet(url, &["jobs", "retry", &id]).await);
    assert_eq!(retried, format!("job {id} is available\n"));
    let shown = stdout(&labelfleet(url, &["jobs", "show", &id, "--json"]).await);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["job"]["state"], &shown["attempts"]), (&"available".into(), &serde_json::json!([])));
    assert!(stdout(&labelfleet(url, &["jobs", "show", &id]).await).contains("attempt     0 of 10"));

    let missing = labelfleet(url, &["jobs", "show", "999"]).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no job 999"));
}

#[tokio::test]
async fn settings_that_are_missing_at_start_are_listed_at_once() {
    let output = labelfleet(None, &["api"]).await;
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr);
    for name in
        ["DATABASE_URL", "REDIS_URL", "SECRET_KEY", "S3_BUCKET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    {
        assert!(message.contains(name), "{name} is not in {message}");
    }
}

#[tokio::test]
async fn the_openapi_document_is_printed() {
    let printed: Value = serde_json::from_str(&stdout(&labelfleet(None, &["openapi"]).await)).unwrap();
    assert!(printed["paths"]["/api/annotators/{id}/start"]["post"].is_object());
}

#[tokio::test]
async fn migrating_twice_is_migrating_once() {
    let database = Database::create().await;
    for _ in 0..2 {
        assert!(stdout(&labelfleet(Some(&database.url), &["migrate"]).await).contains("up to date"));
    }
}
