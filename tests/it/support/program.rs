//! Our programs as processes, each in an environment of a fleet's settings and no others.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use labelfleet::up::ports::Port;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{
    api::{ADMIN_EMAIL, ADMIN_PASSWORD, Api},
    binary,
};

const PATIENCE: Duration = Duration::from_secs(30);

pub type Settings = BTreeMap<String, String>;

/// A program in an environment of these settings and no others.
pub struct Program(Child);

impl Program {
    pub fn start(program: &str, args: &[&str], settings: &Settings, more: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary(program));
        // A tick would run beside what is tested.
        command.args(args).env_clear().envs(settings).env("RECONCILE_CRON", "0 0 0 1 1 *");
        command.envs(more.iter().copied());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Self(command.spawn().unwrap())
    }

    pub async fn worker(settings: &Settings, more: &[(&str, &str)]) -> Self {
        Self::start("labelfleet-worker", &[], settings, more).ready("ready worker").await
    }

    /// And a client that is logged in.
    pub async fn api(settings: &Settings, more: &[(&str, &str)]) -> (Self, Api) {
        let kept = Port::free().unwrap();
        let port = kept.number().to_string();
        let admin =
            [("PORT", port.as_str()), ("ADMIN_EMAIL", ADMIN_EMAIL), ("ADMIN_PASSWORD", ADMIN_PASSWORD)];
        let process = Self::start("labelfleet", &["api"], settings, &[&admin, more].concat());
        let process = process.ready("ready api").await;
        let api = Api::at(&format!("http://127.0.0.1:{port}"));
        api.log_in(ADMIN_EMAIL, ADMIN_PASSWORD).await.expect(200);
        (process, api)
    }

    async fn ready(mut self, says: &str) -> Self {
        let mut lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time").unwrap();
        let Some(line) = line else {
            let (_, log) = self.stop(PATIENCE).await;
            panic!("it ended: {log}");
        };
        assert!(line.starts_with(says), "{line}");
        self
    }

    /// Stops it in order: its exit code, and what it wrote to its log.
    pub async fn stop(self, within: Duration) -> (Option<i32>, String) {
        kill(Pid::from_raw(self.0.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let ended = tokio::time::timeout(within, self.0.wait_with_output()).await.expect("it ends in time");
        let output = ended.unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
