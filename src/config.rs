//! Settings from the environment. All that is missing or malformed is reported at once.
//!
//! The same names serve the API and the worker; `labelfleet up` fills in what it starts itself. The table in
//! README.md says each setting's meaning and default.

use std::{
    collections::BTreeMap, fmt, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr,
    time::Duration,
};

use crate::{
    domain::FleetName,
    queue::{ArgsCipher, Retention},
};

const HOUR: Duration = Duration::from_secs(60 * 60);

#[derive(Clone, Debug)]
pub struct Config {
    pub database_url: Secret,
    pub redis_url: Secret,
    /// Prefix of every Redis key, so that several fleets can share a server.
    pub redis_prefix: String,
    pub s3: S3Config,
    /// From which every annotator's secrets are derived, and what image URLs are signed with.
    pub secret_key: Secret,
    /// Where the API listens.
    pub host: String,
    pub port: u16,
    /// Where people and their browsers reach the API; no trailing slash.
    pub public_url: String,
    pub admin_email: Option<String>,
    pub admin_password: Option<Secret>,
    pub engine: EngineConfig,
    pub instances: InstancesConfig,
}

#[derive(Clone, Debug)]
pub struct S3Config {
    /// None: Amazon's own.
    pub endpoint: Option<String>,
    pub region: String,
    pub bucket: String,
    pub access_key_id: Secret,
    pub secret_access_key: Secret,
}

/// The job engine, as the worker runs it.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// A lost worker's jobs run again within this time.
    pub lease: Duration,
    /// On SIGTERM: how long running jobs may take to finish before they are released.
    pub drain: Duration,
    /// Running jobs at most, for queues that do not set their own.
    pub concurrency: usize,
    /// When `reconcile` runs: cron with seconds, UTC.
    pub reconcile_cron: String,
    /// Where a worker serves `/metrics` and `/health`; none: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Encrypts jobs' arguments; none: they are stored as they are.
    pub args_cipher: Option<ArgsCipher>,
    /// How long jobs are kept after their end.
    pub retention: Retention,
}

#[derive(Clone, Debug)]
pub struct InstancesConfig {
    pub backend: Orchestrator,
    /// Needed where several fleets share a Docker Engine or a Postgres server.
    pub fleet: FleetName,
    /// Superuser (or CREATEDB and CREATEROLE) connection for the instances' databases; default: `database_url`.
    pub database_url: Secret,
    /// Host and port by which an instance itself reaches that server; default: as in the URL.
    pub database_host: Option<String>,
    /// Where an instance reaches the API for webhooks; default: `public_url`.
    pub api_url: String,
    /// Data of local instances (backend `process`).
    pub dir: PathBuf,
    /// The `label-studio` command (backend `process`).
    pub label_studio_bin: PathBuf,
    /// The image (backend `docker`).
    pub label_studio_image: String,
    /// How long a Label Studio may take to answer; imports get four times as long.
    pub timeout: Duration,
    /// The Docker network that workers and instances share (backend `docker`); none: instances publish a port on
    /// 127.0.0.1.
    pub docker_network: Option<String>,
    /// First port given to local instances.
    pub base_port: u16,
    /// `http://{subdomain}.{domain}` when a router stands before the instances; none: the instance's own address.
    pub domain: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orchestrator {
    Process,
    Docker,
}

impl FromStr for Orchestrator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "process" => Ok(Self::Process),
            "docker" => Ok(Self::Docker),
            other => Err(format!("{other:?} is none of: process, docker")),
        }
    }
}

/// A value that no log shows.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// Everything wrong with the settings, a line each.
#[derive(Debug, thiserror::Error)]
#[error("these settings are missing or malformed (README.md, \"Settings\"):\n  {}", .0.join("\n  "))]
pub struct ConfigError(Vec<String>);

impl Config {
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_map(&std::env::vars().collect())
    }

    pub fn from_map(vars: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut read = Reader { vars, problems: Vec::new() };
        let database_url: Secret =
            read.required("DATABASE_URL", "postgres://user:password@host:5432/labelfleet");
        let redis_url = read.required("REDIS_URL", "redis://host:6379");
        let secret_key: Secret = read.required("SECRET_KEY", "at least 16 random characters");
        if read.present("SECRET_KEY") && secret_key.expose().len() < 16 {
            read.problems.push("SECRET_KEY: at least 16 characters are needed".into());
        }
        let s3 = S3Config {
            endpoint: read.optional("S3_ENDPOINT"),
            region: read.or("S3_REGION", "us-east-1"),
            bucket: read.required("S3_BUCKET", "the bucket of images and exports"),
            access_key_id: read.required("AWS_ACCESS_KEY_ID", "an S3 access key"),
            secret_access_key: read.required("AWS_SECRET_ACCESS_KEY", "its secret"),
        };
        let port: u16 = read.or("PORT", "3000");
        let public_url: String =
            read.optional("PUBLIC_URL").unwrap_or_else(|| format!("http://127.0.0.1:{port}"));
        let public_url = public_url.trim_end_matches('/').to_owned();
        let config = Self {
            instances: InstancesConfig {
                backend: read.or("ORCHESTRATOR_BACKEND", "process"),
                fleet: read.optional("FLEET_NAME").unwrap_or_default(),
                database_url: read.optional("INSTANCE_DATABASE_URL").unwrap_or_else(|| database_url.clone()),
                database_host: read.optional("INSTANCE_DATABASE_HOST"),
                api_url: read
                    .optional::<String>("INSTANCE_API_URL")
                    .map_or_else(|| public_url.clone(), |url| url.trim_end_matches('/').to_owned()),
                dir: read.or("INSTANCE_DIR", ".labelfleet/instances"),
                label_studio_bin: read.or("LABEL_STUDIO_BIN", "label-studio"),
                label_studio_image: read.or("LABEL_STUDIO_IMAGE", "labelfleet/label-studio:1.23.2"),
                timeout: read.seconds("LABEL_STUDIO_TIMEOUT_SECS", 30),
                docker_network: read.optional("DOCKER_NETWORK"),
                base_port: read.or("INSTANCE_BASE_PORT", "18000"),
                domain: read.optional("INSTANCE_DOMAIN"),
            },
            engine: EngineConfig {
                lease: read.seconds("LEASE_SECS", 15),
                drain: read.seconds("DRAIN_SECS", 25),
                concurrency: read.or("WORKER_CONCURRENCY", "200"),
                reconcile_cron: read.or("RECONCILE_CRON", "0 */5 * * * *"),
                metrics: read.optional("WORKER_METRICS_ADDR"),
                args_cipher: read.optional("JOB_ARGS_KEYS"),
                retention: Retention {
                    completed: read.within("KEEP_COMPLETED_HOURS", 24, 0..=876_000, HOUR),
                    cancelled: read.within("KEEP_CANCELLED_HOURS", 24, 0..=876_000, HOUR),
                    discarded: read.within("KEEP_DISCARDED_DAYS", 30, 1..=36_500, 24 * HOUR),
                },
            },
            database_url,
            redis_url,
            redis_prefix: read.or("REDIS_PREFIX", "labelfleet"),
            s3,
            secret_key,
            host: read.or("HOST", "127.0.0.1"),
            port,
            public_url,
            admin_email: read.optional("ADMIN_EMAIL"),
            admin_password: read.optional("ADMIN_PASSWORD"),
        };
        if read.problems.is_empty() { Ok(config) } else { Err(ConfigError(read.problems)) }
    }
}

/// Reads settings and collects what is wrong with them. An empty value counts as absent.
struct Reader<'a> {
    vars: &'a BTreeMap<String, String>,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn present(&self, name: &str) -> bool {
        self.vars.get(name).is_some_and(|value| !value.is_empty())
    }

    fn required<T: From<String>>(&mut self, name: &str, hint: &str) -> T {
        if !self.present(name) {
            self.problems.push(format!("{name}: missing ({hint})"));
        }
        self.vars.get(name).cloned().unwrap_or_default().into()
    }

    fn optional<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        let text = self.vars.get(name).filter(|value| !value.is_empty())?;
        text.parse().map_err(|error| self.problems.push(format!("{name}: {error}"))).ok()
    }

    fn or<T: FromStr<Err: fmt::Display>>(&mut self, name: &str, default: &str) -> T {
        self.optional(name).unwrap_or_else(|| match default.parse() {
            Ok(value) => value,
            Err(error) => unreachable!("the default of {name} is malformed: {error}"),
        })
    }

    /// A whole number of units.
    fn within(&mut self, name: &str, default: u32, allowed: RangeInclusive<u32>, unit: Duration) -> Duration {
        let given = self.or::<u32>(name, &default.to_string());
        if allowed.contains(&given) {
            return unit * given;
        }
        self.problems.push(format!("{name}: must be from {} to {}", allowed.start(), allowed.end()));
        unit * default
    }

    fn seconds(&mut self, name: &str, default: u64) -> Duration {
        match self.or::<u64>(name, &default.to_string()) {
            0 => {
                self.problems.push(format!("{name}: must be at least 1 (seconds)"));
                Duration::from_secs(default)
            }
            seconds => Duration::from_secs(seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> BTreeMap<String, String> {
        [
            ("DATABASE_URL", "postgres://db"),
            ("REDIS_URL", "redis://r"),
            ("SECRET_KEY", "0123456789abcdef"),
            ("S3_BUCKET", "images"),
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "b"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn everything_missing_is_named_at_once() {
        let error = Config::from_map(&BTreeMap::new()).unwrap_err().to_string();
        for name in complete().keys() {
            assert!(error.contains(name), "{name} is not in {error}");
        }
    }

    #[test]
    fn malformed_values_are_named_with_the_reason() {
        let mut vars = complete();
        vars.insert("PORT".into(), "70000".into());
        vars.insert("ORCHESTRATOR_BACKEND".into(), "podman".into());
        vars.insert("LEASE_SECS".into(), "0".into());
        vars.insert("JOB_ARGS_KEYS".into(), "c2hvcnQ=".into());
        vars.insert("KEEP_COMPLETED_HOURS".into(), "0".into());
        vars.insert("KEEP_CANCELLED_HOURS".into(), "900000".into());
        vars.insert("KEEP_DISCARDED_DAYS".into(), "0".into());
        let error = Config::from_map(&vars).unwrap_err().to_string();
        for part in [
            "PORT",
            "none of: process, docker",
            "LEASE_SECS: must be at least 1",
            "JOB_ARGS_KEYS: key 1 has 5 bytes",
            "KEEP_CANCELLED_HOURS: must be from 0 to 876000",
            "KEEP_DISCARDED_DAYS: must be from 1 to 36500",
        ] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        assert!(!error.contains("KEEP_COMPLETED_HOURS"), "{error}");
        assert!(!error.contains("c2hvcnQ"), "{error}");
    }

    #[test]
    fn defaults_follow_from_what_is_given() {
        let mut vars = complete();
        vars.insert("PORT".into(), "4000".into());
        let config = Config::from_map(&vars).unwrap();
        assert_eq!(config.public_url, "http://127.0.0.1:4000");
        assert_eq!(config.instances.api_url, config.public_url);
        assert_eq!(config.instances.database_url.expose(), "postgres://db");
        assert_eq!(config.engine.retention, Retention::default());
    }

    #[test]
    fn no_secret_is_printed() {
        let mut vars = complete();
        vars.insert("ADMIN_PASSWORD".into(), "hunter2hunter2".into());
        let printed = format!("{:?}", Config::from_map(&vars).unwrap());
        assert!(!printed.contains("hunter2") && !printed.contains("0123456789abcdef"));
    }
}
