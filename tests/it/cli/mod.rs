//! The command line of `labelfleet`.

mod jobs;
mod operators;

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    time::Duration,
};

use labelfleet::up::ports::Port;
use nix::{sys::signal, unistd::Pid};
use serde_json::Value;

use crate::support::{api, binary, database::Database, events::Events, wait};

/// Runs `labelfleet` with these arguments and nothing else in its environment but the database.
async fn labelfleet_told(database_url: Option<&str>, args: &[&str], answer: &str) -> Output {
    let mut command = Command::new(binary("labelfleet"));
    command.args(args).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(url) = database_url {
        command.env("DATABASE_URL", url);
    }
    let answer = answer.to_owned();
    let run = move || {
        let mut child = command.spawn().unwrap();
        // Dropped: the answer ends.
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// The same with nobody to answer.
async fn labelfleet(database_url: Option<&str>, args: &[&str]) -> Output {
    labelfleet_told(database_url, args, "").await
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn several_may_migrate_at_once_and_after_one_that_was_cut_off() {
    let database = Database::empty().await;
    let url = Some(database.url.as_str());
    let all = futures::future::join_all((0..4).map(|_| labelfleet(url, &["migrate"]))).await;
    all.iter().for_each(|output| assert!(stdout(output).contains("up to date")));

    // What an index leaves whose making was cut off: its name, and nothing that a query could use.
    let cut_off = [
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'tasks_upstream_once'::regclass",
        "DELETE FROM _sqlx_migrations WHERE version = 30",
    ];
    for sql in cut_off {
        assert_eq!(sqlx::query(sql).execute(&database.pool).await.unwrap().rows_affected(), 1);
    }
    stdout(&labelfleet(url, &["migrate"]).await);
    let valid: bool = sqlx::query_scalar(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'tasks_upstream_once'::regclass",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert!(valid);
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let database = Database::create().await;
    let url = Some(database.url.as_str());
    let made = stdout(&labelfleet(url, &["keys", "create", "--name", "export", "--scope", "write"]).await);
    let key = made.lines().next().unwrap().to_owned();
    let api = api::Api::serve(api::config(&database.url), database.pool.clone()).await;
    let opens = async |key: &str| {
        let request = api.request(reqwest::Method::GET, "/api/roles").bearer_auth(key);
        api.send(request).await.status == 200
    };
    assert!(opens(&key).await, "{made}");
    let create = ["keys", "create", "--json", "--name", "ci", "--scope", "read", "--expires-in-days", "30"];
    let second: Value = serde_json::from_str(&stdout(&labelfleet(url, &create).await)).unwrap();
    assert!(opens(second["key"].as_str().unwrap()).await);
    assert!(second["expiresAt"].is_string(), "{second}");

    let table = stdout(&labelfleet(url, &["keys", "list"]).await);
    let row = table.lines().find(|row| row.contains("export")).unwrap();
    for part in [&key[..11], "write", "valid", "command line"] {
        assert!(row.contains(part), "{part} is not in {row}");
    }
    assert!(!table.contains(&key), "{table}");
    let list: Value =
        serde_json::from_str(&stdout(&labelfleet(url, &["keys", "list", "--json"]).await)).unwrap();
    assert_eq!((list[0]["name"].as_str(), list.as_array().unwrap().len()), (Some("ci"), 2));

    let id = list[1]["id"].to_string();
    assert_eq!(stdout(&labelfleet(url, &["keys", "revoke", &id]).await), format!("key {id} is revoked\n"));
    assert!(!opens(&key).await);
    assert!(stdout(&labelfleet(url, &["keys", "list"]).await).contains("revoked 2"));

    let missing = labelfleet(url, &["keys", "revoke", "999"]).await;
    assert_eq!(missing.status.code(), Some(1));
    for bad in [&["keys", "create", "--name", "x"][..], &["keys", "create", "--name", "x", "--scope", "root"]]
    {
        assert_eq!(labelfleet(url, bad).await.status.code(), Some(2), "{bad:?}");
    }
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

/// The whole process: settings in, a login, SIGTERM, an orderly end. Redis may be away.
#[tokio::test]
async fn the_api_starts_serves_and_stops() {
    let database = Database::create().await;
    let kept = Port::free().unwrap();
    let port = kept.number().to_string();
    let mut process = tokio::process::Command::new(binary("labelfleet"))
        .arg("api")
        .env_clear()
        .envs([
            ("DATABASE_URL", database.url.as_str()),
            ("REDIS_URL", "redis://127.0.0.1:1"),
            ("SECRET_KEY", api::SECRET_KEY),
            ("S3_BUCKET", "fleet"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("ADMIN_EMAIL", api::ADMIN_EMAIL),
            ("ADMIN_PASSWORD", api::ADMIN_PASSWORD),
            ("PORT", &port),
        ])
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let client = api::Api::at(&format!("http://127.0.0.1:{port}"));
    wait::until("the API is healthy", Duration::from_secs(20), || async {
        let health = client.request(reqwest::Method::GET, "/api/health").send().await;
        health.is_ok_and(|answer| answer.status() == 200).then_some(())
    })
    .await;
    client.log_in(api::ADMIN_EMAIL, api::ADMIN_PASSWORD).await.expect(200);
    client.create_role("labeler").await;
    // Holds up nobody.
    let mut events = Events::open(&client, "/api/jobs/stream").await;
    events.until("ready").await;

    let pid = Pid::from_raw(process.id().unwrap().try_into().unwrap());
    signal::kill(pid, signal::Signal::SIGTERM).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(8), process.wait()).await;
    assert_eq!(ended.expect("it ends").unwrap().code(), Some(0));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn the_api_refuses_a_schema_that_lacks_migrations() {
    let database = Database::create().await;
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = 1").execute(&database.pool).await.unwrap();
    let mut command = Command::new(binary("labelfleet"));
    command.arg("api").env_clear().envs([
        ("DATABASE_URL", database.url.as_str()),
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("SECRET_KEY", api::SECRET_KEY),
        ("S3_BUCKET", "fleet"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("labelfleet migrate"));
}
