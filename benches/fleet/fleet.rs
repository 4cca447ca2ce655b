//! The servers of a run, and our own processes on them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use labelfleet::{
    queue::{self, Dispatcher},
    store::migrations,
    up::{Postgres, PostgresOptions, Redis, child, ports::Port},
};
use nix::sys::signal::Signal;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use tempfile::TempDir;

pub const SECRET_KEY: &str = "a key that is known to everybody";

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Fleet {
    postgres: Postgres,
    redis: Redis,
    // After the servers, so that they are gone when it is removed.
    dir: TempDir,
}

impl Fleet {
    pub async fn start() -> anyhow::Result<Self> {
        // Beside the build and not in /tmp, which may lie in memory: a commit is to reach a disk.
        let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let options = PostgresOptions {
            settings: vec![("max_connections".into(), "300".into())],
            ..PostgresOptions::new(dir.path().join("postgres"))
        };
        let postgres = Postgres::start(options).await?;
        let redis = Redis::start(&dir.path().join("redis"), &dir.path().join("redis.log"), None).await?;
        Ok(Self { postgres, redis, dir })
    }

    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.redis.stop().await?;
        self.postgres.stop().await
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn url_of(&self, database: &str) -> String {
        self.postgres.url_of(database)
    }

    /// The URL of a new, migrated database.
    pub async fn database(&self, name: &str) -> anyhow::Result<String> {
        let mut admin = PgConnection::connect(&self.postgres.url()).await?;
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        let url = self.url_of(name);
        migrations::run(&mut PgConnection::connect(&url).await?).await?;
        Ok(url)
    }

    /// Enqueues into this database as the API does.
    pub async fn queue(&self, database_url: &str) -> anyhow::Result<queue::Client> {
        let dispatcher = Dispatcher::spawn(&self.redis.url(), "labelfleet")?;
        Ok(queue::Client::with_dispatcher(PgPool::connect(database_url).await?, dispatcher))
    }

    /// What our processes read their settings from.
    pub fn env(&self, database_url: &str) -> BTreeMap<String, String> {
        [
            ("DATABASE_URL", database_url),
            ("REDIS_URL", &self.redis.url()),
            ("SECRET_KEY", SECRET_KEY),
            ("S3_BUCKET", "bench"),
            ("S3_ENDPOINT", "http://127.0.0.1:9"),
            ("AWS_ACCESS_KEY_ID", "bench"),
            ("AWS_SECRET_ACCESS_KEY", "bench-secret"),
            ("RUST_LOG", "warn"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// `labelfleet-worker`; ends when it is dropped.
    pub async fn worker(&self, env: BTreeMap<String, String>) -> anyhow::Result<child::Child> {
        let database = env.get("DATABASE_URL").and_then(|url| url.rsplit('/').next()).unwrap_or_default();
        let log = self.dir().join(format!("worker-{database}.log"));
        let mut command = child::command(&worker_program()?, None, Signal::SIGTERM);
        command.arg("run").envs(env);
        let mut process = child::Child::spawn("the worker", command, &log, Signal::SIGTERM)?;
        process.wait_for_line(PATIENCE, "ready worker").await?;
        Ok(process)
    }

    /// `labelfleet api` on a port of its own; ends when it is dropped.
    pub async fn api(&self, mut env: BTreeMap<String, String>) -> anyhow::Result<Api> {
        let port = Port::free()?;
        env.insert("PORT".into(), port.number().to_string());
        let mut command = child::command(Path::new(env!("CARGO_BIN_EXE_labelfleet")), None, Signal::SIGTERM);
        command.arg("api").envs(env);
        let mut process =
            child::Child::spawn("the API", command, &self.dir().join("api.log"), Signal::SIGTERM)?;
        process.wait_for_line(PATIENCE, "ready api").await?;
        Ok(Api { process, address: format!("127.0.0.1:{}", port.number()) })
    }
}

pub struct Api {
    process: child::Child,
    pub address: String,
}

impl Api {
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let status = self.process.stop(Signal::SIGTERM, PATIENCE).await?;
        ensure!(status.success(), self.process.obituary(status));
        Ok(())
    }
}

/// `labelfleet-worker`, which lies where `labelfleet` does once the workspace was built.
pub fn worker_program() -> anyhow::Result<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_labelfleet")).with_file_name("labelfleet-worker");
    ensure!(program.exists(), "{} is missing: build the workspace first", program.display());
    Ok(program)
}

/// The most memory that a process ever held, in MiB.
pub fn peak_memory(pid: i32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
