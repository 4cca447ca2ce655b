//! A private Postgres server as a child process, its data under a folder of ours.
//!
//! It listens on 127.0.0.1 only, with a password that is drawn at `initdb` and kept beside the data: the
//! annotators' database roles are only worth something where nobody is let in without one.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;
use sqlx::{Connection, PgConnection};

use super::{
    child::{Child, ServiceUser, command},
    folder::write_private,
    ports::Port,
};

pub const USER: &str = "labelfleet";

const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct PostgresOptions {
    /// Holds the data and the password; made where it is missing.
    pub dir: PathBuf,
    pub log: PathBuf,
    /// None: a free one. It stays the same over [`Postgres::restart`].
    pub port: Option<Port>,
    /// False: nothing survives a crash of the machine, and tests run faster.
    pub durable: bool,
    /// More settings, as in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
}

impl PostgresOptions {
    /// A durable server with everything in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self { log: dir.join("postgres.log"), dir, port: None, durable: true, settings: Vec::new() }
    }
}

#[derive(Debug)]
pub struct Postgres {
    options: PostgresOptions,
    bin: PathBuf,
    user: Option<ServiceUser>,
    port: Port,
    password: String,
    child: Child,
}

impl Postgres {
    /// Initialises the folder if that was not done, stops what an earlier owner left running in it, and starts
    /// the server. Returns once it answers.
    pub async fn start(options: PostgresOptions) -> anyhow::Result<Self> {
        let mut options = PostgresOptions { dir: std::path::absolute(&options.dir)?, ..options };
        fs::create_dir_all(&options.dir)
            .with_context(|| format!("make the folder {}", options.dir.display()))?;
        let user = ServiceUser::needed()?;
        let data = options.dir.join("data");
        let bin = find_bin(&data)?;
        if !data.exists() {
            initialise(&options, &bin, user.as_ref()).await?;
        }
        stop_leftover(&data, &bin, user.as_ref()).await?;
        let password = fs::read_to_string(password_file(&options.dir)).context("read Postgres' password")?;
        let port = options.port.take().map_or_else(Port::free, Ok)?;
        let child = spawn(&options, &bin, user.as_ref(), port.number())?;
        let mut server = Self { options, bin, user, port, password, child };
        server.wait_ready().await?;
        Ok(server)
    }

    /// A superuser's URL of the server's database `postgres`.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/{database}", self.password, self.port.number())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Ends all connections, writes everything out, and stops.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.child.stop(Signal::SIGINT, STOP_PATIENCE).await?;
        Ok(())
    }

    /// Stops as a crash would: the next start recovers from the log.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.stop(Signal::SIGQUIT, STOP_PATIENCE).await?;
        Ok(())
    }

    /// Starts again, on the same port, after `stop` or `kill`.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        ensure!(!self.child.is_running(), "stop Postgres before it is started again");
        self.child = spawn(&self.options, &self.bin, self.user.as_ref(), self.port.number())?;
        self.wait_ready().await
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let url = self.url();
        self.child
            .wait_until(START_PATIENCE, async || match PgConnection::connect(&url).await {
                Ok(connection) => connection.close().await.is_ok(),
                Err(_) => false,
            })
            .await
    }
}

fn spawn(
    options: &PostgresOptions,
    bin: &Path,
    user: Option<&ServiceUser>,
    port: u16,
) -> anyhow::Result<Child> {
    // Should we die, a fast shutdown: everything is written out.
    let mut server = command(&bin.join("postgres"), user, Signal::SIGINT);
    server.arg("-D").arg(options.dir.join("data"));
    let port = port.to_string();
    let mut settings = vec![
        ("port", port.as_str()),
        ("listen_addresses", "127.0.0.1"),
        // A path of ours may be too long for a socket.
        ("unix_socket_directories", ""),
        ("max_connections", "300"),
        ("shared_buffers", "256MB"),
        ("timezone", "UTC"),
    ];
    if !options.durable {
        settings.extend([("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off")]);
    }
    settings.extend(options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    for (name, value) in settings {
        server.arg("-c").arg(format!("{name}={value}"));
    }
    Child::spawn("Postgres", server, &options.log, Signal::SIGQUIT)
}

/// Makes the cluster beside its final place and moves it there, so `data` is complete wherever it exists.
async fn initialise(options: &PostgresOptions, bin: &Path, user: Option<&ServiceUser>) -> anyhow::Result<()> {
    let unfinished = options.dir.join("data.new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).context("remove an unfinished Postgres cluster")?;
    }
    fs::create_dir(&unfinished)?;
    fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o700))?;
    let password = password_file(&options.dir);
    write_private(&password, &hex::encode(rand::random::<[u8; 20]>()))?;
    if let Some(user) = user {
        user.give(&unfinished)?;
        user.give(&password)?;
    }
    let mut initdb = command(&bin.join("initdb"), user, Signal::SIGKILL);
    initdb.arg("-D").arg(&unfinished).arg("--pwfile").arg(&password);
    initdb.args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "-U", USER]);
    if !options.durable {
        initdb.arg("--no-sync");
    }
    let done = initdb.stdin(Stdio::null()).output().await.context("run initdb")?;
    ensure!(done.status.success(), "initdb failed: {}", String::from_utf8_lossy(&done.stderr).trim());
    fs::rename(&unfinished, options.dir.join("data")).context("move the new Postgres cluster into place")
}

/// A server whose owner was killed is told so by the kernel, but may still be on its way out.
async fn stop_leftover(data: &Path, bin: &Path, user: Option<&ServiceUser>) -> anyhow::Result<()> {
    if !is_served(data) {
        return Ok(());
    }
    let mut pg_ctl = command(&bin.join("pg_ctl"), user, Signal::SIGKILL);
    pg_ctl.args(["stop", "-w", "-m", "fast", "-D"]).arg(data);
    // It fails when the server has ended by now.
    pg_ctl.stdin(Stdio::null()).output().await.context("run pg_ctl")?;
    Ok(())
}

/// Whether the process that says it serves `data` does: a file that a crash of the machine left behind names a
/// process that may by now be somebody else's server, and `pg_ctl` would stop that. A server works in its folder.
fn is_served(data: &Path) -> bool {
    let Ok(file) = fs::read_to_string(data.join("postmaster.pid")) else { return false };
    let pid: Option<u32> = file.lines().next().and_then(|line| line.trim().parse().ok());
    let works_in = pid.and_then(|pid| fs::read_link(format!("/proc/{pid}/cwd")).ok());
    works_in.is_some_and(|dir| fs::canonicalize(data).is_ok_and(|data| data == dir))
}

/// The server programs for `data`: those of the version that made it, else the newest.
fn find_bin(data: &Path) -> anyhow::Result<PathBuf> {
    let made_by = fs::read_to_string(data.join("PG_VERSION")).ok().map(|text| text.trim().to_owned());
    let debian = Path::new("/usr/lib/postgresql");
    let mut versions: Vec<u32> = fs::read_dir(debian)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|version| debian.join(format!("{version}/bin/initdb")).exists())
        .collect();
    versions.sort_unstable();
    if let Some(version) = made_by {
        return match versions.iter().find(|there| there.to_string() == version) {
            Some(there) => Ok(debian.join(there.to_string()).join("bin")),
            None => in_path().filter(|_| versions.is_empty()).with_context(|| {
                format!("{} was made by Postgres {version}: install postgresql-{version}", data.display())
            }),
        };
    }
    match versions.last() {
        Some(newest) => Ok(debian.join(newest.to_string()).join("bin")),
        None => in_path().context("no Postgres server is installed: run scripts/setup (Debian: postgresql)"),
    }
}

fn in_path() -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).find(|dir| dir.join("initdb").exists())
}

fn password_file(dir: &Path) -> PathBuf {
    dir.join("password")
}
