//! What one test of the engine works in: a database with the probes' tables, and lists of its own in Redis.

use std::{sync::Arc, time::Duration};

use labelfleet::queue::{
    Client, Dispatcher, Job, JobId, JobState, Worker, WorkerOptions,
    admin::{self},
};
use sqlx::PgPool;

use super::{
    probe::{self, Act, Probe, Probes},
    process::Process,
};
use crate::support::{database::Database, redis_url, wait};

pub struct Lab {
    pub database: Database,
    pub redis: String,
    pub prefix: String,
    /// Enqueues and dispatches.
    pub queue: Client,
}

impl Lab {
    pub async fn new() -> Self {
        Self::on(Database::create().await, redis_url()).await
    }

    pub async fn on(database: Database, redis: String) -> Self {
        for sql in [
            "CREATE TABLE starts (key bigint, attempt int, at timestamptz)",
            "CREATE TABLE effects (key bigint, attempt int)",
        ] {
            sqlx::query(sql).execute(&database.pool).await.unwrap();
        }
        let prefix = format!("test:{}", uuid::Uuid::new_v4().simple());
        let dispatcher = Dispatcher::spawn(&redis, &prefix).unwrap();
        let queue = Client::with_dispatcher(database.pool.clone(), dispatcher);
        Self { database, redis, prefix, queue }
    }

    pub fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    pub fn options(&self) -> WorkerOptions {
        probe::options(&self.database.url, &self.redis, &self.prefix)
    }

    /// A worker in this process.
    pub async fn worker(&self) -> (Worker, Arc<Probes>) {
        self.worker_with(self.options()).await
    }

    pub async fn worker_with(&self, options: WorkerOptions) -> (Worker, Arc<Probes>) {
        let probes = Arc::new(Probes::new(self.pool().clone()));
        (Worker::start(options, probe::registry(), probes.clone()).await.unwrap(), probes)
    }

    /// A worker as a process of its own, ready.
    pub async fn process(&self, lease: Duration, drain: Duration) -> Process {
        Process::start(&self.database.url, &self.redis, &self.prefix, lease, drain, None).await
    }

    /// The same, with a schedule.
    pub async fn process_with(&self, lease: Duration, drain: Duration, cron: &str) -> Process {
        Process::start(&self.database.url, &self.redis, &self.prefix, lease, drain, Some(cron)).await
    }

    pub async fn enqueue(&self, key: i64, act: Act) -> JobId {
        self.enqueue_all(&[Probe { key, act }]).await.pop().unwrap()
    }

    pub async fn enqueue_all(&self, probes: &[Probe]) -> Vec<JobId> {
        let mut tx = self.queue.begin().await.unwrap();
        let new = tx.enqueue_many(probes).await.unwrap();
        tx.commit().await.unwrap();
        new.into_iter().map(|job| job.id).collect()
    }

    /// Lets a job that goes by [`Act::Steps`] go one more.
    pub async fn step(&self, key: i64) {
        sqlx::query("INSERT INTO effects VALUES ($1, 1)").bind(key).execute(self.pool()).await.unwrap();
    }

    pub async fn job(&self, id: JobId) -> Job {
        admin::get(&self.queue, id).await.unwrap()
    }

    pub async fn ended(&self, id: JobId) -> Job {
        let job = admin::wait_for(&self.queue, id, Duration::from_secs(20)).await.unwrap();
        assert!(job.state.is_final(), "not ended: {job:?}");
        job
    }

    pub async fn count(&self, state: JobState) -> i64 {
        self.scalar(&format!("SELECT count(*) FROM jobs WHERE state = '{state}'")).await
    }

    /// Waits until so many jobs are completed.
    pub async fn completed(&self, count: i64, deadline: Duration) {
        wait::until(&format!("{count} jobs completed"), deadline, async || {
            (self.count(JobState::Completed).await >= count).then_some(())
        })
        .await;
    }

    /// Waits until so many rows are in the table.
    pub async fn rows(&self, table: &str, count: i64, deadline: Duration) {
        wait::until(&format!("{count} rows in {table}"), deadline, async || {
            (self.scalar(&format!("SELECT count(*) FROM {table}")).await >= count).then_some(())
        })
        .await;
    }

    pub async fn scalar(&self, sql: &str) -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(self.pool()).await.unwrap()
    }

    /// Outcomes of the attempts of a job that did not complete, in order.
    pub async fn outcomes(&self, id: JobId) -> Vec<String> {
        let attempts = admin::attempts(self.pool(), id).await.unwrap();
        attempts.into_iter().map(|attempt| attempt.outcome).collect()
    }
}

impl Drop for Lab {
    /// Ids that nobody took are left in Redis.
    fn drop(&mut self) {
        let Ok(client) = redis::Client::open(self.redis.as_str()) else { return };
        if let Ok(mut connection) = client.get_connection_with_timeout(Duration::from_secs(1)) {
            let keys: Vec<String> = redis::cmd("KEYS")
                .arg(format!("{}:*", self.prefix))
                .query(&mut connection)
                .unwrap_or_default();
            let _ = redis::cmd("DEL").arg(keys).query::<i64>(&mut connection);
        }
    }
}

pub fn nothing(keys: std::ops::Range<i64>) -> Vec<Probe> {
    keys.map(|key| Probe { key, act: Act::Nothing }).collect()
}
