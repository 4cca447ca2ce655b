//! Instances as processes of this machine: each a Label Studio in a session of its own, which outlives the
//! worker that started it and is adopted by the next.
//!
//! `{dir}/fleet-ls-{id}/` holds an instance's data, its log and the port it was given. Whether it runs is asked
//! of the processes, never of a file (see [`super::processes`]). A file lock makes starting and stopping one at
//! a time, whichever worker does it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use async_trait::async_trait;
use labelfleet::{
    config::InstancesConfig,
    domain::{AnnotatorId, FleetName},
};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::Signal,
};
use tokio::{process::Command, time::Instant};

use super::{
    Address, Instance, InstanceSpec, LAST_LINES, Runtime,
    processes::{self, Found},
};

const HOST: &str = "127.0.0.1";
/// How long an instance may take to end by SIGTERM before SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// How long another worker's start or stop of the same instance is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// A log above this is put aside when its instance starts.
const LOG_BYTES: u64 = 10 * 1024 * 1024;

pub struct Process {
    dir: PathBuf,
    bin: PathBuf,
    base_port: u16,
    fleet: FleetName,
}

impl Process {
    pub fn new(config: &InstancesConfig) -> Self {
        Self {
            // Instances are known by their folder, so it must not depend on where a worker was started.
            dir: std::path::absolute(&config.dir).unwrap_or_else(|_| config.dir.clone()),
            bin: config.label_studio_bin.clone(),
            base_port: config.base_port,
            fleet: config.fleet.clone(),
        }
    }

    fn dir_of(&self, annotator: AnnotatorId) -> PathBuf {
        self.dir.join(self.fleet.instance(annotator))
    }

    fn instance(&self, annotator: AnnotatorId, process: Option<&Found>) -> Instance {
        let port = process.and_then(|process| processes::listening_port(process.pid));
        Instance {
            annotator,
            name: self.fleet.instance(annotator),
            running: process.is_some(),
            address: port.map(|port| Address { host: HOST.to_owned(), port }),
        }
    }

    /// One start, stop or removal of an instance at a time; freed when the value or its process goes.
    async fn lock(&self, annotator: AnnotatorId) -> anyhow::Result<Flock<File>> {
        let locks = self.dir.join(".locks");
        std::fs::create_dir_all(&locks).with_context(|| format!("creating {}", locks.display()))?;
        let path = locks.join(self.fleet.instance(annotator));
        let mut file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((again, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = again,
                Err((_, error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The port it had before, else the one that follows from the annotator, else any that is free.
    fn choose_port(&self, annotator: AnnotatorId) -> anyhow::Result<u16> {
        let remembered = std::fs::read_to_string(self.dir_of(annotator).join("port")).ok();
        let remembered: Option<u16> = remembered.and_then(|text| text.trim().parse().ok());
        let derived = i64::from(self.base_port).checked_add(annotator.0);
        let wishes = [remembered, derived.and_then(|port| u16::try_from(port).ok()), Some(0)];
        let free = wishes
            .into_iter()
            .flatten()
            .find_map(|port| TcpListener::bind((HOST, port)).and_then(|socket| socket.local_addr()).ok());
        Ok(free.context("no TCP port is free")?.port())
    }

    /// Starts Label Studio as a child of init, in a session of its own.
    async fn start(&self, spec: &InstanceSpec) -> anyhow::Result<Found> {
        let dir = self.dir_of(spec.annotator);
        let data = dir.join("data");
        std::fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
        let port = self.choose_port(spec.annotator)?;
        write_atomically(&dir.join("port"), &port.to_string())?;
        let log = open_log(&dir.join("log"))?;

        let status = Command::new("setsid")
            .arg("--fork")
            .arg(&self.bin)
            .args(["start", "--no-browser", "--internal-host", HOST, "--port", &port.to_string()])
            .env_clear()
            .envs(inherited())
            .envs(&spec.env)
            .env("HOME", &data)
            .env("LABEL_STUDIO_BASE_DATA_DIR", &data)
            .env("PYTHONUNBUFFERED", "1")
            .env(processes::MARK, &dir)
            .env(processes::SPEC, spec.digest())
            .current_dir(&data)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()
            .await
            .context("running setsid (Debian: package util-linux)")?;
        if !status.success() {
            bail!("setsid ended with {status}");
        }
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if let Some(process) = processes::of(&dir)? {
                return Ok(process);
            }
            tokio::time::sleep(POLL).await;
        }
        bail!("{} did not start: {}", self.bin.display(), self.last_lines(spec.annotator).await?)
    }

    async fn end(&self, process: &Found) -> anyhow::Result<()> {
        for (signal, patience) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, GRACE)] {
            processes::signal(process, signal).with_context(|| format!("{signal} to {}", process.pid))?;
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                if processes::of(Path::new(&process.dir))?.is_none() {
                    return Ok(());
                }
                tokio::time::sleep(POLL).await;
            }
        }
        bail!("process {} does not end", process.pid)
    }
}

#[async_trait]
impl Runtime for Process {
    async fn ensure_running(&self, spec: &InstanceSpec) -> anyhow::Result<Instance> {
        let _lock = self.lock(spec.annotator).await?;
        let process = match processes::of(&self.dir_of(spec.annotator))? {
            Some(running) if running.spec == spec.digest() => running,
            Some(outdated) => {
                self.end(&outdated).await?;
                self.start(spec).await?
            }
            None => self.start(spec).await?,
        };
        Ok(self.instance(spec.annotator, Some(&process)))
    }

    async fn stop(&self, annotator: AnnotatorId) -> anyhow::Result<()> {
        let _lock = self.lock(annotator).await?;
        match processes::of(&self.dir_of(annotator))? {
            Some(process) => self.end(&process).await,
            None => Ok(()),
        }
    }

    async fn remove(&self, annotator: AnnotatorId) -> anyhow::Result<()> {
        let _lock = self.lock(annotator).await?;
        let dir = self.dir_of(annotator);
        if let Some(process) = processes::of(&dir)? {
            self.end(&process).await?;
        }
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            outcome => outcome.with_context(|| format!("removing {}", dir.display())),
        }
    }

    async fn get(&self, annotator: AnnotatorId) -> anyhow::Result<Option<Instance>> {
        let dir = self.dir_of(annotator);
        let process = processes::of(&dir)?;
        let known = process.is_some() || dir.is_dir();
        Ok(known.then(|| self.instance(annotator, process.as_ref())))
    }

    async fn list(&self) -> anyhow::Result<Vec<Instance>> {
        let mut found: BTreeMap<AnnotatorId, Option<Found>> = BTreeMap::new();
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("reading {}", self.dir.display())),
        };
        for entry in entries {
            let name = entry?.file_name();
            if let Some(annotator) = name.to_str().and_then(|name| self.fleet.annotator_of(name)) {
                found.insert(annotator, None);
            }
        }
        for process in processes::all()? {
            let path = Path::new(&process.dir);
            let name = path.file_name().and_then(|name| name.to_str());
            if path.parent() == Some(&self.dir)
                && let Some(annotator) = name.and_then(|name| self.fleet.annotator_of(name))
            {
                found.insert(annotator, Some(process));
            }
        }
        Ok(found.iter().map(|(&annotator, process)| self.instance(annotator, process.as_ref())).collect())
    }

    async fn last_lines(&self, annotator: AnnotatorId) -> anyhow::Result<String> {
        let path = self.dir_of(annotator).join("log");
        let text = tokio::fs::read(&path).await.with_context(|| format!("reading {}", path.display()))?;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n"))
    }

    async fn migrate(&self, env: &BTreeMap<String, String>) -> anyhow::Result<()> {
        let data = self.dir.join(".migrations");
        std::fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
        // The command that does the least after the migrations: it creates no user.
        let output = Command::new(&self.bin)
            .arg("version")
            .env_clear()
            .envs(inherited())
            .envs(env)
            .env("HOME", &data)
            .env("LABEL_STUDIO_BASE_DATA_DIR", &data)
            .current_dir(&data)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("running {}", self.bin.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n");
        bail!("Label Studio's migrations ended with {}: {last}", output.status)
    }

    async fn label_studio_version(&self) -> anyhow::Result<String> {
        // The command itself would touch a database; its interpreter knows too.
        let python = interpreter(&self.bin)?;
        let output = Command::new(&python)
            .args(["-c", "import importlib.metadata as m; print(m.version('label-studio'))"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("running {}", python.display()))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if !output.status.success() || version.is_empty() {
            bail!("{} has no Label Studio: {}", python.display(), String::from_utf8_lossy(&output.stderr));
        }
        Ok(version)
    }

    fn this_machine(&self) -> &'static str {
        HOST
    }
}

/// What an instance gets of the worker's own environment: no setting and no secret.
fn inherited() -> impl Iterator<Item = (OsString, OsString)> {
    ["PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"]
        .into_iter()
        .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
}

/// The Python that the first line of a console script names.
fn interpreter(script: &Path) -> anyhow::Result<PathBuf> {
    let missing =
        || format!("{} is not there: set LABEL_STUDIO_BIN to the command label-studio", script.display());
    let path = if script.components().count() > 1 {
        script.to_owned()
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|dir| dir.join(script)).find(|path| path.is_file());
        found.with_context(missing)?
    };
    let text = std::fs::read(&path).with_context(missing)?;
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let python = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix("#!"));
    Ok(python.with_context(|| format!("{} is no Python command", path.display()))?.trim().into())
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    if std::fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES) {
        std::fs::rename(path, path.with_extension("old")).context("putting the old log aside")?;
    }
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))
}

fn write_atomically(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, path))
        .with_context(|| format!("writing {}", path.display()))
}
