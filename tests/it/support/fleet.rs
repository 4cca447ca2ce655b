//! A fleet of its own for one test: database, names, folder, and what its jobs need. Everything that it starts
//! or makes is removed at the end.
//!
//! The template database belongs to the server, so whichever test comes first makes it for all.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use labelfleet::{
    config::{Config, EngineConfig},
    domain::{AnnotatorId, AnnotatorStatus, AssignmentId, Secrets},
    ops::jobs::{ExportAssignment, ExportFile},
    queue::{self, JobArgs, JobContext, JobId, JobResult, Run, Worker, WorkerOptions},
    s3::S3,
};
use labelfleet_jobs::{
    Deps, instance,
    label_studio::Client,
    registry::registry,
    runtime::{self, Runtime},
    template,
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use uuid::Uuid;

use super::{database::Database, relay::Relay};

/// Who runs the jobs that a test runs.
pub const WORKER: Uuid = Uuid::nil();

pub struct Fleet {
    pub deps: Arc<Deps>,
    pub database: Database,
    /// The settings that make a worker one of this fleet's.
    pub settings: BTreeMap<String, String>,
    // Held for as long as instances use them.
    _dir: tempfile::TempDir,
    _relay: Option<Relay>,
}

impl Fleet {
    /// Instances are local processes.
    pub async fn local() -> Self {
        Self::with([("ORCHESTRATOR_BACKEND".to_owned(), "process".to_owned())]).await
    }

    /// Instances are containers. None, and a word on standard error, where no engine answers.
    pub async fn docker() -> Option<Self> {
        let answers = async { bollard::Docker::connect_with_defaults()?.ping().await };
        if let Err(error) = answers.await {
            eprintln!("SKIPPED: no Docker Engine answers ({error}); scripts/docker-engine starts one");
            return None;
        }
        // The test's Postgres listens on 127.0.0.1, which is another machine inside a container.
        let target = url::Url::parse(&super::server("TEST_DATABASE_URL")).expect("a URL");
        let target = format!("{}:{}", target.host_str().expect("a host"), target.port().unwrap_or(5432));
        let relay = Relay::start("0.0.0.0", &target).await;
        let settings = [
            ("ORCHESTRATOR_BACKEND".to_owned(), "docker".to_owned()),
            ("INSTANCE_DATABASE_HOST".to_owned(), format!("host.docker.internal:{}", relay.port)),
            ("INSTANCE_DOMAIN".to_owned(), "fleet.localhost:8080".to_owned()),
        ];
        let mut fleet = Self::with(settings).await;
        fleet._relay = Some(relay);
        Some(fleet)
    }

    /// With settings beyond those that every fleet needs.
    pub async fn with(settings: impl IntoIterator<Item = (String, String)>) -> Self {
        let bin = ("LABEL_STUDIO_BIN".to_owned(), super::server("TEST_LABEL_STUDIO_BIN"));
        let settings: Vec<_> = std::iter::once(bin).chain(settings).collect();
        Self::on(settings, None).await
    }

    /// Whose instances run in a simulator, say.
    pub async fn simulated(
        settings: impl IntoIterator<Item = (String, String)>,
        runtime: Arc<dyn Runtime>,
    ) -> Self {
        Self::on(settings, Some(runtime)).await
    }

    async fn on(
        settings: impl IntoIterator<Item = (String, String)>,
        runtime: Option<Arc<dyn Runtime>>,
    ) -> Self {
        let database = Database::create().await;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let name: String = Uuid::new_v4().simple().to_string().chars().take(12).collect();
        let mut all: BTreeMap<String, String> = [
            ("FLEET_NAME", format!("t{name}")),
            ("DATABASE_URL", database.url.clone()),
            // Not the fleet's own database: the lock on making a template is the server's.
            ("INSTANCE_DATABASE_URL", super::server("TEST_DATABASE_URL")),
            ("REDIS_URL", super::redis_url()),
            ("REDIS_PREFIX", format!("t{name}")),
            ("SECRET_KEY", name.repeat(2)),
            ("S3_BUCKET", "images".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("INSTANCE_DIR", dir.path().to_str().expect("a path in UTF-8").to_owned()),
            // Each fleet's first annotator gets the port after it: not all of them the same.
            ("INSTANCE_BASE_PORT", rand::random_range(10_000..19_000).to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        all.extend(settings);
        let deps = match runtime {
            None => deps(&all, database.pool.clone()),
            Some(runtime) => deps_with(&all, database.pool.clone(), runtime),
        };
        Self { deps, database, settings: all, _dir: dir, _relay: None }
    }

    /// An annotator in this status, without the use cases that usually bring one there.
    pub async fn annotator(&self, status: AnnotatorStatus) -> AnnotatorId {
        let name = Uuid::new_v4().simple().to_string();
        sqlx::query_scalar(
            "INSERT INTO annotators (name, email, status, subdomain, status_reason)
             VALUES ('Ann', $1 || '@example.com', $2, $1, 'test') RETURNING id",
        )
        .bind(name)
        .bind(status.as_str())
        .fetch_one(&self.database.pool)
        .await
        .map(AnnotatorId)
        .expect("an annotator is inserted")
    }

    pub async fn set_status(&self, id: AnnotatorId, status: AnnotatorStatus) {
        sqlx::query("UPDATE annotators SET status = $2, status_reason = 'test' WHERE id = $1")
            .bind(id)
            .bind(status.as_str())
            .execute(&self.database.pool)
            .await
            .expect("the status is set");
    }

    pub async fn status(&self, id: AnnotatorId) -> AnnotatorStatus {
        self.get(id, "status").await.parse().expect("a known status")
    }

    /// A column of an annotator, as text.
    pub async fn get(&self, id: AnnotatorId, column: &str) -> String {
        sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT coalesce({column}::text, '') FROM annotators WHERE id = $1"
        )))
        .bind(id)
        .fetch_one(&self.database.pool)
        .await
        .expect("the annotator is there")
    }

    /// A worker in this process. It reconciles only when it is asked to.
    pub async fn worker(&self) -> Worker {
        let options = WorkerOptions {
            lease: Duration::from_secs(30),
            drain: Duration::from_secs(20),
            concurrency: 16,
            ..WorkerOptions::new(
                self.database.url.parse().expect("a URL"),
                super::redis_url(),
                &self.settings["REDIS_PREFIX"],
            )
        };
        let engine =
            EngineConfig { reconcile_cron: "0 0 0 1 1 *".to_owned(), ..self.deps.config.engine.clone() };
        let registry = registry(&engine).expect("a registry");
        Worker::start(options, registry, self.deps.clone()).await.expect("a worker")
    }

    /// Runs a job as a worker would: enqueued, claimed, its handler called once. Returns what operators see of its result.
    pub async fn run<J: Run<Deps> + Copy>(&self, job: J) -> JobResult<Value> {
        self.run_attempt(job, 1).await
    }

    /// As [`Self::run`], but as this attempt.
    pub async fn run_attempt<J: Run<Deps> + Copy>(&self, job: J, attempt: i32) -> JobResult<Value> {
        let id = self.claimed(job, attempt).await;
        self.run_claimed(job, id, attempt).await
    }

    /// Calls the handler of a job that is claimed, and ends the job.
    pub async fn run_claimed<J: Run<Deps>>(&self, job: J, id: JobId, attempt: i32) -> JobResult<Value> {
        let outcome = job.run(JobContext::new(id, attempt, J::MAX_ATTEMPTS, WORKER), self.deps.clone()).await;
        let outcome = outcome.map(|output| serde_json::to_value(output).expect("a result is JSON"));
        sqlx::query(
            "UPDATE jobs SET state = 'completed', worker_id = NULL, finalized_at = now(), result = $2
             WHERE id = $1 AND state = 'running'",
        )
        .bind(id)
        .bind(outcome.as_ref().ok().filter(|output| !output.is_null()))
        .execute(&self.database.pool)
        .await
        .expect("the job is finished");
        outcome
    }

    /// The job (the open one of its key, if there is one) as a worker has it that is about to run it.
    pub async fn claimed<J: JobArgs>(&self, job: J, attempt: i32) -> JobId {
        let mut tx = self.deps.queue.begin().await.expect("a transaction");
        let id = tx.enqueue(&job).await.expect("the job is enqueued").id;
        tx.commit().await.expect("the job is committed");
        self.claim(id, attempt).await;
        id
    }

    pub async fn claim(&self, id: JobId, attempt: i32) {
        sqlx::query(
            "UPDATE jobs SET state = 'running', attempt = $2, attempted_at = now(), worker_id = $3,
                    dispatched_at = coalesce(dispatched_at, now())
             WHERE id = $1",
        )
        .bind(id)
        .bind(attempt)
        .bind(WORKER)
        .execute(&self.database.pool)
        .await
        .expect("the job is claimed");
    }

    /// The due jobs of a kind, in their order.
    pub async fn due<J: JobArgs>(&self) -> Vec<(JobId, J)> {
        let due: Vec<(i64, Value)> =
            sqlx::query_as("SELECT id, args FROM jobs WHERE kind = $1 AND state = 'available' ORDER BY id")
                .bind(J::KIND)
                .fetch_all(&self.database.pool)
                .await
                .expect("the jobs are listed");
        let job = |(id, args)| (JobId(id), serde_json::from_value(args).expect("arguments of the kind"));
        due.into_iter().map(job).collect()
    }

    /// Exports an assignment as workers would: begins, writes each file, ends.
    pub async fn export(&self, assignment_id: AssignmentId) -> JobResult<Value> {
        let begun = self.run(ExportAssignment { assignment_id }).await?;
        if begun.is_null() {
            return Ok(begun);
        }
        for (id, file) in self.due::<ExportFile>().await {
            self.claim(id, 1).await;
            self.run_claimed(file, id, 1).await?;
        }
        self.run(ExportAssignment { assignment_id }).await
    }

    /// The way into an active annotator's instance, as stored.
    pub async fn client(&self, id: AnnotatorId) -> Client {
        let (host, port) = (self.get(id, "container_ip").await, self.get(id, "container_port").await);
        Client::new(&format!("http://{host}:{port}"), self.get(id, "api_token").await).expect("an address")
    }

    /// What happened to an annotator's instance, in order.
    pub async fn events(&self, id: AnnotatorId) -> Vec<String> {
        sqlx::query_scalar("SELECT event_type FROM container_events WHERE annotator_id = $1 ORDER BY id")
            .bind(id)
            .fetch_all(&self.database.pool)
            .await
            .expect("the events are readable")
    }

    /// The annotator's database, cloned and ready, without an instance.
    pub async fn ready_database(&self, id: AnnotatorId) -> String {
        let server = instance::server(&self.deps).expect("a server");
        let version = self.deps.runtime.label_studio_version().await.expect("a version");
        template::ensure(&self.deps, &server, &version).await.expect("a template");
        let lock = instance::lock(&self.deps, id).await.expect("nobody else works on it");
        let password = self.deps.secrets.database_password(id, 1);
        let fleet = &self.deps.config.instances.fleet;
        server.ensure_clone(lock.held(), fleet, id, &version, &password).await.expect("a clone")
    }

    /// Open jobs of a kind.
    pub async fn open_jobs<J: JobArgs>(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM jobs WHERE kind = $1 AND finalized_at IS NULL")
            .bind(J::KIND)
            .fetch_one(&self.database.pool)
            .await
            .expect("the jobs are counted")
    }

    /// Databases and roles of this fleet's instances on the server.
    pub async fn databases_and_roles(&self) -> (Vec<String>, Vec<String>) {
        let like = format!("{}\\_ls\\_annotator\\_%", self.deps.config.instances.fleet.owner());
        let server = &self.settings["INSTANCE_DATABASE_URL"];
        let admin = PgPool::connect(server).await.expect("the instances' server answers");
        let names = async |sql: &'static str| -> Vec<String> {
            sqlx::query_scalar(sql).bind(&like).fetch_all(&admin).await.expect("the catalog is readable")
        };
        (
            names("SELECT datname::text FROM pg_database WHERE datname LIKE $1").await,
            names("SELECT rolname::text FROM pg_roles WHERE rolname LIKE $1").await,
        )
    }

    /// Removes every instance, database and role of the fleet. Called at the end of a test; a test that fails
    /// before is cleaned up after by [`Drop`], as far as the processes go.
    pub async fn tear_down(self) {
        let ids: Vec<AnnotatorId> = sqlx::query_scalar("SELECT id FROM annotators")
            .fetch_all(&self.database.pool)
            .await
            .expect("the annotators are listed");
        for id in ids {
            let lock = instance::lock(&self.deps, id).await.expect("nobody works on the instance any more");
            instance::tear_down(&self.deps, lock.held(), id).await.expect("the instance is removed");
        }
        assert_eq!(self.deps.runtime.list().await.expect("a list"), []);
        assert_eq!(self.databases_and_roles().await, (Vec::new(), Vec::new()));
    }
}

impl Drop for Fleet {
    /// Nothing may outlive a failed test and eat the machine.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let settings = self.settings.clone();
        let stop = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let config = Config::from_map(&settings)?;
                let backend = runtime::from_config(&config.instances)?;
                for instance in backend.list().await? {
                    eprintln!(
                        "{} wrote last:\n{}",
                        instance.name,
                        backend.last_lines(instance.annotator).await.unwrap_or_default()
                    );
                    backend.remove(instance.annotator).await?;
                }
                drop_databases(&settings["INSTANCE_DATABASE_URL"], config.instances.fleet.owner()).await
            })
        });
        if let Ok(Err(error)) = stop.join() {
            eprintln!("instances are left: {error:#}");
        }
    }
}

async fn drop_databases(server: &str, fleet: &str) -> anyhow::Result<()> {
    let mut admin = PgConnection::connect(server).await?;
    for (names, ddl, options) in [
        (
            "SELECT datname::text FROM pg_database WHERE starts_with(datname::text, $1)",
            "DATABASE",
            " WITH (FORCE)",
        ),
        ("SELECT rolname::text FROM pg_roles WHERE starts_with(rolname::text, $1)", "ROLE", ""),
    ] {
        let names: Vec<String> = sqlx::query_scalar(names).bind(fleet).fetch_all(&mut admin).await?;
        for name in names {
            admin.execute(AssertSqlSafe(format!("DROP {ddl} \"{name}\"{options}"))).await?;
        }
    }
    Ok(())
}

/// What jobs need, by these settings.
pub fn deps(settings: &BTreeMap<String, String>, pool: PgPool) -> Arc<Deps> {
    let config = Config::from_map(settings).expect("the settings are right");
    deps_with(settings, pool, runtime::from_config(&config.instances).expect("a runtime"))
}

/// [`deps`] with a runtime of one's own.
pub fn deps_with(
    settings: &BTreeMap<String, String>,
    pool: PgPool,
    runtime: Arc<dyn runtime::Runtime>,
) -> Arc<Deps> {
    let config = Config::from_map(settings).expect("the settings are right");
    Arc::new(Deps {
        runtime,
        queue: queue::Client::new(pool.clone()),
        pool,
        s3: S3::new(&config.s3),
        secrets: Secrets::new(config.secret_key.expose()),
        config,
    })
}
