//! A private Redis server as a child process. It keeps nothing: what it holds is worth nothing once it is gone.
//!
//! It asks for a password: a Redis that lets everybody in writes files wherever its user may.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use nix::sys::signal::Signal;

use super::{
    child::{Child, ServiceUser, command},
    folder::write_private,
    ports::Port,
};

const START_PATIENCE: Duration = Duration::from_secs(20);
const STOP_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Redis {
    config: PathBuf,
    log: PathBuf,
    program: PathBuf,
    user: Option<ServiceUser>,
    port: Port,
    password: String,
    child: Child,
}

impl Redis {
    /// Starts a server with its configuration in `dir`, on `port` or a free one. Returns once it answers.
    pub async fn start(dir: &Path, log: &Path, port: Option<Port>) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir)?;
        fs::create_dir_all(&dir).with_context(|| format!("make the folder {}", dir.display()))?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        let user = ServiceUser::needed()?;
        let port = port.map_or_else(Port::free, Ok)?;
        let password = hex::encode(rand::random::<[u8; 20]>());
        let config = dir.join("redis.conf");
        // In a file and not on the command line, which every user can read.
        write_private(&config, &configuration(&dir, port.number(), &password)?)?;
        if let Some(user) = &user {
            user.give(&dir)?;
            user.give(&config)?;
        }
        let program = find_program()?;
        let child = spawn(&program, &config, user.as_ref(), log)?;
        let mut server = Self { config, log: log.to_owned(), program, user, port, password, child };
        server.wait_ready().await?;
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}", self.password, self.port.number())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.child.stop(Signal::SIGTERM, STOP_PATIENCE).await?;
        Ok(())
    }

    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// Starts again, empty and on the same port, after `stop` or `kill`.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        ensure!(!self.child.is_running(), "stop Redis before it is started again");
        self.child = spawn(&self.program, &self.config, self.user.as_ref(), &self.log)?;
        self.wait_ready().await
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let client = redis::Client::open(self.url()).context("the private Redis' URL")?;
        self.child
            .wait_until(START_PATIENCE, async || match client.get_multiplexed_async_connection().await {
                Ok(mut connection) => redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok(),
                Err(_) => false,
            })
            .await
    }
}

fn configuration(dir: &Path, port: u16, password: &str) -> anyhow::Result<String> {
    let dir = dir.to_str().context("the folder's path is not UTF-8")?;
    let dir = dir.replace('\\', "\\\\").replace('"', "\\\"");
    Ok(format!(
        "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir \"{dir}\"\nsave \"\"\nappendonly no\ndaemonize no\n"
    ))
}

fn spawn(program: &Path, config: &Path, user: Option<&ServiceUser>, log: &Path) -> anyhow::Result<Child> {
    let mut server = command(program, user, Signal::SIGTERM);
    server.arg(config);
    Child::spawn("Redis", server, log, Signal::SIGTERM)
}

fn find_program() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join("redis-server"))
        .find(|program| program.exists())
        .context("no Redis server is installed: run scripts/setup (Debian: redis-server)")
}
