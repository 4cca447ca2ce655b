//! `labelfleet up` as its own process.

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use labelfleet::up::ports::Port;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::support::{binary, wait::until};

const PATIENCE: Duration = Duration::from_secs(60);

/// In a bare environment but for `vars`; no instance is started here, so any program does for Label Studio.
fn command(dir: &Path, vars: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary("labelfleet"));
    command.arg("up").arg("--dir").arg(dir).env_clear().env("LABEL_STUDIO_BIN", "/bin/true");
    command.envs(["PATH", "HOME"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(vars.iter().copied()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

struct Up {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
    /// What was shown as the admin's password.
    password: Option<String>,
}

impl Up {
    /// Returns when it says that it is ready.
    async fn start(dir: &Path, port: &Port) -> Self {
        let mut child = command(dir, &[("PORT", &port.number().to_string())]).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut password = None;
        let ready = timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, shown)) = line.split_once("password ") {
                    password = Some(shown.to_owned());
                }
                if let Some(url) = line.strip_prefix("ready ") {
                    return Some(url.to_owned());
                }
            }
            None
        });
        match ready.await.expect("it is ready or ends within the patience") {
            Some(url) => Self { child, lines, url, password },
            None => panic!("labelfleet up ended: {}", errors(&mut child).await),
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap())
    }

    async fn end(&mut self) -> (ExitStatus, String) {
        // Reading on, so that it never waits for us.
        while timeout(PATIENCE, self.lines.next_line()).await.unwrap().unwrap().is_some() {}
        let errors = errors(&mut self.child).await;
        (timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap(), errors)
    }

    /// Logs in as the admin.
    async fn log_in(&self, dir: &Path) -> reqwest::Client {
        let password = std::fs::read_to_string(dir.join("admin-password")).unwrap();
        let http = reqwest::Client::builder().cookie_store(true).build().unwrap();
        let csrf = http.get(format!("{}/api/auth/csrf", self.url)).send().await.unwrap();
        let csrf: serde_json::Value = csrf.json().await.unwrap();
        let token = csrf["csrfToken"].as_str().unwrap();
        let form = [
            ("email", "admin@fleet.local"),
            ("password", password.trim()),
            ("csrfToken", token),
            ("json", "true"),
        ];
        let login = http.post(format!("{}/api/auth/callback/credentials", self.url)).form(&form);
        assert_eq!(login.send().await.unwrap().status(), 200);
        http
    }
}

async fn errors(child: &mut Child) -> String {
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
    errors
}

/// What runs for this folder: processes that name it in their command line or environment.
fn processes(dir: &Path) -> Vec<(i32, String)> {
    let name = dir.to_str().unwrap();
    let told = |path: String| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .map(|pid: i32| (pid, told(format!("/proc/{pid}/cmdline")).replace('\0', " ")))
        .filter(|(pid, line)| line.contains(name) || told(format!("/proc/{pid}/environ")).contains(name))
        .collect()
}

async fn nothing_runs(dir: &Path) {
    // A worker that had a job in hand may take its whole drain, 25 s.
    until("all its processes are gone", Duration::from_secs(40), async || {
        processes(dir).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn it_starts_on_a_bare_folder_stops_in_order_and_resumes_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("fleet");
    let port = Port::free().unwrap();

    let mut first = Up::start(&dir, &port).await;
    assert_eq!(first.url, format!("http://127.0.0.1:{}", port.number()));
    let password = std::fs::read_to_string(dir.join("admin-password")).unwrap();
    assert_eq!(first.password.as_deref(), Some(password.trim()), "the new password is shown");
    let http = first.log_in(&dir).await;
    let role = http.post(format!("{}/api/roles", first.url)).json(&serde_json::json!({ "name": "kept" }));
    assert_eq!(role.send().await.unwrap().status(), 201);
    // API, worker, Postgres with its children.
    assert!(processes(&dir).len() >= 4, "{:?}", processes(&dir));
    kill(first.pid(), Signal::SIGTERM).unwrap();
    let (status, errors) = first.end().await;
    assert!(status.success() && errors.is_empty(), "{status}: {errors}");
    assert_eq!(processes(&dir), [], "something is left behind");

    let mut second = Up::start(&dir, &port).await;
    let hint = format!("in {}", dir.join("admin-password").display());
    assert_eq!(second.password, Some(hint), "the password itself is shown once");
    let roles = second.log_in(&dir).await.get(format!("{}/api/roles", second.url)).send().await.unwrap();
    assert!(roles.text().await.unwrap().contains("kept"));
    kill(second.pid(), Signal::SIGINT).unwrap();
    assert!(second.end().await.0.success());
    assert_eq!(processes(&dir), []);
}

#[tokio::test]
async fn a_second_one_in_the_same_folder_is_refused_and_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Up::start(dir.path(), &Port::free().unwrap()).await;
    let other_port = Port::free().unwrap();
    let second = command(dir.path(), &[("PORT", &other_port.number().to_string())]).output().await.unwrap();
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(!second.status.success());
    assert!(error.contains(&format!("already runs in {}", dir.path().display())), "{error}");
    assert!(error.contains(&first.pid().to_string()), "{error}");
    match reqwest::get(format!("{}/api/health", first.url)).await {
        Ok(answer) => assert_eq!(answer.status(), 200),
        Err(error) => panic!("{error}: {:?}", first.end().await),
    }
}

#[tokio::test]
async fn killed_it_takes_its_children_along_and_the_folder_can_be_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let port = Port::free().unwrap();
    let mut first = Up::start(dir.path(), &port).await;
    first.child.kill().await.unwrap();
    nothing_runs(dir.path()).await;
    Up::start(dir.path(), &port).await;
}

#[tokio::test]
async fn a_child_that_ends_ends_it_all_and_its_log_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Up::start(dir.path(), &Port::free().unwrap()).await;
    let running = processes(dir.path());
    let worker = running.iter().find(|(_, line)| line.contains("labelfleet-worker")).unwrap();
    kill(Pid::from_raw(worker.0), Signal::SIGKILL).unwrap();
    let (status, errors) = up.end().await;
    assert!(!status.success());
    assert!(errors.contains("the worker ended (signal: 9") && errors.contains("log/worker.log"), "{errors}");
    nothing_runs(dir.path()).await;
}

#[tokio::test]
async fn a_busy_port_is_named_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let port = Port::free().unwrap();
    let port = port.number();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let refused = command(dir.path(), &[("PORT", &port.to_string())]).output().await.unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && error.contains(&format!("port {port} is in use")), "{error}");
    assert!(!dir.path().join("postgres").exists());
}

/// It was free when it was looked at, and somebody who answers as we would has it when the API comes to listen.
#[tokio::test]
async fn a_port_taken_meanwhile_is_named_too() {
    let dir = tempfile::tempdir().unwrap();
    let port = Port::free().unwrap();
    let port = port.number();
    let mut child = command(dir.path(), &[("PORT", &port.to_string())]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().expect("a line for Postgres");
    assert!(first.contains("Postgres"), "{first}");
    let other = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let answers = axum::Router::new().fallback(async || "ok");
    tokio::spawn(async { axum::serve(other, answers).await });
    while let Some(line) = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap() {
        assert!(!line.starts_with("ready"), "{line}");
    }
    let error = errors(&mut child).await;
    assert!(error.contains(&format!("can't listen on 127.0.0.1:{port}")), "{error}");
}

#[tokio::test]
async fn what_an_external_service_still_needs_is_listed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let vars = [("S3_ENDPOINT", "http://127.0.0.1:1"), ("LEASE_SECS", "none")];
    let refused = command(dir.path(), &vars).output().await.unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    for name in ["S3_BUCKET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "LEASE_SECS"] {
        assert!(error.contains(name), "{name} is not in {error}");
    }
    assert!(!dir.path().join("postgres").exists());
}

#[tokio::test]
async fn containers_need_servers_that_they_can_reach() {
    let dir = tempfile::tempdir().unwrap();
    let refused = command(dir.path(), &[("ORCHESTRATOR_BACKEND", "docker")]).output().await.unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    assert!(error.contains("set DATABASE_URL, INSTANCE_API_URL and HOST"), "{error}");
}
