//! `labelfleet jobs`.

use std::{process::Stdio, time::Duration};

use labelfleet::{
    domain::AnnotatorId,
    ops::jobs::AssignBatch,
    queue::{self, JobId, admin},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{labelfleet, labelfleet_told, stdout};
use crate::{
    engine::{
        lab::{Lab, nothing},
        probe::{Act, Probe},
    },
    support::{binary, database::Database},
};

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
    assert_eq!(
        (&shown["state"], &shown["attempts"][0]["error"]),
        (&"available".into(), &"cancelled by command line".into())
    );
    assert!(stdout(&labelfleet(url, &["jobs", "show", &id]).await).contains("attempt     0 of 10"));

    let missing = labelfleet(url, &["jobs", "show", "999"]).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no job 999"));
}

/// Jobs of the dead set.
async fn dead(database: &Database, kind: &str, count: i32) {
    sqlx::query(
        "INSERT INTO jobs (kind, queue, state, args, max_attempts, attempt, attempted_at, dispatched_at, finalized_at)
         SELECT $1, 'exports', 'discarded', '{}', 3, 3, now(), NULL, now() FROM generate_series(1, $2)",
    )
    .bind(kind)
    .bind(count)
    .execute(&database.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn jobs_are_retried_and_deleted_by_filter_after_a_question() {
    let database = Database::create().await;
    dead(&database, "export", 3).await;
    dead(&database, "assign", 2).await;
    let url = Some(database.url.as_str());
    let left = async |state: &str| {
        let list = stdout(&labelfleet(url, &["jobs", "list", "--json", "--state", state]).await);
        serde_json::from_str::<Value>(&list).unwrap().as_array().unwrap().len()
    };
    let retry = ["jobs", "retry", "--all", "--kind", "export"];
    for answer in ["", "n\n", "what?\n"] {
        let refused = labelfleet_told(url, &retry, answer).await;
        let told = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1));
        assert!(told.contains("3 jobs will be retried") && told.contains("nothing was changed"), "{told}");
        assert_eq!(left("discarded").await, 5);
    }
    assert_eq!(stdout(&labelfleet_told(url, &retry, "y\n").await), "3 jobs are retried\n");
    assert_eq!((left("discarded").await, left("available").await), (2, 3));
    let delete = ["jobs", "delete", "--all", "--yes", "--json", "--state", "discarded,completed"];
    let deleted: Value = serde_json::from_str(&stdout(&labelfleet(url, &delete).await)).unwrap();
    assert_eq!(deleted, serde_json::json!({ "count": 2, "skipped": 0 }));
    assert_eq!(left("discarded,available").await, 3);

    let bad: [(&[&str], i32, &str); 5] = [
        (&["jobs", "delete", "--all", "--yes"], 1, "at least one of"),
        (&["jobs", "delete", "--all", "--yes", "--state", "available"], 1, "available"),
        (&["jobs", "retry", "--all", "--yes", "--state", "completed"], 1, "completed"),
        (&["jobs", "retry"], 2, "<ID>"),
        (&["jobs", "retry", "1", "--all"], 2, "--all"),
    ];
    for (args, code, why) in bad {
        let refused = labelfleet(url, args).await;
        let told = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(code) && told.contains(why), "{args:?}: {told}");
    }
    dead(&database, "lone", 1).await;
    let list = stdout(&labelfleet(url, &["jobs", "list", "--json", "--kind", "lone"]).await);
    let id = serde_json::from_str::<Value>(&list).unwrap()[0]["id"].to_string();
    assert_eq!(stdout(&labelfleet(url, &["jobs", "delete", &id]).await), format!("job {id} is deleted\n"));
    assert_eq!(labelfleet(url, &["jobs", "show", &id]).await.status.code(), Some(1));
}

#[tokio::test]
async fn a_list_is_for_people_and_what_it_cuts_is_whole_in_show() {
    let lab = Lab::new().await;
    let url = Some(lab.database.url.as_str());
    let mut tx = lab.queue.begin().await.unwrap();
    let batch = tx.enqueue_batch(&nothing(0..2)).await.unwrap();
    let done = tx.enqueue_when_done(batch.id, &Probe { key: 3, act: Act::Nothing }).await.unwrap().id;
    let first = batch.jobs[0].id;
    let after = tx.enqueue_after(&[first], &Probe { key: 4, act: Act::Nothing }).await.unwrap().id;
    tx.commit().await.unwrap();
    let error = format!("exporting: {} connection refused", "very ".repeat(30));
    sqlx::query(
        "WITH dead AS (
             UPDATE jobs SET state = 'discarded', attempt = 3, dispatched_at = NULL, attempted_at = now() - interval '3 h',
                    finalized_at = now() - interval '2 h', created_at = now() - interval '12 days' WHERE id = $1 RETURNING id)
         INSERT INTO job_attempts (job_id, attempt, started_at, finished_at, outcome, error)
         SELECT id, 3, now() - interval '3 h', now() - interval '2 h', 'discard', $2 || E'\\n\\x1b[31mred' FROM dead",
    )
    .bind(first.0)
    .bind(&error)
    .execute(lab.pool())
    .await
    .unwrap();
    let table = stdout(&labelfleet(url, &["jobs", "list"]).await);
    let row = |id: JobId| {
        let row = table.lines().find(|line| line.trim_start().starts_with(&id.to_string()));
        row.unwrap_or_else(|| panic!("{table}"))
    };
    for (id, part) in [
        (first, "12 d ago"),
        (first, "2.0 h ago"),
        (first, "very…"),
        (after, &format!("after job {first}")),
        (done, &format!("after batch {}", batch.id.0)),
    ] {
        assert!(row(id).contains(part), "{part} is not in {}", row(id));
    }
    assert!(!table.contains(&error) && !table.contains("9999"), "{table}");
    // The columns stand one below the other.
    let head = table.lines().next().unwrap();
    let place = head.find("STATE").unwrap();
    assert!(row(first)[place..].starts_with("discarded") && row(done)[place..].starts_with("scheduled"));
    let shown = stdout(&labelfleet(url, &["jobs", "show", &first.to_string()]).await);
    assert!(shown.contains(&error) && shown.contains("attempt 3: discard after 60 min"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let shown = stdout(&labelfleet(url, &["jobs", "show", &done.to_string()]).await);
    assert!(shown.contains(&format!("due         after batch {}", batch.id.0)), "{shown}");

    let page =
        stdout(&labelfleet(url, &["jobs", "list", "--batch", &batch.id.0.to_string(), "--limit", "1"]).await);
    let last = batch.jobs.iter().map(|job| job.id).max().unwrap();
    assert!(page.ends_with(&format!("older ones: --before {last}\n")), "{page}");
    let shown = stdout(&labelfleet(url, &["jobs", "batch", &batch.id.0.to_string()]).await);
    for part in ["available        1", "discarded        1", &format!("job {done} (probe) waits until all")] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let missing = labelfleet(url, &["jobs", "batch", "999"]).await;
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no batch 999"));
}

/// `labelfleet` while it runs.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(url: &str, args: &[&str]) -> Self {
        let mut command = Command::new(binary("labelfleet"));
        command.args(args).env_clear().env("DATABASE_URL", url);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// All lines up to the one that has this in it.
    async fn until(&mut self, part: &str) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        while lines.last().is_none_or(|line| !line.contains(part)) {
            let line = timeout(Duration::from_secs(20), self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("no {part:?} in {lines:?}")).unwrap();
            lines.push(line.unwrap_or_else(|| panic!("no {part:?} in {lines:?}")));
        }
        lines
    }

    async fn code(&mut self) -> Option<i32> {
        timeout(Duration::from_secs(20), self.child.wait()).await.expect("it ends").unwrap().code()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_watched_as_they_change() {
    let lab = Lab::new().await;
    let url = lab.database.url.as_str();
    let first = lab.enqueue(1, Act::Nothing).await;
    let mut people = Running::start(url, &["jobs", "watch", "--kind", "probe"]);
    let mut script = Running::start(url, &["jobs", "watch", "--json", "--state", "cancelled"]);
    let row = people.until("probe").await.pop().unwrap();
    assert!(row.contains(&format!(" {first} ")) && row.contains("available"), "{row}");
    admin::cancel(&lab.queue, first, "somebody").await.unwrap();
    let row = people.until("cancelled").await.pop().unwrap();
    assert!(row.contains("cancelled by somebody"), "{row}");
    let line: Value = serde_json::from_str(&script.until("cancelled").await.pop().unwrap()).unwrap();
    assert_eq!(line["id"], first.0);
    // Nobody reads on: the next line ends it.
    drop(people.lines);
    lab.enqueue(2, Act::Nothing).await;
    let ended = timeout(Duration::from_secs(20), people.child.wait()).await;
    assert_eq!(ended.expect("it ends").unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_job_is_watched_to_its_end() {
    let lab = Lab::new().await;
    let url = lab.database.url.as_str();
    let (worker, _) = lab.worker().await;
    let good = lab.enqueue(1, Act::Steps { count: 2 }).await;
    let mut watching = Running::start(url, &["jobs", "watch", &good.to_string()]);
    watching.until("running, attempt 1 of 3").await;
    lab.step(1).await;
    watching.until("| step 1").await;
    watching.until(" 50 %").await;
    lab.step(1).await;
    watching.until("| step 2").await;
    watching.until("completed after").await;
    assert_eq!(watching.code().await, Some(0));

    let bad = lab.enqueue(2, Act::Discard).await;
    let mut watching = Running::start(url, &["jobs", "watch", &bad.to_string()]);
    let last = watching.until("discarded").await.pop().unwrap();
    assert!(last.contains("hopeless"), "{last}");
    assert_eq!(watching.code().await, Some(1));
    let mut again = Running::start(url, &["jobs", "watch", "--json", &bad.to_string()]);
    let line: Value = serde_json::from_str(&again.until("discarded").await.pop().unwrap()).unwrap();
    assert_eq!((&line["attempts"][0]["outcome"], again.code().await), (&"discard".into(), Some(1)));
    let missing = labelfleet(Some(url), &["jobs", "watch", "999999"]).await;
    assert_eq!(missing.status.code(), Some(1));
    let both = labelfleet(Some(url), &["jobs", "watch", "1", "--kind", "x"]).await;
    assert_eq!(both.status.code(), Some(2));
    worker.drain().await;
}
