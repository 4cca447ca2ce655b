//! Child processes that end when we end.
//!
//! Each child leads a process group of its own, so Ctrl-C in a terminal reaches only us and the children can be
//! stopped in their order. Should we be killed, the kernel tells them: they are started through `setpriv
//! --pdeathsig` (util-linux), because asking for the same from within needs `unsafe` code, and a pid file that
//! the next start looks at would leave them running until then.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::{Gid, Pid, Uid, User, geteuid},
};
use tokio::{
    process::Command,
    time::{Instant, timeout},
};

/// How long a value that is dropped instead of stopped waits for its process.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// Whom servers run as when we are root: Postgres refuses root, and Redis should not have it.
#[derive(Debug, Clone)]
pub struct ServiceUser {
    uid: Uid,
    gid: Gid,
}

impl ServiceUser {
    /// None: we are not root, and the children run as we do.
    pub fn needed() -> anyhow::Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name)? {
                return Ok(Some(Self { uid: user.uid, gid: user.gid }));
            }
        }
        bail!("running as root needs a user `postgres` or `nobody` to run Postgres as");
    }

    /// Makes `path` this user's own.
    pub fn give(&self, path: &Path) -> anyhow::Result<()> {
        chown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
            .with_context(|| format!("give {} to another user", path.display()))
    }
}

/// A command that gets `on_death` when we die, and runs as `user` where one is given.
///
/// That user may pass through folders it has no right to (`/root/project`) by one capability, where we have it
/// to give (in most containers not); no more of root is left to it.
pub fn command(program: &Path, user: Option<&ServiceUser>, on_death: Signal) -> Command {
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig").arg(on_death.as_str().trim_start_matches("SIG"));
    if let Some(ServiceUser { uid, gid }) = user {
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
        let kept = if may_give_dac_read_search() { "-all,+dac_read_search" } else { "-all" };
        for set in ["inh", "ambient"] {
            command.arg(format!("--{set}-caps={kept}"));
        }
    }
    command.arg("--").arg(program);
    command
}

fn may_give_dac_read_search() -> bool {
    const DAC_READ_SEARCH: u64 = 1 << 2; // linux/capability.h
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let permitted = status.lines().find_map(|line| line.strip_prefix("CapPrm:"));
    permitted
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .is_some_and(|permitted| permitted & DAC_READ_SEARCH != 0)
}

/// A running child; both its outputs go to its log.
#[derive(Debug)]
pub struct Child {
    name: &'static str,
    process: tokio::process::Child,
    pid: Pid,
    log: PathBuf,
    /// Where its own part of the log begins.
    log_start: u64,
    on_drop: Signal,
}

impl Child {
    /// Starts `command` (of [`command`]) with nothing to read. Dropping the value sends `on_drop`.
    pub fn spawn(
        name: &'static str,
        mut command: Command,
        log: &Path,
        on_drop: Signal,
    ) -> anyhow::Result<Self> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let out = open().with_context(|| format!("open the log {}", log.display()))?;
        let log_start = out.metadata()?.len();
        let process = command
            .process_group(0)
            .stdin(Stdio::null())
            .stderr(out.try_clone()?)
            .stdout(out)
            .spawn()
            .with_context(|| format!("start {name} (by `setpriv`, of Debian's package util-linux)"))?;
        let pid = process.id().and_then(|id| i32::try_from(id).ok()).context("a new child has a pid")?;
        Ok(Self { name, process, pid: Pid::from_raw(pid), log: log.to_owned(), log_start, on_drop })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Completes when the process ends. Can be asked again.
    pub async fn exited(&mut self) -> std::io::Result<ExitStatus> {
        self.process.wait().await
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Sends `signal` and waits for the end; after `patience` the whole group is killed.
    pub async fn stop(&mut self, signal: Signal, patience: Duration) -> anyhow::Result<ExitStatus> {
        if self.is_running() {
            kill(self.pid, signal).with_context(|| format!("send {signal} to {}", self.name))?;
        }
        match timeout(patience, self.process.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => {
                tracing::warn!(child = self.name, ?patience, "did not stop in time; killing it");
                self.kill().await
            }
        }
    }

    /// Kills the whole group at once.
    pub async fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        if self.is_running() {
            killpg(self.pid, Signal::SIGKILL).with_context(|| format!("kill {}", self.name))?;
        }
        Ok(self.process.wait().await?)
    }

    /// What to tell when this child ended and should not have.
    pub fn obituary(&self, status: ExitStatus) -> anyhow::Error {
        let end = tail(&self.log, self.log_start, 2000).unwrap_or_default();
        anyhow::anyhow!(
            "{} ended ({status}); its log is {}\n{}",
            self.name,
            self.log.display(),
            end.trim_end()
        )
    }

    /// Waits until its log says this.
    pub async fn wait_for_line(&mut self, patience: Duration, text: &str) -> anyhow::Result<()> {
        let (log, start) = (self.log.clone(), self.log_start);
        let said = || tail(&log, start, u64::MAX).is_ok_and(|log| log.contains(text));
        self.wait_until(patience, async || said()).await
    }

    /// Asks `ready` until it says yes; an error when the child ends first or `patience` runs out.
    pub async fn wait_until<F>(
        &mut self,
        patience: Duration,
        mut ready: impl FnMut() -> F,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = bool>,
    {
        let end = Instant::now() + patience;
        // One question may hang: whoever else holds the port accepts and never answers.
        while !timeout(Duration::from_secs(1), ready()).await.unwrap_or(false) {
            if let Some(status) = self.process.try_wait()? {
                return Err(self.obituary(status));
            }
            if Instant::now() > end {
                bail!("{} is not ready after {patience:?}; its log is {}", self.name, self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.is_running() {
            return;
        }
        // Errors can only say that it is gone already.
        let _ = kill(self.pid, self.on_drop);
        let end = std::time::Instant::now() + DROP_PATIENCE;
        while self.is_running() {
            if std::time::Instant::now() > end {
                let _ = killpg(self.pid, Signal::SIGKILL);
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// At most the last `bytes` of a text file from `start` on, whole lines only.
fn tail(path: &Path, start: u64, bytes: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let begin = start.max(file.metadata()?.len().saturating_sub(bytes));
    file.seek(SeekFrom::Start(begin))?;
    let mut read = Vec::new();
    file.read_to_end(&mut read)?;
    let text = String::from_utf8_lossy(&read).into_owned();
    Ok(match text.split_once('\n') {
        Some((_, rest)) if begin > start => rest.to_owned(),
        _ => text,
    })
}
