//! An export's files are written one by one, by jobs that may be many, late, dead or doubled. The manifest tells the truth
//! at every moment, and no change is lost.

use std::time::Duration;

use labelfleet::{
    domain::{ExportFormat, JobBatchRef},
    lock::{Key, Session},
    ops::jobs::{ExportAssignment, ExportFile},
    queue::{JobArgs, JobContext, JobError, JobId, JobResult, Run, admin},
};
use serde_json::{Value, json};

use super::export::Batch;
use crate::support::{factory, fleet::WORKER, wait};

const PATIENCE: Duration = Duration::from_secs(60);

impl Batch {
    /// Two tasks, completed, as JSON and CSV.
    async fn completed() -> Self {
        let batch = Self::published(2, 0, &[ExportFormat::Csv]).await;
        for task in &batch.tasks {
            batch.submit(*task, json!([factory::choice("red")])).await;
        }
        batch
    }

    fn job(&self) -> ExportAssignment {
        ExportAssignment { assignment_id: self.assignment_id }
    }

    /// The jobs that are to write the files: JSON, CSV, the report.
    async fn begin(&self) -> Vec<(JobId, ExportFile)> {
        let begun = self.fleet.run(self.job()).await.unwrap();
        assert!(!self.has_manifest(), "files of two exports may be there from now on");
        let files = self.fleet.due::<ExportFile>().await;
        let begun: Vec<i64> = serde_json::from_value(begun["files"].clone()).unwrap();
        files.into_iter().filter(|(id, _)| begun.contains(&id.0)).collect()
    }

    /// What it wrote.
    async fn write(&self, (id, file): (JobId, ExportFile)) -> Value {
        self.fleet.claim(id, 1).await;
        self.fleet.run_claimed(file, id, 1).await.unwrap()
    }

    async fn write_all(&self, files: Vec<(JobId, ExportFile)>) {
        for file in files {
            let written = self.write(file).await;
            assert!(written["sha256"].is_string(), "{written}");
        }
    }

    async fn end(&self) -> Value {
        let ended = self.fleet.run(self.job()).await.unwrap();
        assert_eq!(ended["manifest"], json!(self.key(".manifest.json")), "{ended}");
        self.is_whole().await
    }

    /// The annotator changes their first answer.
    async fn change(&self, second: u32, label: &str) {
        let task = self.tasks[0];
        self.tell(task, task, second, json!([factory::choice(label)]), false).await;
    }

    async fn exported_json(&self) -> String {
        String::from_utf8(self.storage.get(&self.key(".json")).await).unwrap()
    }

    async fn is_exported(&self) -> bool {
        sqlx::query_scalar("SELECT exported_at > updated_at FROM assignments WHERE exported_at IS NOT NULL")
            .fetch_optional(&self.fleet.database.pool)
            .await
            .unwrap()
            .unwrap_or(false)
    }

    /// Changes what is exported behind the export's back: whoever writes now, writes what no manifest says.
    async fn tamper(&self) {
        sqlx::query("UPDATE annotations SET payload = jsonb_set(payload, '{lead_time}', '99')")
            .execute(&self.fleet.database.pool)
            .await
            .unwrap();
    }

    /// Somebody waits for a row's lock.
    async fn somebody_waits(&self) {
        wait::until("somebody waits", PATIENCE, async || {
            let waits = "SELECT count(*) > 0 FROM pg_stat_activity
                         WHERE datname = current_database() AND wait_event_type = 'Lock'";
            sqlx::query_scalar::<_, bool>(waits)
                .fetch_one(&self.fleet.database.pool)
                .await
                .unwrap()
                .then_some(())
        })
        .await;
    }

    /// Runs the end, which waits for whoever has changed the assignment and commits only then.
    async fn end_meets(&self, change: &'static str) -> JobResult<Value> {
        let mut other = self.fleet.database.pool.begin().await.unwrap();
        sqlx::query(change).execute(&mut *other).await.unwrap();
        let commit = async {
            self.somebody_waits().await;
            other.commit().await.unwrap();
        };
        tokio::join!(self.fleet.run(self.job()), commit).0
    }

    /// A worker dies once the manifest is written, and before that is noted. Returns its job.
    async fn die_after_the_manifest(&self) -> JobId {
        let id = self.fleet.claimed(self.job(), 1).await;
        let mut noting = self.fleet.database.pool.begin().await.unwrap();
        sqlx::query("SELECT FROM assignments FOR UPDATE").execute(&mut *noting).await.unwrap();
        tokio::select! {
            outcome = self.fleet.run_claimed(self.job(), id, 1) => panic!("it was not killed: {outcome:?}"),
            () = self.somebody_waits() => assert!(self.has_manifest()),
        }
        noting.rollback().await.unwrap();
        id
    }

    async fn again(&self, id: JobId) -> Value {
        self.fleet.claim(id, 2).await;
        self.fleet.run_claimed(self.job(), id, 2).await.unwrap()
    }

    /// A run of which nobody has heard for long, and which knows nothing of what went on meanwhile.
    async fn wake_up<J: Run<labelfleet_jobs::Deps>>(&self, id: JobId, job: J) -> JobResult<J::Output> {
        job.run(JobContext::new(id, 1, J::MAX_ATTEMPTS, WORKER), self.fleet.deps.clone()).await
    }
}

#[tokio::test]
async fn an_annotation_in_the_middle_is_in_the_manifest_or_there_is_none() {
    let batch = Batch::completed().await;
    let mut files = batch.begin().await.into_iter();
    assert!(batch.write(files.next().unwrap()).await["sha256"].is_string());
    batch.change(30, "green").await;
    assert_eq!(batch.fleet.open_jobs::<ExportAssignment>().await, 1, "the one that waits");
    for late in files {
        assert_eq!(batch.write(late).await, Value::Null, "it would be of no use");
    }
    batch.write_all(batch.begin().await).await;
    batch.end().await;
    assert!(batch.exported_json().await.contains("green"));

    // After the last file, and before the end.
    batch.change(31, "blue").await;
    batch.write_all(batch.begin().await).await;
    batch.change(32, "yellow").await;
    batch.write_all(batch.begin().await).await;
    batch.end().await;
    assert!(batch.exported_json().await.contains("yellow"));
    assert!(batch.is_exported().await);
    assert_eq!(batch.fleet.open_jobs::<ExportAssignment>().await, 0);
    batch.fleet.tear_down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_manifest_and_its_note_the_next_run_ends_or_begins_again() {
    let batch = Batch::completed().await;
    batch.write_all(batch.begin().await).await;
    let killed = batch.die_after_the_manifest().await;
    batch.is_whole().await;
    assert!(!batch.is_exported().await);
    let ended = batch.again(killed).await;
    assert!(ended["manifest"].is_string(), "{ended}");
    batch.is_whole().await;
    assert!(batch.is_exported().await);

    batch.change(30, "green").await;
    batch.write_all(batch.begin().await).await;
    let killed = batch.die_after_the_manifest().await;
    batch.change(31, "blue").await;
    batch.is_whole().await;
    let begun = batch.again(killed).await;
    assert!(begun["files"].is_array(), "{begun}");
    assert!(!batch.has_manifest());
    batch.write_all(batch.fleet.due().await).await;
    batch.end().await;
    assert!(batch.exported_json().await.contains("blue"));
    batch.fleet.tear_down().await;
}

/// Bytes that differ from those of the manifest would be seen: what they are made of is changed behind its back.
#[tokio::test]
async fn who_comes_late_writes_nothing() {
    let batch = Batch::completed().await;
    let pool = &batch.fleet.database.pool;
    let mut replaced = batch.begin().await;
    let late = replaced.remove(1);
    batch.write_all(replaced).await;
    // An operator cancels the end, and the export is asked for again.
    sqlx::query("UPDATE jobs SET state = 'cancelled', finalized_at = now() WHERE kind = 'export_assignment' AND state = 'scheduled'")
        .execute(pool)
        .await
        .unwrap();
    let files = batch.begin().await;
    let (twice, file) = files[1];
    batch.write_all(files).await;
    let ended = batch.fleet.claimed(batch.job(), 1).await;
    batch.fleet.run_claimed(batch.job(), ended, 1).await.unwrap();
    batch.is_whole().await;

    batch.tamper().await;
    assert_eq!(batch.write(late).await, Value::Null);
    let unheard = batch.wake_up(twice, file).await;
    assert!(
        matches!(&unheard, Err(JobError::Retry(why)) if why.to_string().contains("lost its lease")),
        "{unheard:?}"
    );
    let unheard = batch.wake_up(ended, batch.job()).await;
    assert!(
        matches!(&unheard, Err(JobError::Retry(why)) if why.to_string().contains("lost its lease")),
        "{unheard:?}"
    );
    batch.is_whole().await;
    batch.fleet.tear_down().await;
}

#[tokio::test]
async fn files_are_written_beside_each_other_and_beside_nothing_else() {
    let batch = Batch::completed().await;
    let pool = &batch.fleet.database.pool;
    let (files, id) = (batch.begin().await, batch.assignment_id.0);
    let is_put_off = |outcome: JobResult<Value>| matches!(outcome, Err(JobError::Snooze(_)));

    let mut other = Session::try_acquire(pool, Key::ExportFile(id, 15)).await.unwrap();
    other.also_share(Key::Assignment(id), PATIENCE).await.unwrap();
    let written = batch.write(files[0]).await;
    assert!(written["sha256"].is_string(), "{written}");
    assert!(is_put_off(batch.fleet.run(batch.job()).await), "a file is being written");
    other.release().await;

    let twice = Session::try_acquire(pool, Key::ExportFile(id, ExportFormat::Csv as u8 + 1)).await.unwrap();
    let (csv, file) = files[1];
    batch.fleet.claim(csv, 1).await;
    assert!(is_put_off(batch.fleet.run_claimed(file, csv, 1).await), "another run writes it");
    twice.release().await;

    let alone = Session::try_acquire(pool, Key::Assignment(id)).await.unwrap();
    let (report, file) = files[2];
    batch.fleet.claim(report, 1).await;
    assert!(is_put_off(batch.fleet.run_claimed(file, report, 1).await), "the export begins or ends");
    alone.release().await;
    batch.fleet.tear_down().await;
}

#[tokio::test]
async fn a_file_of_no_export_that_is_under_way_is_not_written() {
    let batch = Batch::completed().await;
    let (assignment_id, format) = (batch.assignment_id, Some(ExportFormat::Csv));
    let stray = ExportFile { assignment_id, batch: JobBatchRef(4711), format };
    assert_eq!(batch.fleet.run(stray).await.unwrap(), Value::Null);
    let files = batch.begin().await;
    assert_eq!(batch.fleet.run(stray).await.unwrap(), Value::Null);
    assert!(batch.objects().is_empty());
    let after_the_end = ExportFile { format, ..files[0].1 };
    batch.write_all(files).await;
    batch.end().await;
    batch.tamper().await;
    assert_eq!(batch.fleet.run(after_the_end).await.unwrap(), Value::Null);
    batch.is_whole().await;
    batch.fleet.tear_down().await;
}

/// The manifest is written, and the change has the assignment's row first.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_at_the_very_moment_of_the_end_is_exported() {
    let batch = Batch::completed().await;
    batch.write_all(batch.begin().await).await;
    let outcome = batch.end_meets("UPDATE assignments SET updated_at = clock_timestamp()").await;
    assert!(matches!(outcome, Err(JobError::Snooze(_))), "{outcome:?}");
    batch.is_whole().await;
    assert!(!batch.is_exported().await);
    batch.write_all(batch.begin().await).await;
    batch.end().await;
    batch.fleet.tear_down().await;
}

/// It finds the batch unfinished, and the one who finishes it finds an export under way.
#[tokio::test(flavor = "multi_thread")]
async fn who_completes_the_batch_at_the_very_moment_of_the_end_gets_their_export() {
    let batch = Batch::completed().await;
    sqlx::query("UPDATE assignments SET status = 'in_progress', completed_at = NULL")
        .execute(&batch.fleet.database.pool)
        .await
        .unwrap();
    let outcome = batch.end_meets("UPDATE assignments SET status = 'completed', completed_at = now()").await;
    assert!(matches!(outcome, Err(JobError::Snooze(_))), "{outcome:?}");
    batch.fleet.tear_down().await;
}

/// By a worker: one format can't be written, fails for good, and is retried by an operator.
#[tokio::test(flavor = "multi_thread")]
async fn a_format_that_fails_is_retried_alone() {
    let batch = Batch::published(2, 0, &[ExportFormat::Csv, ExportFormat::Jsonl]).await;
    let pool = &batch.fleet.database.pool;
    // A folder stands where the file goes, so the endpoint refuses it.
    let csv = batch.storage.path(&batch.key(".csv"));
    std::fs::create_dir_all(csv.join("x")).unwrap();
    let worker = batch.fleet.worker().await;
    for task in &batch.tasks {
        batch.submit(*task, json!([factory::choice("red")])).await;
    }
    let jobs = async || -> Vec<(i64, Option<String>, String, i32)> {
        sqlx::query_as(
            "SELECT id, args ->> 'format', state, attempt FROM jobs WHERE kind = 'export_file' ORDER BY id",
        )
        .fetch_all(pool)
        .await
        .unwrap()
    };
    let of_csv = |job: &&(i64, Option<String>, String, i32)| job.1.as_deref() == Some("csv");
    wait::until("the others are written, and it was tried again", PATIENCE, async || {
        let all = jobs().await;
        let others = all.iter().filter(|job| !of_csv(job)).filter(|job| job.2 == "completed").count();
        (others == 3 && all.iter().any(|job| of_csv(&job) && job.3 >= 2)).then_some(())
    })
    .await;
    assert!(!batch.has_manifest());
    let dead = wait::until("it is given up", PATIENCE, async || {
        // The next attempt is the last.
        sqlx::query(
            "UPDATE jobs SET max_attempts = attempt + 1 WHERE kind = 'export_file' AND state = 'retryable'",
        )
        .execute(pool)
        .await
        .unwrap();
        jobs().await.into_iter().find(|job| of_csv(&job) && job.2 == "discarded").map(|job| JobId(job.0))
    })
    .await;
    assert!(!batch.has_manifest());
    assert_eq!(batch.fleet.open_jobs::<ExportAssignment>().await, 1, "it waits for the retry");

    std::fs::remove_dir_all(&csv).unwrap();
    admin::retry(&batch.fleet.deps.queue, dead).await.unwrap();
    wait::until("it is exported", PATIENCE, async || batch.is_exported().await.then_some(())).await;
    worker.drain().await;
    batch.is_whole().await;
    for job in jobs().await.iter().filter(|job| !of_csv(job)) {
        assert_eq!((job.2.as_str(), job.3), ("completed", 1), "{job:?}");
    }
    let rounds: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs WHERE kind = $1")
        .bind(ExportAssignment::KIND)
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(rounds, 2, "one began, one ended");
    batch.fleet.tear_down().await;
}
