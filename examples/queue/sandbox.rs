//! Where an example runs: a Postgres and a Redis in a temporary folder, or those of `DATABASE_URL` and `REDIS_URL` if both
//! are set. All is removed at the end.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, ensure};
use labelfleet::{
    queue::{Client, Dispatcher, Job, JobArgs, JobId, Registry, Worker, WorkerOptions, admin},
    store::migrations,
    up::{Postgres, PostgresOptions, Redis},
};
use sqlx::PgPool;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// What an example may have to wait.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Sandbox {
    /// Enqueues, and wakes workers.
    pub queue: Client,
    pub pool: PgPool,
    options: WorkerOptions,
    /// Our own.
    servers: Option<(Postgres, Redis, TempDir)>,
}

impl Sandbox {
    pub async fn start() -> anyhow::Result<Self> {
        let given = std::env::var("DATABASE_URL").ok().zip(std::env::var("REDIS_URL").ok());
        let (database, redis, servers) = match given {
            Some((database, redis)) => (database, redis, None),
            None => {
                let dir = tempfile::tempdir()?;
                let options =
                    PostgresOptions { durable: false, ..PostgresOptions::new(dir.path().join("postgres")) };
                let postgres = Postgres::start(options).await?;
                let redis =
                    Redis::start(&dir.path().join("redis"), &dir.path().join("redis.log"), None).await?;
                (postgres.url(), redis.url(), Some((postgres, redis, dir)))
            }
        };
        let pool = PgPool::connect(&database).await.context("connect to Postgres")?;
        migrations::run(&mut *pool.acquire().await?).await?;
        let in_use = "SELECT EXISTS (SELECT FROM jobs) OR EXISTS (SELECT FROM workers)";
        let is_in_use: bool = sqlx::query_scalar(in_use).fetch_one(&pool).await?;
        ensure!(
            !is_in_use,
            "the database of DATABASE_URL has jobs or workers: give one without, it is cleared"
        );
        let prefix = format!("example:{}", std::process::id());
        Ok(Self {
            queue: Client::with_dispatcher(pool.clone(), Dispatcher::spawn(&redis, &prefix)?),
            options: WorkerOptions::new(database.parse()?, redis, prefix),
            pool,
            servers,
        })
    }

    /// Of workers in this sandbox.
    pub fn options(&self) -> WorkerOptions {
        self.options.clone()
    }

    /// A worker in this process; there may be several.
    pub async fn worker<S: Send + Sync + 'static>(
        &self,
        registry: Registry<S>,
        state: &Arc<S>,
    ) -> anyhow::Result<Worker> {
        Worker::start(self.options(), registry, state.clone()).await
    }

    pub async fn enqueue<J: JobArgs>(&self, job: &J) -> anyhow::Result<JobId> {
        Ok(self.queue.enqueue(job).await?.id)
    }

    /// The job once it has ended, in whatever way.
    pub async fn ended(&self, id: JobId) -> anyhow::Result<Job> {
        let job = admin::wait_for(&self.queue, id, PATIENCE).await?;
        ensure!(job.state.is_final(), "job {id} is still {}", job.state);
        Ok(job)
    }

    /// Asks again and again until the answer is yes.
    pub async fn until(
        &self,
        what: &str,
        is_so: impl AsyncFn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so().await? {
            ensure!(Instant::now() < deadline, "not in time: {what}");
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        let Some((mut postgres, mut redis, dir)) = self.servers else {
            sqlx::query("TRUNCATE jobs, job_claims, job_batches, job_holds, schedules, schedule_ticks, queues, workers CASCADE")
                .execute(&self.pool)
                .await?;
            let mut redis =
                redis::Client::open(self.options.redis_url)?.get_multiplexed_async_connection().await?;
            let pattern = format!("{}:*", self.options.redis_prefix);
            let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(&mut redis).await?;
            for key in keys {
                redis::cmd("DEL").arg(key).exec_async(&mut redis).await?;
            }
            return Ok(());
        };
        self.pool.close().await;
        redis.stop().await?;
        postgres.stop().await?;
        Ok(dir.close()?)
    }
}

/// What handlers note, in order.
#[derive(Default)]
pub struct Notes(Mutex<Vec<String>>);

impl Notes {
    pub fn add(&self, note: impl Into<String>) {
        self.lock().push(note.into());
    }

    pub fn all(&self) -> Vec<String> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
