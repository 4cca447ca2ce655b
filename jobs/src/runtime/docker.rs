//! Instances as containers of a Docker Engine.
//!
//! Container and volume are named `fleet-ls-{id}`; labels mark them as this fleet's. The engine itself refuses a
//! second container of one name, which is what makes creating idempotent.
//!
//! How an instance is reached: by a port published on 127.0.0.1, which the engine chooses; or, where workers run
//! as containers too, by its own address in the network that `DOCKER_NETWORK` names. How it reaches this
//! machine: as `host.docker.internal`, which the engine maps to the bridge's gateway, so Postgres and the API
//! have to listen there too and not on 127.0.0.1 alone.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, bail};
use async_trait::async_trait;
use bollard::{
    container::LogOutput,
    errors::Error,
    models::{
        ContainerCreateBody, ContainerInspectResponse, HostConfig, Mount, MountType, PortBinding,
        RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveVolumeOptions, StopContainerOptionsBuilder,
        WaitContainerOptionsBuilder,
    },
};
use futures::{StreamExt, TryStreamExt};
use labelfleet::{
    config::InstancesConfig,
    domain::{AnnotatorId, FleetName},
};
use tokio::{
    sync::OnceCell,
    time::{Duration, Instant, sleep},
};

use super::{Address, Instance, InstanceSpec, LAST_LINES, Runtime};

/// Whose it is.
const OWNER: &str = "labelfleet.owner";
const ANNOTATOR: &str = "labelfleet.annotator";
/// The digest of what it was started with.
const SPEC: &str = "labelfleet.spec";
/// The port of Label Studio inside, as the image has it.
const PORT: u16 = 8080;
const PORT_KEY: &str = "8080/tcp";
const DATA: &str = "/data";
const THIS_MACHINE: &str = "host.docker.internal";
/// Seconds to end by the image's stop signal before SIGKILL.
const GRACE_SECS: i32 = 10;
/// How long another call may take to create or remove the same container.
const CREATED_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

pub struct Docker {
    unversioned: bollard::Docker,
    engine: OnceCell<bollard::Docker>,
    image: String,
    network: Option<String>,
    fleet: FleetName,
}

impl Docker {
    /// The engine that `DOCKER_HOST` names, or this machine's. It is not asked yet.
    pub fn new(config: &InstancesConfig) -> anyhow::Result<Self> {
        Ok(Self {
            unversioned: bollard::Docker::connect_with_defaults().context("DOCKER_HOST")?,
            engine: OnceCell::new(),
            image: config.label_studio_image.clone(),
            network: config.docker_network.clone(),
            fleet: config.fleet.clone(),
        })
    }

    /// The client, speaking the version of the API that the engine has.
    async fn engine(&self) -> anyhow::Result<&bollard::Docker> {
        let negotiate = || self.unversioned.clone().negotiate_version();
        self.engine.get_or_try_init(negotiate).await.context("the Docker Engine does not answer")
    }

    async fn inspect(&self, name: &str) -> anyhow::Result<Option<ContainerInspectResponse>> {
        match self.engine().await?.inspect_container(name, None).await {
            Err(error) if is_status(&error, 404) => Ok(None),
            outcome => Ok(Some(outcome.with_context(|| format!("inspecting container {name}"))?)),
        }
    }

    fn instance(&self, annotator: AnnotatorId, container: &ContainerInspectResponse) -> Instance {
        let running = container.state.as_ref().and_then(|state| state.running).unwrap_or(false);
        Instance {
            annotator,
            name: self.fleet.instance(annotator),
            running,
            address: running.then(|| self.address(container)).flatten(),
        }
    }

    fn address(&self, container: &ContainerInspectResponse) -> Option<Address> {
        let settings = container.network_settings.as_ref()?;
        if let Some(network) = &self.network {
            let endpoint = settings.networks.as_ref()?.get(network)?;
            let host = endpoint.ip_address.clone().filter(|ip| !ip.is_empty())?;
            return Some(Address { host, port: PORT });
        }
        let binding = settings.ports.as_ref()?.get(PORT_KEY)?.as_ref()?.first()?;
        Some(Address { host: binding.host_ip.clone()?, port: binding.host_port.as_ref()?.parse().ok()? })
    }

    fn body(&self, spec: &InstanceSpec, name: String) -> ContainerCreateBody {
        let mut labels = HashMap::from([
            (OWNER.to_owned(), self.fleet.owner().to_owned()),
            (ANNOTATOR.to_owned(), spec.annotator.to_string()),
            (SPEC.to_owned(), spec.digest()),
        ]);
        if let Some(host) = &spec.host {
            // Traefik's words: https://doc.traefik.io/traefik/routing/providers/docker/
            labels.insert(format!("traefik.http.routers.{name}.rule"), format!("Host(`{host}`)"));
            let port = format!("traefik.http.services.{name}.loadbalancer.server.port");
            labels.insert(port, PORT.to_string());
        }
        let published = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(String::new()) };
        ContainerCreateBody {
            image: Some(self.image.clone()),
            env: Some(env_list(&spec.env)),
            labels: Some(labels),
            host_config: Some(HostConfig {
                port_bindings: self
                    .network
                    .is_none()
                    .then(|| HashMap::from([(PORT_KEY.to_owned(), Some(vec![published]))])),
                mounts: Some(vec![Mount {
                    typ: Some(MountType::VOLUME),
                    source: Some(name),
                    target: Some(DATA.to_owned()),
                    ..Mount::default()
                }]),
                // Comes back after a crash or a reboot of the machine, but not after `stop`.
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                    maximum_retry_count: None,
                }),
                ..self.host_config()
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// What instances and migrations share.
    fn host_config(&self) -> HostConfig {
        HostConfig {
            network_mode: self.network.clone(),
            extra_hosts: Some(vec![format!("{THIS_MACHINE}:host-gateway")]),
            ..HostConfig::default()
        }
    }

    /// Whether the container is what `spec` asks for; an error where it is not this fleet's at all.
    fn is_as(&self, container: &ContainerInspectResponse, spec: &InstanceSpec) -> anyhow::Result<bool> {
        let config = container.config.as_ref();
        let label = |name| config.and_then(|config| config.labels.as_ref()?.get(name)).map(String::as_str);
        if label(OWNER) != Some(self.fleet.owner()) {
            bail!(
                "a container of the same name ({}) is not this fleet's",
                self.fleet.instance(spec.annotator)
            );
        }
        let image = config.and_then(|config| config.image.as_deref());
        Ok(label(SPEC) == Some(&spec.digest()) && image == Some(&self.image))
    }

    /// False: the name is taken.
    async fn create(&self, spec: &InstanceSpec, name: &str) -> anyhow::Result<bool> {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        match self.engine().await?.create_container(Some(options), self.body(spec, name.to_owned())).await {
            Ok(_) => Ok(true),
            Err(error) if is_status(&error, 409) => Ok(false),
            Err(error) if is_status(&error, 404) => bail!(self.no_image()),
            Err(error) => Err(error).with_context(|| format!("creating container {name}")),
        }
    }

    /// One that runs is no error: the engine answers 304.
    async fn start(&self, name: &str) -> anyhow::Result<()> {
        let started = self.engine().await?.start_container(name, None).await;
        started.with_context(|| format!("starting container {name}"))
    }

    fn no_image(&self) -> String {
        let image = &self.image;
        format!(
            "the image {image} is not there: scripts/label-studio-image builds it, LABEL_STUDIO_IMAGE names another"
        )
    }

    /// Removes the container and keeps its volume.
    async fn remove_container(&self, name: &str) -> anyhow::Result<()> {
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        match self.engine().await?.remove_container(name, Some(options)).await {
            // Gone, or being removed by another call of ours.
            Err(error) if is_status(&error, 404) || is_status(&error, 409) => Ok(()),
            outcome => outcome.with_context(|| format!("removing container {name}")),
        }
    }

    async fn tail(&self, name: &str) -> anyhow::Result<String> {
        let options =
            LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&LAST_LINES.to_string()).build();
        let lines: Vec<LogOutput> = self.engine().await?.logs(name, Some(options)).try_collect().await?;
        Ok(lines.iter().map(ToString::to_string).collect::<String>().trim_end().to_owned())
    }
}

#[async_trait]
impl Runtime for Docker {
    async fn ensure_running(&self, spec: &InstanceSpec) -> anyhow::Result<Instance> {
        let name = self.fleet.instance(spec.annotator);
        let deadline = Instant::now() + CREATED_WITHIN;
        loop {
            match self.inspect(&name).await? {
                Some(there) if self.is_as(&there, spec)? => {
                    self.start(&name).await?;
                    break;
                }
                // Of another environment or image.
                Some(_) => self.remove_container(&name).await?,
                None if self.create(spec, &name).await? => {}
                // Another call is creating or removing it: until that is done the name is taken, but not there.
                None if Instant::now() < deadline => sleep(POLL).await,
                None => bail!("the engine has the name {name} taken, but no such container"),
            }
        }
        let container =
            self.inspect(&name).await?.with_context(|| format!("{name} was removed meanwhile"))?;
        Ok(self.instance(spec.annotator, &container))
    }

    async fn stop(&self, annotator: AnnotatorId) -> anyhow::Result<()> {
        let name = self.fleet.instance(annotator);
        let options = StopContainerOptionsBuilder::new().t(GRACE_SECS).build();
        match self.engine().await?.stop_container(&name, Some(options)).await {
            Err(error) if is_status(&error, 404) => Ok(()),
            outcome => outcome.with_context(|| format!("stopping container {name}")),
        }
    }

    async fn remove(&self, annotator: AnnotatorId) -> anyhow::Result<()> {
        let name = self.fleet.instance(annotator);
        self.stop(annotator).await?;
        self.remove_container(&name).await?;
        match self.engine().await?.remove_volume(&name, None::<RemoveVolumeOptions>).await {
            Err(error) if is_status(&error, 404) => Ok(()),
            outcome => outcome.with_context(|| format!("removing volume {name}")),
        }
    }

    async fn get(&self, annotator: AnnotatorId) -> anyhow::Result<Option<Instance>> {
        let container = self.inspect(&self.fleet.instance(annotator)).await?;
        Ok(container.map(|container| self.instance(annotator, &container)))
    }

    async fn list(&self) -> anyhow::Result<Vec<Instance>> {
        let filters = HashMap::from([("label", vec![format!("{OWNER}={}", self.fleet.owner())])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let containers = self.engine().await?.list_containers(Some(options)).await?;
        let mut instances = Vec::with_capacity(containers.len());
        for container in containers {
            let id = container.labels.as_ref().and_then(|labels| labels.get(ANNOTATOR)?.parse().ok());
            // One that carries no annotator is a migration of ours; one that is gone since is gone.
            if let Some(id) = id
                && let Some(instance) = self.get(AnnotatorId(id)).await?
            {
                instances.push(instance);
            }
        }
        instances.sort_by_key(|instance| instance.annotator);
        Ok(instances)
    }

    async fn last_lines(&self, annotator: AnnotatorId) -> anyhow::Result<String> {
        self.tail(&self.fleet.instance(annotator)).await
    }

    async fn migrate(&self, env: &BTreeMap<String, String>) -> anyhow::Result<()> {
        let engine = self.engine().await?;
        // One name: what a crashed worker left of an earlier attempt is removed by the next.
        let name = format!("{}-migrations", self.fleet.owner());
        self.remove_container(&name).await?;
        let body = ContainerCreateBody {
            image: Some(self.image.clone()),
            // The command that does the least after the migrations: it creates no user.
            cmd: Some(vec!["label-studio".to_owned(), "version".to_owned()]),
            env: Some(env_list(env)),
            labels: Some(HashMap::from([(OWNER.to_owned(), self.fleet.owner().to_owned())])),
            host_config: Some(self.host_config()),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        engine.create_container(Some(options), body).await.context("creating the migrations' container")?;
        engine.start_container(&name, None).await.context("starting the migrations' container")?;
        let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
        let outcome = engine.wait_container(&name, Some(options)).next().await;
        let last = self.tail(&name).await?;
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        engine.remove_container(&name, Some(options)).await.context("removing the migrations' container")?;
        match outcome {
            Some(Ok(_)) => Ok(()),
            Some(Err(Error::DockerContainerWaitError { code, .. })) => {
                bail!("Label Studio's migrations ended with code {code}: {last}")
            }
            Some(Err(error)) => Err(error).context("waiting for Label Studio's migrations"),
            None => bail!("the engine did not say how Label Studio's migrations ended"),
        }
    }

    async fn label_studio_version(&self) -> anyhow::Result<String> {
        let image = self.engine().await?.inspect_image(&self.image).await.with_context(|| self.no_image())?;
        let labelled =
            image.config.and_then(|config| config.labels?.remove("org.opencontainers.image.version"));
        let tag = || self.image.rsplit_once(':').map(|(_, tag)| tag.to_owned());
        labelled.or_else(tag).with_context(|| format!("the image {} does not say its version", self.image))
    }

    fn this_machine(&self) -> &'static str {
        THIS_MACHINE
    }
}

fn env_list(env: &BTreeMap<String, String>) -> Vec<String> {
    env.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn is_status(error: &Error, wanted: u16) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code, .. } if *status_code == wanted)
}
