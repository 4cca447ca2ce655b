//! What `labelfleet up` runs, and in which order: Postgres, Redis, S3, the API, a worker. Whatever the
//! environment names already is used instead of being started.
//!
//! The API and the worker are the same programs as in production, as child processes with a log each. One that
//! ends by itself ends the whole: on one machine a crash should be seen, and since nothing is lost by it, starting
//! again is cheap. (In production the orchestrator restarts them.)

use std::{
    collections::BTreeMap,
    net::{TcpListener, ToSocketAddrs},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use sqlx::{Connection, Executor, PgConnection};

use super::{
    Postgres, PostgresOptions, Redis, S3Options, S3Server,
    child::{Child, command},
    folder::Folder,
    label_studio,
};
use crate::{
    config::{Config, Orchestrator, Secret},
    store::migrations,
};

const DATABASE: &str = "labelfleet";
/// Its file in the folder.
const ADMIN_PASSWORD: &str = "admin-password";
const BUCKET: &str = "labelfleet";
const START: Duration = Duration::from_secs(30);
const API_STOP: Duration = Duration::from_secs(15);
const INSTANCES_STOP: Duration = Duration::from_secs(60);

/// Settings by name, as in the environment.
pub type Vars = BTreeMap<String, String>;

#[derive(Debug)]
pub struct Stack {
    folder: Folder,
    vars: Vars,
    pub admin: Admin,
    postgres: Option<Postgres>,
    redis: Option<Redis>,
    s3: Option<S3Server>,
    api: Option<Child>,
    worker: Option<Child>,
}

/// Who may log in first.
#[derive(Debug, Clone)]
pub struct Admin {
    pub email: String,
    pub password: Secret,
    /// The password was drawn just now.
    is_new: bool,
    /// None: it was given by the environment.
    kept_in: Option<PathBuf>,
}

impl Admin {
    /// The password itself once, later where to find it.
    pub fn password_hint(&self) -> String {
        match &self.kept_in {
            _ if self.is_new => format!("password {}", self.password.expose()),
            Some(path) => format!("password in {}", path.display()),
            None => "password as ADMIN_PASSWORD says".to_owned(),
        }
    }
}

impl Stack {
    /// Takes the folder and checks everything that can be checked before anything runs.
    pub fn prepare(dir: &Path, mut vars: Vars) -> anyhow::Result<Self> {
        vars.retain(|_, value| !value.is_empty());
        let folder = Folder::lock(dir)?;
        let mut default = |name: &str, value: String| {
            vars.entry(name.to_owned()).or_insert(value);
        };
        default("SECRET_KEY", folder.secret("secret-key")?.0);
        default("INSTANCE_DIR", folder.join("instances").to_string_lossy().into_owned());
        default("ADMIN_EMAIL", "admin@fleet.local".into());
        let (password, is_new, kept_in) = match vars.get("ADMIN_PASSWORD") {
            Some(given) => (given.clone(), false, None),
            None => {
                let (kept, is_new) = folder.secret(ADMIN_PASSWORD)?;
                (kept, is_new, Some(folder.join(ADMIN_PASSWORD)))
            }
        };
        vars.insert("ADMIN_PASSWORD".into(), password.clone());
        let email = vars["ADMIN_EMAIL"].clone();
        let admin = Admin { email, password: Secret::new(password), is_new, kept_in };

        // What is started later has its place in the check already.
        let mut later = vars.clone();
        let mut promise = |name: &str, value: &str| {
            later.entry(name.to_owned()).or_insert(value.to_owned());
        };
        promise("DATABASE_URL", "postgres://");
        promise("REDIS_URL", "redis://");
        if !has_own_s3(&vars) {
            for name in ["S3_BUCKET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
                promise(name, BUCKET);
            }
        }
        let config = Config::from_map(&later)?;
        // A container reaches no server of ours: they listen on 127.0.0.1 only.
        if config.instances.backend == Orchestrator::Docker {
            anyhow::ensure!(
                vars.contains_key("DATABASE_URL") && vars.contains_key("INSTANCE_API_URL"),
                "ORCHESTRATOR_BACKEND=docker needs a Postgres and an address of the API that containers can reach: \
                 set DATABASE_URL, INSTANCE_API_URL and HOST"
            );
        }
        if config.instances.backend == Orchestrator::Process && !vars.contains_key("LABEL_STUDIO_BIN") {
            let found = label_studio::find()?;
            vars.insert("LABEL_STUDIO_BIN".into(), found.to_string_lossy().into_owned());
        }
        refuse_busy_port(&config.host, config.port)?;
        Ok(Self { folder, vars, admin, postgres: None, redis: None, s3: None, api: None, worker: None })
    }

    /// Starts everything in order, and tells `report` of each part with the time it took. What was started by
    /// the time of an error is stopped by [`Stack::stop`].
    pub async fn start(&mut self, report: &mut dyn FnMut(&str, &str, Duration)) -> anyhow::Result<Config> {
        let begun = Instant::now();
        let database = match self.vars.get("DATABASE_URL") {
            Some(_) => "named by DATABASE_URL".to_owned(),
            None => self.start_postgres().await.context("start Postgres")?,
        };
        self.migrate().await.context("migrate the database")?;
        report("Postgres", &database, begun.elapsed());

        let begun = Instant::now();
        let redis = match self.vars.get("REDIS_URL") {
            Some(_) => "named by REDIS_URL".to_owned(),
            None => self.start_redis().await.context("start Redis")?,
        };
        report("Redis", &redis, begun.elapsed());

        let begun = Instant::now();
        let s3 = match has_own_s3(&self.vars) {
            true => "named by S3_ENDPOINT, S3_BUCKET".to_owned(),
            false => self.start_s3().await.context("start the S3 endpoint")?,
        };
        report("S3", &s3, begun.elapsed());

        let config = Config::from_map(&self.vars)?;
        let begun = Instant::now();
        self.start_api().await?;
        report("API", &config.public_url, begun.elapsed());

        let begun = Instant::now();
        self.start_worker().await?;
        report("worker", "labelfleet-worker", begun.elapsed());
        Ok(config)
    }

    /// Completes when something ends that should not; says what and where to read why.
    pub async fn watch(&mut self) -> anyhow::Error {
        let children = [
            self.postgres.as_mut().map(Postgres::child),
            self.redis.as_mut().map(Redis::child),
            self.api.as_mut(),
            self.worker.as_mut(),
        ];
        let ends = children.into_iter().flatten().map(|child| {
            Box::pin(async {
                match child.exited().await {
                    Ok(status) => child.obituary(status),
                    Err(error) => anyhow::Error::from(error).context(format!("watch {}", child.name())),
                }
            })
        });
        futures::future::select_all(ends).await.0
    }

    /// Stops what runs, in order: the worker ends its jobs, then nobody calls the API, then the instances, and
    /// at last the servers that all of them use. Goes on after an error and returns the first.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let drain = Config::from_map(&self.vars).map(|config| config.engine.drain).unwrap_or_default();
        let mut first = Ok(());
        let mut note = |outcome: anyhow::Result<()>| {
            if first.is_ok() {
                first = outcome;
            }
        };
        let had_worker = self.worker.is_some();
        if let Some(mut worker) = self.worker.take() {
            note(worker.stop(Signal::SIGTERM, drain + Duration::from_secs(10)).await.map(drop));
        }
        if let Some(mut api) = self.api.take() {
            note(api.stop(Signal::SIGTERM, API_STOP).await.map(drop));
        }
        if had_worker {
            note(self.stop_instances().await.context("stop the Label Studio instances"));
        }
        self.s3 = None;
        if let Some(mut redis) = self.redis.take() {
            note(redis.stop().await);
        }
        if let Some(mut postgres) = self.postgres.take() {
            note(postgres.stop().await);
        }
        first
    }

    pub fn log_dir(&self) -> PathBuf {
        self.folder.join("log")
    }

    async fn start_postgres(&mut self) -> anyhow::Result<String> {
        let options = PostgresOptions {
            log: self.folder.log("postgres"),
            port: Some(self.folder.port("postgres")?),
            ..PostgresOptions::new(self.folder.join("postgres"))
        };
        let server = self.postgres.insert(Postgres::start(options).await?);
        let mut admin = PgConnection::connect(&server.url()).await?;
        match admin.execute("CREATE DATABASE labelfleet").await {
            Ok(_) => {}
            // duplicate_database: not the first start.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P04") => {}
            Err(error) => return Err(error.into()),
        }
        self.vars.insert("DATABASE_URL".into(), server.url_of(DATABASE));
        Ok(format!("127.0.0.1:{}", server.port()))
    }

    async fn migrate(&self) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.vars["DATABASE_URL"]).await?;
        migrations::run(&mut connection).await?;
        Ok(connection.close().await?)
    }

    async fn start_redis(&mut self) -> anyhow::Result<String> {
        let port = self.folder.port("redis")?;
        let log = self.folder.log("redis");
        let server = self.redis.insert(Redis::start(&self.folder.join("redis"), &log, Some(port)).await?);
        self.vars.insert("REDIS_URL".into(), server.url());
        Ok(format!("127.0.0.1:{}", server.port()))
    }

    async fn start_s3(&mut self) -> anyhow::Result<String> {
        let (secret, _) = self.folder.secret("s3-secret-key")?;
        let port = self.folder.port("s3")?;
        let server = S3Server::start(S3Options {
            dir: self.folder.join("s3"),
            port: port.number(),
            bucket: BUCKET.into(),
            access_key_id: "labelfleet".into(),
            secret_access_key: Secret::new(secret),
        })
        .await?;
        let config = self.s3.insert(server).config();
        let endpoint = config.endpoint.clone().unwrap_or_default();
        for (name, value) in [
            ("S3_ENDPOINT", endpoint.as_str()),
            ("S3_REGION", &config.region),
            ("S3_BUCKET", &config.bucket),
            ("AWS_ACCESS_KEY_ID", config.access_key_id.expose()),
            ("AWS_SECRET_ACCESS_KEY", config.secret_access_key.expose()),
        ] {
            self.vars.insert(name.into(), value.into());
        }
        Ok(format!("{endpoint}/{BUCKET}"))
    }

    async fn start_api(&mut self) -> anyhow::Result<()> {
        let mut api = command(&std::env::current_exe()?, None, Signal::SIGTERM);
        api.arg("api").envs(&self.vars);
        let api = self.api.insert(Child::spawn("the API", api, &self.folder.log("api"), Signal::SIGTERM)?);
        // Not what answers on its port: that may be somebody else, who was quicker.
        api.wait_for_line(START, "ready api").await
    }

    async fn start_worker(&mut self) -> anyhow::Result<()> {
        let mut worker = command(&worker_program()?, None, Signal::SIGTERM);
        worker.envs(&self.vars);
        let log = self.folder.log("worker");
        let worker = self.worker.insert(Child::spawn("the worker", worker, &log, Signal::SIGTERM)?);
        worker.wait_for_line(START, "ready worker").await
    }

    /// Instances of the process runtime outlive their worker, so they are stopped by a run of its own.
    async fn stop_instances(&self) -> anyhow::Result<()> {
        if self.vars.get("ORCHESTRATOR_BACKEND").is_some_and(|backend| backend != "process") {
            return Ok(());
        }
        let mut stop = command(&worker_program()?, None, Signal::SIGTERM);
        stop.arg("stop-instances").envs(&self.vars);
        let log = self.folder.log("worker");
        let mut stop = Child::spawn("stopping the instances", stop, &log, Signal::SIGTERM)?;
        let status = tokio::time::timeout(INSTANCES_STOP, stop.exited()).await??;
        if status.success() { Ok(()) } else { Err(stop.obituary(status)) }
    }
}

/// Whether the environment names an S3 (Amazon's own needs no endpoint, but a bucket).
fn has_own_s3(vars: &Vars) -> bool {
    vars.contains_key("S3_ENDPOINT") || vars.contains_key("S3_BUCKET")
}

fn refuse_busy_port(host: &str, port: u16) -> anyhow::Result<()> {
    let address = (host, port).to_socket_addrs().with_context(|| format!("HOST {host}"))?.next();
    if address.is_some_and(|address| TcpListener::bind(address).is_err()) {
        bail!("port {port} is in use: stop what listens there, or set PORT to another one");
    }
    Ok(())
}

/// The worker is built and installed beside us.
fn worker_program() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name("labelfleet-worker");
    if !program.exists() {
        bail!("{} is missing: build it with `cargo build --workspace`", program.display());
    }
    Ok(program)
}
