//! Where instances run: one trait, a backend a file. All names are derived from the annotator
//! (`fleet-ls-{id}`), so every call can be repeated, and a crashed worker's instance is adopted by the next.
//!
//! - [`process`]: a local Label Studio
//! - [`docker`]: a container (bollard)
//! - `traced`: the calls to either, in their trace
//!
//! `ecs` has its place here too.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use labelfleet::{
    config::{InstancesConfig, Orchestrator},
    domain::AnnotatorId,
};
use sha2::{Digest, Sha256};

pub mod docker;
pub mod process;
mod processes;
mod traced;

pub use docker::Docker;
pub use process::Process;
use traced::Traced;

/// What an instance is to be; all of it derived, so asking twice asks for the same.
#[derive(Clone)]
pub struct InstanceSpec {
    pub annotator: AnnotatorId,
    /// Environment of Label Studio, secrets included: never logged.
    pub env: BTreeMap<String, String>,
    /// `alice.fleet.example.com`: by which a router serves it, where one stands before the instances.
    pub host: Option<String>,
}

impl InstanceSpec {
    /// Changes with anything in it, and tells nothing of it. An instance that was started with
    /// another one is replaced.
    fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let host = self.host.as_ref().map(|host| ("host", host));
        for (name, value) in self.env.iter().map(|(name, value)| (name.as_str(), value)).chain(host) {
            hash.update(name);
            hash.update([0]);
            hash.update(value);
            hash.update([0]);
        }
        hex::encode(hash.finalize())
    }
}

/// An instance as the backend sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub annotator: AnnotatorId,
    /// `fleet-ls-{annotator}`: the API's `containerId`.
    pub name: String,
    pub running: bool,
    /// Where the workers and the annotator's browser reach it; none while it is stopped.
    pub address: Option<Address>,
}

impl Instance {
    /// Whether this is where it is; true while it does not listen yet.
    pub fn is_at(&self, host: &str, port: i32) -> bool {
        self.address.as_ref().is_none_or(|address| address.host == host && i32::from(address.port) == port)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

impl Address {
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }
}

#[async_trait]
pub trait Runtime: Send + Sync {
    /// Creates and starts the instance, or starts or adopts the one that is there. Returns once it was started,
    /// not once it serves.
    async fn ensure_running(&self, spec: &InstanceSpec) -> anyhow::Result<Instance>;

    /// Stops it and keeps what `ensure_running` needs to start it again. Nothing to stop is success.
    async fn stop(&self, annotator: AnnotatorId) -> anyhow::Result<()>;

    /// Removes it with all that the backend keeps of it. Nothing to remove is success.
    async fn remove(&self, annotator: AnnotatorId) -> anyhow::Result<()>;

    async fn get(&self, annotator: AnnotatorId) -> anyhow::Result<Option<Instance>>;

    /// All instances that carry this fleet's mark of ownership.
    async fn list(&self) -> anyhow::Result<Vec<Instance>>;

    /// The last lines that the instance wrote: why it does not serve.
    async fn last_lines(&self, annotator: AnnotatorId) -> anyhow::Result<String>;

    /// Runs Label Studio's migrations against the database that `env` names, to the end.
    async fn migrate(&self, env: &BTreeMap<String, String>) -> anyhow::Result<()>;

    /// The version of Label Studio that instances run, as the name of the template database holds it.
    async fn label_studio_version(&self) -> anyhow::Result<String>;

    /// The name by which an instance reaches what listens on this machine's own address (127.0.0.1 for
    /// everyone else).
    fn this_machine(&self) -> &'static str;
}

/// The backend that the settings name. Reaches for nothing yet.
pub fn from_config(config: &InstancesConfig) -> anyhow::Result<Arc<dyn Runtime>> {
    Ok(match config.backend {
        Orchestrator::Process => Arc::new(Traced::new("process", Process::new(config))),
        Orchestrator::Docker => Arc::new(Traced::new("docker", Docker::new(config)?)),
    })
}

/// How many lines of an instance's log an error shows.
const LAST_LINES: usize = 12;
